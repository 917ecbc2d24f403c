// A session that runs graphs in the reference interpreter: slow, and right by definition. Weights are read whole into
// arrays of doubles. Graphs come from `trace`, one per entry, at first use.
import { dimEval } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { type EvalOutput, evaluate } from '../../ir/eval.ts';
import { dimVars, type Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray, sizeOf } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import { fromNdArray, type HostTensor, toNdArray } from '../tensors/host-tensor.ts';
import { checkOpen, checkRoom, checkRows, checkState } from './cache-errors.ts';
import { repeatByHost } from './repeat.ts';
import type { RepeatOptions, Session, SessionLimits, State } from './session.ts';

/** A graph with the data of its 'constant' params. */
interface TracedGraph {
  readonly graph: Graph;
  readonly constants: ReadonlyMap<string, Float32Array>;
}

export interface ReferenceOptions {
  readonly limits: SessionLimits;
  /** The graph of an entry. Throws ModelcError for an unknown one. */
  readonly trace: (entry: string) => TracedGraph;
  /** A weight by its checkpoint name, in the dtype that the graph declares. */
  readonly weight: (name: string, dtype: DType, shape: readonly number[]) => Promise<NdArray>;
}

interface Entry {
  readonly graph: Graph;
  /** Weights and constants by param name. */
  readonly fixed: ReadonlyMap<string, NdArray>;
}

type StateDims = State['dims'] & { readonly batch: number; readonly capacity: number };

const paramsOf = (graph: Graph, kind: 'input' | 'weight' | 'state' | 'constant'): Node<'param'>[] =>
  graph.params.filter((p) => p.attrs.kind === kind);

export class ReferenceSession implements Session {
  readonly limits: SessionLimits;
  private readonly options: ReferenceOptions;
  private readonly entries = new Map<string, Promise<Entry>>();
  private readonly weights = new Map<string, Promise<NdArray>>();
  private queue: Promise<unknown> = Promise.resolve();
  private disposed = false;

  constructor(options: ReferenceOptions) {
    this.options = options;
    this.limits = options.limits;
  }

  createState(batch: number, capacity: number, sizes: Readonly<Record<string, number>> = {}): ReferenceState {
    checkOpen(this.disposed);
    const room = checkState(batch, capacity, this.limits);
    const { graph } = this.options.trace('prefill');
    return new ReferenceState(paramsOf(graph, 'state'), { ...sizes, batch, capacity: room });
  }

  run(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state?: State,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    const result = this.queue.then(() => this.runNow(entry, inputs, state, wanted));
    this.queue = result.catch(() => undefined);
    return result;
  }

  repeat(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state: State,
    options: RepeatOptions,
  ): AsyncGenerator<HostTensor, void, undefined> {
    return repeatByHost(this, entry, inputs, state, options);
  }

  queues(): boolean {
    return false;
  }

  private async runNow(
    name: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state: State | undefined,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    // Evaluation blocks; timers and abort signals get their turn between runs.
    await new Promise<void>((resolve) => setImmediate(resolve));
    checkOpen(this.disposed);
    const { graph, fixed } = await this.entry(name);
    const params = new Map<string, NdArray>(fixed);
    for (const param of paramsOf(graph, 'input')) {
      const tensor = inputs[param.attrs.name];
      if (!tensor) throw new ModelcError('input', `entry ${name} needs the input ${param.attrs.name}`);
      params.set(param.attrs.name, toNdArray(tensor));
    }
    const hasState = paramsOf(graph, 'state').length > 0;
    const { results } = hasState ? evaluateOn(ownState(state), graph, params, inputs) : evaluate(graph, { params });
    const kept = [...results].filter(([result]) => !wanted || wanted.includes(result));
    return Object.fromEntries(kept.map(([result, value]) => [result, fromNdArray(value)]));
  }

  private entry(name: string): Promise<Entry> {
    let entry = this.entries.get(name);
    if (!entry) {
      entry = this.load(name);
      this.entries.set(name, entry);
    }
    return entry;
  }

  private async load(name: string): Promise<Entry> {
    const { graph, constants } = this.options.trace(name);
    const fixed = new Map<string, NdArray>();
    for (const { attrs, type } of paramsOf(graph, 'weight')) {
      const shape = type.shape.map((d) => dimEval(d, {}));
      const weight = this.weights.get(attrs.name) ?? this.options.weight(attrs.name, attrs.dtype, shape);
      this.weights.set(attrs.name, weight);
      fixed.set(attrs.name, await weight);
    }
    for (const { attrs, type } of paramsOf(graph, 'constant')) {
      const data = constants.get(attrs.name);
      if (!data) throw new ModelcError('input', `graph ${graph.name} has no data for its constant ${attrs.name}`);
      fixed.set(
        attrs.name,
        ndarray(
          attrs.dtype,
          type.shape.map((d) => dimEval(d, {})),
          data,
        ),
      );
    }
    return { graph, fixed };
  }

  dispose(): void {
    this.disposed = true;
    this.entries.clear();
    this.weights.clear();
  }
}

function ownState(state: State | undefined): ReferenceState {
  if (state instanceof ReferenceState) return state;
  throw new ModelcError('input', 'the state belongs to another session');
}

/** Runs a graph on a state, which it changes. */
function evaluateOn(
  state: ReferenceState,
  graph: Graph,
  params: ReadonlyMap<string, NdArray>,
  inputs: Readonly<Record<string, HostTensor>>,
): EvalOutput {
  const appended = dimVars(graph).has('past') ? (inputs.input_ids?.shape[1] ?? 0) : 0;
  checkRoom(state.length, appended, state.dims.capacity);
  const output = evaluate(graph, {
    params: new Map([...params, ...state.arrays]),
    dims: { ...state.dims, past: state.length },
  });
  for (const [param, value] of output.updates) state.arrays.set(param, value);
  state.length += appended;
  return output;
}

class ReferenceState implements State {
  dims: StateDims;
  length = 0;
  readonly arrays = new Map<string, NdArray>();
  private readonly params: readonly Node<'param'>[];

  constructor(params: readonly Node<'param'>[], dims: StateDims) {
    this.params = params;
    this.dims = dims;
    for (const param of params) this.arrays.set(param.attrs.name, ndarray(param.attrs.dtype, this.shape(param)));
  }

  private shape(param: Node<'param'>): number[] {
    return param.type.shape.map((d) => dimEval(d, this.dims));
  }

  grow(capacity: number): void {
    if (capacity <= this.dims.capacity) return;
    this.dims = { ...this.dims, capacity };
    for (const param of this.params) {
      const { role } = param.attrs;
      if (role?.kind !== 'kv' && role?.kind !== 'mask') continue;
      const axis = role.positions;
      const old = this.arrays.get(param.attrs.name)!;
      const grown = ndarray(param.attrs.dtype, this.shape(param));
      const inner = sizeOf(old.shape.slice(axis));
      const step = sizeOf(grown.shape.slice(axis));
      for (let row = 0; row * inner < old.data.length; row++) {
        grown.data.set(old.data.subarray(row * inner, (row + 1) * inner), row * step);
      }
      this.arrays.set(param.attrs.name, grown);
    }
  }

  reorder(rows: readonly number[], keepsSource = false): void {
    checkRows(rows, this.dims.batch);
    for (const param of this.params) {
      if (keepsSource && param.attrs.role?.kind === 'cross') continue;
      const { name } = param.attrs;
      const old = this.arrays.get(name)!;
      const size = old.data.length / this.dims.batch;
      const next = ndarray(old.dtype, old.shape);
      for (const [i, row] of rows.entries()) next.data.set(old.data.subarray(row * size, (row + 1) * size), i * size);
      this.arrays.set(name, next);
    }
  }

  dispose(): void {
    this.arrays.clear();
  }
}
