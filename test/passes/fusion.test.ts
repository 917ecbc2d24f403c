// The fuser's parts: what a node is taken for, how products are seen, how a region grows from a root, and where the
// operands of its anchor are placed. Whole models: launches.test.ts.
import { describe, expect, test } from 'vitest';
import { hostTarget } from '../../backends/cpu/target.ts';
import { webgpuTarget } from '../../backends/webgpu/target.ts';
import { parseGraph } from '../../frontends/text/index.ts';
import type { Graph } from '../../ir/graph.ts';
import type { Node } from '../../ir/node.ts';
import { hasFewRows, isElementwise, productOf, type Region } from '../../ir/region.ts';
import { classOf } from '../../passes/fusion/classify.ts';
import { factsOf } from '../../passes/fusion/facts.ts';
import { Forming } from '../../passes/fusion/forming.ts';
import { grow } from '../../passes/fusion/grow.ts';
import { placeLeft, placeRight } from '../../passes/fusion/place.ts';

const cpu = hostTarget();

/** A graph over arrays of usual shapes; its last statement is the result. */
function graphOf(statements: string): Graph {
  return parseGraph(`graph g(
    %x: input f32[rows, 64], %y: input f32[rows, 64], %row: weight f32[64], %w: weight f32[32, 64], %v: weight f32[32, 64],
    %narrow: weight bf16[32, 64], %image: input f32[rows, 8, 8, 16], %filter: weight f32[144, 32],
    %experts: weight f32[4, 64, 32], %counts: input i32[4], %bits: input u32[rows, 64]
  ) where rows in 1..512 {
    ${statements}
  }`);
}

const resultOf = (graph: Graph): Node => [...graph.results.values()][0];
const rootOf = (statements: string): Node => resultOf(graphOf(`${statements}\nreturn r = %r`));

function regionOf(statements: string, target = cpu): Region {
  const graph = graphOf(`${statements}\nreturn r = %r`);
  return grow(factsOf(graph, target), resultOf(graph), new Set(graph.results.values()));
}

const namesOf = (nodes: readonly Node[]): string[] =>
  nodes.map((n) => (n.op === 'param' ? (n as Node<'param'>).attrs.name : n.op));

const dot = '{batch: [[], []], contract: [[1], [1]], acc: f32}';
const windows = '{window: [3, 3], strides: [1, 1], padding: [[1, 1], [1, 1]], dilation: [1, 1], inputDilation: [1, 1]}';

describe('classify', () => {
  test.each([
    ['map', '%r = add(%x, %y)'],
    ['map', '%r = exp(%x)'],
    ['free', '%r = transpose(%x) {perm: [1, 0]}'],
    ['free', '%r = cast(%x) {dtype: bf16}'],
    ['free', `%r = windows(%image) ${windows}`],
    ['fold', '%r = reduce(%x) {op: add, axes: [1], acc: f32}'],
    ['fold', `%r = dot_general(%x, %w) ${dot}`],
    ['fold', '%r = reduce_window(%x) {op: max, window: [1, 2], strides: [1, 2], padding: [[0, 0], [0, 0]]}'],
    ['opaque', '%r = sort(%x) {axis: 1, descending: true}'],
  ])('%s: %s', (expected, statement) => {
    expect(classOf(rootOf(statement))).toBe(expected);
  });

  test('elements at their own place', () => {
    expect(isElementwise(rootOf('%r = add(%x, %y)'))).toBe(true);
    expect(isElementwise(rootOf('%r = mark(%x)'))).toBe(true);
    expect(isElementwise(rootOf('%r = transpose(%x) {perm: [1, 0]}'))).toBe(false);
    expect(isElementwise(rootOf('%r = reverse(%x) {axes: [0]}'))).toBe(false);
  });

  test('products of matrices, whatever the op', () => {
    const plain = productOf(rootOf(`%r = dot_general(%x, %w) ${dot}`));
    expect(plain).toMatchObject({ batch: [[], []], rows: [0], columns: [0], depth: [[1], [1]], group: undefined });
    const grouped = productOf(rootOf('%r = ragged_dot(%x, %experts, %counts) {acc: f32}'));
    expect(grouped).toMatchObject({ batch: [[], []], rows: [0], columns: [2], depth: [[1], [1]], group: 0 });
    const batched = '{batch: [[0], [0]], contract: [[1], [1]], acc: f32}';
    expect(productOf(rootOf(`%r = dot_general(%x, %y) ${batched}`))).toBeUndefined(); // no columns
    expect(productOf(rootOf('%r = reduce(%x) {op: add, axes: [1], acc: f32}'))).toBeUndefined();
  });

  test('few rows', () => {
    const few = parseGraph(
      `graph g(%x: input f32[rows, 64], %w: weight f32[32, 64]) where rows in 1..8 { %r = dot_general(%x, %w) ${dot} return r = %r }`,
    );
    expect(hasFewRows(resultOf(few))).toBe(true);
    expect(hasFewRows(rootOf(`%r = dot_general(%x, %w) ${dot}`))).toBe(false);
  });
});

describe('grow', () => {
  test('an epilogue above two products of one left operand', () => {
    const { kind, anchors, inputs } = regionOf(`
      %a = dot_general(%x, %w) ${dot}
      %b = dot_general(%x, %v) ${dot}
      %t = tanh(%a)
      %r = mul(%t, %b)`);
    expect(kind).toBe('matmul');
    expect(namesOf(anchors)).toEqual(['dot_general', 'dot_general']);
    expect(namesOf(inputs).sort()).toEqual(['v', 'w', 'x']);
  });

  test('rows of a softmax stay on chip', () => {
    const { kind, inputs } = regionOf(`
      %m = reduce(%x) {op: max, axes: [1], acc: f32}
      %n = neg(%m)
      %s = broadcast(%n) {shape: [rows, 64], axes: [0]}
      %d = add(%x, %s)
      %e = exp(%d)
      %t = reduce(%e) {op: add, axes: [1], acc: f32}
      %u = broadcast(%t) {shape: [rows, 64], axes: [0]}
      %r = div(%e, %u)`);
    expect(kind).toBe('row');
    expect(namesOf(inputs)).toEqual(['x']);
  });

  test('what is costly is not computed again for every element of a larger root', () => {
    const spread = (op: string) => `
      %e = ${op}(%row)
      %s = broadcast(%e) {shape: [rows, 64], axes: [1]}
      %r = mul(%x, %s)`;
    expect(namesOf(regionOf(spread('neg')).inputs).sort()).toEqual(['row', 'x']);
    expect(namesOf(regionOf(spread('exp')).inputs).sort()).toEqual(['exp', 'x']);
  });

  test('a product that is moved before it is used is computed elsewhere', () => {
    const { kind, inputs } = regionOf(`
      %a = dot_general(%x, %w) ${dot}
      %t = transpose(%a) {perm: [1, 0]}
      %r = tanh(%t)`);
    expect([kind, namesOf(inputs)]).toEqual(['map', ['dot_general']]);
  });

  test('counts of groups are read beside the operands', () => {
    const { kind, inputs } = regionOf(`
      %a = ragged_dot(%x, %experts, %counts) {acc: f32}
      %r = tanh(%a)`);
    expect(kind).toBe('matmul');
    expect(namesOf(inputs)).toEqual(['x', 'experts', 'counts']);
  });
});

describe('place', () => {
  /** What a product of `statements` reads on each side. */
  function placed(statements: string, target = cpu): string[] {
    const graph = graphOf(`${statements}\nreturn r = %r`);
    const root = resultOf(graph);
    const forming = new Forming(factsOf(graph, target), root, new Set(graph.results.values()));
    forming.anchors.push(root);
    placeLeft(forming, root);
    placeRight(forming, root.args[1]);
    return namesOf(forming.inputs);
  }

  test('conversions of weights are computed as they are read', () => {
    expect(placed(`%c = cast(%narrow) {dtype: f32}\n%r = dot_general(%x, %c) ${dot}`)).toEqual(['x', 'narrow']);
  });

  test('many rows are read from memory, but through views', () => {
    expect(placed(`%e = exp(%x)\n%r = dot_general(%e, %w) ${dot}`)).toEqual(['exp', 'w']);
    expect(placed(`%e = reverse(%x) {axes: [0]}\n%r = dot_general(%e, %w) ${dot}`)).toEqual(['x', 'w']);
  });

  test('a convolution reads its image, of which it makes no copy', () => {
    const statements = `
      %s = windows(%image) ${windows}
      %l = reshape(%s) {shape: [rows, 8, 8, 144]}
      %r = dot_general(%l, %filter) {batch: [[], []], contract: [[3], [0]], acc: f32}`;
    for (const target of [cpu, webgpuTarget()]) expect(placed(statements, target)).toEqual(['image', 'filter']);
  });
});
