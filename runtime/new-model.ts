// A model that is made of a config alone: a checkpoint without files, and weights that are drawn as transformers draws them.
import { initialValues, type Module, Parameter } from '../frontends/dsl/index.ts';
import type { Checkpoint } from '../frontends/huggingface/index.ts';
import { Generator } from './data/generator.ts';
import type { HostTensor } from './session.ts';
import { memoryWeights, type WeightStore } from './weight-store.ts';

/** What messages call a config that comes from no file. */
export const newConfig = 'the config';

/** Says which weights from_config draws. */
export interface SeedOption {
  /** Default: 42. */
  readonly seed?: number;
}

export const newCheckpoint = (config: Readonly<Record<string, unknown>>): Checkpoint => ({
  dir: 'the new model',
  config,
  generationConfig: {},
  tensors: new Map(),
});

/** The first weights of a model, f32. `range`: the initializer_range of its config. */
export function newWeights(model: Module, range: number, seed = 42): WeightStore {
  const random = new Generator(seed);
  const fields = model.named();
  const tensors = new Map<string, HostTensor>();
  for (const [name, data] of initialValues(model, () => random.uniform(), range)) {
    const field = fields.get(name);
    if (field instanceof Parameter) tensors.set(name, { dtype: 'f32', shape: field.shape, data });
  }
  return memoryWeights(tensors);
}
