// `modelc compile`: a checkpoint to an artifact; or, with --from, textual IR to program.json and source code (the
// checkpoint, if given too, has the data of the model's constants).
import { existsSync } from 'node:fs';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { stopCompilers } from '../../backends/build-cache.ts';
import { type BackendName, backendNames, backends } from '../../backends/index.ts';
import type { TaskName } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { writeArtifact } from '../artifact/write.ts';
import { compile } from '../compiler/compile.ts';
import { withoutBodies } from '../compiler/program-cache.ts';
import { writeInto } from '../hub/write-folder.ts';
import { interruptSignal, note, printOut, progress, showBuilds } from './output.ts';
import { constantsOf, readGraph } from './source.ts';

export interface CompileOptions {
  readonly output: string;
  readonly target: BackendName;
  readonly task?: TaskName;
  readonly cache: 'dynamic' | 'static';
  readonly dumpAfter?: string;
  readonly from?: string;
  readonly json?: boolean;
}

const kernelsFile = (name: BackendName): string => `kernels.${backends[name].extension}`;

export async function compileCommand(source: string | undefined, options: CompileOptions): Promise<void> {
  if (source === undefined && options.from === undefined) {
    throw new ModelcError('input', 'compile needs a checkpoint folder, or --from FILE');
  }
  showBuilds();
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
    const backend = backends[options.target];
    const program = compile(graph.name, { [graph.name]: graph.trace(graph.name) }, await backend.target(), {
      cache: graph.cache,
      ...(hooks ? { hooks } : {}),
    });
    const folder = resolve(options.output);
    const present = await readdir(folder).catch(() => []);
    const own = ['program.json', ...backendNames.map(kernelsFile)];
    if (present.some((n) => !own.includes(n) && !/^\.files\..*\.partial$/.test(n))) {
      throw new ModelcError('input', `${folder} holds other files; choose another folder with -o`);
    }
    await writeInto(folder, async (partial) => {
      await writeFile(join(partial, 'program.json'), JSON.stringify(withoutBodies(program)));
      await writeFile(join(partial, kernelsFile(options.target)), await backend.print(program));
    });
    done({ folder, kernels: program.kernels.length }, `${folder}: ${program.kernels.length} kernels`);
    return;
  }
  const signal = interruptSignal();
  signal.addEventListener('abort', stopCompilers);
  const written = await writeArtifact(source as string, options.output, {
    target: options.target,
    ...(options.task ? { task: options.task } : {}),
    ...(options.cache === 'static' ? { cache_implementation: options.cache } : {}),
    ...(hooks ? { hooks } : {}),
    onProgress: progress,
    signal,
  });
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const what = `${written.target} (${written.variants.join(', ')})`;
  const sizes = `${mib(written.weightBytes)} of weights, ${mib(written.otherBytes)} of code, tokenizer and tables`;
  done(written, `${written.folder}: ${what}; ${sizes}`);
  if (!existsSync(join(written.folder, 'tokenizer.json'))) {
    note(`${source} has no tokenizer.json, so the artifact takes token ids alone`);
  }
  if (!options.json && backends[written.target].isPortable) {
    note('pages import its index.js; serve the folder over https or from localhost');
  }
}
