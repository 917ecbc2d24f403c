// What a Trainer is made of, and what it gives.
import type { Optimizer, SequenceTask } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { DataCollator } from '../data/index.ts';
import { Seq2SeqTrainingArguments, TrainingArguments } from './arguments.ts';
import type { TrainerCallback } from './callbacks.ts';
import type { Saveable } from './checkpoint.ts';
import type { DataSource, NamedSources } from './data-sources.ts';
import type { ComputeMetrics, Predictions } from './evaluation.ts';
import type { Metrics } from './metrics.ts';
import type { Schedule } from './schedulers.ts';
import type { Trainable } from './trainable.ts';

/** What a Trainer is made of: names and defaults are those of transformers. */
export interface TrainerOptions<M extends Trainable = Trainable> {
  /** The model; its weights change in the training. */
  readonly model?: M;
  /** Makes the model when train() begins, in place of `model`. */
  readonly model_init?: () => M | Promise<M>;
  /** How to train (new TrainingArguments()). */
  readonly args?: TrainingArguments;
  /** Default: pads with processing_class where that is a tokenizer, else makes tensors of examples of one length. */
  readonly data_collator?: DataCollator;
  /** What train() learns from. */
  readonly train_dataset?: DataSource;
  /** What evaluate() measures, or several datasets by name. */
  readonly eval_dataset?: DataSource | NamedSources;
  /** The tokenizer or processor, which is saved with the model. */
  readonly processing_class?: Saveable;
  /** The loss, written in the DSL, in place of the model's own. `num_items` counts the labels of a whole window. */
  readonly compute_loss_func?: SequenceTask['loss'];
  /** Measures predictions beside labels; its results are logged as eval_NAME. */
  readonly compute_metrics?: ComputeMetrics;
  /** What is done at the events of a training besides: classes, or objects. */
  readonly callbacks?: readonly TrainerCallback[];
  /** The optimizer and the schedule, in place of what the arguments name; null: what they name. */
  readonly optimizers?: readonly [Optimizer | null, Schedule | null];
  /** What compute_metrics gets in place of a batch's predictions: their argmax, say, which takes less memory. */
  readonly preprocess_logits_for_metrics?: (logits: Predictions, labels: Predictions | undefined) => Predictions;
}

/** What train() gives. */
export interface TrainOutput {
  /** Optimizer steps that were taken, those before a resumption included. */
  readonly global_step: number;
  /** The mean loss of all steps. */
  readonly training_loss: number;
  /** Time, speed and loss of the training. */
  readonly metrics: Metrics;
}
/** What predict() gives. */
export interface PredictionOutput {
  /** What the model gave: logits, or generated ids with predict_with_generate. */
  readonly predictions: Predictions;
  /** The labels; undefined where the dataset has none. */
  readonly label_ids: Predictions | undefined;
  /** What was measured, with the prefix of the call ('test'). */
  readonly metrics: Metrics;
}
/** Options of train(). */
export interface TrainOptions {
  /** A checkpoint folder; true: the last one in output_dir. Default: args.resume_from_checkpoint. */
  readonly resume_from_checkpoint?: string | boolean;
}

const trainerOptions = [
  'model', 'model_init', 'args', 'data_collator', 'train_dataset', 'eval_dataset', 'processing_class', 'compute_loss_func',
  'compute_metrics', 'callbacks', 'optimizers', 'preprocess_logits_for_metrics',
] as const satisfies readonly (keyof TrainerOptions)[]; // biome-ignore format: one table

/** Throws ModelcError for options that a Trainer does not take, or takes in another form. */
export function checkTrainerOptions(options: object): void {
  if (Object.hasOwn(options, 'tokenizer')) {
    throw new ModelcError('input', 'Trainer takes the tokenizer as `processing_class`');
  }
  checkOptions('Trainer', options, trainerOptions, { optimizer_cls_and_kwargs: null });
  const { args, callbacks }: { args?: unknown; callbacks?: unknown } = options;
  if (args !== undefined && !(args instanceof TrainingArguments || args instanceof Seq2SeqTrainingArguments)) {
    throw new ModelcError('input', 'Trainer takes `args` as new TrainingArguments({ … })');
  }
  if (callbacks !== undefined && !Array.isArray(callbacks)) {
    throw new ModelcError('input', 'Trainer takes `callbacks` as an array');
  }
}
