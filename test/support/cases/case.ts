// The form of the op table: one case is one application of an op to small arrays. `ops.test.ts` checks that every op
// has a case, that the interpreter agrees with what a case states (by hand or by TensorFlow.js), and that every device
// agrees with the interpreter.
import type { Tensor } from '@tensorflow/tfjs-core';
import { type Dim, dim } from '../../../ir/dim.ts';
import type { DType } from '../../../ir/dtype.ts';
import type { NdArray } from '../../../ir/ndarray.ts';
import { ndarray, sizeOf } from '../../../ir/ndarray.ts';
import type { OpName } from '../../../ir/node.ts';
import type { Attrs } from '../../../ir/ops/attrs.ts';

export interface OpCase<O extends OpName> {
  readonly op: O;
  /** What is special about the case. */
  readonly name: string;
  readonly args: readonly NdArray[];
  readonly attrs: Attrs[O];
  /** The arguments are not the op's own (it is a leaf): their shapes bind dims. */
  readonly leaf?: true;
  /** Symbolic shapes of the arguments, where the case uses dim variables; `dims` binds them. */
  readonly shapes?: readonly (readonly Dim[])[];
  readonly dims?: Readonly<Record<string, number>>;
  /** The result, by hand. */
  readonly expected?: readonly number[];
  /** The result by TensorFlow.js. Arguments arrive as tensors of dtype float32, int32 or bool. */
  readonly tfjs?: (...args: Tensor[]) => Tensor;
  /** Relative (and for results near 0, absolute) difference that f32 arithmetic explains. Default 0: exact. */
  readonly tolerance?: number;
  /** Difference to allow a device, where it differs from `tolerance`. */
  readonly deviceTolerance?: number;
}

/** A case of any op. */
export type Case = { [O in OpName]: OpCase<O> }[OpName];

/** Violates constraint `constraint` of an op: `make` must throw `op (Cn): …`. */
export interface FailingOpCase<O extends OpName> {
  readonly op: O;
  readonly constraint: number;
  readonly args: readonly (readonly [dtype: DType, shape: readonly (Dim | number)[]])[];
  /** May be malformed, as attributes from hostile text are. */
  readonly attrs: unknown;
}
export type FailingCase = { [O in OpName]: FailingOpCase<O> }[OpName];

/** Sizes as dimensions. */
export const dims = (...sizes: number[]): Dim[] => sizes.map((size) => dim(size));

/** Numbers as an array of `shape`. */
export const array = (dtype: DType, shape: readonly number[], data: readonly number[]): NdArray =>
  ndarray(dtype, shape, data);
export const f32 = (shape: readonly number[], ...data: number[]): NdArray => array('f32', shape, data.map(Math.fround));
export const i32 = (shape: readonly number[], ...data: number[]): NdArray => array('i32', shape, data);
export const bool = (shape: readonly number[], ...data: number[]): NdArray => array('bool', shape, data);

/** A deterministic array of f32 values in low..high (mulberry32). */
export function uniform(shape: readonly number[], seed: number, low = -2, high = 2): NdArray {
  let state = seed >>> 0;
  const data = Array.from({ length: sizeOf(shape) }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return Math.fround(low + (high - low) * (((t ^ (t >>> 14)) >>> 0) / 2 ** 32));
  });
  return array('f32', shape, data);
}
