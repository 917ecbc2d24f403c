// Caches as models see them: arrays indexed by position. Where a position really lives (ring, packed, offloaded) is the
// cache-layout pass's choice, which is why these are ops of their own.
import { dimEval, dimText } from '../dim.ts';
import { ModelcError } from '../error.ts';
import { add, alu, cast, lessThan, sub } from '../loop.ts';
import { stridesOf } from '../ndarray.ts';
import type { StateAttrs } from './attrs.ts';
import {
  Factors,
  fail,
  forEachIndex,
  offsetOf,
  requireArity,
  requireAxis,
  requireEqual,
  requireRank,
  requireSameDType,
  requireShape,
  requireType,
  shapeOf,
  strided,
} from './common.ts';
import type { Op, OpTable } from './op.ts';

/**
 * The state with positions past .. past+n-1 along `axis` replaced by values; positions outside the state are dropped.
 * C1: state and values have one dtype.
 * C2: axis is an axis of state; values has the same number of axes and equal sizes but for `axis`.
 * C3: past is an i32 scalar or, where `axis` is not the first, i32 [rows] with the size of the first axis.
 */
const cacheUpdate: Op<'cache_update'> = {
  infer(args, { axis }) {
    requireArity('cache_update', args, 3);
    const [state, values, past] = args;
    requireSameDType('cache_update', 1, [state, values]);
    requireAxis('cache_update', 2, axis, state.shape.length);
    requireRank('cache_update', 2, 'values', values, state.shape.length);
    for (const [i, d] of state.shape.entries()) {
      if (i !== axis) requireEqual('cache_update', 2, `sizes of axis ${i}`, d, values.shape[i]);
    }
    const rows = past.shape.length === 1 && axis > 0 ? [state.shape[0]] : [];
    requireType('cache_update', 3, 'past', past, { dtype: 'i32', shape: rows });
    return state;
  },

  axes(node) {
    const { axis } = node.attrs;
    const factors = new Factors();
    const dims = node.type.shape.map((d) => factors.add(d));
    const written = factors.add(node.args[1].type.shape[axis], 'opaque');
    return {
      factors: factors.list,
      args: [dims, dims.map((d, i) => (i === axis ? written : d)), node.args[2].type.shape.length > 0 ? [dims[0]] : []],
      result: dims,
    };
  },

  eval(node, [state, values, past]) {
    const { axis } = node.attrs;
    const data = state.data.slice();
    const strides = stridesOf(state.shape);
    const isPerRow = past.shape.length > 0;
    forEachIndex(values.shape, (at, flat) => {
      const base = past.data[isPerRow ? at[0] : 0];
      const position = base + at[axis];
      if (position < 0 || position >= state.shape[axis]) return;
      data[offsetOf(at, strides) + base * strides[axis]] = values.data[flat];
    });
    return { dtype: state.dtype, shape: state.shape, data };
  },

  element(node, at, context) {
    const { axis } = node.attrs;
    const past = cast(context.read(2, node.args[2].type.shape.length > 0 ? [at[0]] : []), 'index');
    const end = add(past, context.size(node.args[1].type.shape[axis]));
    const source = at.map((e, i) => (i === axis ? sub(e, past) : e));
    return context.guard(
      alu('and', alu('ge', at[axis], past), lessThan(at[axis], end)),
      () => context.read(1, source),
      context.read(0, at),
    );
  },
};

/**
 * The first `length` positions of a state along `axis`.
 * C1: axis is an axis of state.
 * C2: length is not negative, and may be at most the capacity. (That it is, is the caller's promise for each run: both
 * grow with what was generated, so no bounds could prove it.)
 */
const cacheRead: Op<'cache_read'> = {
  cost: 'free',
  infer(args, { axis, length }) {
    requireArity('cache_read', args, 1);
    const [state] = args;
    requireAxis('cache_read', 1, axis, state.shape.length);
    const shape = state.shape.map((d, i) => (i === axis ? length : d));
    requireShape('cache_read', 2, shape);
    const capacity = state.shape[axis];
    if (length.min > capacity.max) {
      fail('cache_read', 2, `length ${dimText(length)} is always above the capacity ${dimText(capacity)}`);
    }
    return { dtype: state.dtype, shape };
  },

  axes(node) {
    const { axis } = node.attrs;
    const factors = new Factors();
    const result = node.type.shape.map((d) => factors.add(d));
    const stored = factors.add(node.args[0].type.shape[axis], 'opaque');
    return { factors: factors.list, args: [result.map((d, i) => (i === axis ? stored : d))], result };
  },

  eval(node, [state], env) {
    const { axis, length } = node.attrs;
    const wanted = dimEval(length, env);
    if (wanted > state.shape[axis]) {
      throw new ModelcError('input', `a cache of capacity ${state.shape[axis]} cannot hold ${wanted} positions`);
    }
    return strided(state, shapeOf(node, env), 0, stridesOf(state.shape));
  },

  element: (_node, at, context) => context.read(0, at),
};

export const state: OpTable<StateAttrs> = { cache_update: cacheUpdate, cache_read: cacheRead };
