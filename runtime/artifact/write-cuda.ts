// The cuda part of an artifact: a program and device code for every architecture, and the prebuilt binding to the driver.
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { buildBinding, buildProgram } from '../../backends/cuda/device.ts';
import { printProgram } from '../../backends/cuda/print.ts';
import { architectures, cudaTarget } from '../../backends/cuda/target.ts';
import { fixedBytes } from '../execution/planned-memory.ts';
import { kernelsFile, leastStateBytes, runtimeFile, type TargetPart, type Variant } from './format.ts';
import { hostRequires } from './host.ts';
import type { WriteJob } from './write.ts';

export async function writeCuda(job: WriteJob): Promise<TargetPart<'cuda'>> {
  const { opened, draft, begin, compile } = job;
  begin('compiling the driver binding');
  await copyFile(await buildBinding(), join(draft, runtimeFile));
  const variants: Variant<'cuda'>[] = [];
  for (const { name } of architectures) {
    begin(`compiling for ${name}`);
    const program = compile(cudaTarget(name));
    const code = kernelsFile(name, 'cubin');
    await copyFile(await buildProgram(program), join(draft, code));
    await writeFile(join(draft, kernelsFile(name, 'cu.gz')), gzipSync(printProgram(program).join('\n')));
    const memoryBytes = fixedBytes([program]) + leastStateBytes(program, opened.limits);
    variants.push({ name, requires: { ...hostRequires(), architecture: name, memoryBytes }, code, program });
  }
  begin('writing weights');
  const weights = await job.writeWeights(variants.map((v) => v.program));
  return { target: 'cuda', variants, weights };
}
