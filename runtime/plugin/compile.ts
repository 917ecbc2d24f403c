// Compiles the definition in a *.model.ts file at build time, for the plugins. Artifacts are kept by what they depend on in
// node_modules/.cache/modelc of the app: an unchanged model compiles nothing. An entry appears in one rename and is never
// changed afterwards, so builds can copy and serve from it while others run; those unused for a month are removed.
import { createHash, randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import os from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import type { ArtifactTarget } from '../artifact/format.ts';
import { artifactTargets, writeArtifact } from '../artifact/write.ts';
import { compilation, definitionOf } from '../define-model.ts';
import { devices } from '../devices.ts';
import { architectureDigest, openModel } from '../models.ts';
import { compilerBuild } from '../program-cache.ts';

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

/** Specifiers of imports that the plugins serve, and the files that these resolve to. */
export const isModelImport = /\.model(\.[jt]s)?$/;
export const isModelFile = /\.model\.[jt]s$/;

const monthMilliseconds = 30 * 24 * 60 * 60 * 1000;
const running = new Map<string, Promise<void>>();

/** Throws ModelcError with a sentence that begins with the file. */
export async function compileModel(file: string, build: Build): Promise<CompiledModel> {
  const shown = relative('', file);
  try {
    const { value, files } = await evaluate(file, build);
    const definition = definitionOf(value);
    if (!definition) {
      throw new ModelcError('input', 'the default export is no model; write `export default defineModel({ … })`');
    }
    const {
      folder: checkpoint,
      options,
      target = build.place === 'browser' ? 'webgpu' : 'cpu',
    } = compilation(definition, file);
    if (build.place === 'browser' && target !== 'webgpu') {
      throw new ModelcError('unsupported', `target '${target}' does not run in a browser; set target: 'webgpu'`);
    }
    if (!isArtifactTarget(target)) {
      const problem = `target '${target}' runs only in the process that compiles it`;
      throw new ModelcError(
        'unsupported',
        `${problem}; set one of ${artifactTargets.join(', ')}, or leave the plugin out`,
      );
    }
    const opened = await openModel(checkpoint, options);
    const read = await statFiles(checkpoint);
    const machine = target === 'cpu' ? [os.platform(), os.arch()] : [];
    const { architecture: _, ...plain } = options;
    const key = {
      compilerBuild,
      target,
      machine,
      plain,
      architecture: architectureDigest(opened, devices[target].entries),
      read,
    };
    const cache = artifactCache(file);
    const folder = join(cache, hash(JSON.stringify(key)));
    let compiling = running.get(folder);
    if (!compiling) {
      const log = (stage: string): void => build.log(`${shown}: ${stage}`);
      const compile = (draft: string) => writeArtifact(checkpoint, draft, { ...options, target, onProgress: log });
      compiling = keep(folder, compile).finally(() => running.delete(folder));
      running.set(folder, compiling);
    }
    await compiling;
    return {
      file,
      version: basename(folder),
      folder,
      files: [...files, ...read.map(([path]) => join(checkpoint, path))],
    };
  } catch (cause) {
    if (!(cause instanceof ModelcError)) throw cause;
    throw new ModelcError(cause.code, `${shown}: ${cause.message}`, { cause });
  }
}

const isArtifactTarget = (name: string): name is ArtifactTarget => (artifactTargets as string[]).includes(name);

async function evaluate(file: string, build: Build): Promise<Evaluated> {
  try {
    return await build.evaluate(file);
  } catch (cause) {
    if (cause instanceof ModelcError) throw cause;
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new ModelcError('input', `the definition fails: ${problem}; it runs in Node at build time`, { cause });
  }
}

/** Path, size and time of the files in a checkpoint. Weights are too large to be read in every build. */
async function statFiles(checkpoint: string): Promise<(readonly [string, number, number])[]> {
  const files: (readonly [string, number, number])[] = [];
  for (const name of (await readdir(checkpoint)).sort()) {
    const info = await stat(join(checkpoint, name));
    if (info.isFile()) files.push([name, info.size, info.mtimeMs]);
  }
  return files;
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

/** Makes sure that `folder` is there, written by `write` now or earlier. */
async function keep(folder: string, write: (draft: string) => Promise<unknown>): Promise<void> {
  const now = new Date();
  const known = await utimes(folder, now, now).then(
    () => true,
    () => false,
  );
  if (known) return;
  const cache = dirname(folder);
  const draft = join(cache, `draft-${randomUUID()}`);
  try {
    await mkdir(cache, { recursive: true });
    await removeUnused(cache);
    await write(draft);
    await rename(draft, folder).catch((cause: unknown) => {
      if (!existsSync(folder)) throw cause; // else another build was first
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function removeUnused(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const entry = join(cache, name);
    const { mtimeMs } = await stat(entry).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (Date.now() - mtimeMs > monthMilliseconds) await rm(entry, { recursive: true, force: true });
  }
}

const hash = (text: string | Uint8Array): string => createHash('sha256').update(text).digest('hex').slice(0, 16);
