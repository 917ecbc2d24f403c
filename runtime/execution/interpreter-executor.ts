// The executor in the reference interpreter: slow, and right by definition. Graphs are traced at their first use and go
// through those passes of the pipeline that say what a program means; composites stay. Weights are read whole into arrays
// of doubles, shared by the entries.

import { planParam, planTensor } from '../../backends/kernel/plan.ts';
import type { Traced } from '../../frontends/dsl/index.ts';
import { dimEval } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { evaluate } from '../../ir/eval.ts';
import { dimVars, type Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import { evalShape } from '../../ir/program.ts';
import { type CompileOptions, meaningOf } from '../compiler/compile.ts';
import { fromNdArray, type HostTensor, toNdArray } from '../tensors/host-tensor.ts';
import type { Tensors } from './executor.ts';
import { type Call, type LoadedEntry, QueuedExecutor, type Signature } from './queued-executor.ts';
import type { StateMemory } from './states.ts';

export interface InterpreterOptions {
  /** The graph of an entry. Throws ModelcError for an unknown one. */
  readonly trace: (entry: string) => Traced;
  /** Entries that tell which states and limits there are. */
  readonly entries: readonly string[];
  /** A weight by its checkpoint name, in the dtype that the graph declares. */
  readonly weight: (name: string, dtype: DType, shape: readonly number[]) => Promise<NdArray>;
  readonly compile?: CompileOptions | undefined;
  /** Inputs that every run gets besides its own. */
  readonly added?: ((inputs: Tensors) => Tensors) | undefined;
}

/** An entry as a graph. */
interface InterpretedEntry extends LoadedEntry {
  readonly graph: Graph;
  readonly constants: ReadonlyMap<string, Float32Array>;
}

/** A state's value; runs replace it. */
interface Value {
  data: Float64Array;
}

const paramsOf = (graph: Graph, kind: Node<'param'>['attrs']['kind']): Node<'param'>[] =>
  graph.params.filter((p) => p.attrs.kind === kind);

export class InterpreterExecutor extends QueuedExecutor<InterpretedEntry, Value> {
  private readonly entries: Map<string, InterpretedEntry>;
  /** Weights and constants by name. */
  private readonly fixed = new Map<string, Promise<NdArray>>();

  constructor(private readonly options: InterpreterOptions) {
    const entries = new Map(options.entries.map((name) => [name, entryOf(name, options)]));
    const states = new Map([...entries.values()].flatMap((entry) => entry.states.map((s) => [s.name, s])));
    const plans = [...entries.values()].map(({ plan }) => plan);
    super(plans, [...states.values()], arrayMemory(), options.added);
    this.entries = entries;
  }

  protected override entry(name: string): InterpretedEntry {
    const entry = this.entries.get(name) ?? entryOf(name, this.options);
    this.entries.set(name, entry);
    return entry;
  }

  protected override async execute(
    { entry, inputs, dims, states }: Call<InterpretedEntry, Value>,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    // Evaluation blocks; timers and abort signals get their turn between runs.
    await new Promise<void>((resolve) => setImmediate(resolve));
    const { graph, plan } = entry;
    const params = new Map<string, NdArray>();
    for (const [i, { name }] of plan.inputs.entries()) params.set(name, toNdArray(inputs[i]));
    for (const [i, { name, dtype, shape }] of entry.states.entries()) {
      params.set(name, { dtype, shape: evalShape(shape, dims), data: states[i].data });
    }
    for (const param of [...paramsOf(graph, 'weight'), ...paramsOf(graph, 'constant')]) {
      params.set(param.attrs.name, await this.value(param, entry));
    }
    const { results, updates } = evaluate(graph, { params, dims });
    for (const [i, { name }] of entry.states.entries()) {
      const value = updates.get(name);
      if (value) states[i].data = value.data.slice(); // two states may have been given one value
    }
    const kept = [...results].filter(([result]) => !wanted || wanted.includes(result));
    return Object.fromEntries(kept.map(([result, value]) => [result, fromNdArray(value)]));
  }

  /** The value of a weight or constant. */
  private value({ attrs, type }: Node<'param'>, { graph, constants }: InterpretedEntry): Promise<NdArray> {
    const known = this.fixed.get(attrs.name);
    if (known) return known;
    const { name, dtype, kind } = attrs;
    const shape = type.shape.map((d) => dimEval(d, {}));
    const data = constants.get(name);
    if (kind === 'constant' && !data) {
      throw new ModelcError('input', `graph ${graph.name} has no data for its constant ${name}`);
    }
    const value = data ? Promise.resolve(ndarray(dtype, shape, data)) : this.options.weight(name, dtype, shape);
    this.fixed.set(name, value);
    return value;
  }

  dispose(): void {
    this.disposed = true;
    this.queue = this.queue.then(() => {
      this.entries.clear();
      this.fixed.clear();
      this.freeIdle();
    });
  }
}

function entryOf(name: string, { trace, compile }: InterpreterOptions): InterpretedEntry {
  const { graph: traced, constants } = trace(name);
  const graph = meaningOf(traced, compile);
  const plan: Signature = {
    inputs: paramsOf(graph, 'input').map(planParam),
    results: [...graph.results].map(([result, node]) => planTensor(result, node)),
    dims: [...dimVars(graph).values()],
  };
  return { graph, constants, plan, states: paramsOf(graph, 'state').map(planParam) };
}

/** States in arrays. */
const arrayMemory = (): StateMemory<Value> => ({
  alloc: (_dtype, size) => ({ data: new Float64Array(size) }),
  free: () => undefined,
  copy(_dtype, from, to, size, rows) {
    for (let row = 0; row < rows; row++) {
      const start = from.offset + row * from.step;
      to.memory.data.set(from.memory.data.subarray(start, start + size), to.offset + row * to.step);
    }
  },
  read: async ({ data }, dtype, size) => fromNdArray({ dtype, shape: [size], data }).data,
  write(memory, value) {
    memory.data = toNdArray(value).data;
  },
  clear(memory) {
    memory.data = new Float64Array(memory.data.length);
  },
});
