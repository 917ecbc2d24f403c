// Dense row-major arrays of the reference interpreter. Elements are doubles that the array's dtype can represent.
import type { DType } from './dtype.ts';

export interface NdArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

export const ndarray = (dtype: DType, shape: readonly number[], data?: ArrayLike<number>): NdArray => ({
  dtype,
  shape: [...shape],
  data: data ? Float64Array.from(data) : new Float64Array(sizeOf(shape)),
});

/** Row-major strides in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  for (let i = shape.length - 1, s = 1; i >= 0; i--) {
    strides[i] = s;
    s *= shape[i];
  }
  return strides;
}
