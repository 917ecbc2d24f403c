// The cpu part of an artifact: a program and native code for every instruction set of this machine's architecture.
import { copyFile, writeFile } from 'node:fs/promises';
import os from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { buildProgram, buildRuntime } from '../../backends/cpu/build.ts';
import { hostTarget, type Isa, isas } from '../../backends/cpu/target.ts';
import type { Target } from '../../ir/target.ts';
import { kernelsFile, runtimeFile, type TargetPart, type Variant } from './format.ts';
import { hostRequires } from './host.ts';
import type { WriteJob } from './write.ts';

const targetOf = (isa: Isa): Target => ({
  ...hostTarget(),
  features: [isa.name],
  vectorBytes: isa.vectorBytes,
  vectorRegisters: isa.vectorRegisters,
  tiles: isa.tiles,
});

export async function writeCpu(job: WriteJob): Promise<TargetPart<'cpu'>> {
  const { draft, begin, compile } = job;
  begin('compiling the runtime');
  await copyFile(await buildRuntime(), join(draft, runtimeFile));
  const variants: Variant<'cpu'>[] = [];
  for (const isa of isas.filter((row) => row.isKept && (row.needs.length === 0 || os.arch() === 'x64'))) {
    begin(`compiling for ${isa.name}`);
    const program = compile(targetOf(isa));
    const { binary, source } = await buildProgram(program);
    const code = kernelsFile(isa.name, 'node');
    await copyFile(binary, join(draft, code));
    await writeFile(join(draft, kernelsFile(isa.name, 'c.gz')), gzipSync(source));
    const requires = { ...hostRequires(), isa: isa.name };
    variants.push({ name: isa.name, requires, code, program });
  }
  begin('writing weights');
  const weights = await job.writeWeights(variants.map((v) => v.program));
  return { target: 'cpu', variants, weights };
}
