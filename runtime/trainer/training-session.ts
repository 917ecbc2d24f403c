// A training program on an executor: its states are the parameters, what the optimizer keeps and the accumulated gradients;
// it runs entries on batches of host tensors, and reads and writes states by name. The program is that of
// frontends/dsl/train-step.ts; loops, schedules and checkpoints are the caller's.
import type { Device } from '../../backends/device.ts';
import type { DeviceName } from '../../backends/index.ts';
import { ignoredLabel, type Traced, type TrainEntry, type Training } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Checkpointing } from '../../passes/remat.ts';
import { digestOf } from '../compiler/program-cache.ts';
import type { Executor, States, Tensors } from '../execution/executor.ts';
import { openExecutor } from '../execution/open-executor.ts';
import { completeInputs } from '../models/sequence-inputs.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { WeightStore } from '../tensors/weight-store.ts';

export interface TrainingSessionOptions {
  readonly training: Training;
  /** What runs the program: a device of this machine, one that is open already, or the interpreter. */
  readonly target: DeviceName | Device;
  /** First values of the parameters that are trained, and the weights that are not. */
  readonly weights: WeightStore;
  /** What the backward pass computes anew instead of keeping it from the forward pass ('none'). */
  readonly checkpointing?: Checkpointing;
}

export class TrainingSession {
  private constructor(
    readonly training: Training,
    private readonly executor: Executor,
    private readonly values: States,
  ) {}

  /** Compiles the program, loads it, and fills the states with their first values. */
  static async open(options: TrainingSessionOptions): Promise<TrainingSession> {
    const { training, weights } = options;
    const executor = await executorOf(options);
    const values = executor.openStates({});
    const parameters = new Set(training.parameters);
    for (const name of values.names) {
      const initial = training.initial.get(name);
      if (parameters.has(name)) await values.write(name, await weights.read(name));
      else if (initial !== undefined) {
        const { dtype, shape, data } = await values.read(name);
        await values.write(name, { dtype, shape, data: Float32Array.from({ length: data.length }, () => initial) });
      }
    }
    return new TrainingSession(training, executor, values);
  }

  /** Names of all states: parameters, what the optimizer keeps (`exp_avg.NAME`), accumulators, counters. */
  get states(): readonly string[] {
    return this.values.names;
  }

  /** Bytes of states, weights and the arena; absent for the interpreter. */
  get plannedBytes(): number | undefined {
    return this.executor.plannedBytes?.({});
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
    return this.executor.run(entry, inputs, this.values).then(copied);
  }

  /** A copy of a state's value after the runs under way. */
  read(state: string): Promise<HostTensor> {
    return this.values.read(state);
  }

  /** Replaces a state's value. */
  write(state: string, value: HostTensor): Promise<void> {
    return this.values.write(state, value);
  }

  dispose(): void {
    this.values.dispose();
    this.executor.dispose();
  }
}

function executorOf({ training, target, weights, checkpointing = 'none' }: TrainingSessionOptions): Promise<Executor> {
  const entries = tracedEntries(training);
  return openExecutor({
    target,
    name: 'training',
    entries: () => [...entries.keys()],
    graphs: () => (entry) => {
      const traced = entries.get(entry);
      if (traced) return traced;
      const known = [...entries.keys()].join(', ');
      throw new ModelcError('input', `the training program has no entry '${entry}'; it has ${known}`);
    },
    key: () => ({ training: digestOf(entries.values()) }),
    weights,
    compile: { training: { compute: training.compute, checkpointing } },
  });
}

/** Results that the next run does not overwrite: predictions are collected over many. */
const copied = (results: Tensors): Record<string, HostTensor> =>
  Object.fromEntries(Object.entries(results).map(([name, t]) => [name, { ...t, data: t.data.slice() }]));

/** The entries that were traced. */
const tracedEntries = ({ entries }: Training): Map<string, Traced> =>
  new Map(Object.entries(entries).flatMap(([name, traced]) => (traced ? [[name, traced] as const] : [])));

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
