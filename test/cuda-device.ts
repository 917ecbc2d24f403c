// The CUDA backend as a test device, without a GPU: the generated CUDA C is compiled by the host's C compiler against
// cuda-emulation/shim.h, and the real device runs it through an emulated driver. Where nvcc is present, every kernel is
// also compiled for real, for every architecture, warnings being errors.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedBuild, checkBuild, inParallel, runCommand } from '../backends/build-cache.ts';
import { compileNative } from '../backends/cpu/toolchain.ts';
import { type CudaDevice, createCudaDevice } from '../backends/cuda/device.ts';
import { printProgram } from '../backends/cuda/print.ts';
import { type Architecture, architectures } from '../backends/cuda/target.ts';
import { bundle, hasNvcc, nvcc, type Toolchain } from '../backends/cuda/toolchain.ts';
import type { CausalEntry } from '../frontends/dsl/index.ts';
import type { PlanTensor, Program } from '../ir/program.ts';
import { compile } from '../runtime/compiler.ts';
import { GenerationConfig } from '../runtime/generation/configuration.ts';
import { createModel, type LoadOptions, openModel, type PreTrainedModel, weightSource } from '../runtime/models.ts';
import { ProgramSession } from '../runtime/program-session.ts';
import { runCompiled } from './cpu-device.ts';
import type { TestDevice } from './devices.ts';

const here = (name: string): string => fileURLToPath(new URL(`cuda-emulation/${name}`, import.meta.url));

// As in the C backend: overflow wraps. Vectors of any type go through 32-bit words.
const flags = ['-std=gnu11', '-O1', '-shared', '-fPIC', '-w', '-fwrapv', '-fno-strict-aliasing', '-fno-math-errno'];
// Where a GPU traps on an access that is not aligned, so does this.
const trapping = ['-fsanitize=alignment', '-fsanitize-undefined-trap-on-error'];
const hiding = ['-fvisibility=hidden', '-ffp-contract=off', '-U_FORTIFY_SOURCE'];

/**
 * Makes images for the emulated driver; and, where nvcc is present, those for real GPUs of `checked` architectures, to see
 * that they can be made.
 */
const emulation = (checked: readonly Architecture[]): Toolchain => ({
  async compile(sources) {
    if (await hasNvcc()) for (const { name } of checked) await nvcc.compile(sources, name);
    const shim = await readFile(here('shim.h'), 'utf8');
    return cachedBuild({ sources, shim, flags, trapping, hiding }, 'kernels.cubin', async (folder, logFile) => {
      await writeFile(path.join(folder, 'shim.h'), shim);
      await inParallel(sources, async (source, i) => {
        await writeFile(path.join(folder, `kernels${i}.c`), source);
        const args = [
          ...flags,
          ...trapping,
          ...hiding,
          '-include',
          'shim.h',
          `kernels${i}.c`,
          '-o',
          `kernels${i}.bin`,
          '-lm',
        ];
        await checkBuild(await runCommand('cc', args, folder), 'the C compiler cc', logFile);
      });
      await bundle(folder, sources.length, 'kernels.cubin');
    });
  },
});

/** The path of the emulated driver. */
export const emulatedDriver = async (): Promise<string> =>
  compileNative(await readFile(here('libcuda.c'), 'utf8'), { flags: [] });

export async function emulatedDevice(checked: readonly Architecture[] = architectures): Promise<CudaDevice> {
  return createCudaDevice({ driver: await emulatedDriver(), toolchain: emulation(checked) });
}

export async function openCuda(): Promise<TestDevice> {
  const device = await emulatedDevice();
  return { name: 'cuda (emulated)', run: (runs) => runCompiled(device, runs, printProgram) };
}

/** A checkpoint's model on the emulated device, and its program. */
export async function openEmulated(
  directory: string,
  options: LoadOptions = {},
  entryNames: readonly CausalEntry[] = ['prefill', 'decode', 'forward'],
): Promise<{ model: PreTrainedModel; program: Program }> {
  const { checkpoint, info, model, cache, trace } = await openModel(directory, options);
  const device = await emulatedDevice();
  const entries = Object.fromEntries(entryNames.map((entry) => [entry, trace(entry)]));
  const program = compile(model.config.modelType, entries, device.target, { cache });
  const weight = (tensor: PlanTensor) => weightSource(checkpoint, tensor);
  const session = await ProgramSession.open({ program, device, weight });
  const { config, generationConfig } = checkpoint;
  const generation =
    Object.keys(generationConfig).length > 0
      ? GenerationConfig.parse(JSON.stringify(generationConfig), directory)
      : GenerationConfig.from_model_config(config);
  return { model: createModel(session, info, config, generation), program };
}
