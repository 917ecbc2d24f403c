// C source to a loadable binary: finds the system's C compiler, runs it, and keeps the result on disk by content. A
// cache entry is a folder that appears under its final name in one rename, and carries a digest of the binary that is
// checked on every use: killing the process at any time, or damaging the files, costs a recompilation at worst.
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { ModelcError } from '../../ir/error.ts';

export interface CompileOptions {
  /** Flags beyond those that every build gets. */
  readonly flags: readonly string[];
  /** Compile the source this many times in parallel, with -DUNIT=0, 1, …, and link the results. */
  readonly units?: number;
  /** The source includes <node_api.h>. */
  readonly nodeApi?: boolean;
}

// No -ffast-math: infinities and NaNs mean what IEEE 754 says. What is given up is errno, traps and separate rounding
// of a product that is added to something.
const commonFlags = [
  ...['-std=gnu11', '-O3', '-fPIC', '-w', '-fwrapv', '-fno-math-errno', '-fno-trapping-math', '-ffp-contract=fast'],
  ...['-fno-semantic-interposition', '-fno-stack-protector', '-fno-asynchronous-unwind-tables', '-fvisibility=hidden'],
];
const linkFlags =
  os.platform() === 'darwin'
    ? ['-bundle', '-undefined', 'dynamic_lookup']
    : ['-shared', '-Wl,--build-id=none', '-pthread', '-ldl', '-lm'];

const binaryName = 'kernels.node';
const dayMilliseconds = 24 * 60 * 60 * 1000;

interface Compiler {
  readonly command: string;
  readonly args: readonly string[];
  /** What `--version` prints. */
  readonly version: string;
}

const building = new Map<string, Promise<string>>();
const compilers = new Map<string, Promise<Compiler>>();

/**
 * The path of the binary built from `source`, compiled now or earlier. Throws ModelcError 'toolchain' when there is no
 * compiler, the cache folder cannot be written, or the build fails.
 */
export async function compileNative(source: string, options: CompileOptions): Promise<string> {
  const compiler = await findCompiler();
  const flags = [...commonFlags, ...options.flags];
  let headerVersion = '';
  if (options.nodeApi) {
    const headers = nodeApiHeaders();
    flags.push('-I', headers.folder);
    headerVersion = headers.version;
  }
  const units = options.units ?? 1;
  const hash = createHash('sha256');
  const identity = { source, flags: [...commonFlags, ...options.flags, ...linkFlags], units, headerVersion, compiler };
  const key = hash.update(JSON.stringify(identity)).digest('hex').slice(0, 40);
  const folder = path.join(cacheFolder(), key);
  let build = building.get(folder);
  if (!build) {
    build = findOrBuild(folder, source, flags, units, compiler).finally(() => building.delete(folder));
    building.set(folder, build);
  }
  return build;
}

export function cacheFolder(): string {
  const { MODELC_CACHE, XDG_CACHE_HOME } = process.env;
  if (MODELC_CACHE) return path.resolve(MODELC_CACHE);
  if (XDG_CACHE_HOME && path.isAbsolute(XDG_CACHE_HOME)) return path.join(XDG_CACHE_HOME, 'modelc');
  return path.join(os.homedir(), '.cache', 'modelc');
}

async function findOrBuild(
  folder: string,
  source: string,
  flags: readonly string[],
  units: number,
  compiler: Compiler,
): Promise<string> {
  const binary = path.join(folder, binaryName);
  if (await isSound(folder)) return binary;
  const cache = path.dirname(folder);
  const temporary = path.join(cache, `.tmp-${process.pid}-${randomUUID()}`);
  try {
    await mkdir(cache, { recursive: true, mode: 0o700 }); // nobody else may plant code here
    await mkdir(temporary);
    await removeStale(cache);
    await writeFile(path.join(temporary, 'kernels.c'), source);
  } catch (cause) {
    throw unwritable(cache, cause);
  }
  try {
    await build(temporary, flags, units, compiler, `${folder}.log`);
    await writeFile(path.join(temporary, 'digest'), digest(await readFile(path.join(temporary, binaryName))));
    await moveInto(temporary, folder);
  } catch (cause) {
    throw cause instanceof ModelcError ? cause : unwritable(cache, cause);
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
  }
  return binary;
}

const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** Whether a finished entry is there and its binary is what was built. */
export async function isSound(folder: string): Promise<boolean> {
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
async function moveInto(temporary: string, folder: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await rename(temporary, folder);
    } catch (error) {
      if (await isSound(folder)) return;
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

async function build(
  folder: string,
  flags: readonly string[],
  units: number,
  compiler: Compiler,
  logFile: string,
): Promise<void> {
  const start = (args: readonly string[]): Promise<RunResult> =>
    runCommand(compiler.command, [...compiler.args, ...args], folder);
  const check = async (result: RunResult): Promise<void> => {
    if (result.code === 0) return;
    await writeFile(logFile, result.output).catch(() => {});
    const lines = result.output.split('\n').filter((line) => line.trim() !== '');
    const first = lines.find((line) => /\berror\b/i.test(line)) ?? lines[0] ?? `exit code ${result.code}`;
    throw new ModelcError(
      'toolchain',
      `the C compiler ${compiler.command} failed: ${first.trim().slice(0, 300)} (log: ${logFile})`,
    );
  };
  if (units === 1) {
    await check(await start([...flags, 'kernels.c', '-o', binaryName, ...linkFlags]));
    return;
  }
  const objects = Array.from({ length: units }, (_, i) => `unit${i}.o`);
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < units; i = next++) {
      await check(await start([...flags, `-DUNIT=${i}`, '-c', 'kernels.c', '-o', objects[i]]));
    }
  };
  // All workers end before an error is reported: the folder is removed after that
  const workers = Array.from({ length: Math.min(units, os.availableParallelism()) }, worker);
  for (const result of await Promise.allSettled(workers)) if (result.status === 'rejected') throw result.reason;
  await check(await start([...objects, '-o', binaryName, ...linkFlags]));
  await Promise.all(objects.map((o) => rm(path.join(folder, o))));
}

interface RunResult {
  readonly code: number;
  readonly output: string;
}

function runCommand(command: string, args: readonly string[], cwd?: string): Promise<RunResult> {
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

function findCompiler(): Promise<Compiler> {
  const { CC = '', PATH = '' } = process.env;
  const id = `${CC}\n${PATH}`;
  let found = compilers.get(id);
  if (!found) {
    found = locateCompiler(CC.trim(), PATH);
    found.catch(() => compilers.delete(id)); // it may be installed meanwhile
    compilers.set(id, found);
  }
  return found;
}

async function locateCompiler(wanted: string, searchPath: string): Promise<Compiler> {
  const candidates = wanted ? [wanted.split(/\s+/)] : [['cc'], ['gcc'], ['clang']];
  for (const [name, ...args] of candidates) {
    const command = findExecutable(name, searchPath);
    if (!command) continue;
    const { code, output } = await runCommand(command, [...args, '--version']);
    if (code === 0) return { command, args, version: output };
  }
  const tried = wanted ? `CC=${wanted}` : 'cc, gcc and clang on PATH';
  throw new ModelcError(
    'toolchain',
    `no C compiler found (looked for ${tried}); install one (for example 'apt install gcc' or 'xcode-select --install') or set CC to its path`,
  );
}

function findExecutable(name: string, searchPath: string): string | undefined {
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

/** The folder of node_api.h; resolved when needed, as prebuilt programs run without the package. */
function nodeApiHeaders(): { folder: string; version: string } {
  const require = createRequire(import.meta.url);
  try {
    const { include_dir: folder } = require('node-api-headers') as { include_dir: string };
    const { version } = require('node-api-headers/package.json') as { version: string };
    return { folder, version };
  } catch (cause) {
    throw new ModelcError(
      'toolchain',
      `the npm package node-api-headers is missing; run 'npm install node-api-headers'`,
      {
        cause,
      },
    );
  }
}
