// Matrix products: rows around the register tiles and the boundary between few and many, columns and depth around lanes
// and strips, and everything that is fused with them.
import { type Dim, dim, dimVar } from '../../../ir/dim.ts';
import type { DType } from '../../../ir/dtype.ts';
import { make } from '../../../ir/make.ts';
import type { Node } from '../../../ir/node.ts';
import {
  add,
  batch,
  castTo,
  type KernelCase,
  linear,
  mul,
  norm,
  reduce,
  type Scene,
  scene,
  seq,
  silu,
  spread,
} from './scene.ts';

/** [B, 1, heads * D] as heads [B, heads, 1, D]. */
const splitHeads = (y: Node, heads: number): Node => {
  const [b, s, n] = y.type.shape;
  const shape = [b, s, dim(heads), dim(n.min / heads)];
  return make('transpose', [make('reshape', [y], { shape })], { perm: [0, 2, 1, 3] });
};
/** Products below a norm, rotated by heads, as queries are. */
const rotated = (
  s: Scene,
  rows: Dim,
  options: { style: 'half' | 'interleaved'; pairs?: number; bias?: boolean },
): Node => {
  const { style, pairs = 5, bias } = options;
  const y = linear(norm(s.input([rows, 1, 48]), s.input([48])), s.input([30, 48]));
  const heads = splitHeads(bias ? add(y, spread(s.input([30]), y, [2])) : y, 3);
  return make('rope', [heads, s.input([rows, 1, pairs]), s.input([rows, 1, pairs])], { style });
};

/** Two operands whose product sums over the axes named k; batch axes are named b, others are rows and columns. */
const contraction = (s: Scene, left: string, right: string, sizes: Readonly<Record<string, Dim | number>>, dtype: DType): Node => {
  const shape = (names: string) => [...names].map((name) => sizes[name]);
  const places = (names: string, kind: string) => [...names].flatMap((name, i) => (kind.includes(name) ? [[name, i] as const] : []));
  const paired = (kind: string) => {
    const pairs = places(left, kind).map(([name, i]) => [i, right.indexOf(name)]);
    return [pairs.map(([i]) => i), pairs.map(([, j]) => j)] as const;
  };
  return make('dot_general', [s.input(shape(left), dtype), s.input(shape(right), dtype)], {
    batch: paired('bB'),
    contract: paired('kKl'),
    acc: 'f32',
  });
}; // biome-ignore format: one row each
/** Every place of the contracted axes: of gradients of weights and of inputs, of attention, and stranger ones. */
const layouts = [
  'mk nk',
  'mk kn',
  'km nk',
  'km kn',
  'kKm kKn',
  'Kkm kKn',
  'bmk bnk',
  'bmk bkn',
  'bkm bnk',
  'bkm bkn',
  'mbk knb',
  'bBmk Bbnk',
  'mokl nkl',
  'kmbo pkbn',
];

const rowCounts = [1, 2, 3, 4, 5, 7, 63, 64, 65, 300];
export const products: KernelCase[] = [
  ...rowCounts.flatMap((m) =>
    [[1, 1], [7, 5], [16, 64], [33, 17], [100, 300], [64, 16]].map(([n, k]) =>
      scene(`[${m}, ${k}] x [${n}, ${k}]`, (s) => linear(s.input([m, k]), s.input([n, k]))),
    ),
  ),
  ...(['bf16', 'f16'] as const).flatMap((dtype) =>
    [1, 5, 65].flatMap((m) => [
      scene(`${dtype}, ${m} rows`, (s) => linear(s.input([m, 100], dtype), s.input([33, 100], dtype))),
      scene(`${dtype} weights, f32 rows: ${m}`, (s) => linear(s.input([m, 100]), castTo(s.input([33, 100], dtype), 'f32'))),
    ]),
  ),
  ...layouts.flatMap((layout) => {
    const [left, right] = layout.split(' ');
    return [
      [70, 50, 40, 'f32'] as const,
      [33, 64, 65, 'bf16'] as const,
      ...(layout.length === 5 ? ([[9, 100, 33, 'f32'], [257, 49, 3, 'f32'], [1, 1, 1, 'f16']] as const) : []),
    ].map(([m, n, k, dtype]) =>
      scene(`layout ${layout}, ${dtype} ${m} x ${n} x ${k}`, (s) =>
        contraction(s, left, right, { m, n, k, K: 3, l: 2, b: 2, B: 3, o: 2, p: 2 }, dtype)));
  }),
  scene('a slice of the contracted axis after another, in every layout', (s) =>
    Object.fromEntries(['mk nk', 'km kn'].map((layout) => {
      const [left, right] = layout.split(' ');
      return [layout, contraction(s, left, right, { m: 70, n: 50, k: 3000 }, 'f32')];
    })), { tolerance: 1e-4 }),
  scene('symbolic rows, summed over: the gradient of a weight', (s) =>
    contraction(s, 'Kkm', 'Kkn', { m: 70, n: 50, k: seq, K: batch }, 'f32'), { dims: { seq: 45, batch: 3 } }),
  scene('symbolic batch and rows', (s) => contraction(s, 'bkm', 'bkn', { m: seq, n: 50, k: 20, b: batch }, 'f32'), { dims: { seq: 45, batch: 3 } }),
  scene('a gradient that is added to one', (s) => add(contraction(s, 'km', 'kn', { m: 70, n: 50, k: 90 }, 'f32'), s.input([70, 50]))),
  scene('two products of one operand in other layouts', (s) => {
    const x = s.input([90, 70]);
    const by = (w: Node, axis: number) => make('dot_general', [x, w], { batch: [[], []], contract: [[0], [axis]], acc: 'f32' });
    return mul(by(s.input([90, 50]), 0), by(s.input([50, 90]), 1));
  }),
  scene('a left operand in f32 that is rounded, transposed', (s) =>
    make('dot_general', [castTo(s.input([90, 70]), 'bf16'), castTo(s.input([90, 50]), 'bf16')], { batch: [[], []], contract: [[0], [0]], acc: 'f32' })),
  ...[1, 3, 64, 65, 200].flatMap((m) => [
    scene(`bias, activation and residual, ${m} rows`, (s) => {
      const y = linear(s.input([m, 48]), s.input([20, 48]));
      return add(silu(add(y, spread(s.input([20]), y, [1]))), s.input([m, 20]));
    }),
    scene(`a reduction of what is below, ${m} rows`, (s) =>
      reduce(silu(linear(s.input([m, 48]), s.input([20, 48]))), 'add', [1])),
    scene(`a gated unit: two products of one operand, ${m} rows`, (s) => {
      const x = s.input([m, 48]);
      return mul(silu(linear(x, s.input([50, 48]))), linear(x, s.input([50, 48])));
    }),
    scene(`a gated unit in bf16, ${m} rows`, (s) => {
      const x = s.input([m, 48], 'bf16');
      return mul(silu(linear(x, s.input([50, 48], 'bf16'))), linear(x, s.input([50, 48], 'bf16')));
    }, { tolerance: 0.02 }),
    scene(`three products of one operand, ${m} rows`, (s) => {
      const x = s.input([m, 48]);
      return Object.fromEntries([0, 1, 2].map((i) => [`y${i}`, linear(x, s.input([16 + 8 * i, 48]))]));
    }),
    scene(`below a norm, ${m} rows`, (s) => linear(norm(s.input([m, 48]), s.input([48])), s.input([20, 48]))),
    scene(`below a layer norm of a sum that is a result too, ${m} rows`, (s) => {
      const sum = add(s.input([m, 48]), s.input([m, 48]));
      return { y: linear(norm(sum, s.input([48]), 'layer'), s.input([20, 48])), sum };
    }),
    scene(`below a norm whose rows are reversed, ${m} rows`, (s) => {
      const x = silu(s.input([m, 48]));
      return linear(make('reverse', [norm(x, s.input([48]), 'layer')], { axes: [0] }), s.input([20, 48]));
    }),
    scene(`below a norm whose elements are reversed, ${m} rows`, (s) => {
      const x = silu(s.input([m, 48]));
      return linear(make('reverse', [norm(x, s.input([48]), 'layer')], { axes: [1] }), s.input([20, 48]));
    }),
    scene(`below an activation, ${m} rows`, (s) => linear(silu(s.input([m, 48])), s.input([20, 48]))),
    scene(`a product of a product, ${m} rows`, (s) =>
      linear(silu(linear(s.input([m, 48]), s.input([20, 48]))), s.input([31, 20]))),
    scene(`split heads: reshape and transpose, ${m} rows`, (s) => {
      const y = linear(s.input([2, m, 24]), s.input([32, 24]));
      return make('transpose', [make('reshape', [y], { shape: [2, m, 4, 8].map((d) => dim(d)) })], { perm: [0, 2, 1, 3] });
    }),
    scene(`a left operand that is a view, ${m} rows`, (s) => {
      const x = make('transpose', [s.input([2, 6, m, 8])], { perm: [0, 2, 1, 3] });
      return linear(make('reshape', [x], { shape: [2, m, 48].map((d) => dim(d)) }), s.input([20, 48]));
    }),
    scene(`a right operand of three axes, ${m} rows`, (s) => linear(s.input([m, 17]), s.input([3, 5, 17]))),
    scene(`a right operand with its depth in front, ${m} rows`, (s) =>
      make('dot_general', [s.input([m, 17]), s.input([17, 9])], { batch: [[], []], contract: [[1], [0]], acc: 'f32' })),
    scene(`batched, ${m} rows`, (s) =>
      make('dot_general', [s.input([3, m, 17]), s.input([3, 9, 17])], { batch: [[0], [0]], contract: [[2], [2]], acc: 'f32' })),
    scene(`a right operand that is quantized, ${m} rows`, (s) => {
      const words = s.input([20, 8], 'u32', (i) => (i * 2654435761) % 2 ** 32);
      const spec = { bits: 4, group: 32, code: 'affine', zero: 8 } as const;
      const w = make('dequantize', [words, s.input([20, 2])], { spec, dtype: 'f32' });
      return linear(s.input([m, 64]), w);
    }),
    scene(`a symbolic number of rows: ${m}`, (s) => linear(s.input([batch, seq, 40]), s.input([37, 40])), { dims: { batch: 2, seq: m } }),
    scene(`symbolic rows, norm, gated unit and residual: ${m}`, (s) => {
      const x = s.input([batch, seq, 32]);
      const y = norm(x, s.input([32]));
      const gated = mul(silu(linear(y, s.input([40, 32]))), linear(y, s.input([40, 32])));
      return add(x, linear(gated, s.input([32, 40])));
    }, { dims: { batch: 3, seq: m } }),
  ]),
  ...[1, 2, 3, 4].map((m) =>
    scene(`at most four rows: ${m}`, (s) => linear(norm(s.input([dimVar('few', 1, 4), 48]), s.input([48])), s.input([20, 48])), { dims: { few: m } })),
  ...[1, 3, 9].flatMap((m) => [
    scene(`norms of several kinds, ${m} rows`, (s) => {
      const x = s.input([dimVar('few', 1, 9), 1, 40]);
      const y = mul(silu(linear(norm(x, s.input([40])), s.input([37, 40]))), linear(norm(x, s.input([40]), 'layer'), s.input([37, 40])));
      return { y, z: add(x, linear(y, s.input([40, 37]))) };
    }, { dims: { few: m } }),
    scene(`a deep norm, ${m} rows`, (s) => linear(norm(s.input([m, 1000]), s.input([1000])), s.input([21, 1000]))),
    ...(['half', 'interleaved'] as const).flatMap((style) => [
      scene(`rotated, ${style}, ${m} rows`, (s) => rotated(s, dimVar('few', 1, 9), { style }), { dims: { few: m } }),
      scene(`rotated with a bias, ${style}, ${m} rows`, (s) => rotated(s, dim(m), { style, bias: true })),
      scene(`rotated in part, ${style}, ${m} rows`, (s) => rotated(s, dim(m), { style, pairs: 3 })),
    ]),
  ]),
  scene('a deep product in slices', (s) => linear(s.input([70, 5000]), s.input([20, 5000])), { tolerance: 1e-4 }),
  scene('a deep gated unit in slices', (s) => {
    const x = s.input([70, 4100]);
    return mul(silu(linear(x, s.input([20, 4100]))), linear(x, s.input([20, 4100])));
  }, { tolerance: 1e-4 }),
  scene('integers', (s) => {
    const x = s.input([5, 33], 'i8', (i) => ((i * 37) % 255) - 127);
    return make('dot_general', [x, s.input([7, 33], 'i8', (i) => ((i * 91) % 255) - 127)], { batch: [[], []], contract: [[1], [1]], acc: 'i32' });
  }),
  scene('two axes contracted', (s) =>
    make('dot_general', [s.input([5, 3, 9]), s.input([9, 7, 3])], { batch: [[], []], contract: [[1, 2], [2, 0]], acc: 'f32' })),
  scene('an outer product', (s) => make('dot_general', [s.input([5]), s.input([7])], { batch: [[], []], contract: [[], []], acc: 'f32' })),
]; // biome-ignore format: a table
