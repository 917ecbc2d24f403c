// A session whose batches have an adapter for every row: runs get the input that tells the rows of each adapter.
import { ModelcError } from '../../ir/error.ts';
import { adapterRows } from '../../passes/lora.ts';
import type { RepeatOptions, Session, SessionLimits, State } from '../execution/session.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';

type Inputs = Readonly<Record<string, HostTensor>>;

export class RowSession implements Session {
  readonly #session: Session;
  readonly #columns: readonly string[];
  /** The adapter of each row; rows of others than `columns` have none. */
  names: readonly string[] = [];

  constructor(session: Session, columns: readonly string[]) {
    this.#session = session;
    this.#columns = columns;
  }

  get limits(): SessionLimits {
    return this.#session.limits;
  }

  plannedBytes(batch: number, capacity: number): number {
    return this.#session.plannedBytes?.(batch, capacity) ?? 0;
  }

  createState(batch: number, capacity: number): State {
    return this.#session.createState(batch, capacity);
  }

  run(entry: string, inputs: Inputs, state: State, wanted?: readonly string[]): Promise<Record<string, HostTensor>> {
    return this.#session.run(entry, this.#withRows(inputs), state, wanted);
  }

  repeat(
    entry: string,
    inputs: Inputs,
    state: State,
    options: RepeatOptions,
  ): AsyncGenerator<HostTensor, void, undefined> {
    return this.#session.repeat(entry, this.#withRows(inputs), state, options);
  }

  queues(entry: string): boolean {
    return this.#session.queues(entry);
  }

  dispose(): void {
    this.#session.dispose();
  }

  /** Beams of one row follow each other, so a batch is a multiple of the rows. */
  #withRows(inputs: Inputs): Inputs {
    const batch = inputs.input_ids.shape[0];
    const times = batch / this.names.length;
    if (!Number.isInteger(times)) {
      throw new ModelcError('input', `adapter_names has ${this.names.length} names, but input_ids has ${batch} rows; give one name per row`); // biome-ignore format: one row
    }
    const data = new Float32Array(batch * this.#columns.length);
    for (let row = 0; row < batch; row++) {
      const column = this.#columns.indexOf(this.names[Math.floor(row / times)]);
      if (column >= 0) data[row * this.#columns.length + column] = 1;
    }
    return { ...inputs, [adapterRows]: { dtype: 'f32', shape: [batch, this.#columns.length], data } };
  }
}
