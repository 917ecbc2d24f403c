// Training steps: the golden losses and gradient norms of small models on every device, and what must hold of the program
// of a step whatever the model.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CaseReport } from '../runtime/conformance/compare.ts';
import { readTensors } from '../runtime/conformance/subject.ts';
import { causalTraining, checkTraining, type TrainGolden } from '../runtime/conformance/train.ts';
import type { Device } from '../runtime/device.ts';
import type { TargetName } from '../runtime/devices.ts';
import { emulatedDevice } from './cuda-device.ts';
import { hasMaterial, material, readJson } from './golden.ts';
import { openWebGpuDevice } from './webgpu-device.ts';

const gpu = await openWebGpuDevice().catch((e: Error) => e.message);
const noGpu = typeof gpu === 'string' ? ` (skipped: ${gpu})` : '';

describe.skipIf(!hasMaterial)(hasMaterial ? 'golden steps' : 'golden steps (skipped: no ../shared/data)', () => {
  const check = async (name: string, target: TargetName | Device): Promise<void> => {
    const folder = join(material, 'hf-golden', name);
    const { train } = readJson<{ train: TrainGolden }>(join(folder, 'golden.json'));
    const report = new CaseReport();
    const tensors = await readTensors(join(folder, 'golden.safetensors'));
    await checkTraining(report, await causalTraining(folder, tensors), train, target);
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
