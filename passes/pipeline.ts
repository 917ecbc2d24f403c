// The compiler in one list: graph to graph, in order, each pass with the option that it reads. A verifier runs after
// every pass, so a pass that breaks the graph is named by the error. The interpreter runs what the first of them leave.
// Adapters (lora.ts) are applied before, where a model's graph is traced: everything that reads that graph sees them.
import type { DType } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import type { Graph } from '../ir/graph.ts';
import type { OpName } from '../ir/node.ts';
import type { Target } from '../ir/target.ts';
import { printGraph } from '../ir/text.ts';
import { verify } from '../ir/verify.ts';
import { bind } from './bind.ts';
import type { CacheSpec } from './cache-layout.ts';
import { cacheLayout } from './cache-layout.ts';
import { decompose } from './decompose.ts';
import { grad } from './grad.ts';
import { pack } from './pack.ts';
import type { Pass, TargetlessPass } from './pass.ts';
import { computeIn, precision } from './precision.ts';
import { type Checkpointing, remat } from './remat.ts';
import { simplify } from './simplify.ts';
import { sliceProducts } from './slice-products.ts';
import { splitAttention } from './split-attention.ts';
import { splitWeights } from './split-weights.ts';

export interface PassOptions {
  readonly cache: CacheSpec;
  /** Dims that this entry fixes, e.g. seq to 1 for decoding. */
  readonly bind: Readonly<Record<string, number>>;
  /** Composites that the backend has kernels for. */
  readonly keep: ReadonlySet<OpName>;
  /** What products of f32 values are computed in (f32). */
  readonly compute?: DType;
  /** What the backward pass computes anew (nothing). */
  readonly checkpointing?: Checkpointing;
}

/** What a program means, for every target and for the interpreter: the first passes, in order. */
export function meaningPasses(options: Omit<PassOptions, 'keep'>): TargetlessPass[] {
  return [
    cacheLayout(options.cache), // where caches live, in which type
    bind(options.bind), // fixed dims
    grad, // what is asked to be differentiated
    remat(options.checkpointing ?? 'none'), // what the backward pass computes anew
    computeIn(options.compute ?? 'f32'), // the type of products
  ];
}

/** All passes, in order. */
export function passes(options: PassOptions): Pass[] {
  return [
    ...meaningPasses(options),
    decompose(options.keep), // composites into simpler ops
    splitAttention, // work for all threads where one query attends
    simplify, // algebra
    pack, // weights into the layout that contractions read
    precision, // products in the type of their weights
    splitWeights, // weights into parts that the target can bind
    sliceProducts, // products whose columns are taken apart and put together again
  ];
}

export interface PassHooks {
  /** The pass whose result is dumped. */
  readonly dumpAfter?: string;
  onDump?(name: string, text: string): void;
}

/**
 * Runs passes in order and verifies every result. Throws ModelcError 'input' when `dumpAfter` names none of them, and
 * whatever a pass or the verifier throws, with the name of the pass.
 */
export function runPasses(graph: Graph, target: Target, passList: readonly Pass[], hooks?: PassHooks): Graph;
export function runPasses(
  graph: Graph,
  target: undefined,
  passList: readonly TargetlessPass[],
  hooks?: PassHooks,
): Graph;
export function runPasses(
  graph: Graph,
  target: Target | undefined,
  passList: readonly Pass[],
  hooks: PassHooks = {},
): Graph {
  const { dumpAfter } = hooks;
  if (dumpAfter !== undefined && !passList.some((p) => p.name === dumpAfter)) {
    const names = passList.map((p) => p.name).join(', ');
    throw new ModelcError('input', `there is no pass called '${dumpAfter}' to dump after; the passes are ${names}`);
  }
  return passList.reduce((before, pass) => {
    const after = located(pass, () => {
      const result = pass.run(before, target!); // absent for passes that do without
      verify(result);
      return result;
    });
    if (pass.name === dumpAfter) hooks.onDump?.(pass.name, printGraph(after));
    return after;
  }, graph);
}

function located<T>(pass: Pass, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof ModelcError) || error.code !== 'type') throw error;
    throw new ModelcError('type', `in pass ${pass.name}: ${error.message}`, { cause: error });
  }
}
