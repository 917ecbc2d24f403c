// What decompositions are written with: node construction with the scalars, broadcasts and casts that the graph, which
// has no implicit ones, asks for.
import type { Dim } from '../../dim.ts';
import { dim } from '../../dim.ts';
import type { DType } from '../../dtype.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { Attrs } from '../attrs.ts';

export const castTo = (x: Node, dtype: DType): Node => (x.type.dtype === dtype ? x : make('cast', [x], { dtype }));

/** `x` with its axes at `axes` of `shape`. */
export const spread = (x: Node, shape: readonly Dim[], axes: readonly number[]): Node =>
  make('broadcast', [x], { shape, axes });

/** A number as an array like `like`. */
export const filled = (value: number, like: Node, dtype: DType = like.type.dtype): Node =>
  spread(make('const', [], { value, dtype }), like.type.shape, []);

export const add = (x: Node, y: Node): Node => make('add', [x, y], {});
export const sub = (x: Node, y: Node): Node => add(x, make('neg', [y], {}));
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
  const count = castTo(make('dim', [], { dim: x.type.shape[axis] }), 'f32');
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
