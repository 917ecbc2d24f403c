// The session of a Trainer: what of its arguments, its task and its data decides how a step is compiled.
import {
  Embedding,
  LayerNorm,
  type Optimizer,
  RelativePositionBias,
  type SequenceTask,
  type TrainEntry,
} from '../../frontends/dsl/index.ts';
import type { TrainingArguments } from './arguments.ts';
import { isNamed, longestRow } from './data-sources.ts';
import { FittedSession } from './fitted-session.ts';
import { decays } from './optimizer-names.ts';
import type { Trainable, TrainableModel } from './trainable.ts';
import type { TrainerOptions } from './trainer-options.ts';

/** Outputs that predictions are made of. */
export const predictionNames: readonly string[] = ['logits', 'start_logits', 'end_logits'];

export interface SessionOptions {
  readonly args: TrainingArguments;
  readonly model: TrainableModel;
  readonly entries: readonly TrainEntry[];
  readonly options: TrainerOptions<Trainable>;
  readonly optimizer: Optimizer;
}

export function openSession({ args, model, entries, options, optimizer }: SessionOptions): Promise<FittedSession> {
  const { eval_dataset: evaluated, train_dataset, compute_loss_func } = options;
  const evaluations = !evaluated ? [] : isNamed(evaluated) ? Object.values(evaluated) : [evaluated];
  return FittedSession.open({
    model: args.use_cpu ? { ...model, target: 'cpu', device: undefined } : model,
    entries,
    step: {
      optimizer,
      maxGradNorm: args.max_grad_norm,
      outputs: predictionNames,
      compute: args.bf16 ? 'bf16' : args.fp16 ? 'f16' : 'f32',
      labelSmoothing: args.label_smoothing_factor,
      ...(compute_loss_func ? { loss: compute_loss_func } : {}),
    },
    checkpointing: args.gradient_checkpointing ? 'layers' : 'none',
    rows: Math.max(args.train_batch_size, args.eval_batch_size),
    length: longestRow([train_dataset, ...evaluations]),
  });
}

/** The entries of a training, with that of evaluations where there are any. */
export function trainEntriesOf({ gradient_accumulation_steps }: TrainingArguments, isEvaluated: boolean): TrainEntry[] {
  const training: TrainEntry[] = gradient_accumulation_steps > 1 ? ['accumulate', 'train_accumulated'] : ['train'];
  return isEvaluated ? [...training, 'evaluate'] : training;
}

/** Whether weight decay applies to a parameter of a task. */
export function decayed({ model }: SequenceTask): (name: string) => boolean {
  const norms = new Set([...model.modules()].flatMap(([path, module]) => (module instanceof LayerNorm ? [path] : [])));
  return (name) => decays(name, norms);
}

/** Numbers of parameters, those of embeddings not counted, as transformers estimates operations by. */
export function parameterCount({ weights, task }: TrainableModel): number {
  const embeddings = [...task.model.modules()].flatMap(([path, module]) =>
    module instanceof Embedding || module instanceof RelativePositionBias ? [path] : [],
  );
  const isEmbedding = (name: string): boolean => embeddings.some((path) => name === `${path}.weight`);
  return weights.tensors
    .filter(([name]) => !isEmbedding(name))
    .reduce((n, [, , shape]) => n + shape.reduce((a, b) => a * b, 1), 0);
}
