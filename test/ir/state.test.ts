// State updates: all reads of a run see the values from before it, whatever is updated in place. Every graph runs several
// times, its states carrying over, on every device, and must give what the interpreter gives.
import { beforeAll, describe, expect, test } from 'vitest';
import { hostTarget } from '../../backends/cpu/target.ts';
import { dim, dimAdd, dimVar } from '../../ir/dim.ts';
import { type EvalOutput, evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import { bool, f32, i32, uniform } from '../support/cases/case.ts';
import { difference } from '../support/compare.ts';
import { regionsOf } from '../support/cpu-device.ts';
import { devices } from '../support/devices.ts';
import type { DeviceResult, DeviceRun } from '../support/test-device.ts';

const { present, missing } = await devices();

interface StateCase {
  readonly name: string;
  readonly states: Readonly<Record<string, NdArray>>;
  readonly inputs?: Readonly<Record<string, NdArray>>;
  /** New values of states and results by name, from the params. */
  build(p: Readonly<Record<string, Node<'param'>>>): {
    updates: Readonly<Record<string, Node>>;
    results?: Readonly<Record<string, Node>>;
  };
}

const add = (a: Node, b: Node): Node => make('add', [a, b], {});
const one = (like: Node): Node => {
  const { dtype, shape } = like.type;
  const scalar = make('const', [], { value: 1, dtype });
  return shape.length === 0 ? scalar : make('broadcast', [scalar], { shape, axes: [] });
};
const reverse = (x: Node): Node => make('reverse', [x], { axes: [0] });
const read = (state: Node, length: number): Node => make('cache_read', [state], { axis: 0, length: dim(length) });
const update = (state: Node, values: Node, past: Node): Node =>
  make('cache_update', [state, values, past], { axis: 0 });
const at = (value: number): Node => make('const', [], { value, dtype: 'i32' });
const matrix = uniform([5, 3], 1);
const other = uniform([5, 3], 2);
const rows = uniform([2, 3], 3);

const cases: readonly StateCase[] = [
  {
    name: 'a cache that is appended to, at a position that is a state',
    states: { cache: f32([7, 2], ...new Array<number>(14).fill(0)), position: i32([], 0) },
    inputs: { x: uniform([2, 2], 4) },
    build: ({ cache, position, x }) => {
      const next = update(cache, x, position);
      const grown = add(position, at(2));
      return { updates: { cache: next, position: grown }, results: { sum: reduce(next), position: grown } };
    },
  },
  {
    name: 'caches whose rows are appended to at places of their own, which are states',
    states: {
      keys: uniform([3, 2, 7, 4], 9), mask: bool([3, 7], ...new Array<number>(21).fill(0)), position: i32([3], 0, 2, 6),
    }, // biome-ignore format: one row
    inputs: { x: uniform([3, 2, 2, 4], 4), shown: bool([3, 2], 1, 0, 1, 1, 0, 1) },
    build: ({ keys, mask, position, x, shown }) => ({
      updates: {
        keys: make('cache_update', [keys, x, position], { axis: 2 }),
        mask: make('cache_update', [mask, shown, position], { axis: 1 }),
        position: add(position, one(position)),
      },
    }),
  },
  {
    name: 'a product that is rotated and appended to a cache, and one that is only appended',
    states: { keys: uniform([2, 3, 7, 8], 9), values: uniform([2, 3, 7, 8], 10), position: i32([], 3) },
    inputs: {
      x: uniform([2, 1, 20], 4), w: uniform([24, 20], 5), v: uniform([24, 20], 6), cos: uniform([2, 1, 4], 7), sin: uniform([2, 1, 4], 8),
    }, // biome-ignore format: one row
    build: ({ keys, values, position, x, w, v, cos, sin }) => {
      const heads = (weight: Node): Node => {
        const y = make('dot_general', [x, weight], { batch: [[], []], contract: [[2], [1]], acc: 'f32' });
        const split = make('reshape', [y], { shape: [2, 1, 3, 8].map((n) => dim(n)) });
        return make('transpose', [split], { perm: [0, 2, 1, 3] });
      };
      const append = (state: Node, y: Node): Node => make('cache_update', [state, y, position], { axis: 2 });
      const grown = append(keys, make('rope', [heads(w), cos, sin], { style: 'half' }));
      return {
        updates: { keys: grown, values: append(values, heads(v)), position: add(position, at(2)) },
        results: { reversed: reverse(grown) },
      };
    },
  },
  {
    name: 'an elementwise update whose old value is a result too',
    states: { a: matrix },
    build: ({ a }) => ({ updates: { a: add(a, one(a)) }, results: { old: a, doubled: add(a, a) } }),
  },
  { name: 'two states swapped', states: { a: matrix, b: other }, build: ({ a, b }) => ({ updates: { a: b, b: a } }) },
  {
    name: 'three states rotated, two of them as views',
    states: { a: matrix, b: other, c: uniform([5, 3], 5) },
    build: ({ a, b, c }) => ({ updates: { a: reverse(b), b: c, c: reverse(a) }, results: { a } }),
  },
  {
    name: 'a state that stays and one that takes its value',
    states: { a: matrix, b: other },
    build: ({ a, b }) => ({ updates: { a, b: a }, results: { b } }),
  },
  {
    name: 'one value for two states and a result',
    states: { a: matrix, b: other },
    build: ({ a, b }) => {
      const sum = add(a, b);
      return { updates: { a: sum, b: sum }, results: { x: sum, y: sum } };
    },
  },
  {
    name: 'a cache that takes its own rows, reversed',
    states: { a: matrix },
    build: ({ a }) => ({ updates: { a: update(a, reverse(read(a, 3)), at(1)) } }),
  },
  {
    name: 'a cache that takes itself, shifted',
    states: { a: matrix },
    build: ({ a }) => ({ updates: { a: update(a, a, at(1)) } }),
  },
  {
    name: 'results that read a cache before, after, and both',
    states: { a: matrix },
    inputs: { x: rows },
    build: ({ a, x }) => {
      const next = update(a, x, at(2));
      const both = add(next, reverse(a));
      return { updates: { a: next }, results: { both, before: add(a, a), after: add(next, next), next } };
    },
  },
  {
    name: 'two caches that take rows of each other',
    states: { a: matrix, b: other },
    build: ({ a, b }) => ({ updates: { a: update(a, read(b, 2), at(1)), b: update(b, read(a, 2), at(3)) } }),
  },
  {
    name: 'two caches, and results that read each new value beside the old value of the other',
    states: { a: matrix, b: other },
    inputs: { x: rows },
    build: ({ a, b, x }) => {
      const [c, d] = [update(a, x, at(0)), update(b, x, at(3))];
      return { updates: { a: c, b: d }, results: { y: add(c, b), z: add(d, a) } };
    },
  },
  {
    name: 'two updates of one cache',
    states: { a: matrix },
    inputs: { x: rows },
    build: ({ a, x }) => ({ updates: { a: update(update(a, x, at(0)), reverse(x), at(3)) } }),
  },
  {
    name: 'a slice written at a position that is a state, clamped',
    states: { a: matrix, p: i32([], 0) },
    inputs: { x: rows },
    build: ({ a, p, x }) => {
      const next = make('dynamic_update_slice', [a, x, p, at(0)], {});
      return { updates: { a: next, p: add(p, at(2)) }, results: { sum: reduce(next) } };
    },
  },
  {
    name: 'a scalar replaced as a slice',
    states: { a: f32([], 1) },
    inputs: { x: f32([], 2) },
    build: ({ a, x }) => ({ updates: { a: make('dynamic_update_slice', [a, add(a, x)], {}) }, results: { a } }),
  },
  {
    name: 'positions of a last axis, some of them outside',
    states: { a: matrix, p: i32([], -1) },
    inputs: { x: uniform([5, 2], 8) },
    build: ({ a, p, x }) => ({
      updates: { a: make('cache_update', [a, x, p], { axis: 1 }), p: add(p, at(2)) },
    }),
  },
  {
    name: 'a weight that is trained: read by a product and changed by another',
    states: { w: uniform([4, 3], 6) },
    inputs: { x: uniform([5, 3], 7) },
    build: ({ w, x }) => {
      const y = make('dot_general', [x, w], { batch: [[], []], contract: [[1], [1]], acc: 'f32' });
      const step = make('dot_general', [y, x], { batch: [[], []], contract: [[0], [0]], acc: 'f32' });
      return { updates: { w: add(w, make('tanh', [step], {})) }, results: { y } };
    },
  },
  {
    name: 'moments and a parameter, updated in place',
    states: { p: matrix, m: other, v: uniform([5, 3], 10, 0, 1) },
    inputs: { g: uniform([5, 3], 11) },
    build: ({ p, m, v, g }) => {
      const mean = add(m, g);
      const square = add(v, make('mul', [g, g], {}));
      const root = make('sqrt', [square], {});
      return { updates: { p: add(p, make('div', [mean, add(root, one(p))], {})), m: mean, v: square } };
    },
  },
  {
    name: 'a sum that an accumulator takes through views that keep the order',
    states: { a: matrix },
    inputs: { x: uniform([15], 12) },
    build: ({ a, x }) => {
      const flat = make('reshape', [a], { shape: [dim(15)] });
      return { updates: { a: make('reshape', [add(flat, x)], { shape: [dim(5), dim(3)] }) } };
    },
  },
  {
    name: 'a state that takes itself, transposed',
    states: { a: uniform([4, 4], 13) },
    build: ({ a }) => ({ updates: { a: add(a, make('transpose', [a], { perm: [1, 0] })) } }),
  },
  {
    name: 'a state that takes the norm of its rows',
    states: { a: matrix },
    build: ({ a }) => ({ updates: { a: make('softmax', [a], { axis: 1 }) } }),
  },
  {
    name: 'a cache of symbolic capacity',
    states: { a: matrix },
    inputs: { x: rows },
    build: ({ a, x }) => {
      const next = update(a, x, make('dim', [], { dim: dimAdd(a.type.shape[0], -2) }));
      return { updates: { a: next }, results: { last: reverse(next) } };
    },
  },
];

function reduce(x: Node): Node {
  return make('reduce', [x], { op: 'add', axes: x.type.shape.map((_, i) => i), acc: 'f32' });
}

const times = 3;

function build(c: StateCase): DeviceRun {
  const symbolic = c.name.includes('symbolic');
  const params = new Map<string, NdArray>(Object.entries({ ...c.states, ...c.inputs }));
  const nodes = new Map(
    [...params].map(([name, value]) => {
      const kind = name in c.states ? 'state' : 'input';
      const shape = value.shape.map((d, i) =>
        symbolic && kind === 'state' && i === 0 ? dimVar('capacity', 2, 64) : dim(d),
      );
      return [name, make('param', [], { name, kind, dtype: value.dtype, shape })] as const;
    }),
  );
  const { updates, results = {} } = c.build(Object.fromEntries(nodes));
  const graph: Graph = {
    name: 'state',
    params: [...nodes.values()],
    results: new Map(Object.entries(results)),
    updates: new Map(Object.entries(updates).map(([name, value]) => [nodes.get(name)!, value])),
  };
  return { graph, params, dims: symbolic ? { capacity: 5 } : {}, times };
}

function interpret({ graph, params, dims }: DeviceRun): EvalOutput {
  let output = evaluate(graph, { params, dims });
  for (let i = 1; i < times; i++) output = evaluate(graph, { params: new Map([...params, ...output.updates]), dims });
  return output;
}

/** How many kernels one run of a case takes. */
const kernelsOf = (name: string): number =>
  regionsOf(build(cases.find((c) => c.name === name)!).graph, hostTarget()).launches.flat().length;

test('a state takes its new value in place where each element follows from its own old one', () => {
  expect(kernelsOf('moments and a parameter, updated in place')).toBe(3);
  expect(kernelsOf('a state that takes itself, transposed')).toBe(2);
});

for (const { name, why } of missing) test.skip(`${name} is not here: ${why}`, () => {});
for (const device of present) {
  describe(device.name, () => {
    const runs = cases.map(build);
    let results: DeviceResult[] = [];
    beforeAll(async () => {
      results = await device.run(runs);
    }, 600_000);

    test.each(cases.map((c, i) => [c.name, i] as const))('%s', (_name, i) => {
      const actual = results[i];
      if (actual instanceof Error) throw actual;
      const expected = interpret(runs[i]);
      for (const kind of ['results', 'updates'] as const) {
        expect([...actual[kind].keys()].sort()).toEqual([...expected[kind].keys()].sort());
        for (const [name, value] of expected[kind]) {
          expect(difference(actual[kind].get(name)!, value, 1e-5), `${kind}: ${name}`).toBeUndefined();
        }
      }
    });
  });
}
