// A sequence task: a model that reads whole sequences, without a cache, what it computes from them, and the loss of that
// beside labels. Training, evaluation and encoders are traced from it. Inputs carry the names of transformers' forward.
import type { Dim } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { NoCache } from './cache.ts';
import type { CausalModel } from './causal-lm.ts';
import { causalLoss, type LossOptions } from './losses.ts';
import type { Module, WeightResolver } from './module.ts';
import { arange, type Tensor } from './tensor.ts';
import { type Traced, type Tracer, trace } from './trace.ts';

/** A column of a batch that a task reads. */
export interface SequenceInput {
  /** Its name, as in transformers: `input_ids`, `attention_mask`, `labels`, … */
  readonly name: string;
  /** What its elements are. */
  readonly dtype: DType;
  /** Sizes, or the names of dims that a run chooses: 'batch', 'seq', … */
  readonly axes: readonly (string | number)[];
  /** What the runtime passes where a batch has no such column; without this and `shifted` the column is required. */
  readonly fill?: number;
  /** The column that is passed one place to the right where a batch has none of this name: what a decoder reads. */
  readonly shifted?: ShiftedColumn;
}

/**
 * Column `from` one place to the right: `start` comes first, or the last label of the row that is no padding; `pad` stands
 * for labels that do not count.
 */
export interface ShiftedColumn {
  /** The column that it is made of. */
  readonly from: string;
  /** The token that comes first in a row; 'last': the row's last label that is no padding. */
  readonly start: number | 'last';
  /** The token that stands for labels of -100. */
  readonly pad: number;
}

/** Tensors by name. */
export type Tensors = Readonly<Record<string, Tensor>>;

/** A model and what it is run and trained for. */
export interface SequenceTask {
  /** Whose parameters are used; their paths are the names of the weights. */
  readonly model: Module;
  /** The columns that it reads, without labels. */
  readonly inputs: readonly SequenceInput[];
  /** The labels of a batch; none where a model has no loss. */
  readonly labels: readonly SequenceInput[];
  /**
   * Whether the loss is divided by the number of labels of all batches that are accumulated, as transformers does for
   * causal language models.
   */
  readonly countsItems: boolean;
  /** Results by name: `logits`, and what else there is (`hidden_states.0`, …). */
  outputs(inputs: Tensors): Tensors;
  /**
   * f32 scalar. `numItems` is the number of labels that count over all batches that are accumulated; without it, and where
   * a model does not look at it, the loss is the mean over this batch, or whatever the model defines.
   */
  loss(outputs: Tensors, labels: Tensors, options?: LossOptions): Tensor;
}

/** The named tensor. Throws ModelcError 'input' where there is none. */
export function tensorOf(tensors: Tensors, name: string): Tensor {
  const tensor = Object.hasOwn(tensors, name) ? tensors[name] : undefined;
  if (!tensor) throw new ModelcError('input', `there is no ${name}; there are ${Object.keys(tensors).join(', ')}`);
  return tensor;
}

/** The place of every token among those of its row that the mask lets be seen; -1 for the others. */
function places(mask: Tensor): Tensor {
  const seen = mask.cast('i32');
  return seen.cumsum(1).mul(seen).sub(1);
}

/** Causal language modelling: every position tells the next token. */
export function causalTask(model: CausalModel): SequenceTask {
  return {
    model,
    inputs: [
      { name: 'input_ids', dtype: 'i32', axes: ['batch', 'seq'] },
      { name: 'attention_mask', dtype: 'bool', axes: ['batch', 'seq'], fill: 1 },
    ],
    labels: [{ name: 'labels', dtype: 'i32', axes: ['batch', 'seq'] }],
    countsItems: true,
    outputs(inputs) {
      const inputIds = tensorOf(inputs, 'input_ids');
      const seq: Dim = inputIds.shape[1];
      const mask = tensorOf(inputs, 'attention_mask');
      const positionIds = model.positions === 'mask' ? places(mask) : arange(seq).broadcastTo(inputIds.shape);
      const states = model.forward({ inputIds, positionIds, attentionMask: mask, mask, cache: new NoCache(seq) });
      const normed = model.finalNorm(states[states.length - 1]);
      const hidden = states.map((state, i) => [`hidden_states.${i}`, i === states.length - 1 ? normed : state]);
      return { logits: model.logits(normed), ...Object.fromEntries(hidden) };
    },
    loss: (outputs, labels, options) => causalLoss(tensorOf(outputs, 'logits'), tensorOf(labels, 'labels'), options),
  };
}

/** Declares columns as inputs of a graph; `limits` are the upper bounds of the dims that they name. */
export function declareColumns(
  t: Tracer,
  columns: readonly SequenceInput[],
  limits: Readonly<Record<string, number>>,
): Tensors {
  const dims = new Map<string, Dim>();
  const sizeOf = (axis: string | number): Dim | number => {
    if (typeof axis === 'number') return axis;
    if (!Object.hasOwn(limits, axis)) throw new ModelcError('input', `the dim ${axis} of the inputs has no bound`);
    const size = dims.get(axis) ?? t.dim(axis, 1, limits[axis]);
    dims.set(axis, size);
    return size;
  };
  return Object.fromEntries(columns.map(({ name, dtype, axes }) => [name, t.input(name, dtype, axes.map(sizeOf))]));
}

/** What a task is run for: its outputs, or those and the `loss` beside labels. */
export const taskEntries = ['forward', 'evaluate'] as const;
/** One of taskEntries. */
export type TaskEntry = (typeof taskEntries)[number];

/** The graph of an entry; `limits` as declareColumns has them. */
export function traceTask(
  task: SequenceTask,
  entry: TaskEntry,
  limits: Readonly<Record<string, number>>,
  weights: WeightResolver,
): Traced {
  return trace(entry, task.model, weights, (t) => {
    const labels = entry === 'evaluate' ? task.labels : [];
    const columns = declareColumns(t, [...task.inputs, ...labels], limits);
    const outputs = task.outputs(columns);
    if (entry === 'evaluate') t.result('loss', task.loss(outputs, columns));
    for (const [name, tensor] of Object.entries(outputs)) t.result(name, tensor);
  });
}
