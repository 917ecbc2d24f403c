// Attention with every option, at sizes around its tiles.
import { type Dim, dim, dimAdd } from '../../../ir/dim.ts';
import type { DType } from '../../../ir/dtype.ts';
import { make } from '../../../ir/make.ts';
import type { Node } from '../../../ir/node.ts';
import type { Attrs } from '../../../ir/ops/attrs.ts';
import { randomNumbers } from '../../support/random-builder.ts';
import { batch, castTo, type KernelCase, past, type Scene, scene, seq } from './scene.ts';

/** From a number to the next: weights that are rounded to the type of their values can turn its rounding the other way. */
export const step = { bf16: 2 ** -7, f16: 2 ** -9 };

interface AttentionSizes {
  readonly batch: number | Dim;
  readonly heads: number;
  readonly groups: number;
  readonly queries: number | Dim;
  readonly keys: number | Dim;
  readonly width: number;
  readonly values?: number;
  readonly dtype?: DType;
}

export function attention(s: Scene, sizes: AttentionSizes, options: Partial<Attrs['attention']> = {}): Node {
  const { batch: b, heads, groups, queries, keys, width, values = width, dtype = 'f32' } = sizes;
  const attrs = { scale: width ** -0.5, causal: true, window: 0, softcap: 0, operands: [], ...options };
  const args = [
    s.input([b, heads, queries, width], dtype),
    s.input([b, groups, keys, width], dtype),
    s.input([b, groups, keys, values], dtype),
    ...attrs.operands.map((name) => {
      if (name === 'mask') return s.input([b, keys], 'bool', (i) => ((i * 7) % 5 ? 1 : 0));
      if (name === 'sinks') return s.input([heads], dtype);
      // fewer keys than there are, which may be fewer than queries; all, as no row holds more
      if (name === 'lengths') return s.input([b], 'i32', (i) => (i % 2 ? 1000 : 4));
      return s.input([s.params.length % 2 ? b : 1, s.params.length % 2 ? 1 : heads, queries, keys], dtype);
    }),
  ];
  return make('attention', args, attrs);
}

/** Back to [batch, queries, heads * values], as models do. */
export const merged = (x: Node): Node => {
  const [b, h, s, e] = x.type.shape;
  const shape = [b, s, dim(h.min * e.min)];
  return make('reshape', [make('transpose', [x], { perm: [0, 2, 1, 3] })], { shape });
};

const random = randomNumbers(1);
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)];
export const attentions: KernelCase[] = [
  ...Array.from({ length: 60 }, (_, i): KernelCase => {
    const keys = pick([1, 2, 5, 31, 63, 64, 65, 130, 200]);
    const groups = pick([1, 2, 3]);
    const width = pick([1, 3, 8, 16, 20, 64]);
    const sizes: AttentionSizes = {
      batch: pick([1, 2]),
      heads: groups * pick([1, 1, 2, 5]),
      groups,
      queries: pick([1, 1, 2, 7, 33, 140].filter((q) => q <= keys)),
      keys,
      width,
      values: pick([width, width, 5, 24]),
      dtype: pick(['f32', 'f32', 'bf16', 'f16'] as const),
    };
    const options = {
      causal: pick([true, true, false]),
      window: pick([0, 0, 1, 3, 40]),
      softcap: pick([0, 0, 2]),
      operands: (['mask', 'bias', 'sinks', 'lengths'] as const).filter(() => random() < 0.35),
    };
    const isMerged = random() < 0.5;
    return scene(`${i}: ${JSON.stringify({ ...sizes, ...options, isMerged })}`, (s) => {
      const y = attention(s, sizes, options);
      return isMerged ? merged(y) : y;
    }, { tolerance: sizes.dtype === 'bf16' || sizes.dtype === 'f16' ? step[sizes.dtype] : undefined });
  }),
  ...[[1, 0], [1, 17], [1, 200], [9, 0], [9, 100], [70, 3], [300, 0]].flatMap(([queries, before]) => [
    scene(`symbolic: ${queries} queries after ${before}`, (s) =>
      merged(attention(s, { batch, heads: 4, groups: 2, queries: seq, keys: dimAdd(past, seq), width: 16 })),
      { dims: { batch: 2, seq: queries, past: before } }),
    scene(`symbolic, rows of any length, a window: ${queries} queries after ${before}`, (s) =>
      merged(attention(s, { batch, heads: 4, groups: 2, queries: seq, keys: dimAdd(past, seq), width: 16 }, { operands: ['lengths'], window: 20 })),
      { dims: { batch: 2, seq: queries, past: before } }),
    scene(`symbolic with a mask and a window: ${queries} queries after ${before}`, (s) =>
      merged(attention(s, { batch, heads: 4, groups: 2, queries: seq, keys: dimAdd(past, seq), width: 16 }, { operands: ['mask'], window: 20 })),
      { dims: { batch: 2, seq: queries, past: before } }),
  ]),
  ...(['f32', 'bf16'] as const).flatMap((dtype) => [[64, 8, 2], [128, 4, 1], [80, 3, 3], [24, 6, 1]].map(([width, heads, groups]) =>
    scene(`one query, ${heads} heads of ${width}, ${groups} of them for keys in ${dtype}`, (s) => {
      const [k, v] = [0, 1].map(() => castTo(s.input([2, groups, 333, width], dtype), 'f32'));
      const args = [s.input([2, heads, 1, width]), k, v, s.input([2, 333], 'bool', (i) => Number(i % 5 > 0)), s.input([heads])];
      const attrs = { scale: width ** -0.5, causal: true, window: 300, softcap: 3, operands: ['mask', 'sinks'] as const };
      return merged(make('attention', args, attrs));
    }),
  )),
  scene('one query, keys stored with their positions last', (s) => {
    const [k, v] = [0, 1].map(() => make('transpose', [s.input([2, 2, 16, 50])], { perm: [0, 1, 3, 2] }));
    return make('attention', [s.input([2, 4, 1, 16]), k, v], { scale: 0.25, causal: true, window: 0, softcap: 0, operands: [] });
  }),
  scene('more queries than keys', (s) => attention(s, { batch: 1, heads: 2, groups: 1, queries: 9, keys: 5, width: 8 })),
  scene('more queries than keys, with a window', (s) => attention(s, { batch: 1, heads: 2, groups: 1, queries: 9, keys: 5, width: 8 }, { window: 2 })),
  scene('keys and values that are views of a cache', (s) => {
    const [k, v] = [0, 1].map(() => make('cache_read', [s.input([2, 2, 50, 16])], { axis: 2, length: dim(33) }));
    const q = make('transpose', [s.input([2, 4, 4, 16])], { perm: [0, 2, 1, 3] });
    return merged(make('attention', [q, k, v], { scale: 0.25, causal: true, window: 0, softcap: 0, operands: [] }));
  }),
  scene('keys in bf16 below f32 queries', (s) => {
    const [k, v] = [0, 1].map(() => castTo(s.input([2, 2, 50, 16], 'bf16'), 'f32'));
    return make('attention', [s.input([2, 4, 3, 16]), k, v], { scale: 0.25, causal: true, window: 0, softcap: 0, operands: [] });
  }),
  scene('keys that are stored with their positions last', (s) => {
    const k = make('transpose', [s.input([2, 2, 16, 50])], { perm: [0, 1, 3, 2] });
    const v = make('transpose', [s.input([2, 2, 16, 50])], { perm: [0, 1, 3, 2] });
    return make('attention', [s.input([2, 4, 3, 16]), k, v], { scale: 0.25, causal: true, window: 0, softcap: 0, operands: [] });
  }),
  scene('scores of infinite size', (s) => {
    const huge = (i: number) => (i % 7 === 0 ? 1e38 : -1e38);
    const args = [s.input([1, 1, 3, 8], 'f32', huge), s.input([1, 1, 20, 8], 'f32', (i) => i % 5), s.input([1, 1, 20, 8])];
    return make('attention', args, { scale: 1e-36, causal: true, window: 0, softcap: 0, operands: [] });
  }),
]; // biome-ignore format: a table
