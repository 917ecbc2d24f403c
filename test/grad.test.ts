// Gradients. Every case of test/cases/*.ts whose op computes floats from floats is differentiated with respect to all of
// them, at random values, and compared with central differences of the interpreter in double precision; the same graphs
// run on every device of this machine beside the interpreter.
import { beforeAll, describe, expect, test } from 'vitest';
import { isFloat, roundTo } from '../ir/dtype.ts';
import { evaluate } from '../ir/eval.ts';
import type { Graph, Node, OpName } from '../ir/graph.ts';
import { make } from '../ir/graph.ts';
import type { NdArray } from '../ir/ndarray.ts';
import { collective } from '../ir/ops/collective.ts';
import type { Case } from './cases/case.ts';
import { uniform } from './cases/case.ts';
import { difference } from './compare.ts';
import { type DeviceResult, devices } from './devices.ts';
import { build, cases } from './op-cases.ts';

interface Differentiated {
  readonly graph: Graph;
  readonly params: ReadonlyMap<string, NdArray>;
  readonly dims: Readonly<Record<string, number>>;
  /** Params that gradients are asked of; the gradient of p is the result `d p`. */
  readonly wanted: readonly Node<'param'>[];
}

/** Ops whose functions exist, or are smooth, for positive arguments alone. */
const positive: ReadonlySet<OpName> = new Set<OpName>(['log', 'sqrt', 'rsqrt', 'pow', 'div', 'rem']);

/** The gradients of a weighted sum of what the op gives; undefined where it gives or takes no floats. */
function differentiated(c: Case): Differentiated | undefined {
  const { node, graph } = build(c);
  const wanted = graph.params.filter((p) => isFloat(p.type.dtype));
  if (c.leaf || c.op === 'param' || c.op === 'gradient' || !isFloat(node.type.dtype) || wanted.length === 0)
    return undefined;
  const weights = make('param', [], { name: 'weights', kind: 'input', dtype: 'f32', shape: node.type.shape });
  const product = make('mul', [make('cast', [node], { dtype: 'f32' }), weights], {});
  const axes = node.type.shape.map((_, i) => i);
  const loss = make('reduce', [product], { op: 'add', axes, acc: 'f32' });
  const results = new Map<string, Node>([['loss', loss]]);
  for (const p of wanted) results.set(`d ${p.attrs.name}`, make('gradient', [loss, p], {}));
  const low = positive.has(c.op) ? 0.4 : -1.5;
  const params = new Map<string, NdArray>(
    c.args.map((x, i) => {
      if (!isFloat(x.dtype)) return [`p${i}`, x] as const;
      const { data } = uniform(x.shape, 100 + i, low, 1.5);
      return [`p${i}`, { ...x, data: data.map((v) => roundTo(x.dtype, v)) }] as const;
    }),
  );
  const shape = evaluate(graph, { params, dims: c.dims ?? {} }).results.get('result')!.shape;
  params.set('weights', uniform(shape, 99, -1, 1));
  const complete = { ...graph, params: [...graph.params, weights], results };
  return { graph: complete, params, dims: c.dims ?? {}, wanted };
}

/** At most so many elements of an argument are moved. */
const probes = 12;

/** Compares gradients with differences; gives the first that is wrong. */
function wrongGradient({ graph, params, dims, wanted }: Differentiated, tolerance = 1e-6): string | undefined {
  const exact = evaluate(graph, { params, dims }, 'doubles').results;
  const lossOnly = { ...graph, results: new Map([['loss', graph.results.get('loss')!]]) };
  const lossAt = (name: string, x: NdArray): number =>
    evaluate(lossOnly, { params: new Map([...params, [name, x]]), dims }, 'doubles').results.get('loss')!.data[0];
  for (const {
    attrs: { name },
  } of wanted) {
    // biome-ignore format: one row
    const x = params.get(name)!;
    const gradient = exact.get(`d ${name}`)!;
    const step = Math.max(1, Math.floor(x.data.length / probes));
    for (let i = 0; i < x.data.length; i += step) {
      const moved = (by: number): number => {
        const data = x.data.slice();
        data[i] += by;
        return lossAt(name, { ...x, data });
      };
      const h = 1e-5;
      const slope = (moved(h) - moved(-h)) / (2 * h);
      const error = Math.abs(slope - gradient.data[i]);
      if (!(error <= tolerance * Math.max(1, Math.abs(slope))))
        return `${name}[${i}]: ${gradient.data[i]}, but differences give ${slope}`;
    }
  }
  return undefined;
}

const { present, missing } = await devices();

/** Collectives of one rank; programs of one rank are all that devices run. */
const isCollectiveOp = (op: OpName): boolean => op in collective;

/** The share that a few roundings to the type of a result may change, before sums are taken in another order. */
const accuracy = ({ dtype }: NdArray): number => (dtype === 'bf16' ? 2 ** -6 : dtype === 'f16' ? 2 ** -9 : 1e-5);

/** Ops that give floats from floats and have no derivative. */
const without: ReadonlySet<OpName> = new Set<OpName>([
  'stop_gradient',
  'bitcast',
  'dequantize',
  'attention_split',
  'attention_merge',
]);
const rows = cases.flatMap((c) => {
  const made = without.has(c.op) ? undefined : differentiated(c);
  return made ? [[c.op, c.name, c, made] as const] : [];
});

describe('central differences', () => {
  test.each(rows)('%s: %s', (_op, _name, _c, made) => {
    expect(wrongGradient(made)).toBeUndefined();
  });
});

describe('devices', () => {
  for (const { name, why } of missing) test.skip(`${name} is not here: ${why}`, () => {});
  for (const device of present) {
    describe(device.name, () => {
      const served = rows.filter(([op]) => !isCollectiveOp(op));
      let results: DeviceResult[] = [];
      beforeAll(async () => {
        results = await device.run(
          served.map(([, , , made]) => made),
          'quick',
        );
      }, 600_000);

      test.for(served.map(([op, name], i) => [op, name, i] as const))('%s: %s', ([, , i]) => {
        const result = results[i];
        if (result instanceof Error) throw result;
        const [, , c, { graph, params, dims }] = served[i];
        for (const [name, expected] of evaluate(graph, { params, dims }).results) {
          const tolerance = Math.max(c.deviceTolerance ?? c.tolerance ?? 0, accuracy(expected));
          expect(difference(result.results.get(name)!, expected, tolerance), name).toBeUndefined();
        }
      });
    });
  }
});
