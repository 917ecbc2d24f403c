// The weight files of an artifact. Derived weights are made here, so that whoever loads the artifact makes none.
import { join } from 'node:path';
import type { FileSpan } from '../../backends/device.ts';
import { type TensorSource, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { evalShape, type PlanTensor, type Program } from '../../ir/program.ts';
import type { OpenedModel } from '../models/open.ts';
import { weightSource } from '../tensors/prepare-weight.ts';

const shardBytes = 512 * 2 ** 20;

/** The weights of all programs, in the order in which the first one uses them, in shards. */
export async function writeWeights(
  { weights: store }: OpenedModel,
  programs: readonly Program[],
  draft: string,
): Promise<string[]> {
  const weights = new Map<string, PlanTensor>();
  const sources = new Map<string, () => Promise<FileSpan | Uint8Array>>();
  for (const program of programs) {
    for (const w of program.weights) {
      if (weights.has(w.name)) continue;
      weights.set(w.name, w);
      sources.set(w.name, () => weightSource(store, w, program));
    }
  }
  const shapeOf = (w: PlanTensor): number[] => evalShape(w.shape, {});
  const sizeOf = (w: PlanTensor): number => shapeOf(w).reduce((n, d) => n * d, dtypeInfo[w.dtype].bytes);
  const shards: PlanTensor[][] = [[]];
  let room = shardBytes;
  for (const weight of weights.values()) {
    const size = sizeOf(weight);
    if (size > room && room < shardBytes) {
      shards.push([]);
      room = shardBytes;
    }
    shards[shards.length - 1].push(weight);
    room -= size;
  }
  const number = (i: number): string => String(i).padStart(5, '0');
  const files = shards.map((_, i) => `weights-${number(i + 1)}-of-${number(shards.length)}.safetensors`);
  for (const [i, shard] of shards.entries()) {
    const tensors: TensorSource[] = [];
    for (const weight of shard) {
      const data = await sources.get(weight.name)!();
      tensors.push({ name: weight.name, dtype: weight.dtype, shape: shapeOf(weight), data });
    }
    await writeSafetensors(join(draft, files[i]), tensors, { hasDigest: true });
  }
  return files;
}
