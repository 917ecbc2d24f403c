// The training check of a case: four steps of AdamW on one batch give the losses that PyTorch had, and the gradients of
// the first step have its norms.
import type { Device } from '../../backends/device.ts';
import { AdamW, causalTask, type SequenceTask, type TrainEntry, traceTraining } from '../../frontends/dsl/index.ts';
import { type Checkpoint, causalLM, openCheckpoint } from '../../frontends/huggingface/index.ts';
import type { TargetName } from '../execution/devices.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { checkpointWeights } from '../tensors/weight-store.ts';
import { TrainingSession } from '../trainer/training-session.ts';
import type { GoldenTensors } from './checks.ts';
import type { CaseReport } from './compare.ts';

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

/** A causal language model on the golden input, all of whose tokens are labels. */
export async function causalTraining(folder: string, tensors: GoldenTensors): Promise<TrainedTask> {
  const { model, checkpoint } = causalLM(await openCheckpoint(folder));
  const ids = tensors.get('input_ids')!;
  const [batch, seq] = ids.shape;
  const input: HostTensor = { dtype: 'i64', shape: ids.shape, data: ids.data };
  return {
    task: causalTask(model),
    checkpoint,
    columns: { input_ids: input, labels: input },
    numItems: batch * (seq - 1),
  };
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
  target: TargetName | Device,
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
