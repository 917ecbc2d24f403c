// Contractions: dot_general, convolution and the grouped product of mixtures of experts. The interpreter accumulates in
// doubles and rounds once, so it is at least as exact as any device's order of summation.
import { dim, dimConst, dimDivExact, dimMul, dimText } from '../dim.ts';
import type { DType } from '../dtype.ts';
import { isFloat, roundTo } from '../dtype.ts';
import type { Expr } from '../loop.ts';
import { alu, cast, constant, lessThan, mul, select } from '../loop.ts';
import type { NdArray } from '../ndarray.ts';
import { sizeOf, stridesOf } from '../ndarray.ts';
import type { ContractionAttrs } from './attrs.ts';
import {
  Factors,
  fail,
  forEachIndex,
  requireArity,
  requireAxes,
  requireClass,
  requireDType,
  requireEqual,
  requireInteger,
  requireList,
  requireRank,
  requireSameDType,
  requireShape,
  requireType,
  shapeOf,
  strided,
} from './common.ts';
import type { Op, OpTable } from './op.ts';
import { placesOf, requireWindows } from './windows.ts';

/** Accumulators are of the arguments' class: floats add up in a float, integers in an integer. */
function requireAccumulator(op: string, constraint: number, dtype: DType, acc: DType): void {
  requireClass(op, constraint, dtype, 'numeric');
  requireDType(op, constraint, acc);
  requireClass(op, constraint, acc, isFloat(dtype) ? 'float' : 'integer');
}

/** Axes of an argument of `rank` axes that are in neither list. */
const freeAxes = (rank: number, batch: readonly number[], contract: readonly number[]): number[] =>
  Array.from({ length: rank }, (_, i) => i).filter((i) => !batch.includes(i) && !contract.includes(i));

/** The elements of `x` with its axes in the order `perm`, without a copy where they are in that order already. */
function permuted(x: NdArray, perm: readonly number[]): Float64Array {
  if (perm.every((axis, i) => axis === i)) return x.data;
  const strides = stridesOf(x.shape);
  return strided(
    x,
    perm.map((axis) => x.shape[axis]),
    0,
    perm.map((axis) => strides[axis]),
  ).data;
}

/** C[b, m, n] = sum over k of A[b, m, k] * B[b, n, k], in doubles. */
function matmul(a: Float64Array, b: Float64Array, batch: number, m: number, n: number, k: number): Float64Array {
  const out = new Float64Array(batch * m * n);
  for (let i = 0, at = 0; i < batch; i++) {
    for (let row = i * m; row < (i + 1) * m; row++) {
      for (let column = i * n; column < (i + 1) * n; column++) {
        const p = row * k;
        const q = column * k;
        let sum = 0;
        for (let t = 0; t < k; t++) sum += a[p + t] * b[q + t];
        out[at++] = sum;
      }
    }
  }
  return out;
}

function rounded(dtype: DType, shape: readonly number[], data: Float64Array): NdArray {
  for (let i = 0; i < data.length; i++) data[i] = roundTo(dtype, data[i]);
  return { dtype, shape: [...shape], data };
}

/**
 * Contraction of any two arrays. Result: batch dims, lhs free dims, rhs free dims.
 * C1: the arguments have one numeric dtype; acc is a float for floats and an integer for integers.
 * C2: batch axes and contract axes are distinct axes of each argument, as many on the left as on the right.
 * C3: paired axes have equal sizes.
 * C4: the result has at most 2^53 elements.
 */
const dotGeneral: Op<'dot_general'> = {
  infer(args, { batch, contract, acc }) {
    requireArity('dot_general', args, 2);
    requireSameDType('dot_general', 1, args);
    requireAccumulator('dot_general', 1, args[0].dtype, acc);
    requireList('dot_general', 2, 'batch', batch, 2);
    requireList('dot_general', 2, 'contract', contract, 2);
    const free = args.map((t, i) => {
      requireList('dot_general', 2, 'batch axes', batch[i], batch[0].length);
      requireList('dot_general', 2, 'contract axes', contract[i], contract[0].length);
      requireAxes('dot_general', 2, [...batch[i], ...contract[i]], t.shape.length);
      return freeAxes(t.shape.length, batch[i], contract[i]).map((axis) => t.shape[axis]);
    });
    const [l, r] = args.map((t) => t.shape);
    for (const [left, right] of [batch, contract]) {
      for (const [i, axis] of left.entries()) {
        requireEqual('dot_general', 3, 'paired axes', l[axis], r[right[i]]);
      }
    }
    const shape = [...batch[0].map((axis) => l[axis]), ...free[0], ...free[1]];
    requireShape('dot_general', 4, shape, 'the result');
    return { dtype: acc, shape };
  },

  axes(node) {
    const { batch, contract } = node.attrs;
    const factors = new Factors();
    const [l, r] = node.args.map((a) => a.type.shape);
    const lhs: (readonly number[])[] = [];
    const rhs: (readonly number[])[] = [];
    const result: (readonly number[])[] = [];
    for (const [i, axis] of batch[0].entries()) result.push((lhs[axis] = rhs[batch[1][i]] = factors.add(l[axis])));
    for (const axis of freeAxes(l.length, batch[0], contract[0])) result.push((lhs[axis] = factors.add(l[axis])));
    for (const axis of freeAxes(r.length, batch[1], contract[1])) result.push((rhs[axis] = factors.add(r[axis])));
    for (const [i, axis] of contract[0].entries()) lhs[axis] = rhs[contract[1][i]] = factors.add(l[axis], 'reduce');
    return { factors: factors.list, args: [lhs, rhs], result };
  },

  eval(node, [x, y], env) {
    const { batch, contract, acc } = node.attrs;
    const lhsFree = freeAxes(x.shape.length, batch[0], contract[0]);
    const rhsFree = freeAxes(y.shape.length, batch[1], contract[1]);
    const size = (axes: readonly number[], of: NdArray): number => sizeOf(axes.map((axis) => of.shape[axis]));
    const product = matmul(
      permuted(x, [...batch[0], ...lhsFree, ...contract[0]]),
      permuted(y, [...batch[1], ...rhsFree, ...contract[1]]),
      size(batch[0], x),
      size(lhsFree, x),
      size(rhsFree, y),
      size(contract[0], x),
    );
    return rounded(acc, shapeOf(node, env), product);
  },

  element(node, at, context) {
    const { batch, contract, acc } = node.attrs;
    const [l, r] = node.args.map((a) => a.type.shape);
    const lhs: Expr[] = [];
    const rhs: Expr[] = [];
    let next = 0;
    for (const [i, axis] of batch[0].entries()) lhs[axis] = rhs[batch[1][i]] = at[next++];
    for (const axis of freeAxes(l.length, batch[0], contract[0])) lhs[axis] = at[next++];
    for (const axis of freeAxes(r.length, batch[1], contract[1])) rhs[axis] = at[next++];
    const extents = contract[0].map((axis) => l[axis]);
    return context.fold('add', extents, acc, (k) => {
      for (const [i, axis] of contract[0].entries()) lhs[axis] = rhs[contract[1][i]] = k[i];
      return mul(cast(context.read(0, [...lhs]), acc), cast(context.read(1, [...rhs]), acc));
    });
  },
};

/**
 * Convolution (cross-correlation, as everywhere in deep learning), zero padded; negative padding crops.
 * C1: x and filter have one numeric dtype; acc is a float for floats and an integer for integers.
 * C2: x and filter have the same number of axes, at least 3.
 * C3: strides, padding, dilation and inputDilation have one entry per spatial axis, factors being at least 1.
 * C4: the filter's windows have constant sizes, at least 1, and input dilation is of axes that are not empty.
 * C5: groups divides the channels of x and of the result; the filter has C / groups input channels.
 * C6: the dilated window fits into the padded input, in a number of places that is a polynomial.
 */
const conv: Op<'conv'> = {
  infer(args, attrs) {
    requireArity('conv', args, 2);
    requireSameDType('conv', 1, args);
    requireAccumulator('conv', 1, args[0].dtype, attrs.acc);
    const [x, filter] = args;
    const rank = x.shape.length;
    if (rank < 3) fail('conv', 2, `x must have at least 3 axes, got ${rank}`);
    requireRank('conv', 2, 'filter', filter, rank);
    requireWindows('conv', attrs, rank - 2);
    requireInteger('conv', 5, 'groups', attrs.groups, 1);
    const channels = filter.shape[rank - 1];
    if (!dimDivExact(channels, attrs.groups)) {
      fail('conv', 5, `${attrs.groups} groups do not divide ${dimText(channels)} channels of the result`);
    }
    requireEqual(
      'conv',
      5,
      'channels of x and groups * channels of the filter',
      x.shape[rank - 1],
      dimMul(filter.shape[rank - 2], attrs.groups),
    );
    const window = filter.shape.slice(0, -2).map((d) => {
      const size = dimConst(d);
      if (size === undefined || size < 1) fail('conv', 4, `window ${dimText(d)} must be a constant above 0`);
      return size;
    });
    const shape = [x.shape[0], ...placesOf('conv', x.shape, window, attrs), channels];
    requireShape('conv', 6, shape, 'the result');
    return { dtype: attrs.acc, shape };
  },

  axes(node) {
    const [x, filter] = node.args.map((a) => a.type.shape);
    const { groups } = node.attrs;
    const spatial = x.length - 2;
    const factors = new Factors();
    const n = factors.add(x[0]);
    const places = node.type.shape.slice(1, -1).map((d) => factors.add(d));
    const group = factors.add(dim(groups));
    const outer = factors.add(dimDivExact(filter[spatial + 1], groups)!);
    const inner = factors.add(filter[spatial], 'reduce');
    const inputs = x.slice(1, -1).map((d) => factors.add(d, 'opaque'));
    const windows = filter.slice(0, spatial).map((d) => factors.add(d, 'opaque'));
    return {
      factors: factors.list,
      args: [
        [n, ...inputs, [...group, ...inner]],
        [...windows, inner, [...group, ...outer]],
      ],
      result: [n, ...places, [...group, ...outer]],
    };
  },

  eval(node, [x, filter], env) {
    const { groups, acc } = node.attrs;
    const shape = shapeOf(node, env);
    const { strides: steps, padding, dilation, inputDilation } = node.attrs;
    const spatial = steps.length;
    const inner = filter.shape[spatial];
    const outer = filter.shape[spatial + 1];
    const perGroup = outer / groups;
    const extents = filter.shape.slice(0, spatial);
    const strides = stridesOf(x.shape);
    const out = new Float64Array(sizeOf(shape));
    forEachIndex(shape.slice(0, -1), (place, row) => {
      forEachIndex(extents, (offset, tap) => {
        let from = place[0] * strides[0];
        for (const [i, inner] of inputDilation.entries()) {
          const at = place[i + 1] * steps[i] + offset[i] * dilation[i] - padding[i][0];
          if (at < 0 || at % inner !== 0 || at / inner >= x.shape[i + 1]) return;
          from += (at / inner) * strides[i + 1];
        }
        for (let g = 0; g < groups; g++) {
          for (let c = 0; c < inner; c++) {
            const value = x.data[from + g * inner + c];
            const weights = (tap * inner + c) * outer;
            for (let o = g * perGroup; o < (g + 1) * perGroup; o++) {
              out[row * outer + o] += value * filter.data[weights + o];
            }
          }
        }
      });
    });
    return rounded(acc, shape, out);
  },
};

/**
 * Rows of x, sorted by group, each times the matrix of its group. Rows beyond the sum of the counts give 0.
 * C1: x and w have one numeric dtype; acc is a float for floats and an integer for integers.
 * C2: x is [T, K], w [E, K, N]: their K are equal.
 * C3: counts is i32[E]. (At run time its entries are not negative.)
 */
const raggedDot: Op<'ragged_dot'> = {
  infer(args, { acc }) {
    requireArity('ragged_dot', args, 3);
    const [x, w, counts] = args;
    requireSameDType('ragged_dot', 1, [x, w]);
    requireAccumulator('ragged_dot', 1, x.dtype, acc);
    requireRank('ragged_dot', 2, 'x', x, 2);
    requireRank('ragged_dot', 2, 'w', w, 3);
    requireEqual('ragged_dot', 2, 'contracted axes', x.shape[1], w.shape[1]);
    requireType('ragged_dot', 3, 'counts', counts, { dtype: 'i32', shape: [w.shape[0]] });
    return { dtype: acc, shape: [x.shape[0], w.shape[2]] };
  },

  axes(node) {
    const [x, w] = node.args.map((a) => a.type.shape);
    const factors = new Factors();
    const rows = factors.add(x[0], 'opaque'); // a row's group depends on its position among all rows
    const columns = factors.add(w[2]);
    const inner = factors.add(x[1], 'reduce');
    const groups = factors.add(w[0], 'opaque');
    return {
      factors: factors.list,
      args: [[rows, inner], [groups, inner, columns], [groups]],
      result: [rows, columns],
    };
  },

  eval(node, [x, w, counts], env) {
    const [rows, k] = x.shape;
    const n = w.shape[2];
    const out = new Float64Array(rows * n);
    let row = 0;
    for (const [group, count] of counts.data.entries()) {
      for (const end = Math.min(rows, row + count); row < end; row++) {
        for (let i = 0; i < k; i++) {
          const value = x.data[row * k + i];
          const weights = (group * k + i) * n;
          for (let j = 0; j < n; j++) out[row * n + j] += value * w.data[weights + j];
        }
      }
    }
    return rounded(node.attrs.acc, shapeOf(node, env), out);
  },

  element(node, [row, column], context) {
    const [x, w] = node.args.map((a) => a.type.shape);
    const { acc } = node.attrs;
    const zero = constant(0, 'i32');
    // the group of a row is the number of groups that end at or before it
    const group = cast(
      context.fold('add', [w[0]], 'i32', ([e]) => {
        const end = context.fold('add', [w[0]], 'i32', ([f]) => select(alu('le', f, e), context.read(2, [f]), zero));
        return select(alu('le', cast(end, 'index'), row), constant(1, 'i32'), zero);
      }),
      'index',
    );
    return context.guard(
      lessThan(group, context.size(w[0])),
      () =>
        context.fold('add', [x[1]], acc, ([k]) =>
          mul(cast(context.read(0, [row, k]), acc), cast(context.read(1, [group, k, column]), acc)),
        ),
      constant(0, acc),
    );
  },
};

export const contraction: OpTable<ContractionAttrs> = { dot_general: dotGeneral, conv, ragged_dot: raggedDot };
