// The part of an artifact with native code: the prebuilt runtime, and for every kind of machine of the target a program, its
// code and, compressed, its source.
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { kernelsFile, type Requires, runtimeFile, type TargetPart, type Variant } from './format.ts';
import type { WriteJob } from './write-job.ts';

export interface NativeParts<T extends 'cpu' | 'cuda'> {
  readonly target: T;
  readonly runtime: { readonly name: string; build(): Promise<string> };
  readonly extensions: { readonly code: 'node' | 'cubin'; readonly source: 'c.gz' | 'cu.gz' };
  /** Best first. */
  readonly variants: readonly { readonly name: string; readonly target: Target }[];
  /** The path of a program's code, and its source. */
  build(program: Program): Promise<{ readonly binary: string; readonly source: string }>;
  requires(name: string, program: Program): Requires<T>;
}

export async function writeNative<T extends 'cpu' | 'cuda'>(
  { draft, begin, compile, writeWeights }: WriteJob,
  { target, runtime, extensions, variants: wanted, build, requires }: NativeParts<T>,
): Promise<TargetPart<'cpu'> | TargetPart<'cuda'>> {
  begin(`compiling the ${runtime.name}`);
  await copyFile(await runtime.build(), join(draft, runtimeFile));
  const variants: Variant<T>[] = [];
  for (const { name, target } of wanted) {
    begin(`compiling for ${name}`);
    const program = compile(target);
    const { binary, source } = await build(program);
    const code = kernelsFile(name, extensions.code);
    await copyFile(binary, join(draft, code));
    await writeFile(join(draft, kernelsFile(name, extensions.source)), gzipSync(source));
    variants.push({ name, requires: requires(name, program), code, program });
  }
  begin('writing weights');
  const weights = await writeWeights(variants.map((v) => v.program));
  return { target, variants, weights } as TargetPart<'cpu'> | TargetPart<'cuda'>;
}
