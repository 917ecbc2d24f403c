// Reverse-mode rules of reductions, windows and running folds. Where several elements attain a maximum they share its
// cotangent, as in PyTorch's amax; a running maximum goes to the last of them, as in its cummax.
import {
  add,
  axesOf,
  compare,
  constant,
  div,
  filled,
  indicator,
  invert,
  mul,
  reshaped,
  spread,
  sumOver,
  transposed,
  unslice,
  where,
} from '../../build.ts';
import type { Dim } from '../../dim.ts';
import { dim, dimAdd, dimProduct } from '../../dim.ts';
import { isFloat } from '../../dtype.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { ReductionAttrs } from '../attrs.ts';
import { forEachIndex } from '../common.ts';
import { identityOf } from '../scalar.ts';
import type { Vjp, VjpTable } from './rule.ts';
import { discrete } from './rule.ts';

/** The product of all elements of each row along the last axis but the one at each place. */
function productOfOthers(x: Node): Node {
  const axis = x.type.shape.length - 1;
  const fold = (reverse: boolean): Node => make('scan', [x], { op: 'mul', axis, exclusive: true, reverse });
  return mul(fold(false), fold(true));
}

const reduce: Vjp<'reduce'> = (node, c) => {
  const [x] = node.args;
  const { op, axes } = node.attrs;
  const { shape } = x.type;
  const kept = axesOf(x).filter((i) => !axes.includes(i));
  const back = (y: Node): Node => spread(y, shape, kept);
  switch (op) {
    case 'add':
      return [back(c)];
    case 'mul': {
      const order = [...kept, ...axes];
      const outer = kept.map((i) => shape[i]);
      const rows = reshaped(transposed(x, order), [...outer, dimProduct(axes.map((i) => shape[i]))]);
      const others = reshaped(
        productOfOthers(rows),
        order.map((i) => shape[i]),
      );
      return [mul(back(c), transposed(others, invert(order)))];
    }
    case 'max':
    case 'min': {
      const attains = compare('eq', x, back(node));
      const ties = sumOver(indicator(attains, x), axes);
      return [where(attains, back(div(c, ties)))];
    }
    case 'and':
    case 'or':
      return [null];
    default:
      return op satisfies never;
  }
};

/** Of a sum over windows: for every element, the sum of the cotangents of the places whose windows hold it. */
function windowSum(node: Node<'reduce_window'>, c: Node): Node {
  const { window, strides, padding } = node.attrs;
  const { shape } = node.args[0].type;
  const whole = shape.map((d, i) => dimAdd(d, padding[i][0] + padding[i][1]));
  // places at the first element of their windows, behind what lets a window end before the first element
  const starts = window.map((w) => dim(w - 1));
  const places = unslice(c, whole.map((d, i) => dimAdd(d, window[i] - 1)), starts, strides); // biome-ignore format: one row
  const unit = window.map(() => 1);
  const none = window.map(() => [0, 0] as const);
  const sums = make('reduce_window', [places], { op: 'add', window, strides: unit, padding: none });
  return make('slice', [sums], { starts: padding.map(([low]) => dim(low)), sizes: shape, strides: unit });
}

/** Of an extreme of windows: at each position in the window, the elements that attain it take their share. */
function windowExtreme(node: Node<'reduce_window'>, c: Node): Node {
  const { op, window, strides, padding } = node.attrs;
  const [x] = node.args;
  const low = padding.map(([before]) => dim(before));
  const high = padding.map(([, after]) => dim(after));
  const surrounded = make('pad', [x, constant(identityOf(op, x.type.dtype), x.type.dtype)], { low, high });
  const positions: { starts: readonly Dim[]; attains: Node }[] = [];
  forEachIndex(window, (at) => {
    const starts = at.map((k) => dim(k));
    const part = make('slice', [surrounded], { starts, sizes: node.type.shape, strides });
    positions.push({ starts, attains: compare('eq', part, node) });
  });
  const ties = positions.map(({ attains }) => indicator(attains, c)).reduce(add);
  const share = div(c, ties);
  const total = positions
    .map(({ starts, attains }) => unslice(where(attains, share), surrounded.type.shape, starts, strides))
    .reduce(add);
  return make('slice', [total], { starts: low, sizes: x.type.shape, strides: strides.map(() => 1) });
}

/** The first place along an axis, or the last one, without that axis. */
function edge(x: Node, axis: number, last: boolean): Node {
  const { shape } = x.type;
  const starts = shape.map((d, i) => (i === axis && last ? dimAdd(d, -1) : dim(0)));
  const sizes = shape.map((d, i) => (i === axis ? dim(1) : d));
  return reshaped(make('slice', [x], { starts, sizes, strides: shape.map(() => 1) }), shape.toSpliced(axis, 1));
}

/**
 * Every running fold is y[t] = a[t] * y[t-1] + b[t] for some a. The cotangent of y[t] collects what comes after it in
 * the same way, h[t] = c[t] + a[t+1] * h[t+1]: an affine scan in the other direction. An exclusive fold gives y[t-1] at
 * t, so that the cotangent of y[t] is g[t] = c[t+1] + a[t+1] * g[t+1].
 */
const scan: Vjp<'scan'> = (node, c) => {
  const { op, axis, exclusive, reverse } = node.attrs;
  const [x] = node.args;
  const backward = { op: 'affine', axis, exclusive: true, reverse: !reverse } as const;
  const collected = (a: Node): Node =>
    exclusive ? make('scan', [a, c], backward) : add(c, make('scan', [a, mul(a, c)], backward));
  /** y[t-1] at t. */
  const before = (): Node => make('scan', node.args, { op, axis, exclusive: true, reverse });
  switch (op) {
    case 'add':
      return [make('scan', [c], { op, axis, exclusive, reverse: !reverse })];
    case 'mul':
      return [mul(collected(x), before())];
    case 'affine': {
      const h = collected(x);
      const rules = [mul(h, before()), h];
      if (node.args.length === 2) return rules;
      const first = (y: Node): Node => edge(y, axis, reverse);
      const carried = mul(first(x), first(h));
      return [...rules, exclusive ? add(first(c), carried) : carried];
    }
    case 'max':
    case 'min': {
      const wins = compare(op === 'max' ? 'ge' : 'le', x, before());
      const stays = make('select', [wins, filled(0, x), filled(1, x)], {});
      return [where(wins, collected(stays))];
    }
    default:
      return op satisfies never;
  }
};

export const reduction: VjpTable<ReductionAttrs> = {
  reduce,
  reduce_window: (node, c) => {
    if (!isFloat(node.type.dtype)) return [null];
    return [node.attrs.op === 'add' ? windowSum(node, c) : windowExtreme(node, c)];
  },
  scan,
  sort: discrete,
  top_k: discrete,
};
