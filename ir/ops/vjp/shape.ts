// Reverse-mode rules of shape ops: each moves the cotangent back to where the elements came from.
import {
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
import { dim, dimAdd } from '../../dim.ts';
import { make } from '../../make.ts';
import type { ShapeAttrs } from '../attrs.ts';
import { isOne } from '../common.ts';
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
};
