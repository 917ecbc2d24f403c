// CUDA C to device code: finds nvcc, runs it once a file, several side by side, and keeps the result on disk by content.
// The result is one file that holds the image of every source file, compressed (see `bundle`).
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { ModelcError } from '../../ir/error.ts';
import { type Command, cachedBuild, checkBuild, findCommand, inParallel, runCommand } from '../build-cache.ts';
import { reportBuild } from '../build-progress.ts';
import { type Architecture, architectureOf } from './target.ts';

/** How source becomes an image that the driver loads. */
export interface Toolchain {
  /** The path of a bundle of images, one for each source. `kernels` are in them, for reports of progress. */
  compile(sources: readonly string[], architecture: Architecture['name'], kernels?: number): Promise<string>;
}

// Warnings are errors, but for those that say only that code was generated: an unused variable or function, a comparison
// or a statement that constant operands decide. No --use_fast_math: infinities and NaNs mean what IEEE 754 says.
const harmless = [177, 550, 186, 68, 174, 111];
const warnings = ['-Werror', 'all-warnings', `--diag-suppress=${harmless.join()}`];
const unoptimized = ['-O0', '-Xcicc', '-O0', '-Xptxas', '-O0'];

/** What is made: code of the architecture, and where later GPUs run it too, PTX, which their drivers compile. */
function codeFlags(name: Architecture['name']): string[] {
  if (architectureOf([name]).capability.to !== undefined) return ['-cubin', `-arch=${name}`];
  const virtual = name.replace('sm', 'compute');
  return ['-fatbin', `-gencode=arch=${virtual},code=[${name},${virtual}]`];
}

interface Compiler extends Command {
  readonly version: string;
}

const compilers = new Map<string, Promise<Compiler>>();

const toolchain = (find: () => Promise<Compiler>, optimization: readonly string[] = ['-O3']): Toolchain => ({
  async compile(sources, architecture, kernels = 0) {
    const compiler = await find();
    const all = [...optimization, ...warnings, ...codeFlags(architecture)];
    return cachedBuild({ sources, flags: all, compiler, form: 'gzip' }, 'kernels.cubin', async (folder, logFile) => {
      const ended = reportBuild(kernels, sources.length);
      await inParallel(sources, async (source, i) => {
        await writeFile(path.join(folder, `kernels${i}.cu`), source);
        const args = [...all, `kernels${i}.cu`, '-o', `kernels${i}.bin`, ...compiler.args];
        const result = await runCommand(compiler.command, args, folder);
        await checkBuild(result, `the CUDA compiler ${compiler.command}`, logFile);
        ended();
      });
      await bundle(folder, sources.length, 'kernels.cubin');
    });
  },
});

/** The CUDA toolkit of this machine. */
export const nvcc: Toolchain = toolchain(findNvcc);

/** The same in less than half the time, for slow code: what nvcc has to say of sources. */
export const unoptimizedNvcc: Toolchain = toolchain(findNvcc, unoptimized);

/** What takes the place of nvcc. */
export function nvccAt(command: string): Toolchain {
  let found: Promise<Compiler> | undefined;
  return toolchain(() => (found ??= locateNvcc(command, '', '')));
}

/** Joins kernels0.bin, kernels1.bin, … of a folder: their number and sizes as 64-bit numbers, then the files; compressed. */
async function bundle(folder: string, count: number, name: string): Promise<void> {
  const files = await Promise.all(
    Array.from({ length: count }, (_, i) => readFile(path.join(folder, `kernels${i}.bin`))),
  );
  const header = BigUint64Array.from([count, ...files.map((f) => f.length)], BigInt);
  await writeFile(path.join(folder, name), gzipSync(Buffer.concat([new Uint8Array(header.buffer), ...files])));
}

/** The images of a bundle. Throws ModelcError 'toolchain' when the file is none. */
export async function unbundle(file: string): Promise<Uint8Array[]> {
  const broken = (cause?: unknown): ModelcError =>
    new ModelcError('toolchain', `${file} holds no device code; compile the program again`, { cause });
  let data: Buffer;
  try {
    data = gunzipSync(await readFile(file));
  } catch (cause) {
    throw broken(cause);
  }
  const count = data.length >= 8 ? Number(data.readBigUInt64LE(0)) : 0;
  let at = 8 * (count + 1);
  if (count < 1 || at > data.length) throw broken();
  return Array.from({ length: count }, (_, i) => {
    const size = Number(data.readBigUInt64LE(8 * (i + 1)));
    if (size > data.length - at) throw broken();
    at += size;
    return new Uint8Array(data.subarray(at - size, at));
  });
}

/** Whether this machine can compile for CUDA. */
export async function hasNvcc(): Promise<boolean> {
  return findNvcc().then(
    () => true,
    () => false,
  );
}

function findNvcc(): Promise<Compiler> {
  const { NVCC = '', CUDA_HOME = '', PATH = '' } = process.env;
  const id = `${NVCC}\n${CUDA_HOME}\n${PATH}`;
  let found = compilers.get(id);
  if (!found) {
    found = locateNvcc(NVCC.trim(), CUDA_HOME, PATH);
    found.catch(() => compilers.delete(id)); // it may be installed meanwhile
    compilers.set(id, found);
  }
  return found;
}

async function locateNvcc(wanted: string, home: string, searchPath: string): Promise<Compiler> {
  const candidates = wanted
    ? [wanted]
    : ['nvcc', ...(home ? [path.join(home, 'bin', 'nvcc')] : []), '/usr/local/cuda/bin/nvcc'];
  for (const name of candidates) {
    const found = findCommand('NVCC', name, searchPath);
    if (!found) continue;
    const { code, output } = await runCommand(found.command, [...found.args, '--version']);
    if (code === 0) return { ...found, version: output };
  }
  const tried = wanted ? `NVCC=${wanted}` : 'nvcc on PATH, in CUDA_HOME and in /usr/local/cuda';
  throw new ModelcError(
    'toolchain',
    `no CUDA compiler found (looked for ${tried}); install the CUDA toolkit 12 or later or set NVCC to the path of nvcc`,
  );
}
