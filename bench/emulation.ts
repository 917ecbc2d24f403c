// Runs the CUDA benchmark without a GPU, to see that it works: the emulated driver of the tests, and the compiler that
// makes code for it. Both are in the repository only.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compileNative } from '../backends/c/toolchain.ts';
import { ModelcError } from '../ir/error.ts';
import { scratch } from './checkpoint.ts';
import { repositoryFile } from './repository.ts';

/** Makes this process and those that it starts use the emulation. */
export async function emulate(): Promise<void> {
  const [driver, compiler] = ['libcuda.c', 'nvcc'].map((name) => repositoryFile(`test/support/cuda-emulation/${name}`));
  if (!driver || !compiler) {
    throw new ModelcError('unsupported', 'the emulated CUDA driver is not in the package; run this in the repository');
  }
  process.env.MODELC_CUDA_DRIVER = await compileNative(await readFile(driver, 'utf8'), { flags: [] });
  process.env.NVCC = compiler;
  process.env.MODELC_CACHE = join(scratch(), 'emulation'); // what is kept there is for no GPU
}
