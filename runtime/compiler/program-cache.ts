// Compiled programs on disk, by content: a warm start reads a plan and its binary instead of running the compiler. The key
// covers everything that the program depends on, the compiler's own build included; without a build number (sources run
// directly, as in tests) nothing is kept. An entry appears in one rename and begins with a digest of its name and the rest:
// a damaged one, or one that belongs elsewhere, counts as absent.
import { createHash } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { removeLeft, soundBinary, trustedCache } from '../../backends/build-cache.ts';
import { isGrouped } from '../../backends/kernel/grouped.ts';
import { withNames } from '../../backends/process-tag.ts';
import { readOwn } from '../../backends/trust.ts';
import type { Traced } from '../../frontends/dsl/index.ts';
import type { Program } from '../../ir/program.ts';
import { printGraph } from '../../ir/text.ts';
import { isPlainName } from '../artifact/download-table.ts';

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
  const path = join(await trustedCache(subfolder), subfolder, `${name}.json`);
  const known = await readEntry(path);
  if (known) return known;
  const built = await compileNow();
  await writeEntry(path, built);
  return built;
}

const subfolder = 'programs';

/** What is kept of a program: its binary is named, as the file of an entry of the cache, and never a path. */
interface Entry {
  readonly program: Program;
  readonly binary: string;
  readonly file: string;
}

/** Of what graphs compute, for keys. */
export function digestOf(traced: Iterable<Traced>): string {
  const digest = createHash('sha256');
  for (const { graph, constants } of traced) {
    digest.update(printGraph(graph));
    for (const [name, data] of constants) digest.update(name).update(data);
  }
  return digest.digest('hex');
}

const digestOfEntry = (path: string, text: string): string =>
  createHash('sha256')
    .update(`${basename(path)}\n${text}`)
    .digest('hex');

async function readEntry(path: string): Promise<BuiltProgram | undefined> {
  try {
    const text = (await readOwn(path)).toString();
    const end = text.indexOf('\n');
    const body = text.slice(end + 1);
    if (text.slice(0, end) !== digestOfEntry(path, body)) return undefined;
    const { program, binary: entry, file } = JSON.parse(body) as Entry;
    const binary = isPlainName(entry) && isPlainName(file) ? await soundBinary(entry, file) : undefined;
    return binary === undefined ? undefined : { program, binary };
  } catch {
    return undefined;
  }
}

/** Keeping an entry is an optimisation: where it cannot be written, the next start compiles again. */
async function writeEntry(path: string, { program, binary }: BuiltProgram): Promise<void> {
  const entry: Entry = { program: withoutBodies(program), binary: basename(dirname(binary)), file: basename(binary) };
  const body = JSON.stringify(entry);
  await withNames(async (name) => {
    const temporary = name(path, 'partial');
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await removeLeft(dirname(path));
      await writeFile(temporary, `${digestOfEntry(path, body)}\n${body}`, { mode: 0o600 });
      await rename(temporary, path);
    } catch {
      await rm(temporary, { force: true }).catch(() => {});
    }
  });
}
