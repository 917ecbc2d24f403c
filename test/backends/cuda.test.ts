// The CUDA backend below graphs: what is printed for hand-written kernels and what it does in emulation, what of hostile
// programs reaches the code, and what the device says when the driver, the compiler or memory fail it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CudaDevice, createCudaDevice } from '../../backends/cuda/device.ts';
import { printProgram } from '../../backends/cuda/print.ts';
import { architectureFor, cudaTarget } from '../../backends/cuda/target.ts';
import { hasNvcc, nvcc } from '../../backends/cuda/toolchain.ts';
import { isGrouped } from '../../backends/kernel/grouped.ts';
import type { DType } from '../../ir/dtype.ts';
import { add, alu, cast, constant, type Expr, index, type Kernel, load, mul, type ReduceOp, type Stmt, variable } from '../../ir/loop.ts'; // biome-ignore format: one row
import type { Program } from '../../ir/program.ts';
import {
  type Case,
  decode,
  emptyPlan,
  encode,
  failures,
  kernel,
  let_,
  programOf,
  store,
  task,
} from '../support/cpu-kernels.ts';
import { emulatedDevice, emulatedDriver } from '../support/cuda-device.ts';

const thread = variable('thread');
const threads = 128;
const group = (name: string, end: Expr | number, body: readonly Stmt[], step = 1): Stmt => ({
  kind: 'for',
  name,
  start: index(0),
  end: typeof end === 'number' ? index(end) : end,
  step,
  level: 'group',
  body,
});
const barrier: Stmt = { kind: 'barrier' };
const reduce = (name: string, op: ReduceOp, value: Expr, width = threads): Stmt => ({
  kind: 'reduce',
  op,
  width,
  values: [{ name, value }],
});
const shared = (buffer: string, dtype: DType, size: number): Stmt => ({
  kind: 'alloc',
  buffer,
  dtype,
  size,
  scope: 'group',
});
const i = variable('i');

const program = (kernels: readonly Kernel[]): Program => programOf('sm_80', {}, kernels);
const print = (k: Kernel): string => printProgram(program([k]))[0];

describe('groups', () => {
  const rows = 5;
  const width = 300;
  const numbers = Array.from({ length: rows * width }, (_, at) => ((at * 7919) % 1009) - 500);

  test('work is shared, memory is seen after a barrier, and tasks do not disturb each other', async () => {
    // Each row reversed through shared memory
    const body = [
      shared('row', 'f32', width),
      group('i', width, [store('row', i, load('x', add(mul(task, index(width)), i), 'f32'))]),
      barrier,
      group('i', width, [
        store('y', add(mul(task, index(width)), i), load('row', alu('sub', index(width - 1), i), 'f32')),
      ]),
    ];
    const expected = numbers.map((_, at) => numbers[at - (at % width) + width - 1 - (at % width)]);
    const reverse: Case = {
      name: 'reverse',
      kernel: kernel([['x', 'f32', 'read'], ['y', 'f32', 'write']], rows, body), // biome-ignore format: one row
      inputs: [numbers],
      expected,
    };
    expect(await failures('sm_80', [reverse])).toEqual([]);
    // The emulation is no barrier by itself
    const hasty = { ...reverse, kernel: { ...reverse.kernel, body: body.filter((s) => s !== barrier) } };
    expect(await failures('sm_80', [hasty])).toHaveLength(1);
  });

  test('vectors cover a row, whatever its alignment', async () => {
    const cases = [4, 8].flatMap((lanes) =>
      [0, 1, 2].map((offset): Case => {
        const at = add(i, index(offset));
        const body = [group('i', 64 * lanes, [store('y', i, load('x', at, 'bf16', lanes))], lanes)];
        return {
          name: `${lanes} lanes from ${offset}`,
          kernel: kernel([['x', 'bf16', 'read'], ['y', 'bf16', 'write']], 1, body), // biome-ignore format: one row
          inputs: [Array.from({ length: 600 }, (_, n) => n % 200)],
          expected: Array.from({ length: 64 * lanes }, (_, n) => (n + offset) % 200),
        };
      }),
    );
    expect(print(cases[0].kernel)).toMatch(/\*\(const uint2 \*\)/);
    expect(print(cases[3].kernel)).toMatch(/\*\(const uint4 \*\)/);
    expect(print(cases[4].kernel)).not.toMatch(/const uint/);
    expect(await failures('sm_80', cases)).toEqual([]);
  });

  const combine = {
    add: (a: number, b: number) => a + b,
    max: (a: number, b: number) => Math.max(a, b),
    min: (a: number, b: number) => Math.min(a, b),
  };
  test('every thread gets what all have combined', async () => {
    const dtypes = ['f32', 'bf16', 'f16', 'i32', 'u32', 'i64', 'i8', 'u8'] as const;
    const cases = dtypes.flatMap((dtype) =>
      (Object.keys(combine) as (keyof typeof combine)[]).map((op): Case => {
        const values = Array.from({ length: 2 * threads }, (_, n) => ((n * 37) % 11) % (op === 'add' ? 2 : 11));
        const at = add(mul(task, index(threads)), thread);
        const one = load('x', at, dtype);
        const body: Stmt[] = [
          let_('mine', one),
          reduce('all', op, variable('mine', dtype)),
          reduce('again', 'max', variable('all', dtype)),
          store('y', at, variable('again', dtype)),
        ];
        const all = [0, 1].map((t) => values.slice(t * threads, (t + 1) * threads).reduce(combine[op]));
        return {
          name: `${op} ${dtype}`,
          kernel: kernel([['x', dtype, 'read'], ['y', dtype, 'write']], 2, body), // biome-ignore format: one row
          inputs: [values],
          expected: values.map((_, n) => all[n < threads ? 0 : 1]),
        };
      }),
    );
    for (const width of [2, 4, 8, 16, 32]) {
      const runs: Stmt[] = [
        let_('mine', load('x', thread, 'f32')),
        reduce('sum', 'add', variable('mine', 'f32'), width),
        store('y', thread, variable('sum', 'f32')),
      ];
      const start = (n: number) => n - (n % width);
      cases.push({
        name: `add over runs of ${width}`,
        kernel: kernel([['x', 'f32', 'read'], ['y', 'f32', 'write']], 1, runs), // biome-ignore format: one row
        inputs: [Array.from({ length: threads }, (_, n) => n)],
        expected: Array.from({ length: threads }, (_, n) => width * start(n) + (width * (width - 1)) / 2),
      });
    }
    const nan = cases[1]; // max of f32
    cases.push({
      ...nan,
      name: 'NaN',
      inputs: [Array.from({ length: 2 * threads }, (_, n) => (n === 77 ? Number.NaN : n))],
      expected: Array.from({ length: 2 * threads }, (_, n) => (n < threads ? Number.NaN : 2 * threads - 1)),
    });
    expect(await failures('sm_80', cases)).toEqual([]);
  });

  test('a kernel without group work runs a task a thread', async () => {
    const n = 1000;
    const square: Case = {
      name: 'square',
      kernel: kernel([['y', 'i32', 'write']], n, [store('y', task, cast(mul(task, task), 'i32'))]),
      inputs: [],
      expected: Array.from({ length: n }, (_, at) => at * at),
    };
    expect(isGrouped(square.kernel)).toBe(false);
    expect(await failures('sm_80', [square])).toEqual([]);
  });

  test('what a group must do together cannot stand where it is not together', () => {
    const inside = (s: Stmt): Kernel => kernel([], 1, [group('i', 8, [s])]);
    expect(() => print(inside(barrier))).toThrow(
      'malformed program: kernel kernel: a barrier inside a group loop (rule 14), in: barrier',
    );
    expect(() => print(inside(reduce('r', 'add', constant(1, 'f32'))))).toThrow(/reduction/);
    expect(() => print(kernel([], 1, [reduce('r', 'add', constant(1, 'f32'), 24)]))).toThrow(/odd number of threads/);
    expect(() => print(inside(group('k', 8, [])))).toThrow(/group loop inside a group loop/);
    expect(() => print(kernel([], 1, [shared('s', 'f32', 20000)]))).toThrow(/shares 80000 bytes; a group has 49152/);
  });
});

describe('printing', () => {
  test('indices have 32 bits where the dims allow it', () => {
    const scale = (max: number, from: DType = 'i32'): string => {
      const at = add(mul(task, variable('n')), index(1));
      const k = kernel([['p', from, 'read'], ['y', 'f32', 'write']], variable('n'), // biome-ignore format: one row
        [store('y', at, constant(1, 'f32')), store('y', mul(cast(load('p', task, from), 'index'), index(4)), constant(2, 'f32'))], ['n']); // biome-ignore format: short
      const dims = [{ name: 'n', min: 1, max }];
      return printProgram(programOf('sm_80', { main: { ...emptyPlan, dims } }, [k]))[0];
    };
    expect(scale(1000, 'u8')).toMatch(/for \(i32 task/);
    expect(scale(100000, 'u8')).toMatch(/for \(i64 task/); // 100000 squared
    expect(scale(1000, 'i32')).toMatch(/for \(i64 task/); // a position that nothing bounds
    // (task / n) * n is at most task, however large n is
    const n = variable('n');
    const at = add(mul(alu('div', task, n), n), index(1));
    const k = kernel([['y', 'f32', 'write']], mul(n, index(1000)), [store('y', at, constant(1, 'f32'))], ['n']);
    const dims = [{ name: 'n', min: 1, max: 100000 }];
    expect(printProgram(programOf('sm_80', { main: { ...emptyPlan, dims } }, [k]))[0]).toMatch(/for \(i32 task/);
  });

  test('nothing of names and notes reaches the code', () => {
    const evil = '*/ __asm__("trap;"); //\\\n';
    const k: Kernel = {
      ...kernel([[evil, 'f32', 'readwrite']], 1, [
        let_(evil, load(evil, variable(`${evil}dim`), 'f32')),
        store(evil, index(0), variable(evil, 'f32')),
      ]),
      name: evil,
      note: evil,
      dims: [`${evil}dim`],
    };
    const text = print(k);
    expect(text).not.toContain('__asm__("trap');
    expect(text.split('\n').filter((line) => line.includes('trap'))).toHaveLength(1); // the comment
    expect(text).toMatch(/\n\/\/ [^\n\\*"]*\n/);
  });

  test('malformed programs are refused', () => {
    const bad = (body: readonly Stmt[], problem: RegExp): void =>
      expect(() => print(kernel([['y', 'f32', 'write']], 1, body))).toThrow(problem);
    bad([store('z', index(0), constant(1, 'f32'))], /unknown buffer 'z'/);
    bad([store('y', index(0), constant(1, 'i32'))], /holds f32, not i32/);
    bad([store('y', variable('k'), constant(1, 'f32'))], /unknown variable 'k'/);
    bad([store('y', index(0), constant(1, 'f32', 3))], /power of two/);
    bad([{ ...group('i', 4, []), step: 0 } as Stmt], /step must be positive/);
    expect(() => printProgram({ ...program([]), target: { language: 'cuda', features: ['sm_20'] } })).toThrow(
      "the CUDA backend has no architecture 'sm_20'; compile for one of sm_80, sm_90a",
    );
  });

  test('architectures are found by compute capability', () => {
    const found = [80, 86, 89, 90, 100, 120].map((c) => architectureFor(c).name);
    expect(found).toEqual(['sm_80', 'sm_80', 'sm_80', 'sm_90a', 'sm_80', 'sm_80']);
    expect(() => architectureFor(75)).toThrow(/compute capability 7.5 is not served/);
    expect(cudaTarget('sm_90a').groupThreads % 32).toBe(0);
  });
});

describe('device', () => {
  let device: CudaDevice;
  let folder = '';
  beforeAll(async () => {
    device = await emulatedDevice();
    folder = mkdtempSync(path.join(os.tmpdir(), 'modelc-cuda-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('no driver', async () => {
    await expect(createCudaDevice({ driver: path.join(folder, 'libcuda.so.1') })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(
        /^no NVIDIA driver found \(.*libcuda.so.1.*\); install one or use the target cpu$/,
      ),
    });
    await expect(createCudaDevice({ driver: await emulatedDriver(), ordinal: 7 })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/^the NVIDIA driver offers no GPU 7 \(no such GPU\)/),
    });
  });

  test('memory is zero at first, and copied in both directions and on the device', async () => {
    const bytes = Uint8Array.from({ length: 40 * 2 ** 20 }, (_, n) => n % 251); // more than the pinned pieces hold
    const from = device.alloc(bytes.length);
    expect([...(await device.read(from, 7, 3))]).toEqual([0, 0, 0]);
    device.write(from, bytes);
    expect(Buffer.compare(await device.read(from, 0, bytes.length), bytes)).toBe(0);
    const to = device.alloc(24);
    device.copy({ buffer: from, offset: 0, step: 10 }, { buffer: to, offset: 0, step: 6 }, 4, 3);
    expect([...(await device.read(to, 0, 18))]).toEqual([0, 1, 2, 3, 0, 0, 10, 11, 12, 13, 0, 0, 20, 21, 22, 23, 0, 0]);
    device.copy({ buffer: to, offset: 6, step: 6 }, { buffer: to, offset: 3, step: 17 }, 1, 2); // within one buffer
    expect([...(await device.read(to, 0, 21))].filter((_, i) => i === 3 || i === 20)).toEqual([10, 20]);
    device.free(from);
    device.free(to);
    await expect(device.read(to, 0, 1)).rejects.toThrow('a buffer is used after it was freed');
  });

  test('weights come from files and are read only', async () => {
    const file = path.join(folder, 'weights');
    writeFileSync(
      file,
      Uint8Array.from({ length: 100 }, (_, n) => n),
    );
    const weight = device.map({ path: file, offset: 3, bytes: 8 }, 'f32');
    expect([...(await device.read(weight, 0, 8))]).toEqual([3, 4, 5, 6, 7, 8, 9, 10]);
    expect(() => device.write(weight, new Uint8Array(1))).toThrow('a mapped weight is read only');
    const beyond = { path: file, offset: 96, bytes: 8 };
    expect(() => device.map(beyond, 'f32')).toThrow(
      /^cannot read 8 bytes at 96 of .*: the span lies outside of the file$/,
    );
    expect(() => device.map({ ...beyond, path: `${file}s` }, 'f32')).toThrow(/No such file/);
  });

  test('memory runs out', () => {
    expect(() => device.alloc(2 ** 40)).toThrow(
      `not enough memory on the GPU emulated for ${2 ** 40} bytes; use a smaller model or context`,
    );
    expect(() => device.alloc(-1)).toThrow('cannot allocate -1 bytes');
    const before = device.freeMemory();
    const buffer = device.alloc(2 ** 20);
    expect(before - device.freeMemory()).toBeGreaterThanOrEqual(2 ** 20);
    device.free(buffer);
    expect(device.freeMemory()).toBe(before);
  });

  test('runs are checked before they start, and follow one another', async () => {
    const n = variable('n');
    const bump = kernel([['y', 'f32', 'readwrite']], n, [
      store('y', task, add(load('y', task, 'f32'), cast(n, 'f32'))),
    ], ['n']); // biome-ignore format: short
    const tensor = { name: 'y', dtype: 'f32', shape: [{ n: 1 }] } as const;
    const plan = {
      ...emptyPlan,
      dims: [{ name: 'n', min: 0, max: 1000 }],
      results: [tensor],
      steps: [{ do: 'launch', origin: '', parts: [{ kernel: 0, args: [{ space: 'result', index: 0 }] }] }],
    } as const;
    const loaded = await device.load(programOf('sm_80', { main: plan }, [bump]));
    const y = device.alloc(4000);
    device.write(
      y,
      encode(
        'f32',
        Array.from({ length: 1000 }, (_, k) => k),
      ),
    );
    const run = (count: number, results = [y], entry = 'main') =>
      loaded.run(entry, { weights: [], constants: [], states: [], inputs: [], results }, { n: count });
    await Promise.all([run(1000), run(500), run(0), run(3)]);
    const expected = Array.from({ length: 1000 }, (_, k) => k + 1000 + (k < 500 ? 500 : 0) + (k < 3 ? 3 : 0));
    expect(decode('f32', await device.read(y, 0, 4000))).toEqual(expected);
    await expect(run(1001)).rejects.toThrow('dimension n is 1001; it must be an integer from 0 to 1000');
    await expect(run(9, [])).rejects.toThrow('the run binds 0 results; it needs 1');
    await expect(run(9, [device.alloc(8)])).rejects.toThrow("results 'y' has 8 bytes; it needs 36");
    await expect(run(9, [y], 'other')).rejects.toThrow("the program has no entry 'other'; it has main");
    loaded.dispose();
    await expect(run(9)).rejects.toThrow('the program was disposed');
  });

  test('what a GPU would trap on is reported, and where', async () => {
    const value = constant(1, 'f32', 4);
    const faults: [string, Kernel][] = [
      [
        'an illegal memory access was encountered: kernel_0, block 0, thread 0, byte 67108864 of b0',
        kernel([['y', 'f32', 'write']], 1, [store('y', index(2 ** 24), value)]),
      ],
    ];
    for (const [problem, k] of faults) {
      const args = [{ space: 'arena', offset: 0, bytes: 64 }] as const;
      const plan = {
        ...emptyPlan,
        arenaBytes: 128,
        steps: [{ do: 'launch', origin: '', parts: [{ kernel: 0, args }] }],
      } as const;
      const loaded = await device.load(programOf('sm_80', { main: plan }, [k]));
      const none = { weights: [], constants: [], states: [], inputs: [], results: [] };
      await expect(loaded.run('main', none, {})).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining(`the GPU emulated failed (${problem}`),
      });
      loaded.dispose();
    }
  });

  test('what a GPU would trap on or wait for without end is refused where it is known', async () => {
    const some: Stmt = { kind: 'if', condition: alu('lt', thread, index(40)), then: [barrier], otherwise: [] };
    const whole = store('y', index(0), constant(1, 'f32', 4));
    const odd = [{ kernel: 0, args: [{ space: 'arena', offset: 4, bytes: 64 }] }] as const;
    const plan = { ...emptyPlan, arenaBytes: 128, steps: [{ do: 'launch', origin: '', parts: odd }] } as const;
    const written = (s: Stmt): Kernel => kernel([['y', 'f32', 'write']], 1, [s]);
    await expect(device.load(programOf('sm_80', {}, [written(some)]))).rejects.toThrow(
      'a barrier that some threads of the group may not come to (rule 14)',
    );
    await expect(device.load(programOf('sm_80', { main: plan }, [written(whole)]))).rejects.toThrow(
      'malformed program: a slot of the arena lies at an odd place, in entry main',
    );
  });

  test('device code that is none', async () => {
    const file = path.join(folder, 'kernels.cubin');
    writeFileSync(file, 'no cubin');
    await expect(device.load(program([]), file)).rejects.toThrow(/holds no device code; compile the program again/);
    writeFileSync(file, gzipSync(new Uint8Array(BigUint64Array.from([1n, 4n, 7n]).buffer)));
    await expect(device.load(program([]), file)).rejects.toThrow(/the GPU emulated failed \(.*image is invalid\)/);
    const other = { ...program([]), target: { language: 'cuda', features: ['sm_90a'] } };
    await expect(device.load(other)).rejects.toThrow('the program is for sm_90a; compile it for sm_80');
  });
});

const realCompiler = await hasNvcc();
describe.skipIf(!realCompiler)(realCompiler ? 'nvcc' : 'nvcc (skipped: there is none)', () => {
  test('its warnings are errors, its first error is told', async () => {
    await expect(nvcc.compile(['__global__ void f(int *x) { *x = 1; }'], 'sm_80')).resolves.toMatch(/kernels.cubin$/);
    await expect(nvcc.compile(['__device__ int f(int x) { if (x) return 1; }'], 'sm_80')).rejects.toMatchObject({
      code: 'toolchain',
      message: expect.stringMatching(/^the CUDA compiler .*nvcc failed: kernels0.cu\(1\): error/),
    });
  });

  test('a missing one is named', async () => {
    const before = process.env.NVCC;
    process.env.NVCC = path.join(os.tmpdir(), 'nowhere', 'nvcc');
    try {
      await expect(nvcc.compile([''], 'sm_80')).rejects.toThrow(
        /^no CUDA compiler found \(looked for NVCC=.*\); install/,
      );
    } finally {
      if (before === undefined) delete process.env.NVCC;
      else process.env.NVCC = before;
    }
  });
});
