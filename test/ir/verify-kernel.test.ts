// Rules of kernels and of programs, each broken once; and what is right is taken. That real kernels keep the rules is seen
// wherever one is compiled; what happens to real kernels that are damaged is in test/backends/damaged-kernels.test.ts.
import { expect, test } from 'vitest';
import { alu, constant, type Expr, index, load, type ScalarType, type Stmt, variable } from '../../ir/loop.ts';
import type { Program } from '../../ir/program.ts';
import { type KernelTarget, verifyKernel } from '../../ir/verify-kernel.ts';
import { verifyProgram } from '../../ir/verify-program.ts';
import { assign, emptyPlan, kernel, let_, programOf, store } from '../support/cpu-kernels.ts';

const mma = { name: 'mma', m: 16, n: 16, k: 16, operands: 'bf16', accumulator: 'f32', threads: 32 } as const;
const groups: KernelTarget = { groupThreads: 64, groupBytes: 4096, tiles: [mma] };
const threads: KernelTarget = { groupThreads: 1, groupBytes: 0, tiles: [], vectorLanes: 16 };

const one = constant(1, 'f32');
const thread = variable('thread');
const barrier: Stmt = { kind: 'barrier' };
const shared = (buffer: string, size: number, over?: string): Stmt => ({
  kind: 'alloc',
  buffer,
  dtype: 'f32',
  size,
  scope: 'group',
  ...(over === undefined ? {} : { over }),
});
const loop = (body: readonly Stmt[], level: 'serial' | 'group' = 'serial', end: Expr = index(8)): Stmt => ({
  kind: 'for',
  name: 'i',
  start: index(0),
  end,
  step: 1,
  level,
  body,
});
const when = (condition: Expr, then: readonly Stmt[]): Stmt => ({ kind: 'if', condition, then, otherwise: [] });
const reduce = (width: number, value: Expr = one): Stmt => ({
  kind: 'reduce',
  op: 'add',
  width,
  values: [{ name: 'all', value }],
});
const expr = (e: object, dtype: ScalarType = 'f32', lanes = 1): Stmt => let_('v', { ...e, dtype, lanes } as Expr);
const fragment = (name: string, role: 'left' | 'right' | 'sum'): Stmt => ({
  kind: 'fragment',
  name,
  tile: 'mma',
  role,
});

const body = (list: readonly Stmt[]) => kernel([['x', 'f32', 'read'], ['y', 'f32', 'write']], 1, list); // biome-ignore format: one row
const verdict = (list: readonly Stmt[], target: KernelTarget): string => {
  try {
    verifyKernel(body(list), target);
    return 'right';
  } catch (error) {
    return String((error as Error).message);
  }
};

test.each<[rule: number, what: string, Stmt[], KernelTarget?]>([
  [1, 'an unknown buffer', [store('z', index(0), one)], threads],
  [1, 'a name that is declared twice', [let_('a', one), let_('a', one)]],
  [1, 'a name of an outer block', [let_('i', one), loop([])]],
  [2, 'three lanes', [expr({ kind: 'const', value: 1 }, 'f32', 3)]],
  [2, 'more lanes than the target has', [expr({ kind: 'const', value: 1 }, 'f32', 32)], threads],
  [2, 'an unknown type', [expr({ kind: 'const', value: 1 }, 'f64' as 'f32')]],
  [3, 'a constant that is text', [expr({ kind: 'const', value: '1' })]],
  [3, 'half a position', [expr({ kind: 'const', value: 0.5 }, 'index')]],
  [4, 'a name of a block that ended', [loop([let_('a', one)]), expr({ kind: 'var', name: 'a' })]],
  [4, 'a variable as another type', [let_('a', one), expr({ kind: 'var', name: 'a' }, 'i32')]],
  [5, 'a load as another type', [expr({ kind: 'load', buffer: 'x', index: index(0) }, 'i32')]],
  [5, 'an index that is a vector', [expr({ kind: 'load', buffer: 'x', index: constant(0, 'index', 2) })]],
  [6, 'too few operands', [expr({ kind: 'alu', op: 'add', args: [one] })]],
  [6, 'operands of two types', [expr({ kind: 'alu', op: 'add', args: [one, constant(1, 'i32')] })]],
  [6, 'operands of other lanes', [expr({ kind: 'alu', op: 'add', args: [one, one] }, 'f32', 2)]],
  [6, 'a comparison that is no bool', [expr({ kind: 'alu', op: 'lt', args: [one, one] })]],
  [6, 'a condition that is a number', [expr({ kind: 'alu', op: 'select', args: [one, one, one] })]],
  [6, 'bits of a float', [expr({ kind: 'alu', op: 'xor', args: [one, one] })]],
  [6, 'a root of an integer', [expr({ kind: 'alu', op: 'sqrt', args: [constant(1, 'i32')] }, 'i32')]],
  [6, 'a sum of bools', [expr({ kind: 'alu', op: 'add', args: [constant(1, 'bool'), constant(1, 'bool')] }, 'bool')]],
  [7, 'a bitcast to another size', [expr({ kind: 'bitcast', arg: one }, 'f16')]],
  [7, 'a cast to more lanes', [expr({ kind: 'cast', arg: one }, 'i32', 2)]],
  [7, 'a splat of another type', [expr({ kind: 'splat', arg: one }, 'i32', 2)]],
  [8, 'a step backwards', [{ ...loop([]), step: -1 } as Stmt]],
  [8, 'a bound that is a number', [loop([], 'serial', one)]],
  [9, 'an assignment to a constant', [let_('a', one), assign('a', one)]],
  [9, 'an assignment of another type', [let_('a', one, true), assign('a', constant(1, 'i32'))]],
  [10, 'a store to what is read', [store('x', index(0), one)], threads],
  [10, 'a store of another type', [store('y', index(0), constant(1, 'i32'))], threads],
  [11, 'half an element', [{ ...shared('t', 1.5), scope: 'thread' } as Stmt]],
  [11, 'more than there is below', [shared('s', 8), shared('t', 16, 's')]],
  [12, 'a condition that is no bool', [when(index(1), [])]],
  [13, 'a barrier of single threads', [barrier], threads],
  [13, 'a loop over no group', [loop([], 'group')], threads],
  [4, 'the number of a single thread', [let_('a', thread)], threads],
  [14, 'a barrier in a loop over the group', [loop([barrier], 'group')]],
  [14, 'a barrier for some threads', [when(alu('lt', thread, index(4)), [barrier])]],
  [14, 'a barrier that threads come to more or less often', [let_('n', thread), loop([barrier], 'serial', variable('n'))]],
  [14, 'a barrier under a variable that differs', [
    let_('a', index(0), true), loop([assign('a', variable('i'))], 'group'), when(alu('lt', variable('a'), index(1)), [barrier]),
  ]],
  [14, 'a loop over the group in another', [loop([{ ...loop([], 'group'), name: 'j' } as Stmt], 'group')]],
  [15, 'runs of 24', [reduce(24)]],
  [15, 'runs of integers', [reduce(8, constant(1, 'i32'))]],
  [16, 'a store by all threads', [barrier, store('y', index(0), one)]],
  [17, 'a tile that is none', [{ ...fragment('a', 'sum'), tile: 'amx' } as Stmt]],
  [17, 'operands that were not loaded', [
    fragment('s', 'sum'), fragment('l', 'left'), fragment('r', 'right'), { kind: 'tile_multiply', sum: 's', left: 'l', right: 'r' },
  ]],
  [18, 'a sum that is stored at an odd place', [
    shared('t', 512), fragment('s', 'sum'), { kind: 'tile_store', fragment: 's', buffer: 't', index: index(1), pitch: 16 },
  ]],
  [19, 'a copy to bound memory', [
    { kind: 'copy', to: 'y', at: index(0), from: 'x', index: index(0), lanes: 4, inside: constant(1, 'bool') },
  ]],
  [20, 'copies that nobody waited for', [
    shared('t', 64),
    loop([{ kind: 'copy', to: 't', at: variable('i'), from: 'x', index: variable('i'), lanes: 4, inside: constant(1, 'bool') }], 'group'),
    barrier,
    store('y', thread, load('t', thread, 'f32')),
  ]],
  [21, 'more memory than a group has', [shared('t', 1025)]],
])('rule %i: %s', (rule, _, list, target = groups) => {
  expect(verdict(list, target)).toMatch(new RegExp(`^malformed program: kernel kernel: .* \\(rule ${rule}\\)`));
}); // biome-ignore format: a table

test('what threads do alike and what differs between them is told apart', () => {
  const bound = let_('n', load('x', index(0), 'f32'));
  const count = let_('m', { kind: 'cast', arg: variable('n', 'f32'), dtype: 'index', lanes: 1 });
  const own: Stmt = { ...loop([barrier, store('y', thread, variable('all', 'f32'))], 'serial', variable('m')) } as Stmt;
  expect(verdict([bound, count, reduce(64), own], groups)).toBe('right');
  expect(verdict([when(alu('eq', thread, index(0)), [store('y', index(0), one)]), barrier], groups)).toBe('right');
  expect(verdict([store('y', index(0), one)], groups)).toBe('right'); // a task a thread
});

test('a grid is arithmetic on dims', () => {
  const read = {
    ...body([]),
    grid: { kind: 'cast', arg: load('x', index(0), 'f32'), dtype: 'index', lanes: 1 },
  } as const;
  expect(() => verifyKernel(read, threads)).toThrow(/unknown buffer 'x'/);
  expect(() => verifyKernel({ ...body([]), grid: variable('n') }, threads)).toThrow(/unknown variable 'n'/);
  expect(() => verifyKernel({ ...body([]), grid: alu('xor', index(1), index(2)) }, threads)).toThrow(/\(rule 22\)/);
});

test('an error shows the statement', () => {
  const message = verdict([loop([store('y', alu('add', variable('i'), index(1)), constant(1, 'i32'))])], groups);
  expect(message).toBe(
    "malformed program: kernel kernel: buffer 'y' holds f32, not i32 (rule 10), in: y[i + 1] = 1:i32",
  );
});

test('launches name kernels, dims and memory that exist', () => {
  const k = kernel([['x', 'f32', 'read'], ['y', 'f32', 'write']], 1, [], ['n']); // biome-ignore format: one row
  const [read, write] = [{ space: 'input', index: 0 }, { space: 'arena', offset: 0, bytes: 64 }] as const; // biome-ignore format: one row
  const plan = { ...emptyPlan, arenaBytes: 64, dims: [{ name: 'n', min: 1, max: 2 }], inputs: [{ name: 'x', dtype: 'f32', shape: [] }] } as const; // biome-ignore format: one row
  const program = (part: object, more: object = {}): Program =>
    programOf('plain', { main: { ...plan, ...more, steps: [{ do: 'launch', origin: '', parts: [{ kernel: 0, args: [read, write], ...part }] }] } } as Program['entries'], [k]); // biome-ignore format: one row
  const bad = (problem: string, part: object, more?: object): void =>
    expect(() => verifyProgram(program(part, more), threads)).toThrow(problem);
  expect(() => verifyProgram(program({}), threads)).not.toThrow();
  bad('a launch names a kernel that does not exist', { kernel: 1 });
  bad('a launch and its kernel differ in buffers', { args: [read] });
  bad("a kernel reads dim 'n' that the entry does not declare", {}, { dims: [] });
  bad('a slot lies outside of the arena', { args: [read, { ...write, offset: 32 }] });
  bad('a slot names input 1 of 1', { args: [{ ...read, index: 1 }, write] });
  bad('a slot names elsewhere 0 of 0', { args: [{ space: 'elsewhere', index: 0 }, write] });
  bad('a kernel writes to a input', { args: [read, read] });
});
