// A training session whose bounds follow its batches. A program is compiled for rows and lengths up to a bound; where a
// batch is larger, the program is compiled anew with larger bounds and goes on from the same states. A dataset in memory
// tells its lengths beforehand, so that this is the way of streams.
import type { TrainEntry, Training, TrainStepOptions } from '../../frontends/dsl/index.ts';
import { traceTraining } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Checkpointing } from '../../passes/remat.ts';
import type { Batch } from '../data/index.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { TrainableModel } from './trainable.ts';
import { TrainingSession } from './training-session.ts';

export interface FittedSessionOptions {
  readonly model: TrainableModel;
  readonly entries: readonly TrainEntry[];
  readonly step: Omit<TrainStepOptions, 'dims' | 'isTrained'>;
  readonly checkpointing: Checkpointing;
  /** The most rows of a batch. */
  readonly rows: number;
  /** Tokens of the longest row, where that is known. */
  readonly length: number | undefined;
}

/** Lengths become multiples of this, so that data that differs a little finds the same compiled program. */
const grain = 64;

type Scalars = Parameters<TrainingSession['run']>[2];

export class FittedSession {
  readonly #options: FittedSessionOptions;
  #bounds: Readonly<Record<string, number>>;
  #session: TrainingSession;

  private constructor(
    options: FittedSessionOptions,
    bounds: Readonly<Record<string, number>>,
    session: TrainingSession,
  ) {
    this.#options = options;
    this.#bounds = bounds;
    this.#session = session;
  }

  static async open(options: FittedSessionOptions): Promise<FittedSession> {
    const { task } = options.model;
    const axes = [...task.inputs, ...task.labels].flatMap((column) => column.axes);
    const names = new Set(axes.filter((axis) => typeof axis === 'string'));
    const length = boundOf(options.length ?? grain, options.model);
    const bounds = Object.fromEntries([...names].map((name) => [name, name === 'batch' ? options.rows : length]));
    return new FittedSession(options, bounds, await openSession(options, bounds));
  }

  get training(): Training {
    return this.#session.training;
  }
  get states(): readonly string[] {
    return this.#session.states;
  }
  get plannedBytes(): number | undefined {
    return this.#session.plannedBytes;
  }

  /** As TrainingSession.run. Throws ModelcError 'input' for rows that are longer than the model has positions for. */
  async run(entry: TrainEntry, batch: Batch, scalars?: Scalars): Promise<Record<string, HostTensor>> {
    await this.#fit(batch);
    return this.#session.run(entry, batch, scalars);
  }
  read(state: string): Promise<HostTensor> {
    return this.#session.read(state);
  }
  write(state: string, value: HostTensor): Promise<void> {
    return this.#session.write(state, value);
  }
  dispose(): void {
    this.#session.dispose();
  }

  async #fit(batch: Batch): Promise<void> {
    const larger: Record<string, number> = {};
    for (const { name, axes } of this.training.columns) {
      const column = Object.hasOwn(batch, name) ? batch[name] : undefined;
      if (column?.shape.length !== axes.length) continue; // what is wrong with it is said where it is run
      for (const [i, axis] of axes.entries()) {
        if (typeof axis !== 'string' || column.shape[i] <= Math.max(this.#bounds[axis], larger[axis] ?? 0)) continue;
        larger[axis] = axis === 'batch' ? column.shape[i] : boundOf(column.shape[i], this.#options.model);
      }
    }
    if (Object.keys(larger).length === 0) return;
    const bounds = { ...this.#bounds, ...larger };
    const next = await openSession(this.#options, bounds);
    for (const state of this.#session.states) await next.write(state, await this.#session.read(state));
    this.#session.dispose();
    this.#session = next;
    this.#bounds = bounds;
  }
}

function boundOf(length: number, { maxPositions = Number.POSITIVE_INFINITY }: TrainableModel): number {
  if (length > maxPositions) {
    throw new ModelcError(
      'input',
      `a row has ${length} tokens, but the model has positions for ${maxPositions}; ` +
        `cut texts when they are tokenized: { truncation: true, max_length: ${maxPositions} }`,
    );
  }
  return Math.min(Math.ceil(length / grain) * grain, maxPositions);
}

function openSession(
  { model, entries, step, checkpointing }: FittedSessionOptions,
  dims: Readonly<Record<string, number>>,
): Promise<TrainingSession> {
  const { task, weights, isTrained, device, target } = model;
  const training = traceTraining(task, entries, { ...step, dims, ...(isTrained && { isTrained }) }, weights.resolve);
  return TrainingSession.open({ training, target: device ?? target, weights, checkpointing });
}
