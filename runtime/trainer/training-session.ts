// A training program bound to a device, or to the interpreter: it holds the parameters, what the optimizer keeps and the
// accumulated gradients as states, runs entries on batches of host tensors, and reads and writes states by name. The
// program is that of frontends/dsl/train-step.ts; loops, schedules and checkpoints are the caller's.
import { createHash } from 'node:crypto';
import type { Device } from '../../backends/device.ts';
import { ignoredLabel, type Traced, type TrainEntry, type Training } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { printGraph } from '../../ir/text.ts';
import type { Checkpointing } from '../../passes/remat.ts';
import { compile } from '../compiler/compile.ts';
import { devices, type TargetName } from '../execution/devices.ts';
import { completeInputs } from '../models/sequence-inputs.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { WeightStore } from '../tensors/weight-store.ts';
import { CompiledTraining } from './compiled-training.ts';
import { InterpretedTraining } from './interpreted-training.ts';

type Tensors = Readonly<Record<string, HostTensor>>;

/** What runs a training program. */
export interface TrainingEngine {
  /** Names of all states. */
  readonly states: readonly string[];
  /** Bytes that the memory plan asks for; absent where memory is not planned. */
  readonly plannedBytes?: number;
  run(entry: TrainEntry, inputs: Tensors): Promise<Record<string, HostTensor>>;
  read(state: string): Promise<HostTensor>;
  write(state: string, value: HostTensor): void;
  dispose(): void;
}

export interface TrainingSessionOptions {
  readonly training: Training;
  /** What runs the program: a device of this machine, one that is open already, or the interpreter. */
  readonly target: TargetName | Device;
  /** First values of the parameters that are trained, and the weights that are not. */
  readonly weights: WeightStore;
  /** What the backward pass computes anew instead of keeping it from the forward pass ('none'). */
  readonly checkpointing?: Checkpointing;
}

export class TrainingSession {
  readonly training: Training;
  readonly #engine: TrainingEngine;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(training: Training, engine: TrainingEngine) {
    this.training = training;
    this.#engine = engine;
  }

  /** Compiles the program, loads it, and fills the states with their first values. */
  static async open(options: TrainingSessionOptions): Promise<TrainingSession> {
    const { training, weights } = options;
    const engine = await openEngine(options);
    const session = new TrainingSession(training, engine);
    const parameters = new Set(training.parameters);
    for (const state of engine.states) {
      if (parameters.has(state)) engine.write(state, await weights.read(state));
      else if (training.initial.has(state)) {
        const { dtype, shape, data } = await engine.read(state);
        engine.write(state, {
          dtype,
          shape,
          data: Float32Array.from(data as ArrayLike<number>).fill(training.initial.get(state)!),
        });
      }
    }
    return session;
  }

  /** Names of all states: parameters, what the optimizer keeps (`exp_avg.NAME`), accumulators, counters. */
  get states(): readonly string[] {
    return this.#engine.states;
  }

  /** Bytes of states, weights and the arena; absent for the interpreter. */
  get plannedBytes(): number | undefined {
    return this.#engine.plannedBytes;
  }

  /**
   * Runs an entry on a batch: its columns, `learning_rate` for entries that step and `num_items` for causal tasks (one
   * number each). Columns that the task can do without may be missing. Throws ModelcError 'input' where a column is
   * missing, has another shape, or where a label is no class. Runs of one session follow one another.
   */
  run(
    entry: TrainEntry,
    batch: Tensors,
    scalars: { readonly learning_rate?: number; readonly num_items?: number } = {},
  ): Promise<Record<string, HostTensor>> {
    const inputs = completeInputs(this.training.columns, batch);
    for (const [name, classes] of this.training.classes) checkLabels(name, inputs[name], classes);
    for (const [name, value] of Object.entries(scalars)) {
      inputs[name] = { dtype: 'f32', shape: [], data: Float32Array.of(value) };
    }
    const result = this.#queue.then(() => this.#engine.run(entry, inputs));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** A copy of a state's value after the runs under way. */
  async read(state: string): Promise<HostTensor> {
    const result = this.#queue.then(() => this.#engine.read(state));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  /** Replaces a state's value. */
  async write(state: string, value: HostTensor): Promise<void> {
    const result = this.#queue.then(() => this.#engine.write(state, value));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  dispose(): void {
    this.#queue = this.#queue.then(() => this.#engine.dispose());
  }
}

async function openEngine({
  training,
  target,
  weights,
  checkpointing = 'none',
}: TrainingSessionOptions): Promise<TrainingEngine> {
  const { compute } = training;
  if (target === 'reference') return InterpretedTraining.open(training, weights, checkpointing);
  const programFor = (device: Device) =>
    compile('training', entriesOf(training), device.target, { training: { compute, checkpointing } });
  if (typeof target !== 'string')
    return CompiledTraining.open({ program: programFor(target), device: target, weights });
  const { open, build } = devices[target];
  const device: Device = await open();
  const built = await build({ training: digestOf(training), compute, checkpointing, target: device.target }, () =>
    programFor(device),
  );
  return CompiledTraining.open({ ...built, device, weights });
}

/** The entries that were traced. */
export const entriesOf = ({ entries }: Training): Record<string, Traced> =>
  Object.fromEntries(Object.entries(entries).filter(([, traced]) => traced !== undefined));

/** Of all that the program follows from. */
function digestOf(training: Training): string {
  const digest = createHash('sha256');
  for (const { graph, constants } of Object.values(entriesOf(training))) {
    digest.update(printGraph(graph));
    for (const [name, data] of constants) digest.update(name).update(data);
  }
  return digest.digest('hex');
}

/** Throws ModelcError 'input' for a label that is neither a class nor to be passed over. */
function checkLabels(name: string, { shape, data }: HostTensor, classes: number): void {
  for (let i = 0; i < data.length; i++) {
    const label = Number(data[i]);
    if (label === ignoredLabel || (label >= 0 && label < classes)) continue;
    const perRow = data.length / (shape[0] || 1);
    const place = perRow > 1 ? `row ${Math.floor(i / perRow)}, position ${i % perRow}` : `row ${i}`;
    throw new ModelcError(
      'input',
      `${name} has ${label} in ${place}, but the model knows the classes 0 to ${classes - 1}; mark what does not count with ${ignoredLabel}`,
    );
  }
}
