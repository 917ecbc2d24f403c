// Where a training session finds its weights: a checkpoint's, or arrays in memory.
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { readTensor, weightResolver, type Checkpoint } from '../../frontends/huggingface/index.ts';
import type { WeightResolver } from '../../frontends/dsl/index.ts';
import { ndarray, type NdArray, sizeOf } from '../../ir/ndarray.ts';
import type { PlanTensor } from '../../ir/program.ts';
import { recipeOf } from '../../passes/recipe.ts';
import { bytesOf, fromNdArray, toNdArray } from '../host-tensor.ts';
import { permuteBytes, storedTensor, weightSource } from '../models.ts';
import type { WeightSource } from '../program-session.ts';
import type { HostTensor } from '../session.ts';

export interface WeightStore {
  /** In which dtype a weight is kept; for the trace. */
  readonly resolve: WeightResolver;
  /** A weight in f32: the first value of a parameter that is trained. */
  read(name: string): Promise<HostTensor>;
  /** A weight of the program that is not trained, laid out as its name says. */
  source(weight: PlanTensor): WeightSource | Promise<WeightSource>;
  /** A weight as the interpreter reads it. */
  array(name: string, dtype: DType, shape: readonly number[]): Promise<NdArray>;
}

export function checkpointWeights(checkpoint: Checkpoint): WeightStore {
  return {
    resolve: weightResolver(checkpoint),
    async read(name) {
      const { span, dtype, shape } = storedTensor(checkpoint, name);
      const { data } = await readTensor(span, dtype as DType, shape);
      return fromNdArray(ndarray('f32', shape, data));
    },
    source: (weight) => weightSource(checkpoint, weight),
    array: (name, dtype, shape) => readTensor(storedTensor(checkpoint, name).span, dtype, shape),
  };
}

/** Weights by name. */
export function memoryWeights(tensors: ReadonlyMap<string, HostTensor>): WeightStore {
  const known = (name: string): HostTensor => {
    const tensor = tensors.get(name);
    if (tensor) return tensor;
    throw new ModelcError('input', `there is no weight ${name}; there are ${[...tensors.keys()].join(', ')}`);
  };
  return {
    resolve(name, shape) {
      const tensor = known(name);
      if (tensor.shape.length === shape.length && shape.every((d, i) => d === tensor.shape[i])) return tensor.dtype;
      throw new ModelcError('input', `weight ${name} has shape [${tensor.shape}], but the model asks for [${shape}]`);
    },
    read: async (name) => fromNdArray({ ...toNdArray(known(name)), dtype: 'f32' }),
    source({ name }) {
      const { source, perm, rows } = recipeOf(name);
      const { shape, data } = known(source);
      const bytes = bytesOf(data);
      const order = perm ?? shape.map((_, i) => i);
      return perm || rows ? permuteBytes(bytes, shape, order, bytes.length / sizeOf(shape), rows) : bytes;
    },
    array: async (name) => toNdArray(known(name)),
  };
}
