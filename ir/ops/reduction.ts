// Ops that combine or order the elements along axes. Sums of floats are accumulated in double and rounded once: the
// interpreter is then closer to the true sum than any device, whose order of summation is its own. Integers wrap.
import { type Dim, dim, dimAdd, dimEquals } from '../dim.ts';
import { castValue, dtypeInfo, isFloat, roundTo } from '../dtype.ts';
import type { Expr } from '../loop.ts';
import { add, alu, cast, constant, index, lessThan, mul, sub } from '../loop.ts';
import { ndarray, stridesOf } from '../ndarray.ts';
import type { TensorType } from '../node.ts';
import type { ReductionAttrs } from './attrs.ts';
import {
  Factors,
  fail,
  forEachIndex,
  forEachRow,
  offsetOf,
  passthroughAxes,
  requireArity,
  requireAxes,
  requireAxis,
  requireChoice,
  requireClass,
  requireDType,
  requireInteger,
  requireLessEqual,
  requireList,
  requireSameType,
  shapeOf,
  windowPlaces,
} from './common.ts';
import type { OpTable } from './op.ts';
import { arithmetic, identityOf } from './scalar.ts';

/** Where window place `at` of one axis begins in the padded argument, as an index expression plus the window's `w`. */
const windowPosition = (at: Expr, w: Expr, stride: number): Expr => add(mul(at, index(stride)), w);

/** The order of sorting: NaN is largest, zeros are equal. */
function compareValues(x: number, y: number): number {
  if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Positions of a row in stable sorted order. */
function sortedPositions(
  data: Float64Array,
  offset: number,
  step: number,
  count: number,
  descending: boolean,
): number[] {
  const sign = descending ? -1 : 1;
  return Array.from({ length: count }, (_, i) => i).sort(
    (i, j) => sign * compareValues(data[offset + i * step], data[offset + j * step]),
  );
}

const resultOf = (x: TensorType, axes: readonly number[]): Dim[] => x.shape.filter((_, i) => !axes.includes(i));

export const reduction: OpTable<ReductionAttrs> = {
  /**
   * An empty reduction gives the identity: 0, 1, the smallest or the largest value, true for and, false for or.
   * C1: axes are distinct axes of x. C2: op is known; and/or take bool, the others numbers.
   * C3: acc is a dtype of the class of x (float, integer or bool).
   */
  reduce: {
    infer(args, attrs) {
      const { op, axes, acc } = attrs;
      requireArity('reduce', args, 1);
      const [x] = args;
      requireAxes('reduce', 1, axes, x.shape.length);
      requireChoice('reduce', 2, attrs, 'op');
      requireClass('reduce', 2, x.dtype, op === 'and' || op === 'or' ? 'bool' : 'numeric');
      requireDType('reduce', 3, acc);
      const isSame = isFloat(acc) === isFloat(x.dtype) && (acc === 'bool') === (x.dtype === 'bool');
      if (!isSame) fail('reduce', 3, `cannot accumulate ${x.dtype} in ${acc}`);
      return { dtype: x.dtype, shape: resultOf(x, axes) };
    },
    axes(node) {
      const { axes } = node.attrs;
      const factors = new Factors();
      const arg = node.args[0].type.shape.map((d, i) => factors.add(d, axes.includes(i) ? 'reduce' : 'map'));
      return { factors: factors.list, args: [arg], result: arg.filter((_, i) => !axes.includes(i)) };
    },
    eval(node, [x], env) {
      const { op, axes, acc } = node.attrs;
      const result = ndarray(x.dtype, shapeOf(node, env));
      const apply = arithmetic(op, acc);
      const kept = stridesOf(result.shape);
      let next = 0;
      const strides = x.shape.map((_, i) => (axes.includes(i) ? 0 : kept[next++]));
      const sums = result.data.fill(identityOf(op, acc));
      forEachIndex(x.shape, (at, flat) => {
        const to = offsetOf(at, strides);
        sums[to] = apply(sums[to], castValue(x.dtype, acc, x.data[flat]));
      });
      for (let i = 0; i < sums.length; i++) sums[i] = castValue(acc, x.dtype, roundTo(acc, sums[i]));
      return result;
    },
    element(node, at, context) {
      const { op, axes, acc } = node.attrs;
      const { dtype, shape } = node.args[0].type;
      const value = context.fold(
        op,
        axes.map((axis) => shape[axis]),
        acc,
        (folded) => {
          let next = 0;
          const source = shape.map((_, i) => (axes.includes(i) ? folded[axes.indexOf(i)] : at[next++]));
          return cast(context.read(0, source), acc);
        },
      );
      return cast(value, dtype);
    },
  },

  /**
   * C1: op is add, max or min; x is numeric. C2: window, strides and padding have an entry per axis; windows and
   * strides are positive, padding is not negative. C3: the window provably fits, and the number of places is a polynomial.
   */
  reduce_window: {
    cost: 'loop',
    infer(args, attrs) {
      const { window, strides, padding } = attrs;
      requireArity('reduce_window', args, 1);
      const [x] = args;
      requireChoice('reduce_window', 1, attrs, 'op');
      requireClass('reduce_window', 1, x.dtype, 'numeric');
      for (const [what, list] of Object.entries({ window, strides, padding })) {
        requireList('reduce_window', 2, what, list, x.shape.length);
      }
      for (const w of window) requireInteger('reduce_window', 2, 'a window', w, 1);
      for (const s of strides) requireInteger('reduce_window', 2, 'a stride', s, 1);
      for (const pair of padding) {
        requireList('reduce_window', 2, 'a padding', pair, 2);
        for (const p of pair) requireInteger('reduce_window', 2, 'a padding', p, 0);
      }
      const shape = x.shape.map((d, i) =>
        windowPlaces('reduce_window', 3, d, window[i], strides[i], padding[i][0], padding[i][1]),
      );
      return { dtype: x.dtype, shape };
    },
    axes(node) {
      const { window, strides } = node.attrs;
      const from = node.args[0].type.shape;
      const factors = new Factors();
      const isWhole = (i: number): boolean =>
        window[i] === 1 && strides[i] === 1 && dimEquals(from[i], node.type.shape[i]);
      const arg = from.map((d, i) => factors.add(d, isWhole(i) ? 'map' : 'opaque'));
      const result = node.type.shape.map((d, i) => (isWhole(i) ? arg[i] : factors.add(d, 'opaque')));
      return { factors: factors.list, args: [arg], result };
    },
    eval(node, [x], env) {
      const { op, window, strides, padding } = node.attrs;
      const result = ndarray(x.dtype, shapeOf(node, env));
      const apply = arithmetic(op, x.dtype);
      const own = stridesOf(x.shape);
      forEachIndex(result.shape, (at, flat) => {
        let value = identityOf(op, x.dtype);
        forEachIndex(window, (w) => {
          const source = w.map((k, i) => at[i] * strides[i] + k - padding[i][0]);
          if (source.every((s, i) => s >= 0 && s < x.shape[i])) value = apply(value, x.data[offsetOf(source, own)]);
        });
        result.data[flat] = roundTo(x.dtype, value);
      });
      return result;
    },
    element(node, at, context) {
      const { op, window, strides, padding } = node.attrs;
      const { dtype, shape } = node.args[0].type;
      const acc = isFloat(dtype) ? 'f32' : dtype; // sums are rounded once
      const identity = constant(identityOf(op, acc), acc);
      const value = context.fold(op, window, acc, (w) => {
        const padded = shape.map((_, i) => windowPosition(at[i], w[i], strides[i]));
        const conditions = shape.flatMap((d, i) => [
          ...(padding[i][0] === 0 ? [] : [alu('ge', padded[i], index(padding[i][0]))]),
          ...(padding[i][1] === 0 ? [] : [lessThan(padded[i], context.size(dimAdd(d, padding[i][0])))]),
        ]);
        const read = (): Expr =>
          cast(
            context.read(
              0,
              padded.map((p, i) => sub(p, index(padding[i][0]))),
            ),
            acc,
          );
        if (conditions.length === 0) return read();
        return context.guard(
          conditions.reduce((a, b) => alu('and', a, b)),
          read,
          identity,
        );
      });
      return cast(value, dtype);
    },
  },

  /**
   * exclusive: y[t] is the fold of what comes before t, beginning with the identity; affine begins with its third argument
   * or 0. reverse: from the end.
   * C1: one argument, for affine two of one type. C2: op is known, the dtype numeric. C3: axis is an axis of x. C4: what
   * affine begins with has the type of x without that axis.
   */
  scan: {
    infer(args, attrs) {
      const { op, axis } = attrs;
      requireChoice('scan', 2, attrs, 'op');
      requireArity('scan', args, op === 'affine' ? 2 : 1, op === 'affine' ? 3 : 1);
      const [x, , initial] = args;
      requireSameType('scan', 1, args.slice(0, 2));
      requireClass('scan', 2, x.dtype, 'numeric');
      requireAxis('scan', 3, axis, x.shape.length);
      if (initial) requireSameType('scan', 4, [{ dtype: x.dtype, shape: x.shape.toSpliced(axis, 1) }, initial]);
      return x;
    },
    axes(node) {
      const { axis } = node.attrs;
      const rule = passthroughAxes(node.type.shape, node.args.length, [axis]);
      const [x, b, initial] = rule.args;
      return initial ? { ...rule, args: [x, b, initial.toSpliced(axis, 1)] } : rule;
    },
    eval(node, args) {
      const { op, axis, exclusive, reverse } = node.attrs;
      const { dtype, shape } = args[0];
      const result = ndarray(dtype, shape);
      const times = arithmetic('mul', dtype);
      const plus = arithmetic('add', dtype);
      const combine = op === 'affine' ? plus : arithmetic(op, dtype);
      const identity = op === 'affine' ? 0 : identityOf(op, dtype);
      let row = 0;
      forEachRow(shape, axis, (offset, step) => {
        let value = args[2]?.data[row++] ?? identity;
        for (let k = 0; k < shape[axis]; k++) {
          const i = offset + (reverse ? shape[axis] - 1 - k : k) * step;
          if (exclusive) result.data[i] = roundTo(dtype, value);
          value =
            op === 'affine' ? plus(times(args[0].data[i], value), args[1].data[i]) : combine(value, args[0].data[i]);
          if (!exclusive) result.data[i] = roundTo(dtype, value);
        }
      });
      return result;
    },
  },

  /** C1: axis is an axis of x. C2: its positions are within i32. */
  sort: {
    infer(args, { axis }) {
      requireArity('sort', args, 1);
      requireAxis('sort', 1, axis, args[0].shape.length);
      requireLessEqual('sort', 2, 'positions are i32', args[0].shape[axis], dtypeInfo.i32.max);
      return { dtype: 'i32', shape: args[0].shape };
    },
    axes(node) {
      return passthroughAxes(node.type.shape, 1, [node.attrs.axis]);
    },
    eval(node, [x]) {
      const { axis, descending } = node.attrs;
      const result = ndarray('i32', x.shape);
      forEachRow(x.shape, axis, (offset, step) => {
        sortedPositions(x.data, offset, step, x.shape[axis], descending).forEach((position, i) => {
          result.data[offset + i * step] = position;
        });
      });
      return result;
    },
  },

  /** C1: x has an axis, of positions within i32. C2: k is a positive integer, and provably no larger than the last axis. */
  top_k: {
    infer(args, { k }) {
      requireArity('top_k', args, 1);
      const { shape } = args[0];
      if (shape.length === 0) fail('top_k', 1, 'takes a tensor of at least one axis, got a scalar');
      const last = shape[shape.length - 1];
      requireLessEqual('top_k', 1, 'positions are i32', last, dtypeInfo.i32.max);
      requireInteger('top_k', 2, 'k', k, 1);
      requireLessEqual('top_k', 2, 'k', k, last);
      return { dtype: 'i32', shape: [...shape.slice(0, -1), dim(k)] };
    },
    axes(node) {
      const { shape } = node.args[0].type;
      const factors = new Factors();
      const rows = shape.slice(0, -1).map((d) => factors.add(d));
      const last = factors.add(shape[shape.length - 1], 'opaque');
      return {
        factors: factors.list,
        args: [[...rows, last]],
        result: [...rows, factors.add(dim(node.attrs.k), 'opaque')],
      };
    },
    eval(node, [x], env) {
      const { k } = node.attrs;
      const result = ndarray('i32', shapeOf(node, env));
      const count = x.shape[x.shape.length - 1];
      for (let offset = 0, to = 0; offset < x.data.length; offset += count, to += k) {
        result.data.set(sortedPositions(x.data, offset, 1, count, true).slice(0, k), to);
      }
      return result;
    },
  },
};
