// Decomposition of conv: a product of matrices. Its rows are the places of all images, whose elements a view gives
// (`windows`), so that they are nowhere in memory; its columns are the channels of the result, its depth all that a window
// sees. Where each channel goes by itself there is nothing to share between columns: a sum over the window.
import { castTo, mul, reshaped, spread, transposed } from '../../build.ts';
import { dim, dimConst, dimDivExact, dimMul, dimProduct } from '../../dim.ts';
import { make } from '../../make.ts';
import { isOne } from '../common.ts';
import type { Decomposition } from '../op.ts';

export const conv: Decomposition<'conv'> = ({ args: [x, filter], attrs, type }) => {
  const { groups, acc, ...moves } = attrs;
  const spatial = moves.strides.length;
  const window = filter.type.shape.slice(0, spatial);
  const taps = dimProduct(window);
  const [inner, outer] = filter.type.shape.slice(spatial);
  const perGroup = dimDivExact(outer, groups)!;
  const seen = make('windows', [x], { ...moves, window: window.map((d) => dimConst(d)!) });
  const places = type.shape.slice(0, -1);
  const tap = places.length; // the axis behind the places
  if (isOne(inner) && isOne(perGroup)) {
    const shape = [...places, taps, outer];
    const values = castTo(reshaped(seen, shape), acc);
    const weights = spread(castTo(reshaped(filter, [taps, outer]), acc), shape, [tap, tap + 1]);
    return make('reduce', [mul(values, weights)], { op: 'add', axes: [tap], acc });
  }
  if (groups === 1) {
    const depth = dimMul(taps, inner);
    const operands = [reshaped(seen, [...places, depth]), reshaped(filter, [depth, outer])];
    return make('dot_general', operands, { batch: [[], []], contract: [[tap], [0]], acc });
  }
  const operands = [
    reshaped(seen, [...places, taps, dim(groups), inner]),
    reshaped(filter, [taps, inner, dim(groups), perGroup]),
  ];
  const product = make('dot_general', operands, { batch: [[tap + 1], [2]], contract: [[tap, tap + 2], [0, 1]], acc }); // biome-ignore format: one row
  const perm = [...places.map((_, i) => i + 1), 0, tap + 1];
  return reshaped(transposed(product, perm), type.shape);
};
