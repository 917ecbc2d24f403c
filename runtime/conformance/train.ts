// The training check of a case: four steps of AdamW on one batch give the losses that PyTorch had, and the gradients of
// the first step have its norms.
import { AdamW, causalTask, type SequenceTask, traceTraining, type TrainEntry } from '../../frontends/dsl/index.ts';
import { causalLM, openCheckpoint } from '../../frontends/huggingface/index.ts';
import type { Device } from '../device.ts';
import type { TargetName } from '../devices.ts';
import type { HostTensor } from '../session.ts';
import { TrainingSession } from '../trainer/training-session.ts';
import { checkpointWeights } from '../trainer/weight-store.ts';
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

/** Trains a causal language model on the golden input, all of whose tokens are labels. */
export async function checkTraining(
  report: CaseReport,
  checkpoint: string,
  golden: TrainGolden,
  tensors: GoldenTensors,
  target: TargetName | Device,
): Promise<void> {
  const opened = causalLM(await openCheckpoint(checkpoint));
  const ids = tensors.get('input_ids')!;
  const [batch, seq] = ids.shape;
  const input: HostTensor = { dtype: 'i64', shape: ids.shape, data: ids.data };
  await checkSteps(report, golden, {
    task: causalTask(opened.model),
    dims: { batch, seq },
    columns: { input_ids: input, labels: input },
    numItems: batch * (seq - 1),
    open: (task, dims, entries) => {
      const weights = checkpointWeights(opened.checkpoint);
      const training = traceTraining(task, entries, { optimizer, dims }, weights.resolve);
      return TrainingSession.open({ training, target, weights });
    },
  });
}

interface Steps {
  readonly task: SequenceTask;
  readonly dims: Readonly<Record<string, number>>;
  readonly columns: Readonly<Record<string, HostTensor>>;
  readonly numItems: number;
  open(task: SequenceTask, dims: Steps['dims'], entries: readonly TrainEntry[]): Promise<TrainingSession>;
}

async function checkSteps(report: CaseReport, golden: TrainGolden, steps: Steps): Promise<void> {
  const { task, dims, columns, numItems, open } = steps;
  const session = await open(task, dims, ['train', 'accumulate']);
  try {
    await session.run('accumulate', columns, { num_items: numItems });
    const largest = Math.max(...Object.values(golden.grad_norms_step0));
    for (const [name, want] of Object.entries(golden.grad_norms_step0)) {
      const { data } = await session.read(`grad.${name}`);
      const norm = Math.hypot(...Array.from(data as Float32Array));
      report.error(`grad norm of ${name}`, Math.abs(norm - want) / Math.max(want, normFloor * largest), normTolerance);
    }
    for (const [i, want] of golden.losses.entries()) {
      const { loss } = await session.run('train', columns, { learning_rate: learningRate, num_items: numItems });
      report.error(`loss of step ${i}`, Math.abs(Number(loss.data[0]) - want) / want, lossTolerance);
    }
  } finally {
    session.dispose();
  }
}
