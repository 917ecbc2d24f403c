// The CPU device: kernels that read narrow weights, scratch memory, plans of many launches, runs that meet, and what it
// refuses. Arithmetic has its own file.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { buildProgram, buildRuntime } from '../../backends/cpu/build.ts';
import { printProgram } from '../../backends/cpu/print.ts';
import { probe } from '../../backends/cpu/probe.ts';
import { hostIsas, hostTarget, isaOf } from '../../backends/cpu/target.ts';
import type { Bindings, Buffer } from '../../backends/device.ts';
import { roundTo } from '../../ir/dtype.ts';
import {
  add,
  alu,
  cast,
  constant,
  type Expr,
  index,
  type Kernel,
  load,
  mul,
  type Stmt,
  variable,
} from '../../ir/loop.ts';
import {
  assign,
  deviceFor,
  emptyPlan,
  failures,
  forEach,
  kernel,
  let_,
  programOf,
  store,
  task,
} from '../support/cpu-kernels.ts';

const none: Bindings = { weights: [], constants: [], states: [], inputs: [], results: [] };
const f32 = (name: string, n: number) => ({ name, dtype: 'f32', shape: [{ '': n }] }) as const;
const isa = hostIsas()[0].name;
const floats = async (device: Awaited<ReturnType<typeof deviceFor>>, b: Buffer, n: number): Promise<number[]> =>
  Array.from(new Float32Array((await device.read(b, 0, n * 4)).buffer));

describe.each(hostIsas().map((row) => row.name))('%s', (name) => {
  const { vectorBytes } = isaOf([name]);
  const lanes = vectorBytes / 4;

  test('a matrix times a vector, weights in f32, f16 and bf16', async () => {
    const rows = 37;
    const columns = 8 * lanes + 3;
    const cases = (['f32', 'f16', 'bf16'] as const).map((dtype) => {
      const w = Array.from({ length: rows * columns }, (_, i) => roundTo(dtype, Math.sin(i * 0.7)));
      const x = Array.from({ length: columns }, (_, i) => Math.fround(Math.cos(i)));
      const at = add(mul(task, index(columns)), variable('i'));
      const sum = variable('sum', 'f32', lanes);
      const tail = variable('tail', 'f32');
      const product = (n: number): Expr =>
        mul(cast(load('w', at, dtype, n), 'f32'), load('x', variable('i'), 'f32', n));
      const whole = 8 * lanes;
      const body: Stmt[] = [
        let_('sum', constant(0, 'f32', lanes), true),
        forEach(
          'i',
          whole,
          [{ kind: 'prefetch', buffer: 'w', index: add(at, index(512)) }, assign('sum', add(product(lanes), sum))],
          lanes,
        ),
        let_('tail', constant(0, 'f32'), true),
        {
          ...forEach('i', columns, [
            assign('tail', alu('fma', cast(load('w', at, dtype), 'f32'), load('x', variable('i'), 'f32'), tail)),
          ]),
          start: index(whole),
        } as Stmt,
        store('y', task, add({ kind: 'across', op: 'add', arg: sum, dtype: 'f32', lanes: 1 }, tail)),
      ];
      const expected = Array.from({ length: rows }, (_, r) => x.reduce((s, v, c) => s + v * w[r * columns + c], 0));
      return {
        name: dtype,
        kernel: kernel(
          [
            ['w', dtype, 'read'],
            ['x', 'f32', 'read'],
            ['y', 'f32', 'write'],
          ],
          rows,
          body,
        ),
        inputs: [w, x],
        expected,
        close: (a: number, b: number) => Math.abs(a - b) < 1e-4,
      };
    });
    expect(await failures(name, cases)).toEqual([]);
  });

  test('a vector statement reads all of its memory before it writes', async () => {
    const n = 64;
    const x = variable('x', 'f32', n);
    const total: Expr = { kind: 'across', op: 'max', arg: x, dtype: 'f32', lanes: 1 };
    const body = [
      let_('x', load('a', index(0), 'f32', n), true),
      assign('x', alu('sub', x, total)),
      store('t', index(0), x),
      store('t', index(1), load('t', index(0), 'f32', n)),
      store('y', index(0), load('t', index(1), 'f32', n)),
    ];
    const a = Array.from({ length: n }, (_, i) => i);
    const k = kernel(
      [
        ['a', 'f32', 'read'],
        ['y', 'f32', 'write'],
      ],
      1,
      [{ kind: 'alloc', buffer: 't', dtype: 'f32', size: n + 1, scope: 'thread' }, ...body],
    );
    expect(
      await failures(name, [{ name: 'shift', kernel: k, inputs: [a], expected: a.map((v) => v - (n - 1)) }]),
    ).toEqual([]);
  });
});

test('scratch memory is private to a task, small on the stack and large from the thread', async () => {
  const cases = [64, 100_000].map((size) => {
    const i = variable('i');
    const sum = variable('sum', 'f32');
    const body: Stmt[] = [
      { kind: 'alloc', buffer: 't', dtype: 'f32', size, scope: 'thread' },
      forEach('i', size, [store('t', i, cast(task, 'f32'))], 1, true),
      let_('sum', constant(0, 'f32'), true),
      forEach('i', size, [assign('sum', alu('max', sum, alu('sub', load('t', i, 'f32'), cast(task, 'f32'))))]),
      store('y', task, add(sum, load('t', index(size - 1), 'f32'))),
    ];
    return {
      name: `${size}`,
      kernel: kernel([['y', 'f32', 'write']], 300, body),
      inputs: [],
      expected: Array.from({ length: 300 }, (_, t) => t),
    };
  });
  expect(await failures(isa, cases)).toEqual([]);
});

// y[task] = x[task] + 1, over n tasks
const increment = (access: 'read' | 'readwrite' = 'read'): Kernel =>
  kernel([['x', 'f32', access], ['y', 'f32', 'write']], variable('n'), [
    store('y', task, add(load('x', task, 'f32'), constant(1, 'f32'))),
  ], ['n']); // biome-ignore format: short

describe('plans', () => {
  const state = { space: 'state', index: 0 } as const;
  const arena = (offset: number) => ({ space: 'arena', offset, bytes: 4096 }) as const;
  const launch = (...parts: { kernel: number; args: readonly (typeof state | ReturnType<typeof arena>)[] }[]) =>
    ({ do: 'launch', origin: 'test', parts }) as const;
  const dims = [{ name: 'n', min: 0, max: 1024 }];
  const states = [{ name: 's', dtype: 'f32', shape: [{ n: 1 }] }] as const;

  test('thousands of launches keep their order, in place and through the arena, with runs that overlap', async () => {
    const inPlace = Array.from({ length: 1000 }, () => launch({ kernel: 0, args: [state, state] }));
    const roundTrip = Array.from({ length: 1000 }, () => [
      launch({ kernel: 1, args: [state, arena(0)] }),
      launch({ kernel: 1, args: [arena(0), arena(4096)] }),
      launch({ kernel: 1, args: [arena(4096), state] }),
    ]).flat();
    const program = {
      ...programOf(isa, {
        inPlace: { ...emptyPlan, dims, steps: inPlace },
        roundTrip: { ...emptyPlan, dims, steps: roundTrip, arenaBytes: 8192 },
      }, [increment('readwrite'), increment()]),
      states,
    }; // biome-ignore format: short
    for (const threads of [1, 2, 5]) {
      const device = await deviceFor(isa, threads);
      const loaded = await Promise.all([device.load(program), device.load(program)]);
      const buffers = Array.from({ length: 4 }, () => device.alloc(1024 * 4));
      const runs = buffers.flatMap((b, i) =>
        ['inPlace', 'roundTrip'].map((entry) =>
          loaded[i % 2].run(entry, { ...none, states: [b] }, { n: i === 0 ? 1 : 100 * i + 3 }),
        ),
      );
      loaded[0].dispose(); // takes effect after the runs
      await Promise.all(runs);
      for (const [i, b] of buffers.entries()) {
        const n = i === 0 ? 1 : 100 * i + 3;
        const values = await floats(device, b, 1024);
        expect(values.every((v, j) => v === (j < n ? 4000 : 0))).toBe(true);
        device.free(b);
      }
      await expect(loaded[0].run('inPlace', none, { n: 1 })).rejects.toThrow('the program was disposed');
      loaded[1].dispose();
    }
  });

  test('the parts of a launch run side by side, empty ones included', async () => {
    const write = (value: number, grid: Expr): Kernel =>
      kernel([['y', 'f32', 'write']], grid, [store('y', add(task, index(value)), constant(value, 'f32'))], ['n']);
    const kernels = [write(0, index(10)), write(100, mul(variable('n'), index(2))), write(500, index(77))];
    const steps = [launch(...kernels.map((_, k) => ({ kernel: k, args: [state] })))];
    const program = { ...programOf(isa, { main: { ...emptyPlan, dims, steps } }, kernels), states: [f32('s', 1024)] };
    const device = await deviceFor(isa);
    const loaded = await device.load(program);
    for (const n of [0, 1, 33]) {
      const b = device.alloc(4096);
      await loaded.run('main', { ...none, states: [b] }, { n });
      const values = await floats(device, b, 1024);
      const expected = values.map((_, j) => (j >= 500 && j < 577 ? 500 : j >= 100 && j < 100 + 2 * n ? 100 : 0));
      expect(values).toEqual(expected);
      device.free(b);
    }
    loaded.dispose();
  });

  test('bindings are checked before anything runs', async () => {
    const program = {
      ...programOf(isa, { main: { ...emptyPlan, dims, steps: [launch({ kernel: 0, args: [state, state] })] } }, [
        increment('readwrite'),
      ]),
      states,
    };
    const device = await deviceFor(isa);
    const loaded = await device.load(program);
    const b = device.alloc(40);
    const run = (bindings: Partial<Bindings>, values: Record<string, number>, entry = 'main') =>
      loaded.run(entry, { ...none, ...bindings }, values);
    await expect(run({ states: [b] }, { n: 11 })).rejects.toThrow("states 's' has 40 bytes; it needs 44");
    await expect(run({ states: [b] }, { n: 1025 })).rejects.toThrow(
      'dimension n is 1025; it must be an integer from 0 to 1024',
    );
    await expect(run({ states: [b] }, { n: 1.5 })).rejects.toThrow('dimension n is 1.5');
    await expect(run({ states: [b] }, {})).rejects.toThrow('dimension n is not bound');
    await expect(run({}, { n: 1 })).rejects.toThrow('the run binds 0 states; it needs 1');
    await expect(run({ states: [b] }, { n: 1 }, 'other')).rejects.toThrow("no entry 'other'; it has main");
    await expect(run({ states: [{ bytes: 4096 }] }, { n: 1 })).rejects.toThrow('another device');
    device.free(b);
    await expect(run({ states: [b] }, { n: 1 })).rejects.toThrow('after it was freed');
    expect(() => device.free(b)).toThrow('after it was freed');
    loaded.dispose();
  });
});

describe('memory', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'modelc-cpu-'));
  const file = path.join(folder, 'weights');
  const data = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7) % 251);
  writeFileSync(file, data);

  test('allocations are aligned and zero; reads, writes and copies stay inside', async () => {
    const device = await deviceFor(isa);
    for (const bytes of [0, 1, 1000, 2 ** 21, 5_000_000]) {
      const b = device.alloc(bytes);
      expect((await device.read(b, 0, bytes)).every((v) => v === 0)).toBe(true);
      device.write(b, data.subarray(0, Math.min(bytes, data.length)));
      expect(await device.read(b, 0, Math.min(bytes, 500))).toEqual(data.slice(0, Math.min(bytes, 500)));
      await expect(device.read(b, 1, bytes)).rejects.toThrow('outside of a buffer');
      expect(() => device.write(b, data.subarray(0, 2), bytes - 1)).toThrow('outside of a buffer');
      device.free(b);
    }
    const [from, to] = [device.alloc(100), device.alloc(100)];
    device.write(from, data.subarray(0, 100));
    device.copy({ buffer: from, offset: 0, step: 10 }, { buffer: to, offset: 0, step: 20 }, 5, 4);
    const got = await device.read(to, 0, 70);
    expect([...got.slice(20, 26)]).toEqual([...data.slice(10, 15), 0]);
    const at = (buffer: Buffer, offset: number, step: number) => ({ buffer, offset, step });
    expect(() => device.copy(at(from, 0, 10), at(to, 0, 40), 5, 4)).toThrow('outside of a buffer');
    expect(() => device.copy(at(from, 66, 10), at(to, 0, 5), 5, 4)).toThrow('outside of a buffer');
    device.copy(at(to, 20, 20), at(to, 90, 5), 5, 2); // within one buffer
    expect([...(await device.read(to, 90, 10))]).toEqual([...data.slice(10, 15), ...data.slice(20, 25)]);
    expect(() => device.alloc(2 ** 52)).toThrow('not enough memory');
  });

  test('files are mapped, or copied where their elements are not aligned', async () => {
    const device = await deviceFor(isa);
    for (const offset of [0, 4, 5000, 4097, 3]) {
      const b = device.map({ path: file, offset, bytes: 9000 }, 'f32');
      expect(await device.read(b, 0, 9000)).toEqual(data.slice(offset, offset + 9000));
      if (offset % 4 === 0) expect(() => device.write(b, data.subarray(0, 1))).toThrow('read only');
      device.free(b);
    }
    for (const offset of [0, 1]) {
      expect(() => device.map({ path: file, offset, bytes: data.length + 4 }, 'f32')).toThrow(
        `of ${file}: the span lies outside of the file`,
      );
      expect(() => device.map({ path: `${file}2`, offset, bytes: 4 }, 'f32')).toThrow(`of ${file}2: `);
    }
    rmSync(folder, { recursive: true });
  });
});

describe('hostile programs', () => {
  const nasty = '*/ } int main(){} // \\\n"; #include "/etc/passwd" ??/';

  test('names never reach the C code', async () => {
    const k: Kernel = {
      name: nasty,
      note: nasty,
      buffers: [{ name: nasty, dtype: 'f32', access: 'write' }],
      dims: [`d${nasty}`],
      grid: variable(`d${nasty}`),
      body: [let_(`v${nasty}`, constant(3, 'f32')), store(nasty, task, variable(`v${nasty}`, 'f32'))],
    };
    const steps = [
      { do: 'launch', origin: nasty, parts: [{ kernel: 0, args: [{ space: 'result', index: 0 }] }] },
    ] as const;
    const plan = { ...emptyPlan, dims: [{ name: `d${nasty}`, min: 0, max: 4 }], results: [f32(nasty, 4)], steps };
    const program = { ...programOf(isa, { [nasty]: plan }, [k]), name: nasty };
    expect(printProgram(program).source).not.toMatch(/passwd"|\\/);
    const device = await deviceFor(isa);
    const loaded = await device.load(program);
    const result = device.alloc(16);
    await loaded.run(nasty, { ...none, results: [result] }, { [`d${nasty}`]: 4 });
    expect(await floats(device, result, 4)).toEqual([3, 3, 3, 3]);
    loaded.dispose();
  });

  const broken = (body: readonly Stmt[]): (() => void) => {
    const k = kernel([['y', 'f32', 'write']], 1, body);
    const steps = [
      { do: 'launch', origin: '', parts: [{ kernel: 0, args: [{ space: 'arena', offset: 0, bytes: 64 }] }] },
    ] as const;
    return () => printProgram(programOf(isa, { main: { ...emptyPlan, steps, arenaBytes: 64 } }, [k]));
  };
  const text = '1; abort()' as unknown as number;
  test.each<[string, Stmt[]]>([
    ['a constant that is text', [store('y', index(0), constant(text, 'f32'))]],
    ['lanes that are text', [store('y', index(0), constant(1, 'f32', text))]],
    ['three lanes', [store('y', index(0), constant(1, 'f32', 3))]],
    ['an unknown type', [store('y', index(0), constant(1, '__proto__' as 'f32'))]],
    ['an unknown operation', [store('y', index(0), { kind: 'alu', op: 'system' as 'exp', args: [constant(1, 'f32')], dtype: 'f32', lanes: 1 })]],
    ['a step that is text', [{ ...forEach('i', 1, []), step: text } as Stmt]],
    ['an allocation that is text', [{ kind: 'alloc', buffer: 't', dtype: 'f32', size: text, scope: 'thread' }]],
    ['an unknown buffer', [store('z', index(0), constant(1, 'f32'))]],
    ['an unknown variable', [store('y', index(0), variable('nobody', 'f32'))]],
    ['a store of another type', [store('y', index(0), constant(1, 'i32'))]],
    ['an assignment to a constant', [let_('a', constant(1, 'f32')), assign('a', constant(2, 'f32'))]],
    ['a variable out of scope', [forEach('i', 1, [let_('a', constant(1, 'f32'))]), store('y', index(0), variable('a', 'f32'))]],
  ])('%s is refused', (_, body) => {
    expect(broken(body)).toThrow(/malformed program/);
  }); // biome-ignore format: a table

  test('slots outside of their lists and of the arena are refused', () => {
    const k = kernel([['y', 'f32', 'write']], 1, []);
    for (const slot of [
      { space: 'arena', offset: 32, bytes: 64 },
      { space: 'arena', offset: -4, bytes: 8 },
      { space: 'input', index: 0 },
    ] as const) {
      const steps = [{ do: 'launch', origin: '', parts: [{ kernel: 0, args: [slot] }] }] as const;
      expect(() => printProgram(programOf(isa, { main: { ...emptyPlan, steps, arenaBytes: 64 } }, [k]))).toThrow(
        /malformed program/,
      );
    }
  });
});

test('the binaries work in several threads of a process that does not tidy up', async () => {
  const dims = [{ name: 'n', min: 0, max: 1024 }];
  const args = [
    { space: 'input', index: 0 },
    { space: 'result', index: 0 },
  ] as const;
  const steps = Array.from(
    { length: 2000 },
    () => ({ do: 'launch', origin: '', parts: [{ kernel: 0, args }] }) as const,
  );
  const plan = { ...emptyPlan, dims, inputs: [f32('x', 1024)], results: [f32('y', 1024)], steps };
  const { binary } = await buildProgram(programOf(isa, { main: plan }, [increment()]));
  const script = `
    const { Worker, isMainThread } = require('node:worker_threads');
    const m = { exports: {} };
    process.dlopen(m, ${JSON.stringify(await buildRuntime())});
    const n = m.exports, pool = n.pool(3), program = n.load(${JSON.stringify(binary)}, 3);
    const x = n.alloc(4096), y = n.alloc(4096);
    const run = () => n.run(pool, program, 0, BigUint64Array.of(x, y), BigInt64Array.of(1000n));
    (async () => {
      for (let i = 0; i < 20; i++) await run();
      if (new Float32Array(n.read(y, 4096))[999] !== 1) throw new Error('wrong');
      for (const bad of [[pool, {}, 0], [program, program, 0], [pool, program, 7], [pool, program, -1], [pool]]) {
        try { n.run(...bad, BigUint64Array.of(x, y), BigInt64Array.of(1n)); console.log('accepted'); } catch {}
      }
      if (!isMainThread) { run(); process.exit(0); } // ends while it runs
      await Promise.all([1, 2, 3].map(() => new Promise((done) => new Worker(code, { eval: true }).on('exit', done))));
      console.log('done');
      run();
    })();`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['-e', `const code = ${JSON.stringify(`const code = '';${script}`)};${script}`],
    { encoding: 'utf8', timeout: 60_000 },
  );
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'done\n', stderr: '' });
});

test('the target can be chosen by the environment', () => {
  const before = { ...process.env };
  try {
    process.env.MODELC_ISA = 'plain';
    process.env.MODELC_THREADS = '3';
    expect(hostTarget()).toMatchObject({ features: ['plain'], vectorBytes: 16, threads: 3 });
    process.env.MODELC_THREADS = 'many';
    expect(hostTarget).toThrow('MODELC_THREADS=many must be an integer from 1 to 1024');
    process.env.MODELC_ISA = 'sse9';
    expect(hostTarget).toThrow(
      'MODELC_ISA=sse9 is no instruction set; use one of amx, avx512bf16, avx512, avx2, plain',
    );
  } finally {
    process.env = before;
  }
});

test('the probe gives plausible numbers', async () => {
  const { readBytesPerSecond, flopsPerSecond, cpuShare } = await probe(await deviceFor(isa));
  expect(readBytesPerSecond).toBeGreaterThan(1e8);
  expect(flopsPerSecond).toBeGreaterThan(1e8);
  expect(cpuShare).toBeGreaterThan(0);
});
