// What the op records share: type checks that fail with a numbered constraint and both sides, axis rules of common
// shape, and loops over dense arrays for the interpreter. Families import this file; it imports no family.
//
// C0 of every op is its number of arguments. The other constraints are numbered in each op's doc comment. Attributes
// may come from hostile text, so checks do not trust their JavaScript types.
import type { Dim, DimLike } from '../dim.ts';
import {
  dim,
  dimAdd,
  dimConst,
  dimDivExact,
  dimEquals,
  dimEval,
  dimLessEqual,
  dimSub,
  dimText,
  shapeEquals,
  shapeText,
} from '../dim.ts';
import type { DType } from '../dtype.ts';
import { dtypes, isDType, isFloat, isInteger } from '../dtype.ts';
import { ModelcError } from '../error.ts';
import type { Expr } from '../loop.ts';
import { add, index, mul } from '../loop.ts';
import type { NdArray } from '../ndarray.ts';
import { sizeOf, stridesOf } from '../ndarray.ts';
import { isDim, type Node, type OpName, type TensorType, typeText } from '../node.ts';
import { type Attrs, choicesOf, kindsOf } from './attrs.ts';
import type { AxisRule, DimEnv, ElementContext } from './op.ts';

// ---- type checks ----

/** Throws ModelcError 'type': `op (C2): message`. */
export function fail(op: string, constraint: number, message: string): never {
  throw new ModelcError('type', `${op} (C${constraint}): ${message}`);
}

/** C0: the number of arguments is `count`, or lies in `count`..`max`. */
export function requireArity(op: string, args: readonly TensorType[], count: number, max = count): void {
  if (args.length >= count && args.length <= max) return;
  const expected =
    max === count ? `${count}` : max === Number.POSITIVE_INFINITY ? `at least ${count}` : `${count}..${max}`;
  fail(op, 0, `takes ${expected} arguments, got ${args.length}`);
}

/** All arguments have equal dtype and shape. */
export function requireSameType(op: string, constraint: number, args: readonly TensorType[]): void {
  for (const t of args.slice(1)) {
    requireSameDType(op, constraint, [args[0], t]);
    if (!shapeEquals(args[0].shape, t.shape)) {
      fail(op, constraint, `arguments must have one shape, got ${typeText(args[0])} and ${typeText(t)}`);
    }
  }
}

export function requireSameDType(op: string, constraint: number, args: readonly TensorType[]): void {
  const other = args.find((t) => t.dtype !== args[0].dtype);
  if (other) fail(op, constraint, `arguments must have one dtype, got ${typeText(args[0])} and ${typeText(other)}`);
}

/** `actual` has the dtype and the shape of `expected`; `what` names it in the message. */
export function requireType(
  op: string,
  constraint: number,
  what: string,
  actual: TensorType,
  expected: { readonly dtype: DType; readonly shape: readonly DimLike[] },
): void {
  if (actual.dtype !== expected.dtype || !shapeEquals(actual.shape, expected.shape.map(dim))) {
    fail(op, constraint, `${what} must be ${expected.dtype}${shapeText(expected.shape)}, got ${typeText(actual)}`);
  }
}

const classes = {
  float: isFloat,
  integer: isInteger,
  numeric: (t: DType) => t !== 'bool',
  bool: (t: DType) => t === 'bool',
  'bool or integer': (t: DType) => t === 'bool' || isInteger(t),
};
export type DTypeClass = keyof typeof classes;

export function requireClass(op: string, constraint: number, dtype: DType, wanted: DTypeClass): void {
  if (!classes[wanted](dtype)) fail(op, constraint, `takes ${wanted} values, got ${dtype}`);
}

/** A dtype attribute is one of the known ones. */
export function requireDType(op: string, constraint: number, dtype: DType): void {
  if (!isDType(dtype)) fail(op, constraint, `unknown dtype ${String(dtype)}; known: ${dtypes.join(', ')}`);
}

/** An attribute is one of the words that its kind lists. */
export function requireChoice<O extends OpName>(
  op: O,
  constraint: number,
  attrs: Attrs[O],
  name: keyof Attrs[O] & string,
): void {
  const known = choicesOf(kindsOf(op)[name]);
  const value = attrs[name] as string;
  if (!known.includes(value)) fail(op, constraint, `${name} must be one of ${known.join(', ')}, got ${String(value)}`);
}

export function requireRank(op: string, constraint: number, what: string, t: TensorType, rank: number): void {
  if (t.shape.length !== rank) fail(op, constraint, `${what} must have ${rank} axes, got ${typeText(t)}`);
}

/** An attribute is an integer in min..max. */
export function requireInteger(
  op: string,
  constraint: number,
  what: string,
  value: number,
  min: number,
  max = 2 ** 31,
): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    fail(op, constraint, `${what} must be an integer in ${min}..${max}, got ${String(value)}`);
  }
}

/** An attribute is a list of `length` entries. */
export function requireList(
  op: string,
  constraint: number,
  what: string,
  list: readonly unknown[],
  length: number,
): void {
  if (!Array.isArray(list) || list.length !== length) {
    fail(
      op,
      constraint,
      `${what} must be a list of ${length}, got ${Array.isArray(list) ? list.length : String(list)}`,
    );
  }
}

export function requireAxis(op: string, constraint: number, axis: number, rank: number, what = 'axis'): void {
  if (!Number.isInteger(axis) || axis < 0 || axis >= rank) {
    fail(op, constraint, `${what} ${String(axis)} is outside 0..${rank - 1}`);
  }
}

/** A list of distinct axes of an argument of `rank` axes. */
export function requireAxes(
  op: string,
  constraint: number,
  axes: readonly number[],
  rank: number,
  what = 'axes',
): void {
  if (!Array.isArray(axes)) fail(op, constraint, `${what} must be a list, got ${String(axes)}`);
  for (const axis of axes) requireAxis(op, constraint, axis, rank, `${what}:`);
  if (new Set(axes).size !== axes.length) fail(op, constraint, `${what} [${axes.join(', ')}] repeat an axis`);
}

/** A list of dims that are provably not negative (and few enough elements to count exactly). */
export function requireShape(op: string, constraint: number, shape: readonly Dim[], what = 'shape'): void {
  if (!Array.isArray(shape) || !shape.every(isDim)) fail(op, constraint, `${what} must be a list of dimensions`);
  const negative = shape.find((d) => d.min < 0);
  if (negative)
    fail(op, constraint, `${what} ${shapeText(shape)}: ${dimText(negative)} can be ${negative.min}, below 0`);
  if (!shape.every((d) => Number.isSafeInteger(d.max)) || !Number.isSafeInteger(sizeOf(shape.map((d) => d.max)))) {
    fail(op, constraint, `${what} ${shapeText(shape)} can have more than 2^53 elements`);
  }
}

/** `x` = `y` for all values of the dim variables. */
export function requireEqual(op: string, constraint: number, what: string, x: DimLike, y: DimLike): void {
  if (!dimEquals(x, y)) fail(op, constraint, `${what} must be equal, got ${dimText(x)} and ${dimText(y)}`);
}

/** `x` <= `y` is proved for all values of the dim variables. */
export function requireLessEqual(op: string, constraint: number, what: string, x: DimLike, y: DimLike): void {
  if (!dimLessEqual(x, y)) fail(op, constraint, `${what}: cannot prove ${dimText(x)} <= ${dimText(y)}`);
}

/**
 * Number of places of a window: floor((size + low + high - span) / stride) + 1, where `span` is the extent of the
 * (dilated) window. Fails where the window does not provably fit, or the quotient is no polynomial.
 */
export function windowPlaces(
  op: string,
  constraint: number,
  size: DimLike,
  span: number,
  stride: number,
  low: number,
  high: number,
): Dim {
  const padded = dimAdd(size, low + high);
  requireLessEqual(op, constraint, 'the window must fit', span, padded);
  // floor((stride * p + c) / stride) = p + floor(c / stride) for integral p
  const slack = dimSub(padded, span);
  const rest = slack.terms.get('') ?? 0;
  const quotient = dimDivExact(dimSub(slack, rest), stride);
  if (!quotient) fail(op, constraint, `cannot divide ${dimText(slack)} by stride ${stride}`);
  return dimAdd(quotient, Math.floor(rest / stride) + 1);
}

export const isOne = (d: Dim): boolean => dimConst(d) === 1;

// ---- axis rules ----

type Factor = AxisRule['factors'][number];

/** Collects the factors of an axis rule. */
export class Factors {
  readonly list: Factor[] = [];
  /** The factor list of a dimension of its own: one new factor, none for size 1. */
  add(size: Dim, kind: Factor['kind'] = 'map'): readonly number[] {
    return isOne(size) ? [] : [this.list.push({ size, kind }) - 1];
  }
}

/** Result axis i comes from axis i of every argument: the rule of elementwise ops. */
export const mapAxes = (shape: readonly Dim[], nargs: number): AxisRule => passthroughAxes(shape, nargs, []);

/** Like `mapAxes`, with the axes in `opaque` seen whole: softmax, scan, sort. */
export function passthroughAxes(shape: readonly Dim[], nargs: number, opaque: readonly number[]): AxisRule {
  const factors = new Factors();
  const dims = shape.map((d, i) => factors.add(d, opaque.includes(i) ? 'opaque' : 'map'));
  return { factors: factors.list, args: Array.from({ length: nargs }, () => dims), result: dims };
}

// ---- interpreter ----

/** The result's shape under an assignment of the dim variables. */
export const shapeOf = (node: Node, env: DimEnv): number[] => node.type.shape.map((d) => dimEval(d, env));

/** Calls `fn` for every index tuple in row-major order. The tuple is reused between calls. */
export function forEachIndex(shape: readonly number[], fn: (index: readonly number[], flat: number) => void): void {
  const count = sizeOf(shape);
  const at = new Array<number>(shape.length).fill(0);
  for (let flat = 0; flat < count; flat++) {
    fn(at, flat);
    for (let i = shape.length - 1; i >= 0 && ++at[i] === shape[i]; i--) at[i] = 0;
  }
}

/** Offset of an index tuple. */
export const offsetOf = (at: readonly number[], strides: readonly number[]): number => {
  let sum = 0;
  for (let i = 0; i < at.length; i++) sum += at[i] * strides[i];
  return sum;
};

/** Element at `offset + sum(at[i] * strides[i])` for every index tuple of `shape`: every view is one of these. */
export function strided(x: NdArray, shape: readonly number[], offset: number, strides: readonly number[]): NdArray {
  const data = new Float64Array(sizeOf(shape));
  forEachIndex(shape, (at, flat) => {
    data[flat] = x.data[offset + offsetOf(at, strides)];
  });
  return { dtype: x.dtype, shape: [...shape], data };
}

/** Views an array as [outer, size of axis, inner]: `fn` gets the offset of every row and the step inside it. */
export function forEachRow(shape: readonly number[], axis: number, fn: (offset: number, step: number) => void): void {
  const step = stridesOf(shape)[axis];
  const rows = shape.map((d, i) => (i === axis ? 1 : d));
  const strides = stridesOf(shape);
  forEachIndex(rows, (at) => fn(offsetOf(at, strides), step));
}

// ---- element code ----

/** Row-major position of an index tuple. */
export const linearIndex = (at: readonly Expr[], shape: readonly Dim[], context: ElementContext): Expr =>
  at.reduce((sum, e, i) => add(mul(sum, context.size(shape[i])), e), index(0));
