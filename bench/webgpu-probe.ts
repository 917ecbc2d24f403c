// The probes of WebGPU devices, in the kernel language, since a device prints its kernels itself: reading with vectors of
// four words, and fused multiply-adds in registers.
import type { Device } from '../backends/device.ts';
import {
  across,
  add,
  alu,
  cast,
  constant,
  type Expr,
  index,
  type Kernel,
  load,
  modulo,
  mul,
  type Stmt,
  splat,
  variable,
} from '../ir/loop.ts';
import { chunkBytes, type ProbeKernels, probeDims } from './gpu-probe.ts';

const chunkWords = chunkBytes / 4;
const lanes = 4;
const chains = 8;

const kernel = (name: string, buffers: readonly string[], body: readonly Stmt[]): Kernel => ({
  name,
  note: 'probe',
  buffers: buffers.map((b) => ({ name: b, dtype: 'u32', access: 'readwrite' })),
  dims: [...probeDims],
  grid: variable('tasks'),
  body,
});
const loop = (name: string, end: Expr, step: number, level: 'serial' | 'group', body: readonly Stmt[]): Stmt => ({
  kind: 'for',
  name,
  start: index(0),
  end,
  step,
  level,
  body,
});
const store = (buffer: string, at: Expr, of: Expr): Stmt => ({ kind: 'store', buffer, index: at, value: of });
const value = (name: string, of: Expr): Stmt => ({ kind: 'let', name, value: of, mutable: true });
/** Never true, which no compiler knows. */
const keep = (sum: Expr): Stmt => ({
  kind: 'if',
  condition: alu('eq', sum, constant(12345, sum.dtype)),
  then: [store('sums', index(0), constant(1, 'u32'))],
  otherwise: [],
});

const [task, thread, i] = ['task', 'thread', 'i'].map((name) => variable(name));

const fill = kernel(
  'fill',
  ['data'],
  [
    loop('i', index(chunkWords), 1, 'group', [
      store('data', add(mul(task, index(chunkWords)), i), mul(cast(add(task, i), 'u32'), constant(2654435761, 'u32'))),
    ]),
  ],
);

function read(): Kernel {
  const at = add(mul(modulo(task, variable('chunks')), index(chunkWords)), i);
  const sum = variable('sum', 'u32', lanes);
  return kernel(
    'read',
    ['data', 'sums'],
    [
      value('sum', splat(constant(0, 'u32'), lanes)),
      loop('i', index(chunkWords), lanes, 'group', [
        { kind: 'assign', name: 'sum', value: add(sum, load('data', at, 'u32', lanes)) },
      ]),
      keep(across('add', sum)),
    ],
  );
}

function fma(): Kernel {
  const names = Array.from({ length: chains }, (_, n) => `s${n}`);
  const sums = names.map((name) => variable(name, 'f32', lanes));
  const [x, y] = ['x', 'y'].map((name) => variable(name, 'f32', lanes));
  const factor = add(mul(cast(thread, 'f32'), constant(1e-6, 'f32')), constant(0.999, 'f32'));
  return kernel(
    'fma',
    ['sums'],
    [
      value('x', splat(factor, lanes)),
      value('y', splat(add(factor, constant(-0.5, 'f32')), lanes)),
      ...names.map((name, n) => value(name, splat(constant(n, 'f32'), lanes))),
      loop(
        'r',
        variable('rounds'),
        1,
        'serial',
        names.map((name, n) => ({ kind: 'assign', name, value: alu('fma', sums[n], x, y) })),
      ),
      keep(across('add', sums.reduce(add))),
    ],
  );
}

export async function webgpuProbes({ target }: Device): Promise<ProbeKernels> {
  return { kernels: { fill, read: read(), fma: fma() }, fmaFlops: target.groupThreads * lanes * chains * 2 };
}
