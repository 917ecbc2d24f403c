// What a case holds: tensors and integers of golden files, and the options that all checks of a run have.
import type { DeviceName } from '../../backends/index.ts';
import { readSafetensors, readSpan } from '../../frontends/huggingface/index.ts';
import { isDType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { Tensor } from '../index.ts';
import { type TensorData, viewOf } from '../tensors/host-tensor.ts';

export interface CaseOptions {
  readonly target: DeviceName;
  readonly cache: 'dynamic' | 'static';
  /** Whole trainings, not just their first steps. */
  readonly full?: boolean;
}

/** f32 against f32 in another order of summation, relative to the largest entry. */
export const tolerance = 1e-4;

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: TensorData;
}
/** Tensors of golden.safetensors by name. */
export type GoldenTensors = ReadonlyMap<string, GoldenTensor>;

/** Throws ModelcError 'parse' where a case lacks a tensor. */
export function required(tensors: GoldenTensors, name: string): GoldenTensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new ModelcError('parse', `the case has no tensor ${name}: is it complete?`);
  return tensor;
}

export const rowsOf = (t: GoldenTensor): number[][] => {
  const [rows, columns] = t.shape;
  return Array.from({ length: rows }, (_, r) =>
    Array.from(t.data.subarray(r * columns, (r + 1) * columns) as Iterable<number | bigint>, Number),
  );
};

/** A golden tensor as models take it. */
export const columnOf = ({ shape, data }: GoldenTensor): Tensor =>
  data instanceof BigInt64Array
    ? new Tensor('int64', data, shape)
    : new Tensor('float32', Float32Array.from(data as ArrayLike<number>), shape);

export const idsOf = (ids: Tensor<'int64'>): number[][] => {
  const [rows, length] = ids.dims;
  return Array.from({ length: rows }, (_, r) => Array.from(ids.data.subarray(r * length, (r + 1) * length), Number));
};

/** The integers of a tensor of a golden file, of 16, 32 or 64 bits. */
export async function readIntegers(path: string, name: string): Promise<number[]> {
  const { tensors } = await readSafetensors(path);
  const tensor = tensors.get(name);
  if (!tensor) throw new ModelcError('parse', `${path} has no tensor ${name}: is the case complete?`);
  const { buffer } = (await readSpan(tensor.span)).slice();
  switch (tensor.dtype) {
    case 'I16':
      return Array.from(new Int16Array(buffer));
    case 'I32':
    case 'i32':
      return Array.from(new Int32Array(buffer));
    case 'I64':
    case 'i64':
      return Array.from(new BigInt64Array(buffer), Number);
    default:
      throw new ModelcError('parse', `${path}: tensor ${name} has dtype ${tensor.dtype}, not one of integers`);
  }
}

/** Every tensor of a golden file. */
export async function readTensors(path: string): Promise<GoldenTensors> {
  const { tensors } = await readSafetensors(path);
  const read = new Map<string, GoldenTensor>();
  for (const [name, { dtype, shape, span }] of tensors) {
    if (!isDType(dtype)) throw new ModelcError('parse', `${path}: tensor ${name} has dtype ${dtype}`);
    read.set(name, { shape, data: viewOf(dtype, await readSpan(span)) });
  }
  return read;
}
