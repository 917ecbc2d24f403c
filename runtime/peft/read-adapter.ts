// Reading adapter_model.safetensors. PEFT writes a tensor under the path of its module, without the adapter's name; older
// versions and other tools write that name, or leave out the prefix, so keys are made plain first. A file may hold tensors
// of the base beside those of the adapter (embeddings, an output layer): they take the place of the base's, as in PEFT.
// What nobody would read is refused by name.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isMissing, quote } from '../../frontends/huggingface/json.ts';
import {
  decodeElements,
  readSafetensors,
  readSpan,
  type StoredTensor,
} from '../../frontends/huggingface/safetensors.ts';
import { type DType, isDType, isFloat } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { type Adapter, inModel, prefix } from './adapter.ts';
import type { ModelModules } from './modules.ts';
import { f32Tensor, hostTensor } from './weights.ts';

export const weightsName = 'adapter_model.safetensors';

/** The tensors of an adapter's file, by plain key. */
export interface AdapterFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, AdapterFileTensor>;
}

interface AdapterFileTensor extends StoredTensor {
  /** The key in the file. */
  readonly key: string;
}

/** What stands in keys besides paths and roles: an adapter's name, and PEFT's wrappers of the base's modules. */
const additions: readonly (readonly [RegExp, string])[] = [
  [/\.(lora_[AB])\.[^.]+\.(weight|bias)$/, '.$1.$2'],
  [/\.(lora_embedding_[AB]|token_adapter\.trainable_tokens_delta)\.[^.]+$/, '.$1'],
  [/\.lora_magnitude_vector(?:\.[^.]+){1,2}$/, '.lora_magnitude_vector'],
  [/\.modules_to_save\.(?:[^.]+\.(?=.))?/, '.'],
  [/\.(?:token_adapter\.)?base_layer\./, '.'],
];

const copied = '.modules_to_save.';

const plainKey = (key: string, isPrefixed: boolean): string =>
  additions.reduce((plain, [addition, rest]) => plain.replace(addition, rest), isPrefixed ? key : prefix + key);

/** Opens the weights of an adapter, their header only. Throws ModelcError 'checkpoint' where there are none. */
export async function openAdapterFile(folder: string): Promise<AdapterFile> {
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
  const file = await readSafetensors(join(folder, weightsName));
  const isPrefixed = [...file.tensors.keys()].some((key) => key.startsWith(prefix));
  const tensors = new Map<string, AdapterFileTensor>();
  for (const [key, tensor] of file.tensors) {
    const plain = plainKey(key, isPrefixed);
    const other = tensors.get(plain);
    // With bias 'all', PEFT writes biases of modules_to_save once more, and reads the plain ones.
    if (other && key.includes(copied)) continue;
    if (other && !other.key.includes(copied)) {
      throw new ModelcError(
        'checkpoint',
        `${file.path} has both ${quote(other.key)} and ${quote(key)}, which are one tensor of an adapter; save each adapter in a folder of its own`,
      );
    }
    tensors.set(plain, { ...tensor, key });
  }
  return { path: file.path, tensors };
}

export interface AdapterValues {
  /** f32, by param. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  /** Weights of the base that the file brings, by name, in the dtypes of the base. */
  readonly base: ReadonlyMap<string, HostTensor>;
}

/** Buffers that some versions of transformers save, and that are computed. */
const buffers = /\.(?:rotary_emb\.inv_freq|(?:attn|attention)\.(?:bias|masked_bias)|(?:position|token_type)_ids|(?:trainable_tokens_original|token_indices)\.[^.]+)$/; // biome-ignore format: one row

/** A tensor of the base that a file brings: its key, the param that it replaces, and the shape of that. */
interface BaseTensor {
  readonly key: string;
  readonly weight: string;
  readonly shape: readonly number[];
}

/** The param of the base that a key names: a path of a parameter, or the output layer that shares a table. */
export function baseWeightOf(key: string, { parameters, matrices }: ModelModules): string | undefined {
  const path = key.slice(prefix.length).replace('.original_module.', '.');
  if (parameters.has(path)) return path;
  return path.endsWith('.weight') ? matrices.get(path.slice(0, -'.weight'.length))?.weight : undefined;
}

/** The values of an adapter. Throws ModelcError 'checkpoint' where the file does not fit the base model. */
export async function readAdapterValues(
  file: AdapterFile,
  adapter: Adapter,
  modules: ModelModules,
): Promise<AdapterValues> {
  const own = new Map(adapter.tensors.map((t) => [plainKey(t.key, true), t]));
  const ofBase = new Map<string, BaseTensor>();
  const foreign: string[] = [];
  for (const [plain, { key }] of file.tensors) {
    if (own.has(plain)) continue;
    const weight = baseWeightOf(plain, modules);
    if (weight !== undefined) {
      // Of a table that is shared, the output layer is read last, as PyTorch does.
      const known = ofBase.get(weight);
      const isHead = plain === inModel(modules.head ?? '', 'weight');
      if (!known || isHead) ofBase.set(weight, { key: plain, weight, shape: modules.parameters.get(weight)! });
    } else if (!buffers.test(plain)) foreign.push(key);
  }
  if (foreign.length > 0) {
    throw new ModelcError(
      'checkpoint',
      `${file.path} has tensors that nothing of this model reads under adapter_config.json: ${grouped(foreign)}; the adapter belongs to another base or configuration`,
    );
  }
  const missing = [...own.keys()].filter((plain) => !file.tensors.has(plain));
  if (missing.length > 0) {
    throw new ModelcError(
      'checkpoint',
      `${file.path} lacks tensors that adapter_config.json asks for: ${grouped(missing)}; the adapter is incomplete or belongs to another base`,
    );
  }
  const wanted = [...[...own].map(([key, { shape }]) => ({ key, shape })), ...ofBase.values()];
  checkShapes(file, wanted);
  const tensors = new Map<string, HostTensor>();
  for (const [key, { param, shape }] of own) tensors.set(param, f32Tensor(shape, await valuesOf(file, key)));
  const base = new Map<string, HostTensor>();
  for (const { key, weight, shape } of ofBase.values()) {
    const dtype: DType = modules.dtypes.get(weight) ?? 'f32';
    base.set(weight, hostTensor(dtype, shape, await valuesOf(file, key)));
  }
  return { tensors, base };
}

/** Every shape is compared before a value is read. */
function checkShapes(
  { path, tensors }: AdapterFile,
  wanted: readonly { readonly key: string; readonly shape: readonly number[] }[],
): void {
  const wrong = wanted.filter(({ key, shape }) => tensors.get(key)!.shape.join() !== shape.join());
  if (wrong.length > 0) {
    const [{ key, shape }] = wrong;
    const others = wrong.length > 1 ? `, and so on: ${grouped(wrong.map((w) => tensors.get(w.key)!.key))}` : '';
    throw new ModelcError(
      'checkpoint',
      `${path}: tensor ${quotable(tensors.get(key)!.key)} has shape [${tensors.get(key)!.shape}], but this base model needs [${shape}]${others}; the adapter belongs to another base or configuration`,
    );
  }
  for (const { key } of wanted) {
    const { dtype, key: name } = tensors.get(key)!;
    if (isDType(dtype) && isFloat(dtype)) continue;
    throw new ModelcError('unsupported', `${path}: tensor ${quotable(name)} is stored as ${dtype}; convert it to F32, F16 or BF16`); // biome-ignore format: one row
  }
}

async function valuesOf({ tensors }: AdapterFile, key: string): Promise<ArrayLike<number>> {
  const { span, dtype } = tensors.get(key)!;
  return decodeElements(await readSpan(span), dtype as DType);
}

/** A name as a message shows it: without quotes, for it is a path. */
const quotable = (name: string): string => quote(name).slice(1, -1);

/** Names without what all have in front, those of all layers together: `layers.*.q_proj.lora_A.weight (24)`. */
export function grouped(names: readonly string[], most = 6): string {
  const counts = new Map<string, number>();
  for (const name of names) {
    const short = name.replace(/\.\d+\./g, '.*.');
    counts.set(short, (counts.get(short) ?? 0) + 1);
  }
  const one = counts.size === names.length ? new Map(names.map((name) => [name, 1])) : counts;
  const shown = [...one].slice(0, most).map(([name, n]) => (n > 1 ? `${quotable(name)} (${n})` : quotable(name)));
  return one.size > most ? `${shown.join(', ')} and ${one.size - most} more` : shown.join(', ');
}
