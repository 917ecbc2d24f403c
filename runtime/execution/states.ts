// The states of one client of an executor: KV caches [batch, heads, capacity, head_dim] and the key mask [batch, capacity];
// of training, parameters and what an optimizer keeps. Where they lie is the executor's: buffers of a device, or arrays of
// the interpreter. Growing moves the written positions into larger memory. Reordering is carried out before the next run,
// so that permutations that follow each other are one.
import type { DType } from '../../ir/dtype.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { byteSize, evalShape, type PlanState } from '../../ir/program.ts';
import type { HostTensor, TensorData } from '../tensors/host-tensor.ts';
import { checkRows } from './cache-errors.ts';
import type { Sizes, States } from './executor.ts';

/** A side of a strided copy, in elements: where the first run of them lies, and how far the next one is from it. */
export interface Strided<B> {
  readonly memory: B;
  readonly offset: number;
  readonly step: number;
}

/** Where states lie. Sizes count elements. */
export interface StateMemory<B> {
  /** Zeroed memory. */
  alloc(dtype: DType, size: number): B;
  free(memory: B): void;
  /** `rows` runs of `size` elements. */
  copy(dtype: DType, from: Strided<B>, to: Strided<B>, size: number, rows: number): void;
  read(memory: B, dtype: DType, size: number): Promise<TensorData>;
  write(memory: B, value: HostTensor): void;
  /** Zeroes memory. */
  clear(memory: B): void;
}

/** Memory of states, and the dims that it is for. */
export interface Held<B> {
  readonly dims: Sizes;
  readonly values: readonly B[];
  /** A row of a size, by dtype and size: where rows that change places are set aside. */
  readonly spares: Map<string, B>;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

export interface StateOptions<B> {
  readonly memory: StateMemory<B>;
  /** Does a job after the runs under way. */
  readonly enqueue: <T>(job: () => Promise<T>) => Promise<T>;
  /** Takes the memory of states that ended. */
  readonly release: (held: Held<B>) => void;
}

export class StateSet<B> implements States {
  dims: Sizes;
  length = 0;
  private values: readonly B[];
  private readonly spares: Map<string, B>;
  /** Permutations of the rows that are still to be carried out: of what is kept of sources, and of all other states. */
  private readonly pending: { source: readonly number[] | undefined; target: readonly number[] | undefined } = {
    source: undefined,
    target: undefined,
  };

  /** `held` is memory of states that ended, for as many tensors of these dims; new memory, if it is undefined. */
  constructor(
    private readonly tensors: readonly PlanState[],
    dims: Sizes,
    private readonly options: StateOptions<B>,
    held?: Held<B>,
  ) {
    const { memory } = options;
    this.dims = held?.dims ?? dims;
    this.spares = held?.spares ?? new Map();
    this.values = held?.values ?? tensors.map((t) => memory.alloc(t.dtype, sizeOf(this.shapeOf(t))));
    // Positions are written before they are read.
    if (held) for (const [i, t] of tensors.entries()) if (positionsOf(t) < 0) memory.clear(this.values[i]);
  }

  get names(): readonly string[] {
    return this.tensors.map(({ name }) => name);
  }

  get bytes(): number {
    return this.tensors.reduce((sum, t) => sum + byteSize(t, this.dims), 0);
  }

  /** Whether they lie in `memory`, which is that of one executor. */
  isOf(memory: StateMemory<B>): boolean {
    return this.options.memory === memory;
  }

  shapeOf({ shape }: PlanState): number[] {
    return evalShape(shape, this.dims);
  }

  /** The memory of a program's states, in their order; they must be among those that this was made for. */
  inOrderOf(states: readonly PlanState[]): readonly B[] {
    const values = this.live();
    if (states === this.tensors) return values;
    return states.map(({ name }) => {
      const i = this.tensors.findIndex((t) => t.name === name);
      if (i < 0) throw new ModelcError('input', `the states have no part ${name}: they belong to another program`);
      return values[i];
    });
  }

  grow(capacity: number): void {
    const old = this.dims.capacity;
    if (capacity <= old) return;
    this.dims = { ...this.dims, capacity };
    for (const spare of this.spares.values()) this.options.memory.free(spare);
    this.spares.clear();
    this.values = this.tensors.map((tensor, i) => {
      const axis = positionsOf(tensor);
      if (axis < 0) return this.values[i];
      const shape = this.shapeOf(tensor);
      const position = sizeOf(shape.slice(axis + 1));
      const grown = this.options.memory.alloc(tensor.dtype, sizeOf(shape));
      const from = { memory: this.values[i], offset: 0, step: old * position };
      const to = { memory: grown, offset: 0, step: capacity * position };
      if (this.length > 0) {
        this.options.memory.copy(tensor.dtype, from, to, this.length * position, sizeOf(shape.slice(0, axis)));
      }
      this.options.memory.free(this.values[i]);
      return grown;
    });
  }

  reorder(rows: readonly number[], keepsSource = false): void {
    checkRows(rows, this.dims.batch);
    this.pending.target = composed(this.pending.target, rows);
    if (!keepsSource) this.pending.source = composed(this.pending.source, rows);
  }

  /** Carries out what is pending. */
  settle(): void {
    const { source, target } = this.pending;
    if (!source && !target) return;
    this.pending.source = undefined;
    this.pending.target = undefined;
    for (const [i, tensor] of this.tensors.entries()) {
      const { role } = tensor;
      if (!role || role.kind === 'train') continue; // of no batch
      const rows = role.kind === 'cross' ? source : target;
      if (rows) this.permute(tensor, this.live()[i], rows, role.rows);
    }
  }

  /** Row i of a state becomes old row rows[i], in place: rows that stay are not touched, nor are positions not written. */
  private permute(tensor: PlanState, memory: B, rows: readonly number[], axis: number): void {
    const shape = this.shapeOf(tensor);
    const positions = positionsOf(tensor);
    const row = sizeOf(shape.slice(axis + 1));
    const step = positions < 0 ? row : sizeOf(shape.slice(positions));
    const size = positions < 0 ? row : (step / shape[positions]) * this.length;
    if (size === 0) return;
    const { moves, needsSpare } = movesOf(rows);
    const spare = needsSpare ? this.spare(tensor.dtype, row) : undefined;
    for (let start = 0; start < sizeOf(shape); start += shape[axis] * row) {
      const place = (at: number | 'spare'): Strided<B> =>
        at === 'spare' ? { memory: spare!, offset: 0, step } : { memory, offset: start + at * row, step };
      for (const { from, to } of moves) {
        this.options.memory.copy(tensor.dtype, place(from), place(to), size, row / step);
      }
    }
  }

  private spare(dtype: DType, size: number): B {
    const key = `${dtype} ${size}`;
    const spare = this.spares.get(key) ?? this.options.memory.alloc(dtype, size);
    this.spares.set(key, spare);
    return spare;
  }

  read(name: string): Promise<HostTensor> {
    return this.options.enqueue(async () => {
      this.settle();
      const { tensor, memory } = this.value(name);
      const shape = this.shapeOf(tensor);
      return { dtype: tensor.dtype, shape, data: await this.options.memory.read(memory, tensor.dtype, sizeOf(shape)) };
    });
  }

  write(name: string, value: HostTensor): Promise<void> {
    return this.options.enqueue(async () => {
      this.settle();
      const { tensor, memory } = this.value(name);
      const { dtype, shape, data } = value;
      const expected = this.shapeOf(tensor);
      if (dtype !== tensor.dtype || shape.length !== expected.length || shape.some((d, i) => d !== expected[i])) {
        throw new ModelcError(
          'input',
          `the state ${name} is ${tensor.dtype} [${expected}], but the value is ${dtype} [${shape}]`,
        );
      }
      if (data.byteLength !== sizeOf(expected) * dtypeInfo[dtype].bytes) {
        throw new ModelcError('input', `the value for the state ${name} has ${data.length} elements, not [${shape}]`);
      }
      this.options.memory.write(memory, value);
    });
  }

  private value(name: string): { readonly tensor: PlanState; readonly memory: B } {
    const i = this.tensors.findIndex((t) => t.name === name);
    if (i < 0) throw new ModelcError('input', `the program has no state '${name}'`);
    return { tensor: this.tensors[i], memory: this.live()[i] };
  }

  private live(): readonly B[] {
    if (this.values.length === this.tensors.length) return this.values;
    throw new ModelcError('input', 'the states have been disposed; open new ones');
  }

  /** Gives the memory back after the runs under way. */
  dispose(): void {
    const { dims, values, spares } = this;
    if (values.length === 0) return;
    this.values = [];
    void this.options.enqueue(async () => this.options.release({ dims, values, spares }));
  }
}

/** The axis of a state's positions that runs append to; -1 where it has none. */
export const positionsOf = ({ role }: PlanState): number =>
  role?.kind === 'kv' || role?.kind === 'mask' ? role.positions : -1;

/** One permutation after another; undefined where together they change nothing. */
function composed(before: readonly number[] | undefined, rows: readonly number[]): readonly number[] | undefined {
  const both = before ? rows.map((row) => before[row]) : [...rows];
  return both.every((row, i) => row === i) ? undefined : both;
}

interface Move {
  readonly from: number | 'spare';
  readonly to: number | 'spare';
}

/**
 * Copies after which row i holds old row rows[i]. A row is overwritten once nobody reads it any more; where rows change
 * places in a circle, one of them is set aside.
 */
export function movesOf(rows: readonly number[]): { readonly moves: readonly Move[]; readonly needsSpare: boolean } {
  const moves: Move[] = [];
  const readers = rows.map((_, row) => rows.filter((from, to) => from === row && to !== row).length);
  const open = new Set([...rows.keys()].filter((to) => rows[to] !== to));
  const free = [...open].filter((row) => readers[row] === 0);
  for (let to = free.pop(); to !== undefined; to = free.pop()) {
    const from = rows[to];
    moves.push({ from, to });
    open.delete(to);
    if (--readers[from] === 0 && open.has(from)) free.push(from);
  }
  const needsSpare = open.size > 0;
  for (const first of open) {
    if (!open.has(first)) continue; // in the circle of an earlier one
    moves.push({ from: first, to: 'spare' });
    let to = first;
    for (; rows[to] !== first; to = rows[to]) {
      moves.push({ from: rows[to], to });
      open.delete(to);
    }
    moves.push({ from: 'spare', to });
    open.delete(to);
  }
  return { moves, needsSpare };
}
