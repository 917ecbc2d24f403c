// Reverse-mode rules of contractions. Products of the backward pass take their arguments in the dtype of the forward's,
// and accumulate as it does: narrow models train on narrow products.
import {
  axesOf,
  castTo,
  compare,
  indicator,
  invert,
  mul,
  range,
  reshaped,
  spread,
  sub,
  sumOver,
  transposed,
} from '../../build.ts';
import type { Dim } from '../../dim.ts';
import { dim, dimAdd, dimConst, dimDivExact, dimMul, dimSub, dimText } from '../../dim.ts';
import { ModelcError } from '../../error.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { ContractionAttrs } from '../attrs.ts';
import { isOne } from '../common.ts';
import type { Vjp, VjpTable } from './rule.ts';

/**
 * Of an argument: the cotangent times the other argument, contracted over the other's free axes. What comes out has the
 * batch axes, then the own free axes, then the contracted axes in the order in which they stand in the other.
 */
const dotGeneral: Vjp<'dot_general'> = (node, c) => {
  const { batch, contract, acc } = node.attrs;
  const cotangent = castTo(c, node.args[0].type.dtype);
  const count = batch[0].length;
  const free = node.args.map((x, i) => axesOf(x).filter((a) => !batch[i].includes(a) && !contract[i].includes(a)));
  // where the free axes of each argument stand in the result
  const start = [count, count + free[0].length];
  return [0, 1].map((own) => {
    const other = 1 - own;
    const product = make('dot_general', [cotangent, node.args[other]], {
      batch: [range(count), batch[other]],
      contract: [free[other].map((_, i) => start[other] + i), free[other]],
      acc,
    });
    const order = range(contract[0].length).sort((i, j) => contract[other][i] - contract[other][j]);
    const axes = [...batch[own], ...free[own], ...order.map((i) => contract[own][i])];
    const { dtype } = node.args[own].type;
    return castTo(axes.every((a, i) => a === i) ? product : transposed(product, invert(axes)), dtype);
  });
};

/** A padding that the sizes determine; they do where they are linear in their dim variables. */
function amount(d: Dim): number {
  const value = dimConst(d);
  if (value !== undefined) return value;
  throw new ModelcError('type', `the derivative of conv needs a padding that is constant, got ${dimText(d)}`);
}

/** Of the filter: what each of its positions saw, times the cotangents of the places, over all images and places. */
function filterCotangent({ args: [x, filter], attrs }: Node<'conv'>, cotangent: Node): Node {
  const { groups, acc, ...moves } = attrs;
  const spatial = moves.strides.length;
  const taps = filter.type.shape.slice(0, spatial);
  const [inner, outer] = filter.type.shape.slice(spatial);
  const perGroup = dimDivExact(outer, groups)!;
  const places = cotangent.type.shape.slice(0, -1);
  const seen = make('windows', [x], { ...moves, window: taps.map((d) => dimConst(d)!) });
  const summed = range(spatial + 1);
  if (isOne(inner) && isOne(perGroup)) {
    const own = spread(cotangent, seen.type.shape, [...summed, 2 * spatial + 1]);
    return reshaped(sumOver(mul(seen, own), summed), filter.type.shape);
  }
  const product = make(
    'dot_general',
    [reshaped(seen, [...places, ...taps, dim(groups), inner]), reshaped(cotangent, [...places, dim(groups), perGroup])],
    { batch: [[2 * spatial + 1], [spatial + 1]], contract: [summed, summed], acc },
  );
  const perm = [...range(spatial + 1).map((i) => i + 1), 0, spatial + 2];
  return reshaped(transposed(product, perm), filter.type.shape);
}

/** Of x: the filter, turned round, over the cotangent, with strides and input dilation traded. */
const conv: Vjp<'conv'> = (node, c) => {
  const { strides, padding, dilation, inputDilation, groups, acc } = node.attrs;
  const [x, filter] = node.args;
  const cotangent = castTo(c, x.type.dtype);
  const last = strides.length + 1;
  const channels = filter.type.shape[last - 1];
  const outputs = filter.type.shape[last];
  const perGroup = dimDivExact(outputs, groups)!;
  const taps = filter.type.shape.slice(0, -2);
  const places = node.type.shape.slice(1, -1);
  const reach = taps.map((k, i) => (dimConst(k)! - 1) * dilation[i]);

  const turned = make('reverse', [filter], { axes: taps.map((_, i) => i) });
  const grouped = reshaped(turned, [...taps, channels, dim(groups), perGroup]);
  const [k, g, o] = [last - 1, last, last + 1];
  const swapped = transposed(grouped, [...range(last - 1), o, g, k]);
  const dx = make('conv', [cotangent, reshaped(swapped, [...taps, perGroup, dimMul(channels, groups)])], {
    strides: inputDilation,
    padding: padding.map(([low], i) => {
      const before = reach[i] - low;
      const wanted = dimMul(dimSub(x.type.shape[i + 1], 1), inputDilation[i]);
      const dilated = dimMul(dimSub(places[i], 1), strides[i]);
      return [before, amount(dimAdd(dimSub(wanted, dilated), reach[i] - before))] as const;
    }),
    dilation,
    inputDilation: strides,
    groups,
    acc,
  });

  return [castTo(dx, x.type.dtype), castTo(filterCotangent(node, cotangent), filter.type.dtype)];
};

/** Of w: for every group, its own rows of x times their cotangents. */
const raggedDot: Vjp<'ragged_dot'> = (node, c) => {
  const [x, w, counts] = node.args;
  const { acc } = node.attrs;
  const cotangent = castTo(c, x.type.dtype);
  const dx = make('ragged_dot', [cotangent, transposed(w, [0, 2, 1]), counts], { acc });
  const ends = make('scan', [counts], { op: 'add', axis: 0, exclusive: false, reverse: false });
  const shape = [w.type.shape[0], x.type.shape[0]];
  const row = make('iota', [], { shape, axis: 1, dtype: 'i32' });
  const begun = compare('ge', row, spread(sub(ends, counts), shape, [0]));
  const open = compare('lt', row, spread(ends, shape, [0]));
  const member: Node = make('and', [begun, open], {});
  const rows = [...shape, x.type.shape[1]];
  const own = mul(spread(indicator(member, x), rows, [0, 1]), spread(x, rows, [1, 2]));
  const dw = make('dot_general', [own, cotangent], { batch: [[], []], contract: [[1], [0]], acc });
  return [castTo(dx, x.type.dtype), castTo(dw, w.type.dtype), null];
};

export const contraction: VjpTable<ContractionAttrs> = { dot_general: dotGeneral, conv, ragged_dot: raggedDot };
