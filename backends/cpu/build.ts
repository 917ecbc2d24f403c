// The two binaries of the CPU backend: the native runtime, the same for every program, and a program's kernels.
import type { Program } from '../../ir/program.ts';
import { compileNative } from '../c/toolchain.ts';
import { runtimeSource } from './binding.ts';
import { printProgram } from './print.ts';
import { isaOf } from './target.ts';

/** The path of the native runtime. */
export const buildRuntime = (): Promise<string> => compileNative(runtimeSource, { flags: [], nodeApi: true });

/** The path of a program's kernels, and their C source. */
export async function buildProgram(program: Program): Promise<{ binary: string; source: string }> {
  const { source, units } = printProgram(program);
  const binary = await compileNative(source, {
    flags: isaOf(program.target.features).flags,
    units,
    kernels: program.kernels.length,
  });
  return { binary, source };
}
