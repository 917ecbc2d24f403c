// The compiler from end to end: traced entries of a model → passes → regions → kernels → a Program for a target.
import { checkLimits } from '../../backends/kernel/limits.ts';
import { plan } from '../../backends/kernel/plan.ts';
import type { Traced } from '../../frontends/dsl/trace.ts';
import type { Graph } from '../../ir/graph.ts';
import type { OpName } from '../../ir/node.ts';
import type { Program } from '../../ir/program.ts';
import type { RegionGraph } from '../../ir/region.ts';
import type { Target } from '../../ir/target.ts';
import { verify } from '../../ir/verify.ts';
import type { CacheSpec } from '../../passes/cache-layout.ts';
import { fuse } from '../../passes/fusion/fuse.ts';
import { meaningPasses, type PassHooks, type PassOptions, passes, runPasses } from '../../passes/pipeline.ts';
import { cutPrepared } from '../../passes/prepare.ts';

/** How a model is compiled. */
export interface CompileOptions {
  /** How keys and values lie in memory; default: growing, in f32. */
  readonly cache?: CacheSpec;
  /** What products of f32 values are computed in, and what a backward pass computes anew. */
  readonly training?: Pick<PassOptions, 'compute' | 'checkpointing'>;
  /** Called with the text of the graph after the pass named `dumpAfter`, once per entry. */
  readonly hooks?: PassHooks;
}

const defaultCache: CacheSpec = { store: 'f32' };

/** Composites that the kernel backend has templates for. */
export const kernelComposites: ReadonlySet<OpName> = new Set<OpName>([
  'attention',
  'attention_split',
  'attention_merge',
]);

/** What an entry means, as the interpreter runs it: caches laid out, gradients taken, nothing made for a target. */
export function meaningOf(graph: Graph, options: CompileOptions = {}): Graph {
  const list = meaningPasses({ cache: options.cache ?? defaultCache, bind: {}, ...options.training });
  return runPasses(graph, undefined, list, options.hooks);
}

/** The fused form of one entry: everything before kernels. */
export function compileRegions(traced: Traced, target: Target, options: CompileOptions = {}): RegionGraph {
  const cache = options.cache ?? defaultCache;
  const list = passes({ cache, bind: {}, keep: kernelComposites, ...options.training });
  const asked = cutPrepared(traced.graph);
  const { graph, prepare } = cutPrepared(runPasses(asked.graph, target, list, options.hooks), asked.prepare);
  const regions = fuse(graph, target);
  verify(regions.graph);
  return { ...regions, prepare };
}

/** Bytes of the intermediate results of an entry, at the maxima of its dims. */
export function arenaBytes(traced: Traced, target: Target, options: CompileOptions = {}): number {
  const regions = new Map([['main', compileRegions(traced, target, options)]]);
  return plan('main', regions, traced.constants, target).entries.main.arenaBytes;
}

/**
 * Compiles the entries of a model into one program: they share kernels, weights and state. Throws ModelcError
 * 'unsupported' when the target cannot hold an array of the program.
 */
export function compile(
  name: string,
  entries: Readonly<Record<string, Traced>>,
  target: Target,
  options: CompileOptions = {},
): Program {
  const regions = new Map(
    Object.entries(entries).map(([entry, traced]) => [entry, compileRegions(traced, target, options)]),
  );
  const constants = new Map(Object.values(entries).flatMap((t) => [...t.constants]));
  const program = plan(name, regions, constants, target);
  checkLimits(program, target);
  return program;
}
