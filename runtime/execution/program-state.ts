// The state buffers of one generation on a device: KV caches [batch, heads, capacity, head_dim] and the key mask
// [batch, capacity]. Growing moves the written positions into larger buffers; reordering is carried out before the next
// run, through the host, because it may need to wait for the device.
import type { Buffer, Device } from '../../backends/device.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { PlanState, PlanTensor } from '../../ir/program.ts';
import { checkRows } from './cache-errors.ts';
import { evalShape } from './plan-dims.ts';
import type { State } from './session.ts';

export class ProgramState implements State {
  dims: State['dims'] & { readonly batch: number; readonly capacity: number };
  length = 0;
  private buffers: Buffer[];
  /** Permutations of the rows that are still to be carried out: of what is kept of sources, and of all other states. */
  private readonly pending: { source: readonly number[] | undefined; target: readonly number[] | undefined } = {
    source: undefined,
    target: undefined,
  };

  constructor(
    private readonly device: Device,
    private readonly tensors: readonly PlanState[],
    dims: ProgramState['dims'],
  ) {
    this.dims = dims;
    this.buffers = tensors.map((t) => device.alloc(this.bytes(t), t.dtype));
  }

  private bytes(tensor: PlanTensor): number {
    return evalShape(tensor.shape, this.dims).reduce((n, d) => n * d, dtypeInfo[tensor.dtype].bytes);
  }

  /** The buffers of a program's states; it must have the states that this was made for, in any order. */
  inOrderOf(states: readonly PlanState[]): Buffer[] {
    return states.map(({ name }) => {
      const i = this.tensors.findIndex((t) => t.name === name);
      if (i < 0) throw new ModelcError('input', `the state has no part ${name}: it belongs to another program`);
      return this.buffers[i];
    });
  }

  grow(capacity: number): void {
    const old = this.dims.capacity;
    if (capacity <= old) return;
    this.dims = { ...this.dims, capacity };
    this.buffers = this.tensors.map((tensor, i) => {
      const { role } = tensor;
      if (role?.kind !== 'kv' && role?.kind !== 'mask') return this.buffers[i];
      const axis = role.positions;
      const shape = evalShape(tensor.shape, this.dims);
      const position = shape.slice(axis + 1).reduce((n, d) => n * d, dtypeInfo[tensor.dtype].bytes);
      const rows = shape.slice(0, axis).reduce((n, d) => n * d, 1);
      const grown = this.device.alloc(this.bytes(tensor), tensor.dtype);
      const written = this.length * position;
      if (written > 0) {
        this.device.copy(this.buffers[i], old * position, grown, capacity * position, written, rows);
      }
      this.device.free(this.buffers[i]);
      return grown;
    });
  }

  reorder(rows: readonly number[], keepsSource = false): void {
    checkRows(rows, this.dims.batch);
    this.pending.target = composed(this.pending.target, rows);
    if (!keepsSource) this.pending.source = composed(this.pending.source, rows);
  }

  /** Carries out what is pending. */
  async settle(): Promise<void> {
    const { source, target } = this.pending;
    if (!source && !target) return;
    this.pending.source = undefined;
    this.pending.target = undefined;
    for (const [i, tensor] of this.tensors.entries()) {
      const rows = tensor.role?.kind === 'cross' ? source : target;
      if (!rows) continue;
      const size = this.bytes(tensor) / this.dims.batch;
      const buffer = this.device.alloc(this.bytes(tensor), tensor.dtype);
      for (const [to, from] of rows.entries()) {
        this.device.write(buffer, await this.device.read(this.buffers[i], from * size, size), to * size);
      }
      this.device.free(this.buffers[i]);
      this.buffers[i] = buffer;
    }
  }

  dispose(): void {
    for (const buffer of this.buffers) this.device.free(buffer);
    this.buffers = [];
  }
}

/** One permutation after another; undefined where together they change nothing. */
function composed(before: readonly number[] | undefined, rows: readonly number[]): readonly number[] | undefined {
  const both = before ? rows.map((row) => before[row]) : [...rows];
  return both.every((row, i) => row === i) ? undefined : both;
}
