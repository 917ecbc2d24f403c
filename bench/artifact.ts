// `modelc bench artifact`: how large artifacts of an 8B model are without weights, by target: the writers of artifacts do all
// that they do but write weights. Tables of digests, which only WebGPU has and which grow with the weights, are left out.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { hasNvcc } from '../backends/cuda/toolchain.ts';
import { backendNames } from '../backends/index.ts';
import { compilerOf, layOut, sizesOf } from '../runtime/artifact/write.ts';
import { modelOf } from '../runtime/models/open.ts';
import { checkpoint, scratch } from './checkpoint.ts';

export interface ArtifactRow {
  readonly target: string;
  readonly bytes: number;
  readonly files: Readonly<Record<string, number>>;
}

export async function artifactSizes({ json }: { readonly json?: boolean }): Promise<void> {
  const rows: ArtifactRow[] = [];
  const compiler = await hasNvcc();
  for (const target of backendNames) {
    if (target === 'cuda' && !compiler) {
      process.stderr.write('cuda: left out, there is no nvcc\n');
      continue;
    }
    mkdirSync(scratch(), { recursive: true });
    const draft = mkdtempSync(join(scratch(), 'artifact-'));
    try {
      const opened = modelOf(checkpoint('llama8b', 'bf16'));
      await layOut(target, {
        opened,
        draft,
        copied: [],
        begin: () => {},
        compile: compilerOf(opened, target),
        writeWeights: async () => [],
      });
      const files: Record<string, number> = {};
      for (const name of await readdir(draft)) files[name] = (await stat(join(draft, name))).size;
      rows.push({ target, bytes: (await sizesOf(draft)).otherBytes, files });
    } finally {
      rmSync(draft, { recursive: true, force: true });
    }
  }
  if (json) process.stdout.write(`${JSON.stringify(rows, null, 1)}\n`);
  else for (const row of rows) process.stdout.write(`llama8b ${text(row)}\n`);
}

const kb = (bytes: number): string => `${Math.ceil(bytes / 1000)} KB`;
const text = ({ target, bytes, files }: ArtifactRow): string =>
  `${target}: ${kb(bytes)} without weights (${Object.entries(files)
    .map(([name, size]) => `${name} ${kb(size)}`)
    .join(', ')})`;
