// Gradients of every family of models, with everything that it has: dropout, windows, experts, padding, smoothed labels
// and such that do not count, and every head of encoders. The derivative along a random direction of all parameters, and
// of each by itself, is compared with central differences of the interpreter in double precision; the devices of this
// machine are compared with the interpreter, layers being computed anew in some.
import { beforeAll, describe, expect, test } from 'vitest';
import {
  declareColumns,
  gradients,
  Parameter,
  type SequenceTask,
  trace,
  withDropout,
} from '../../frontends/dsl/index.ts';
import { dimConst } from '../../ir/dim.ts';
import { evaluate } from '../../ir/eval.ts';
import { expandGradients } from '../../ir/gradients.ts';
import { type Graph, roots, topologicalOrder } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import { substitute } from '../../ir/rewrite.ts';
import { remat } from '../../passes/remat.ts';
import { uniform } from '../support/cases/case.ts';
import { openCpu } from '../support/cpu-device.ts';
import { openCuda } from '../support/cuda-device.ts';
import { devices } from '../support/devices.ts';
import { sizes, smallBatch, smallTasks, withoutConfig } from '../support/small-models.ts';
import type { DeviceResult, DeviceRun } from '../support/test-device.ts';
import { openWebGpu } from '../support/webgpu-device.ts';

interface Differentiated extends DeviceRun {
  /** The parameters that the loss depends on; the gradient of p is the result `d p`. */
  readonly parameters: readonly string[];
}

/** The loss of a task and its gradients, all params being inputs, so that many such graphs make one program. */
function differentiated(task: SequenceTask): Differentiated {
  const fields = [...task.model.named()];
  const found = fields.flatMap(([name, field]) => (field instanceof Parameter ? [[name, field] as const] : []));
  const { graph, constants } = trace('gradients', task.model, () => 'f32', (t) => {
    const columns = declareColumns(t, [...task.inputs, ...task.labels], sizes);
    const outputs = withDropout(
      () => t.input('key', 'u32', [2]),
      () => task.outputs(columns),
    );
    const hasClasses = task.labels.some(({ name, dtype }) => name === 'labels' && dtype === 'i32');
    const numItems = task.countsItems ? t.input('num_items', 'f32', []) : undefined;
    const loss = task.loss(outputs, columns, { numItems, smoothing: hasClasses ? 0.1 : 0 });
    t.result('loss', loss);
    for (const [i, d] of gradients(loss, found.map(([, p]) => p.stored)).entries()) t.result(`d ${found[i][0]}`, d);
  }); // biome-ignore format: one row
  const params = new Map<string, NdArray>([
    ...smallBatch(task),
    ['key', ndarray('u32', [2], [3, 4])],
    ['num_items', ndarray('f32', [], [5])],
  ]);
  for (const [i, [name, { shape }]] of found.entries()) {
    const middle = shape.length === 1 ? 1 : 0;
    params.set(name, uniform(shape, i, middle - 0.6, middle + 0.6));
  }
  for (const [name, data] of constants) {
    const { shape } = graph.params.find((p) => p.attrs.name === name)!.type;
    params.set(name, ndarray('f32', shape.map((d) => dimConst(d)!), data)); // biome-ignore format: one row
  }
  const inputs = new Map(
    graph.params.map((p): [Node, Node] => [p, make('param', [], { ...p.attrs, kind: 'input' })] as const),
  );
  const free = substitute(graph, inputs);
  const used = new Set(free.params.map((p) => p.attrs.name));
  return { graph: free, params, dims: sizes, parameters: found.flatMap(([name]) => (used.has(name) ? [name] : [])) }; // biome-ignore format: one row
}

/** The graph whose backward pass computes layers anew, with the same elements dropped. */
const anew = (graph: Graph): Graph => remat('layers').run(expandGradients(graph));

const cases = smallTasks.map(({ family, name, task }) => ({ family, name, run: differentiated(task) }));
const dot = (x: NdArray, y: NdArray): number => x.data.reduce((sum, v, i) => sum + v * y.data[i], 0);

/** The loss where all parameters are moved along `directions`, in double precision. */
function lossAt({ graph, params, dims }: Differentiated, directions: ReadonlyMap<string, NdArray>) {
  const lossOnly: Graph = { ...graph, results: new Map([['loss', graph.results.get('loss')!]]) };
  return (by: number): number => {
    const moved = new Map(params);
    for (const [name, { data }] of directions) {
      const x = params.get(name)!;
      moved.set(name, { ...x, data: x.data.map((v, i) => v + by * data[i]) });
    }
    return evaluate(lossOnly, { params: moved, dims }, 'doubles').results.get('loss')!.data[0];
  };
}

test('every family has a case', () => {
  expect(withoutConfig).toEqual([]);
});

test.each(cases.map((c) => [c.name, c.run] as const))('%s: central differences', (_name, run) => {
  const { results } = evaluate(run.graph, { params: run.params, dims: run.dims }, 'doubles');
  const direction = (name: string, i: number) => [name, uniform(run.params.get(name)!.shape, 50 + i, -1, 1)] as const;
  const each = run.parameters.map((name, i) => new Map([direction(name, i)]));
  for (const directions of [new Map(run.parameters.map(direction)), ...each]) {
    const along = lossAt(run, directions);
    const h = 2e-6;
    const slope = (along(h) - along(-h)) / (2 * h);
    const gradient = [...directions].reduce((sum, [name, d]) => sum + dot(results.get(`d ${name}`)!, d), 0);
    const what = directions.size > 1 ? 'all parameters' : [...directions.keys()].join();
    expect(Math.abs(gradient - slope), what).toBeLessThan(1e-6 * Math.max(1e-2, Math.abs(slope)));
  }
});

test.each(cases.map((c) => [c.name, c.run] as const))(
  '%s: layers that are computed anew',
  (_name, { graph, params, dims }) => {
    const again = anew(graph);
    expect(topologicalOrder(roots(again)).some(({ op }) => op === 'fence')).toBe(true);
    expect(evaluate(again, { params, dims }).results).toEqual(evaluate(graph, { params, dims }).results);
  },
);

const { present, missing } = await devices([
  { name: 'cpu', open: openCpu },
  { name: 'cuda (emulated)', open: () => openCuda([]) }, // nvcc compiles the kernels of families in cuda-kernels.test.ts
  { name: 'webgpu', open: () => openWebGpu() },
]);

/** f32 in another order of summation; what is below a hundredth of the largest gradient may be what rounding left of 0. */
const tolerance = 1e-4;
const largestOf = ({ data }: NdArray): number => data.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

/** Every family, encoders each with another head: their layers, and those of heads, are made of the same kernels. */
const served = cases.filter(({ family }, i) => {
  const own = cases.filter((c) => c.family === family);
  const families = [...new Set(cases.map((c) => c.family))];
  return cases.indexOf(own[families.indexOf(family) % own.length]) === i;
});

describe('devices', () => {
  for (const { name, why } of missing) test.skip(`${name} is not here: ${why}`, () => {});
  for (const device of present) {
    describe(device.name, () => {
      let results: DeviceResult[] = [];
      beforeAll(async () => {
        results = await device.run(
          served.map(({ run }, i) => (i % 12 === 0 ? { ...run, graph: anew(run.graph) } : run)),
          'quick',
        );
      }, 1_200_000);

      test.each(served.map(({ name, run }, i) => [name, run, i] as const))('%s', (_name, run, i) => {
        const got = results[i];
        if (got instanceof Error) throw got;
        const expected = evaluate(run.graph, { params: run.params, dims: run.dims }).results;
        const floor = Math.max(...[...expected.values()].map(largestOf)) / 100;
        for (const [name, want] of expected) {
          const { data } = got.results.get(name)!;
          const off = want.data.reduce((most, v, j) => Math.max(most, Math.abs(v - data[j])), 0);
          expect(off / Math.max(floor, largestOf(want)), name).toBeLessThan(tolerance);
        }
      });
    });
  }
});
