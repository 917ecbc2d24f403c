// The textual IR: what is printed reads back to the same nodes, for every op, attribute, dim and update; what is wrong
// is reported with its place; hostile text is an error and nothing else.
import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseGraph } from '../../frontends/text/index.ts';
import { dim, dimAdd, dimMul, dimVar } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Graph } from '../../ir/graph.ts';
import { roots, topologicalOrder } from '../../ir/graph.ts';
import type { Kernel } from '../../ir/loop.ts';
import { add, alu, constant, index, load, mul, variable } from '../../ir/loop.ts';
import { make } from '../../ir/make.ts';
import type { Node, OpName } from '../../ir/node.ts';
import { isOp, setOrigin } from '../../ir/node.ts';
import type { Attrs } from '../../ir/ops/attrs.ts';
import { attrKinds } from '../../ir/ops/attrs.ts';
import { opNames } from '../../ir/ops/index.ts';
import type { Program } from '../../ir/program.ts';
import { printGraph, printKernel, printProgram, printRegions } from '../../ir/text.ts';
import { verify } from '../../ir/verify.ts';
import type { Case } from '../support/cases/case.ts';
import { randomGraph } from '../support/random-graph.ts';

/** Prints, reads back, and checks that it is the same graph: same text, same nodes. */
function roundTrip(graph: Graph): string {
  const text = printGraph(graph);
  const again = parseGraph(text);
  expect(printGraph(again)).toBe(text);
  expect(again.name).toBe(graph.name);
  expect(again.params).toEqual(graph.params);
  for (const [i, p] of graph.params.entries()) expect(again.params[i]).toBe(p);
  expect([...again.results.keys()]).toEqual([...graph.results.keys()]);
  for (const [name, node] of graph.results) expect(again.results.get(name)).toBe(node);
  expect([...again.updates.keys()]).toEqual([...graph.updates.keys()]);
  for (const [p, node] of graph.updates) expect(again.updates.get(p)).toBe(node);
  return text;
}

const graphOf = (result: Node): Graph => ({
  name: 'g',
  params: topologicalOrder([result]).filter((n): n is Node<'param'> => isOp(n, 'param')),
  results: new Map([['y', result]]),
  updates: new Map(),
});

/** Every op of the IR, by hand, with types left out where they are the point of nothing. */
const everyOp = `
graph every(
  %x: input f32[batch, seq, 64], // comments are skipped
  %y: input f32[batch, seq, 64], %i: input i32[batch, seq], %j: input i32[batch, seq],
  %s: input i32[], %b: input bool[batch, seq], %row: weight f32[64],
  %w "model.embed_tokens.weight": weight f32[512, 64], %key: input u32[2],
  %kv "cache.0.key": state {kind: kv, layer: 0, rows: 0, positions: 2} f32[batch, 2, capacity, 32], %k: input f32[batch, 2, seq, 32],
  %q: input f32[batch, 4, seq, 32], %cos: constant f32[batch, seq, 16],
  %image: input f32[batch, 8, 8, 3], %filter: weight f32[3, 3, 3, 4],
  %experts: weight f32[4, 64, 16], %counts: input i32[4], %tokens: input f32[10, 64],
  %scale: weight f32[512, 2], %words: weight u32[512, 8], %zeros: weight f32[512, 2], %at: input i32[3],
  %labels: input i32[batch], %bias: input f32[1, 4, seq, past + seq]
) where batch in 1..8, seq in 1..512, past in 0..1024, capacity in 1..2048 {
  %const = const() {value: -0, dtype: f32} : f32[]
  %nan = const() {value: NaN, dtype: bf16}
  %inf = const() {value: -Infinity, dtype: f16}
  %tiny = const() {value: 1e-7, dtype: f32}
  %iota = iota() {shape: [2*batch*seq + past - 1, 3], axis: 0, dtype: i32} : i32[past + 2*batch*seq - 1, 3]
  %past = dim() {dim: past}
  %1 = neg(%x)
  %2 = floor(%x)
  %3 = round(%x)
  %4 = exp(%x)
  %5 = log(%x)
  %6 = sin(%x)
  %7 = cos(%x)
  %8 = tanh(%x)
  %9 = erf(%x)
  %10 = sqrt(%x)
  %11 = rsqrt(%x)
  %12 = add(%x, %y)
  %13 = mul(%x, %y)
  %14 = div(%x, %y)
  %15 = rem(%x, %y)
  %16 = pow(%x, %y)
  %17 = max(%x, %y)
  %18 = min(%x, %y)
  %19 = and(%i, %j)
  %20 = or(%i, %j)
  %21 = xor(%i, %j)
  %22 = shl(%i, %j)
  %23 = shr(%i, %j)
  %24 = compare(%x, %y) {direction: le} : bool[batch, seq, 64]
  %25 = select(%24, %x, %y)
  %26 = cast(%x) {dtype: bf16} : bf16[batch, seq, 64]
  %27 = bitcast(%x) {dtype: u32}
  %28 = reshape(%x) {shape: [batch*seq, 2, 32]}
  %29 = transpose(%x) {perm: [1, 0, 2]}
  %30 = broadcast(%row) {shape: [batch, seq, 64], axes: [2]}
  %31 = slice(%x) {starts: [0, seq - 1, 0], sizes: [batch, 1, 32], strides: [1, 1, 2]} : f32[batch, 1, 32]
  %32 = pad(%x, %const) {low: [0, past, 0], high: [1, 0, 0]} : f32[batch + 1, past + seq, 64]
  %33 = concat(%x, %y) {axis: 1} : f32[batch, 2*seq, 64]
  %34 = reverse(%x) {axes: [0, 2]}
  %76 = windows(%image) {window: [2, 2], strides: [1, 1], padding: [[1, 1], [0, 2]], dilation: [1, 1], inputDilation: [1, 1]}
  %35 = dot_general(%x, %w) {batch: [[], []], contract: [[2], [1]], acc: f32} : f32[batch, seq, 512]
  %36 = conv(%image, %filter) {strides: [1, 1], padding: [[1, 1], [0, 2]], dilation: [1, 1], inputDilation: [1, 1], groups: 1, acc: f32}
  %37 = ragged_dot(%tokens, %experts, %counts) {acc: f32} : f32[10, 16]
  %38 = reduce(%x) {op: add, axes: [2], acc: f32} : f32[batch, seq]
  %39 = reduce_window(%image) {op: max, window: [1, 2, 2, 1], strides: [1, 2, 2, 1], padding: [[0, 0], [0, 0], [0, 0], [0, 0]]}
  %40 = scan(%x, %y) {op: affine, axis: 1, exclusive: false, reverse: true}
  %41 = sort(%x) {axis: 2, descending: true}
  %42 = top_k(%x) {k: 4} : i32[batch, seq, 4]
  %43 = gather(%w, %i) {axis: 0, batch: 0} : f32[batch, seq, 64]
  %44 = scatter(%w, %at, %45) {axis: 0, batch: 0, combine: add}
  %46 = dynamic_slice(%w, %s, %s) {sizes: [8, 64]}
  %47 = dynamic_update_slice(%w, %46, %s, %s)
  %48 = rng_bits(%key) {shape: [batch, 4]}
  %49 = quantize(%w, %scale) {spec: {bits: 4, group: 32, code: [-1, -0.5, 0, 1e-3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, -0], zero: none}}
  %50 = dequantize(%words, %scale, %zeros) {spec: {bits: 4, group: 32, code: affine, zero: tensor}, dtype: f32} : f32[512, 64]
  %51 = dequantize(%words, %scale) {spec: {zero: 8, code: affine, bits: 4, group: 32}, dtype: bf16}
  %52 = cache_update(%kv, %k, %past) {axis: 2}
  %53 = cache_read(%52) {axis: 2, length: past + seq} : f32[batch, 2, past + seq, 32]
  %54 = all_gather(%row) {mesh: "data", size: 4, axis: 0}
  %55 = all_reduce(%row) {mesh: "data", size: 4, op: max}
  %56 = reduce_scatter(%row) {mesh: "\\"fsdp\\"", size: 4, op: add, axis: 0}
  %57 = all_to_all(%w) {mesh: "data", size: 4, split: 0, concat: 1}
  %58 = permute(%row) {mesh: "data", size: 4, shift: -1}
  %59 = axis_index() {mesh: "data", size: 4}
  %60 = fence(%row, %59)
  %61 = mark(%row) {name: "attention", save: true}
  %62 = mark(%row)
  %63 = softmax(%x) {axis: 2}
  %64 = norm(%x, %row) {kind: rms, eps: 1e-5, scaleOffset: 1}
  %65 = rope(%q, %cos, %cos) {style: half}
  %66 = attention(%q, %53, %53) {scale: 0.17677669529663687, causal: true, window: 0, softcap: 0, operands: []}
  %67 = cross_entropy(%row2, %labels) {ignore: -100, smoothing: 0.1}
  %68 = attention_split(%q, %53, %53) {scale: 0.125, causal: true, window: 0, softcap: 0, operands: [], splits: 4}
  %69 = attention_merge(%68) {dtype: bf16}
  %72 = attention_lse(%q, %53, %53) {scale: 0.125, causal: true, window: 0, softcap: 0, operands: []}
  %73 = attention_backward_q(%q, %53, %53, %q, %72, %72) {scale: 0.125, causal: true, window: 0, softcap: 0, operands: []}
  %74 = attention_backward_kv(%q, %53, %53, %q, %72, %72) {scale: 0.125, causal: true, window: 0, softcap: 0, operands: []} : f32[batch, 2, past + seq, 64]
  %75 = attention_backward_bias(%q, %53, %53, %bias, %q, %72, %72) {scale: 0.125, causal: true, window: 0, softcap: 0, operands: [bias]}
  %70 = stop_gradient(%x)
  %71 = gradient(%const, %x) : f32[batch, seq, 64]
  return nan = %nan, inf = %inf, "tiny \\u2028 one" = %tiny, in = %past, return = %past, update = %iota
  update %kv = %52
}`;

/** `everyOp` with all its nodes as results. */
function everyOpGraph(): Graph {
  const text = everyOp
    .replace('  %44', '  %45 = gather(%w, %at) {axis: 0, batch: 0}\n  %44')
    .replace(
      '  %67',
      '  %row2 = slice(%35) {starts: [0, 0, 0], sizes: [batch, 1, 512], strides: [1, 1, 1]}\n' +
        '  %row3 = reshape(%row2) {shape: [batch, 512]}\n  %67',
    )
    .replace('cross_entropy(%row2', 'cross_entropy(%row3');
  const statements = [...text.matchAll(/^ {2}(%\d+) = /gm)].map((m) => m[1]);
  return parseGraph(text.replace('  return ', `  return ${statements.map((s) => `"r${s}" = ${s}`).join(', ')}, `));
}

describe('round trip', () => {
  test('every op, by hand', () => {
    const graph = everyOpGraph();
    verify(graph);
    const present = new Set(topologicalOrder([...graph.params, ...roots(graph)]).map((n) => n.op));
    expect(opNames.filter((op) => !present.has(op))).toEqual([]);
    expect(Object.keys(attrKinds).sort()).toEqual([...opNames].sort());
    const text = roundTrip(graph);
    expect(text).toContain('%model_embed_tokens_weight "model.embed_tokens.weight": weight f32[512, 64]');
    expect(text).toContain('{value: -0, dtype: f32} : f32[]');
    expect(text).toContain('"tiny \\u2028 one" = ');
    expect(text).toContain('"return" = ');
    expect(text).toContain('update %cache_0_key = ');
    expect(text).toContain('where batch in 1..8, capacity in 1..2048, past in 0..1024, seq in 1..512');
    expect(text).toContain('mesh: "\\"fsdp\\""');
  });

  test('names that collide or are hostile', () => {
    const shape = [dim(2)];
    const names = [
      'a.b',
      'a_b',
      'a/b',
      'a_b_2',
      '0',
      '"',
      '%x = neg(%y)',
      'é\u2028\u202e',
      'x'.repeat(500),
      '__proto__',
    ];
    const params = names.map((name) => make('param', [], { name, kind: 'weight', dtype: 'f32', shape }));
    const sum = params.reduce<Node>((s, p) => make('add', [s, p], {}), params[0]);
    const text = roundTrip({
      name: 'constructor }',
      params,
      results: new Map([['__proto__', sum]]),
      updates: new Map(),
    });
    expect(text).toMatch(/^[\n -~]*$/);
  });

  test('every case of the op table', async () => {
    const folder = new URL('../support/cases/', import.meta.url);
    for (const file of readdirSync(folder).filter((f) => f !== 'case.ts')) {
      const { cases } = (await import(new URL(file, folder).href)) as { cases: readonly Case[] };
      for (const c of cases) {
        const given = c.leaf || c.op === 'param' ? [] : c.args;
        const args = given.map((a, i) =>
          make('param', [], {
            name: `x${i}`,
            kind: 'input',
            dtype: a.dtype,
            shape: c.shapes?.[i] ?? a.shape.map((n) => dim(n)),
          }),
        );
        roundTrip(graphOf(make(c.op as OpName, args, c.attrs as Attrs[OpName])));
      }
    }
  });

  test('random graphs', () => {
    for (let seed = 1; seed <= 100; seed++) roundTrip(randomGraph(seed).graph);
  });

  test('numbers', () => {
    for (const value of [0, -0, 1, 0.1, 1e21, 1.5e-45, 5e-324, 1.7976931348623157e308, NaN, Infinity, -Infinity, -3]) {
      const node = make('const', [], { value, dtype: 'f32' });
      const text = roundTrip(graphOf(node));
      expect(Object.is((parseGraph(text).results.get('y') as Node<'const'>).attrs.value, value)).toBe(true);
    }
  });

  test('dims that only an attribute names are declared', () => {
    const past = dimVar('past', 0, 99);
    const node = make('dim', [], { dim: dimAdd(dimMul(past, 2), 1) });
    expect(roundTrip(graphOf(node))).toContain('where past in 0..99');
  });

  test('no params, no results', () => {
    const graph: Graph = { name: 'empty', params: [], results: new Map(), updates: new Map() };
    expect(roundTrip(graph)).toBe('graph empty() {\n  return\n}\n');
  });

  test('a deep graph of 20 000 nodes', () => {
    let node: Node = make('param', [], { name: 'x', kind: 'input', dtype: 'f32', shape: [dim(3)] });
    for (let i = 0; i < 20_000; i++) node = make(i % 2 ? 'sin' : 'tanh', [node], {});
    const start = performance.now();
    roundTrip(graphOf(node));
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  test('origins print as comments', () => {
    const x = make('param', [], { name: 'x', kind: 'input', dtype: 'f32', shape: [dim(7)] });
    const node = make('sin', [x], {});
    setOrigin(node, 'layers.0\n  %1 = evil');
    const text = printGraph(graphOf(node), { origins: true });
    expect(text).toContain('// layers.0\\n  %1 = evil\n');
    expect(parseGraph(text).results.get('y')).toBe(node);
  });
});

describe('errors carry file, line, column and what was expected', () => {
  const wrap = (...lines: string[]): string =>
    [
      'graph g(',
      '  %x: input f32[batch, 4],',
      '  %h: state f32[batch, 4]',
      ') where batch in 1..8 {',
      ...lines,
      lines.some((line) => line.startsWith('  return')) ? '}' : '  return }',
    ].join('\n');
  const cases: [name: string, text: string, message: string][] = [
    ['empty', '', "ir.txt:1:1: expected 'graph', found the end of the text"],
    ['not a graph', 'hello', "ir.txt:1:1: expected 'graph', found 'hello'"],
    [
      'role of an input',
      'graph g(%x: input {kind: train, of: "x"} f32[4]) { return y = %x }',
      'ir.txt:1:9: param (C5): only states have a role, but x is of kind input',
    ],
    [
      'role without an axis',
      'graph g(%x: state {kind: kv, layer: 0, rows: 0} f32[4, 4]) { return y = %x }',
      'ir.txt:1:9: param (C5): a role of kind kv needs positions',
    ],
    [
      'role along no axis',
      'graph g(%x: state {kind: mask, rows: 0, positions: 2} bool[4, 4]) { return y = %x }',
      'ir.txt:1:9: param (C5): positions 2 is outside 0..1',
    ],
    [
      'role with a field of another',
      'graph g(%x: state {kind: carried, layer: 0, rows: 0, positions: 1} f32[4, 4]) { return y = %x }',
      'ir.txt:1:9: param (C5): a role of kind carried has no positions',
    ],
    ['truncated', 'graph g(', "ir.txt:1:9: expected ')', found the end of the text"],
    ['bad character', 'graph g() {\n  $', "ir.txt:2:3: expected a name, a number, a string or a sign, found '$'"],
    ['open string', 'graph "g', 'ir.txt:1:7: this string is not closed on its line'],
    ['bad escape', 'graph "\\q"() { return }', 'ir.txt:1:7: this string has a malformed escape'],
    ['text behind', 'graph g() { return } graph', "ir.txt:1:22: expected the end of the text, found 'graph'"],
    ['no return', wrap('  neg', '  return'), "ir.txt:5:3: expected a statement (%name = ...) or 'return', found 'neg'"],
    ['after return', wrap('  return y = %x', '  %1 = neg(%x)'), "ir.txt:6:3: expected 'update' or '}', found '%1'"],
    ['missing sign', wrap('  %1 neg(%x)'), "ir.txt:5:6: expected '=', found 'neg'"],
    ['unknown op', wrap('  %1 = sinh(%x)'), "ir.txt:5:8: there is no op called 'sinh'"],
    ['inherited name', wrap('  %1 = toString(%x)'), "ir.txt:5:8: there is no op called 'toString'"],
    [
      'param in the body',
      wrap('  %1 = param()'),
      'ir.txt:5:8: params are declared in the parentheses after the name of the graph',
    ],
    ['arity', wrap('  %1 = add(%x)'), 'ir.txt:5:8: add (C0): takes 2 arguments, got 1'],
    ['open arity', wrap('  %1 = concat() {axis: 0}'), 'ir.txt:5:8: concat (C0): takes at least 1 arguments, got 0'],
    ['undefined value', wrap('  %1 = neg(%2)'), 'ir.txt:5:12: %2 is not defined above'],
    ['defined twice', wrap('  %x = neg(%x)'), 'ir.txt:5:3: %x is defined twice'],
    ['unknown attribute', wrap('  %1 = neg(%x) {axis: 1}'), "ir.txt:5:17: neg has no attribute 'axis'; it has none"],
    [
      'inherited attribute',
      wrap('  %1 = softmax(%x) {__proto__: 1}'),
      "ir.txt:5:21: softmax has no attribute '__proto__'; it has axis",
    ],
    ['missing attribute', wrap('  %1 = softmax(%x)'), "ir.txt:5:8: softmax needs the attribute 'axis' (an integer)"],
    ['attribute twice', wrap('  %1 = softmax(%x) {axis: 1, axis: 1}'), 'ir.txt:5:30: attribute axis is given twice'],
    ['kind', wrap('  %1 = softmax(%x) {axis: 0.5}'), "ir.txt:5:27: expected an integer for 'axis', found '0.5'"],
    [
      'kind of list',
      wrap('  %1 = transpose(%x) {perm: 1}'),
      "ir.txt:5:29: expected a list of any number ([an integer, ...]) for 'perm', found '1'",
    ],
    [
      'choice',
      wrap('  %1 = compare(%x, %x) {direction: less}'),
      "ir.txt:5:36: expected one of eq, ne, lt, le, gt, ge for 'direction', found 'less'",
    ],
    [
      'dtype',
      wrap('  %1 = cast(%x) {dtype: f64}'),
      "ir.txt:5:25: expected a type (f32, f16, bf16, i64, i32, i8, u8, u32, bool) for 'dtype', found 'f64'",
    ],
    [
      'undeclared dim',
      wrap('  %1 = dim() {dim: seq}'),
      "ir.txt:5:20: dimension seq is not declared; add 'seq in MIN..MAX' after 'where'",
    ],
    ['fractional dim', wrap('  %1 = dim() {dim: 2*1.5}'), "ir.txt:5:22: expected an integer, found '1.5'"],
    [
      'long dim',
      wrap(`  %1 = dim() {dim: ${'batch + '.repeat(100)}1}`),
      'ir.txt:5:20: a dimension has at most 64 factors',
    ],
    ['ill-typed', wrap('  %1 = and(%x, %x)'), 'ir.txt:5:8: and (C2)'],
    ['shape that does not fit', wrap('  %1 = reshape(%x) {shape: [batch, 5]}'), 'ir.txt:5:8: reshape (C'],
    [
      'other type',
      wrap('  %1 = neg(%x) : f32[batch, 5]'),
      'ir.txt:5:18: the value has type f32[batch, 4] but the text says f32[batch, 5]',
    ],
    [
      'unknown type',
      'graph g(%x: input int[2]) { return }',
      "ir.txt:1:19: expected a type (f32, f16, bf16, i64, i32, i8, u8, u32, bool), found 'int'",
    ],
    [
      'unknown kind',
      'graph g(%x: inout f32[2]) { return }',
      "ir.txt:1:13: expected a kind of param (input, weight, state, constant), found 'inout'",
    ],
    [
      'same param',
      'graph g(%x "a": input f32[2], %y "a": input f32[2]) { return }',
      "ir.txt:1:34: a param called 'a' exists already",
    ],
    ['negative dim', 'graph g(%x: input f32[-2]) { return }', 'ir.txt:1:9: param (C4)'],
    ['dim twice', 'graph g() where a in 1..2, a in 1..3 { return }', 'ir.txt:1:28: dimension a is declared twice'],
    ['bad bounds', 'graph g() where a in 3..2 { return }', 'ir.txt:1:17: dim variable a has bounds 3..2'],
    ['result twice', wrap('  return y = %x, y = %x'), "ir.txt:5:18: result 'y' is returned twice"],
    ['update of no state', wrap('  return', '  update %x = %x'), 'ir.txt:6:10: %x is not a state'],
    ['update twice', wrap('  return', '  update %h = %x', '  update %h = %x'), 'ir.txt:7:10: %h is updated twice'],
    [
      'update of another type',
      wrap('  %1 = cast(%x) {dtype: f16}', '  return', '  update %h = %1'),
      'ir.txt:7:15: the value has type f16[batch, 4] but state %h says f32[batch, 4]',
    ],
  ];
  test.each(cases)('%s', (_name, text, message) => {
    let thrown: unknown;
    try {
      parseGraph(text, 'ir.txt');
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ModelcError);
    expect((thrown as ModelcError).code).toBe('parse');
    expect((thrown as ModelcError).message.slice(0, message.length)).toBe(message);
    expect((thrown as ModelcError).message).not.toContain('\n');
  });
});

describe('hostile text', () => {
  const refuse = (text: string): void => expect(() => parseGraph(text)).toThrow(ModelcError);

  test('nesting, length and noise end in an error', () => {
    refuse(`graph g() { %0 = const() {value: ${'['.repeat(300_000)}`);
    refuse(`graph g() { %0 = const() {value: ${'{a: '.repeat(300_000)}`);
    refuse(`graph "${'a\\n'.repeat(1_000_000)}`);
    refuse(`graph ${'a'.repeat(5_000_000)}(`);
    refuse(`graph g(${'%x: input f32[2], '.repeat(50_000)}`);
    refuse('$'.repeat(300_000));
    refuse(`graph g() { %0 = dim() {dim: ${'9'.repeat(400)}} return }`);
    refuse(`graph g() where a in 0..9007199254740991 { %0 = dim() {dim: a*a*a*a} return y = %0 }`);
  });

  test('damaged text never throws anything but a ModelcError', () => {
    const text = printGraph(everyOpGraph());
    let state = 12345;
    const random = (n: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * n);
    };
    const pieces = [
      '',
      '0',
      '-',
      '[',
      ']',
      '{',
      '}',
      '%1',
      '1e999',
      'NaN',
      '9007199254740993',
      '"',
      'f32',
      'seq',
      ', ',
    ];
    for (let i = 0; i < 300; i++) {
      const at = random(text.length);
      const damaged = text.slice(0, at) + pieces[random(pieces.length)] + text.slice(at + random(6));
      try {
        parseGraph(damaged);
      } catch (error) {
        if (!(error instanceof ModelcError)) throw new Error(`at ${at}: ${String(error)}`, { cause: error });
      }
    }
  });
});

describe('other levels', () => {
  const i = variable('i');
  const kernel: Kernel = {
    name: 'k0',
    buffers: [
      { name: 'a', dtype: 'f32', access: 'read' },
      { name: 'out', dtype: 'f32', access: 'write' },
    ],
    dims: ['seq'],
    grid: variable('seq'),
    body: [
      { kind: 'let', name: 'acc', value: constant(0, 'f32', 8), mutable: true },
      {
        kind: 'for',
        name: 'i',
        start: index(0),
        end: mul(variable('seq'), index(4)),
        step: 8,
        level: 'simd',
        body: [
          {
            kind: 'assign',
            name: 'acc',
            value: alu('max', variable('acc', 'f32', 8), load('a', add(i, index(1)), 'f32', 8)),
          },
        ],
      },
      { kind: 'store', buffer: 'out', index: variable('task'), value: variable('acc', 'f32', 8) },
    ],
    note: 'map: max',
  };

  test('a kernel', () => {
    expect(printKernel(kernel)).toBe(`// map: max
kernel k0(a: read f32, out: write f32, seq: index)
for task in 0 .. seq {
  var acc: f32x8 = 0:f32x8
  for i in 0 .. seq * 4 step 8 simd {
    acc = max(acc, a[i + 1; 8])
  }
  out[task; 8] = acc
}
`);
  });

  test('a program', () => {
    const program: Program = {
      version: 1,
      name: 'm',
      target: { language: 'c', features: ['avx512'] },
      entries: {
        decode: {
          inputs: [{ name: 'x', dtype: 'f32', shape: [{ batch: 1 }, { '': 4 }] }],
          results: [{ name: 'y', dtype: 'f32', shape: [{ 'batch*seq': 2, '': -1 }] }],
          dims: [{ name: 'batch', min: 1, max: 8 }],
          steps: [
            {
              do: 'launch',
              parts: [
                {
                  kernel: 0,
                  args: [
                    { space: 'input', index: 0 },
                    { space: 'arena', offset: 64, bytes: 128 },
                  ],
                },
              ],
              origin: 'layers.0',
            },
          ],
          arenaBytes: 192,
        },
      },
      kernels: [kernel],
      prepare: [],
      weights: [{ name: 'a.weight', dtype: 'bf16', shape: [{ '': 4 }] }],
      constants: [],
      states: [],
    };
    expect(printProgram(program)).toBe(`program m for c avx512 {
  weight "a.weight": bf16[4]
}

entry decode(x: f32[batch, 4]) where batch in 1..8 {
  // 1 launches, arena 192 bytes
  launch // layers.0
    k0(input "x", arena[64, 128])
  return y: f32[2*batch*seq - 1]
}
`);
    expect(printProgram(program, { kernels: true })).toContain('for task in 0 .. seq {');
  });

  test('regions', () => {
    const x = make('param', [], { name: 'x', kind: 'input', dtype: 'f32', shape: [dim(4)] });
    const root = make('neg', [make('sin', [x], {})], {});
    const graph = graphOf(root);
    const region = {
      kind: 'map' as const,
      root,
      anchors: [],
      inputs: [x],
      interior: new Set<Node>([root, root.args[0]]),
    };
    expect(printRegions({ graph, launches: [[region]] })).toBe(
      'regions of g: 1 launches\nlaunch 0\n  %1 = map(%x) : f32[4] // 2 ops\n',
    );
  });
});
