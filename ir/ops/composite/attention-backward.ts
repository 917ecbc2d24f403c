// The backward pass of attention (FlashAttention, Dao et al. 2022): the forward pass keeps one number per query, the
// logarithm of its sum of exponentials, and each part of the backward pass computes the scores that it needs anew. Nothing
// of the size of the scores is stored, but for the cotangent of a bias, which has that size. attrs.ts has the formulas.
import { dimAdd } from '../../dim.ts';
import type { DType } from '../../dtype.ts';
import { roundTo } from '../../dtype.ts';
import type { NdArray } from '../../ndarray.ts';
import { ndarray } from '../../ndarray.ts';
import type { TensorType } from '../../node.ts';
import type { Attrs } from '../attrs.ts';
import { fail, isOne, requireType, shapeOf } from '../common.ts';
import type { Op } from '../op.ts';
import { attention, attentionAxes, biasOffset, forEachQuery, operandsOf } from './attention.ts';

/**
 * The logarithm of the sum of exponentials of every query.
 * C1 to C5 are those of attention, under its name.
 */
export const attentionLse: Op<'attention_lse'> = {
  infer: (args, attrs) => ({ dtype: 'f32', shape: attention.infer(args, attrs).shape.slice(0, 3) }),

  axes(node) {
    const { factors, args, rows } = attentionAxes(node, 'opaque');
    return { factors: factors.list, args, result: rows };
  },

  eval(node, args, env) {
    const out = ndarray('f32', shapeOf(node, env));
    forEachQuery(node.attrs, args, ({ row, scores, sink }) => {
      const max = scores.reduce((a, b) => Math.max(a, b), sink);
      if (max === Number.NEGATIVE_INFINITY) return;
      const sum = scores.reduce((a, score) => a + Math.exp(score - max), Math.exp(sink - max));
      out.data[row] = roundTo('f32', max + Math.log(sum));
    });
    return out;
  },
};

export type BackwardOp = 'attention_backward_q' | 'attention_backward_kv' | 'attention_backward_bias';

/** The arguments behind those of attention. */
export function given<T>(attrs: Attrs['attention'], args: readonly T[]): { cotangent: T; lse: T; delta: T } {
  const [cotangent, lse, delta] = args.slice(3 + attrs.operands.length);
  return { cotangent, lse, delta };
}

/**
 * Checks the arguments of a part.
 * C1 to C5 are those of attention, under its name. C6: cotangent has the type of the result of attention; lse and delta
 * are f32[B, H, S].
 */
function requireBackward(op: BackwardOp, args: readonly TensorType[], attrs: Attrs['attention']): void {
  const result = attention.infer(args.slice(0, -3), attrs);
  const { cotangent, lse, delta } = given(attrs, args);
  const rows = { dtype: 'f32', shape: result.shape.slice(0, 3) } as const;
  requireType(op, 6, 'cotangent', cotangent, result);
  requireType(op, 6, 'lse', lse, rows);
  requireType(op, 6, 'delta', delta, rows);
}

/** Calls `visit` for every query and key that it may attend to, with p, ds and dr as attrs.ts defines them. */
function forEachScore(
  attrs: Attrs['attention'],
  args: readonly NdArray[],
  visit: (at: { row: number; key: number; bias: number }, p: number, ds: number, dr: number) => void,
): void {
  const { scale, softcap } = attrs;
  const v = args[2];
  const { bias } = operandsOf(attrs, args);
  const { cotangent, lse, delta } = given(attrs, args);
  const [, , keys, e] = v.shape;
  forEachQuery(attrs, args, ({ at, row, group, scores }) => {
    const start = bias ? biasOffset(bias, ...at) : 0;
    for (let j = 0; j < keys; j++) {
      if (scores[j] === Number.NEGATIVE_INFINITY) continue;
      const key = group * keys + j;
      const p = Math.exp(scores[j] - lse.data[row]);
      let dp = 0;
      for (let i = 0; i < e; i++) dp += cotangent.data[row * e + i] * v.data[key * e + i];
      const ds = p * (dp - delta.data[row]);
      const capped = softcap > 0 ? (scores[j] - (bias ? bias.data[start + j] : 0)) / softcap : 0;
      visit({ row, key, bias: start + j }, p, ds, ds * scale * (1 - capped ** 2));
    }
  });
}

const rounded = (dtype: DType, data: Float64Array): Float64Array => data.map((x) => roundTo(dtype, x));

/** The cotangent of q. C6: see requireBackward. */
export const attentionBackwardQ: Op<'attention_backward_q'> = {
  infer(args, attrs) {
    requireBackward('attention_backward_q', args, attrs);
    return args[0];
  },

  axes(node) {
    const { factors, args, rows, inner, outer } = attentionAxes(node, 'opaque');
    return { factors: factors.list, args: [...args, [...rows, outer], rows, rows], result: [...rows, inner] };
  },

  eval(node, args) {
    const [{ dtype, shape }, k] = args;
    const d = shape[3];
    const data = new Float64Array(args[0].data.length);
    forEachScore(node.attrs, args, ({ row, key }, _p, _ds, dr) => {
      for (let i = 0; i < d; i++) data[row * d + i] += dr * k.data[key * d + i];
    });
    return { dtype, shape, data: rounded(dtype, data) };
  },
};

/** The cotangents of k and, behind it in each row, of v. C6: see requireBackward. */
export const attentionBackwardKV: Op<'attention_backward_kv'> = {
  infer(args, attrs) {
    requireBackward('attention_backward_kv', args, attrs);
    const [{ dtype, shape }, v] = args.slice(1);
    return { dtype, shape: [...shape.slice(0, 3), dimAdd(shape[3], v.shape[3])] };
  },

  axes(node) {
    const { factors, args, rows, groups, outer } = attentionAxes(node, 'opaque', { member: true, queries: true });
    const both = factors.add(node.type.shape[3], 'opaque');
    return { factors: factors.list, args: [...args, [...rows, outer], rows, rows], result: [...groups, both] };
  },

  eval(node, args, env) {
    const out = ndarray(node.type.dtype, shapeOf(node, env));
    const q = args[0];
    const { cotangent } = given(node.attrs, args);
    const [d, e] = [q.shape[3], cotangent.shape[3]];
    forEachScore(node.attrs, args, ({ row, key }, p, _ds, dr) => {
      const to = key * (d + e);
      for (let i = 0; i < d; i++) out.data[to + i] += dr * q.data[row * d + i];
      for (let i = 0; i < e; i++) out.data[to + d + i] += p * cotangent.data[row * e + i];
    });
    return { ...out, data: rounded(out.dtype, out.data) };
  },
};

/** The cotangent of the bias. C6: see requireBackward. C7: there is a bias. */
export const attentionBackwardBias: Op<'attention_backward_bias'> = {
  infer(args, attrs) {
    requireBackward('attention_backward_bias', args, attrs);
    const { bias } = operandsOf(attrs, args);
    return bias ?? fail('attention_backward_bias', 7, 'bias is not among the operands');
  },

  axes(node) {
    const [batches, heads] = node.type.shape;
    const isShared = isOne(heads);
    const summed = { batch: isOne(batches), group: isShared, member: isShared };
    const { factors, args, rows, keys, outer } = attentionAxes(node, 'opaque', summed);
    const own = [isOne(batches) ? [] : rows[0], isShared ? [] : rows[1], rows[2], keys];
    return { factors: factors.list, args: [...args, [...rows, outer], rows, rows], result: own };
  },

  eval(node, args, env) {
    const out = ndarray(node.type.dtype, shapeOf(node, env));
    forEachScore(node.attrs, args, ({ bias }, _p, ds) => {
      out.data[bias] += ds;
    });
    return { ...out, data: rounded(out.dtype, out.data) };
  },
};
