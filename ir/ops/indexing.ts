// Reading and writing at positions that are values. Positions never leave the array: reads clamp, scatter drops, slices
// are moved so that they fit.
import { type Dim, dimEquals, dimSub } from '../dim.ts';
import { roundTo } from '../dtype.ts';
import type { Expr } from '../loop.ts';
import { add, alu, cast, constant, lessThan, sub } from '../loop.ts';
import { type NdArray, ndarray, stridesOf } from '../ndarray.ts';
import type { Node, TensorType } from '../node.ts';
import type { IndexingAttrs } from './attrs.ts';
import {
  Factors,
  fail,
  forEachIndex,
  offsetOf,
  requireArity,
  requireAxis,
  requireChoice,
  requireClass,
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
import type { AxisRule, ElementContext, OpTable } from './op.ts';
import { arithmetic } from './scalar.ts';

/** Constraints 1 to 4 of gather and scatter; the type of gather(x, idx). */
function gatherType(
  op: 'gather' | 'scatter',
  x: TensorType,
  idx: TensorType,
  { axis, batch }: { readonly axis: number; readonly batch: number },
): TensorType {
  if (idx.dtype !== 'i32') fail(op, 1, `indices must be i32, got ${idx.dtype}`);
  requireAxis(op, 2, axis, x.shape.length);
  requireInteger(op, 3, 'batch', batch, 0, Math.min(axis, idx.shape.length));
  for (let i = 0; i < batch; i++) requireEqual(op, 3, `the sizes of batch axis ${i}`, x.shape[i], idx.shape[i]);
  requireLessEqual(op, 4, 'the indexed axis must not be empty', 1, x.shape[axis]);
  return { dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...idx.shape.slice(batch), ...x.shape.slice(axis + 1)] };
}

/** Factors of x, idx and gather(x, idx). Positions map when gathered, and must be seen whole when scattered. */
function gatherAxes(x: Node, idx: Node, axis: number, batch: number, positions: 'map' | 'opaque') {
  const factors = new Factors();
  const own = x.type.shape.map((d, i) => factors.add(d, i === axis ? 'opaque' : 'map'));
  const index = idx.type.shape.map((d, i) => (i < batch ? own[i] : factors.add(d, positions)));
  const gathered = [...own.slice(0, axis), ...index.slice(batch), ...own.slice(axis + 1)];
  return { factors: factors.list, own, index, gathered };
}

/**
 * Calls `fn(position, xOffset, flat)` for every element of gather(x, idx): the index value that it uses, the offset in x of
 * position 0, and its own row-major number.
 */
function forEachGathered(
  x: readonly number[],
  idx: NdArray,
  axis: number,
  batch: number,
  fn: (position: number, xOffset: number, flat: number) => void,
): void {
  const positions = idx.shape.length - batch;
  const xStrides = stridesOf(x);
  const idxStrides = stridesOf(idx.shape);
  // strides of the gathered axes in x and in idx
  const inX = [...xStrides.slice(0, axis), ...new Array<number>(positions).fill(0), ...xStrides.slice(axis + 1)];
  const inIdx = inX.map((_, i) => (i < batch ? idxStrides[i] : 0));
  for (let i = 0; i < positions; i++) inIdx[axis + i] = idxStrides[batch + i];
  forEachIndex([...x.slice(0, axis), ...idx.shape.slice(batch), ...x.slice(axis + 1)], (at, flat) => {
    fn(idx.data[offsetOf(at, inIdx)], offsetOf(at, inX), flat);
  });
}

const clamp = (value: number, max: number): number => Math.max(0, Math.min(value, max));

/** An i32 value as an index in 0..max; the lower bound is applied while the value still has a sign. */
const clampIndex = (value: Expr, max: Expr): Expr =>
  alu('min', cast(alu('max', value, constant(0, 'i32')), 'index'), max);

/** One i32 scalar per axis of x, from argument `first` on. */
function requireStarts(op: string, constraint: number, args: readonly TensorType[], first: number): void {
  for (const start of args.slice(first)) requireType(op, constraint, 'a start', start, { dtype: 'i32', shape: [] });
}

/** Start of a dynamic slice along axis `i`; 0 where it takes the whole axis. */
function startAt(context: ElementContext, arg: number, whole: Dim, part: Dim): Expr | undefined {
  return dimEquals(whole, part) ? undefined : clampIndex(context.read(arg, []), context.size(dimSub(whole, part)));
}

/** Axes that are taken whole map; of the others, whole and part are both opaque. */
function partAxes(whole: readonly Dim[], part: readonly Dim[]) {
  const factors = new Factors();
  const kind = (i: number): 'map' | 'opaque' => (dimEquals(whole[i], part[i]) ? 'map' : 'opaque');
  const wholeAxes = whole.map((d, i) => factors.add(d, kind(i)));
  const partAxes = part.map((d, i) => (kind(i) === 'map' ? wholeAxes[i] : factors.add(d, 'opaque')));
  return { factors: factors.list, wholeAxes, partAxes };
}

const scalars = (count: number): AxisRule['args'] => Array.from({ length: count }, () => []);

export const indexing: OpTable<IndexingAttrs> = {
  /**
   * C1: idx is i32. C2: axis is an axis of x. C3: batch is at most axis and the rank of idx, and the batch axes of x and
   * idx have equal sizes. C4: the indexed axis cannot be empty.
   */
  gather: {
    infer(args, attrs) {
      requireArity('gather', args, 2);
      return gatherType('gather', args[0], args[1], attrs);
    },
    axes(node) {
      const [x, idx] = node.args;
      const rule = gatherAxes(x, idx, node.attrs.axis, node.attrs.batch, 'map');
      return { factors: rule.factors, args: [rule.own, rule.index], result: rule.gathered };
    },
    eval(node, [x, idx], env) {
      const { axis, batch } = node.attrs;
      const result = ndarray(x.dtype, shapeOf(node, env));
      const step = stridesOf(x.shape)[axis];
      forEachGathered(x.shape, idx, axis, batch, (position, offset, flat) => {
        result.data[flat] = x.data[offset + clamp(position, x.shape[axis] - 1) * step];
      });
      return result;
    },
    element(node, at, context) {
      const { axis, batch } = node.attrs;
      const [x, idx] = node.args;
      const end = axis + idx.type.shape.length - batch;
      const position = context.read(1, [...at.slice(0, batch), ...at.slice(axis, end)]);
      const last = context.size(dimSub(x.type.shape[axis], 1));
      return context.read(0, [...at.slice(0, axis), clampIndex(position, last), ...at.slice(end)]);
    },
  },

  /**
   * x with the updates combined into it, in row-major order of the updates.
   * C1 to C4: as gather. C5: updates have the type of gather(x, idx). C6: combine is known; add, min and max take numbers.
   */
  scatter: {
    infer(args, attrs) {
      requireArity('scatter', args, 3);
      const [x, idx, updates] = args;
      requireType('scatter', 5, 'updates', updates, gatherType('scatter', x, idx, attrs));
      requireChoice('scatter', 6, attrs, 'combine');
      if (attrs.combine !== 'set') requireClass('scatter', 6, x.dtype, 'numeric');
      return x;
    },
    axes(node) {
      const [x, idx] = node.args;
      const rule = gatherAxes(x, idx, node.attrs.axis, node.attrs.batch, 'opaque');
      return { factors: rule.factors, args: [rule.own, rule.index, rule.gathered], result: rule.own };
    },
    eval(node, [x, idx, updates]) {
      const { axis, batch, combine } = node.attrs;
      const data = x.data.slice();
      const step = stridesOf(x.shape)[axis];
      const apply = combine === 'set' ? (_: number, y: number) => y : arithmetic(combine, x.dtype);
      forEachGathered(x.shape, idx, axis, batch, (position, offset, flat) => {
        if (position < 0 || position >= x.shape[axis]) return;
        const to = offset + position * step;
        data[to] = apply(data[to], updates.data[flat]);
      });
      return { dtype: x.dtype, shape: x.shape, data: data.map((v) => roundTo(x.dtype, v)) };
    },
  },

  /**
   * C1: an i32 scalar per axis of x. C2: sizes has an entry per axis, none can be negative. C3: each is provably no
   * larger than its dimension.
   */
  dynamic_slice: {
    infer(args, { sizes }) {
      requireArity('dynamic_slice', args, 1, Number.POSITIVE_INFINITY);
      const [x] = args;
      requireArity('dynamic_slice', args, 1 + x.shape.length);
      requireStarts('dynamic_slice', 1, args, 1);
      requireShape('dynamic_slice', 2, sizes, 'sizes');
      requireList('dynamic_slice', 2, 'sizes', sizes, x.shape.length);
      x.shape.forEach((d, i) => {
        requireLessEqual('dynamic_slice', 3, `axis ${i}`, sizes[i], d);
      });
      return { dtype: x.dtype, shape: sizes };
    },
    axes(node) {
      const { factors, wholeAxes, partAxes: result } = partAxes(node.args[0].type.shape, node.type.shape);
      return { factors, args: [wholeAxes, ...scalars(node.args.length - 1)], result };
    },
    eval(node, [x, ...starts], env) {
      const sizes = shapeOf(node, env);
      const strides = stridesOf(x.shape);
      const start = starts.map((s, i) => clamp(s.data[0], x.shape[i] - sizes[i]));
      return strided(x, sizes, offsetOf(start, strides), strides);
    },
    element(node, at, context) {
      const whole = node.args[0].type.shape;
      const source = at.map((e, i) => {
        const start = startAt(context, 1 + i, whole[i], node.type.shape[i]);
        return start ? add(start, e) : e;
      });
      return context.read(0, source);
    },
  },

  /**
   * C1: x and update have one dtype and rank. C2: an i32 scalar per axis of x. C3: each dimension of update is provably
   * no larger than that of x.
   */
  dynamic_update_slice: {
    infer(args) {
      requireArity('dynamic_update_slice', args, 2, Number.POSITIVE_INFINITY);
      const [x, update] = args;
      requireArity('dynamic_update_slice', args, 2 + x.shape.length);
      requireSameDType('dynamic_update_slice', 1, [x, update]);
      requireRank('dynamic_update_slice', 1, 'update', update, x.shape.length);
      requireStarts('dynamic_update_slice', 2, args, 2);
      x.shape.forEach((d, i) => {
        requireLessEqual('dynamic_update_slice', 3, `axis ${i}`, update.shape[i], d);
      });
      return x;
    },
    axes(node) {
      const [x, update] = node.args;
      const rule = partAxes(x.type.shape, update.type.shape);
      const args = [rule.wholeAxes, rule.partAxes, ...scalars(node.args.length - 2)];
      return { factors: rule.factors, args, result: rule.wholeAxes };
    },
    eval(_node, [x, update, ...starts]) {
      const data = x.data.slice();
      const strides = stridesOf(x.shape);
      const offset = offsetOf(
        starts.map((s, i) => clamp(s.data[0], x.shape[i] - update.shape[i])),
        strides,
      );
      forEachIndex(update.shape, (at, flat) => {
        data[offset + offsetOf(at, strides)] = update.data[flat];
      });
      return { dtype: x.dtype, shape: x.shape, data };
    },
    element(node, at, context) {
      const [x, update] = node.args.map((a) => a.type.shape);
      const starts = x.map((d, i) => startAt(context, 2 + i, d, update[i]));
      const conditions = starts.flatMap((start, i) =>
        start ? [alu('ge', at[i], start), lessThan(at[i], add(start, context.size(update[i])))] : [],
      );
      const source = starts.map((start, i) => (start ? sub(at[i], start) : at[i]));
      if (conditions.length === 0) return context.read(1, source);
      const inside = conditions.reduce((a, b) => alu('and', a, b));
      return context.guard(inside, () => context.read(1, source), context.read(0, at));
    },
  },
};
