// Attention in two halves (flash-decoding, Dao et al. 2023): `attention_split` attends to each run of keys by itself,
// `attention_merge` combines what came out. With one query and few key heads this is what gives all threads work. Only a
// pass makes these ops; they have no decompositions.
import { dim, dimAdd, dimSub } from '../../dim.ts';
import { roundTo } from '../../dtype.ts';
import type { Expr } from '../../loop.ts';
import { alu, cast, constant, mul, select, sub } from '../../loop.ts';
import { ndarray } from '../../ndarray.ts';
import {
  Factors,
  requireArity,
  requireClass,
  requireDType,
  requireInteger,
  requireLessEqual,
  requireRank,
  requireShape,
  requireType,
  shapeOf,
} from '../common.ts';
import type { Op } from '../op.ts';
import { attention, attentionAxes, forEachQuery, lowest, weighValues } from './attention.ts';

/** Enough for any machine; keeps what hostile text asks for small. */
const maxSplits = 1024;

/**
 * The parts of an attention, as attrs.ts defines them.
 * C1 to C5 are those of attention, under its name. C6: splits is an integer in 1..1024.
 */
export const attentionSplit: Op<'attention_split'> = {
  infer(args, attrs) {
    const [b, h, s, e] = attention.infer(args, attrs).shape;
    requireInteger('attention_split', 6, 'splits', attrs.splits, 1, maxSplits);
    const shape = [b, h, s, dim(attrs.splits), dimAdd(e, 2)];
    requireShape('attention_split', 6, shape, 'the result');
    return { dtype: 'f32', shape };
  },

  axes(node) {
    const { factors, args, rows } = attentionAxes(node, 'opaque');
    const [splits, part] = node.type.shape.slice(3).map((d) => factors.add(d, 'opaque'));
    return { factors: factors.list, args, result: [...rows, splits, part] };
  },

  eval(node, args, env) {
    const out = ndarray('f32', shapeOf(node, env));
    const e = args[2].shape[3];
    const { splits } = node.attrs;
    forEachQuery(node.attrs, args, (query) => {
      const length = Math.ceil(query.held / splits);
      for (let i = 0; i < splits; i++) {
        const at = (query.row * splits + i) * (e + 2);
        const end = Math.min(query.held, (i + 1) * length);
        const sink = i === 0 ? query.sink : Number.NEGATIVE_INFINITY;
        const { max, sum } = weighValues(query, i * length, end, sink, args[2], out.data, at);
        out.data[at + e] = max;
        out.data[at + e + 1] = sum;
      }
    });
    out.data.forEach((x, i) => {
      out.data[i] = roundTo('f32', x);
    });
    return out;
  },
};

/**
 * With (acc, m, l) the parts of a row and m' the largest m: sum(exp(m - m') * acc) / sum(exp(m - m') * l), computed in
 * f32; 0 where the divisor is 0.
 * C1: the argument is f32 [B, H, S, splits, E + 2]. C2: dtype is a float dtype.
 */
export const attentionMerge: Op<'attention_merge'> = {
  cost: 'costly',
  infer(args, { dtype }) {
    requireArity('attention_merge', args, 1);
    const [parts] = args;
    requireRank('attention_merge', 1, 'the argument', parts, 5);
    requireType('attention_merge', 1, 'the argument', parts, { dtype: 'f32', shape: parts.shape });
    const [b, h, s, , part] = parts.shape;
    requireLessEqual('attention_merge', 1, 'a part holds a maximum and a sum', 2, part);
    requireDType('attention_merge', 2, dtype);
    requireClass('attention_merge', 2, dtype, 'float');
    return { dtype, shape: [b, h, s, dimSub(part, 2)] };
  },

  axes(node) {
    const factors = new Factors();
    const [b, h, s, splits, part] = node.args[0].type.shape;
    const rows = [b, h, s].map((d) => factors.add(d));
    const parts = [splits, part].map((d) => factors.add(d, 'opaque'));
    const width = factors.add(node.type.shape[3], 'opaque');
    return { factors: factors.list, args: [[...rows, ...parts]], result: [...rows, width] };
  },

  eval(node, [parts], env) {
    const { dtype } = node.attrs;
    const out = ndarray(dtype, shapeOf(node, env));
    const [, , , splits, part] = parts.shape;
    const e = part - 2;
    for (let row = 0; row * e < out.data.length; row++) {
      const start = (i: number): number => (row * splits + i) * part;
      let max = lowest;
      for (let i = 0; i < splits; i++) max = Math.max(max, parts.data[start(i) + e]);
      let sum = 0;
      for (let i = 0; i < splits; i++) {
        const weight = Math.exp(parts.data[start(i) + e] - max);
        sum += weight * parts.data[start(i) + e + 1];
        for (let j = 0; j < e; j++) out.data[row * e + j] += weight * parts.data[start(i) + j];
      }
      for (let j = row * e; j < (row + 1) * e; j++) out.data[j] = sum === 0 ? 0 : roundTo(dtype, out.data[j] / sum);
    }
    return out;
  },

  element(node, [b, h, s, e], context) {
    const [, , , splits, part] = node.args[0].type.shape;
    const read = (split: Expr, at: Expr): Expr => context.read(0, [b, h, s, split, at]);
    const maximum = (split: Expr): Expr => read(split, context.size(dimSub(part, 2)));
    const total = (split: Expr): Expr => read(split, context.size(dimSub(part, 1)));
    const top = context.fold('max', [splits], 'f32', ([split]) => maximum(split));
    const reference = context.let(alu('max', top, constant(lowest, 'f32')));
    const weighted = (value: (split: Expr) => Expr): Expr =>
      context.fold('add', [splits], 'f32', ([split]) => mul(alu('exp', sub(maximum(split), reference)), value(split)));
    const sum = context.let(weighted(total));
    const value = weighted((split) => read(split, e));
    const zero = constant(0, 'f32');
    return cast(select(alu('eq', sum, zero), zero, alu('div', value, sum)), node.attrs.dtype);
  },
};
