// The webgpu part of an artifact: programs as WGSL text, and the table by which a loader downloads and verifies files.
import { createHash } from 'node:crypto';
import { open, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { joinModules } from '../../backends/webgpu/layout.ts';
import { printProgram } from '../../backends/webgpu/print.ts';
import { webgpuTarget, webgpuVariants } from '../../backends/webgpu/target.ts';
import { type EntryLimits, readSafetensors } from '../../frontends/huggingface/index.ts';
import type { Program } from '../../ir/program.ts';
import { fixedBytes, largestArray } from '../execution/planned-memory.ts';
import type { DownloadFile, DownloadTable } from './download-table.ts';
import { kernelsFile, leastStateBytes, type TargetPart, type Variant } from './format.ts';
import type { WriteJob } from './write-job.ts';

/** Files are verified and kept in chunks: small enough for steady progress, so large that there are not too many. */
const chunkLimits = { least: 2 ** 16, most: 2 ** 22, wanted: 256 } as const;

export async function writeWebGpu(job: WriteJob): Promise<TargetPart<'webgpu'>> {
  const { opened, draft, copied, begin, compile } = job;
  const printed = webgpuVariants().map(({ name, features }) => {
    begin(`compiling for WebGPU, ${name}`);
    const program = compile(webgpuTarget(features));
    return { name, features, program, text: joinModules(printProgram(program)) };
  });
  const variants: Variant<'webgpu'>[] = [];
  for (const [i, { name, features, program, text }] of printed.entries()) {
    if (printed.slice(i + 1).some((later) => later.text === text)) continue; // the same, and it asks for less
    const code = kernelsFile(name, 'wgsl');
    await writeFile(join(draft, code), text);
    variants.push({ name, requires: { features, ...memoryOf(program, opened.limits) }, code, program });
  }
  begin('writing weights');
  const weightFiles = await job.writeWeights(variants.map((v) => v.program));
  begin('computing digests');
  const sizes = await Promise.all(weightFiles.map((name) => stat(join(draft, name))));
  const chunkBytes = chunkSize(sizes.reduce((n, { size }) => n + size, 0));
  const files: DownloadFile[] = [];
  const spans: Record<string, readonly [number, number, number]> = {};
  for (const name of [...copied, ...variants.map((v) => v.code), ...weightFiles]) {
    if (weightFiles.includes(name)) {
      const { tensors } = await readSafetensors(join(draft, name));
      for (const [weight, { span }] of tensors) spans[weight] = [files.length, span.offset, span.bytes];
    }
    files.push(await digestsOf(draft, name, chunkBytes));
  }
  const weights: DownloadTable = { chunkBytes, files, spans };
  return { target: 'webgpu', variants, weights };
}

function memoryOf(program: Program, limits: EntryLimits): { bindingBytes: number; memoryBytes: number } {
  return { bindingBytes: largestArray(program), memoryBytes: fixedBytes([program]) + leastStateBytes(program, limits) };
}

/** A power of two. */
function chunkSize(bytes: number): number {
  let size: number = chunkLimits.least;
  while (size < chunkLimits.most && bytes / size > chunkLimits.wanted) size *= 2;
  return size;
}

async function digestsOf(folder: string, name: string, chunkBytes: number): Promise<DownloadFile> {
  const file = await open(join(folder, name));
  try {
    const chunk = new Uint8Array(chunkBytes);
    const digests: string[] = [];
    let bytes = 0;
    for (let size = 1; size > 0; bytes += size) {
      size = 0;
      for (let got = 1; got > 0 && size < chunkBytes; size += got) {
        ({ bytesRead: got } = await file.read(chunk, size, chunkBytes - size, bytes + size));
      }
      if (size > 0) digests.push(createHash('sha256').update(chunk.subarray(0, size)).digest('hex'));
    }
    return { name, bytes, digests };
  } finally {
    await file.close();
  }
}
