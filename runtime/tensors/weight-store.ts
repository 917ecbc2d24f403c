// Where a session finds its weights: a checkpoint's, or arrays in memory.
import type { FileSpan } from '../../backends/device.ts';
import type { WeightResolver } from '../../frontends/dsl/index.ts';
import { type Checkpoint, readSpan, readTensor, weightResolver } from '../../frontends/huggingface/index.ts';
import { type DType, isDType, isFloat, roundTo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import { bytesOf, fromNdArray, type HostTensor, storeNumbers, toNdArray, viewOf } from './host-tensor.ts';

export interface WeightStore {
  /** Names, dtypes and shapes of all weights, for keys of caches. */
  readonly tensors: readonly (readonly [name: string, dtype: string, shape: readonly number[]])[];
  /** In which dtype a weight is kept; for the trace. */
  readonly resolve: WeightResolver;
  /** A weight as it is stored. */
  stored(name: string): Promise<HostTensor>;
  /** A weight in f32: the first value of a parameter that is trained. */
  read(name: string): Promise<HostTensor>;
  /** Where the bytes of a weight are, as it is stored. */
  source(name: string): FileSpan | Uint8Array;
  /** A weight as the interpreter reads it. */
  array(name: string, dtype: DType, shape: readonly number[]): Promise<NdArray>;
}

/** A tensor in f32. */
const inF32 = (tensor: HostTensor): HostTensor =>
  tensor.dtype === 'f32' ? tensor : fromNdArray({ ...toNdArray(tensor), dtype: 'f32' });

export function checkpointWeights(checkpoint: Checkpoint): WeightStore {
  const stored = async (name: string): Promise<HostTensor> => {
    const { dtype, shape, span } = storedTensor(checkpoint, name);
    if (isDType(dtype)) return { dtype, shape, data: viewOf(dtype, await readSpan(span)) };
    throw new ModelcError('unsupported', `the weight ${name} is stored as ${dtype}; convert it to F32, F16 or BF16`);
  };
  return {
    tensors: [...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]),
    resolve: weightResolver(checkpoint),
    stored,
    read: async (name) => inF32(await stored(name)),
    source: (name) => storedTensor(checkpoint, name).span,
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
    tensors: [...tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]),
    resolve(name, shape) {
      const tensor = known(name);
      if (tensor.shape.length === shape.length && shape.every((d, i) => d === tensor.shape[i])) return tensor.dtype;
      throw new ModelcError('input', `weight ${name} has shape [${tensor.shape}], but the model asks for [${shape}]`);
    },
    stored: async (name) => known(name),
    read: async (name) => inF32(known(name)),
    source: (name) => bytesOf(known(name).data),
    array: async (name) => toNdArray(known(name)),
  };
}

/** The weights of a store, those of floats kept in `kept`: each is converted when it is bound. */
export function weightsIn(kept: DType, store: WeightStore): WeightStore {
  const isOther = (dtype: string): dtype is DType => isDType(dtype) && isFloat(dtype) && dtype !== kept;
  const stored = async (name: string): Promise<HostTensor> => {
    const tensor = await store.stored(name);
    if (!isOther(tensor.dtype)) return tensor;
    const { shape, data } = toNdArray(tensor);
    const rounded = data.map((v) => roundTo(kept, v));
    return { dtype: kept, shape, data: storeNumbers(kept, rounded) };
  };
  return {
    ...store,
    tensors: store.tensors.map(([name, dtype, shape]) => [name, isOther(dtype) ? `${dtype} in ${kept}` : dtype, shape]),
    resolve(name, shape, asked) {
      const found = store.resolve(name, shape, asked);
      return typeof found === 'string' && isOther(found) ? { stored: found, kept } : found;
    },
    stored,
    read: async (name) => inF32(await stored(name)),
  };
}

/** What lies over what: tensors that are replaced once more must not stay in memory. */
const overlays = new WeakMap<WeightStore, { below: WeightStore; tensors: ReadonlyMap<string, HostTensor> }>();

/** Whether a store is not just what was opened or drawn. */
export const isOverlaid = (store: WeightStore): boolean => overlays.has(store);

/** Weights of which some are read from memory, in place of those below or beside them. */
export function overlaidWeights(below: WeightStore, tensors: ReadonlyMap<string, HostTensor>): WeightStore {
  const under = overlays.get(below);
  if (under) return overlaidWeights(under.below, new Map([...under.tensors, ...tensors]));
  const above = memoryWeights(tensors);
  const of = (name: string): WeightStore => (tensors.has(name) ? above : below);
  const store: WeightStore = {
    tensors: [...below.tensors.filter(([name]) => !tensors.has(name)), ...above.tensors],
    resolve: (name, shape, dtype) => of(name).resolve(name, shape, dtype),
    stored: (name) => of(name).stored(name),
    read: (name) => of(name).read(name),
    source: (name) => of(name).source(name),
    array: (name, dtype, shape) => of(name).array(name, dtype, shape),
  };
  overlays.set(store, { below, tensors });
  return store;
}

const storedTensor = (checkpoint: Checkpoint, name: string) => {
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) throw new ModelcError('checkpoint', `${checkpoint.dir} lacks the weight ${name}; download it again`);
  return tensor;
};
