// What is cut out of a graph to be computed before all runs, and how programs show it.
import { expect, test } from 'vitest';
import { hostTarget } from '../../backends/cpu/target.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import { printGraph, printProgram } from '../../ir/text.ts';
import { cutPrepared, uncut } from '../../passes/prepare.ts';
import { compile } from '../../runtime/compiler/compile.ts';

const texts = (prepare: ReadonlyMap<string, Parameters<typeof printGraph>[0]>): string[] =>
  [...prepare.values()].map((g) => printGraph(g));

const graph = parseGraph(`graph g(%x: input f32[n, 4], %a: weight f32[6, 4], %b: weight f32[4, 3]) where n in 1..8 {
  %0 = slice(%a) {starts: [0, 1], sizes: [6, 2], strides: [1, 1]}
  %1 = cast(%0) {dtype: bf16}
  %2 = mark(%1) {prepare: true}
  %3 = cast(%2) {dtype: f32}
  %4 = slice(%x) {starts: [0, 0], sizes: [n, 2], strides: [1, 1]}
  %5 = dot_general(%4, %3) {batch: [[], []], contract: [[1], [1]], acc: f32}
  %6 = dot_general(%a, %b) {batch: [[], []], contract: [[1], [0]], acc: f32}
  %7 = mark(%6) {prepare: true}
  %8 = dot_general(%5, %7) {batch: [[], []], contract: [[1], [0]], acc: f32}
  return y = %8
}`);

test('values of weights become weights, each made by a graph of its own', () => {
  const { graph: rest, prepare } = cutPrepared(graph);
  expect(texts(prepare)).toEqual([
    `graph prepare(
  %a: weight f32[6, 4]
) {
  %0 = slice(%a) {starts: [0, 1], sizes: [6, 2], strides: [1, 1]} : f32[6, 2]
  %1 = cast(%0) {dtype: bf16} : bf16[6, 2]
  return weight = %1
}
`,
    `graph prepare(
  %a: weight f32[6, 4],
  %b: weight f32[4, 3]
) {
  %0 = dot_general(%a, %b) {batch: [[], []], contract: [[1], [0]], acc: f32} : f32[6, 3]
  return weight = %0
}
`,
  ]);
  expect(rest.params.map((p) => p.attrs.name)).toEqual(['x', ...prepare.keys()]);
  expect(printGraph(rest)).not.toMatch(/mark|slice\(%a/);
});

test('putting values back and cutting again gives the same', () => {
  const cut = cutPrepared(graph);
  const again = cutPrepared(uncut(cut));
  expect(printGraph(again.graph)).toBe(printGraph(cut.graph));
  expect(texts(again.prepare)).toEqual(texts(cut.prepare));
});

test('a weight made of a derived one is made of stored ones', () => {
  const first = cutPrepared(graph);
  const [name] = first.prepare.keys();
  const further = parseGraph(`graph h("%": weight f32[1]) { return y = %w }`.replace('"%"', `%w ${JSON.stringify(name)}`).replace('f32[1]', 'bf16[6, 2]').replace('return y = %w', '%0 = transpose(%w) {perm: [1, 0]} %1 = mark(%0) {prepare: true} return y = %1')); // biome-ignore format: one row
  const [making] = texts(cutPrepared(further, first.prepare).prepare);
  expect(making).toMatch(/%a: weight f32\[6, 4\]\n\) \{\n.*slice.*\n.*cast.*\n.*transpose/);
});

test('what reads a state is computed in every run; a mark over a stored weight is that weight', () => {
  const trained = parseGraph(`graph g(%w: state f32[2, 3], %s: weight f32[3]) {
    %0 = transpose(%w) {perm: [1, 0]}
    %1 = mark(%0) {prepare: true}
    %2 = mark(%s) {prepare: true}
    return y = %1, s = %2
    update %w = %w
  }`);
  const { graph: rest, prepare } = cutPrepared(trained);
  expect(prepare.size).toBe(0);
  expect(printGraph(rest)).not.toContain('mark');
  expect(rest.results.get('s')).toBe(rest.params[1]);
});

test('programs list the graphs, and entries share the weights that they make', () => {
  const entry = { graph, constants: new Map() };
  const program = compile('p', { one: entry, two: entry }, hostTarget());
  expect(program.prepare).toEqual(expect.arrayContaining(texts(cutPrepared(graph).prepare).slice(0, 1)));
  expect(program.prepare.length).toBe(2);
  const text = printProgram(program);
  program.weights.forEach(({ prepare }) => expect(text).toContain(`, by prepare ${prepare}\n`));
  program.prepare.forEach((g, i) => expect(text).toContain(`\nprepare ${i}\n${g}`));
  for (const g of program.prepare) expect(printGraph(parseGraph(g))).toBe(g);
});
