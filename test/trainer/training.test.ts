// Training steps: the golden losses and gradient norms of small models on every device, and what must hold of the program
// of a step whatever the model.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Device } from '../../backends/device.ts';
import type { DeviceName } from '../../backends/index.ts';
import { AdamW, traceTraining } from '../../frontends/dsl/index.ts';
import { fittedModel, openCheckpoint } from '../../frontends/huggingface/index.ts';
import { CaseReport } from '../../runtime/conformance/compare.ts';
import { readTensors } from '../../runtime/conformance/golden.ts';
import { checkTraining, type TrainGolden, trainedTask } from '../../runtime/conformance/train.ts';
import type { HostTensor } from '../../runtime/tensors/host-tensor.ts';
import { checkpointWeights } from '../../runtime/tensors/weight-store.ts';
import { TrainingSession } from '../../runtime/trainer/training-session.ts';
import { emulatedDevice } from '../support/cuda-device.ts';
import { hasMaterial, material, readJson } from '../support/golden.ts';
import { openWebGpuDevice } from '../support/webgpu-device.ts';

const gpu = await openWebGpuDevice().catch((e: Error) => e.message);
const noGpu = typeof gpu === 'string' ? ` (skipped: ${gpu})` : '';

describe.skipIf(!hasMaterial)(hasMaterial ? 'golden steps' : 'golden steps (skipped: no ../shared/data)', () => {
  const check = async (name: string, target: DeviceName | Device): Promise<void> => {
    const folder = join(material, 'hf-golden', name);
    const { train } = readJson<{ train: TrainGolden }>(join(folder, 'golden.json'));
    const report = new CaseReport();
    const tensors = await readTensors(join(folder, 'golden.safetensors'));
    await checkTraining(report, await trainedTask(folder, 'causal-lm', tensors), train, target);
    expect(report.failures).toEqual([]);
    expect(report.checks).toBe(train.losses.length + Object.keys(train.grad_norms_step0).length);
  };

  test.each(['llama', 'llama_rope_scaled', 'mistral', 'qwen2', 'gemma', 'granite'])('%s on the CPU', (name) =>
    check(name, 'cpu'),
  );
  test('llama in the interpreter', () => check('llama', 'reference'));
  test.each(['llama', 'gemma'])('%s on emulated CUDA', async (name) => check(name, await emulatedDevice([])));
  test.skipIf(noGpu !== '').each(['llama', 'qwen2'])(`%s on WebGPU${noGpu}`, (name) => check(name, gpu as Device));
});

interface TrainerLog {
  readonly log_history: readonly {
    readonly loss?: number;
    readonly grad_norm: number;
    readonly learning_rate: number;
  }[];
}

describe.skipIf(!hasMaterial)(
  hasMaterial ? 'a training in bf16' : 'a training in bf16 (skipped: no ../shared/data)',
  () => {
    test('GPT-2 has the losses and gradient norms of autocast, as near as bf16 tells', async () => {
      const root = join(material, 'hf-oracle/trainer/gpt2');
      const { train } = readJson<{ train: readonly { input_ids: readonly number[] }[] }>(join(root, 'data.json'));
      const { log_history } = readJson<TrainerLog>(join(root, 'bf16/golden.json'));
      const steps = log_history.filter(({ loss }) => loss !== undefined);
      const { task, checkpoint } = fittedModel(await openCheckpoint(join(root, 'checkpoint')), 'causal-lm');
      const weights = checkpointWeights(checkpoint);
      const options = { optimizer: AdamW({ weight_decay: 0 }), dims: { batch: 4, seq: 64 }, maxGradNorm: 1 };
      const training = traceTraining(task, ['train'], { ...options, compute: 'bf16' }, weights.resolve);
      const session = await TrainingSession.open({ training, target: 'cpu', weights });
      for (const [i, want] of steps.entries()) {
        const first = 4 * (i % Math.ceil(train.length / 4));
        const batch = padded(train.slice(first, first + 4).map((row) => row.input_ids));
        const { learning_rate } = want;
        const { loss, grad_norm } = await session.run('train', batch.columns, {
          learning_rate,
          num_items: batch.items,
        });
        expect(Math.abs(Number(loss.data[0]) / want.loss! - 1)).toBeLessThan(2e-2);
        expect(Math.abs(Number(grad_norm.data[0]) / want.grad_norm - 1)).toBeLessThan(4e-2);
      }
      expect(steps).toHaveLength(12);
    });
  },
);

/** Rows of one length: what is filled up is no label and is not attended to. */
function padded(rows: readonly (readonly number[])[]): { columns: Record<string, HostTensor>; items: number } {
  const length = Math.max(...rows.map((row) => row.length));
  const filled = (value: (row: readonly number[], i: number) => number): HostTensor => ({
    dtype: 'i32',
    shape: [rows.length, length],
    data: Int32Array.from(rows.flatMap((row) => Array.from({ length }, (_, i) => value(row, i)))),
  });
  return {
    columns: {
      input_ids: filled((row, i) => row[i] ?? 3),
      attention_mask: filled((row, i) => (i < row.length ? 1 : 0)),
      labels: filled((row, i) => row[i] ?? -100),
    },
    items: rows.reduce((sum, row) => sum + row.length, 0), // the Trainer counts the first labels too
  };
}
