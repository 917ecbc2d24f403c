// Programs: the textual IR, and the manifests of artifacts.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hostTarget } from '../../../backends/cpu/target.ts';
import { webgpuTarget } from '../../../backends/webgpu/target.ts';
import { parseGraph } from '../../../frontends/text/index.ts';
import { printGraph } from '../../../ir/text.ts';
import { verify } from '../../../ir/verify.ts';
import { sealed } from '../../../runtime/artifact/digest.ts';
import { type AnyManifest, formatName, formatVersion, manifestFile, parseManifest, printManifest } from '../../../runtime/artifact/format.ts'; // biome-ignore format: one row
import { readGraph } from '../../../runtime/cli/source.ts';
import { compile } from '../../../runtime/compiler/compile.ts';
import { withoutBodies } from '../../../runtime/compiler/program-cache.ts';
import { openModel } from '../../../runtime/models/open.ts';
import { randomGraph } from '../../support/random-graph.ts';
import { mutateJson, mutateText } from '../json.ts';
import type { Prepare } from '../reader.ts';
import { smallCheckpoint } from './models.ts';

export const irText: Prepare = async () => {
  const seeds = Array.from({ length: 60 }, (_, seed) => printGraph(randomGraph(seed).graph));
  return {
    make: (random) => ({ 'graph.txt': mutateText(random.pick(seeds), random, seeds) }),
    async use(folder) {
      const path = join(folder, 'graph.txt');
      const source = readGraph(path);
      const { graph } = source.trace(source.name);
      verify(graph);
      const printed = printGraph(graph);
      if (printGraph(parseGraph(printed, path)) !== printed)
        throw new Error('a graph is printed that reads as another');
    },
  };
};

export const manifest: Prepare = async (folder) => {
  const opened = await openModel(await smallCheckpoint('llama', folder), { max_batch: 2, chunk: 4 });
  const variant = (target: ReturnType<typeof hostTarget>, requires: object) => [
    { name: 'plain', code: 'kernels.plain.node', requires, program: withoutBodies(compile('llama', { decode: opened.trace('decode') }, target, { cache: opened.cache })) }, // biome-ignore format: one row
  ];
  const host = { platform: process.platform, arch: process.arch, nodeMajor: 20 };
  const common = {
    format: formatName,
    version: formatVersion,
    model: { kind: 'causal-lm', task: 'causal-lm', info: opened.info },
  };
  const files = [{ name: 'config.json', bytes: 2, digest: '0'.repeat(64) }];
  const texts = await Promise.all(
    [
      { ...common, target: 'cpu', variants: variant(hostTarget(), { ...host, isa: 'plain' }), weights: ['weights-00001-of-00001.safetensors'] }, // biome-ignore format: one row
      { ...common, target: 'webgpu', variants: variant(webgpuTarget(), { features: [], bindingBytes: 1024, memoryBytes: 1024 }), weights: { files: [], tensors: {} } }, // biome-ignore format: one row
    ].map((part) => printManifest({ ...part, files } as unknown as AnyManifest)),
  );
  const seeds = texts.map((text): unknown => ({ ...(JSON.parse(text) as object), digest: undefined }));
  return {
    make: (random) => ({ [manifestFile]: mutateJson(random.pick(seeds), random, seeds) }),
    async use(path) {
      // who changes a manifest may write its digest, too
      const file = join(path, manifestFile);
      await parseManifest(await sealed(readFileSync(file, 'utf8')), file);
    },
  };
};
