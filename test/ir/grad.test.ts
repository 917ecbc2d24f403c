// Gradients. Every case of test/support/cases/*.ts whose op computes floats from floats is differentiated with respect to all of
// them, at random values, and compared with central differences of the interpreter in double precision; the same graphs
// run on every device of this machine beside the interpreter.
import { beforeAll, describe, expect, test } from 'vitest';
import { gradients, Module, Parameter, trace } from '../../frontends/dsl/index.ts';
import { dim } from '../../ir/dim.ts';
import { type DType, inDoubles, isFloat, roundTo } from '../../ir/dtype.ts';
import { evaluate, evaluateRanks } from '../../ir/eval.ts';
import { expandGradients } from '../../ir/gradients.ts';
import type { Graph } from '../../ir/graph.ts';
import { topologicalOrder } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import type { Node, OpName } from '../../ir/node.ts';
import { isOp, setOrigin } from '../../ir/node.ts';
import { collective } from '../../ir/ops/collective.ts';
import { opNames } from '../../ir/ops/index.ts';
import { vjpOf } from '../../ir/ops/vjp/index.ts';
import type { Case } from '../support/cases/case.ts';
import { uniform } from '../support/cases/case.ts';
import { difference } from '../support/compare.ts';
import { devices } from '../support/devices.ts';
import { build, cases } from '../support/op-cases.ts';
import type { DeviceResult } from '../support/test-device.ts';

const nodeOf = (name: string, dtype: DType, ...shape: number[]): Node =>
  make('param', [], { name, kind: 'input', dtype, shape: shape.map((d) => dim(d)) });

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

/** The share that a few roundings to the type of a result may change, before sums are taken in another order. */
const accuracy = ({ dtype }: NdArray): number => (dtype === 'bf16' ? 2 ** -6 : dtype === 'f16' ? 2 ** -9 : 1e-5);

const noFloats = 'its result is not made of floats';
const splitting = 'only a pass makes it, after gradients were taken';
const leaf = 'it has no arguments';

/** Ops without a derivative, and why: what users are told, where an op can be met. All others need a case. */
const without: Readonly<Partial<Record<OpName, string>>> = {
  param: leaf,
  const: leaf,
  iota: leaf,
  dim: leaf,
  and: noFloats,
  or: noFloats,
  xor: noFloats,
  shl: noFloats,
  shr: noFloats,
  compare: noFloats,
  sort: noFloats,
  top_k: noFloats,
  rng_bits: noFloats,
  quantize: noFloats,
  axis_index: noFloats,
  bitcast: 'the bits of a number are no smooth function of it',
  dequantize: 'packed weights and their scales are not trained; train a LoRA adapter beside them',
  stop_gradient: 'it is there to have none',
  gradient: 'it is replaced before what is computed from it is differentiated',
  attention_split: splitting,
  attention_merge: splitting,
};
const rows = cases.flatMap((c) => {
  const made = c.op in without ? undefined : differentiated(c);
  return made ? [[c.op, c.name, c, made] as const] : [];
});

describe('central differences', () => {
  test.each(rows)('%s: %s', (_op, _name, _c, made) => {
    expect(wrongGradient(made)).toBeUndefined();
  });
});

const ranks = 2;
const mesh = { mesh: 'm', size: ranks };
const ofRank = nodeOf('x', 'f32', 4, 2) as Node<'param'>;
const exchanges: readonly Node[] = [
  make('all_gather', [ofRank], { ...mesh, axis: 0 }),
  make('all_reduce', [ofRank], { ...mesh, op: 'add' }),
  make('all_reduce', [ofRank], { ...mesh, op: 'max' }),
  make('all_reduce', [ofRank], { ...mesh, op: 'min' }),
  make('reduce_scatter', [ofRank], { ...mesh, op: 'add', axis: 1 }),
  make('all_to_all', [ofRank], { ...mesh, split: 0, concat: 1 }),
  make('permute', [ofRank], { ...mesh, shift: 1 }),
];

test.each(opNames)('%s has a case, or a reason to have no derivative', (op) => {
  const reason = without[op];
  const rule = vjpOf(op);
  const hasCase = rows.some(([other]) => other === op) && !(op in collective);
  expect(hasCase || exchanges.some((node) => node.op === op)).toBe(reason === undefined);
  if (typeof rule === 'object') return expect(rule.none).toBe(reason);
  if (reason === undefined || rule === 'decompose') return;
  const { node } = build(cases.find((c) => c.op === op)!);
  expect(rule(node, node)).toEqual(node.args.map(() => null));
});

describe('collectives', () => {
  test.each(exchanges.map((node) => [node.op, node] as const))(
    '%s: the derivative of the sum of all losses',
    (_, node) => {
      const weights = make('param', [], { name: 'weights', kind: 'input', dtype: 'f32', shape: node.type.shape });
      const loss = make('reduce', [make('mul', [node, weights], {})], { op: 'add', axes: [0, 1], acc: 'f32' });
      const results = new Map<string, Node>([['loss', loss], ['d x', make('gradient', [loss, ofRank], {})]]); // biome-ignore format: one row
      const graph: Graph = { name: 'ranks', params: [ofRank, weights], results, updates: new Map() };
      const sizes = node.type.shape.map((d) => d.min);
      const own = (rank: number) => [['x', uniform([4, 2], 1 + rank)], ['weights', uniform(sizes, 5 + rank)]] as const; // biome-ignore format: one row
      const run = (values: readonly NdArray[]) =>
        evaluateRanks(
          graph,
          values.map((x, rank) => ({ params: new Map([...own(rank), ['x', x]]) })),
          { m: ranks },
        );
      const start = Array.from({ length: ranks }, (_, rank) => uniform([4, 2], 1 + rank));
      const gradients = run(start).map((out) => out.results.get('d x')!);
      for (let i = 0; i < ranks * 8; i++) {
        const moved = (by: number): number => {
          const values = start.map((v, rank) => ({
            ...v,
            data: v.data.map((e, j) => (rank * 8 + j === i ? e + by : e)),
          }));
          return inDoubles(() => run(values)).reduce((sum, out) => sum + out.results.get('loss')!.data[0], 0);
        };
        const slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
        expect(gradients[Math.floor(i / 8)].data[i % 8]).toBeCloseTo(slope, 6);
      }
    },
  );
});

describe('what has no derivative', () => {
  const w = nodeOf('w', 'f32', 4);
  const sum = (x: Node): Node => make('reduce', [x], { op: 'add', axes: [0], acc: 'f32' });
  const graphOf = (loss: Node, x: Node): Graph => ({
    name: 'g',
    params: topologicalOrder([loss, x]).filter((n): n is Node<'param'> => isOp(n, 'param')),
    results: new Map([['d', make('gradient', [loss, x], {})]]),
    updates: new Map(),
  });

  test('is told by its op, its place, the reason and a way out', () => {
    const bits = make('bitcast', [make('cast', [w], { dtype: 'f16' })], { dtype: 'bf16' });
    setOrigin(bits, 'model.layers.3');
    expect(() => expandGradients(graphOf(sum(make('cast', [bits], { dtype: 'f32' })), w))).toThrow(
      /^bitcast \[4\] in model\.layers\.3 has no derivative: the bits of .*; .* stop_gradient/,
    );
  });
  test('does not matter where nothing that is asked for lies below it', () => {
    const words = nodeOf('words', 'i8', 4);
    const spec = { bits: 8, group: 0, code: 'affine', zero: 'none' } as const;
    const packed = make('dequantize', [words, nodeOf('scale', 'f32', 1)], { spec, dtype: 'f32' });
    const loss = sum(make('mul', [packed, w], {}));
    const [d] = expandGradients(graphOf(loss, w)).results.values();
    expect(topologicalOrder([d])).toContain(packed);
    expect(() => expandGradients(graphOf(loss, packed.args[1]))).toThrow(/^dequantize \[4\] has no derivative: .*LoRA/);
  });
});

test('gradients() in the DSL: parameters and values in between, of any float type', () => {
  class Scaled extends Module {
    weight = new Parameter([3]);
  }
  const model = new Scaled();
  const { graph } = trace('g', model, () => 'bf16', (t) => {
    const x = t.input('x', 'f32', [2, 3]);
    const y = x.mul(model.weight.value);
    const [dw, dy] = gradients(y.square().sum(), [model.weight.stored, y]);
    t.result('dw', dw);
    t.result('dy', dy);
    expect(() => gradients(y, [x])).toThrow(/^loss must have 0 axes.*\(gradient C1\)$/);
  }); // biome-ignore format: one row
  const weight = ndarray('bf16', [3], [1, 2, 4]);
  const x = ndarray('f32', [2, 3], [1, 1, 1, 0, 1, 2]);
  const { results } = evaluate(graph, { params: new Map([['x', x], ['weight', weight]]) }); // biome-ignore format: one row
  expect(results.get('dw')).toEqual(ndarray('bf16', [3], [2, 8, 40]));
  expect(results.get('dy')!.data).toEqual(Float64Array.of(2, 4, 8, 0, 4, 16));
});

/**
 * The first and the last case of every op run on devices, of second derivatives of attention the first alone; ranks run in
 * the interpreter.
 */
const served = rows.filter(([op], i) => {
  if (op in collective) return false;
  const isSame = ([other]: (typeof rows)[number]): boolean => other === op;
  const isLast = !op.startsWith('attention_backward') && !rows.slice(i + 1).some(isSame);
  return isLast || !rows.slice(0, i).some(isSame);
});

describe('devices', () => {
  for (const { name, why } of missing) test.skip(`${name} is not here: ${why}`, () => {});
  for (const device of present) {
    describe(device.name, () => {
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
