// Activations far away from 0 and at their kinks: values and derivatives are finite there, the derivatives are those that
// differences of the interpreter in double precision give, and every device computes the same.
import { beforeAll, describe, expect, test } from 'vitest';
import { activation, activationNames, gradients, Module, trace } from '../../frontends/dsl/index.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import { devices } from '../support/devices.ts';
import type { DeviceResult } from '../support/test-device.ts';

class Nothing extends Module {}

const places = [-1e4, -1000, -100, -90, -88, -50, -20, -5, -4, -3.5, -2, -1, -1e-3, 0, 1e-3, 1, 3.5, 5, 20, 100, 1000, 1e4]; // biome-ignore format: one row
const x = ndarray('f32', [places.length], places.map(Math.fround));
/** What PyTorch gives where the two sides of 0 differ. */
const atZero: Readonly<Record<string, number>> = { relu: 0, relu6: 0, leaky_relu: 0.01 };

/** Where PyTorch, too, divides by the root of 0: of what is below the normal numbers of f32, which GPUs need not have. */
const isTooSmall = (name: string, place: number): boolean => name === 'sqrtsoftplus' && place < -87;

const graphs = new Map(
  activationNames.map((name): [string, Graph] => {
    const { graph } = trace(
      name,
      new Nothing(),
      () => 'f32',
      (t) => {
        const input = t.input('x', 'f32', [places.length]);
        const y = activation(name)(input);
        t.result('y', y);
        t.result('dy', gradients(y.sum(), [input])[0]);
      },
    );
    return [name, graph];
  }),
);
const run = (graph: Graph, data: Float64Array, mode?: 'doubles') =>
  evaluate(graph, { params: new Map([['x', { ...x, data }]]) }, mode).results;

test.each([...graphs])('%s: derivatives in f32', (name, graph) => {
  const { data: derivative } = run(graph, x.data).get('dy')!;
  const h = 1e-6;
  const at = (by: number): Float64Array => run(graph, x.data.map((v) => v + by), 'doubles').get('y')!.data; // biome-ignore format: one row
  const [above, below] = [at(h), at(-h)];
  places.forEach((place, i) => {
    if (isTooSmall(name, place)) return;
    const slope = place === 0 && name in atZero ? atZero[name] : (above[i] - below[i]) / (2 * h);
    expect(Math.abs(derivative[i] - slope), `at ${place}`).toBeLessThan(1e-5 * Math.max(1, Math.abs(slope)));
  });
});

test('softplus keeps its digits where it is small', () => {
  const { data } = run(graphs.get('sqrtsoftplus')!, x.data).get('y')!;
  places.forEach((place, i) => {
    const exact = Math.sqrt(Math.max(place, 0) + Math.log1p(Math.exp(-Math.abs(place))));
    if (place > -80) expect(Math.abs(data[i] / exact - 1), `at ${place}`).toBeLessThan(2e-6);
  });
});

const { present, missing } = await devices();

describe('devices', () => {
  for (const { name, why } of missing) test.skip(`${name} is not here: ${why}`, () => {});
  for (const device of present) {
    describe(device.name, () => {
      let results: DeviceResult[] = [];
      const runs = [...graphs.values()].map((graph) => ({ graph, params: new Map<string, NdArray>([['x', x]]) }));
      beforeAll(async () => {
        results = await device.run(runs, 'quick');
      }, 600_000);

      test.each(activationNames.map((name, i) => [name, i] as const))('%s', (name, i) => {
        const got = results[i];
        if (got instanceof Error) throw got;
        for (const [result, want] of run(runs[i].graph, x.data)) {
          const { data } = got.results.get(result)!;
          want.data.forEach((v, j) => {
            if (isTooSmall(name, places[j])) return;
            const off = Math.abs(data[j] - v) / Math.max(1, Math.abs(v));
            expect(off, `${result} at ${places[j]}`).toBeLessThan(2e-6);
          });
        }
      });
    });
  }
});
