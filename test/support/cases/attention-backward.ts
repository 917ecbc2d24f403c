// Cases of the backward pass of attention. That its parts are the derivatives of attention is tested by test/ir/grad.test.ts.
import { dim, dimAdd, dimVar } from '../../../ir/dim.ts';
import { roundTo } from '../../../ir/dtype.ts';
import type { NdArray } from '../../../ir/ndarray.ts';
import type { Attrs } from '../../../ir/ops/attrs.ts';
import type { Case, FailingCase } from './case.ts';
import { bool, f32, i32, uniform } from './case.ts';

const plain: Attrs['attention'] = { scale: 0.5, causal: false, window: 0, softcap: 0, operands: [] };
const everything: Attrs['attention'] = {
  scale: 0.5,
  causal: true,
  window: 3,
  softcap: 2,
  operands: ['mask', 'bias', 'sinks', 'lengths'],
};
const [batch, seq, past] = [dimVar('batch', 1, 4), dimVar('seq', 1, 8), dimVar('past', 0, 8)];
const [b, g, h, total] = [batch, dim(2), dim(4), dimAdd(seq, past)];

const lse = (shape: readonly number[], seed: number): NdArray => uniform(shape, seed, 0.5, 2);
const bf16 = (x: NdArray): NdArray => ({ ...x, dtype: 'bf16', data: x.data.map((v) => roundTo('bf16', v)) });

/** One query and one key: s = 1 + bias, p = 1, dp = 12, ds = 12 - 5, dr = 7 / 2. */
const one = [[1], [2], [3]].map((x) => f32([1, 1, 1, 1], ...x));
const rest = [f32([1, 1, 1, 1], 4), f32([1, 1, 1], 1), f32([1, 1, 1], 5)];

const grouped = [uniform([2, 4, 3, 6], 1), uniform([2, 2, 5, 6], 2), uniform([2, 2, 5, 4], 3)];
const masked = bool([2, 5], 1, 0, 1, 1, 1, 1, 1, 1, 1, 0);
const operands = [masked, uniform([1, 4, 3, 5], 4), uniform([4], 5), i32([2], 5, 4)];
const arrived = [uniform([2, 4, 3, 4], 6), lse([2, 4, 3], 7), uniform([2, 4, 3], 8)];
const wide = [...grouped, uniform([2, 1, 3, 5], 9), ...arrived].map((x, i) => (i < 5 ? bf16(x) : x));
const backward = ['attention_backward_q', 'attention_backward_kv', 'attention_backward_bias'] as const;

export const cases: readonly Case[] = [
  {
    op: 'attention',
    name: 'groups, mask, bias, sinks, window, capped scores, rows of any length, symbolic lengths',
    args: [...grouped, ...operands],
    shapes: [[b, h, seq, dim(6)], [b, g, total, dim(6)], [b, g, total, dim(4)], [b, total], [dim(1), h, seq, total], [h], [b]], // biome-ignore format: one row
    dims: { batch: 2, seq: 3, past: 2 },
    attrs: everything,
    tolerance: 1e-5,
  },
  {
    op: 'attention_lse',
    name: 'two keys, the second hidden from the first query; a query without keys gives 0',
    args: [f32([1, 1, 2, 1], 0, 2), f32([1, 1, 2, 1], 5, 6), f32([1, 1, 2, 1], 0, 0), bool([1, 2], 0, 1)],
    attrs: { ...plain, causal: true, operands: ['mask'] },
    expected: [0, 6],
  },
  {
    op: 'attention_lse',
    name: 'sinks count',
    args: [f32([1, 2, 1, 1], 0, 0), f32([1, 1, 3, 1], 1, 2, 3), f32([1, 1, 3, 1], 0, 0, 0), f32([2], 0, Math.log(5))],
    attrs: { ...plain, operands: ['sinks'] },
    expected: [Math.log(4), Math.log(8)].map(Math.fround),
    tolerance: 1e-6,
  },
  {
    op: 'attention_lse',
    name: 'groups, mask, bias, sinks, window, capped scores, rows of any length, symbolic lengths',
    args: [...grouped, ...operands],
    shapes: [[b, h, seq, dim(6)], [b, g, total, dim(6)], [b, g, total, dim(4)], [b, total], [dim(1), h, seq, total], [h], [b]], // biome-ignore format: one row
    dims: { batch: 2, seq: 3, past: 2 },
    attrs: everything,
    tolerance: 1e-5,
  },
  { op: backward[0], name: 'one key', args: [...one, ...rest], attrs: plain, expected: [7], tolerance: 1e-6 },
  { op: backward[1], name: 'one key', args: [...one, ...rest], attrs: plain, expected: [3.5, 4], tolerance: 1e-6 },
  {
    op: backward[2],
    name: 'one key',
    args: [...one, f32([1, 1, 1, 1], 0), ...rest],
    attrs: { ...plain, operands: ['bias'] },
    expected: [7],
    tolerance: 1e-6,
  },
  ...backward.map(
    (op): Case => ({
      op,
      name: 'groups, mask, bias, sinks, window, capped scores, rows of any length, symbolic lengths',
      args: [...grouped, ...operands, ...arrived],
      shapes: [[b, h, seq, dim(6)], [b, g, total, dim(6)], [b, g, total, dim(4)], [b, total], [dim(1), h, seq, total], [h], [b], [b, h, seq, dim(4)], [b, h, seq], [b, h, seq]], // biome-ignore format: one row
      dims: { batch: 2, seq: 3, past: 2 },
      attrs: everything,
      tolerance: 1e-5,
    }),
  ),
  ...backward.map(
    (op): Case => ({
      op,
      name: 'bf16, a bias for all heads',
      args: wide,
      attrs: { ...plain, operands: ['bias'] },
      tolerance: 2 ** -7,
    }),
  ),
];

type Given = FailingCase['args'];
const q: Given = [['f32', [2, 4, 3, 8]], ['f32', [2, 2, 5, 8]], ['f32', [2, 2, 5, 6]]]; // biome-ignore format: one row
const last: Given = [['f32', [2, 4, 3, 6]], ['f32', [2, 4, 3]], ['f32', [2, 4, 3]]]; // biome-ignore format: one row

export const failing: readonly FailingCase[] = [
  { op: 'attention_backward_bias', constraint: 7, args: [...q, ...last], attrs: plain },
  ...backward.flatMap((op): FailingCase[] => [
    { op, constraint: 6, args: [...q, ['f32', [2, 4, 3, 8]], last[1], last[2]], attrs: plain },
    { op, constraint: 6, args: [...q, last[0], ['bf16', [2, 4, 3]], last[2]], attrs: plain },
    { op, constraint: 6, args: [...q, last[0], last[1], ['f32', [2, 4, 3, 1]]], attrs: plain },
  ]),
];
