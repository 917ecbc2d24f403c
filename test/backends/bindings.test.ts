// Runs that must not start, on every device: the checks are the same, and so are their errors.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gridOf } from '../../backends/bindings.ts';
import type { Bindings, Device } from '../../backends/device.ts';
import { ModelcError } from '../../ir/error.ts';
import { type AluOp, alu, constant, type Expr, index, load, variable } from '../../ir/loop.ts';
import { evalDim, type Plan, type PlanTensor, type Program } from '../../ir/program.ts';
import { deviceFor, emptyPlan, kernel, programOf, store, task } from '../support/cpu-kernels.ts';
import { emulatedDevice } from '../support/cuda-device.ts';
import { openWebGpuDevice } from '../support/webgpu-device.ts';

const devices = {
  cpu: () => deviceFor('plain'),
  cuda: () => emulatedDevice([]),
  webgpu: () => openWebGpuDevice(),
};
const features = { cpu: ['plain'], cuda: ['sm_80'], webgpu: [] } as const;
type Name = keyof typeof devices;
const names = Object.keys(devices) as Name[];

const tensor = (name: string, shape: PlanTensor['shape']): PlanTensor => ({ name, dtype: 'f32', shape });

/** An entry that fills a result of n elements from its state; its weight and input are only bound. */
function programFor(device: Device, name: Name, state: PlanTensor['shape'] = [{ 'n*n': 1, '': 1 }]): Program {
  const fill = kernel(
    [
      ['y', 'f32', 'write'],
      ['s', 'f32', 'read'],
    ],
    variable('n'),
    [store('y', task, load('s', index(0), 'f32'))],
    ['n'],
  );
  const plan: Plan = {
    ...emptyPlan,
    dims: [{ name: 'n', min: 1, max: 16 }],
    inputs: [tensor('x', [{ '': 2 }])],
    results: [tensor('y', [{ n: 1 }])],
    steps: [
      {
        do: 'launch',
        origin: '',
        parts: [
          {
            kernel: 0,
            args: [
              { space: 'result', index: 0 },
              { space: 'state', index: 0 },
            ],
          },
        ],
      },
    ],
  };
  return {
    ...programOf('plain', { main: plan }, [fill]),
    target: { language: device.target.language, features: features[name] },
    weights: [tensor('w', [{ '': 4 }])],
    states: [tensor('s', state)],
  };
}

/** What a promise ends with: a typed error as text. */
const outcome = (run: Promise<unknown>): Promise<string> =>
  run.then(
    () => 'done',
    (e) => (e instanceof ModelcError ? `${e.code}: ${e.message}` : `untyped: ${e}`),
  );

/** Outcomes of bad runs, by what is wrong with them. */
async function outcomes(name: Name, device: Device): Promise<Record<string, string>> {
  const loaded = await device.load(programFor(device, name));
  const f32 = (n: number) => device.alloc(4 * n, 'f32');
  const good: Bindings = {
    weights: [device.alloc(16)],
    constants: [],
    states: [f32(10)],
    inputs: [f32(2)],
    results: [f32(3)],
  };
  const run = (change: Partial<Bindings>, dims: Record<string, number> = { n: 3 }, entry = 'main') =>
    outcome(loaded.run(entry, { ...good, ...change }, dims));
  const freed = f32(3);
  device.free(freed);
  const all: Record<string, string> = {
    good: await run({}),
    'other dims of the same bindings': await outcome(
      loaded.run('main', good, { n: 3 }).then(() => loaded.run('main', good, { n: 4 })),
    ),
    entry: await run({}, { n: 3 }, 'constructor'),
    'unbound dim': await run({}, {}),
    'dim of a prototype': await run({}, Object.create({ n: 3 })),
    'too large a dim': await run({}, { n: 17 }),
    'too small a dim': await run({}, { n: 0 }),
    'dim that is no integer': await run({}, { n: 1.5 }),
    'buffer that is missing': await run({ results: [] }),
    'small weight': await run({ weights: [device.alloc(12)] }),
    'small state': await run({ states: [f32(9)] }),
    'small input': await run({ inputs: [f32(1)] }),
    'small result': await run({ results: [f32(2)] }),
    'foreign buffer': await run({ results: [{ bytes: 12 }] }),
    'freed buffer': await run({ results: [freed] }),
  };
  loaded.dispose();
  all.disposed = await run({});
  // a state of a dim that nothing binds: no device takes it for a number
  const strange = await device.load(programFor(device, name, [{ 'capacity*n': 1 }]));
  all['dim that no run binds'] = await outcome(strange.run('main', good, { n: 3 }));
  strange.dispose();
  return all;
}

describe('bad runs', () => {
  const found = new Map<Name, Record<string, string>>();
  const open: Device[] = [];
  beforeAll(async () => {
    for (const name of names) {
      const device = await devices[name]();
      open.push(device);
      found.set(name, await outcomes(name, device));
    }
  }, 120_000);
  afterAll(() => {
    for (const device of open) (device as { dispose?(): void }).dispose?.();
  });

  test.each(names)('%s', (name) => {
    expect(found.get(name)).toEqual({
      good: 'done',
      'other dims of the same bindings': "input: states 's' has 40 bytes; it needs 68",
      entry: "input: the program has no entry 'constructor'; it has main",
      'unbound dim': 'input: dimension n is not bound',
      'dim of a prototype': 'input: dimension n is not bound',
      'too large a dim': 'input: dimension n is 17; it must be an integer from 1 to 16',
      'too small a dim': 'input: dimension n is 0; it must be an integer from 1 to 16',
      'dim that is no integer': 'input: dimension n is 1.5; it must be an integer from 1 to 16',
      'buffer that is missing': 'input: the run binds 0 results; it needs 1',
      'small weight': "input: weights 'w' has 12 bytes; it needs 16",
      'small state': "input: states 's' has 36 bytes; it needs 40",
      'small input': "input: inputs 'x' has 4 bytes; it needs 8",
      'small result': "input: results 'y' has 8 bytes; it needs 12",
      'foreign buffer': 'input: a buffer belongs to another device',
      'freed buffer': 'input: a buffer is used after it was freed',
      disposed: 'input: the program was disposed',
      'dim that no run binds': 'input: dimension capacity is not bound',
    });
  });
});

test('dims are polynomials over what a run binds', () => {
  expect(evalDim({ 'n*n': 2, n: -1, '': 5 }, { n: 3 })).toBe(20);
  expect(() => evalDim({ toString: 1 }, {})).toThrow('dimension toString is not bound');
});

test('grids are computed as kernels compute, and read nothing but dims', () => {
  const n = variable('n');
  const grid = (e: Expr): number => gridOf({ grid: e }, { n: 7 });
  expect(grid(alu('div', alu('add', n, index(3)), index(4)))).toBe(2);
  expect(grid(alu('sub', index(3), n))).toBe(0);
  const byZero = (op: AluOp): Expr => ({ kind: 'alu', op, args: [n, index(0)], dtype: 'index', lanes: 1 });
  expect(grid(byZero('div'))).toBe(0);
  expect(grid(byZero('rem'))).toBe(7);
  expect(() => grid(variable('constructor'))).toThrow("a grid reads 'constructor', which is no dim of the entry");
  expect(() => grid(constant(1, 'f32'))).toThrow('a grid is a scalar of type index');
});
