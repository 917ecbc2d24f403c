// Reverse-mode rules of shape ops: each moves the cotangent back to where the elements came from.
import {
  add,
  axesOf,
  constant,
  filled,
  invert,
  mul,
  reshaped,
  sliceAxis,
  sumOver,
  transposed,
  unslice,
} from '../../build.ts';
import type { Dim } from '../../dim.ts';
import { dim, dimAdd, dimMul } from '../../dim.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { ShapeAttrs } from '../attrs.ts';
import { forEachIndex, isOne } from '../common.ts';
import type { VjpTable } from './rule.ts';

export const shape: VjpTable<ShapeAttrs> = {
  reshape: ({ args: [x] }, c) => [reshaped(c, x.type.shape)],
  transpose: ({ attrs: { perm } }, c) => [transposed(c, invert(perm))],
  /** The sum over what was repeated. */
  broadcast({ args: [x], attrs: { axes } }, c) {
    const own = axes.filter((_, i) => !isOne(x.type.shape[i]));
    const kept = x.type.shape.length === own.length;
    const sum = sumOver(
      c,
      axesOf(c).filter((i) => !own.includes(i)),
    );
    return [kept ? sum : reshaped(sum, x.type.shape)];
  },
  slice({ args: [x], attrs: { starts, strides } }, c) {
    return [unslice(c, x.type.shape, starts, strides)];
  },
  pad({ args: [x], attrs: { low, high } }, c) {
    const strides = low.map(() => 1);
    const inner = make('slice', [c], { starts: low, sizes: x.type.shape, strides });
    const border = make('pad', [filled(0, x), constant(1, x.type.dtype)], { low, high });
    return [inner, sumOver(mul(c, border), axesOf(c))];
  },
  concat({ args, attrs: { axis } }, c) {
    let start = dim(0);
    return args.map(({ type }) => {
      const part = sliceAxis(c, axis, start, type.shape[axis]);
      start = dimAdd(start, type.shape[axis]);
      return part;
    });
  },
  reverse: ({ attrs }, c) => [make('reverse', [c], attrs)],
  windows: (node, c) => [unseen(node, c)],
};

/** The sum, over the positions of a window, of what came back from each: placed where that position was in the padded x. */
function unseen({ args: [x], attrs }: Node<'windows'>, c: Node): Node {
  const { window, strides, padding, dilation, inputDilation } = attrs;
  const spatial = window.length;
  const [first, ...rest] = x.type.shape;
  const channels = rest[spatial];
  const low = padding.map(([before]) => Math.max(0, before));
  const around = (inner: readonly Dim[]): Dim[] => [first, ...inner, channels];
  const places = c.type.shape.slice(1, spatial + 1);
  // as far as the padding goes, and the zeros behind the last element of a dilated x
  const extents = around(inputDilation.map((inner, i) => dimAdd(dimMul(rest[i], inner), low[i] + Math.max(0, padding[i][1])))); // biome-ignore format: one row
  const parts: Node[] = [];
  forEachIndex(window, (tap) => {
    let own = c;
    for (const [i, k] of tap.entries()) own = sliceAxis(own, spatial + 1 + i, k, 1);
    const starts = tap.map((k, i) => dim(k * dilation[i] + Math.max(0, -padding[i][0])));
    parts.push(unslice(reshaped(own, around(places)), extents, [dim(0), ...starts, dim(0)], [1, ...strides, 1]));
  });
  return make('slice', [parts.reduce(add)], {
    starts: [dim(0), ...low.map((n) => dim(n)), dim(0)],
    sizes: x.type.shape,
    strides: [1, ...inputDilation, 1],
  });
}
