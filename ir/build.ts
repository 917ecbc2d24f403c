// Builders of graphs: `make` with the scalars, broadcasts and casts that a graph, which has no implicit ones, asks for,
// and the few shapes of graph that many decompositions, reverse-mode rules and passes share.
import type { Dim } from './dim.ts';
import { dim, dimMul, dimSub } from './dim.ts';
import type { DType } from './dtype.ts';
import { make } from './make.ts';
import type { Node } from './node.ts';
import type { Attrs } from './ops/attrs.ts';

export const castTo = (x: Node, dtype: DType): Node => (x.type.dtype === dtype ? x : make('cast', [x], { dtype }));

/** `x` with its axes at `axes` of `shape`. */
export const spread = (x: Node, shape: readonly Dim[], axes: readonly number[]): Node =>
  shape.length === 0 ? x : make('broadcast', [x], { shape, axes });

export const constant = (value: number, dtype: DType): Node => make('const', [], { value, dtype });

/** A number as an array like `like`. */
export const filled = (value: number, like: Node, dtype: DType = like.type.dtype): Node =>
  spread(constant(value, dtype), like.type.shape, []);

export const neg = (x: Node): Node => make('neg', [x], {});
export const add = (x: Node, y: Node): Node => make('add', [x, y], {});
export const sub = (x: Node, y: Node): Node => add(x, neg(y));
export const mul = (x: Node, y: Node): Node => make('mul', [x, y], {});
export const div = (x: Node, y: Node): Node => make('div', [x, y], {});
export const exp = (x: Node): Node => make('exp', [x], {});
export const maximum = (x: Node, y: Node): Node => make('max', [x, y], {});
export const select = (condition: Node, x: Node, y: Node): Node => make('select', [condition, x, y], {});
export const compare = (direction: Attrs['compare']['direction'], x: Node, y: Node): Node =>
  make('compare', [x, y], { direction });

/** Axes 0 .. rank-1 without `axis`. */
export const axesBut = (rank: number, axis: number): number[] =>
  Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);

/** An f32 reduction along `axis`, which goes away. */
export const reduce = (op: 'add' | 'max', x: Node, axis: number): Node =>
  make('reduce', [x], { op, axes: [axis], acc: 'f32' });

/** The result of `reduce`, repeated along the reduced axis of `like`. */
export const along = (x: Node, like: Node, axis: number): Node =>
  spread(x, like.type.shape, axesBut(like.type.shape.length, axis));

/** The f32 mean along `axis`. */
export function mean(x: Node, axis: number): Node {
  const sum = reduce('add', x, axis);
  const count = castTo(sizeNode(x.type.shape[axis]), 'f32');
  return div(sum, spread(count, sum.type.shape, []));
}

/** A stretch of one axis. */
export function sliceAxis(x: Node, axis: number, start: Dim | number, size: Dim | number, stride = 1): Node {
  const { shape } = x.type;
  return make('slice', [x], {
    starts: shape.map((_, i) => dim(i === axis ? start : 0)),
    sizes: shape.map((d, i) => (i === axis ? dim(size) : d)),
    strides: shape.map((_, i) => (i === axis ? stride : 1)),
  });
}

export const scaled = (x: Node, factor: number): Node => mul(x, filled(factor, x));
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
export const where = (condition: Node, c: Node): Node => select(condition, c, filled(0, c));

/** 1 where `condition` holds, else 0, in the dtype of `like`. */
export const indicator = (condition: Node, like: Node): Node => castTo(condition, like.type.dtype);

/** `x` between zeros: `low` before and `high` after each axis. */
export const padded = (x: Node, low: readonly Dim[], high: readonly Dim[]): Node =>
  make('pad', [x, constant(0, x.type.dtype)], { low, high });

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
  const last = spread(add(sizeNode(size), constant(-1, idx.type.dtype)), idx.type.shape, []);
  return make('min', [make('max', [idx, filled(0, idx)], {}), last], {});
}
