// The CUDA backend as a test device, without a GPU: the generated CUDA C is compiled by the host's C compiler against
// cuda-emulation/shim.h, and the real device runs it through an emulated driver. Where nvcc is present, every kernel is
// also compiled for real, for every architecture, warnings being errors.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compileNative } from '../../backends/c/toolchain.ts';
import { type CudaDevice, createCudaDevice } from '../../backends/cuda/device.ts';
import { printProgram } from '../../backends/cuda/print.ts';
import { type Architecture, architectures } from '../../backends/cuda/target.ts';
import { hasNvcc, nvccAt, type Toolchain, unoptimizedNvcc } from '../../backends/cuda/toolchain.ts';
import type { CausalEntry } from '../../frontends/dsl/index.ts';
import type { Program } from '../../ir/program.ts';
import { compile } from '../../runtime/compiler/compile.ts';
import { ProgramExecutor } from '../../runtime/execution/program-executor.ts';
import { GenerationConfig } from '../../runtime/generation/configuration.ts';
import { createModel, type PreTrainedModel } from '../../runtime/generation/model.ts';
import type { LoadOptions } from '../../runtime/models/load-options.ts';
import { openModel } from '../../runtime/models/open.ts';
import { weightSource } from '../../runtime/tensors/prepare-weight.ts';
import { runCompiled } from './cpu-device.ts';
import type { TestDevice } from './test-device.ts';

const here = (name: string): string => fileURLToPath(new URL(`cuda-emulation/${name}`, import.meta.url));

const emulated = nvccAt(here('nvcc'));
/**
 * Makes images for the emulated driver; and, where nvcc is present, those for real GPUs of `checked` architectures, to see
 * that they can be made.
 */
const emulation = (checked: readonly Architecture[]): Toolchain => ({
  async compile(sources, architecture) {
    if (await hasNvcc()) for (const { name } of checked) await unoptimizedNvcc.compile(sources, name);
    return emulated.compile(sources, architecture);
  },
});

/** The path of the emulated driver. */
export const emulatedDriver = async (): Promise<string> =>
  compileNative(await readFile(here('libcuda.c'), 'utf8'), { flags: [] });

export async function emulatedDevice(checked: readonly Architecture[] = architectures): Promise<CudaDevice> {
  return createCudaDevice({ driver: await emulatedDriver(), toolchain: emulation(checked) });
}

const testDevice = (name: string, device: CudaDevice): TestDevice => ({
  name,
  hasTiles: device.target.tiles.length > 0,
  run: (runs) => runCompiled(device, runs, printProgram),
});

export const openCuda = async (checked: readonly Architecture[] = architectures): Promise<TestDevice> =>
  testDevice('cuda (emulated)', await emulatedDevice(checked));

/** The NVIDIA GPU of this machine. Throws where there is none, or no nvcc. */
export async function openGpu(): Promise<TestDevice> {
  const device = await createCudaDevice();
  if (!(await hasNvcc())) throw new Error('there is no nvcc');
  return testDevice(`cuda (${device.name})`, device);
}

/** A checkpoint's model on the emulated device, its program and its executor; cuda-kernels.test.ts has nvcc compile it. */
export async function openEmulated(
  directory: string,
  options: LoadOptions = {},
  entryNames: readonly CausalEntry[] = ['prefill', 'decode', 'forward'],
): Promise<{ model: PreTrainedModel; program: Program; executor: ProgramExecutor; device: CudaDevice }> {
  const { checkpoint, info, model, cache, trace, weights } = await openModel<'causal-lm'>(directory, options);
  const device = await emulatedDevice([]);
  const entries = Object.fromEntries(entryNames.map((entry) => [entry, trace(entry)]));
  const program = compile(model.modelType, entries, device.target, { cache });
  const executor = await ProgramExecutor.open({ program, device, weight: (w, of) => weightSource(weights, w, of) });
  const { config, generationConfig } = checkpoint;
  const generation =
    Object.keys(generationConfig).length > 0
      ? GenerationConfig.parse(JSON.stringify(generationConfig), directory)
      : GenerationConfig.from_model_config(config);
  return { model: createModel(executor, info, config, generation), program, executor, device };
}
