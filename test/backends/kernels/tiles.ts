// Matrix products of 16-bit floats summed in f32, which targets with matrix instructions compute by tiles: sizes around the
// blocks of a group and the slices of k, operands that are copied and operands that are computed, everything fused.
import { dim, dimAdd } from '../../../ir/dim.ts';
import type { DType } from '../../../ir/dtype.ts';
import { make } from '../../../ir/make.ts';
import type { Node } from '../../../ir/node.ts';
import { attention, merged, step } from './attention.ts';
import { add, batch, castTo, type KernelCase, mul, norm, past, scene, seq, silu, spread } from './scene.ts';

/** x [.., K] times w [N, K], in f32. */
const product = (x: Node, w: Node): Node =>
  make('dot_general', [x, w], {
    batch: [[], []],
    contract: [[x.type.shape.length - 1], [w.type.shape.length - 1]],
    acc: 'f32',
  });

export const tiles: KernelCase[] = [
  ...(['bf16', 'f16'] as const satisfies readonly DType[]).flatMap((dtype) =>
    [[65, 64, 64], [128, 128, 32], [130, 33, 40], [65, 1, 8], [100, 200, 100], [300, 136, 1000], [70, 9, 7], [257, 129, 33]].map(([m, n, k]) =>
      scene(`${dtype} [${m}, ${k}] x [${n}, ${k}]`, (s) => product(s.input([m, k], dtype), s.input([n, k], dtype)))),
  ),
  ...[[72, 64], [100, 36]].flatMap(([n, k]) => [
    scene(`rounded, bias, activation and residual, k ${k}`, (s) => {
      const y = castTo(product(s.input([90, k], 'bf16'), s.input([n, k], 'bf16')), 'bf16');
      return add(silu(add(y, spread(s.input([n], 'bf16'), y, [1]))), s.input([90, n], 'bf16'));
    }, { tolerance: 0.02 }),
    scene(`a gated unit: two products of one operand, k ${k}`, (s) => {
      const x = s.input([90, k], 'bf16');
      return mul(silu(product(x, s.input([n, k], 'bf16'))), product(x, s.input([n, k], 'bf16')));
    }),
    scene(`a sum of three products, k ${k}`, (s) => {
      const x = s.input([90, k], 'bf16');
      const [a, b, c] = [0, 1, 2].map(() => product(x, s.input([n, k], 'bf16')));
      return add(mul(a, b), c);
    }),
    scene(`left rows that are rounded, k ${k}`, (s) => product(castTo(s.input([90, k]), 'bf16'), s.input([n, k], 'bf16'))),
    scene(`left rows that are a norm, rounded, k ${k}`, (s) =>
      product(castTo(norm(s.input([90, k]), s.input([k])), 'bf16'), s.input([n, k], 'bf16')), { tolerance: 2 ** -8 }),
    scene(`a right operand that is converted, k ${k}`, (s) =>
      product(s.input([90, k], 'bf16'), castTo(s.input([n, k], 'i8', (i) => ((i * 37) % 255) - 127), 'bf16'))),
    scene(`symbolic rows, k ${k}`, (s) =>
      product(s.input([batch, seq, k], 'bf16'), s.input([n, k], 'bf16')), { dims: { batch: 2, seq: 45 } }),
    scene(`no rows, k ${k}`, (s) => product(s.input([batch, seq, k], 'bf16'), s.input([n, k], 'bf16')), { dims: { batch: 1, seq: 0 } }),
  ]),
  // Enough work for blocks of 128 x 64 and of 128 x 128
  scene('tall blocks', (s) => product(s.input([520, 40], 'bf16'), s.input([2160, 40], 'bf16'))),
  scene('the largest blocks', (s) => product(s.input([1300, 40], 'bf16'), s.input([2160, 40], 'bf16'))),
  scene('the largest blocks of a gated unit', (s) => {
    const x = s.input([200, 40], 'f16');
    return mul(silu(product(x, s.input([6480, 40], 'f16'))), product(x, s.input([6480, 40], 'f16')));
  }),
  scene('a left operand that is a view', (s) => {
    const x = make('transpose', [s.input([2, 6, 65, 8], 'bf16')], { perm: [0, 2, 1, 3] });
    return product(make('reshape', [x], { shape: [2, 65, 48].map((d) => dim(d)) }), s.input([20, 48], 'bf16'));
  }),
  scene('split heads: reshape and transpose', (s) => {
    const y = product(s.input([2, 65, 24], 'bf16'), s.input([32, 24], 'bf16'));
    return make('transpose', [make('reshape', [y], { shape: [2, 65, 4, 8].map((d) => dim(d)) })], { perm: [0, 2, 1, 3] });
  }),
  ...([
    ['one head', { batch: 1, heads: 1, groups: 1, queries: 16, keys: 16, width: 16 }, {}],
    ['many queries, heads that share keys', { batch: 2, heads: 8, groups: 2, queries: 70, keys: 133, width: 64 }, {}],
    ['a wide head', { batch: 1, heads: 3, groups: 1, queries: 40, keys: 90, width: 128 }, {}],
    ['the widest head that fits', { batch: 1, heads: 2, groups: 1, queries: 20, keys: 50, width: 160, values: 64 }, {}],
    ['other values', { batch: 1, heads: 5, groups: 1, queries: 33, keys: 65, width: 48, values: 80 }, { causal: false }],
    ['a window', { batch: 1, heads: 4, groups: 2, queries: 140, keys: 200, width: 32 }, { window: 40 }],
    ['a mask and a softcap', { batch: 2, heads: 4, groups: 2, queries: 30, keys: 65, width: 32 }, { operands: ['mask'], softcap: 2 }],
    ['a bias and sinks', { batch: 2, heads: 2, groups: 2, queries: 30, keys: 65, width: 32 }, { operands: ['bias', 'sinks'], causal: false }],
    ['more queries than keys', { batch: 1, heads: 2, groups: 1, queries: 90, keys: 5, width: 16 }, {}],
    ['rows of any length', { batch: 3, heads: 4, groups: 2, queries: 70, keys: 133, width: 32 }, { operands: ['lengths'] }],
    ['rows of any length, a window', { batch: 2, heads: 4, groups: 2, queries: 70, keys: 133, width: 32 }, { operands: ['lengths'], window: 40 }],
  ] as const).flatMap(([name, sizes, options]) =>
    (['bf16', 'f16'] as const).map((dtype) =>
      scene(`${dtype} attention: ${name}`, (s) => merged(attention(s, { ...sizes, dtype }, options)), { tolerance: step[dtype] }))),
  ...[[1, 30], [16, 0], [100, 47]].map(([queries, before]) =>
    scene(`attention, ${queries} queries after ${before}`, (s) =>
      merged(attention(s, { batch, heads: 4, groups: 2, queries: seq, keys: dimAdd(past, seq), width: 32, dtype: 'bf16' })),
      { dims: { batch: 2, seq: queries, past: before }, tolerance: step.bf16 })),
  scene('attention to keys and values that are rounded', (s) => {
    const [q, k, v] = [4, 2, 2].map((heads) => castTo(s.input([2, heads, 50, 32]), 'bf16'));
    return merged(make('attention', [q, k, v], { scale: 0.2, causal: true, window: 0, softcap: 0, operands: [] }));
  }, { tolerance: step.bf16 }),
  scene('a right operand of three axes', (s) => product(s.input([65, 24], 'bf16'), s.input([3, 5, 24], 'bf16'))),
]; // biome-ignore format: a table
