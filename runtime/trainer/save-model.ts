// A model that is trained as files in the layout of Hugging Face: config.json, generation_config.json and
// model.safetensors, or the files of its adapters.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jsonText, quote } from '../../frontends/huggingface/json.ts';
import {
  readSafetensors,
  readSpan,
  type TensorSource,
  writeSafetensors,
} from '../../frontends/huggingface/safetensors.ts';
import { isDType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { writeInto } from '../hub/write-folder.ts';
import { bytesOf, type HostTensor, viewOf } from '../tensors/host-tensor.ts';
import type { TrainableModel } from './trainable.ts';

const weightsName = 'model.safetensors';

/** What is written of a model. */
type ModelToSave = Pick<TrainableModel, 'config' | 'generationConfig' | 'weights' | 'saved'>;

/**
 * Writes a model into a folder. `values`: the weights that are trained, f32 by name; the others are written as they are
 * stored.
 */
export async function saveModel(
  folder: string,
  model: ModelToSave,
  values: ReadonlyMap<string, HostTensor>,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  if (model.saved) return model.saved.write(folder, values);
  const tensors: TensorSource[] = [];
  for (const [name] of model.weights.tensors) {
    const { dtype, shape, data } = values.get(name) ?? (await model.weights.stored(name));
    tensors.push({ name, dtype, shape, data: bytesOf(data) });
  }
  await writeSafetensors(join(folder, weightsName), tensors);
  const dtypes = new Set(tensors.map((t) => t.dtype));
  await writeFile(join(folder, 'config.json'), jsonText(withDType(model.config, dtypes), model.config));
  if (Object.keys(model.generationConfig).length > 0) {
    await writeFile(join(folder, 'generation_config.json'), jsonText(model.generationConfig));
  }
}

/** Writes a model as it is; what is in the folder besides stays. */
export const savePretrained = (folder: string, model: ModelToSave): Promise<void> =>
  writeInto(folder, (partial) => saveModel(partial, model, new Map()));

/** What config.json says of the type of the weights is made true. */
function withDType(config: TrainableModel['config'], dtypes: ReadonlySet<string>): TrainableModel['config'] {
  const key = ['dtype', 'torch_dtype'].find((name) => Object.hasOwn(config, name));
  return key === undefined || !dtypes.has('f32') ? config : { ...config, [key]: 'float32' };
}

/** The values of the weights that are trained, from a folder that saveModel wrote. Throws ModelcError 'checkpoint'. */
export async function readModel(
  folder: string,
  model: TrainableModel,
  trained: readonly string[],
): Promise<ReadonlyMap<string, HostTensor>> {
  if (model.saved) return model.saved.read(folder);
  return readStates(join(folder, weightsName), trained);
}

/** The tensors `names` of a file. Throws ModelcError 'checkpoint' where it is damaged or lacks one of them. */
export async function readStates(path: string, names: readonly string[]): Promise<Map<string, HostTensor>> {
  const { tensors } = await readSafetensors(path);
  const read = new Map<string, HostTensor>();
  for (const name of names) {
    const stored = tensors.get(name);
    if (!stored || !isDType(stored.dtype)) {
      throw new ModelcError(
        'checkpoint',
        `${path} ${stored ? `has ${quote(name)} as ${stored.dtype}` : `lacks the tensor ${quote(name)}`}; ` +
          'it was written with another model or other arguments',
      );
    }
    read.set(name, {
      dtype: stored.dtype,
      shape: stored.shape,
      data: viewOf(stored.dtype, await readSpan(stored.span)),
    });
  }
  return read;
}
