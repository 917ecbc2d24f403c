// C source to a loadable binary: finds the system's C compiler, runs it, and keeps the result on disk by content.
import { rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import { type Command, cachedBuild, checkBuild, findCommand, inParallel, runCommand } from '../build-cache.ts';
import { reportBuild } from '../build-progress.ts';

export interface CompileOptions {
  /** Flags beyond those that every build gets. */
  readonly flags: readonly string[];
  /** Compile the source this many times in parallel, with -DUNIT=0, 1, …, and link the results. */
  readonly units?: number;
  /** Kernels in it, for reports of progress. */
  readonly kernels?: number;
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

interface Compiler extends Command {
  /** What `--version` prints. */
  readonly version: string;
}

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
  const identity = { source, flags: [...commonFlags, ...options.flags, ...linkFlags], units, headerVersion, compiler };
  return cachedBuild(identity, binaryName, async (folder, logFile) => {
    await writeFile(path.join(folder, 'kernels.c'), source);
    await build(folder, flags, units, compiler, logFile, reportBuild(options.kernels ?? 0, units));
  });
}

async function build(
  folder: string,
  flags: readonly string[],
  units: number,
  compiler: Compiler,
  logFile: string,
  ended: () => void,
): Promise<void> {
  const run = async (args: readonly string[]): Promise<void> => {
    // flags of CC come last, where they hold against ours
    const result = await runCommand(compiler.command, [...args, ...compiler.args], folder);
    await checkBuild(result, `the C compiler ${compiler.command}`, logFile);
  };
  if (units === 1) {
    await run([...flags, 'kernels.c', '-o', binaryName, ...linkFlags]);
    ended();
    return;
  }
  const objects = Array.from({ length: units }, (_, i) => `unit${i}.o`);
  await inParallel(objects, async (object, i) => {
    await run([...flags, `-DUNIT=${i}`, '-c', 'kernels.c', '-o', object]);
    ended();
  });
  await run([...objects, '-o', binaryName, ...linkFlags]);
  await Promise.all(objects.map((o) => rm(path.join(folder, o))));
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
  for (const candidate of wanted ? [wanted] : ['cc', 'gcc', 'clang']) {
    const found = findCommand('CC', candidate, searchPath);
    if (!found) continue;
    const { code, output } = await runCommand(found.command, [...found.args, '--version']);
    if (code === 0) return { ...found, version: output };
  }
  const tried = wanted ? `CC=${wanted}` : 'cc, gcc and clang on PATH';
  throw new ModelcError(
    'toolchain',
    `no C compiler found (looked for ${tried}); install one (for example 'apt install gcc' or 'xcode-select --install') or set CC to its path`,
  );
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
