// Compiles the definition in a *.model.ts file at build time, for the plugins. Artifacts are kept by what they depend on in
// node_modules/.cache/modelc of the app: an unchanged model compiles nothing. An entry appears when it is whole and is never
// changed afterwards, so builds can copy and serve from it while others run; those unused for a month are removed.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, stat, utimes } from 'node:fs/promises';
import os from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { type BackendName, backendNames, backends, defaultBackend } from '../../backends/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { isWhole, writeArtifact } from '../artifact/write.ts';
import { compilerBuild } from '../compiler/program-cache.ts';
import { devices } from '../execution/devices.ts';
import { removeFolder, tidyFolder } from '../hub/write-folder.ts';
import { type Compilation, compilation, definitionOf, openDefined } from '../models/define-model.ts';
import { graphDigest } from '../models/open.ts';

/** What a plugin's bundler made of the file: its default export, and the files that it was made from. */
export interface Evaluated {
  readonly value: unknown;
  readonly files: readonly string[];
}

export interface CompiledModel {
  /** The definition. */
  readonly file: string;
  /** Changes with the content. */
  readonly version: string;
  /** The artifact. */
  readonly folder: string;
  /** Files whose change makes another model of it. */
  readonly files: readonly string[];
}

/** Where an app runs. */
export type Place = 'browser' | 'node';

export interface Build {
  readonly place: Place;
  /** Runs the file in this process. Throws what the file throws. */
  evaluate(file: string): Promise<Evaluated>;
  /** Told of every stage of a compilation. */
  log(line: string): void;
}

/** Specifiers of imports that may be of a definition. */
export const modelImport = /\.model(\.[jt]s)?$/;
export const modelFile = /\.model\.[jt]s$/;

/** Whether a file holds a definition: others name files of their own kinds of models so, too. */
export const isDefinition = async (file: string): Promise<boolean> =>
  modelFile.test(file) && /\bdefineModel\b/.test(await readFile(file, 'utf8').catch(() => ''));

const monthMilliseconds = 30 * 24 * 60 * 60 * 1000;
const keeping = new Map<string, Promise<void>>();

/** Throws ModelcError with a sentence that begins with the file. */
export async function compileModel(file: string, build: Build): Promise<CompiledModel> {
  const shown = relative('', file);
  try {
    const { value, files } = await evaluate(file, build);
    const definition = definitionOf(value);
    if (!definition) {
      throw new ModelcError('input', 'the default export is no model; write `export default defineModel({ … })`');
    }
    const compiled = compilation(definition, file);
    const { folder: checkpoint, options } = compiled;
    const target = artifactTarget(compiled.target, build.place);
    const read = await statFiles(checkpoint);
    const folder = join(artifactCache(file), await keyOf(compiled, target, read));
    await keep(folder, () => {
      const onProgress = (stage: string): void => build.log(`${shown}: ${stage}`);
      return writeArtifact(checkpoint, folder, { ...options, target, onProgress });
    });
    const paths = read.map(([name]) => join(checkpoint, name));
    return { file, version: basename(folder), folder, files: [...files, ...paths] };
  } catch (cause) {
    if (!(cause instanceof ModelcError)) throw cause;
    throw new ModelcError(cause.code, `${shown}: ${cause.message}`, { cause });
  }
}

async function evaluate(file: string, build: Build): Promise<Evaluated> {
  try {
    return await build.evaluate(file);
  } catch (cause) {
    if (cause instanceof ModelcError) throw cause;
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new ModelcError('input', `the definition fails: ${problem}; it runs in Node at build time`, { cause });
  }
}

const portable = backendNames.filter((name) => backends[name].isPortable);

/** The target of an artifact that runs in `place`. */
function artifactTarget(target: BackendName | undefined, place: Place): BackendName {
  if (target === undefined) return place === 'browser' ? portable[0] : defaultBackend;
  if (place === 'browser' && !portable.includes(target)) {
    throw new ModelcError('unsupported', `target '${target}' does not run in a browser; set target: '${portable[0]}'`);
  }
  return target;
}

/** Name, size and time of a file in a checkpoint: weights are too large to be read in every build. */
type FileState = readonly [name: string, bytes: number, milliseconds: number];

async function statFiles(checkpoint: string): Promise<FileState[]> {
  const names = await readdir(checkpoint).catch(() => []); // opening the checkpoint says what is wrong with it
  const states = await Promise.all(
    names.sort().map(async (name): Promise<FileState[]> => {
      const info = await stat(join(checkpoint, name)).catch(() => undefined);
      return info?.isFile() ? [[name, info.size, info.mtimeMs]] : [];
    }),
  );
  return states.flat();
}

/** Names everything that an artifact depends on. */
async function keyOf(
  { folder, options }: Compilation,
  target: BackendName,
  read: readonly FileState[],
): Promise<string> {
  const opened = await openDefined(folder, options);
  const architecture = graphDigest(opened, opened.kind.artifactEntries(devices[target].entries));
  const machine = backends[target].isPortable ? [] : [os.platform(), os.arch()];
  const key = { compilerBuild, target, machine, options: { ...options, architecture }, read };
  return createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 16);
}

/** node_modules/.cache/modelc of the package that holds `file`. */
export function artifactCache(file: string): string {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const modules = join(folder, 'node_modules');
    if (existsSync(modules)) return join(modules, '.cache', 'modelc');
    if (folder === dirname(folder)) {
      throw new ModelcError(
        'input',
        'no folder above it has node_modules; install modelc in the project that holds it',
      );
    }
  }
}

/** Makes sure that `folder` is a whole artifact, written by `write` now or earlier. */
function keep(folder: string, write: () => Promise<unknown>): Promise<void> {
  let running = keeping.get(folder);
  if (!running) {
    running = findOrWrite(folder, write).finally(() => keeping.delete(folder));
    keeping.set(folder, running);
  }
  return running;
}

async function findOrWrite(folder: string, write: () => Promise<unknown>): Promise<void> {
  const now = new Date();
  const isKnown = await utimes(folder, now, now).then(
    () => isWhole(folder),
    () => false,
  );
  if (isKnown) return;
  const cache = dirname(folder);
  try {
    await mkdir(cache, { recursive: true });
    await tidyFolder(cache);
    await removeUnused(cache);
    await removeFolder(folder); // one that is damaged
    await write();
  } catch (cause) {
    if (cause instanceof ModelcError || !(cause instanceof Error && 'code' in cause)) throw cause;
    throw new ModelcError('toolchain', `${cache} cannot be written: ${cause.message}; make it writable`, { cause });
  }
}

async function removeUnused(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const entry = join(cache, name);
    const { mtimeMs } = await stat(entry).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (Date.now() - mtimeMs > monthMilliseconds) await rm(entry, { recursive: true, force: true });
  }
}
