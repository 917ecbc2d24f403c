// `modelc inspect`: a model at any level of the compiler, as text on stdout, for any target.
import {
  type Backend,
  type BackendName,
  backendNames,
  backends,
  defaultBackend,
  type Language,
} from '../../backends/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { printGraph, printKernel, printProgram, printRegions } from '../../ir/text.ts';
import { compile, compileRegions } from '../compiler/compile.ts';
import { printOut } from './output.ts';
import { openSource, type Source } from './source.ts';

export interface InspectOptions {
  readonly level: 'graph' | 'regions' | 'kernels' | 'program' | Language;
  /** Default: the backend whose language the level is, or the default one. */
  readonly target?: BackendName;
  readonly entry?: string;
  readonly dumpAfter?: string;
  readonly cache: 'dynamic' | 'static';
}

export async function inspect(path: string, options: InspectOptions): Promise<void> {
  const source = await openSource(path, options.cache);
  if (options.entry !== undefined && !source.entries.includes(options.entry)) {
    throw new ModelcError('input', `${path} has no entry '${options.entry}'; it has ${source.entries.join(', ')}`);
  }
  const entries = options.entry === undefined ? source.entries : [options.entry];
  const ofLevel = backendNames.find((name) => backends[name].language === options.level);
  const name = options.target ?? ofLevel ?? defaultBackend;
  if (ofLevel && name !== ofLevel) {
    throw new ModelcError('input', `level ${options.level} is the code of --target ${ofLevel}, not of ${name}`);
  }
  const backend = backends[name];
  const target = await backend.target();
  const fitted = source.fit(target);
  printOut(
    options.dumpAfter === undefined
      ? await printLevel(fitted, entries, options.level, backend, target)
      : dump(fitted, entries, options.dumpAfter, target),
  );
}

async function printLevel(
  { cache, name, trace }: Source,
  entries: readonly string[],
  level: InspectOptions['level'],
  backend: Backend,
  target: Target,
): Promise<string> {
  const program = (): Program =>
    compile(name, Object.fromEntries(entries.map((e) => [e, trace(e)])), target, { cache });
  switch (level) {
    case 'graph':
      return entries.map((e) => printGraph(trace(e).graph, { origins: true })).join('\n');
    case 'regions':
      return entries.map((e) => printRegions(compileRegions(trace(e), target, { cache }))).join('\n');
    case 'kernels':
      return program().kernels.map(printKernel).join('\n');
    case 'program':
      return printProgram(program());
    default:
      return backend.print(program());
  }
}

/** The graph of each entry after a pass: text that `--from` reads back. */
function dump({ cache, trace }: Source, entries: readonly string[], dumpAfter: string, target: Target): string {
  const texts: string[] = [];
  const hooks = { dumpAfter, onDump: (_: string, text: string) => texts.push(text) };
  for (const e of entries) compileRegions(trace(e), target, { cache, hooks });
  return texts.join('\n');
}
