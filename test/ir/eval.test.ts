// The interpreter and the verifier: composites against their decompositions, simulated ranks, binding of dims, and what
// an ill-formed graph is told.
import { describe, expect, test } from 'vitest';
import { dim, dimAdd, dimMul, dimVar } from '../../ir/dim.ts';
import { roundTo } from '../../ir/dtype.ts';
import { evaluate, evaluateRanks } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import { isOp, type Node } from '../../ir/node.ts';
import { decompositionOf } from '../../ir/ops/decompose/index.ts';
import { updateIsInPlace, verify } from '../../ir/verify.ts';
import { type Case, f32, i32, uniform } from '../support/cases/case.ts';
import { cases as compositeCases } from '../support/cases/composite.ts';
import { difference } from '../support/compare.ts';

type Param = Node<'param'>;
const param = (name: string, ...shape: Param['attrs']['shape']): Param =>
  make('param', [], { name, kind: 'input', dtype: 'f32', shape });
const state = (name: string, ...shape: Param['attrs']['shape']): Param =>
  make('param', [], { name, kind: 'state', dtype: 'f32', shape });
const graphOf = (params: readonly Param[], results: Readonly<Record<string, Node>>, updates: Graph['updates'] = new Map()): Graph => ({ name: 'g', params, results: new Map(Object.entries(results)), updates }); // biome-ignore format: one row
const bind = (values: Readonly<Record<string, NdArray>>) => ({ params: new Map(Object.entries(values)) });

describe('composites equal their decompositions', () => {
  const types = ['f32', 'bf16', 'f16'] as const;
  // the two halves of a split attention have no simpler form: test/passes/split-attention.test.ts compares them with attention
  const decomposed = compositeCases.filter((c) => decompositionOf(c.op));
  const rows = decomposed.flatMap((c) => types.map((dtype) => [c.op, c.name, dtype, c] as const));
  test('all but the halves of a split attention have a decomposition', () => {
    const without = new Set(compositeCases.filter((c) => !decompositionOf(c.op)).map((c) => c.op));
    expect([...without].sort()).toEqual(['attention_merge', 'attention_split']);
  });
  test.each(rows)('%s: %s, %s', (_op, _name, dtype, c) => {
    const args = c.args.map((x): NdArray => {
      if (x.dtype === 'i32' || x.dtype === 'bool') return x;
      return { ...x, dtype, data: x.data.map((v) => roundTo(dtype, v)) };
    });
    const node = applied(c, args);
    const simpler = decompositionOf(node.op)!(node);
    expect(simpler.op).not.toBe(node.op);
    const params = node.args.filter((a): a is Param => isOp(a, 'param'));
    const graph = graphOf(params, { whole: node, parts: simpler });
    verify(graph);
    const { results } = evaluate(graph, {
      params: new Map(args.map((x, i) => [`p${i}`, x])),
      dims: c.dims ?? {},
    });
    // one unit in the last place of a narrow type, where f32 arithmetic falls on the other side of a tie
    const tolerance = { f32: 1e-5, bf16: 2 ** -7, f16: 2 ** -10 }[dtype];
    expect(difference(results.get('parts')!, results.get('whole')!, tolerance)).toBeUndefined();
  });
});

function applied(c: Case, args: readonly NdArray[]): Node {
  const params = args.map((x, i) => {
    const shape = c.shapes?.[i] ?? x.shape.map((d) => dim(d));
    return make('param', [], { name: `p${i}`, kind: 'input', dtype: x.dtype, shape });
  });
  return make(c.op, params, c.attrs);
}

describe('binding', () => {
  const n = dimVar('n', 1, 8);
  const m = dimVar('m', 0, 8);
  const x = param('x', n, dimAdd(n, m));
  const graph = graphOf([x], { y: make('dim', [], { dim: dimMul(n, m) }) });
  const y = (values: Readonly<Record<string, NdArray>>) => evaluate(graph, bind(values)).results.get('y')!.data[0];

  test('dims come from shapes, sums once their other terms are known', () => {
    expect(y({ x: uniform([2, 5], 1) })).toBe(6);
  });
  test('dims that no shape has come from the caller', () => {
    const k = dimVar('k', 1, 4);
    const free = graphOf([], { y: make('iota', [], { shape: [k], axis: 0, dtype: 'i32' }) });
    const out = evaluate(free, { params: new Map(), dims: { k: 3 } });
    expect([...out.results.get('y')!.data]).toEqual([0, 1, 2]);
    expect(() => evaluate(free, bind({}))).toThrow('dimension k is not bound');
    expect(() => evaluate(free, { params: new Map(), dims: { k: 9 } })).toThrow(
      'makes dimension k 9; it must be in 1..4',
    );
  });
  test.each([
    [
      'a dim out of bounds',
      { x: uniform([9, 9], 1) },
      "param 'x' of shape [9,9] makes dimension n 9; it must be in 1..8",
    ],
    ['a negative dim', { x: uniform([5, 2], 1) }, "param 'x' of shape [5,2] makes dimension m -3; it must be in 0..8"],
    ['another rank', { x: uniform([2], 1) }, "param 'x' must have shape [n, m + n], but its value has [2]"],
  ])('%s', (_what, values, message) => {
    expect(() => y(values)).toThrow(message);
  });
  test('shapes that disagree, params that are missing or of another dtype', () => {
    const z = param('z', n);
    const sum = graphOf([z, param('w', n)], { y: make('add', [z, param('w', n)], {}) });
    expect(() => evaluate(sum, bind({ z: f32([2], 1, 2), w: f32([3], 1, 2, 3) }))).toThrow(
      "param 'w' must have shape [n], but its value has [3]",
    );
    expect(() => evaluate(sum, bind({ z: f32([2], 1, 2) }))).toThrow("param 'w' is not bound");
    expect(() => evaluate(sum, bind({ z: f32([2], 1, 2), w: i32([2], 1, 2) }))).toThrow(
      "param 'w' is f32, but its value is i32",
    );
  });
  test('updates are returned by name', () => {
    const s = state('s', dim(2));
    const out = evaluate(graphOf([s], {}, new Map([[s, make('add', [s, s], {})]])), bind({ s: f32([2], 1, 2) }));
    expect([...out.updates.get('s')!.data]).toEqual([2, 4]);
  });
});

describe('ranks', () => {
  const x = param('x', dim(2), dim(2));
  const tp = { mesh: 'tp', size: 2 } as const;
  const rows = [f32([2, 2], 1, 2, 3, 4), f32([2, 2], 10, 20, 30, 40)];
  const run = (node: Node, values = rows, mesh: Readonly<Record<string, number>> = { tp: 2 }): number[][] =>
    evaluateRanks(graphOf([x], { y: node }), values.map((v) => bind({ x: v })), mesh).map((out) => [...out.results.get('y')!.data]); // biome-ignore format: one row

  test.each([
    ['all_gather of rows', make('all_gather', [x], { ...tp, axis: 0 }), [1, 2, 3, 4, 10, 20, 30, 40], [1, 2, 3, 4, 10, 20, 30, 40]],
    ['all_gather of columns', make('all_gather', [x], { ...tp, axis: 1 }), [1, 2, 10, 20, 3, 4, 30, 40], [1, 2, 10, 20, 3, 4, 30, 40]],
    ['all_reduce', make('all_reduce', [x], { ...tp, op: 'add' }), [11, 22, 33, 44], [11, 22, 33, 44]],
    ['all_reduce max', make('all_reduce', [x], { ...tp, op: 'max' }), [10, 20, 30, 40], [10, 20, 30, 40]],
    ['reduce_scatter of rows', make('reduce_scatter', [x], { ...tp, op: 'add', axis: 0 }), [11, 22], [33, 44]],
    ['reduce_scatter of columns', make('reduce_scatter', [x], { ...tp, op: 'add', axis: 1 }), [11, 33], [22, 44]],
    ['all_to_all', make('all_to_all', [x], { ...tp, split: 0, concat: 1 }), [1, 2, 10, 20], [3, 4, 30, 40]],
    ['permute', make('permute', [x], { ...tp, shift: 1 }), [10, 20, 30, 40], [1, 2, 3, 4]],
    ['axis_index', make('axis_index', [], tp), [0], [1]],
  ])('%s', (_name, node, first, second) => {
    expect(run(node)).toEqual([first, second]);
  }); // biome-ignore format: a table

  test('permute by a negative shift comes back', () => {
    const there = make('permute', [x], { ...tp, shift: 1 });
    expect(run(make('permute', [there], { ...tp, shift: -1 }))).toEqual(rows.map((r) => [...r.data]));
  });
  test('reduce_scatter then all_gather is all_reduce', () => {
    const scattered = make('reduce_scatter', [x], { ...tp, op: 'add', axis: 0 });
    expect(run(make('all_gather', [scattered], { ...tp, axis: 0 }))).toEqual(
      run(make('all_reduce', [x], { ...tp, op: 'add' })),
    );
  });
  test('a mesh of two axes: each collective stays in its row', () => {
    const values = [1, 2, 3, 4].map((v) => f32([2, 2], v, v, v, v));
    const mesh = { dp: 2, tp: 2 };
    const along = (name: string) => make('all_reduce', [x], { mesh: name, size: 2, op: 'add' });
    expect(run(along('tp'), values, mesh).map((r) => r[0])).toEqual([3, 3, 7, 7]);
    expect(run(along('dp'), values, mesh).map((r) => r[0])).toEqual([4, 6, 4, 6]);
  });
  test('a sharded product equals the whole one', () => {
    const [a, b] = [param('a', dim(3), dim(4)), param('b', dim(4), dim(5))];
    const dot = (p: Node, q: Node) =>
      make('dot_general', [p, q], { batch: [[], []], contract: [[1], [0]], acc: 'f32' });
    const [left, right] = [uniform([3, 4], 1), uniform([4, 5], 2)];
    const whole = evaluate(graphOf([a, b], { y: dot(a, b) }), bind({ a: left, b: right })).results.get('y')!;
    const [p, q] = [param('a', dim(3), dim(2)), param('b', dim(2), dim(5))];
    const sharded = graphOf([p, q], { y: make('all_reduce', [dot(p, q)], { ...tp, op: 'add' }) });
    const parts = [0, 1].map((rank) =>
      bind({
        a: f32([3, 2], ...[0, 1, 2].flatMap((i) => [...left.data.slice(i * 4 + rank * 2, i * 4 + rank * 2 + 2)])),
        b: f32([2, 5], ...right.data.slice(rank * 10, rank * 10 + 10)),
      }),
    );
    for (const out of evaluateRanks(sharded, parts, { tp: 2 })) {
      expect(difference(out.results.get('y')!, whole, 1e-6)).toBeUndefined();
    }
  });
  test('one rank of many, or another mesh, is an error', () => {
    const node = make('all_reduce', [x], { ...tp, op: 'add' });
    expect(() => run(node, [rows[0]], {})).toThrow("all_reduce runs over mesh axis 'tp' of size 2, but the mesh is {}");
    expect(() => run(node, [rows[0]], { tp: 2 })).toThrow('a mesh of 2 ranks needs 2 bindings, got 1');
  });
});

describe('verify', () => {
  const n = dimVar('n', 1, 8);
  const x = param('x', n);
  const y = make('neg', [x], {});
  test('accepts a graph that make built', () => {
    expect(() => verify(graphOf([x], { y }))).not.toThrow();
  });
  test('a node of another type than its arguments give', () => {
    const forged = { ...y, type: { dtype: 'f16', shape: [n] } } as Node;
    expect(() => verify(graphOf([x], { y: forged }))).toThrow(
      'graph g: neg is declared f16[n], but its arguments give f32[n]',
    );
  });
  test('an unknown op', () => {
    const forged = { ...y, op: 'toString' } as unknown as Node;
    expect(() => verify(graphOf([x], { y: forged }))).toThrow("graph g: there is no op 'toString'");
  });
  test('params: undeclared, or two of one name', () => {
    expect(() => verify(graphOf([], { y }))).toThrow("graph g: param 'x' is used but not declared");
    expect(() => verify(graphOf([x, param('x', dim(3))], { y }))).toThrow("graph g: two params are named 'x'");
  });
  test('one dimension with two bounds', () => {
    const other = param('z', dimVar('n', 1, 9));
    expect(() => verify(graphOf([x, other], { y }))).toThrow('graph g: dimension n is declared in 1..8 and in 1..9');
  });
  test('updates: of a state param, of its type', () => {
    const s = state('s', n);
    expect(() => verify(graphOf([x], { y }, new Map([[x, y]])))).toThrow(
      "param 'x' has an update, but it is of kind input",
    );
    expect(() => verify(graphOf([s], {}, new Map([[s, make('cast', [s], { dtype: 'f16' })]])))).toThrow(
      "param 's' is f32[n], but its update is f16[n]",
    );
    expect(() => verify(graphOf([x], { y }, new Map([[s, y]])))).toThrow(
      "the update of param 's' is of a param that is not declared",
    );
  });
  test('nothing to compute', () => {
    expect(() => verify(graphOf([x], {}))).toThrow('graph g: there is neither a result nor an update');
  });
});

describe('in-place updates', () => {
  const cache = state('cache', dim(1), dim(8));
  const values = param('values', dim(1), dim(2));
  const past = make('const', [], { value: 0, dtype: 'i32' });
  const updated = make('cache_update', [cache, values, past], { axis: 1 });
  const read = make('cache_read', [updated], { axis: 1, length: dim(2) });
  const inPlace = (results: Readonly<Record<string, Node>>, end: Node = updated) =>
    updateIsInPlace(graphOf([cache, values], results, new Map([[cache, end]])), cache);

  test('an update whose new value is read', () => expect(inPlace({ read })).toBe(true));
  test('a chain of updates', () =>
    expect(inPlace({ read }, make('cache_update', [updated, values, past], { axis: 1 }))).toBe(false));
  test('a chain of updates with one reader each', () => {
    expect(inPlace({}, make('cache_update', [updated, values, past], { axis: 1 }))).toBe(true);
  });
  test('no change at all', () => expect(inPlace({}, cache)).toBe(true));
  test('the old value is read too', () => {
    expect(inPlace({ read, old: make('neg', [cache], {}) })).toBe(false);
    expect(inPlace({ read, old: cache })).toBe(false);
  });
  test('another op', () => expect(inPlace({}, make('neg', [cache], {}))).toBe(false));
  test('no update', () => expect(updateIsInPlace(graphOf([cache], { read: cache }), cache)).toBe(false));
});
