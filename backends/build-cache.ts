// Compiled code on disk, by content. A cache entry is a folder that appears under its final name in one rename, and
// carries a digest of the binary and of the entry's name that is checked on every use: killing the process at any time,
// damaging files or exchanging them costs a recompilation at worst. Code that others may have put there is not run (see
// trust.ts): a folder of this process alone takes the cache's place then.
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, rmSync, statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ModelcError, printable } from '../ir/error.ts';
import { leftovers, remove, withNames } from './process-tag.ts';
import { distrusted, foreignEntry, readOwn } from './trust.ts';

const building = new Map<string, Promise<string>>();

/** Makes the binary, among other files, in an empty folder; a log of a failure goes to `logFile`. */
export type Build = (folder: string, logFile: string) => Promise<void>;

/**
 * The path of the file `binaryName` that `build` makes from what `identity` describes completely, made now or earlier.
 * Throws ModelcError 'toolchain' when the cache folder cannot be written, and what `build` throws.
 */
export async function cachedBuild(identity: object, binaryName: string, build: Build): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 40);
  const place = path.join(cacheFolder(), key);
  let running = building.get(place);
  if (!running) {
    running = findOrBuild(key, binaryName, build).finally(() => building.delete(place));
    building.set(place, running);
  }
  return running;
}

/** Where compiled code is to be kept. */
export function cacheFolder(): string {
  const { MODELC_CACHE, XDG_CACHE_HOME } = process.env;
  if (MODELC_CACHE) return path.resolve(MODELC_CACHE);
  if (XDG_CACHE_HOME && path.isAbsolute(XDG_CACHE_HOME)) return path.join(XDG_CACHE_HOME, 'modelc');
  return path.join(os.homedir(), '.cache', 'modelc');
}

/**
 * The cache folder, if `entry` of it can be trusted and all that leads there, or else one that only this process uses.
 * Throws ModelcError 'toolchain' when there is neither.
 */
export async function trustedCache(entry: string): Promise<string> {
  const folder = cacheFolder();
  let problem: string | undefined;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    problem = distrusted(folder) ?? foreignEntry(path.join(folder, entry));
  } catch (cause) {
    throw unwritable(folder, cause);
  }
  if (problem === undefined) return folder;
  warnOnce(
    `modelc: the cache folder ${folder} is not used: ${problem}, so code in it may be anybody's; this process compiles ` +
      `anew. Remove ${folder}, or set MODELC_CACHE to a folder that only you can write to`,
  );
  return privateFolder();
}

const said = new Set<string>();

function warnOnce(text: string): void {
  if (said.has(text)) return;
  said.add(text);
  console.warn(printable(text));
}

let ownFolder: Promise<string> | undefined;

/** A folder for the time of this process. */
function privateFolder(): Promise<string> {
  const make = async (): Promise<string> => {
    const parent = os.tmpdir();
    let folder: string;
    try {
      folder = await mkdtemp(path.join(parent, 'modelc-'));
    } catch (cause) {
      throw unwritable(parent, cause);
    }
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    const problem = distrusted(folder);
    if (problem) throw unwritable(parent, new Error(problem));
    return folder;
  };
  ownFolder ??= make().catch((error: unknown) => {
    ownFolder = undefined;
    throw error;
  });
  return ownFolder;
}

async function findOrBuild(key: string, binaryName: string, build: Build): Promise<string> {
  const cache = await trustedCache(key);
  const folder = path.join(cache, key);
  const binary = path.join(folder, binaryName);
  if (await isSound(folder, binaryName)) return binary;
  await removeLeft(cache);
  return withNames(async (name) => {
    const temporary = name(folder, 'partial');
    try {
      await mkdir(temporary, { mode: 0o700 });
      await build(temporary, `${folder}.log`);
      await chmod(path.join(temporary, binaryName), 0o700);
      const digest = digestOf(folder, binaryName, await readOwn(path.join(temporary, binaryName)));
      await writeFile(path.join(temporary, digestFile), digest, { mode: 0o600 });
      await moveInto(temporary, folder, binaryName);
    } catch (cause) {
      throw cause instanceof ModelcError ? cause : unwritable(cache, cause);
    } finally {
      await remove(temporary).catch(() => {});
    }
    return binary;
  });
}

const digestFile = 'digest';

/** Of a binary as it is in one entry: that of another one does not fit. */
const digestOf = (folder: string, binaryName: string, data: Uint8Array): string =>
  createHash('sha256')
    .update(`${path.basename(folder)}/${binaryName}\n`)
    .update(data)
    .digest('hex');

/** The path of a binary that an earlier process built, if it is there and is what was built. */
export async function soundBinary(entry: string, binaryName: string): Promise<string | undefined> {
  const folder = path.join(await trustedCache(entry), entry);
  return (await isSound(folder, binaryName)) ? path.join(folder, binaryName) : undefined;
}

/** Whether a finished entry is there and its binary is what was built. */
async function isSound(folder: string, binaryName: string): Promise<boolean> {
  try {
    const [expected, binary] = await Promise.all([
      readOwn(path.join(folder, digestFile)),
      readOwn(path.join(folder, binaryName)),
    ]);
    return expected.toString() === digestOf(folder, binaryName, binary);
  } catch {
    return false;
  }
}

/** Renames a finished build to its place, unless another process was first; a damaged entry makes room. */
async function moveInto(temporary: string, folder: string, binaryName: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await rename(temporary, folder);
    } catch (error) {
      if (await isSound(folder, binaryName)) return;
      if (attempt === 3) throw error;
      await remove(folder);
    }
  }
}

/** Removes what killed processes left behind in a folder of the cache. */
export async function removeLeft(folder: string): Promise<void> {
  for (const { path: left } of await leftovers(folder).catch(() => [])) await remove(left).catch(() => {});
}

function unwritable(folder: string, cause: unknown): ModelcError {
  const problem = cause instanceof Error ? cause.message : String(cause);
  return new ModelcError(
    'toolchain',
    `cannot write to the cache folder ${folder} (${problem}); set MODELC_CACHE to a folder that can be written`,
    { cause },
  );
}

// ---- compilers ----

export interface RunResult {
  readonly code: number;
  readonly output: string;
}

const running = new Set<ChildProcess>();
let isStopped = false;

/** Ends the compilers that are at work, and has none begin any more: the process is about to end. */
export function stopCompilers(): void {
  isStopped = true;
  for (const child of running) child.kill();
}

/** Runs a compiler, in `cwd` and with its temporary files there: they go with the folder, whatever ends it. */
export function runCommand(command: string, args: readonly string[], cwd?: string): Promise<RunResult> {
  if (isStopped) return Promise.resolve({ code: -1, output: 'stopped' });
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, LC_ALL: 'C', ...(cwd === undefined ? {} : { TMPDIR: cwd }) },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    let output = '';
    const collect = (data: Buffer): void => {
      if (output.length < 2 ** 20) output += data.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const end = (result: RunResult): void => {
      running.delete(child);
      resolve(result);
    };
    child.on('error', (error) => end({ code: -1, output: error.message }));
    child.on('close', (code, signal) => end({ code: code ?? -1, output: output || `killed by ${signal}` }));
  });
}

/** Throws ModelcError 'toolchain' with the first error of a compiler that failed; all it said goes to `logFile`. */
export async function checkBuild({ code, output }: RunResult, compiler: string, logFile: string): Promise<void> {
  if (code === 0) return;
  await writeFile(logFile, output).catch(() => {});
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  const first = lines.find((line) => /\berror\b/i.test(line)) ?? lines[0] ?? `exit code ${code}`;
  throw new ModelcError('toolchain', `${compiler} failed: ${first.trim().slice(0, 300)} (log: ${logFile})`);
}

/** Runs jobs as many at a time as there are processors. All end before a failure is reported. */
export async function inParallel<T>(items: readonly T[], job: (item: T, i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) await job(items[i], i);
  };
  const workers = Array.from({ length: Math.min(items.length, os.availableParallelism()) }, worker);
  for (const result of await Promise.allSettled(workers)) if (result.status === 'rejected') throw result.reason;
}

/** A command and the arguments that stand before all others. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
}

/**
 * What an environment variable such as CC names: a program, perhaps with flags. A path may hold spaces; words may be quoted
 * as in a shell. undefined where there is no such program; throws ModelcError 'toolchain' for a quote without an end.
 */
export function findCommand(variable: string, text: string, searchPath: string): Command | undefined {
  const wanted = text.trim();
  const ends = [...wanted.matchAll(/\s+|$/g)].map(({ index }) => index);
  for (const end of ends.reverse()) {
    const command = wanted.slice(0, end);
    if (!command.includes('/') || !findExecutable(command, '')) continue;
    return { command, args: splitWords(variable, wanted.slice(end)) };
  }
  const [name = '', ...args] = splitWords(variable, wanted);
  const command = findExecutable(name, searchPath);
  return command === undefined ? undefined : { command, args };
}

/** The words of a text: whitespace ends one, but for what quotes hold and what follows a backslash. */
function splitWords(variable: string, text: string): string[] {
  const word = /\s*((?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^\s'"\\])+)/gsy;
  const plain = (part: string): string => {
    if (part[0] === "'") return part.slice(1, -1);
    return (part[0] === '"' ? part.slice(1, -1) : part).replaceAll(/\\(.)/gs, '$1');
  };
  const words: string[] = [];
  let at = 0;
  for (let found = word.exec(text); found; found = word.exec(text)) {
    const parts = found[1].match(/'[^']*'|"(?:[^"\\]|\\.)*"|\\.|[^'"\\]+/gs) ?? [];
    words.push(parts.map(plain).join(''));
    at = word.lastIndex;
  }
  if (text.slice(at).trim() === '') return words;
  throw new ModelcError('toolchain', `${variable} is ${text.trim()}, which has a quote without its end; add it`);
}

export function findExecutable(name: string, searchPath: string): string | undefined {
  const places = name.includes('/')
    ? [name]
    : searchPath.split(path.delimiter).map((dir) => path.join(dir || '.', name));
  return places.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false;
    }
  });
}
