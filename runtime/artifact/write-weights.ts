// The weight files of an artifact.
import { join } from 'node:path';
import { type TensorSource, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { evalShape, type PlanTensor, type Program } from '../../ir/program.ts';
import type { OpenedModel } from '../models/open.ts';

const shardBytes = 512 * 2 ** 20;

/** The weights of all programs, in the order in which the first one uses them, in shards. */
export async function writeWeights(
  { weights: store }: OpenedModel,
  programs: readonly Program[],
  draft: string,
): Promise<string[]> {
  const weights = new Map<string, PlanTensor>();
  for (const program of programs) for (const w of program.weights) if (!weights.has(w.name)) weights.set(w.name, w);
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
      const data = await store.source(weight);
      tensors.push({ name: weight.name, dtype: weight.dtype, shape: shapeOf(weight), data });
    }
    await writeSafetensors(join(draft, files[i]), tensors, { hasDigest: true });
  }
  return files;
}
