// Shape ops: they move elements and compute none. In element code each is an index transformation, which is how views
// disappear when they are fused.
import { dim, dimAdd, dimConst, dimEquals, dimEval, dimMul, dimProduct, dimSub, shapeText } from '../dim.ts';
import type { Expr } from '../loop.ts';
import { add, alu, constant, floorDiv, index, lessThan, modulo, mul, sub } from '../loop.ts';
import { ndarray, sizeOf, stridesOf } from '../ndarray.ts';
import type { ShapeAttrs } from './attrs.ts';
import {
  Factors,
  fail,
  forEachIndex,
  isOne,
  linearIndex,
  offsetOf,
  passthroughAxes,
  requireArity,
  requireAxes,
  requireAxis,
  requireEqual,
  requireInteger,
  requireLessEqual,
  requireList,
  requireRank,
  requireSameDType,
  requireShape,
  requireType,
  shapeOf,
  strided,
} from './common.ts';
import type { ElementContext, OpTable } from './op.ts';
import { commonFactors, reshapeGroups } from './reshape.ts';
import { windows } from './windows.ts';

const and = (conditions: readonly Expr[]): Expr | undefined =>
  conditions.length === 0 ? undefined : conditions.reduce((x, y) => alu('and', x, y));

/** Reads argument `arg` at `at` where all conditions hold, `otherwise` elsewhere. */
function readWhere(
  context: ElementContext,
  where: readonly Expr[],
  arg: number,
  at: readonly Expr[],
  otherwise: Expr,
): Expr {
  const condition = and(where);
  return condition ? context.guard(condition, () => context.read(arg, at), otherwise) : context.read(arg, at);
}

export const shape: OpTable<ShapeAttrs> = {
  windows,

  /**
   * The elements in row-major order under another shape.
   * C1: no dimension can be negative. C2: the numbers of elements are equal.
   */
  reshape: {
    cost: 'free',
    infer(args, attrs) {
      requireArity('reshape', args, 1);
      requireShape('reshape', 1, attrs.shape);
      const [x] = args;
      if (!dimEquals(dimProduct(x.shape), dimProduct(attrs.shape))) {
        fail('reshape', 2, `${shapeText(x.shape)} and ${shapeText(attrs.shape)} do not have equally many elements`);
      }
      return { dtype: x.dtype, shape: attrs.shape };
    },
    axes(node) {
      const from = node.args[0].type.shape;
      const to = node.type.shape;
      const factors = new Factors();
      const arg: number[][] = from.map(() => []);
      const result: number[][] = to.map(() => []);
      for (const group of reshapeGroups(from, to)) {
        const common = commonFactors(
          group.from.map((i) => from[i]),
          group.to.map((i) => to[i]),
        );
        for (const f of common ?? []) {
          const factor = factors.add(f.size);
          arg[group.from[f.from]].push(...factor);
          result[group.to[f.to]].push(...factor);
        }
        if (!common) {
          for (const i of group.from) arg[i].push(...factors.add(from[i], 'opaque'));
          for (const i of group.to) result[i].push(...factors.add(to[i], 'opaque'));
        }
      }
      return { factors: factors.list, args: [arg], result };
    },
    eval(node, [x], env) {
      return { dtype: x.dtype, shape: shapeOf(node, env), data: x.data };
    },
    element(node, at, context) {
      const from = node.args[0].type.shape;
      const to = node.type.shape;
      const source: Expr[] = from.map(() => index(0));
      for (const group of reshapeGroups(from, to)) {
        // position inside the group, then its digits in the argument's sizes, minor first
        let rest = linearIndex(
          group.to.map((i) => at[i]),
          group.to.map((i) => to[i]),
          context,
        );
        for (const i of group.from.slice(1).reverse()) {
          source[i] = modulo(rest, context.size(from[i]));
          rest = floorDiv(rest, context.size(from[i]));
        }
        if (group.from.length > 0) source[group.from[0]] = rest;
      }
      return context.read(0, source);
    },
  },

  /** C1: perm is a permutation of the axes. */
  transpose: {
    cost: 'free',
    infer(args, { perm }) {
      requireArity('transpose', args, 1);
      const [x] = args;
      requireList('transpose', 1, 'perm', perm, x.shape.length);
      requireAxes('transpose', 1, perm, x.shape.length, 'perm');
      return { dtype: x.dtype, shape: perm.map((axis) => x.shape[axis]) };
    },
    axes(node) {
      const rule = passthroughAxes(node.args[0].type.shape, 1, []);
      return { ...rule, result: node.attrs.perm.map((axis) => rule.result[axis]) };
    },
    eval(node, [x], env) {
      const strides = stridesOf(x.shape);
      return strided(
        x,
        shapeOf(node, env),
        0,
        node.attrs.perm.map((axis) => strides[axis]),
      );
    },
    element(node, at, context) {
      const source = new Array<Expr>(at.length);
      node.attrs.perm.forEach((axis, i) => {
        source[axis] = at[i];
      });
      return context.read(0, source);
    },
  },

  /**
   * C1: no dimension of shape can be negative. C2: axes are one per argument axis, ascending axes of shape.
   * C3: the size of argument axis i is 1 or that of result axis axes[i].
   */
  broadcast: {
    cost: 'free',
    infer(args, attrs) {
      requireArity('broadcast', args, 1);
      const [x] = args;
      const { axes } = attrs;
      requireShape('broadcast', 1, attrs.shape);
      requireList('broadcast', 2, 'axes', axes, x.shape.length);
      requireAxes('broadcast', 2, axes, attrs.shape.length);
      if (axes.some((axis, i) => i > 0 && axis < axes[i - 1]))
        fail('broadcast', 2, `axes [${axes.join(', ')}] do not ascend`);
      x.shape.forEach((d, i) => {
        if (!isOne(d)) requireEqual('broadcast', 3, `axis ${i} and result axis ${axes[i]}`, d, attrs.shape[axes[i]]);
      });
      return { dtype: x.dtype, shape: attrs.shape };
    },
    axes(node) {
      const factors = new Factors();
      const result = node.type.shape.map((d) => factors.add(d));
      const arg = node.args[0].type.shape.map((d, i) => (isOne(d) ? [] : result[node.attrs.axes[i]]));
      return { factors: factors.list, args: [arg], result };
    },
    eval(node, [x], env) {
      const result = shapeOf(node, env);
      const strides = result.map(() => 0);
      const own = stridesOf(x.shape);
      node.attrs.axes.forEach((axis, i) => {
        strides[axis] = x.shape[i] === 1 ? 0 : own[i];
      });
      return strided(x, result, 0, strides);
    },
    element(node, at, context) {
      const from = node.args[0].type.shape;
      return context.read(
        0,
        from.map((d, i) => (isOne(d) ? index(0) : at[node.attrs.axes[i]])),
      );
    },
  },

  /**
   * C1: starts, sizes and strides have an entry per axis; starts and sizes cannot be negative, strides are positive.
   * C2: the last element is inside: start + (size - 1) * stride + 1 <= dimension.
   */
  slice: {
    cost: 'free',
    infer(args, { starts, sizes, strides }) {
      requireArity('slice', args, 1);
      const [x] = args;
      requireShape('slice', 1, starts, 'starts');
      requireShape('slice', 1, sizes, 'sizes');
      for (const [what, list] of Object.entries({ starts, sizes, strides }))
        requireList('slice', 1, what, list, x.shape.length);
      for (const s of strides) requireInteger('slice', 1, 'a stride', s, 1);
      x.shape.forEach((d, i) => {
        const end = dimAdd(starts[i], dimAdd(dimMul(dimSub(sizes[i], 1), strides[i]), 1));
        requireLessEqual('slice', 2, `axis ${i}`, end, d);
      });
      return { dtype: x.dtype, shape: sizes };
    },
    axes(node) {
      const factors = new Factors();
      const arg: (readonly number[])[] = [];
      const result = node.type.shape.map((size, i) => {
        const from = node.args[0].type.shape[i];
        arg[i] = factors.add(from, dimEquals(from, size) ? 'map' : 'opaque');
        return dimEquals(from, size) ? arg[i] : factors.add(size, 'opaque');
      });
      return { factors: factors.list, args: [arg], result };
    },
    eval(node, [x], env) {
      const { starts, strides } = node.attrs;
      const own = stridesOf(x.shape);
      const start = offsetOf(
        starts.map((s) => dimEval(s, env)),
        own,
      );
      return strided(
        x,
        shapeOf(node, env),
        start,
        own.map((s, i) => s * strides[i]),
      );
    },
    element({ attrs: { starts, strides } }, at, context) {
      const source = at.map((e, i) => add(mul(e, index(strides[i])), context.size(starts[i])));
      return context.read(0, source);
    },
  },

  /**
   * x with low[i] elements of the padding value before axis i and high[i] after it.
   * C1: low and high have an entry per axis, none can be negative. C2: the padding value is a scalar of x's dtype.
   */
  pad: {
    infer(args, { low, high }) {
      requireArity('pad', args, 2);
      const [x, value] = args;
      for (const [what, list] of Object.entries({ low, high })) {
        requireShape('pad', 1, list, what);
        requireList('pad', 1, what, list, x.shape.length);
      }
      requireType('pad', 2, 'the padding value', value, { dtype: x.dtype, shape: [] });
      return { dtype: x.dtype, shape: x.shape.map((d, i) => dimAdd(d, dimAdd(low[i], high[i]))) };
    },
    axes(node) {
      const factors = new Factors();
      const arg: (readonly number[])[] = [];
      const result = node.type.shape.map((size, i) => {
        const from = node.args[0].type.shape[i];
        arg[i] = factors.add(from, dimEquals(from, size) ? 'map' : 'opaque');
        return dimEquals(from, size) ? arg[i] : factors.add(size, 'opaque');
      });
      return { factors: factors.list, args: [arg, []], result };
    },
    eval(node, [x, value], env) {
      const result = ndarray(x.dtype, shapeOf(node, env));
      result.data.fill(value.data[0]);
      const strides = stridesOf(result.shape);
      const start = offsetOf(
        node.attrs.low.map((d) => dimEval(d, env)),
        strides,
      );
      forEachIndex(x.shape, (at, flat) => {
        result.data[start + offsetOf(at, strides)] = x.data[flat];
      });
      return result;
    },
    element(node, at, context) {
      const { low, high } = node.attrs;
      const inside = node.args[0].type.shape.flatMap((d, i) => [
        ...(dimConst(low[i]) === 0 ? [] : [alu('ge', at[i], context.size(low[i]))]),
        ...(dimConst(high[i]) === 0 ? [] : [lessThan(at[i], context.size(dimAdd(low[i], d)))]),
      ]);
      const source = at.map((e, i) => sub(e, context.size(low[i])));
      return readWhere(context, inside, 0, source, context.read(1, []));
    },
  },

  /** C1: at least one argument, all of one dtype and rank. C2: axis is one of theirs. C3: other axes have equal sizes. */
  concat: {
    infer(args, { axis }) {
      requireArity('concat', args, 1, Number.POSITIVE_INFINITY);
      const [first] = args;
      requireSameDType('concat', 1, args);
      for (const t of args) requireRank('concat', 1, 'every argument', t, first.shape.length);
      requireAxis('concat', 2, axis, first.shape.length);
      for (const t of args) {
        t.shape.forEach((d, i) => {
          if (i !== axis) requireEqual('concat', 3, `the sizes of axis ${i}`, first.shape[i], d);
        });
      }
      const total = args.reduce((sum, t) => dimAdd(sum, t.shape[axis]), dim(0));
      return { dtype: first.dtype, shape: first.shape.map((d, i) => (i === axis ? total : d)) };
    },
    axes(node) {
      const { axis } = node.attrs;
      const factors = new Factors();
      const result = node.type.shape.map((d, i) => factors.add(d, i === axis ? 'opaque' : 'map'));
      const args = node.args.map(({ type }) =>
        type.shape.map((d, i) => (i !== axis || node.args.length === 1 ? result[i] : factors.add(d, 'opaque'))),
      );
      return { factors: factors.list, args, result };
    },
    eval(node, args, env) {
      const { axis } = node.attrs;
      const result = ndarray(node.type.dtype, shapeOf(node, env));
      const rowOf = (shape: readonly number[]): number => sizeOf(shape.slice(axis));
      let offset = 0;
      for (const x of args) {
        const row = rowOf(x.shape);
        for (let from = 0, to = offset; from < x.data.length; from += row, to += rowOf(result.shape)) {
          result.data.set(x.data.subarray(from, from + row), to);
        }
        offset += row;
      }
      return result;
    },
    element(node, at, context) {
      const { axis } = node.attrs;
      let value: Expr = constant(0, node.type.dtype);
      let start = dim(0);
      node.args.forEach(({ type }, arg) => {
        const end = dimAdd(start, type.shape[axis]);
        const inside = [
          ...(arg === 0 ? [] : [alu('ge', at[axis], context.size(start))]),
          ...(arg === node.args.length - 1 ? [] : [lessThan(at[axis], context.size(end))]),
        ];
        const source = at.map((e, i) => (i === axis ? sub(e, context.size(start)) : e));
        value = readWhere(context, inside, arg, source, value);
        start = end;
      });
      return value;
    },
  },

  /** C1: axes are distinct axes of x. */
  reverse: {
    cost: 'free',
    infer(args, { axes }) {
      requireArity('reverse', args, 1);
      requireAxes('reverse', 1, axes, args[0].shape.length);
      return args[0];
    },
    axes(node) {
      return passthroughAxes(node.type.shape, 1, node.attrs.axes);
    },
    eval({ attrs: { axes } }, [x]) {
      const strides = stridesOf(x.shape);
      // from the last element of each reversed axis, backwards
      const start = axes.reduce((sum, axis) => sum + (x.shape[axis] - 1) * strides[axis], 0);
      return strided(
        x,
        x.shape,
        start,
        strides.map((s, i) => (axes.includes(i) ? -s : s)),
      );
    },
    element(node, at, context) {
      const { axes } = node.attrs;
      const last = (i: number): Expr => context.size(dimSub(node.type.shape[i], 1));
      return context.read(
        0,
        at.map((e, i) => (axes.includes(i) ? sub(last(i), e) : e)),
      );
    },
  },
};
