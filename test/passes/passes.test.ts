// Passes, text in, text out: each file in test/passes names a pass, gives a graph, and after `---` what comes out.
// UPDATE=1 writes the outputs anew. Every case must also verify, and mean the same before and after.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { mmaTiles } from '../../backends/cuda/tiles.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import type { DimVar } from '../../ir/dim.ts';
import { dimEval } from '../../ir/dim.ts';
import { isFloat } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { dimVars, roots, topologicalOrder } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import { ndarray, sizeOf } from '../../ir/ndarray.ts';
import type { Node, OpName } from '../../ir/node.ts';
import { isOp, originOf, setOrigin } from '../../ir/node.ts';
import { decomposable } from '../../ir/ops/decompose/index.ts';
import { opNames } from '../../ir/ops/index.ts';
import type { Target } from '../../ir/target.ts';
import { printGraph } from '../../ir/text.ts';
import { verify } from '../../ir/verify.ts';
import { bind } from '../../passes/bind.ts';
import { cacheLayout } from '../../passes/cache-layout.ts';
import { decompose } from '../../passes/decompose.ts';
import type { Pass } from '../../passes/pass.ts';
import { type PassOptions, passes, runPasses } from '../../passes/pipeline.ts';
import { simplify } from '../../passes/simplify.ts';
import { randomGraph } from '../support/random-graph.ts';

const target: Target = {
  language: 'c',
  features: [],
  vectorBytes: 32,
  vectorRegisters: 16,
  threads: 2,
  cacheBytes: 2 ** 20,
  groupThreads: 1,
  groupBytes: 0,
  tiles: [],
  bindings: 64,
  bindingBytes: 2 ** 47,
};

/** What a pass's line calls what is neither a number nor a word. */
const named: Readonly<Record<string, unknown>> = { mma: mmaTiles };

/**
 * A pass of the pipeline by its name, with its options and what it reads of the target: `simplify`, `bind bind.seq=1`,
 * `decompose keep=softmax`, `cache-layout cache.capacity=80`, `split-weights target.bindingBytes=160`.
 */
function passOf(line: string): Pass {
  const [name, ...words] = line.trim().split(' ');
  const given = { cache: {}, bind: {}, target: {}, keep: '' };
  for (const word of words) {
    const [path, text] = word.split('=');
    const [owner, field] = path.includes('.') ? path.split('.') : ['', path];
    const value = named[text] ?? (Number.isNaN(Number(text)) ? text : Number(text));
    Object.assign(owner === '' ? given : given[owner as 'cache' | 'bind' | 'target'], { [field]: value });
  }
  const options: PassOptions = {
    cache: { store: 'f32', ...given.cache },
    bind: given.bind,
    keep: new Set(opNames.filter((op) => given.keep.split(',').includes(op))),
  };
  const pass = passes(options).find((p) => p.name === name);
  if (!pass) throw new Error(`no pass ${name}`);
  return { name, run: (graph, t) => pass.run(graph, { ...t, ...given.target }) };
}

/** Values for the dims of a graph: those that the pass binds, all of the capacity, otherwise small ones. */
function dimsFor(graph: Graph, head: string): Record<string, number> {
  const given = new Map([...head.matchAll(/(\w+)=(\d+)/g)].map(([, name, value]) => [name, Number(value)]));
  const small = (v: DimVar): number => (v.name === 'capacity' ? v.max : Math.min(v.max, Math.max(v.min, 3)));
  return Object.fromEntries([...dimVars(graph).values()].map((v) => [v.name, given.get(v.name) ?? small(v)]));
}

/** Multiples of 1/4 below 4, which every float type holds and whose products sum exactly in f32; small integers in others. */
function value({ attrs }: Node<'param'>, shape: readonly number[]): NdArray {
  const seed = [...attrs.name].reduce((n, c) => n + c.charCodeAt(0), 0);
  const element = (i: number): number => {
    const random = (Math.imul(i + seed, 0x9e3779b1) >>> 12) % 32;
    if (isFloat(attrs.dtype)) return (random - 16) / 4;
    return attrs.dtype === 'bool' ? random % 2 : (random % 16) - 2;
  };
  return ndarray(
    attrs.dtype,
    shape,
    Array.from({ length: sizeOf(shape) }, (_, i) => element(i)),
  );
}

/** What a graph computes, results and updates, from values that depend on the names of the params alone. */
function meaning(graph: Graph, all: Readonly<Record<string, number>>): unknown {
  const declared = dimVars(graph);
  const dims = Object.fromEntries(Object.entries(all).filter(([name]) => declared.has(name)));
  const params = new Map(
    graph.params.map((p) => [
      p.attrs.name,
      value(
        p,
        p.type.shape.map((d) => dimEval(d, dims)),
      ),
    ]),
  );
  const { results, updates } = evaluate(graph, { params, dims });
  return [...results, ...updates].map(([name, { shape, data }]) => [name, shape, data]);
}

describe('text in, text out', () => {
  const folder = new URL('./', import.meta.url);
  const files = readdirSync(folder).filter((f) => f.endsWith('.txt'));
  test.each(files)('%s', (file) => {
    const url = new URL(file, folder);
    const text = readFileSync(url, 'utf8');
    const [head, ...rest] = text.split('\n');
    const [input, expected] = rest.join('\n').split('\n---\n');
    const graph = parseGraph(input, file);
    verify(graph);
    const pass = passOf(head.replace(/^pass: /, ''));
    const result = pass.run(graph, target);
    verify(result);
    const output = printGraph(result);
    if (process.env.UPDATE) writeFileSync(url, `${head}\n${input.trimEnd()}\n---\n${output}`);
    else expect(output).toBe(expected);
    if (/decompose|split-attention/.test(head)) return; // composites round differently: test/ir/fuzz.test.ts compares them
    const dims = dimsFor(graph, head);
    expect(meaning(result, dims)).toEqual(meaning(graph, dims));
  });
});

describe('simplify', () => {
  test('random graphs compute the same bits', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const { graph, inputs, dims } = randomGraph(seed);
      const run = (g: Graph): unknown => {
        const params = new Map(graph.params.map((p, i) => [p.attrs.name, inputs[i]]));
        const { results } = evaluate(g, { params, dims });
        return [...results].map(([name, { shape, data }]) => [name, shape, data]);
      };
      for (const before of [graph, decompose(new Set()).run(graph, target)]) {
        const after = simplify.run(before, target);
        verify(after);
        expect(run(after), `seed ${seed}\n${printGraph(before)}`).toEqual(run(before));
        expect(printGraph(simplify.run(after, target)), `seed ${seed}`).toBe(printGraph(after));
      }
    }
  });
});

describe('bind', () => {
  const graph = parseGraph('graph g(%x: input f32[seq]) where seq in 2..8 { %0 = sin(%x) return y = %0 }');
  test('refuses unknown dims and values out of bounds', () => {
    expect(() => bind({ batch: 1 }).run(graph)).toThrow("graph g has no dimension 'batch' to bind; it has: seq");
    expect(() => bind({ seq: 1 }).run(graph)).toThrow('dimension seq cannot be 1: it must be an integer in 2..8');
    expect(() => bind({ seq: 2.5 }).run(graph)).toThrow(ModelcError);
  });
  test('keeps origins and leaves no variable', () => {
    setOrigin(graph.results.get('y')!, 'layer');
    const bound = bind({ seq: 4 }).run(graph);
    expect(originOf(bound.results.get('y')!)).toBe('layer');
    expect(dimVars(bound).size).toBe(0);
  });
});

describe('cache-layout', () => {
  test('refuses a type that is no float', () => {
    expect(() => cacheLayout({ store: 'i8' })).toThrow('a cache cannot be stored as i8');
  });
  test('a graph without caches stays as it is', () => {
    const graph = parseGraph('graph g(%x: input f32[seq]) where seq in 2..8 { %0 = sin(%x) return y = %0 }');
    const result = cacheLayout({ capacity: 9, store: 'bf16' }).run(graph);
    expect(printGraph(result)).toBe(printGraph(graph));
  });
});

describe('decompose', () => {
  test('leaves no composite but those kept', () => {
    expect(decomposable).toEqual(expect.arrayContaining(['softmax', 'norm', 'rope', 'attention', 'cross_entropy']));
    const graph = parseGraph(`graph g(%q: input f32[1, 2, seq, 8], %k: input f32[1, 1, seq, 8]) where seq in 1..8 {
      %0 = attention(%q, %k, %k) {scale: 0.5, causal: true, window: 0, softcap: 0, operands: []}
      %1 = softmax(%0) {axis: 3}
      return y = %1
    }`);
    const opsAfter = (keep: OpName[]): OpName[] =>
      topologicalOrder(roots(decompose(new Set(keep)).run(graph, target))).map((n) => n.op);
    expect(opsAfter([]).filter((op) => decomposable.includes(op))).toEqual([]);
    expect(opsAfter(['attention']).filter((op) => decomposable.includes(op))).toEqual(['attention']);
  });
});

describe('pipeline', () => {
  const graph = parseGraph(`graph g(%x: input f32[seq, 4]) where seq in 1..8 {
    %0 = softmax(%x) {axis: 1}
    return y = %0
  }`);
  const list = passes({ cache: { store: 'f32' }, bind: { seq: 1 }, keep: new Set() });

  test('names are unique', () => {
    expect(new Set(list.map((p) => p.name)).size).toBe(list.length);
  });
  test('runs all passes; dumps after the one named', () => {
    const dumps: [string, string][] = [];
    const result = runPasses(graph, target, list, {
      dumpAfter: 'bind',
      onDump: (name, text) => dumps.push([name, text]),
    });
    expect(dumps).toHaveLength(1);
    expect(dumps[0][0]).toBe('bind');
    expect(dumps[0][1]).toContain('softmax(%x) {axis: 1} : f32[1, 4]');
    expect(topologicalOrder(roots(result)).some((n) => isOp(n, 'softmax'))).toBe(false);
  });
  test('an unknown name to dump after lists the passes', () => {
    expect(() => runPasses(graph, target, list, { dumpAfter: 'fuze' })).toThrow(
      "there is no pass called 'fuze' to dump after; the passes are cache-layout, bind, grad, remat, compute, decompose, split-attention, simplify, pack, precision, split-weights",
    );
  });
  test('a pass that breaks the graph is named', () => {
    const bad: Pass = { name: 'bad', run: (g) => ({ ...g, params: [] }) };
    expect(() => runPasses(graph, target, [bad])).toThrow('in pass bad: graph g: param');
    const typed: Pass = { name: 'typed', run: (g) => ({ ...g, results: new Map([['y', make('neg', [], {})]]) }) };
    expect(() => runPasses(graph, target, [typed])).toThrow('in pass typed: neg (C0)');
  });
});
