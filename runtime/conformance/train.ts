// The training check of a case: four steps of AdamW on one batch give the losses that PyTorch had, and the gradients of
// the first step have its norms.
import type { Device } from '../../backends/device.ts';
import type { DeviceName } from '../../backends/index.ts';
import { AdamW, type SequenceTask, type TrainEntry, traceTraining } from '../../frontends/dsl/index.ts';
import { type Checkpoint, fittedModel, openCheckpoint, type TaskName } from '../../frontends/huggingface/index.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { checkpointWeights } from '../tensors/weight-store.ts';
import { TrainingSession } from '../trainer/training-session.ts';
import type { CaseReport } from './compare.ts';
import type { GoldenTensors } from './golden.ts';

/** f32 in another order of summation: after several steps of Adam, and of single gradients. */
const lossTolerance = 1e-4;
const normTolerance = 1e-3;
/** Norms below this part of the largest one are what rounding left of 0. */
const normFloor = 1e-3;

export interface TrainGolden {
  readonly losses: readonly number[];
  readonly grad_norms_step0: Readonly<Record<string, number>>;
}

const optimizer = AdamW({ betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01 });
const learningRate = 1e-3;

/** A task of a checkpoint, and the columns of its golden batch. */
export interface TrainedTask {
  readonly task: SequenceTask;
  readonly checkpoint: Checkpoint;
  readonly columns: Readonly<Record<string, HostTensor>>;
  /** Labels that count, where the task asks for them. */
  readonly numItems?: number;
}

/** What the decoder of a golden batch reads is what it is to say, too: it stands for the labels. */
const labelsFrom: Partial<Record<TaskName, string>> = { 'causal-lm': 'input_ids', 'seq2seq-lm': 'decoder_input_ids' };

/** The golden batch of a checkpoint's model. That of a decoder is trained on without its mask. */
export async function trainedTask(folder: string, name: TaskName, tensors: GoldenTensors): Promise<TrainedTask> {
  const { task, checkpoint } = fittedModel(await openCheckpoint(folder), name);
  const unread = name === 'causal-lm' ? 'attention_mask' : 'decoder_input_ids';
  const columns: Record<string, HostTensor> = {};
  for (const column of [...task.inputs, ...task.labels]) {
    const isLabel = task.labels.includes(column);
    const tensor = tensors.get((isLabel && labelsFrom[name]) || (isLabel ? `label_${column.name}` : column.name));
    if (!tensor || column.name === unread) continue;
    const dtype = tensor.data instanceof BigInt64Array ? 'i64' : 'f32';
    columns[column.name] = { dtype, shape: tensor.shape, data: tensor.data };
  }
  const [batch, seq] = tensors.get('input_ids')?.shape ?? [];
  return { task, checkpoint, columns, ...(task.countsItems ? { numItems: batch * (seq - 1) } : {}) };
}

/** The sizes that the columns have. */
function dimsOf({ task, columns }: TrainedTask): Record<string, number> {
  const named = [...task.inputs, ...task.labels].flatMap(({ name, axes }) =>
    axes.map((axis, i) => [axis, columns[name]?.shape[i]] as const),
  );
  return Object.fromEntries(named.filter(([axis, size]) => typeof axis === 'string' && size !== undefined));
}

/**
 * Parameters by the names that transformers has for them while it computes, which differ from those of checkpoints: the
 * weights of experts are two tensors there.
 */
export function underTheirNames(parameters: readonly string[]): Map<string, string[]> {
  const names = new Map<string, string[]>();
  for (const name of parameters) {
    const theirs = name
      .replace(/^embed_out\./, 'lm_head.')
      .replace('.block_sparse_moe.', '.mlp.')
      .replace(/\.experts\.\d+\.(gate_proj|up_proj|w1|w3)\.weight$/, '.experts.gate_up_proj')
      .replace(/\.experts\.\d+\.(down_proj|w2)\.weight$/, '.experts.down_proj');
    names.set(theirs, [...(names.get(theirs) ?? []), name]);
  }
  // CamemBERT's head is declared before its encoder, so the weight that they share has the head's name
  const [embeddings, head] = [/\.embeddings\.word_embeddings\.weight$/, 'lm_head.decoder.weight'];
  const shared = parameters.filter((name) => embeddings.test(name));
  if (shared.length > 0 && !names.has(head)) names.set(head, shared);
  return names;
}

export async function checkTraining(
  report: CaseReport,
  trained: TrainedTask,
  golden: TrainGolden,
  target: DeviceName | Device,
): Promise<void> {
  const { task, checkpoint, columns, numItems } = trained;
  const entries: readonly TrainEntry[] = ['train', 'accumulate'];
  const weights = checkpointWeights(checkpoint);
  const training = traceTraining(task, entries, { optimizer, dims: dimsOf(trained) }, weights.resolve);
  const parameters = underTheirNames(training.parameters);
  const session = await TrainingSession.open({ training, target, weights });
  const items = numItems === undefined ? {} : { num_items: numItems };
  try {
    await session.run('accumulate', columns, items);
    const largest = Math.max(...Object.values(golden.grad_norms_step0));
    for (const [name, want] of Object.entries(golden.grad_norms_step0)) {
      const parts = parameters.get(name) ?? [name];
      const norms: number[] = [];
      for (const part of parts) {
        const { data } = await session.read(`grad.${part}`);
        norms.push(Math.hypot(...Array.from(data as Float32Array)));
      }
      const norm = Math.hypot(...norms);
      report.error(`grad norm of ${name}`, Math.abs(norm - want) / Math.max(want, normFloor * largest), normTolerance);
    }
    for (const [i, want] of golden.losses.entries()) {
      const { loss } = await session.run('train', columns, { learning_rate: learningRate, ...items });
      report.error(`loss of step ${i}`, Math.abs(Number(loss.data[0]) - want) / want, lossTolerance);
    }
  } finally {
    session.dispose();
  }
}
