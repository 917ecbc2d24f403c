// The rewrite driver: fixpoints, sharing, params, updates, origins, depth, and rule sets that never come to rest.
import { describe, expect, test } from 'vitest';
import { parseGraph } from '../../frontends/text/index.ts';
import { dim } from '../../ir/dim.ts';
import type { Graph } from '../../ir/graph.ts';
import { roots, topologicalOrder } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { Node } from '../../ir/node.ts';
import { isOp, originOf, setOrigin } from '../../ir/node.ts';
import { rewrite, substitute, transform, withArgs } from '../../ir/rewrite.ts';
import { printGraph } from '../../ir/text.ts';
import { verify } from '../../ir/verify.ts';

const shape = [dim(4)];
const param = (name: string, kind: 'input' | 'weight' | 'state' | 'constant' = 'input'): Node<'param'> =>
  make('param', [], { name, kind, dtype: 'f32', shape });
const unary = (op: 'neg' | 'sin' | 'cos' | 'tanh' | 'exp' | 'floor', x: Node): Node => make(op, [x], {});
const graphOf = (result: Node, params: readonly Node<'param'>[]): Graph => ({
  name: 'g',
  params,
  results: new Map([['y', result]]),
  updates: new Map(),
});
const only = (g: Graph): Node => g.results.get('y')!;

describe('rewrite', () => {
  test('without a match gives the same nodes', () => {
    const x = param('x');
    const g = graphOf(unary('sin', x), [x, param('unused', 'weight')]);
    expect(printGraph(rewrite(g, { cos: (n) => n.args[0] }))).toBe(printGraph(g));
    expect(only(rewrite(g, {}))).toBe(only(g));
  });

  test('rewrites bottom-up, then the result, until nothing matches', () => {
    const x = param('x');
    const rules = {
      neg: ({ args: [a] }: Node<'neg'>) => (isOp(a, 'neg') ? a.args[0] : undefined),
      sin: ({ args: [a] }: Node<'sin'>) => unary('cos', a),
      cos: ({ args: [a] }: Node<'cos'>) => unary('neg', unary('neg', unary('tanh', a))),
    };
    const g = graphOf(unary('neg', unary('sin', unary('neg', x))), [x]);
    expect(only(rewrite(g, rules))).toBe(unary('neg', unary('tanh', unary('neg', x))));
  });

  test('applies a rule once per shared node', () => {
    const x = param('x');
    let node: Node = unary('sin', x);
    for (let i = 0; i < 60; i++) node = make('add', [node, node], {}); // 2^60 paths
    let calls = 0;
    rewrite(graphOf(node, [x]), {
      add: () => {
        calls++;
        return undefined;
      },
      sin: (n) => unary('cos', n.args[0]),
    });
    expect(calls).toBe(60);
  });

  test('does not recurse: 50 000 nodes, and replacements within replacements', () => {
    const x = param('x');
    let node: Node = x;
    for (let i = 0; i < 50_000; i++) node = unary(i % 2 ? 'sin' : 'tanh', node);
    const result = rewrite(graphOf(node, [x]), { tanh: (n) => unary('cos', n.args[0]) });
    expect(topologicalOrder(roots(result)).filter((n) => isOp(n, 'cos'))).toHaveLength(25_000);
    let deep: Node = x;
    for (let i = 0; i < 5_000; i++) deep = unary(i % 2 ? 'exp' : 'tanh', deep);
    const pushed = rewrite(graphOf(unary('neg', deep), [x]), {
      neg: ({ args: [a] }) => (isOp(a, 'exp') || isOp(a, 'tanh') ? unary(a.op, unary('neg', a.args[0])) : undefined),
    });
    expect(topologicalOrder(roots(pushed))[1].op).toBe('neg');
  });

  test('says so when rules never come to rest', () => {
    const x = param('x');
    const endless = /rewriting does not end: the rule for (sin|cos|add)/;
    const swap = { sin: (n: Node) => unary('cos', n.args[0]), cos: (n: Node) => unary('sin', n.args[0]) };
    expect(() => rewrite(graphOf(unary('sin', x), [x]), swap)).toThrow(endless);
    const grow = { sin: (n: Node) => unary('tanh', unary('sin', unary('exp', n.args[0]))) };
    expect(() => rewrite(graphOf(unary('sin', x), [x]), grow)).toThrow(endless);
    const wrap = { sin: (n: Node) => unary('neg', n) };
    expect(() => rewrite(graphOf(unary('sin', x), [x]), wrap)).toThrow(endless);
    const turn = { add: (n: Node) => make('add', [n.args[1], n.args[0]], {}) };
    expect(() => rewrite(graphOf(make('add', [x, unary('sin', x)], {}), [x]), turn)).toThrow(endless);
  });

  test('a rule that changes a type is an error', () => {
    const x = param('x');
    expect(() =>
      rewrite(graphOf(unary('sin', x), [x]), { sin: (n) => make('cast', [n.args[0]], { dtype: 'f16' }) }),
    ).toThrow('the rule for sin replaces a value of type f32[4] by f16[4]');
  });

  test('replaces params, keeps their order, drops weights without a user', () => {
    const [x, w, v, unused] = [param('x'), param('w', 'weight'), param('v', 'weight'), param('unused', 'weight')];
    const g = graphOf(make('add', [make('mul', [x, w], {}), v], {}), [x, w, unused, v]);
    const renamed = rewrite(g, {
      param: (p) => (p.attrs.name === 'w' ? make('param', [], { ...p.attrs, name: 'w2' }) : undefined),
    });
    expect(renamed.params.map((p) => p.attrs.name)).toEqual(['x', 'w2', 'unused', 'v']);
    verify(renamed);
    const dropped = rewrite(g, { mul: (n) => n.args[0] });
    expect(dropped.params.map((p) => p.attrs.name)).toEqual(['x', 'unused', 'v']);
    const added = rewrite(g, { mul: (n) => make('div', [n.args[0], param('new', 'weight')], {}) });
    expect(added.params.map((p) => p.attrs.name)).toEqual(['x', 'unused', 'v', 'new']);
    verify(added);
    const noInput = rewrite(g, { add: (n) => n.args[1] });
    expect(noInput.params.map((p) => p.attrs.name)).toEqual(['x', 'unused', 'v']);
  });

  test('state params keep their updates', () => {
    const s = param('s', 'state');
    const g: Graph = { name: 'g', params: [s], results: new Map(), updates: new Map([[s, unary('sin', s)]]) };
    const renamed = rewrite(g, {
      param: (p) => (p.attrs.name === 's' ? make('param', [], { ...p.attrs, name: 't' }) : undefined),
    });
    expect([...renamed.updates].map(([p, n]) => [p.attrs.name, n.op])).toEqual([['t', 'sin']]);
    verify(renamed);
    expect(() => rewrite(g, { param: (p) => (p === s ? broadcastZero() : undefined) })).toThrow(
      'state s must be replaced by an expression over one new state',
    );
  });

  test('origins follow', () => {
    const x = param('x');
    const node = unary('sin', unary('cos', x));
    setOrigin(node, 'layers.7');
    const result = only(rewrite(graphOf(node, [x]), { sin: (n) => unary('floor', unary('exp', n.args[0])) }));
    expect(result.op).toBe('floor');
    expect(originOf(result)).toBe('layers.7');
    expect(originOf(result.args[0])).toBe('layers.7');
    expect(originOf(result.args[0].args[0])).toBeUndefined();
  });
});

const broadcastZero = (): Node =>
  make('broadcast', [make('const', [], { value: 0, dtype: 'f32' })], { shape, axes: [] });

describe('substitute and transform', () => {
  test('a replacement is taken as it is, even around what it replaces', () => {
    const x = param('x');
    const g = graphOf(unary('sin', unary('cos', x)), [x]);
    const cos = unary('cos', x);
    expect(only(substitute(g, new Map([[cos, unary('neg', cos)]])))).toBe(unary('sin', unary('neg', cos)));
  });

  test('types may change', () => {
    const g = parseGraph('graph g(%x: input f32[4]) { %0 = sin(%x) return y = %0 }');
    const wide = make('param', [], { name: 'x', kind: 'input', dtype: 'f16', shape: [dim(9)] });
    const result = substitute(g, new Map([[g.params[0], wide]]));
    expect(result.params).toEqual([wide]);
    expect(only(result)).toBe(make('sin', [wide], {}));
  });

  test('transform sees every node with its new arguments', () => {
    const x = param('x');
    const g = graphOf(unary('sin', unary('cos', x)), [x]);
    const ops: string[] = [];
    const result = transform(g, (node, args) => {
      ops.push(node.op);
      return isOp(node, 'cos') ? unary('tanh', args[0]) : withArgs(node, args);
    });
    expect(ops).toEqual(['param', 'cos', 'sin']);
    expect(only(result)).toBe(unary('sin', unary('tanh', x)));
  });
});
