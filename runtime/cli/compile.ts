// `modelc compile`: a checkpoint to an artifact; or, with --from, textual IR to program.json and C (the checkpoint, if
// given too, has the data of the model's constants).
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { printProgram as printC } from '../../backends/cpu/print.ts';
import { hostTarget } from '../../backends/cpu/target.ts';
import { ModelcError } from '../../ir/error.ts';
import { writeArtifact } from '../artifact/write.ts';
import { compile } from '../compiler.ts';
import { withoutBodies } from '../program-cache.ts';
import { interruptSignal, note, printOut, progress } from './output.ts';
import { constantsOf, readGraph } from './source.ts';

export interface CompileOptions {
  readonly output: string;
  readonly target: 'cpu';
  readonly cache: 'dynamic' | 'static';
  readonly dumpAfter?: string;
  readonly from?: string;
  readonly json?: boolean;
}

export async function compileCommand(source: string | undefined, options: CompileOptions): Promise<void> {
  if (source === undefined && options.from === undefined) {
    throw new ModelcError('input', 'compile needs a checkpoint folder, or --from FILE');
  }
  const start = performance.now();
  const hooks = options.dumpAfter
    ? { dumpAfter: options.dumpAfter, onDump: (_: string, text: string) => process.stderr.write(`${text}\n`) }
    : undefined;
  const done = (result: object, text: string): void => {
    const ms = performance.now() - start;
    if (options.json) printOut(`${JSON.stringify({ ...result, milliseconds: Math.round(ms) })}\n`);
    else note(`${text}, in ${(ms / 1000).toFixed(1)} s`);
  };
  if (options.from !== undefined) {
    const graph = readGraph(options.from, source === undefined ? new Map() : await constantsOf(source));
    const program = compile(graph.name, { [graph.name]: graph.trace(graph.name) }, hostTarget(), {
      cache: graph.cache,
      ...(hooks ? { hooks } : {}),
    });
    const folder = resolve(options.output);
    await mkdir(folder, { recursive: true });
    if ((await readdir(folder)).some((n) => n !== 'program.json' && n !== 'kernels.c')) {
      throw new ModelcError('input', `${folder} holds other files; choose another folder with -o`);
    }
    await writeFile(join(folder, 'program.json'), JSON.stringify(withoutBodies(program)));
    await writeFile(join(folder, 'kernels.c'), printC(program).source);
    done({ folder, kernels: program.kernels.length }, `${folder}: ${program.kernels.length} kernels`);
    return;
  }
  const written = await writeArtifact(source as string, options.output, {
    cache_implementation: options.cache,
    ...(hooks ? { hooks } : {}),
    onProgress: progress,
    signal: interruptSignal(),
  });
  const mib = (written.weightBytes / 2 ** 20).toFixed(1);
  done(written, `${written.folder}: ${written.isas.join(', ')}; ${mib} MiB of weights`);
}
