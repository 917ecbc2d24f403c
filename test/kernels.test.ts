// Kernel templates at the shapes where they change their ways: sizes around vector lengths, tiles and the boundary
// between few and many rows, empty and single dimensions, rows longer than a task's piece, and every option of attention.
// All graphs of a group share one native build and are compared with the interpreter.
import { beforeAll, describe, expect, test } from 'vitest';
import { type Dim, dim, dimAdd, dimVar } from '../ir/dim.ts';
import { type DType, dtypeInfo, dtypes, isInteger, roundTo } from '../ir/dtype.ts';
import { evaluate } from '../ir/eval.ts';
import { type Graph, make, type Node } from '../ir/graph.ts';
import { type NdArray, ndarray, sizeOf } from '../ir/ndarray.ts';
import type { Attrs } from '../ir/ops/attrs.ts';
import { uniform } from './cases/case.ts';
import { difference } from './compare.ts';
import { type DeviceResult, type DeviceRun, devices } from './devices.ts';
import { randomNumbers } from './random-graph.ts';

const { present, missing } = await devices();

interface KernelCase extends DeviceRun {
  readonly name: string;
  readonly tolerance: number;
}

/** Rounding of one result of each dtype, and of sums of a few hundred products in f32, relative to the largest. */
const tolerances: Partial<Record<DType, number>> = { f32: 1e-5, bf16: 2 ** -8, f16: 2 ** -10 };

/** Builds a graph: `input` declares params of random values (or of those given). */
class Scene {
  readonly params: Node<'param'>[] = [];
  readonly values = new Map<string, NdArray>();

  constructor(readonly dims: Readonly<Record<string, number>> = {}) {}

  input(shape: readonly (Dim | number)[], dtype: DType = 'f32', data?: (i: number) => number): Node {
    const name = `x${this.params.length}`;
    const type = shape.map((d) => dim(d));
    const sizes = type.map((d) => sizeAt(d, this.dims));
    const random = uniform(sizes, 1 + this.params.length);
    const numbers = data ? Array.from({ length: sizeOf(sizes) }, (_, i) => data(i)) : random.data;
    const node = make('param', [], { name, kind: 'input', dtype, shape: type });
    this.params.push(node);
    this.values.set(
      name,
      ndarray(
        dtype,
        sizes,
        Array.from(numbers, (v) => roundTo(dtype, v)),
      ),
    );
    return node;
  }
}

const sizeAt = (d: Dim, dims: Readonly<Record<string, number>>): number => {
  let sum = 0;
  for (const [monomial, c] of d.terms) {
    sum += (monomial === '' ? [] : monomial.split('*')).reduce((p, name) => p * dims[name], c);
  }
  return sum;
};

function scene(
  name: string,
  build: (s: Scene) => Node | Readonly<Record<string, Node>>,
  options: { dims?: Readonly<Record<string, number>>; tolerance?: number } = {},
): KernelCase {
  const s = new Scene(options.dims);
  const built = build(s);
  const results = new Map<string, Node>('op' in built ? [['y', built as Node]] : Object.entries(built));
  const graph: Graph = { name: 'kernels', params: s.params, results, updates: new Map() };
  const tolerance = options.tolerance ?? Math.max(...[...results.values()].map((n) => tolerances[n.type.dtype] ?? 0));
  return { name, graph, params: s.values, dims: s.dims, tolerance };
}

// ---- idioms ----

const add = (a: Node, b: Node): Node => make('add', [a, b], {});
const mul = (a: Node, b: Node): Node => make('mul', [a, b], {});
const castTo = (x: Node, dtype: DType): Node => (x.type.dtype === dtype ? x : make('cast', [x], { dtype }));
const constant = (value: number, like: Node): Node => {
  const scalar = make('const', [], { value, dtype: like.type.dtype });
  return like.type.shape.length === 0 ? scalar : make('broadcast', [scalar], { shape: like.type.shape, axes: [] });
};
const spread = (x: Node, like: Node, axes: readonly number[]): Node =>
  make('broadcast', [x], { shape: like.type.shape, axes });
const lastAxis = (x: Node): number => x.type.shape.length - 1;
const silu = (x: Node): Node => make('div', [x, add(constant(1, x), make('exp', [make('neg', [x], {})], {}))], {});
/** x [.., K] times w [N, K], in the dtype of x. */
const linear = (x: Node, w: Node): Node => {
  const contract = [[lastAxis(x)], [lastAxis(w)]] as const;
  return castTo(make('dot_general', [x, w], { batch: [[], []], contract, acc: 'f32' }), x.type.dtype);
};
const norm = (x: Node, scale: Node, kind: 'rms' | 'layer' = 'rms'): Node =>
  make('norm', [x, scale], { kind, eps: 1e-5, scaleOffset: 0 });
const reduce = (x: Node, op: Attrs['reduce']['op'], axes: readonly number[], acc: DType = 'f32'): Node =>
  make('reduce', [x], { op, axes, acc });

const seq = dimVar('seq', 0, 400);
const batch = dimVar('batch', 1, 8);
const past = dimVar('past', 0, 200);

// ---- the groups ----

const empty: KernelCase[] = [
  ...[0, 1, 37].map((n) =>
    scene(`elementwise on a symbolic axis of ${n}`, (s) => silu(s.input([3, seq])), { dims: { seq: n } }),
  ),
  scene('elementwise on [3, 0]', (s) => silu(s.input([3, 0]))),
  scene('elementwise on [0, 3]', (s) => silu(s.input([0, 3]))),
  scene('elementwise on a scalar', (s) => silu(s.input([]))),
  scene('elementwise on [1, 1, 1]', (s) => silu(s.input([1, 1, 1]))),
  scene('a scalar spread', (s) => spread(s.input([]), s.input([2, 5]), [])),
  scene('sum of nothing', (s) => reduce(s.input([3, 0]), 'add', [1])),
  scene('sum of no rows', (s) => reduce(s.input([0, 3]), 'add', [1])),
  scene('max of nothing', (s) => reduce(s.input([0, 3]), 'max', [0])),
  scene('sum of all to a scalar, and then some', (s) => silu(reduce(s.input([5, 7]), 'add', [0, 1]))),
  scene('sum of a vector to a scalar, and then some', (s) => silu(reduce(s.input([70]), 'add', [0]))),
  scene('softmax of nothing', (s) => make('softmax', [s.input([4, 0])], { axis: 1 })),
  scene('softmax of no rows', (s) => make('softmax', [s.input([0, 4])], { axis: 1 })),
  scene('softmax of single elements', (s) => make('softmax', [s.input([4, 1])], { axis: 1 })),
  scene('sort of nothing', (s) => make('sort', [s.input([2, 0])], { axis: 1, descending: false })),
  scene('scan of nothing', (s) => make('scan', [s.input([2, 0])], { op: 'add', axis: 1, exclusive: false, reverse: true })),
  scene('scatter of nothing', (s) => make('scatter', [s.input([4, 3]), s.input([0], 'i32'), s.input([0, 3])], { axis: 0, batch: 0, combine: 'add' })),
  scene('gather of nothing', (s) => make('gather', [s.input([4, 3]), s.input([0], 'i32')], { axis: 0, batch: 0 })),
  scene('concat with nothing', (s) => make('concat', [s.input([2, 0]), s.input([2, 3]), s.input([2, 0])], { axis: 1 })),
  scene('product of no rows', (s) => linear(s.input([seq, 20]), s.input([9, 20])), { dims: { seq: 0 } }),
  scene('product of no rows, at most a few', (s) => linear(s.input([dimVar('few', 0, 4), 20]), s.input([9, 20])), { dims: { few: 0 } }),
  scene('product without depth', (s) => linear(s.input([3, 0]), s.input([9, 0]))),
  scene('product without depth, many rows', (s) => linear(s.input([80, 0]), s.input([9, 0]))),
  scene('product without columns', (s) => linear(s.input([3, 5]), s.input([0, 5]))),
  scene('product of two vectors', (s) => linear(s.input([5]), s.input([5]))),
  scene('product of a vector and a matrix', (s) => linear(s.input([50]), s.input([6, 50]))),
  scene('product of single elements', (s) => linear(s.input([1, 1]), s.input([1, 1]))),
  scene('norm of single elements', (s) => norm(s.input([3, 1]), s.input([1]), 'layer')),
  scene('attention of no queries', (s) => attention(s, { batch: 2, heads: 2, groups: 1, queries: 0, keys: 3, width: 8 })),
  scene('attention of no keys', (s) => attention(s, { batch: 2, heads: 2, groups: 1, queries: 3, keys: 0, width: 8 })),
]; // biome-ignore format: a table

const long: KernelCase[] = [
  ...[32769, 40001, 65536].flatMap((n) => [
    scene(`elementwise on ${n}`, (s) => silu(s.input([n]))),
    scene(`elementwise on [3, ${n}] with a row and a column`, (s) => {
      const x = s.input([3, n]);
      return add(mul(x, spread(s.input([3]), x, [0])), spread(s.input([n]), x, [1]));
    }),
    scene(`bf16 of ${n}`, (s) => castTo(s.input([2, n]), 'bf16')),
    scene(`a transpose of [${n}, 2]`, (s) => make('transpose', [s.input([n, 2])], { perm: [1, 0] })),
    scene(`concat to ${n + 5}`, (s) => make('concat', [s.input([n]), s.input([5])], { axis: 0 })),
    scene(`sum of ${n}`, (s) => reduce(s.input([2, n]), 'add', [1])),
    scene(`softmax of ${n}`, (s) => make('softmax', [s.input([2, n])], { axis: 1 })),
    scene(`layer norm of ${n}`, (s) => norm(s.input([2, n]), s.input([n]), 'layer')),
  ]),
  scene('a cache update of long rows', (s) =>
    make('cache_update', [s.input([2, 40000]), s.input([1, 40000]), s.input([], 'i32', () => 1)], { axis: 0 })),
  scene('elementwise on many rows', (s) => silu(s.input([5000, 7]))),
  scene('elementwise on a symbolic long axis', (s) => silu(s.input([dimVar('long', 1, 100000)])), { dims: { long: 33333 } }),
]; // biome-ignore format: a table

const subsets = (n: number): number[][] =>
  Array.from({ length: 2 ** n }, (_, bits) => Array.from({ length: n }, (_2, i) => i).filter((i) => bits & (1 << i)));
const withNaN = (i: number): number => (i % 17 === 5 ? Number.NaN : ((i * 37) % 23) - 11);

const reductions: KernelCase[] = [
  ...subsets(4).flatMap((axes) => [
    scene(`sum over [${axes}]`, (s) => reduce(s.input([3, 4, 5, 18]), 'add', axes)),
    scene(`max over [${axes}], with NaN`, (s) => reduce(s.input([3, 4, 5, 18], 'f32', withNaN), 'max', axes)),
  ]),
  ...(['add', 'mul', 'max', 'min'] as const).flatMap((op) => [
    scene(`i32 ${op}`, (s) => reduce(s.input([3, 19], 'i32', (i) => (i % 13) - 6), op, [1], 'i32')),
    scene(`u8 ${op}`, (s) => reduce(s.input([3, 19], 'u8', (i) => (i * 31) % 256), op, [1], 'u8')),
    scene(`i64 ${op}`, (s) => reduce(s.input([3, 19], 'i64', (i) => (i % 13) - 6), op, [1], 'i64')),
    scene(`bf16 ${op}`, (s) => reduce(s.input([3, 35], 'bf16'), op, [1])),
    scene(`f16 ${op}, in f16`, (s) => reduce(s.input([3, 6], 'f16'), op, [1], 'f16'), { tolerance: 2 ** -8 }),
    scene(`f32 ${op}, 33 elements`, (s) => reduce(s.input([3, 33]), op, [1])),
  ]),
  scene('and, or', (s) => {
    const x = s.input([4, 21], 'bool', (i) => (i % 20 ? 1 : 0));
    return { all: reduce(x, 'and', [1], 'bool'), some: reduce(x, 'or', [1], 'bool') };
  }),
  scene('several reductions of one row', (s) => {
    const x = s.input([6, 50]);
    const [sum, top] = [reduce(x, 'add', [1]), reduce(x, 'max', [1])];
    return make('div', [add(x, spread(sum, x, [0])), spread(add(top, constant(3, top)), x, [0])], {});
  }),
  scene('a row of one reduction spread along another axis', (s) => {
    const x = s.input([12, 12]);
    const sum = reduce(x, 'add', [1]);
    return add(spread(sum, x, [1]), spread(sum, x, [0]));
  }),
  scene('a softmax whose rows are reversed', (s) =>
    make('reverse', [make('softmax', [s.input([4, 40])], { axis: 1 })], { axes: [0] }),
  ),
  scene('a softmax whose elements are reversed', (s) =>
    make('reverse', [make('softmax', [s.input([4, 40])], { axis: 1 })], { axes: [1] }),
  ),
  scene('rows of a softmax times rows of its reverse', (s) => {
    const p = make('softmax', [s.input([4, 40])], { axis: 1 });
    return mul(p, make('reverse', [p], { axes: [0, 1] }));
  }),
  scene('a square that is spread both ways', (s) => {
    const x = s.input([24, 24]);
    const sum = make('exp', [reduce(make('tanh', [x], {}), 'max', [1])], {});
    return make('div', [spread(sum, x, [1]), spread(sum, x, [0])], {});
  }),
  scene('twelve levels of neighbours that add up', (s) => {
    let x = s.input([3, 60]);
    const part = (y: Node, start: number): Node => {
      const [rows, n] = y.type.shape;
      return make('slice', [y], { starts: [dim(0), dim(start)], sizes: [rows, dim(n.min - 1)], strides: [1, 1] });
    };
    for (let i = 0; i < 12; i++) x = mul(add(part(x, 0), part(x, 1)), constant(0.5, part(x, 0)));
    return x;
  }),
  scene('a chain of a thousand', (s) => {
    let x = s.input([50]);
    for (let i = 0; i < 500; i++) x = add(make('sin', [x], {}), constant(i / 500, x));
    return x;
  }),
  scene('reductions of rows of two lengths', (s) => {
    const [sum, top] = [reduce(s.input([6, 50]), 'add', [1]), reduce(s.input([6, 9]), 'max', [1])];
    return mul(sum, top);
  }),
  scene('reductions at two depths', (s) => {
    const inner = reduce(s.input([4, 6, 50]), 'max', [2]);
    const sum = reduce(inner, 'add', [1]);
    return mul(inner, spread(sum, inner, [0]));
  }),
]; // biome-ignore format: a table

const ties = (i: number): number => (i % 11 === 3 ? Number.NaN : (i * i) % 7);
const ordering: KernelCase[] = [
  ...[1, 2, 5, 40].map((k) => scene(`top ${k} of 40 with ties and NaN`, (s) => make('top_k', [s.input([3, 40], 'f32', ties)], { k }))),
  ...[1, 8].map((k) => scene(`top ${k} of i32`, (s) => make('top_k', [s.input([3, 40], 'i32', (i) => (i * 7) % 11)], { k }))),
  ...[1, 3].map((k) => scene(`top ${k} of bf16`, (s) => make('top_k', [s.input([3, 40], 'bf16')], { k }))),
  scene('top 50 of 3000', (s) => make('top_k', [s.input([2, 3000])], { k: 50 })),
  scene('top 5 of NaN alone', (s) => make('top_k', [s.input([2, 9], 'f32', () => Number.NaN)], { k: 5 })),
  scene('top 1 of NaN alone', (s) => make('top_k', [s.input([2, 9], 'f32', () => Number.NaN)], { k: 1 })),
  scene('top 1 of -infinity alone', (s) => make('top_k', [s.input([2, 9], 'f32', () => Number.NEGATIVE_INFINITY)], { k: 1 })),
  ...[1, 2, 3, 1000].flatMap((n) =>
    [false, true].flatMap((descending) => [
      scene(`sort of ${n}, ${descending}`, (s) => make('sort', [s.input([2, n])], { axis: 1, descending })),
      scene(`sort of ${n} with ties and NaN, ${descending}`, (s) => make('sort', [s.input([n, 2], 'f32', ties)], { axis: 0, descending })),
    ]),
  ),
  scene('sort of a symbolic axis', (s) => make('sort', [s.input([2, seq])], { axis: 1, descending: false }), { dims: { seq: 77 } }),
  scene('sort of i32', (s) => make('sort', [s.input([2, 77], 'i32', (i) => ((i * 37) % 23) - 11)], { axis: 1, descending: true })),
  scene('sort of f16', (s) => make('sort', [s.input([2, 77], 'f16')], { axis: 1, descending: false })),
  ...(['set', 'add', 'min', 'max'] as const).flatMap((combine) =>
    (['f32', 'bf16', 'i32', 'u8'] as const).map((dtype) =>
      scene(`scatter ${combine} of ${dtype} with duplicates and positions outside`, (s) => {
        const number = (i: number) => (i * 29) % 13;
        const x = s.input([3, 6, 5], dtype, number);
        const indices = s.input([3, 9], 'i32', (i) => ((i * 5) % 9) - 2);
        return make('scatter', [x, indices, s.input([3, 9, 5], dtype, (i) => number(i + 4))], { axis: 1, batch: 1, combine });
      }),
    ),
  ),
  ...(['add', 'mul', 'max', 'min'] as const).flatMap((op) =>
    [false, true].map((reverse) =>
      scene(`scan ${op}, ${reverse}`, (s) => make('scan', [s.input([3, 40, 2])], { op, axis: 1, exclusive: reverse, reverse })),
    ),
  ),
]; // biome-ignore format: a table

// Products: rows around the register tiles and maxMatvecRows, columns and depth around lanes and strips.
const rowCounts = [1, 2, 3, 4, 5, 7, 63, 64, 65, 300];
const products: KernelCase[] = [
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

// ---- attention ----

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

function attention(s: Scene, sizes: AttentionSizes, options: Partial<Attrs['attention']> = {}): Node {
  const { batch: b, heads, groups, queries, keys, width, values = width, dtype = 'f32' } = sizes;
  const attrs = { scale: width ** -0.5, causal: true, window: 0, softcap: 0, operands: [], ...options };
  const args = [
    s.input([b, heads, queries, width], dtype),
    s.input([b, groups, keys, width], dtype),
    s.input([b, groups, keys, values], dtype),
    ...attrs.operands.map((name) => {
      if (name === 'mask') return s.input([b, keys], 'bool', (i) => ((i * 7) % 5 ? 1 : 0));
      if (name === 'sinks') return s.input([heads], dtype);
      return s.input([s.params.length % 2 ? b : 1, s.params.length % 2 ? 1 : heads, queries, keys], dtype);
    }),
  ];
  return make('attention', args, attrs);
}

/** Back to [batch, queries, heads * values], as models do. */
const merged = (x: Node): Node => {
  const [b, h, s, e] = x.type.shape;
  const shape = [b, s, dim(h.min * e.min)];
  return make('reshape', [make('transpose', [x], { perm: [0, 2, 1, 3] })], { shape });
};

const random = randomNumbers(1);
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)];
const attentions: KernelCase[] = [
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
      operands: (['mask', 'bias', 'sinks'] as const).filter(() => random() < 0.35),
    };
    const isMerged = random() < 0.5;
    return scene(`${i}: ${JSON.stringify({ ...sizes, ...options, isMerged })}`, (s) => {
      const y = attention(s, sizes, options);
      return isMerged ? merged(y) : y;
    });
  }),
  ...[[1, 0], [1, 17], [1, 200], [9, 0], [9, 100], [70, 3], [300, 0]].flatMap(([queries, before]) => [
    scene(`symbolic: ${queries} queries after ${before}`, (s) =>
      merged(attention(s, { batch, heads: 4, groups: 2, queries: seq, keys: dimAdd(past, seq), width: 16 })),
      { dims: { batch: 2, seq: queries, past: before } }),
    scene(`symbolic with a mask and a window: ${queries} queries after ${before}`, (s) =>
      merged(attention(s, { batch, heads: 4, groups: 2, queries: seq, keys: dimAdd(past, seq), width: 16 }, { operands: ['mask'], window: 20 })),
      { dims: { batch: 2, seq: queries, past: before } }),
  ]),
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

// ---- elementwise: whole vectors and a tail, of every dtype, with the values at which types end ----

const corners: Readonly<Record<'float' | 'signed' | 'unsigned' | 'bool', readonly number[]>> = {
  float: [0, -0, 1, -1, 0.5, 1.5, 2.5, -2.5, 300.7, -300.7, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 63, -(2 ** 63), 1e-30, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN],
  signed: [0, 1, -1, 2, -2, 7, -8, 100, -100, 127, -128],
  unsigned: [0, 1, 2, 3, 7, 8, 100, 127, 128, 200, 255],
  bool: [0, 1, 1],
}; // biome-ignore format: a table
/** Corner values by position; `step` puts them into another order. */
const cornersOf =
  (dtype: DType, step: number) =>
  (i: number): number => {
    const { kind, min, max } = dtypeInfo[dtype];
    const list = isInteger(dtype) && dtype !== 'i64' ? [...corners[kind], min, max] : corners[kind];
    return list[(i * step + step) % list.length];
  };
const smooth = (i: number): number => ((i * 13) % 41) / 8 - 2.4;

const elementwise: KernelCase[] = [
  ...dtypes.flatMap((from) => dtypes.map((to) => scene(`cast ${from} to ${to}`, (s) => castTo(s.input([37], from, cornersOf(from, 1)), to), { tolerance: 0 }))),
  ...dtypes.flatMap((dtype) => [
    ...(['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const).map((direction) =>
      scene(`${direction} of ${dtype}`, (s) => make('compare', [s.input([37], dtype, cornersOf(dtype, 1)), s.input([37], dtype, cornersOf(dtype, 3))], { direction })),
    ),
    scene(`select of ${dtype}`, (s) => make('select', [s.input([37], 'bool', (i) => (i % 3 ? 1 : 0)), s.input([37], dtype, cornersOf(dtype, 1)), s.input([37], dtype, cornersOf(dtype, 3))], {}), { tolerance: 0 }),
    ...(['add', 'mul', 'div', 'rem', 'max', 'min', 'and', 'or', 'xor', 'shl', 'shr'] as const)
      .filter((op) => (isInteger(dtype) ? true : dtype === 'bool' ? ['and', 'or', 'xor'].includes(op) : ['max', 'min', 'add', 'mul', 'div'].includes(op)))
      .map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, cornersOf(dtype, 1)), s.input([37], dtype, cornersOf(dtype, 5))], {}), { tolerance: 0 })),
  ]),
  ...(['f32', 'bf16', 'f16'] as const).flatMap((dtype) => [
    ...(['neg', 'floor', 'round'] as const).map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, cornersOf(dtype, 1))], {}), { tolerance: 0 })),
    ...(['exp', 'log', 'sin', 'cos', 'tanh', 'erf', 'sqrt', 'rsqrt'] as const).map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, smooth)], {}))),
    ...(['pow', 'rem'] as const).map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, smooth), s.input([37], dtype, (i) => smooth(3 * i + 1))], {}))),
  ]),
]; // biome-ignore format: a table

const groups: Readonly<Record<string, readonly KernelCase[]>> = {
  'empty and single dimensions': empty,
  elementwise,
  'long rows': long,
  reductions,
  'orderings, scatters and scans': ordering,
  products,
  attention: attentions,
};

for (const { name, why } of missing) test.skip(`${name} is not here: ${why}`, () => {});
for (const device of present) {
  describe.each(Object.entries(groups))(`${device.name}, %s`, (_group, cases) => {
    let results: DeviceResult[] = [];
    beforeAll(async () => {
      results = await device.run(cases);
    }, 600_000);

    test.each(cases.map((c, i) => [c.name, i] as const))('%s', (_name, i) => {
      const actual = results[i];
      if (actual instanceof Error) throw actual;
      for (const [name, value] of evaluate(cases[i].graph, cases[i]).results) {
        expect(difference(actual.results.get(name)!, value, cases[i].tolerance), name).toBeUndefined();
      }
    });
  });
}
