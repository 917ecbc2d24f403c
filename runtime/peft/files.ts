// Adapters as files, as Python's PEFT reads and writes them: adapter_config.json and adapter_model.safetensors in a folder.
// Both come from anywhere, so every tensor is checked against what the configuration makes of the base model.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, quote, readJsonIfPresent } from '../../frontends/huggingface/json.ts';
import {
  decodeElements,
  readSafetensors,
  readSpan,
  type SafetensorsFile,
  writeSafetensors,
} from '../../frontends/huggingface/safetensors.ts';
import { isDType, isFloat } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { bytesOf } from '../host-tensor.ts';
import type { HostTensor } from '../session.ts';
import { writeInto, writeJson } from '../write-folder.ts';
import type { Adapter } from './adapter.ts';
import { LoraConfig } from './config.ts';
import { f32Tensor } from './weights.ts';

const configName = 'adapter_config.json';
const weightsName = 'adapter_model.safetensors';

/** The configuration of the adapter in a folder. Throws ModelcError 'checkpoint', 'parse' or 'unsupported'. */
export async function readAdapterConfig(folder: string): Promise<LoraConfig> {
  const path = join(folder, configName);
  const json = await readJsonIfPresent(path);
  if (!json) throw new ModelcError('checkpoint', `${path} does not exist; name the folder of an adapter`);
  return LoraConfig.from_json(json, path);
}

async function openWeights(folder: string): Promise<SafetensorsFile> {
  const path = join(folder, weightsName);
  const exists = (name: string): Promise<boolean> =>
    stat(join(folder, name)).then(
      () => true,
      (error: unknown) => !isMissing(error),
    );
  if (!(await exists(weightsName)) && (await exists('adapter_model.bin'))) {
    throw new ModelcError(
      'checkpoint',
      `${folder} has its adapter only in PyTorch's pickle format; save it again as ${weightsName}`,
    );
  }
  return readSafetensors(path);
}

export interface AdapterValues {
  /** f32, by param. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** Weights of the base that were saved with the adapter, by key without what marks them: embeddings that it changes. */
  readonly base: ReadonlyMap<string, HostTensor>;
}

/** The file key of the base's own weight of a module that an adapter changes. */
const baseKey = (module: string): string => `base_model.model.${module}.base_layer.weight`;

/** The values of an adapter. Throws ModelcError 'checkpoint' where the file does not fit the base model. */
export async function readAdapterValues(folder: string, adapter: Adapter): Promise<AdapterValues> {
  const file = await openWeights(folder);
  const expected = new Set(adapter.tensors.map((t) => t.key));
  const foreign = [...file.tensors.keys()].find((key) => /\.lora_|\.token_adapter\./.test(key) && !expected.has(key));
  if (foreign !== undefined) {
    throw new ModelcError(
      'checkpoint',
      `${file.path} has the tensor ${quote(foreign)}, but ${join(folder, configName)} adapts no such module of this model; the adapter belongs to another base or configuration`,
    );
  }
  const read = async (key: string, shape: readonly number[]): Promise<HostTensor> => {
    const stored = file.tensors.get(key);
    if (!stored) {
      throw new ModelcError(
        'checkpoint',
        `${file.path} lacks the tensor ${key}; the adapter is incomplete or belongs to another base`,
      );
    }
    if (stored.shape.join() !== shape.join()) {
      throw new ModelcError(
        'checkpoint',
        `${file.path}: tensor ${key} has shape [${stored.shape}], but this base model needs [${shape}]; the adapter belongs to another base`,
      );
    }
    if (!isDType(stored.dtype) || !isFloat(stored.dtype)) {
      throw new ModelcError(
        'unsupported',
        `${file.path}: tensor ${key} is stored as ${stored.dtype}; convert it to F32, F16 or BF16`,
      );
    }
    return f32Tensor(shape, decodeElements(await readSpan(stored.span), stored.dtype));
  };
  const tensors = new Map<string, HostTensor>();
  for (const { param, key, shape } of adapter.tensors) tensors.set(param, await read(key, shape));
  const base = new Map<string, HostTensor>();
  for (const { module } of adapter.targets) {
    const key = baseKey(module.name);
    if (!file.tensors.has(key)) continue;
    base.set(module.weight, await read(key, module.fanInFanOut ? [module.in, module.out] : [module.out, module.in]));
  }
  return { tensors, base };
}

/**
 * Writes an adapter. Each file is whole or as it was. `base`: weights of
 * modules that are written beside the adapter.
 */
export async function writeAdapter(
  folder: string,
  adapter: Adapter,
  values: ReadonlyMap<string, HostTensor>,
  base: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  const own = adapter.tensors.map(({ key, param }) => [key, values.get(param)!] as const);
  const targeted = new Set(adapter.targets.map(({ module }) => module.name));
  const kept = [...base].map(([module, tensor]) => {
    return [targeted.has(module) ? baseKey(module) : `base_model.model.${module}.weight`, tensor] as const;
  });
  const sources = [...new Map([...own, ...kept])].map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, data: bytesOf(data) })); // biome-ignore format: one row
  await writeInto(folder, async (partial) => {
    await writeSafetensors(join(partial, weightsName), sources, { metadata: { format: 'pt' } });
    await writeJson(join(partial, configName), adapter.config.with({ inference_mode: true }).to_dict());
  });
}
