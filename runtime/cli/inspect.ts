// `modelc inspect`: a model at any level of the compiler, as text on stdout, for any target.
import { printProgram as printC } from '../../backends/cpu/print.ts';
import { hostTarget } from '../../backends/cpu/target.ts';
import { printProgram as printCuda } from '../../backends/cuda/print.ts';
import { architectures, cudaTarget } from '../../backends/cuda/target.ts';
import { printProgram as printWgsl } from '../../backends/webgpu/print.ts';
import { webgpuTarget } from '../../backends/webgpu/target.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { printGraph, printKernel, printProgram, printRegions } from '../../ir/text.ts';
import { compile, compileRegions } from '../compiler/compile.ts';
import type { DeviceName } from '../execution/devices.ts';
import { printOut } from './output.ts';
import { openSource, type Source } from './source.ts';

/** Each target with its language, that is the last level. */
const targets = {
  cpu: { level: 'c', target: hostTarget, print: (p) => printC(p).source },
  cuda: { level: 'cuda', target: () => cudaTarget(architectures[0].name), print: (p) => printCuda(p).join('\n') },
  webgpu: { level: 'wgsl', target: () => webgpuTarget(), print: (p) => printWgsl(p).join('\n') },
} as const satisfies Record<DeviceName, { level: string; target(): Target; print(program: Program): string }>;
type Language = (typeof targets)[DeviceName]['level'];

export interface InspectOptions {
  readonly level: 'graph' | 'regions' | 'kernels' | 'program' | Language;
  /** Default: the target whose language the level is, or cpu. */
  readonly target?: DeviceName;
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
  const ofLevel = (Object.keys(targets) as DeviceName[]).find((name) => targets[name].level === options.level);
  const name = options.target ?? ofLevel ?? 'cpu';
  if (ofLevel && name !== ofLevel) {
    throw new ModelcError('input', `level ${options.level} is the code of --target ${ofLevel}, not of ${name}`);
  }
  const target = targets[name].target();
  const fitted = source.fit(target);
  printOut(
    options.dumpAfter === undefined
      ? printLevel(fitted, entries, options.level, target)
      : dump(fitted, entries, options.dumpAfter, target),
  );
}

function printLevel(
  { cache, name, trace }: Source,
  entries: readonly string[],
  level: InspectOptions['level'],
  target: Target,
): string {
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
    case 'c':
      return targets.cpu.print(program());
    case 'cuda':
      return targets.cuda.print(program());
    case 'wgsl':
      return targets.webgpu.print(program());
    default:
      return level satisfies never;
  }
}

/** The graph of each entry after a pass: text that `--from` reads back. */
function dump({ cache, trace }: Source, entries: readonly string[], dumpAfter: string, target: Target): string {
  const texts: string[] = [];
  const hooks = { dumpAfter, onDump: (_: string, text: string) => texts.push(text) };
  for (const e of entries) compileRegions(trace(e), target, { cache, hooks });
  return texts.join('\n');
}
