// Compiled code on disk, by content. A cache entry is a folder that appears under its final name in one rename, and
// carries a digest of the binary that is checked on every use: killing the process at any time, or damaging the files,
// costs a recompilation at worst. Here are also the pieces that every toolchain needs: finding and running a compiler.
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ModelcError } from '../ir/error.ts';

const dayMilliseconds = 24 * 60 * 60 * 1000;
const building = new Map<string, Promise<string>>();

/** Makes the binary, among other files, in an empty folder; a log of a failure goes to `logFile`. */
export type Build = (folder: string, logFile: string) => Promise<void>;

/**
 * The path of the file `binaryName` that `build` makes from what `identity` describes completely, made now or earlier.
 * Throws ModelcError 'toolchain' when the cache folder cannot be written, and what `build` throws.
 */
export async function cachedBuild(identity: object, binaryName: string, build: Build): Promise<string> {
  const key = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 40);
  const folder = path.join(cacheFolder(), key);
  let running = building.get(folder);
  if (!running) {
    running = findOrBuild(folder, binaryName, build).finally(() => building.delete(folder));
    building.set(folder, running);
  }
  return running;
}

export function cacheFolder(): string {
  const { MODELC_CACHE, XDG_CACHE_HOME } = process.env;
  if (MODELC_CACHE) return path.resolve(MODELC_CACHE);
  if (XDG_CACHE_HOME && path.isAbsolute(XDG_CACHE_HOME)) return path.join(XDG_CACHE_HOME, 'modelc');
  return path.join(os.homedir(), '.cache', 'modelc');
}

async function findOrBuild(folder: string, binaryName: string, build: Build): Promise<string> {
  const binary = path.join(folder, binaryName);
  if (await isSound(folder, binaryName)) return binary;
  const cache = path.dirname(folder);
  const temporary = path.join(cache, `.tmp-${process.pid}-${randomUUID()}`);
  try {
    await mkdir(cache, { recursive: true, mode: 0o700 }); // nobody else may plant code here
    await mkdir(temporary);
    await removeStale(cache);
  } catch (cause) {
    throw unwritable(cache, cause);
  }
  try {
    await build(temporary, `${folder}.log`);
    await writeFile(path.join(temporary, 'digest'), digest(await readFile(path.join(temporary, binaryName))));
    await moveInto(temporary, folder, binaryName);
  } catch (cause) {
    throw cause instanceof ModelcError ? cause : unwritable(cache, cause);
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
  }
  return binary;
}

const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** Whether a finished entry is there and its binary is what was built. */
export async function isSound(folder: string, binaryName = 'kernels.node'): Promise<boolean> {
  try {
    const [expected, binary] = await Promise.all([
      readFile(path.join(folder, 'digest'), 'utf8'),
      readFile(path.join(folder, binaryName)),
    ]);
    return expected === digest(binary);
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
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Removes what killed processes left behind. */
async function removeStale(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith('.tmp-')) continue;
    const old = path.join(cache, name);
    const age = await stat(old).then(
      (s) => Date.now() - s.mtimeMs,
      () => 0,
    );
    if (age > dayMilliseconds) await rm(old, { recursive: true, force: true }).catch(() => {});
  }
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

export function runCommand(command: string, args: readonly string[], cwd?: string): Promise<RunResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, LC_ALL: 'C' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    const collect = (data: Buffer): void => {
      if (output.length < 2 ** 20) output += data.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    child.on('error', (error) => resolve({ code: -1, output: error.message }));
    child.on('close', (code, signal) => resolve({ code: code ?? -1, output: output || `killed by ${signal}` }));
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

export function findExecutable(name: string, searchPath: string): string | undefined {
  const places = name.includes('/')
    ? [name]
    : searchPath.split(path.delimiter).map((dir) => path.join(dir || '.', name));
  return places.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
