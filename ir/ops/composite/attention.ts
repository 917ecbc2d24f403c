// Scaled dot-product attention with grouped heads, and everything that models add to it. The interpreter evaluates it
// row by row.
import type { Dim } from '../../dim.ts';
import { dimDivExact, dimEquals, dimText, shapeText } from '../../dim.ts';
import { dtypeInfo, roundTo } from '../../dtype.ts';
import type { NdArray } from '../../ndarray.ts';
import { ndarray } from '../../ndarray.ts';
import type { Node, TensorType } from '../../node.ts';
import { type Attrs, attrKinds } from '../attrs.ts';
import {
  Factors,
  fail,
  isOne,
  requireArity,
  requireClass,
  requireEqual,
  requireInteger,
  requireRank,
  requireSameDType,
  requireShape,
  requireType,
  shapeOf,
} from '../common.ts';
import type { AxisRule, Op } from '../op.ts';
import { heldBy, visibleRange } from './visibility.ts';

type Operand = Attrs['attention']['operands'][number];
const operandNames: readonly Operand[] = attrKinds.attention.operands.list.oneOf;

/** Attention whole, the form of it that gives parts (attention-split.ts), and its backward pass (attention-backward.ts). */
export type AttentionOp =
  | 'attention'
  | 'attention_split'
  | 'attention_lse'
  | 'attention_backward_q'
  | 'attention_backward_kv'
  | 'attention_backward_bias';

/** The optional arguments by name. */
export function operandsOf<T>(attrs: Attrs['attention'], args: readonly T[]): Partial<Record<Operand, T>> {
  return Object.fromEntries(attrs.operands.map((name, i) => [name, args[3 + i]]));
}

/** Scores below any that occur: where all keys are masked, the maximum stays finite and no NaN arises. */
export const lowest = dtypeInfo.f32.min;

function requireBias(bias: TensorType, wanted: readonly Dim[]): void {
  requireRank('attention', 5, 'bias', bias, 4);
  requireClass('attention', 5, bias.dtype, 'float');
  const fits = bias.shape.every((d, i) => dimEquals(d, wanted[i]) || (i < 2 && isOne(d)));
  if (!fits) fail('attention', 5, `bias ${shapeText(bias.shape)} must be ${shapeText(wanted)}, or 1 on the first axes`);
}

/**
 * Attention as attrs.ts defines it; the order of operations is
 *     s = scale * (q . k);  s = softcap * tanh(s / softcap) if softcap > 0;  s = s + bias;
 *     p = softmax of s over the keys that may be attended to, sinks being further logits;  result = p . v
 * in f32 from the product q . k to the product p . v, and then rounded to the dtype of q. Probabilities are not rounded
 * in between (the fused kernels of the Python library keep them f32, its eager path rounds them to the dtype of q).
 * C1: q, k and v have one float dtype and 4 axes. C2: batch sizes are equal; k and v have equal heads and lengths; q and
 * k have equal widths. C3: the heads of q are a multiple of those of k. C4: operands are distinct names, each with its
 * argument; scale is finite, softcap is finite and not negative, window is a non-negative integer, causal a boolean.
 * C5: mask is bool[B, T]; bias is float [1|B, 1|H, S, T]; sinks is float [H]; lengths is i32[B].
 */
export const attention: Op<'attention'> = {
  infer(args, attrs) {
    const { operands, scale, causal, window, softcap } = attrs;
    const isKnown = Array.isArray(operands) && operands.every((name) => operandNames.includes(name));
    if (!isKnown || new Set(operands).size !== operands.length) {
      fail('attention', 4, `operands must be distinct names out of ${operandNames.join(', ')}`);
    }
    requireArity('attention', args, 3 + operands.length);
    const [q, k, v] = args;
    requireSameDType('attention', 1, [q, k, v]);
    requireClass('attention', 1, q.dtype, 'float');
    for (const t of [q, k, v]) requireRank('attention', 1, 'q, k and v', t, 4);
    const [b, h, s, d] = q.shape;
    const [, g, t] = k.shape;
    requireEqual('attention', 2, 'batch sizes of q and k', b, k.shape[0]);
    requireEqual('attention', 2, 'widths of q and k', d, k.shape[3]);
    for (const [i, what] of ['batch sizes', 'heads', 'lengths'].entries()) {
      requireEqual('attention', 2, `${what} of k and v`, k.shape[i], v.shape[i]);
    }
    if (!dimDivExact(h, g)) fail('attention', 3, `${dimText(h)} query heads are no multiple of ${dimText(g)} heads`);
    if (!Number.isFinite(scale)) fail('attention', 4, `scale must be finite, got ${String(scale)}`);
    if (!(Number.isFinite(softcap) && softcap >= 0)) {
      fail('attention', 4, `softcap must be finite and not negative, got ${String(softcap)}`);
    }
    requireInteger('attention', 4, 'window', window, 0, 2 ** 31 - 1);
    if (typeof causal !== 'boolean') fail('attention', 4, `causal must be a boolean, got ${String(causal)}`);
    const { mask, bias, sinks, lengths } = operandsOf(attrs, args);
    if (lengths) requireType('attention', 5, 'lengths', lengths, { dtype: 'i32', shape: [b] });
    if (mask) requireType('attention', 5, 'mask', mask, { dtype: 'bool', shape: [b, t] });
    if (bias) requireBias(bias, [b, h, s, t]);
    if (sinks) {
      requireClass('attention', 5, sinks.dtype, 'float');
      requireType('attention', 5, 'sinks', sinks, { dtype: sinks.dtype, shape: [h] });
    }
    const shape = [b, h, s, v.shape[3]];
    requireShape('attention', 2, shape, 'the result');
    return { dtype: q.dtype, shape };
  },

  axes(node): AxisRule {
    const { factors, args, rows, outer } = attentionAxes(node, 'map');
    return { factors: factors.list, args, result: [...rows, outer] };
  },

  eval(node, args, env) {
    const { dtype } = node.type;
    const out = ndarray(dtype, shapeOf(node, env));
    const [, , keys] = args[1].shape;
    const e = out.shape[3];
    forEachQuery(node.attrs, args, (query) => {
      const at = query.row * e;
      const { sum } = weighValues(query, 0, keys, query.sink, args[2], out.data, at);
      if (sum === 0) return;
      for (let i = at; i < at + e; i++) out.data[i] = roundTo(dtype, out.data[i] / sum);
    });
    return out;
  },
};

/**
 * The factors of q, k, v and the operands, and those that results are made of. `width` is the kind of the width of values;
 * `summed` are the axes that the result is a sum over.
 */
export function attentionAxes(
  { args, attrs }: Node<AttentionOp>,
  width: 'map' | 'opaque',
  summed: {
    readonly batch?: boolean;
    readonly group?: boolean;
    readonly member?: boolean;
    readonly queries?: boolean;
  } = {},
) {
  const { mask, bias, sinks, lengths } = operandsOf(attrs, args);
  const kind = (isSummed = false): 'map' | 'reduce' => (isSummed ? 'reduce' : 'map');
  const [q, k, v] = args.map((a) => a.type.shape);
  const factors = new Factors();
  const batch = factors.add(q[0], kind(summed.batch));
  const group = factors.add(k[1], kind(summed.group));
  const member = factors.add(dimDivExact(q[1], k[1])!, kind(summed.member));
  const heads = [...group, ...member];
  // where masks look at positions, a query's position depends on how many queries there are
  const queries = factors.add(q[2], attrs.causal || attrs.window > 0 || lengths ? 'opaque' : kind(summed.queries));
  const keys = factors.add(k[2], 'opaque');
  const inner = factors.add(q[3], 'opaque');
  const outer = factors.add(v[3], width);
  const biasAxes = bias && [
    isOne(bias.type.shape[0]) ? [] : batch,
    isOne(bias.type.shape[1]) ? [] : heads,
    queries,
    keys,
  ];
  const optional: Record<Operand, (readonly number[])[]> = {
    mask: mask ? [batch, keys] : [],
    bias: biasAxes ?? [],
    sinks: sinks ? [heads] : [],
    lengths: lengths ? [batch] : [],
  };
  return {
    factors,
    args: [
      [batch, heads, queries, inner],
      [batch, group, keys, inner],
      [batch, group, keys, outer],
      ...attrs.operands.map((name) => optional[name]),
    ],
    rows: [batch, heads, queries],
    groups: [batch, group, keys],
    keys,
    inner,
    outer,
  };
}

/** One query of the interpreter's loop. */
interface Query {
  /** Its row, head and position, its position in [B, H, S], and that of its keys in [B, G]. */
  readonly at: readonly [b: number, h: number, s: number];
  readonly row: number;
  readonly group: number;
  /** Keys that its row holds. */
  readonly held: number;
  /** By key; -inf where it may not be attended to. */
  readonly scores: Float64Array;
  /** The logit of the head's sink; -inf without one. */
  readonly sink: number;
}

/** Scores every query. `scores` is reused between calls. */
export function forEachQuery(attrs: Attrs[AttentionOp], args: readonly NdArray[], visit: (query: Query) => void): void {
  const { scale, softcap } = attrs;
  const [q, k] = args;
  const { mask, bias, sinks, lengths } = operandsOf(attrs, args);
  const [batch, heads, queries, d] = q.shape;
  const [, groups, keys] = k.shape;
  const scores = new Float64Array(keys);
  for (let b = 0; b < batch; b++) {
    const held = heldBy(lengths, b, keys);
    for (let h = 0; h < heads; h++) {
      const group = b * groups + Math.floor(h / (heads / groups));
      for (let s = 0; s < queries; s++) {
        const row = (b * heads + h) * queries + s;
        const { first, end } = visibleRange(attrs, s, queries, held);
        scores.fill(Number.NEGATIVE_INFINITY);
        for (let j = first; j < end; j++) {
          if (mask && mask.data[b * keys + j] === 0) continue;
          let score = 0;
          for (let i = 0; i < d; i++) score += q.data[row * d + i] * k.data[(group * keys + j) * d + i];
          score *= scale;
          if (softcap > 0) score = softcap * Math.tanh(score / softcap);
          if (bias) score += bias.data[biasOffset(bias, b, h, s) + j];
          scores[j] = score;
        }
        visit({ at: [b, h, s], row, group, held, scores, sink: sinks ? sinks.data[h] : Number.NEGATIVE_INFINITY });
      }
    }
  }
}

/**
 * The unnormalised attention of a query to keys start..end-1: adds the sum of exp(score - max) * v to out[at..] and
 * returns max, over the scores and `sink`, and the sum of exp(score - max).
 */
export function weighValues(
  { scores, group }: Query,
  start: number,
  end: number,
  sink: number,
  v: NdArray,
  out: Float64Array,
  at: number,
): { max: number; sum: number } {
  const [, , keys, e] = v.shape;
  let max = sink;
  for (let j = start; j < end; j++) max = Math.max(max, scores[j]);
  const reference = Math.max(lowest, max);
  let sum = Math.exp(sink - reference);
  for (let j = start; j < end; j++) {
    const p = Math.exp(scores[j] - reference);
    if (p === 0) continue;
    sum += p;
    for (let i = 0; i < e; i++) out[at + i] += p * v.data[(group * keys + j) * e + i];
  }
  return { max, sum };
}

/** Where row [b, h, s] of the bias starts; axes of size 1 repeat. */
export function biasOffset({ shape: [batch, heads, queries, keys] }: NdArray, b: number, h: number, s: number): number {
  return (((batch === 1 ? 0 : b) * heads + (heads === 1 ? 0 : h)) * queries + s) * keys;
}
