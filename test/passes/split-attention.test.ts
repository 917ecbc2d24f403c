// Attention with its keys split over threads: the two ops against attention itself on the interpreter, and the compiled
// CPU, on a target with more threads than groups of key heads, against the interpreter.
import { beforeAll, describe, expect, test } from 'vitest';
import { hostIsas } from '../../backends/cpu/target.ts';
import { type DimLike, dim, dimVar } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { roundTo } from '../../ir/dtype.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import type { Attrs } from '../../ir/ops/attrs.ts';
import { splitsFor } from '../../passes/split-attention.ts';
import { uniform } from '../support/cases/case.ts';
import { difference } from '../support/compare.ts';
import { regionsOf, runOnCpu } from '../support/cpu-device.ts';
import { deviceFor } from '../support/cpu-kernels.ts';
import type { DeviceResult, DeviceRun } from '../support/test-device.ts';

/** One attention; what is not given is as in `usual`. */
interface Shape {
  readonly batch: number;
  readonly heads: number;
  readonly groups: number;
  readonly queries: number;
  readonly keys: number;
  readonly depth: number;
  readonly width: number;
  readonly dtype: DType;
  readonly attrs: Partial<Attrs['attention']>;
  /** Whether a key is visible. */
  readonly mask: (batch: number, key: number) => boolean;
}
const usual: Shape = {
  batch: 1, heads: 8, groups: 1, queries: 1, keys: 1000, depth: 16, width: 16, dtype: 'f32', attrs: {},
  mask: (b, key) => (7 * key + b) % 3 !== 0,
}; // biome-ignore format: one row

/** The attention with inputs of its own. `keyDim` declares the length, if it is not constant. */
function build(shape: Shape, keyDim: DimLike = shape.keys): { node: Node<'attention'>; params: Map<string, NdArray> } {
  const { batch: b, heads: h, groups: g, queries: s, keys: t, depth, width, dtype } = shape;
  const attrs = { scale: depth ** -0.5, causal: true, window: 0, softcap: 0, operands: [], ...shape.attrs };
  const params = new Map<string, NdArray>();
  const input = (name: string, value: NdArray, dims: readonly DimLike[]): Node => {
    params.set(name, value);
    return make('param', [], { name, kind: 'input', dtype: value.dtype, shape: dims.map(dim) });
  };
  const floats = (sizes: readonly number[], seed: number): NdArray => {
    const { data } = uniform(sizes, seed);
    return ndarray(dtype, sizes, data.map((x) => roundTo(dtype, x))); // biome-ignore format: one row
  };
  const optional = {
    mask: (): Node => {
      const data = Array.from({ length: b * t }, (_, i) => Number(shape.mask(Math.floor(i / t), i % t)));
      return input('mask', ndarray('bool', [b, t], data), [b, keyDim]);
    },
    bias: () => input('bias', floats([1, h, s, t], 4), [1, h, s, keyDim]),
    sinks: () => input('sinks', floats([h], 5), [h]),
    lengths: () =>
      input(
        'lengths',
        ndarray(
          'i32',
          [b],
          range(b).map((i) => Math.max(0, t - 3 * i - 2)),
        ),
        [b],
      ),
  };
  const args = [
    input('q', floats([b, h, s, depth], 1), [b, h, s, depth]),
    input('k', floats([b, g, t, depth], 2), [b, g, keyDim, depth]),
    input('v', floats([b, g, t, width], 3), [b, g, keyDim, width]),
    ...attrs.operands.map((name) => optional[name]()),
  ];
  return { node: make('attention', args, attrs), params };
}

function split(node: Node<'attention'>, splits: number): Node {
  const parts = make('attention_split', node.args, { ...node.attrs, splits });
  return make('attention_merge', [parts], { dtype: node.type.dtype });
}

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const graphOf = (result: Node, inputs: readonly Node[]): Graph => ({
  name: 'attend',
  params: inputs as readonly Node<'param'>[],
  results: new Map([['y', result]]),
  updates: new Map(),
});

const operands = ['mask', 'bias', 'sinks', 'lengths'] as const;
/** What masks, windows and sinks do, alone and together. */
const variants: readonly (readonly [string, Partial<Shape>])[] = [
  ['plain', { attrs: { causal: false } }],
  ['causal', {}],
  ['a window', { attrs: { window: 100 } }],
  ['a small window', { attrs: { window: 5, causal: false } }],
  ['capped scores', { attrs: { softcap: 2 } }],
  ['a mask', { attrs: { operands: ['mask'] } }],
  ['a mask of the second half', { attrs: { operands: ['mask'] }, mask: (_, key) => key >= 500 }],
  ['a mask of one key', { attrs: { operands: ['mask'] }, mask: (_, key) => key === 0 }],
  ['a mask of no key in the second row', { attrs: { operands: ['mask'] }, batch: 2, mask: (b) => b === 0 }],
  ['a sink', { attrs: { operands: ['sinks'] } }],
  ['a sink and no key', { attrs: { operands: ['sinks', 'mask'] }, mask: () => false }],
  ['a bias', { attrs: { operands: ['bias'] } }],
  ['rows of any length', { attrs: { operands: ['lengths'] }, batch: 3 }],
  ['everything', { attrs: { operands, window: 300, softcap: 3 } }],
];
const shapes: readonly (readonly [string, Partial<Shape>])[] = [
  ['one group', {}],
  ['two groups in a batch', { batch: 2, groups: 2, keys: 333, depth: 64, width: 64 }],
  ['fewer keys than splits', { keys: 3 }],
  ['three groups, odd widths', { heads: 6, groups: 3, keys: 130, depth: 5, width: 3 }],
  ['one head', { heads: 1, keys: 257, depth: 40, width: 24 }],
  ['one key', { groups: 4, keys: 1 }],
  ['splits without keys', { keys: 9 }],
];
/** Every shape with everything, the first three with each variant (a build takes its time). */
const decoding = shapes.flatMap(([shape, s], i) =>
  variants.slice(i < 3 ? 0 : -1).map(([variant, v]) => [`${shape}, ${variant}`, { ...usual, ...s, ...v }] as const),
);

describe('merged splits are the attention', () => {
  const several: Partial<Shape>[] = [
    { keys: 20, depth: 4, width: 3 },
    { keys: 23, groups: 2, queries: 5, batch: 2, depth: 3, width: 5 },
    { keys: 4, groups: 4, queries: 4, depth: 4, width: 4 },
    { keys: 1, queries: 1, depth: 2, width: 1 },
    { keys: 2, queries: 3, depth: 2, width: 2 }, // the first query stands before the first key
    { keys: 0, queries: 2, depth: 2, width: 2 },
  ];
  test.each(variants)('%s', (_, variant) => {
    for (const shape of several) {
      for (const splits of [1, 2, 3, 4, 7, 16, 40]) {
        for (const dtype of ['f32', 'bf16'] as const) {
          const { node, params } = build({ ...usual, ...variant, ...shape, dtype });
          const run = (result: Node): NdArray =>
            evaluate(graphOf(result, node.args), { params, dims: {} }).results.get('y')!;
          const why = difference(run(split(node, splits)), run(node), dtype === 'f32' ? 1e-5 : 2 ** -7);
          expect(why, `${JSON.stringify(shape)} in ${splits} splits of ${dtype}`).toBeUndefined();
        }
      }
    }
  });
});

test('splits give every thread a task, and there are at most 16', () => {
  const target = {
    language: 'c',
    features: [],
    vectorBytes: 16,
    vectorRegisters: 16,
    cacheBytes: 2 ** 20,
    groupThreads: 1,
    groupBytes: 0,
    tiles: [],
    bindings: 64,
    bindingBytes: 2 ** 47,
  } as const;
  const splits = (threads: number, groups: number): number => splitsFor({ ...target, threads }, groups);
  expect([splits(8, 1), splits(8, 2), splits(8, 3), splits(64, 1), splits(64, 8)]).toEqual([8, 4, 3, 16, 8]);
  expect([splits(2, 2), splits(2, 8), splits(1, 1), splits(8, 8)]).toEqual([1, 1, 1, 1]);
});

describe.each(hostIsas().map((row) => row.name))('compiled for %s and eight threads', (isa) => {
  const length = dimVar('keys', 0, 4096);
  /** As models use it: heads side by side in the last axis. */
  const sideBySide = (node: Node): Node => {
    const [b, h, s, e] = node.type.shape;
    const moved = make('transpose', [node], { perm: [0, 2, 1, 3] });
    return make('reshape', [moved], { shape: [b, s, dim(h.min * e.min)] });
  };
  const cases: (readonly [string, DeviceRun])[] = [];
  const add = (name: string, shape: Shape, make: (node: Node<'attention'>) => Node, declared?: DimLike): void => {
    const { node, params } = build(shape, declared);
    cases.push([name, { graph: graphOf(make(node), node.args), params, dims: declared ? { keys: shape.keys } : {} }]);
  };
  for (const [name, shape] of decoding) add(name, shape, (n) => n, length);
  for (const dtype of ['f16', 'bf16'] as const) {
    add(`${dtype}, side by side`, { ...usual, dtype, groups: 2, attrs: { operands } }, sideBySide, length);
  }
  add('a constant number of keys, side by side', { ...usual, batch: 3, keys: 77 }, sideBySide);
  const prompt = { ...usual, batch: 2, groups: 4, queries: 150, keys: 200, attrs: { window: 60, operands } };
  add('many queries', prompt, (n) => split(n, 5));
  add('many queries of one group', { ...prompt, groups: 1, keys: 150 }, (n) => split(n, 4));

  let results: DeviceResult[] = [];
  beforeAll(async () => {
    const device = await deviceFor(isa, 8);
    for (const [name, { graph }] of cases) {
      const anchors = regionsOf(graph, device.target).launches.map(
        (regions) => regions.flatMap((r) => r.anchors)[0]?.op,
      );
      expect(anchors, name).toEqual(['attention_split', undefined]);
    }
    results = await runOnCpu(device, cases.map(([, run]) => run)); // biome-ignore format: one row
  }, 600_000);

  test.each(cases.map(([name, run], i) => [name, run, i] as const))('%s', (_, { graph, params, dims }, i) => {
    const actual = results[i];
    if (actual instanceof Error) throw actual;
    const expected = evaluate(graph, { params, dims: dims ?? {} }).results.get('y')!;
    const tolerance = { f32: 1e-5, f16: 2 ** -10, bf16: 2 ** -7 }[expected.dtype as 'f32'];
    expect(difference(actual.results.get('y')!, expected, tolerance)).toBeUndefined();
  });
});
