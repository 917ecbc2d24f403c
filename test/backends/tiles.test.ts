// Matrix instructions below graphs, by hand-written kernels in emulation: operands in every layout of a panel, as they are
// and transposed, sums that are scaled and stored; that a copy is read after a wait and a barrier only; what the verifier of kernels refuses.
import { describe, expect, test } from 'vitest';
import { printProgram as printCpu } from '../../backends/cpu/print.ts';
import { printProgram } from '../../backends/cuda/print.ts';
import type { DType } from '../../ir/dtype.ts';
import { add, constant, floorDiv, index, load, modulo, mul, type Stmt, variable } from '../../ir/loop.ts';
import { panelPlace } from '../../ir/panel.ts';
import { printKernel } from '../../ir/text/loop.ts';
import { type Case, failures, kernel, let_, programOf, store } from '../support/cpu-kernels.ts';

const [thread, i, k] = ['thread', 'i', 'k'].map((name) => variable(name));
const [teams, size] = [4, 16];
const rows = teams * size;

const loop = (name: string, end: number, level: 'serial' | 'group', body: readonly Stmt[], step = 1): Stmt => ({
  kind: 'for', name, start: index(0), end: index(end), step, level, body,
}); // biome-ignore format: short
const shared = (buffer: string, dtype: DType, count: number): Stmt => ({
  kind: 'alloc', buffer, dtype, size: count, scope: 'group',
}); // biome-ignore format: short
const barrier: Stmt = { kind: 'barrier' };
const always = constant(1, 'bool');

/** Copies an array of `count` rows of `pitch` elements to a panel. */
function bring(from: string, to: string, count: number, pitch: number): Stmt {
  const pieces = pitch / 8;
  const [row, column] = [floorDiv(i, index(pieces)), mul(modulo(i, index(pieces)), index(8))];
  const at = panelPlace(pitch, 2, row, column);
  return loop('i', count * pieces, 'group', [
    { kind: 'copy', to, at, from, index: mul(i, index(8)), lanes: 8, inside: always },
  ]);
}

interface Layout {
  readonly dtype: 'bf16' | 'f16';
  readonly pitch: number;
  readonly transposed: boolean;
}

/** y[64, 16] = (left * right) * (row number % 4 + 1); without a statement if `leave` says so. */
function product({ dtype, pitch, transposed }: Layout, leave: (s: Stmt) => boolean = () => false): Case {
  // Transposed operands have 16 steps of k as rows, and as columns the rows of the others
  const depth = transposed ? size : pitch;
  const leftRows = transposed ? size : rows;
  const [leftPitch, rightPitch] = transposed ? [64, pitch] : [pitch, pitch];
  const tile = `mma_${dtype}`;
  const team = mul(variable('team'), index(size));
  const fragment = (name: string, role: 'left' | 'right' | 'sum'): Stmt => ({ kind: 'fragment', name, tile, role });
  const take = (name: string, panel: string, panelPitch: number, first: typeof team): Stmt => {
    const [row, column] = transposed ? [k, first] : [first, k];
    return { kind: 'tile_load', fragment: name, panel, pitch: panelPitch, row, column, transposed };
  };
  const body: Stmt[] = [
    let_('team', floorDiv(thread, index(32))),
    shared('a', dtype, leftRows * leftPitch),
    shared('b', dtype, size * rightPitch),
    shared('factors', 'f32', rows),
    bring('x', 'a', leftRows, leftPitch),
    bring('w', 'b', size, rightPitch),
    loop('i', rows, 'group', [store('factors', i, load('f', i, 'f32'))]),
    { kind: 'copy_batch' },
    { kind: 'copy_wait', pending: 0 },
    barrier,
    fragment('sum', 'sum'),
    loop(
      'k',
      depth,
      'serial',
      [
        fragment('left', 'left'),
        take('left', 'a', leftPitch, team),
        fragment('right', 'right'),
        take('right', 'b', rightPitch, index(0)),
        { kind: 'tile_multiply', sum: 'sum', left: 'left', right: 'right' },
      ],
      size,
    ),
    { kind: 'tile_scale', sum: 'sum', buffer: 'factors', index: team },
    barrier,
    shared('out', 'f32', rows * (size + 8)),
    { kind: 'tile_store', fragment: 'sum', buffer: 'out', index: mul(team, index(size + 8)), pitch: size + 8 },
    barrier,
    loop('i', rows * size, 'group', [
      store('y', i, load('out', add(mul(floorDiv(i, index(size)), index(size + 8)), modulo(i, index(size))), 'f32')),
    ]),
  ];
  const numbers = (count: number, salt: number): number[] =>
    Array.from({ length: count }, (_, at) => (((at + salt) * 7919) % 31) - 15);
  const [x, w] = [numbers(leftRows * leftPitch, 1), numbers(size * rightPitch, 5)];
  const factors = Array.from({ length: rows }, (_, r) => (r % 4) + 1);
  const expected = Array.from({ length: rows * size }, (_, at) => {
    const [r, c] = [Math.floor(at / size), at % size];
    let sum = 0;
    for (let j = 0; j < depth; j++) {
      sum += transposed ? x[j * leftPitch + r] * w[j * rightPitch + c] : x[r * pitch + j] * w[c * pitch + j];
    }
    return sum * factors[r];
  });
  return {
    name: `${dtype}, pitch ${pitch}${transposed ? ', transposed' : ''}`,
    kernel: kernel(
      [['x', dtype, 'read'], ['w', dtype, 'read'], ['f', 'f32', 'read'], ['y', 'f32', 'write']], // biome-ignore format: one row
      1,
      body.filter((s) => !leave(s)),
    ),
    inputs: [x, w, factors],
    expected,
  };
}

test('operands in every layout, sums scaled and stored', async () => {
  const cases = (['bf16', 'f16'] as const).flatMap((dtype) =>
    [16, 32, 64].flatMap((pitch) => [false, true].map((transposed) => product({ dtype, pitch, transposed }))),
  );
  expect(await failures('sm_80', cases)).toEqual([]);
});

test('a copy is read after a wait and a barrier only', () => {
  const layout = { dtype: 'bf16', pitch: 32, transposed: false } as const;
  const hasty = [product(layout, (s) => s.kind === 'copy_wait'), product(layout, (s) => s === barrier)];
  for (const { kernel: k } of hasty) expect(() => printProgram(programOf('sm_80', {}, [k]))).toThrow(/\(rule 20\)/);
});

test('a copy of what is not aligned, or not inside, is right too', async () => {
  const cases = [0, 1].map((offset): Case => {
    const copy = (at: number, inside: number): Stmt => ({
      kind: 'copy', to: 'a', at: index(at), from: 'x', index: index(at + offset), lanes: 8, inside: constant(inside, 'bool'),
    }); // biome-ignore format: short
    const body = [shared('a', 'f16', 16), copy(0, 1), copy(8, 0), { kind: 'copy_batch' }, { kind: 'copy_wait', pending: 0 }, barrier,
      loop('i', 16, 'group', [store('y', i, load('a', i, 'f16'))])] as const; // biome-ignore format: short
    return {
      name: `from ${offset}`,
      kernel: kernel([['x', 'f16', 'read'], ['y', 'f16', 'write']], 1, body), // biome-ignore format: one row
      inputs: [Array.from({ length: 32 }, (_, at) => at + 1)],
      expected: Array.from({ length: 16 }, (_, at) => (at < 8 ? at + 1 + offset : 0)),
    };
  });
  expect(printProgram(programOf('sm_80', {}, [cases[0].kernel]))[0]).toMatch(/copy_async\(t\d+ \+ 0, b0 \+ 0, 16\)/);
  expect(await failures('sm_80', cases)).toEqual([]);
});

describe('what is malformed is refused', () => {
  const panel = [shared('a', 'bf16', 1024), shared('f', 'f32', 64)];
  const sum: Stmt = { kind: 'fragment', name: 's', tile: 'mma_bf16', role: 'sum' };
  const left: Stmt = { kind: 'fragment', name: 'l', tile: 'mma_bf16', role: 'left' };
  const other: Stmt = { kind: 'fragment', name: 'r', tile: 'mma_f16', role: 'right' };
  const at = { kind: 'tile_load', fragment: 'l', panel: 'a', pitch: 32, row: index(0), column: index(0), transposed: false } as const; // biome-ignore format: short
  test.each<[string, Stmt[], RegExp]>([
    ['a tile that is none', [{ ...left, tile: 'evil' } as Stmt], /the target has no tile 'evil'/],
    ['a fragment that is none', [at], /unknown fragment 'l'/],
    ['a row within a tile', [left, { ...at, row: index(8) }], /lies across tiles/],
    ['a pitch without an order of pieces', [left, { ...at, pitch: 48 }], /rows of 96 bytes/],
    ['a panel of another type', [left, { ...at, panel: 'f' }], /buffer 'f' holds f32, not bf16/],
    ['a sum as operand', [sum, { ...at, fragment: 's' }], /a sum is not loaded/],
    ['operands of two tiles', [sum, left, other, { kind: 'tile_multiply', sum: 's', left: 'l', right: 'r' }], /not its own/],
    ['storing an operand', [left, { kind: 'tile_store', fragment: 'l', buffer: 'f', index: index(0), pitch: 8 }], /else than a sum/],
    ['an odd pitch', [sum, { kind: 'tile_store', fragment: 's', buffer: 'f', index: index(0), pitch: 9 }], /odd place/],
    ['a copy between types', [{ kind: 'copy', to: 'f', at: index(0), from: 'x', index: index(0), lanes: 8, inside: always }], /buffer 'x' holds bf16, not f32/],
    ['memory that is too small', [{ ...shared('t', 'f32', 4096), over: 'a' } as Stmt], /'a' has no room for 't'/],
    ['a tile in a group loop', [loop('i', 8, 'group', [sum])], /a tile inside a group loop/],
  ])('%s', (_, body, problem) => {
    const k = kernel([['x', 'bf16', 'read']], 1, [...panel, ...body]);
    expect(() => printProgram(programOf('sm_80', {}, [k]))).toThrow(problem);
  }); // biome-ignore format: a table

  test('by targets without tiles', () => {
    const printC = (s: Stmt) => () => printCpu(programOf('avx2', {}, [kernel([], 1, [s])]));
    expect(printC(sum)).toThrow(/the target has no tile 'mma_bf16' \(rule 17\)/);
    expect(printC({ kind: 'copy_batch' })).toThrow(/a 'copy_batch' in a kernel .* \(rule 13\)/);
  });
});

test('as text', () => {
  const lines = printKernel(product({ dtype: 'bf16', pitch: 32, transposed: false }).kernel).split('\n');
  const shown = lines.map((line) => line.trim()).filter((line) => /copy|sum|left|right/.test(line));
  expect(shown).toEqual([
    'copy a[((i / 4) * 32) + (((i % 4) ^ ((i / 8) % 4)) * 8); 8] = x[i * 8; 8]',
    'copy b[((i / 4) * 32) + (((i % 4) ^ ((i / 8) % 4)) * 8); 8] = w[i * 8; 8]',
    'copy batch',
    'copy wait 0',
    'sum sum: mma_bf16',
    'left left: mma_bf16',
    'left = a[team * 16, k; pitch 32]',
    'right right: mma_bf16',
    'right = b[0, k; pitch 32]',
    'sum += left * right',
    'sum *= rows factors[team * 16]',
    'out[team * 384; pitch 24] = sum',
  ]);
});
