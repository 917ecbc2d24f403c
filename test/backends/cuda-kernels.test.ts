// Every kernel of every model that tests run is CUDA C that nvcc compiles, warnings being errors. Text that models, or
// architectures, share is compiled once: it is devices.ts that has ops and templates compiled for every architecture.
// Budget: 240 s of processor where nothing is cached.
import { expect, test } from 'vitest';
import { prelude } from '../../backends/cuda/prelude.ts';
import { printProgram } from '../../backends/cuda/print.ts';
import { architectures, cudaTarget } from '../../backends/cuda/target.ts';
import { hasNvcc, unoptimizedNvcc } from '../../backends/cuda/toolchain.ts';
import { sizedPrograms, smallPrograms } from '../support/model-programs.ts';

/** Kernels of a file: so many that what a call of nvcc costs does not count. */
const together = 100;
const seen = new Set<string>();

/** The texts of kernels behind their names, but for those that another architecture has too. */
async function kernels(name: (typeof architectures)[number]['name']): Promise<string[]> {
  const found: string[] = [];
  const add = (files: readonly string[]): void => {
    for (const file of files) {
      for (const [, text] of file.matchAll(/^KERNEL\(\d+\) kernel_\d+(\([\s\S]*?^\})/gm)) {
        if (!seen.has(text)) found.push(text);
        seen.add(text);
      }
    }
  };
  const target = cudaTarget(name);
  for await (const { program } of smallPrograms()) add(printProgram(program(target)));
  for (const { program } of sizedPrograms(['smol135m', 'llama8b', 'gemma2b'], ['bf16'])) {
    add(printProgram(program(target)));
  }
  return found;
}

const compiler = await hasNvcc();
const without = compiler ? '' : ' (skipped: there is no nvcc)';
test.skipIf(!compiler).each(architectures)(
  `nvcc takes all kernels of models for $name${without}`,
  async ({ name, groupThreads }) => {
    const all = await kernels(name);
    expect(seen.size).toBeGreaterThan(200);
    console.log(`nvcc: ${all.length} kernels for ${name}`);
    const files: string[] = [];
    for (let at = 0; at < all.length; at += together) {
      const part = all.slice(at, at + together);
      const text = part.map((kernel, i) => `KERNEL(${groupThreads}) kernel_${i}${kernel}`).join('\n');
      files.push(`${prelude(text, groupThreads)}${text}\n`);
    }
    if (files.length > 0) await unoptimizedNvcc.compile(files, name);
  },
  1_200_000,
);
