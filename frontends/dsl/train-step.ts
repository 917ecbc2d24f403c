// The entries of a training program, from a task and an optimizer. `train` is a whole step: forward, backward, clipping by
// the global norm of the gradients, and the optimizer's update. Where gradients of several micro-batches make one step,
// `accumulate` adds those of one to the states `grad.NAME`, and `train_accumulated` those of the last one, then steps.
// `evaluate` gives the loss and outputs. Parameters that are trained are states under their own names, and so is what the
// optimizer keeps of them (`exp_avg.NAME`); the others are weights. All entries share states, so they are one program.
// Inputs are those of the task, its labels, the scalar `learning_rate` and, where the loss is divided by the number of
// labels of a whole window, the scalar `num_items`.
import { type Dim, dimConst } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { type Graph, roots, topologicalOrder } from '../../ir/graph.ts';
import { isOp, type OpName } from '../../ir/node.ts';
import { withDropout } from './dropout.ts';
import { gradients } from './gradient.ts';
import { FixedParameter, Parameter, type WeightResolver } from './module.ts';
import type { Optimizer } from './optimizers.ts';
import type { SequenceInput, SequenceTask, Tensors } from './sequence-task.ts';
import { arange, scalar, type Tensor, where } from './tensor.ts';
import { type Traced, type Tracer, trace } from './trace.ts';

/** The entry points that traceTraining makes. */
export const trainEntries = ['train', 'accumulate', 'train_accumulated', 'evaluate'] as const;
/** One of trainEntries. */
export type TrainEntry = (typeof trainEntries)[number];

/** How a step of training is made. */
export interface TrainStepOptions {
  /** What turns gradients into new parameters. */
  readonly optimizer: Optimizer;
  /** Upper bounds of the dims that the task's inputs name: { batch: 8, seq: 512 }. */
  readonly dims: Readonly<Record<string, number>>;
  /** Which parameters are trained (all). */
  readonly isTrained?: (name: string) => boolean;
  /** Gradients whose global norm is larger are scaled down to it; 0, the default: they stay as they are. */
  readonly maxGradNorm?: number;
  /** Outputs of the task that `evaluate` gives besides `loss` (`logits`). */
  readonly outputs?: readonly string[];
  /** The share of the target that is spread over all classes (0); with it, losses are divided by `num_items`. */
  readonly labelSmoothing?: number;
  /** The loss, in place of the task's own. */
  readonly loss?: SequenceTask['loss'];
  /**
   * What products round their operands to; sums, and all else, are f32. With f16 the loss is scaled as torch.amp.GradScaler
   * does. Default: f32.
   */
  readonly compute?: 'f32' | 'bf16' | 'f16';
}

/** States of a training program that are no values of parameters. */
export const trainStates = {
  /** Optimizer steps that were taken, i32. */
  step: 'step',
  /** Micro-batches whose gradients are in the accumulators, i32. */
  accumulated: 'accumulated',
  /** Steps that were left out, i32. */
  skipped: 'skipped',
  /** What the loss is multiplied by before it is differentiated, f32, and steps since it was changed, i32. */
  lossScale: 'loss_scale',
  growth: 'loss_scale.growth',
  /** u32 [2], where something is dropped at random: the seed, which may be written, and a counter of runs. */
  random: 'random',
  /** The accumulator of a parameter. */
  gradient: (parameter: string): string => `grad.${parameter}`,
  /** What the optimizer keeps of a parameter under `name`. */
  moment: (name: string, parameter: string): string => `${name}.${parameter}`,
} as const;

/** A training program before it is compiled. */
export interface Training {
  /** The graph of every entry that was asked for. */
  readonly entries: Readonly<Partial<Record<TrainEntry, Traced>>>;
  /** What a batch consists of: the inputs of the task, then its labels. */
  readonly columns: readonly SequenceInput[];
  /** The columns of labels that are numbers of classes, and how many classes there are. */
  readonly classes: ReadonlyMap<string, number>;
  /** The names of the parameters that are states, in the order of the model's fields. */
  readonly parameters: readonly string[];
  /** Whether entries take `num_items`. */
  readonly countsItems: boolean;
  /** What states other than parameters are filled with at first, where that is not 0. */
  readonly initial: ReadonlyMap<string, number>;
  /** What products round their operands to. */
  readonly compute: 'f32' | 'bf16' | 'f16';
}

/** The entries of a training program. Throws ModelcError 'input' where the loss depends on no parameter that is trained. */
export function traceTraining(
  task: SequenceTask,
  entries: readonly TrainEntry[],
  options: TrainStepOptions,
  weights: WeightResolver,
): Training {
  const traced = entries.map((entry) => [entry, traceTrainStep(task, entry, options, weights)] as const);
  const states = new Map(
    traced.flatMap(([, { graph }]) =>
      graph.params.flatMap((p) => (p.attrs.kind === 'state' ? [[p.attrs.name, p] as const] : [])),
    ),
  );
  const parameters = [...task.model.named().keys()].filter((name) => states.has(name));
  const initial = new Map<string, number>(
    states.has(trainStates.lossScale) ? [[trainStates.lossScale, initialLossScale]] : [],
  );
  for (const name of parameters) {
    const kept = options.optimizer.state({ name, shape: states.get(name)!.type.shape });
    for (const [moment, { initial: value }] of Object.entries(kept)) {
      const state = trainStates.moment(moment, name);
      if (value !== 0 && states.has(state)) initial.set(state, value);
    }
  }
  return {
    entries: Object.fromEntries(traced),
    columns: [...task.inputs, ...task.labels],
    classes: new Map(traced.flatMap(([, { graph }]) => [...classesOf(graph)])),
    parameters,
    countsItems: countsItems(task, options),
    initial,
    compute: options.compute ?? 'f32',
  };
}

const countsItems = (task: SequenceTask, options: TrainStepOptions): boolean =>
  task.countsItems || options.loss !== undefined || smoothingOf(task, options) > 0;

/** Smoothing is for the column `labels`; transformers looks for no other. */
const smoothingOf = (task: SequenceTask, { labelSmoothing = 0 }: TrainStepOptions): number =>
  task.labels.some(({ name }) => name === 'labels') ? labelSmoothing : 0;

/** Ops that only move labels. */
const moves: readonly OpName[] = ['slice', 'concat', 'reshape', 'transpose'];

/** Inputs that cross entropies take as numbers of classes, and how many classes there are. */
function classesOf(graph: Graph): Map<string, number> {
  const found = new Map<string, number>();
  for (const node of topologicalOrder(roots(graph))) {
    if (!isOp(node, 'cross_entropy')) continue;
    const [logits, labels] = node.args;
    const classes = dimConst(logits.type.shape[logits.type.shape.length - 1]);
    const stack = [labels];
    for (let n = stack.pop(); n; n = stack.pop()) {
      if (moves.includes(n.op)) stack.push(...n.args);
      else if (isOp(n, 'param') && classes !== undefined) found.set(n.attrs.name, classes);
    }
  }
  return found;
}

/**
 * Graph of an entry. Results: `loss`; of those that step, `grad_norm` as well, which is the norm before clipping, and
 * `skipped`: 1 where one of the two is not finite, so that the step is left out and every state but the loss scale stays as it is.
 */
function traceTrainStep(
  task: SequenceTask,
  entry: TrainEntry,
  options: TrainStepOptions,
  weights: WeightResolver,
): Traced {
  const fields = task.model.named();
  const isTrained = (name: string): boolean =>
    !(fields.get(name) instanceof FixedParameter) && (options.isTrained?.(name) ?? true);
  return trace(
    entry,
    task.model,
    weights,
    (t) => {
      const batch = new Batch(t, task, options, entry !== 'evaluate');
      if (entry === 'evaluate') return batch.evaluate(options.outputs ?? ['logits']);
      const loss = batch.loss();
      t.result('loss', loss);
      const parameters = trainedParameters(task, loss, isTrained);
      const scaler = options.compute === 'f16' ? new LossScaler(t) : undefined;
      const fresh = gradients(
        scaler ? loss.mul(scaler.scale) : loss,
        parameters.map((p) => p.tensor),
      );
      switch (entry) {
        case 'train':
          return step(t, options, parameters, { loss, gradients: fresh }, scaler);
        case 'accumulate':
        case 'train_accumulated': {
          const count = counter(t, trainStates.accumulated);
          const totals = parameters.map(({ name, tensor }, i) => {
            const sum = t.state(trainStates.gradient(name), 'f32', tensor.shape, { kind: 'train', of: name });
            // what an earlier window left there does not count
            const total = where(count.gt(0).broadcastTo(sum.shape), sum, 0).add(fresh[i]);
            t.update(sum, total);
            return total;
          });
          t.update(count, entry === 'accumulate' ? count.add(1) : scalar(0, 'i32'));
          return entry === 'accumulate' ? undefined : step(t, options, parameters, { loss, gradients: totals }, scaler);
        }
        default:
          entry satisfies never;
      }
    },
    isTrained,
  );
}

/** A number of steps that training counts. */
const counter = (t: Tracer, name: string): Tensor => t.state(name, 'i32', [], { kind: 'train', of: name });

/** The key of a run's random bits: the seed, and how many runs there were. */
function randomKey(t: Tracer): Tensor {
  const key = t.state(trainStates.random, 'u32', [2], { kind: 'train', of: trainStates.random });
  t.update(key, key.add(arange(2, 'u32')));
  return key;
}

/** The inputs of one run of a task. */
class Batch {
  readonly #task: SequenceTask;
  readonly #tracer: Tracer;
  readonly #dims = new Map<string, Dim>();
  readonly #options: TrainStepOptions;
  readonly #outputs: Tensors;
  readonly #labels: Tensors;

  constructor(tracer: Tracer, task: SequenceTask, options: TrainStepOptions, isTraining: boolean) {
    this.#tracer = tracer;
    this.#task = task;
    this.#options = options;
    const named = (inputs: readonly SequenceInput[]): Tensors =>
      Object.fromEntries(inputs.map((input) => [input.name, this.#input(input)]));
    const inputs = named(task.inputs);
    this.#outputs = isTraining
      ? withDropout(
          () => randomKey(tracer),
          () => task.outputs(inputs),
        )
      : task.outputs(inputs);
    this.#labels = named(task.labels);
  }

  #input({ name, dtype, axes }: SequenceInput): Tensor {
    const shape = axes.map((axis) => (typeof axis === 'number' ? axis : this.#dim(axis)));
    return this.#tracer.input(name, dtype, shape);
  }

  #dim(name: string): Dim {
    const known = this.#dims.get(name);
    if (known) return known;
    const { dims } = this.#options;
    if (!Object.hasOwn(dims, name)) {
      throw new ModelcError('input', `the task has inputs along '${name}'; name the most that it can be in \`dims\``);
    }
    const declared = this.#tracer.dim(name, 1, dims[name]);
    this.#dims.set(name, declared);
    return declared;
  }

  /** The loss to be trained on: its sum over the micro-batches of a window is that of the window. */
  loss(): Tensor {
    const numItems = countsItems(this.#task, this.#options) ? this.#tracer.input('num_items', 'f32', []) : undefined;
    const loss = this.#options.loss ?? this.#task.loss;
    return loss(this.#outputs, this.#labels, { numItems, smoothing: smoothingOf(this.#task, this.#options) });
  }

  evaluate(names: readonly string[]): void {
    if (this.#task.labels.length > 0) this.#tracer.result('loss', this.loss());
    for (const name of names) {
      if (Object.hasOwn(this.#outputs, name)) this.#tracer.result(name, this.#outputs[name]);
    }
  }
}

interface TrainedParameter {
  readonly name: string;
  readonly tensor: Tensor;
}

/** The parameters that are trained and that the loss depends on, in the order of the model's fields. */
function trainedParameters(
  { model }: SequenceTask,
  loss: Tensor,
  isTrained: (name: string) => boolean,
): TrainedParameter[] {
  const used = new Set(topologicalOrder([loss.node]));
  const found = [...model.named()].flatMap(([name, field]) => {
    if (!(field instanceof Parameter) || !isTrained(name)) return [];
    const tensor = field.stored;
    return used.has(tensor.node) ? [{ name, tensor }] : [];
  });
  if (found.length === 0) {
    throw new ModelcError('input', 'the loss depends on no parameter that is trained; train at least one');
  }
  return found;
}

/** The square root of the sum of all squares. Rows first: each is summed by itself. */
function globalNorm(tensors: readonly Tensor[]): Tensor {
  const sums = tensors.map((x) => {
    let sum = x.square();
    while (sum.rank > 0) sum = sum.sum(-1);
    return sum;
  });
  return sums.reduce((a, b) => a.add(b)).sqrt();
}

const isNumber = (x: Tensor): Tensor => x.sub(x).eq(0);

/** Clips the gradients and updates the parameters, as torch.nn.utils.clip_grad_norm_ and the optimizer's step do. */
function step(
  t: Tracer,
  { optimizer, maxGradNorm = 0 }: TrainStepOptions,
  parameters: readonly TrainedParameter[],
  given: { readonly loss: Tensor; readonly gradients: readonly Tensor[] },
  scaler: LossScaler | undefined,
): void {
  const raw = scaler ? given.gradients.map((g) => g.div(scaler.scale)) : given.gradients;
  const norm = globalNorm(raw);
  t.result('grad_norm', norm);
  const isTaken = isNumber(norm).and(isNumber(given.loss));
  /** A state's new value, or the old one where the step is left out. */
  const update = (state: Tensor, value: Tensor): void => t.update(state, where(isTaken, value, state));
  const skipped = isTaken.not().cast('i32');
  const left = counter(t, trainStates.skipped);
  t.result('skipped', skipped);
  t.update(left, left.add(skipped));
  scaler?.update(isTaken);
  const scale = scalar(maxGradNorm).div(norm.add(1e-6)).minimum(1);
  const learningRate = t.input('learning_rate', 'f32', []);
  const steps = counter(t, trainStates.step);
  const next = steps.add(1);
  update(steps, next);
  parameters.forEach(({ name, tensor }, i) => {
    const states: Record<string, Tensor> = {};
    for (const [moment, { shape }] of Object.entries(optimizer.state({ name, shape: tensor.shape }))) {
      states[moment] = t.state(trainStates.moment(moment, name), 'f32', shape, { kind: 'train', of: name });
    }
    const gradient = maxGradNorm > 0 ? raw[i].mul(scale) : raw[i];
    const after = optimizer.update({ name, parameter: tensor, gradient, states, learningRate, step: next.cast('f32') });
    update(tensor, after.parameter);
    for (const [moment, state] of Object.entries(states)) update(state, after.states[moment]);
  });
}

/** Steps without an overflow after which the scale is doubled. */
const growthInterval = 2000;
const initialLossScale = 65536;
/** The largest power of 2 in f32: a scale that became infinite would never come back. */
const largestLossScale = 2 ** 127;

/** The dynamic loss scale of torch.amp.GradScaler. */
class LossScaler {
  readonly scale: Tensor;
  readonly #tracer: Tracer;

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
    this.scale = tracer.state(trainStates.lossScale, 'f32', [], { kind: 'train', of: trainStates.lossScale });
  }

  update(isTaken: Tensor): void {
    const t = this.#tracer;
    const growth = counter(t, trainStates.growth);
    const isDue = growth.add(1).ge(growthInterval);
    const grown = this.scale.mul(2).minimum(largestLossScale);
    t.update(this.scale, where(isTaken, where(isDue, grown, this.scale), this.scale.mul(0.5)));
    t.update(growth, where(isTaken.and(isDue.not()), growth.add(1), 0));
  }
}
