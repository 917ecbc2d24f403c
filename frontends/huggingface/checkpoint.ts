// A checkpoint folder in Hugging Face's layout: config.json, generation_config.json, and the weights in model.safetensors
// or in shards that model.safetensors.index.json names. Opening one reads headers only; weights stay on disk.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDType, isFloat } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { WeightResolver } from '../dsl/module.ts';
import { isMissing, isObject, type JsonObject, quote, readJsonIfPresent, reason } from './json.ts';
import { readSafetensors, type StoredTensor } from './safetensors.ts';

export interface Checkpoint {
  readonly dir: string;
  readonly config: JsonObject;
  /** Empty if the folder has no generation_config.json. */
  readonly generationConfig: JsonObject;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Opens a folder. Throws ModelcError 'checkpoint' or 'parse' that names the file and what is wrong with it. */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  if (!(await exists(dir)))
    throw new ModelcError('checkpoint', `${dir} does not exist; name the folder of a checkpoint`);
  const configPath = join(dir, 'config.json');
  const config = await readJsonIfPresent(configPath);
  if (!config) {
    throw new ModelcError('checkpoint', `${configPath} does not exist; name the folder of a Hugging Face checkpoint`);
  }
  const generationConfig = (await readJsonIfPresent(join(dir, 'generation_config.json'))) ?? {};
  return { dir, config, generationConfig, tensors: await openWeights(dir) };
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (cause) {
    if (isMissing(cause)) return false;
    throw new ModelcError('checkpoint', `${path} cannot be read: ${reason(cause)}`, { cause });
  }
}

async function openWeights(dir: string): Promise<ReadonlyMap<string, StoredTensor>> {
  const single = join(dir, 'model.safetensors');
  if (await exists(single)) return (await readSafetensors(single)).tensors;
  const indexPath = join(dir, 'model.safetensors.index.json');
  const index = await readJsonIfPresent(indexPath);
  if (!index) {
    const torch =
      (await exists(join(dir, 'pytorch_model.bin'))) || (await exists(join(dir, 'pytorch_model.bin.index.json')));
    throw new ModelcError(
      'checkpoint',
      torch
        ? `${dir} has weights only in PyTorch's pickle format; save them again as safetensors`
        : `${dir} has neither model.safetensors nor model.safetensors.index.json; the download may be incomplete`,
    );
  }
  return openShards(dir, index, indexPath);
}

async function openShards(
  dir: string,
  index: JsonObject,
  indexPath: string,
): Promise<ReadonlyMap<string, StoredTensor>> {
  const map = index.weight_map;
  if (!isObject(map)) throw new ModelcError('checkpoint', `${indexPath} has no weight_map object; download it again`);
  const shards = new Map<string, ReadonlyMap<string, StoredTensor>>();
  const tensors = new Map<string, StoredTensor>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !/^[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors$/.test(file)) {
      throw new ModelcError(
        'checkpoint',
        `${indexPath} keeps tensor ${quote(name)} in ${quote(typeof file === 'string' ? file : JSON.stringify(file))}; a shard is a .safetensors file in the same folder`,
      );
    }
    const shard = shards.get(file) ?? (await readSafetensors(join(dir, file))).tensors;
    shards.set(file, shard);
    const tensor = shard.get(name);
    if (!tensor) {
      throw new ModelcError(
        'checkpoint',
        `${join(dir, file)} lacks tensor ${quote(name)}, which ${indexPath} keeps there; download both again`,
      );
    }
    tensors.set(name, tensor);
  }
  for (const [file, shard] of shards) {
    for (const [name, tensor] of shard) {
      // What the index does not place is there all the same, and transformers reads it.
      if (!tensors.has(name)) tensors.set(name, tensor);
      else if (tensors.get(name) !== tensor && !Object.hasOwn(map, name)) {
        throw new ModelcError(
          'checkpoint',
          `${join(dir, file)} and another shard have tensor ${quote(name)}, and ${indexPath} does not say which to read`,
        );
      }
    }
  }
  return tensors;
}

/** Looks up the weights that a model asks for; those that `fresh` names are made, in f32. */
export function weightResolver(checkpoint: Checkpoint, fresh?: ReadonlyMap<string, unknown>): WeightResolver {
  return (name, shape, dtype) => {
    if (fresh?.has(name)) return 'f32';
    const tensor = checkpoint.tensors.get(name);
    if (!tensor) {
      throw new ModelcError(
        'checkpoint',
        `${checkpoint.dir} lacks the weight ${name} of shape [${shape}]; its config.json does not fit its weights, or the download is incomplete`,
      );
    }
    if (tensor.shape.length !== shape.length || tensor.shape.some((d, i) => d !== shape[i])) {
      throw new ModelcError(
        'checkpoint',
        `weight ${name} in ${tensor.span.path} has shape [${tensor.shape}], but config.json asks for [${shape}]; the two do not belong together`,
      );
    }
    if (!isDType(tensor.dtype) || (dtype ? tensor.dtype !== dtype : !isFloat(tensor.dtype))) {
      throw new ModelcError(
        'unsupported',
        `weight ${name} in ${tensor.span.path} is stored as ${tensor.dtype}; convert it to ${dtype ? dtype.toUpperCase() : 'F32, F16 or BF16'}`,
      );
    }
    return tensor.dtype;
  };
}
