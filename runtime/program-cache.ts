// Compiled programs on disk, by content: a warm start reads a plan and its binary instead of running the compiler. The key
// covers everything that the program depends on, the compiler's own build included; without a build number (sources run
// directly, as in tests) nothing is kept. An entry appears in one rename, and a damaged one counts as absent.
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { cacheFolder, isSound } from '../backends/build-cache.ts';
import { isGrouped } from '../backends/cuda/print.ts';
import type { Program } from '../ir/program.ts';

declare const MODELC_BUILD: string | undefined;
/** A digest of the compiler's sources, set by the bundler; undefined when the sources run directly. */
export const compilerBuild = typeof MODELC_BUILD === 'string' ? MODELC_BUILD : undefined;

/** A program and the binary that holds its kernels. */
export interface BuiltProgram {
  readonly program: Program;
  readonly binary: string;
}

/** A program as a loader needs it: the bodies of its kernels are in the binary. */
export const withoutBodies = (program: Program): Program => ({
  ...program,
  kernels: program.kernels.map((k) => ({ ...k, body: [], ...(isGrouped(k) ? { grouped: true } : {}) })),
});

/**
 * The program that `make` compiles and `build` makes a binary of, or that an earlier process compiled under an equal `key`
 * (plain data).
 */
export async function cachedProgram(
  key: unknown,
  make: () => Program,
  build: (program: Program) => Promise<string>,
): Promise<BuiltProgram> {
  const compileNow = async (): Promise<BuiltProgram> => {
    const program = make();
    return { program, binary: await build(program) };
  };
  if (compilerBuild === undefined) return compileNow();
  const name = createHash('sha256')
    .update(JSON.stringify([compilerBuild, key]))
    .digest('hex');
  const path = join(cacheFolder(), 'programs', `${name}.json`);
  const known = await readEntry(path);
  if (known) return known;
  const built = await compileNow();
  await writeEntry(path, built);
  return built;
}

async function readEntry(path: string): Promise<BuiltProgram | undefined> {
  try {
    const entry = JSON.parse(await readFile(path, 'utf8')) as BuiltProgram;
    return (await isSound(dirname(entry.binary), basename(entry.binary))) ? entry : undefined;
  } catch {
    return undefined;
  }
}

/** Keeping an entry is an optimisation: where it cannot be written, the next start compiles again. */
async function writeEntry(path: string, { program, binary }: BuiltProgram): Promise<void> {
  const temporary = `${path}.${process.pid}-${randomUUID()}`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(temporary, JSON.stringify({ program: withoutBodies(program), binary }));
    await rename(temporary, path);
  } catch {
    await rm(temporary, { force: true }).catch(() => {});
  }
}
