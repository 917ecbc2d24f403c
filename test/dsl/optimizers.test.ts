// Optimizers beside torch 2.13 and transformers 5.18: three steps with given gradients and learning rates, each checked, in
// the interpreter; the third also on the CPU. Lion beside its paper's formula in torch; Muon beside torch with its iteration
// in f32 (ours is; torch's is in bf16).
import { expect, test } from 'vitest';
import {
  Adafactor,
  Adagrad,
  AdamW,
  Lion,
  Module,
  Muon,
  type Optimizer,
  parameterGroups,
  RMSprop,
  SGD,
  trace,
} from '../../frontends/dsl/index.ts';
import { evaluate } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import { openCpu } from '../support/cpu-device.ts';
import type { DeviceRun } from '../support/test-device.ts';

const start = [1, -2, 0.5, 0.25, -0.75, 3];
const gradients = [
  [0.5, -1, 0.25, 2, -0.125, 0],
  [0.1, 0.3, -0.7, 1.5, 0, 0.01],
  [-2, 0.4, 0.05, -1, 3, 0],
];
const rates = [0.1, 0.05, 0.02];

/** The optimizer, the shape of the parameter, and the parameter after every step. */
type Case = [string, () => Optimizer, number[], number[][]];
const cases: Case[] = [
  [
    'AdamW()',
    () => AdamW(),
    [6],
    [
      [0.89900005, -1.898, 0.39950001, 0.14975002, -0.64925003, 2.997],
      [0.85839844, -1.8756585, 0.42307821, 0.10054639, -0.61542243, 2.9582946],
      [0.86754346, -1.8736823, 0.42947122, 0.09117204, -0.62763375, 2.9461987],
    ],
  ],
  [
    'AdamW({ betas: [0.8, 0.95], eps: 1e-3, weight_decay: 0.1 })',
    () => AdamW({ betas: [0.8, 0.95], eps: 1e-3, weight_decay: 0.1 }),
    [6],
    [
      [0.8901996, -1.8800999, 0.39539841, 0.14754999, -0.64329368, 2.97],
      [0.84687275, -1.8517072, 0.419539, 0.097952366, -0.6086002, 2.9211135],
      [0.85593337, -1.8480039, 0.42537531, 0.089874014, -0.62083948, 2.9055867],
    ],
  ],
  [
    'SGD()',
    () => SGD(),
    [6],
    [
      [0.94999999, -1.9, 0.47499999, 0.049999997, -0.73750001, 3.0],
      [0.94499999, -1.915, 0.50999999, -0.025000004, -0.73750001, 2.9995],
      [0.98500001, -1.923, 0.509, -0.0050000045, -0.79750001, 2.9995],
    ],
  ],
  [
    'SGD({ momentum: 0.9, dampening: 0.3, weight_decay: 0.01 })',
    () => SGD({ momentum: 0.9, dampening: 0.3, weight_decay: 0.01 }),
    [6],
    [
      [0.949, -1.898, 0.4745, 0.049749993, -0.73675001, 2.997],
      [0.92221785, -1.8619357, 0.48735893, -0.092879921, -0.73052967, 2.994251],
      [0.94044715, -1.8542919, 0.49121991, -0.13021368, -0.77018803, 2.9928422],
    ],
  ],
  [
    'SGD({ momentum: 0.8, nesterov: true })',
    () => SGD({ momentum: 0.8, nesterov: true }),
    [6],
    [
      [0.91000003, -1.8200001, 0.45500001, -0.11, -0.72750002, 3.0],
      [0.88500005, -1.8150001, 0.50999999, -0.30900002, -0.72350001, 2.9991],
      [0.95060003, -1.8230001, 0.51459998, -0.31268001, -0.83021998, 2.9989719],
    ],
  ],
  [
    'RMSprop()',
    () => RMSprop(),
    [6],
    [
      [2.3841858e-7, -1.0, -0.49999964, -0.74999994, 0.24999917, 3.0],
      [-0.098532669, -1.1443375, -0.028862149, -1.0509646, 0.24999917, 2.500005],
      [0.095383488, -1.2164946, -0.042360187, -0.97615784, 0.05016911, 2.500005],
    ],
  ],
  [
    'RMSprop({ alpha: 0.9, momentum: 0.5, centered: true, weight_decay: 0.1, eps: 1e-2 })',
    () => RMSprop({ alpha: 0.9, momentum: 0.5, centered: true, weight_decay: 0.1, eps: 1e-2 }),
    [6],
    [
      [0.68421054, -1.6756756, 0.19999999, -0.077935249, -0.4642857, 2.7],
      [0.55945504, -1.6129971, 0.26697692, -0.26587626, -0.35845056, 2.5117719],
      [0.59558386, -1.6138482, 0.27371868, -0.2772885, -0.4025951, 2.436307],
    ],
  ],
  [
    'Adagrad()',
    () => Adagrad(),
    [6],
    [
      [0.89999998, -1.9, 0.40000001, 0.15000001, -0.64999998, 3.0],
      [0.89019418, -1.9143673, 0.44708711, 0.12, -0.64999998, 2.95],
      [0.90957427, -1.9215227, 0.44574478, 0.12742782, -0.66998261, 2.95],
    ],
  ],
  [
    'Adagrad({ lr_decay: 0.1, weight_decay: 0.2, initial_accumulator_value: 0.5, eps: 1e-3 })',
    () => Adagrad({ lr_decay: 0.1, weight_decay: 0.2, initial_accumulator_value: 0.5, eps: 1e-3 }),
    [6],
    [
      [0.92971802, -1.9107962, 0.45569545, 0.15550926, -0.7138015, 2.93537],
      [0.91717535, -1.9084198, 0.48343754, 0.12930194, -0.70540696, 2.9107857],
      [0.93164867, -1.908614, 0.48101297, 0.13504161, -0.72149187, 2.903012],
    ],
  ],
  [
    'Lion({ weight_decay: 0.1 })',
    () => Lion({ weight_decay: 0.1 }),
    [6],
    [
      [0.88999999, -1.88, 0.39500001, 0.14750001, -0.64249998, 2.97],
      [0.83554995, -1.9205999, 0.44302502, 0.096762508, -0.58928746, 2.9051502],
      [0.85387886, -1.9367588, 0.42213896, 0.11656898, -0.60810888, 2.8793399],
    ],
  ],
  [
    'Adafactor()',
    () => Adafactor(),
    [2, 3],
    [
      [0.9939059, -1.9750675, 0.47487345, 0.2360639, -0.74821824, 3.0],
      [0.99236482, -1.9867811, 0.50913048, 0.22342357, -0.74821824, 2.9997325],
      [1.0198123, -1.9921391, 0.50594985, 0.23189926, -0.77303582, 2.9997325],
    ],
  ],
  [
    'Adafactor({ warmup_init: true, weight_decay: 0.1 })',
    () => Adafactor({ warmup_init: true, weight_decay: 0.1 }),
    [6],
    [
      [0.99999827, -1.9999981, 0.49999833, 0.24999838, -0.74999833, 2.9999995],
      [0.99999702, -1.9999988, 0.50000215, 0.24999557, -0.74999809, 2.9999945],
      [1.0000037, -2.000001, 0.50000137, 0.24999866, -0.75000507, 2.9999931],
    ],
  ],
  [
    'Adafactor({ scale_parameter: false, relative_step: false, beta1: 0.9 })',
    () => Adafactor({ scale_parameter: false, relative_step: false, beta1: 0.9 }),
    [2, 3],
    [
      [0.99612963, -1.9841652, 0.48404196, 0.24114908, -0.74886841, 3.0],
      [0.99215448, -1.9736519, 0.48061165, 0.22914954, -0.74784994, 2.9999146],
      [0.99207217, -1.9648722, 0.47711933, 0.21942928, -0.75009376, 2.9998379],
    ],
  ],
  [
    'Adafactor({ relative_step: false, weight_decay: 0.1, clip_threshold: 0.5 })',
    () => Adafactor({ relative_step: false, weight_decay: 0.1, clip_threshold: 0.5 }),
    [3, 2],
    [
      [0.90954447, -1.9302317, 0.47140646, 0.2035985, -0.57113385, 2.9527638],
      [0.87928671, -1.9401177, 0.53686237, 0.15018193, -0.56679332, 2.9226503],
      [0.89862818, -1.94085, 0.53472251, 0.16522449, -0.58963919, 2.9138141],
    ],
  ],
  [
    'Muon()',
    () => Muon(),
    [2, 3],
    [
      [0.99013102, -1.876123, 0.46819091, 0.175612, -0.76404178, 2.9767187],
      [0.98127592, -1.8570917, 0.5019663, 0.13816366, -0.76040584, 2.9576905],
      [0.99492747, -1.8554502, 0.50245941, 0.13525887, -0.77594614, 2.9518132],
    ],
  ],
  [
    "Muon({ nesterov: false, adjust_lr_fn: 'match_rms_adamw', weight_decay: 0.3, ns_steps: 3 })",
    () => Muon({ nesterov: false, adjust_lr_fn: 'match_rms_adamw', weight_decay: 0.3, ns_steps: 3 }),
    [3, 2],
    [
      [0.94883835, -1.929318, 0.47441918, 0.2211359, -0.72220957, 2.9100001],
      [0.92099118, -1.9000208, 0.46641418, 0.20547584, -0.70805347, 2.866797],
      [0.91863406, -1.8880863, 0.46442747, 0.19901039, -0.71009165, 2.8495274],
    ],
  ],
  [
    'Muon({ momentum: 0.5 })',
    () => Muon({ momentum: 0.5 }),
    [3, 2],
    [
      [0.91277003, -1.9395112, 0.45638502, 0.16652238, -0.72319251, 2.97],
      [0.86541545, -1.9465135, 0.4699097, 0.1256105, -0.71621352, 2.9559596],
      [0.87280279, -1.9525214, 0.47021034, 0.14653993, -0.72980094, 2.9448099],
    ],
  ],
];

class Empty extends Module {}

/** A graph that reads `parameter`, its states, `gradient`, `rate` and `step`, and returns what is new under the same names. */
function stepOf(optimizer: Optimizer, shape: readonly number[], dtype: 'f32' | 'bf16' = 'f32', name = 'weight'): Graph {
  const f32 = () => 'f32' as const;
  return trace('step', new Empty(), f32, (t) => {
    const parameter = t.input('parameter', dtype, shape);
    const kept = Object.entries(optimizer.state({ name, shape: parameter.shape }));
    const states = Object.fromEntries(kept.map(([state, spec]) => [state, t.input(state, 'f32', spec.shape)]));
    const gradient = t.input('gradient', 'f32', shape);
    const learningRate = t.input('rate', 'f32', []);
    const step = t.input('step', 'f32', []);
    const next = optimizer.update({ name, parameter, gradient, states, learningRate, step });
    expect(Object.keys(next.states).sort()).toEqual(Object.keys(states).sort());
    t.result('parameter', next.parameter);
    for (const [state, tensor] of Object.entries(next.states)) t.result(state, tensor);
  }).graph;
}

/** The runs of three steps in the interpreter: what each read, and what it gave. */
function steps(graph: Graph, optimizer: Optimizer, shape: readonly number[], dtype: 'f32' | 'bf16' = 'f32') {
  const initial = new Map<string, number>();
  const param = graph.params.find((p) => p.attrs.name === 'parameter')!;
  for (const [state, spec] of Object.entries(optimizer.state({ name: 'weight', shape: param.type.shape }))) {
    initial.set(state, spec.initial);
  }
  let values = new Map<string, NdArray>([['parameter', ndarray(dtype, shape, start)]]);
  for (const { attrs } of graph.params) {
    const value = initial.get(attrs.name);
    if (value === undefined) continue;
    const sizes = attrs.shape.map((d) => d.max);
    const zeros = ndarray('f32', sizes);
    zeros.data.fill(value);
    values.set(attrs.name, zeros);
  }
  return gradients.map((gradient, i) => {
    const params = new Map<string, NdArray>([
      ...values,
      ['gradient', ndarray('f32', shape, gradient)],
      ['rate', ndarray('f32', [], [rates[i]])],
      ['step', ndarray('f32', [], [i + 1])],
    ]);
    values = evaluate(graph, { params }).results;
    return { params, results: values };
  });
}

/** A few roundings of f32 per step, relative to the largest value; the parameters lie between -3 and 3. */
const tolerance = 2e-6;
const differs = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i])));

test.each(cases)('%s takes the steps that torch takes', (_, make, shape, expected) => {
  const optimizer = make();
  const runs = steps(stepOf(optimizer, shape), optimizer, shape);
  for (const [i, { results }] of runs.entries()) {
    expect(differs(results.get('parameter')!.data, expected[i]), `step ${i + 1}`).toBeLessThan(tolerance);
  }
});

test('the CPU takes the same steps', { timeout: 60_000 }, async () => {
  const runs = cases.map(([name, make, shape]) => {
    const optimizer = make();
    const graph = stepOf(optimizer, shape);
    const { params, results } = steps(graph, optimizer, shape)[2];
    return { name, results, run: { graph, params } satisfies DeviceRun };
  });
  const device = await openCpu();
  const given = await device.run(
    runs.map(({ run }) => run),
    'quick',
  );
  for (const [i, { name, results }] of runs.entries()) {
    const got = given[i];
    if (got instanceof Error) throw got;
    for (const [key, { data }] of results) {
      expect(differs(got.results.get(key)!.data, data), `${name} ${key}`).toBeLessThan(tolerance * 5);
    }
  }
});

test('a parameter in bf16 is updated in f32 and rounded at the end', () => {
  const graph = stepOf(SGD(), [6], 'bf16');
  const [{ results }] = steps(graph, SGD(), [6], 'bf16');
  const parameter = results.get('parameter')!;
  expect(parameter.dtype).toBe('bf16');
  // 0.95 and 0.475 lie between bf16 values that are 1/256 and 1/512 apart.
  expect([...parameter.data.slice(0, 3)]).toEqual([0.94921875, -1.8984375, 0.474609375]);
});

test('groups have their own options and learning rates', () => {
  const groups = parameterGroups([
    { includes: (name) => name.endsWith('bias'), optimizer: SGD(), learning_rate_scale: 10 },
    { includes: (name) => name.endsWith('weight'), optimizer: AdamW() },
  ]);
  const graph = stepOf(groups, [6], 'f32', 'layer.bias');
  const [{ results }] = steps(graph, SGD(), [6]);
  expect([...results.get('parameter')!.data.slice(0, 2)]).toEqual([0.5, -1]);
  expect(Object.keys(groups.state({ name: 'layer.weight', shape: [] }))).toEqual(['exp_avg', 'exp_avg_sq']);
  expect(() => groups.state({ name: 'scale', shape: [] })).toThrow('no group of parameters includes scale');
});

test('after many steps the correction of the averages is still right', () => {
  // With a constant gradient m̂ and √v̂ are the gradient, so that every step is the learning rate.
  const graph = stepOf(AdamW({ weight_decay: 0, eps: 0 }), [1]);
  for (const step of [1, 2, 10, 499, 501, 10_000]) {
    const of = (v: number): NdArray => ndarray('f32', [1], [v]);
    const params = new Map<string, NdArray>([
      ['parameter', of(0)],
      ['gradient', of(0.5)],
      ['exp_avg', of(0.5 * (1 - 0.9 ** (step - 1)))],
      ['exp_avg_sq', of(0.25 * (1 - 0.999 ** (step - 1)))],
      ['rate', ndarray('f32', [], [1])],
      ['step', ndarray('f32', [], [step])],
    ]);
    const { data } = evaluate(graph, { params }).results.get('parameter')!;
    expect(Math.abs(data[0] + 1), `step ${step}`).toBeLessThan(1e-6);
  }
});

test('options out of bounds are refused', () => {
  expect(() => AdamW({ betas: [1, 0.9] })).toThrow(
    'the optimizer AdamW takes 0 or more and less than 1 as betas[0], got 1',
  );
  expect(() => SGD({ nesterov: true })).toThrow('takes a momentum above 0');
  expect(() => Adafactor({ relative_step: false, warmup_init: true })).toThrow('needs relative_step');
  expect(() => stepOf(Muon(), [6])).toThrow('the optimizer Muon serves matrices, and weight has 1 axes');
});
