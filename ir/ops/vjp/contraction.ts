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
  transposed,
  unslice,
} from '../../build.ts';
import type { Dim } from '../../dim.ts';
import { dim, dimAdd, dimConst, dimDivExact, dimMul, dimSub, dimText } from '../../dim.ts';
import { ModelcError } from '../../error.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { ContractionAttrs } from '../attrs.ts';
import { forEachIndex } from '../common.ts';
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

/**
 * Of the filter: for every position in the window, the product of the elements of x that it meets with the cotangents of
 * the places, per group and over all images and places.
 */
function filterCotangent(node: Node<'conv'>, cotangent: Node): Node {
  const { strides, padding, dilation, inputDilation, groups, acc } = node.attrs;
  const [x, filter] = node.args;
  const { shape } = x.type;
  const taps = filter.type.shape.slice(0, -2);
  const [channels, outputs] = filter.type.shape.slice(-2);
  const places = node.type.shape.slice(1, -1);
  // x with its dilation and padding; what negative padding crops is left out by the slices below
  const low = padding.map(([before]) => Math.max(0, before));
  const extents = inputDilation.map((inner, i) =>
    dimAdd(dimMul(shape[i + 1], inner), 1 - inner + low[i] + Math.max(0, padding[i][1])),
  );
  const around = (inner: readonly Dim[]): Dim[] => [shape[0], ...inner, shape[shape.length - 1]];
  const starts = [dim(0), ...low.map((n) => dim(n)), dim(0)];
  const surrounded = unslice(x, around(extents), starts, [1, ...inputDilation, 1]);
  const grouped = (y: Node, width: Dim): Node => reshaped(y, [...y.type.shape.slice(0, -1), dim(groups), width]);
  const own = grouped(cotangent, dimDivExact(outputs, groups)!);
  const [group, summed] = [strides.length + 1, range(strides.length + 1)];
  const products: Node[] = [];
  forEachIndex(
    taps.map((k) => dimConst(k)!),
    (at) => {
      const first = at.map((k, i) => dim(k * dilation[i] + Math.max(0, -padding[i][0])));
      const met = make('slice', [surrounded], {
        starts: [dim(0), ...first, dim(0)],
        sizes: around(places),
        strides: [1, ...strides, 1],
      });
      const product = make('dot_general', [grouped(met, channels), own], {
        batch: [[group], [group]],
        contract: [summed, summed],
        acc,
      });
      products.push(reshaped(transposed(product, [1, 0, 2]), [dim(1), channels, outputs]));
    },
  );
  return reshaped(make('concat', products, { axis: 0 }), filter.type.shape);
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
