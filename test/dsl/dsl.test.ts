// The DSL: broadcasting and promotion, operators against their definition, weight names, traces, rotary tables.
import { describe, expect, test } from 'vitest';
import * as custom from '../../examples/custom-architecture.ts';
import {
  activation,
  activationNames,
  arange,
  Constant,
  concat,
  Embedding,
  full,
  LayerNorm,
  Linear,
  Module,
  Parameter,
  promote,
  type RopeOptions,
  type RopeScaling,
  RotaryEmbedding,
  ropeFrequencies,
  scalar,
  type Tensor,
  type Tracer,
  trace,
  where,
} from '../../frontends/dsl/index.ts';
import type { DType } from '../../ir/dtype.ts';
import { evaluate } from '../../ir/eval.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import { typeText } from '../../ir/node.ts';
import { verify } from '../../ir/verify.ts';
import { relativeError } from '../support/golden.ts';

class Empty extends Module {}
const f32 = (): DType => 'f32';

/** Traces a computation on inputs and runs it. */
function run(inputs: Record<string, NdArray>, build: (x: Record<string, Tensor>) => Tensor): NdArray {
  const { graph } = trace('test', new Empty(), f32, (t) => {
    const tensors = Object.entries(inputs).map(([name, a]) => [name, t.input(name, a.dtype, a.shape)]);
    t.result('y', build(Object.fromEntries(tensors)));
  });
  return evaluate(graph, { params: new Map(Object.entries(inputs)) }).results.get('y')!;
}
const vector = (...data: number[]): NdArray => ndarray('f32', [data.length], data);
const ints = (...data: number[]): NdArray => ndarray('i32', [data.length], data);
const values = (a: NdArray): number[] => [...a.data];

describe('tensors', () => {
  const matrix = ndarray('f32', [2, 3], [1, 2, 3, 4, 5, 6]);

  test('shapes broadcast as in NumPy', () => {
    const y = run({ a: ndarray('f32', [2, 1], [1, 2]), b: vector(10, 20, 30) }, ({ a, b }) => a.add(b));
    expect(y.shape).toEqual([2, 3]);
    expect(values(y)).toEqual([11, 21, 31, 12, 22, 32]);
    expect(() => run({ a: vector(1, 2), b: vector(1, 2, 3) }, ({ a, b }) => a.add(b))).toThrow(
      'shapes [2] and [3] do not broadcast together',
    );
  });

  test.each<[DType, DType, DType]>([
    ['f32', 'f32', 'f32'],
    ['f16', 'i64', 'f16'],
    ['f16', 'bf16', 'f32'],
    ['bool', 'i8', 'i8'],
    ['i32', 'i8', 'i32'],
    ['i8', 'u8', 'i32'],
    ['i32', 'u32', 'i64'],
    ['i64', 'bool', 'i64'],
  ])('%s with %s is %s', (a, b, expected) => {
    expect(promote(a, b)).toBe(expected);
    expect(promote(b, a)).toBe(expected);
  });

  test('plain numbers do not widen, unless they are fractions', () => {
    expect(run({ a: ints(3) }, ({ a }) => a.mul(2)).dtype).toBe('i32');
    const y = run({ a: ints(3) }, ({ a }) => a.mul(0.5));
    expect([y.dtype, ...values(y)]).toEqual(['f32', 1.5]);
  });

  const unary: [string, (x: Tensor) => Tensor, number[]][] = [
    ['sub', (x) => x.sub(2), [-1, 0, 1]],
    ['div', (x) => x.cast('i32').div(2), [0.5, 1, 1.5]],
    ['abs', (x) => x.neg().abs(), [1, 2, 3]],
    ['clamp', (x) => x.clamp(1.5, 2.5), [1.5, 2, 2.5]],
    ['where', (x) => where(x.gt(1), x, -1), [-1, 2, 3]],
    ['not', (x) => x.gt(1).not().cast('i32'), [1, 0, 0]],
    ['logic', (x) => x.gt(1).and(x.lt(3)).or(x.eq(1)).cast('i32'), [1, 1, 0]],
    ['slice from the end', (x) => x.slice(0, -2), [2, 3]],
    ['slice with stride', (x) => x.slice(0, 0, undefined, 2), [1, 3]],
    ['split', (x) => concat(x.split([1, 2], 0).reverse()), [2, 3, 1]],
    ['unsqueeze', (x) => x.unsqueeze(0).unsqueeze(-1).squeeze(0).squeeze(-1), [1, 2, 3]],
    ['sum', (x) => x.sum(), [6]],
    ['mean', (x) => x.mean(0, true), [2]],
    ['any, all', (x) => concat([x.gt(2).any(0, true), x.gt(2).all(0, true)]).cast('i32'), [1, 0]],
    ['max, min', (x) => concat([x.max(-1, true), x.min(0, true)]), [3, 1]],
    ['cumsum', (x) => x.cumsum(0), [1, 3, 6]],
    ['argmax', (x) => x.argmax(), [2]],
    ['gather', (x) => x.gather(arange(3).rem(2)), [1, 2, 1]],
    ['full', (x) => x.mul(full([3], 2)), [2, 4, 6]],
    ['softmax', (x) => x.sub(x).softmax().mul(3), [1, 1, 1]],
  ];
  test.each(unary)('%s', (_, f, expected) => {
    const y = values(run({ x: vector(1, 2, 3) }, ({ x }) => f(x)));
    expect(y.map((v) => Math.round(v * 1e5) / 1e5)).toEqual(expected);
  });

  test('matmul contracts the last two axes and broadcasts the others', () => {
    expect(values(run({ a: matrix }, ({ a }) => a.matmul(a.transpose(0, 1))))).toEqual([14, 32, 32, 77]);
    const batched = run({ a: matrix }, ({ a }) => a.unsqueeze(0).matmul(a.permute([1, 0]).broadcastTo([2, 3, 2])));
    expect(batched.shape).toEqual([2, 2, 2]);
    expect(values(batched)).toEqual([14, 32, 32, 77, 14, 32, 32, 77]);
    expect(values(run({ a: matrix }, ({ a }) => a.reshape([1, 2, 3]).matmul(a.reshape([3, 2]))))).toEqual([
      22, 28, 49, 64,
    ]);
  });

  test('reshape infers one size', () => {
    expect(run({ a: matrix }, ({ a }) => a.reshape([-1, 2])).shape).toEqual([3, 2]);
    expect(() => run({ a: matrix }, ({ a }) => a.reshape([4, -1]))).toThrow('no size fits -1');
    expect(() => run({ a: matrix }, ({ a }) => a.sum(2))).toThrow('axis 2 is out of range for the input a f32[2, 3]');
  });

  test('an operation that changes nothing makes no node', () => {
    run({ a: matrix }, ({ a }) => {
      for (const same of [a.cast('f32'), a.reshape([2, 3]), a.permute([0, 1]), a.slice(0), a.broadcastTo([2, 3])]) {
        expect(same.node).toBe(a.node);
      }
      return a;
    });
  });

  test('activations', () => {
    const erf = 0.8427007929497149; // erf(1)
    const at = (name: string, x: number): number => values(run({ x: vector(x) }, (i) => activation(name)(i.x)))[0];
    const expected: Record<string, [x: number, y: number]> = {
      gelu: [Math.SQRT2, (Math.SQRT2 / 2) * (1 + erf)],
      gelu_new: [1, 0.8411919906082768],
      silu: [1, 1 / (1 + Math.exp(-1))],
      quick_gelu: [1, 1 / (1 + Math.exp(-1.702))],
      sigmoid: [-100, 0],
      relu: [-1, 0],
      relu2: [3, 9],
      relu6: [9, 6],
      tanh: [1, Math.tanh(1)],
      linear: [5, 5],
      leaky_relu: [-1, -0.01],
      hardswish: [1, 4 / 6],
      mish: [1, Math.tanh(Math.log(1 + Math.E))],
      laplace: [Math.SQRT1_2, 0.5],
      gelu_10: [30, 10],
      sqrtsoftplus: [0, Math.sqrt(Math.LN2)],
    };
    for (const [name, [x, y]] of Object.entries(expected)) expect(at(name, x), name).toBeCloseTo(y, 5);
    for (const name of activationNames) expect(Number.isFinite(at(name, -50)), name).toBe(true);
    expect(() => activation('gelu2')).toThrow("unknown activation 'gelu2'");
  });
});

describe('modules', () => {
  class Block extends Module {
    readonly proj: Linear;
    readonly norm = new LayerNorm(2);
    constructor(readonly options: object) {
      super();
      this.proj = new Linear(2, 2, { bias: false });
    }
  }
  class Model extends Module {
    readonly embed = new Embedding(4, 2);
    readonly blocks = [new Block({}), new Block({})];
    readonly head = new Linear(2, 4);
    readonly table = new Constant(Float32Array.of(1, 2));
    readonly unused = new Parameter([7]);
    constructor() {
      super();
      Object.defineProperty(this.head, 'weight', { value: this.embed.weight });
    }
    forward(ids: Tensor): Tensor {
      const x = this.blocks.reduce((h, b) => b.norm.forward(b.proj.forward(h)), this.embed.forward(ids));
      return this.head.forward(x.add(this.table.value));
    }
  }

  test('paths are the names of weights; shared parameters have the first path', () => {
    expect([...new Model().named().keys()]).toEqual([
      'embed.weight',
      'blocks.0.proj.weight',
      'blocks.0.norm.weight',
      'blocks.0.norm.bias',
      'blocks.1.proj.weight',
      'blocks.1.norm.weight',
      'blocks.1.norm.bias',
      'head.bias',
      'table',
      'unused',
    ]);
  });

  test('a trace asks only for weights that are used, casts them, and lists params in order', () => {
    const asked: string[] = [];
    const model = new Model();
    const { graph, constants } = trace(
      'g',
      model,
      (name, shape) => {
        asked.push(`${name}[${shape}]`);
        return name === 'embed.weight' ? 'bf16' : 'f32';
      },
      (t) => {
        const batch = t.dim('batch', 1, 4);
        t.result('y', model.forward(t.input('ids', 'i32', [batch])));
      },
    );
    verify(graph);
    expect(asked).not.toContain('unused[7]');
    expect(graph.params.map((p) => `${p.attrs.kind} ${p.attrs.name} ${typeText(p.type)}`)).toEqual([
      'input ids i32[batch]',
      'weight embed.weight bf16[4, 2]',
      'weight blocks.0.proj.weight f32[2, 2]',
      'weight blocks.0.norm.weight f32[2]',
      'weight blocks.0.norm.bias f32[2]',
      'weight blocks.1.proj.weight f32[2, 2]',
      'weight blocks.1.norm.weight f32[2]',
      'weight blocks.1.norm.bias f32[2]',
      'weight head.bias f32[4]',
      'constant table f32[2]',
    ]);
    expect(constants.get('table')).toEqual(Float32Array.of(1, 2));
    expect(typeText(graph.results.get('y')!.type)).toBe('f32[batch, 4]');
  });

  test('mistakes are named', () => {
    const model = new Empty();
    const broken =
      (build: (t: Tracer) => void): (() => void) =>
      () =>
        void trace('g', model, f32, build);
    expect(broken(() => {})).toThrow('graph g returns nothing');
    expect(broken((t) => [t.input('x', 'f32', []), t.input('x', 'f32', [])])).toThrow('declares x twice');
    expect(broken((t) => [t.dim('n', 1, 2), t.dim('n', 1, 2)])).toThrow('declares dimension n twice');
    expect(broken((t) => [t.result('y', scalar(1)), t.result('y', scalar(1))])).toThrow('returns y twice');
    expect(broken((t) => t.update(scalar(1), scalar(1)))).toThrow('updates a tensor that is no state');
    expect(() => new Parameter([1]).value).toThrow('used outside trace()');
    const other = new Linear(2, 2);
    trace('other', other, f32, (t) => t.result('y', other.forward(t.input('x', 'f32', [1, 2]))));
    expect(broken((t) => t.result('y', other.forward(t.input('x', 'f32', [1, 2]))))).toThrow(
      'belongs to another model',
    );
  });

  test('two fields with one path', () => {
    class Twice extends Module {
      readonly a = { 'b.c': 0 };
      readonly x = new Parameter([1]);
    }
    const model = new Twice();
    Object.assign(model, { 'l.weight': new Parameter([1]), l: new Linear(1, 1) });
    expect(() => model.named()).toThrow("two parameters have the path 'l.weight'");
  });
});

describe('rotary tables', () => {
  // Computed by the functions of transformers 5.18's modeling_rope_utils in float32, for heads of 16 dimensions.
  const cases: [string, number, RopeScaling, number, number[]][] = [
    [
      'default',
      10000,
      { type: 'default' },
      0,
      [1, 3.1622776e-1, 1e-1, 3.1622779e-2, 9.9999998e-3, 3.1622779e-3, 1e-3, 3.1622779e-4],
    ],
    [
      'linear',
      10000,
      { type: 'linear', factor: 2.5 },
      0,
      [0.4, 0.1264911, 0.04, 0.0126491114, 0.004, 0.00126491114, 0.0004, 0.000126491112],
    ],
    [
      'dynamic, long',
      10000,
      { type: 'dynamic', factor: 3, maxPositions: 64 },
      100,
      [1, 0.27457723, 0.0753926486, 0.0207011048, 0.00568405166, 0.00156071107, 0.000428535714, 0.000117666146],
    ],
    [
      'yarn',
      500,
      { type: 'yarn', factor: 4, originalPositions: 64, betaFast: 32, betaSlow: 1, truncate: true, attentionFactor: 1 },
      0,
      [1, 0.344897479, 0.105737135, 0.0243123118, 0.0111803403, 0.00514142774, 0.00236435398, 0.00108727964],
    ],
    [
      'yarn, not truncated',
      10000,
      {
        type: 'yarn',
        factor: 4,
        originalPositions: 4096,
        betaFast: 8,
        betaSlow: 2,
        truncate: false,
        attentionFactor: 1,
      },
      0,
      [1, 0.316227764, 0.1, 0.0316227786, 0.00889242906, 0.000842372188, 0.000250000012, 7.90569466e-5],
    ],
    [
      'llama3',
      500000,
      { type: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalPositions: 256 },
      0,
      [1, 0.193922758, 0.0105382316, 0.000911583134, 0.000176776681, 3.42810235e-5, 6.64787058e-6, 1.28917316e-6],
    ],
  ];
  const longrope: RopeScaling = {
    type: 'longrope',
    originalPositions: 32,
    shortFactor: [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    longFactor: [1, 2, 3, 4, 5, 6, 7, 8.5],
    attentionFactor: 1.5,
  };
  const short = [
    1, 0.287479758, 0.0833333358, 0.0243252143, 0.00714285718, 0.00210818532, 0.000624999986, 0.000186016332,
  ];
  const long = [1, 0.158113882, 0.0333333351, 0.00790569466, 0.002, 0.00052704633, 0.000142857141, 3.72032664e-5];
  cases.push(['longrope, short', 10000, longrope, 32, short], ['longrope, long', 10000, longrope, 33, long]);

  test.each(cases)('%s', (_, theta, scaling, length, expected) => {
    const table = ropeFrequencies({ dim: 16, theta, scaling }, length);
    expected.forEach((v, i) => {
      expect(Math.abs(table[i] / v - 1)).toBeLessThan(1e-6);
    });
  });

  /** cos of the angles of position 1 in a sequence of `length`, as the graph computes them. */
  const cosines = (options: RopeOptions, length: number): number[] => {
    const rotary = new RotaryEmbedding(options);
    const { graph, constants } = trace('rope', rotary, f32, (t) => {
      const n = t.dim('n', 1, 1000);
      t.result('y', rotary.forward(t.input('positions', 'i32', [1, 1]), n).cos);
    });
    const tables = [...constants].map(([name, data]) => [name, ndarray('f32', [data.length], data)] as const);
    const params = new Map([['positions', ndarray('i32', [1, 1], [1])], ...tables]);
    return values(evaluate(graph, { params, dims: { n: length } }).results.get('y')!);
  };
  test('tables that depend on the length are chosen and computed in the graph', () => {
    const dynamic: RopeOptions = { dim: 16, theta: 10000, scaling: { type: 'dynamic', factor: 3, maxPositions: 64 } };
    for (const length of [10, 64, 65, 100, 900]) {
      const expected = ropeFrequencies(dynamic, length).map(Math.cos);
      expect(relativeError(cosines(dynamic, length), expected)).toBeLessThan(1e-6);
    }
    const options: RopeOptions = { dim: 16, theta: 10000, scaling: longrope };
    const scaled = (table: number[]): number[] => table.map((v) => 1.5 * Math.cos(v));
    expect(relativeError(cosines(options, 32), scaled(short))).toBeLessThan(1e-6);
    expect(relativeError(cosines(options, 33), scaled(long))).toBeLessThan(1e-6);
  });

  test('an odd size is refused', () => {
    expect(() => ropeFrequencies({ dim: 3, theta: 10000, scaling: { type: 'default' } })).toThrow('even size');
  });
});

test('the example of a custom architecture is a well-typed graph with its own weight names', () => {
  verify(custom.graph);
  const names = custom.graph.params.map((p) => p.attrs.name);
  expect(names).toContain('blocks.1.qkv.weight');
  expect(names).toContain('cache.1.value');
  expect(typeText(custom.graph.results.get('next_token')!.type)).toBe('i32[batch]');
  expect([...custom.constants.keys()]).toEqual(['rotary.inv_freq']);
});
