// Weights in host memory as adapters compute with them: stored values to matrices and back.
import type { DType } from '../../ir/dtype.ts';
import { roundTo } from '../../ir/dtype.ts';
import { type HostTensor, storeNumbers, toNdArray } from '../tensors/host-tensor.ts';
import { type Matrix, matrix, transposed } from './linear-algebra.ts';

/** Reads a weight of the base, as it is now. */
export type ReadWeight = (name: string) => Promise<HostTensor>;

/** Numbers rounded to a dtype and stored. */
export const hostTensor = (dtype: DType, shape: readonly number[], values: ArrayLike<number>): HostTensor => ({
  dtype,
  shape,
  data: storeNumbers(
    dtype,
    Float64Array.from(values, (v) => roundTo(dtype, v)),
  ),
});

export const f32Tensor = (shape: readonly number[], values: ArrayLike<number>): HostTensor => ({
  dtype: 'f32',
  shape,
  data: Float32Array.from(values),
});

/** The values of a stored tensor. */
export const numbersOf = (tensor: HostTensor): Float64Array => toNdArray(tensor).data;

/** A stored matrix as [out, in]. */
export function outByIn(tensor: HostTensor, fanInFanOut: boolean): Matrix {
  const [rows, columns] = tensor.shape;
  const stored = matrix(rows, columns, numbersOf(tensor));
  return fanInFanOut ? transposed(stored) : stored;
}

/** The inverse of outByIn: a matrix [out, in] stored as `like` is. */
export const storedLike = (like: HostTensor, outIn: Matrix, fanInFanOut: boolean): HostTensor =>
  hostTensor(like.dtype, like.shape, (fanInFanOut ? transposed(outIn) : outIn).data);
