// `modelc inspect`: a model at any level of the compiler, as text on stdout.
import { printProgram as printC } from '../../backends/cpu/print.ts';
import { hostTarget } from '../../backends/cpu/target.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import { printGraph, printKernel, printProgram, printRegions } from '../../ir/text.ts';
import { compile, compileRegions } from '../compiler.ts';
import { printOut } from './output.ts';
import { openSource, type Source } from './source.ts';

export interface InspectOptions {
  readonly level: 'graph' | 'regions' | 'kernels' | 'program' | 'c';
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
  printOut(
    options.dumpAfter === undefined
      ? printLevel(source, entries, options.level)
      : dump(source, entries, options.dumpAfter),
  );
}

function printLevel(source: Source, entries: readonly string[], level: InspectOptions['level']): string {
  const { cache, name } = source;
  const program = (): Program =>
    compile(name, Object.fromEntries(entries.map((e) => [e, source.trace(e)])), hostTarget(), { cache });
  switch (level) {
    case 'graph':
      return entries.map((e) => printGraph(source.trace(e).graph, { origins: true })).join('\n');
    case 'regions':
      return entries.map((e) => printRegions(compileRegions(source.trace(e), hostTarget(), { cache }))).join('\n');
    case 'kernels':
      return program().kernels.map(printKernel).join('\n');
    case 'program':
      return printProgram(program());
    case 'c':
      return printC(program()).source;
    default:
      return level satisfies never;
  }
}

/** The graph of each entry after a pass: text that `--from` reads back. */
function dump(source: Source, entries: readonly string[], dumpAfter: string): string {
  const texts: string[] = [];
  const hooks = { dumpAfter, onDump: (_: string, text: string) => texts.push(text) };
  for (const e of entries) compileRegions(source.trace(e), hostTarget(), { cache: source.cache, hooks });
  return texts.join('\n');
}
