// The rewrite of adapters against its formulas, on single uses of small matrices, in text and numbers.
import { expect, test } from 'vitest';
import { parseGraph } from '../../frontends/text/index.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray, sizeOf } from '../../ir/ndarray.ts';
import { verify } from '../../ir/verify.ts';
import { adapt, type LoraOptions, type LoraTerm } from '../../passes/lora.ts';

const [inputs, outputs, rank, rows] = [3, 4, 2, 2];

/** Reproducible values of the size of weights. */
const array = (shape: readonly number[], seed: number): NdArray =>
  ndarray(
    'f32',
    shape,
    Array.from({ length: sizeOf(shape) }, (_, i) => Math.fround(Math.sin(i * 1.7 + seed))),
  );

const a = array([rank, inputs], 1);
const b = array([outputs, rank], 2);
const x = array([rows, inputs], 3);
const weight = array([outputs, inputs], 4);
const at = (m: NdArray, i: number, j: number): number => m.data[i * m.shape[1] + j];
const sum = (count: number, f: (k: number) => number): number =>
  Array.from({ length: count }, (_, k) => f(k)).reduce((s, v) => s + v, 0);
const turned = (m: NdArray): NdArray => {
  const [r, c] = m.shape;
  return ndarray(
    'f32',
    [c, r],
    Array.from({ length: r * c }, (_, i) => at(m, i % r, Math.floor(i / r))),
  );
};

const term: LoraTerm = { a: 'a', b: 'b', rank, scaling: 0.5 };
/** W + s B A at an output and an input. */
const adapted = (o: number, i: number): number => at(weight, o, i) + 0.5 * sum(rank, (r) => at(b, o, r) * at(a, r, i));
const expected = (factor: (o: number) => number = () => 1): number[] =>
  Array.from({ length: rows * outputs }, (_, n) => {
    const [row, o] = [Math.floor(n / outputs), n % outputs];
    return factor(o) * sum(inputs, (i) => at(x, row, i) * adapted(o, i));
  });

function run(graph: Graph, options: LoraOptions, params: Readonly<Record<string, NdArray>>): NdArray {
  const changed = adapt(graph, options);
  verify(changed);
  return evaluate(changed, { params: new Map(Object.entries(params)), dims: {} }).results.get('y')!;
}

const close = (actual: NdArray, wanted: readonly number[]): void => {
  expect(actual.data.length).toBe(wanted.length);
  for (const [i, v] of wanted.entries()) expect(actual.data[i]).toBeCloseTo(v, 5);
};

const linear = parseGraph(`graph g(%x: input f32[2, 3], %w: weight f32[4, 3]) {
  %y = dot_general(%x, %w) {batch: [[], []], contract: [[1], [1]], acc: f32}
  return y = %y
}`);
const use = { weight: 'w', use: 'product' as const };

test('a product with a weight stored [out, in], [in, out], or turned by the graph', () => {
  const params = { a, b, x };
  close(run(linear, { uses: [{ ...use, terms: [term] }] }, { ...params, w: weight }), expected());
  const stored = parseGraph(`graph g(%x: input f32[2, 3], %w: weight f32[3, 4]) {
    %y = dot_general(%x, %w) {batch: [[], []], contract: [[1], [0]], acc: f32}
    return y = %y
  }`);
  const magnitude = array([outputs], 7);
  const norm = (o: number): number => Math.sqrt(sum(inputs, (i) => adapted(o, i) ** 2));
  const dora = { uses: [{ ...use, terms: [{ ...term, magnitude: 'm' }] }] };
  const scaled = expected((o) => magnitude.data[o] / norm(o));
  close(run(stored, dora, { ...params, m: magnitude, w: turned(weight) }), scaled);
  close(run(linear, dora, { ...params, m: magnitude, w: weight }), scaled);
  const turnedByGraph = parseGraph(`graph g(%x: input f32[2, 3], %w: weight f32[4, 3]) {
    %t = transpose(%w) {perm: [1, 0]}
    %y = dot_general(%x, %t) {batch: [[], []], contract: [[1], [0]], acc: f32}
    return y = %y
  }`);
  close(run(turnedByGraph, dora, { ...params, m: magnitude, w: weight }), scaled);
});

test('a bias on B, two terms, and a term for one row of the batch', () => {
  const bias = array([outputs], 8);
  const terms = [{ ...term, bias: 'bias' }];
  const withBias = expected().map((v, i) => v + 0.5 * bias.data[i % outputs]);
  close(run(linear, { uses: [{ ...use, terms }] }, { a, b, x, bias, w: weight }), withBias);
  const plain = run(linear, { uses: [] }, { x, w: weight }).data;
  const twice = expected().map((v, i) => 2 * v - plain[i]);
  close(run(linear, { uses: [{ ...use, terms: [term, term] }] }, { a, b, x, w: weight }), twice);
  const columns = { columns: 1, uses: [{ ...use, terms: [{ ...term, column: 0 }] }] };
  const factors = ndarray('f32', [rows, 1], [0, 1]);
  const byRow = expected().map((v, i) => (i < outputs ? plain[i] : v));
  close(run(linear, columns, { a, b, x, w: weight, adapter_rows: factors }), byRow);
});

test('a tied table: rows that are looked up or compared with are adapted apart, or replaced in both uses', () => {
  const tied = parseGraph(`graph g(%ids: input i32[2], %w: weight f32[3, 4]) {
    %e = gather(%w, %ids) {axis: 0, batch: 0}
    %y = dot_general(%e, %w) {batch: [[], []], contract: [[1], [1]], acc: f32}
    return y = %y, e = %e
  }`);
  const table = turned(weight);
  const ids = ndarray('i32', [2], [2, 0]);
  const results = (options: LoraOptions, params: Record<string, NdArray>) =>
    evaluate(adapt(tied, options), { params: new Map(Object.entries({ ids, w: table, ...params })), dims: {} }).results;
  const lookup = results({ uses: [{ weight: 'w', use: 'lookup', terms: [term] }] }, { a, b });
  const rowOf = (id: number): number[] => Array.from({ length: outputs }, (_, o) => adapted(o, id));
  const looked = [...rowOf(2), ...rowOf(0)];
  close(lookup.get('e')!, looked);
  close(
    lookup.get('y')!,
    [0, 1].flatMap((r) => [0, 1, 2].map((id) => sum(outputs, (o) => looked[r * outputs + o] * at(table, id, o)))),
  );
  const own = array([1, outputs], 9);
  const replaced = { indices: 'ids1', values: 'own', count: 1 };
  const both = results(
    { uses: (['lookup', 'product'] as const).map((u) => ({ weight: 'w', use: u, terms: [], rows: [replaced] })) },
    { ids1: ndarray('i32', [1], [2]), own },
  );
  const now = (id: number): number[] =>
    id === 2 ? [...own.data] : Array.from({ length: outputs }, (_, o) => at(table, id, o));
  close(both.get('e')!, [...now(2), ...now(0)]);
  close(
    both.get('y')!,
    [2, 0].flatMap((r) => [0, 1, 2].map((id) => sum(outputs, (o) => now(r)[o] * now(id)[o]))),
  );
  const copy = array([3, outputs], 11);
  const other = results({ uses: [], replacements: [{ weight: 'w', use: 'lookup', by: 'copy' }] }, { copy });
  close(other.get('e')!, [...copy.data.slice(8), ...copy.data.slice(0, 4)]);
});

test('a weight that is used in another way is refused', () => {
  const squared = parseGraph(`graph g(%w: weight f32[4, 3]) {
    %y = mul(%w, %w)
    return y = %y
  }`);
  expect(() => adapt(squared, { uses: [{ ...use, terms: [term] }] })).toThrow(
    /changes products with w, but graph g uses it in another way/,
  );
  expect(adapt(linear, { uses: [{ weight: 'elsewhere', use: 'product', terms: [term] }] }).results.get('y')).toBe(
    linear.results.get('y'),
  );
});
