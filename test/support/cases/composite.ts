// Cases of the composites.
import * as tf from '@tensorflow/tfjs-core';
import { dim, dimAdd, dimVar } from '../../../ir/dim.ts';
import type { Attrs } from '../../../ir/ops/attrs.ts';
import type { Case, FailingCase } from './case.ts';
import { array, bool, f32, i32, uniform } from './case.ts';

const rms = { kind: 'rms', eps: 1e-5, scaleOffset: 0 } as const;
const layer = { kind: 'layer', eps: 1e-5, scaleOffset: 0 } as const;
const plain: Attrs['attention'] = { scale: 0.5, causal: false, window: 0, softcap: 0, operands: [] };
/** Attention without grouping; `shown` is added to the scores. */
function attended(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, shown?: tf.Tensor): tf.Tensor {
  const scores = tf.mul(tf.matMul(q, k, false, true), 0.5);
  return tf.matMul(tf.softmax(shown ? tf.add(scores, shown) : scores), v);
}
const [batch, seq, past] = [dimVar('batch', 1, 4), dimVar('seq', 1, 8), dimVar('past', 0, 8)];
/** One-hot values show how the probabilities fall on the keys. */
const eye = (n: number) => f32([1, 1, n, n], ...Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)));
const zeros = (shape: number[]) => f32(shape, ...new Array<number>(shape.reduce((p, d) => p * d, 1)).fill(0));

export const cases: readonly Case[] = [
  {
    op: 'softmax',
    name: 'last axis',
    args: [uniform([3, 5], 1)],
    attrs: { axis: 1 },
    tfjs: (x) => tf.softmax(x),
    tolerance: 1e-6,
  },
  {
    op: 'softmax',
    name: 'inner axis, large values',
    args: [uniform([2, 4, 3], 2, -1000, 1000)],
    attrs: { axis: 1 },
    tfjs: (x) => tf.transpose(tf.softmax(tf.transpose(x, [0, 2, 1])), [0, 2, 1]),
    tolerance: 1e-6,
  },
  {
    op: 'norm',
    name: 'rms, with a scale',
    args: [uniform([2, 3, 8], 3), uniform([8], 4)],
    attrs: rms,
    tfjs: (x, w) => tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), 1e-5))), w),
    tolerance: 1e-5,
  },
  {
    op: 'norm',
    name: 'rms around 1 + scale',
    args: [uniform([2, 8], 5), uniform([8], 6)],
    attrs: { ...rms, scaleOffset: 1 },
    tfjs: (x, w) => tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), 1e-5))), tf.add(w, 1)),
    tolerance: 1e-5,
  },
  {
    op: 'norm',
    name: 'layer, with scale and bias',
    args: [uniform([3, 6], 7), uniform([6], 8), uniform([6], 9)],
    attrs: layer,
    tfjs(x, w, b) {
      const { mean, variance } = tf.moments(x, -1, true);
      return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), w), b);
    },
    tolerance: 1e-5,
  },
  {
    op: 'norm',
    name: 'bf16 rms rounds before it scales: 1.0078125 * 1.0078125 is 1.015625',
    args: [array('bf16', [1, 2], [1.0078125, 1.0078125]), array('bf16', [2], [1.0078125, 1])],
    attrs: { kind: 'rms', eps: 0, scaleOffset: 0 },
    expected: [1.0078125, 1],
  },
  {
    op: 'rope',
    name: 'half: a quarter turn of pair (0, 2)',
    args: [f32([1, 1, 1, 4], 1, 2, 3, 4), f32([1, 1, 2], 0, 1), f32([1, 1, 2], 1, 0)],
    attrs: { style: 'half' },
    expected: [-3, 2, 1, 4],
  },
  {
    op: 'rope',
    name: 'interleaved, the rest passed on',
    args: [f32([1, 1, 1, 6], 1, 2, 3, 4, 5, 6), f32([1, 1, 2], 0, 1), f32([1, 1, 2], 1, 0)],
    attrs: { style: 'interleaved' },
    expected: [-2, 1, 3, 4, 5, 6],
  },
  {
    op: 'rope',
    name: 'half, the rest passed on, several heads and positions',
    args: [uniform([2, 3, 4, 6], 10), uniform([2, 4, 2], 11), uniform([2, 4, 2], 12)],
    attrs: { style: 'half' },
    tfjs(x, cos, sin) {
      const [a, b, rest] = tf.split(x, [2, 2, 2], 3);
      const [c, s] = [tf.expandDims(cos, 1), tf.expandDims(sin, 1)];
      return tf.concat([tf.sub(tf.mul(a, c), tf.mul(b, s)), tf.add(tf.mul(b, c), tf.mul(a, s)), rest], 3);
    },
    tolerance: 1e-6,
  },
  {
    op: 'attention',
    name: 'plain, values of another width',
    args: [uniform([2, 3, 4, 8], 13), uniform([2, 3, 5, 8], 14), uniform([2, 3, 5, 6], 15)],
    attrs: plain,
    tfjs: (q, k, v) => attended(q, k, v),
    tolerance: 1e-5,
  },
  {
    op: 'attention',
    name: 'grouped heads share keys in runs',
    args: [uniform([1, 4, 3, 4], 16), uniform([1, 2, 3, 4], 17), uniform([1, 2, 3, 4], 18)],
    attrs: plain,
    tfjs(q, k, v) {
      const [kk, vv] = [k, v].map((t) => tf.reshape(tf.tile(tf.expandDims(t, 2), [1, 1, 2, 1, 1]), [1, 4, 3, 4]));
      return attended(q, kk, vv);
    },
    tolerance: 1e-5,
  },
  {
    op: 'attention',
    name: 'a bias that repeats over the batch',
    args: [uniform([2, 2, 3, 4], 19), uniform([2, 2, 5, 4], 20), uniform([2, 2, 5, 4], 21), uniform([1, 2, 3, 5], 22)],
    attrs: { ...plain, operands: ['bias'] },
    tfjs: (q, k, v, bias) => attended(q, k, v, bias),
    tolerance: 1e-5,
  },
  {
    op: 'attention',
    name: 'causal: the last query sees every key',
    args: [zeros([1, 1, 2, 1]), zeros([1, 1, 4, 1]), eye(4)],
    attrs: { ...plain, causal: true },
    expected: [1 / 3, 1 / 3, 1 / 3, 0, 0.25, 0.25, 0.25, 0.25].map(Math.fround),
    tolerance: 1e-6,
  },
  {
    op: 'attention',
    name: 'a causal window of two keys',
    args: [zeros([1, 1, 4, 1]), zeros([1, 1, 4, 1]), eye(4)],
    attrs: { ...plain, causal: true, window: 2 },
    expected: [1, 0, 0, 0, 0.5, 0.5, 0, 0, 0, 0.5, 0.5, 0, 0, 0, 0.5, 0.5],
    tolerance: 1e-6,
  },
  {
    op: 'attention',
    name: 'a query without keys gives 0',
    args: [zeros([1, 1, 2, 1]), zeros([1, 1, 2, 1]), f32([1, 1, 2, 1], 5, 7), bool([1, 2], 0, 1)],
    attrs: { ...plain, causal: true, operands: ['mask'] },
    expected: [0, 7],
  },
  {
    op: 'attention',
    name: 'a sink takes its share and gives no value',
    args: [zeros([1, 2, 1, 1]), zeros([1, 1, 1, 1]), f32([1, 1, 1, 1], 6), f32([2], 0, Math.log(2))],
    attrs: { ...plain, operands: ['sinks'] },
    expected: [3, 2],
    tolerance: 1e-6,
  },
  {
    op: 'attention',
    name: 'capped scores',
    args: [f32([1, 1, 1, 1], 100), f32([1, 1, 2, 1], 100, -100), f32([1, 1, 2, 1], 1, 0)],
    attrs: { ...plain, softcap: 1 },
    expected: [1 / (1 + Math.exp(-2))],
    tolerance: 1e-6,
  },
  {
    op: 'attention',
    name: 'symbolic lengths',
    args: [uniform([2, 4, 3, 4], 23), uniform([2, 2, 5, 4], 24), uniform([2, 2, 5, 4], 25), bool([2, 5], 0, 1, 1, 1, 1, 1, 1, 1, 1, 1)], // biome-ignore format: one row
    shapes: [
      [batch, dim(4), seq, dim(4)],
      [batch, dim(2), dimAdd(seq, past), dim(4)],
      [batch, dim(2), dimAdd(seq, past), dim(4)],
      [batch, dimAdd(seq, past)],
    ],
    dims: { batch: 2, seq: 3, past: 2 },
    attrs: { ...plain, causal: true, operands: ['mask'] },
    tolerance: 1e-5,
  },
  {
    op: 'attention',
    name: 'rows of 4, 1 and 0 keys, causal; lengths are no more than there are keys',
    args: [zeros([4, 1, 2, 1]), zeros([4, 1, 4, 1]), f32([4, 1, 4, 1], 1, 2, 3, 6, 1, 2, 3, 6, 1, 2, 3, 6, 1, 2, 3, 6), i32([4], 4, 1, 0, 100)], // biome-ignore format: one row
    attrs: { ...plain, causal: true, operands: ['lengths'] },
    expected: [2, 3, 0, 1, 0, 0, 2, 3],
    tolerance: 1e-6,
  },
  {
    op: 'attention',
    name: 'rows of any length, more queries than keys, with a mask',
    args: [uniform([3, 4, 5, 4], 23), uniform([3, 2, 4, 4], 24), uniform([3, 2, 4, 3], 25), bool([3, 4], 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1), i32([3], 3, 4, -1)], // biome-ignore format: one row
    attrs: { ...plain, operands: ['mask', 'lengths'] },
    tolerance: 1e-5,
  },
  {
    op: 'attention',
    name: 'rows of any length, a window, symbolic lengths',
    args: [uniform([2, 4, 3, 8], 23), uniform([2, 2, 7, 8], 24), uniform([2, 2, 7, 8], 25), i32([2], 6, 2)],
    shapes: [
      [batch, dim(4), seq, dim(8)],
      [batch, dim(2), dimAdd(seq, past), dim(8)],
      [batch, dim(2), dimAdd(seq, past), dim(8)],
      [batch],
    ],
    dims: { batch: 2, seq: 3, past: 4 },
    attrs: { ...plain, causal: true, window: 3, operands: ['lengths'] },
    tolerance: 1e-5,
  },
  {
    op: 'attention_split',
    name: 'a split is a part of the keys that its row holds',
    args: [zeros([2, 1, 1, 1]), zeros([2, 1, 6, 1]), f32([2, 1, 6, 1], 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6), i32([2], 4, 1)], // biome-ignore format: one row
    attrs: { ...plain, causal: true, operands: ['lengths'], splits: 2 },
    expected: [3, 0, 2, 7, 0, 2, 1, 0, 1, 0, Number.NEGATIVE_INFINITY, 0],
  },
  {
    op: 'attention_split',
    name: 'three keys in two splits: sums of values, maxima, sums; the sink counts in the first',
    args: [f32([1, 2, 1, 1], 1, 1), f32([1, 1, 3, 1], 0, 0, 8), f32([1, 1, 3, 1], 2, 4, 5), f32([2], 0, Math.log(3))],
    attrs: { ...plain, operands: ['sinks'], splits: 2 },
    expected: [6, 0, 3, 5, 4, 1, 2, Math.log(3), 1 + 2 / 3, 5, 4, 1].map(Math.fround),
    tolerance: 1e-6,
  },
  {
    op: 'attention_split',
    name: 'more splits than keys: maximum -inf and sums 0 where there is nothing to see',
    args: [zeros([1, 1, 1, 1]), zeros([1, 1, 2, 1]), f32([1, 1, 2, 1], 2, 4), bool([1, 2], 1, 0)],
    attrs: { ...plain, operands: ['mask'], splits: 3 },
    expected: [2, 0, 1, 0, Number.NEGATIVE_INFINITY, 0, 0, Number.NEGATIVE_INFINITY, 0],
  },
  {
    op: 'attention_split',
    name: 'groups, several causal queries with a window, symbolic lengths',
    args: [uniform([2, 4, 3, 4], 27), uniform([2, 2, 5, 4], 28), uniform([2, 2, 5, 3], 29), uniform([1, 1, 3, 5], 30)],
    shapes: [
      [batch, dim(4), seq, dim(4)],
      [batch, dim(2), dimAdd(seq, past), dim(4)],
      [batch, dim(2), dimAdd(seq, past), dim(3)],
      [dim(1), dim(1), seq, dimAdd(seq, past)],
    ],
    dims: { batch: 2, seq: 3, past: 2 },
    attrs: { ...plain, causal: true, window: 3, softcap: 3, operands: ['bias'], splits: 2 },
    tolerance: 1e-5,
  },
  {
    op: 'attention_merge',
    name: 'two parts, the second with the larger maximum; then none',
    args: [f32([1, 2, 1, 2, 4], 6, 9, 0, 3, 5, 1, Math.log(2), 1, 0, 0, Number.NEGATIVE_INFINITY, 0, 0, 0, Number.NEGATIVE_INFINITY, 0)], // biome-ignore format: one row
    attrs: { dtype: 'f32' },
    expected: [3.2, 2.2, 0, 0].map(Math.fround),
    tolerance: 1e-6,
  },
  {
    op: 'attention_merge',
    name: 'many rows and parts, to bf16',
    args: [uniform([2, 3, 2, 5, 34], 31, 0.5, 2)],
    attrs: { dtype: 'bf16' },
    tolerance: 2 ** -8,
  },
  {
    op: 'cross_entropy',
    name: 'ignored positions give 0',
    args: [f32([2, 2], 0, 0, 1, 2), i32([2], 1, -100)],
    attrs: { ignore: -100, smoothing: 0 },
    expected: [Math.fround(Math.log(2)), 0],
    tolerance: 1e-6,
  },
  {
    op: 'cross_entropy',
    name: 'label smoothing',
    args: [uniform([3, 5], 26), i32([3], 0, 4, 2)],
    attrs: { ignore: -100, smoothing: 0.1 },
    tfjs(x, labels) {
      const target = tf.add(tf.mul(tf.oneHot(labels as tf.Tensor1D, 5), 0.9), 0.1 / 5);
      return tf.neg(tf.sum(tf.mul(target, tf.logSoftmax(x)), -1));
    },
    tolerance: 1e-5,
  },
];

const q = ['f32', [2, 4, 3, 8]] as const;
const k = ['f32', [2, 2, 5, 8]] as const;
const x = ['f32', [1, 2, 3, 4]] as const;
const angle = ['f32', [1, 3, 2]] as const;
export const failing: readonly FailingCase[] = [
  { op: 'softmax', constraint: 1, args: [['i32', [2]]], attrs: { axis: 0 } },
  { op: 'softmax', constraint: 2, args: [['f32', [2]]], attrs: { axis: 1.5 } },
  { op: 'norm', constraint: 0, args: [['f32', [2]], ['f32', [2]], ['f32', [2]], ['f32', [2]]], attrs: rms },
  { op: 'norm', constraint: 1, args: [['f32', []]], attrs: rms },
  { op: 'norm', constraint: 2, args: [['f32', [2]]], attrs: { ...rms, kind: 'group' } },
  { op: 'norm', constraint: 2, args: [['f32', [2]]], attrs: { ...rms, eps: -1 } },
  { op: 'norm', constraint: 2, args: [['f32', [2]]], attrs: { ...rms, scaleOffset: '1' } },
  { op: 'norm', constraint: 3, args: [['f32', [2]], ['f32', [3]]], attrs: rms },
  { op: 'norm', constraint: 3, args: [['bf16', [2]], ['f32', [2]]], attrs: rms },
  { op: 'rope', constraint: 1, args: [['f32', [3, 4]], angle, angle], attrs: { style: 'half' } },
  { op: 'rope', constraint: 2, args: [x, angle, angle], attrs: { style: 'other' } },
  { op: 'rope', constraint: 3, args: [x, ['f32', [1, 3, 3]], ['f32', [1, 3, 3]]], attrs: { style: 'half' } },
  { op: 'rope', constraint: 3, args: [x, angle, ['f32', [1, 2, 2]]], attrs: { style: 'half' } },
  { op: 'attention', constraint: 0, args: [q, k, k], attrs: { ...plain, operands: ['mask'] } },
  { op: 'attention', constraint: 1, args: [q, k, ['f16', [2, 2, 5, 8]]], attrs: plain },
  { op: 'attention', constraint: 1, args: [q, k, ['f32', [2, 5, 8]]], attrs: plain },
  { op: 'attention', constraint: 2, args: [q, ['f32', [2, 2, 5, 4]], k], attrs: plain },
  { op: 'attention', constraint: 2, args: [q, k, ['f32', [2, 2, 4, 8]]], attrs: plain },
  { op: 'attention', constraint: 3, args: [q, ['f32', [2, 3, 5, 8]], ['f32', [2, 3, 5, 8]]], attrs: plain },
  { op: 'attention', constraint: 4, args: [q, k, k], attrs: { ...plain, operands: ['alibi'] } },
  { op: 'attention', constraint: 4, args: [q, k, k], attrs: { ...plain, window: -1 } },
  { op: 'attention', constraint: 4, args: [q, k, k], attrs: { ...plain, scale: Number.NaN } },
  { op: 'attention', constraint: 4, args: [q, k, k], attrs: { ...plain, softcap: -1 } },
  { op: 'attention', constraint: 4, args: [q, k, k], attrs: { ...plain, causal: 1 } },
  { op: 'attention', constraint: 5, args: [q, k, k, ['bool', [2, 3]]], attrs: { ...plain, operands: ['mask'] } },
  { op: 'attention', constraint: 5, args: [q, k, k, ['f32', [2, 2, 3, 5]]], attrs: { ...plain, operands: ['bias'] } },
  { op: 'attention', constraint: 5, args: [q, k, k, ['i32', [4]]], attrs: { ...plain, operands: ['sinks'] } },
  { op: 'attention', constraint: 5, args: [q, k, k, ['i32', [3]]], attrs: { ...plain, operands: ['lengths'] } },
  { op: 'attention_split', constraint: 6, args: [q, k, k], attrs: { ...plain, splits: 0 } },
  { op: 'attention_split', constraint: 6, args: [q, k, k], attrs: { ...plain, splits: 1e9 } },
  { op: 'attention_merge', constraint: 0, args: [q, k], attrs: { dtype: 'f32' } },
  { op: 'attention_merge', constraint: 1, args: [q], attrs: { dtype: 'f32' } },
  { op: 'attention_merge', constraint: 1, args: [['bf16', [1, 1, 1, 2, 4]]], attrs: { dtype: 'f32' } },
  { op: 'attention_merge', constraint: 1, args: [['f32', [1, 1, 1, 2, 1]]], attrs: { dtype: 'f32' } },
  { op: 'attention_merge', constraint: 2, args: [['f32', [1, 1, 1, 2, 4]]], attrs: { dtype: 'f64' } },
  { op: 'attention_merge', constraint: 2, args: [['f32', [1, 1, 1, 2, 4]]], attrs: { dtype: 'i32' } },
  { op: 'cross_entropy', constraint: 1, args: [['i32', [2, 3]], ['i32', [2]]], attrs: { ignore: 0, smoothing: 0 } },
  { op: 'cross_entropy', constraint: 2, args: [['f32', [2, 3]], ['i32', [3]]], attrs: { ignore: 0, smoothing: 0 } },
  { op: 'cross_entropy', constraint: 3, args: [['f32', [2, 3]], ['i32', [2]]], attrs: { ignore: 0.5, smoothing: 0 } },
  { op: 'cross_entropy', constraint: 3, args: [['f32', [2, 3]], ['i32', [2]]], attrs: { ignore: 0, smoothing: 2 } },
]; // biome-ignore format: a table
