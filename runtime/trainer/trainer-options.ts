// What a Trainer is made of, and what it gives.
import type { Optimizer, SequenceTask } from '../../frontends/dsl/index.ts';
import type { DataCollator } from '../data/index.ts';
import type { TrainingArguments } from './arguments.ts';
import type { TrainerCallback } from './callbacks.ts';
import type { Saveable } from './checkpoint.ts';
import type { DataSource, NamedSources } from './data-sources.ts';
import type { ComputeMetrics, Predictions } from './evaluation.ts';
import type { Metrics } from './metrics.ts';
import type { Schedule } from './schedulers.ts';
import type { Trainable } from './trainable.ts';

export interface TrainerOptions<M extends Trainable = Trainable> {
  readonly model?: M;
  /** Makes the model when train() begins, in place of `model`. */
  readonly model_init?: () => M | Promise<M>;
  readonly args?: TrainingArguments;
  /** Default: pads with processing_class where that is a tokenizer, else makes tensors of examples of one length. */
  readonly data_collator?: DataCollator;
  readonly train_dataset?: DataSource;
  readonly eval_dataset?: DataSource | NamedSources;
  /** The tokenizer or processor, which is saved with the model. */
  readonly processing_class?: Saveable;
  /** The loss, written in the DSL, in place of the model's own. `num_items` counts the labels of a whole window. */
  readonly compute_loss_func?: SequenceTask['loss'];
  readonly compute_metrics?: ComputeMetrics;
  readonly callbacks?: readonly TrainerCallback[];
  /** In place of what the arguments name. */
  readonly optimizers?: readonly [Optimizer | null, Schedule | null];
  /** What compute_metrics gets in place of a batch's predictions: their argmax, say, which takes less memory. */
  readonly preprocess_logits_for_metrics?: (logits: Predictions, labels: Predictions | undefined) => Predictions;
}

export interface TrainOutput {
  readonly global_step: number;
  readonly training_loss: number;
  readonly metrics: Metrics;
}
export interface PredictionOutput {
  readonly predictions: Predictions;
  readonly label_ids: Predictions | undefined;
  readonly metrics: Metrics;
}
export interface TrainOptions {
  /** A checkpoint folder; true: the last one in output_dir. Default: args.resume_from_checkpoint. */
  readonly resume_from_checkpoint?: string | boolean;
}
