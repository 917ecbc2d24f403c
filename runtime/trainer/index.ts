// The Trainer and what belongs to it, under the names of transformers.
export {
  Seq2SeqTrainingArguments,
  type Seq2SeqTrainingArgumentsOptions,
  TrainingArguments,
  type TrainingArgumentsOptions,
} from './arguments.ts';
export { CurveCallback } from './callbacks/curve.ts';
export { EarlyStoppingCallback, type EarlyStoppingOptions } from './callbacks/early-stopping.ts';
export { PrinterCallback } from './callbacks/printer.ts';
export { ProgressCallback, type ProgressOptions } from './callbacks/progress.ts';
export { TensorBoardCallback, type TensorBoardOptions } from './callbacks/tensorboard.ts';
export { type CallbackContext, DefaultFlowCallback, type TrainerCallback } from './callbacks.ts';
export { get_last_checkpoint } from './checkpoint.ts';
export { curveSvg } from './curve.ts';
export { curveHtml, type PageNames } from './curve-page.ts';
export type { DataSource, NamedSources } from './data-sources.ts';
export type { ComputeMetrics, EvalPrediction, Predictions } from './evaluation.ts';
export type { Metrics } from './metrics.ts';
export { get_scheduler, SchedulerType } from './schedulers.ts';
export {
  type EvaluationGeneration,
  Seq2SeqTrainer,
  type Seq2SeqTrainerOptions,
  type TrainableGenerator,
} from './seq2seq-trainer.ts';
export { Trainer } from './trainer.ts';
export type { PredictionOutput, TrainerOptions, TrainOptions, TrainOutput } from './trainer-options.ts';
export { TrainerControl, TrainerState } from './trainer-state.ts';
