// A small model to train in tests: a Llama of two layers with made weights, and batches for it.
import {
  AdamW,
  Parameter,
  type SequenceTask,
  type TrainEntry,
  type Training,
  type TrainStepOptions,
  traceTraining,
} from '../../frontends/dsl/index.ts';
import { describeModel } from '../../frontends/huggingface/index.ts';
import { fromNdArray, type HostTensor } from '../../runtime/tensors/host-tensor.ts';
import { memoryWeights } from '../../runtime/tensors/weight-store.ts';
import { TrainingSession, type TrainingSessionOptions } from '../../runtime/trainer/training-session.ts';
import { uniform } from './cases/case.ts';

export const vocab = 48;
const config = {
  model_type: 'llama', hidden_size: 16, intermediate_size: 32, num_hidden_layers: 3, num_attention_heads: 4,
  num_key_value_heads: 2, vocab_size: vocab, max_position_embeddings: 64,
}; // biome-ignore format: one row

export const smallTask = (): SequenceTask => describeModel(config, 'config', 'causal-lm').task;

/** Weights around 0 for a model, those of its norms around 1. */
export function madeWeights({ model }: SequenceTask): ReadonlyMap<string, HostTensor> {
  return new Map(
    [...model.named()].flatMap(([name, field], i) => {
      if (!(field instanceof Parameter)) return [];
      const middle = field.shape.length === 1 ? 1 : 0;
      return [[name, fromNdArray(uniform(field.shape, i, middle - 0.2, middle + 0.2))] as const];
    }),
  );
}

/** Rows of token ids. */
export function batchOf(rows: number, length: number, seed = 1): HostTensor {
  const { data } = uniform([rows, length], seed, 0, vocab);
  return { dtype: 'i32', shape: [rows, length], data: Int32Array.from(data, Math.floor) };
}

/** The labels that count when rows are both input and labels. */
export const itemsOf = ({ shape: [rows, length] }: HostTensor): number => rows * (length - 1);

export interface Opened extends Partial<TrainStepOptions> {
  readonly task?: SequenceTask;
  readonly target?: TrainingSessionOptions['target'];
  readonly checkpointing?: TrainingSessionOptions['checkpointing'];
  readonly entries?: readonly TrainEntry[];
}

/** The program that a session of these options runs. */
export function tracedTraining({ task = smallTask(), entries = ['train'], ...options }: Opened = {}): Training {
  const { resolve } = memoryWeights(madeWeights(task));
  return traceTraining(task, entries, { optimizer: AdamW(), dims: { batch: 4, seq: 16 }, ...options }, resolve);
}

/** A session in the interpreter, unless another target is named. */
export function openTraining(options: Opened = {}): Promise<TrainingSession> {
  const { task = smallTask(), target = 'reference', checkpointing = 'none' } = options;
  const weights = memoryWeights(madeWeights(task));
  return TrainingSession.open({ training: tracedTraining({ ...options, task }), target, weights, checkpointing });
}
