// What a reverse-mode rule is, and the few shapes of graph that many rules need.
import type { Dim } from '../../dim.ts';
import { dim, dimMul, dimSub } from '../../dim.ts';
import { make } from '../../make.ts';
import type { Node, OpName } from '../../node.ts';
import { add, castTo, compare, filled, spread } from '../composite/build.ts';

/** Why an op has no derivative. */
export interface NoDerivative {
  readonly none: string;
}

/**
 * How a cotangent passes through an op. A function gives the cotangent of each argument from that of the result, built
 * from other ops; null where the argument is not made of floats, or the result moves with it in jumps alone.
 * 'decompose': as through the decomposition of the op.
 */
export type Vjp<O extends OpName> =
  | ((node: Node<O>, cotangent: Node) => readonly (Node | null)[])
  | 'decompose'
  | NoDerivative;

export type VjpTable<Family> = { readonly [O in keyof Family & OpName]: Vjp<O> };

/** Of ops whose result is not made of floats: no cotangent ever arrives. */
export const discrete: NoDerivative = { none: 'its result is not made of floats' };

export const neg = (x: Node): Node => make('neg', [x], {});
export const scaled = (x: Node, factor: number): Node => make('mul', [x, filled(factor, x)], {});
export const constant = (value: number, like: Node): Node => make('const', [], { value, dtype: like.type.dtype });
export const reshaped = (x: Node, shape: readonly Dim[]): Node => make('reshape', [x], { shape });
export const transposed = (x: Node, perm: readonly number[]): Node => make('transpose', [x], { perm });
export const sizeNode = (size: Dim): Node => make('dim', [], { dim: size });
export const invert = (perm: readonly number[]): number[] => perm.map((_, i) => perm.indexOf(i));
export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
export const axesOf = (x: Node): number[] => range(x.type.shape.length);

/** The sum over `axes`, which go away, with narrow floats added up in f32. */
export const sumOver = (x: Node, axes: readonly number[]): Node =>
  axes.length === 0 ? x : make('reduce', [x], { op: 'add', axes, acc: 'f32' });

/** The sum over all axes but `kept`. */
export const sumBut = (x: Node, kept: readonly number[]): Node =>
  sumOver(
    x,
    axesOf(x).filter((i) => !kept.includes(i)),
  );

/** `c` where `condition` holds, else 0. */
export const where = (condition: Node, c: Node): Node => make('select', [condition, c, filled(0, c)], {});

/** 1 where `condition` holds, else 0, in the dtype of `like`. */
export const indicator = (condition: Node, like: Node): Node => castTo(condition, like.type.dtype);

/** `x` between zeros: `low` before and `high` after each axis. */
export const padded = (x: Node, low: readonly Dim[], high: readonly Dim[]): Node =>
  make('pad', [x, constant(0, x)], { low, high });

/** The inverse of a slice: `c` at positions starts[i] + k * strides[i] of zeros of `shape`. */
export function unslice(c: Node, shape: readonly Dim[], starts: readonly Dim[], strides: readonly number[]): Node {
  let x = c;
  for (const [axis, stride] of strides.entries()) {
    if (stride === 1) continue;
    // every element is followed by stride - 1 zeros
    const own = x.type.shape;
    const column = reshaped(x, [...own.slice(0, axis + 1), dim(1), ...own.slice(axis + 1)]);
    const zero = column.type.shape.map(() => dim(0));
    const wide = padded(
      column,
      zero,
      zero.map((d, i) => (i === axis + 1 ? dim(stride - 1) : d)),
    );
    x = reshaped(
      wide,
      own.map((d, i) => (i === axis ? dimMul(d, stride) : d)),
    );
  }
  // the zeros after the last element may go beyond the end by up to stride - 1
  const high = shape.map((d, i) => {
    const end = dimSub(dimMul(c.type.shape[i], strides[i]), strides[i] - 1);
    return dimSub(dimSub(d, starts[i]), end);
  });
  const whole = padded(x, starts, high);
  if (strides.every((s) => s === 1)) return whole;
  return make('slice', [whole], { starts: shape.map(() => dim(0)), sizes: shape, strides: shape.map(() => 1) });
}

/** Whether i32 positions are inside an axis of `size`. */
export function inside(idx: Node, size: Dim): Node {
  const end = spread(sizeNode(size), idx.type.shape, []);
  return make('and', [compare('ge', idx, filled(0, idx)), compare('lt', idx, end)], {});
}

/** Positions moved to the nearest end of an axis of `size`, as gather reads them. */
export function clamped(idx: Node, size: Dim): Node {
  const last = spread(add(sizeNode(size), constant(-1, idx)), idx.type.shape, []);
  return make('min', [make('max', [idx, filled(0, idx)], {}), last], {});
}
