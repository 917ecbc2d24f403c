// Elementwise kernels: empty and single dimensions, rows longer than a task's piece, and every dtype with the values at
// which types end, in whole vectors and a tail.
import { dimVar } from '../../../ir/dim.ts';
import { type DType, dtypeInfo, dtypes, isInteger } from '../../../ir/dtype.ts';
import { make } from '../../../ir/make.ts';
import { attention } from './attention.ts';
import { add, castTo, type KernelCase, linear, mul, norm, reduce, scene, seq, silu, spread } from './scene.ts';

export const empty: KernelCase[] = [
  ...[0, 1, 37].map((n) =>
    scene(`elementwise on a symbolic axis of ${n}`, (s) => silu(s.input([3, seq])), { dims: { seq: n } }),
  ),
  scene('elementwise on [3, 0]', (s) => silu(s.input([3, 0]))),
  scene('elementwise on [0, 3]', (s) => silu(s.input([0, 3]))),
  scene('elementwise on a scalar', (s) => silu(s.input([]))),
  scene('elementwise on [1, 1, 1]', (s) => silu(s.input([1, 1, 1]))),
  scene('a scalar spread', (s) => spread(s.input([]), s.input([2, 5]), [])),
  scene('sum of nothing', (s) => reduce(s.input([3, 0]), 'add', [1])),
  scene('sum of no rows', (s) => reduce(s.input([0, 3]), 'add', [1])),
  scene('max of nothing', (s) => reduce(s.input([0, 3]), 'max', [0])),
  scene('sum of all to a scalar, and then some', (s) => silu(reduce(s.input([5, 7]), 'add', [0, 1]))),
  scene('sum of a vector to a scalar, and then some', (s) => silu(reduce(s.input([70]), 'add', [0]))),
  scene('softmax of nothing', (s) => make('softmax', [s.input([4, 0])], { axis: 1 })),
  scene('softmax of no rows', (s) => make('softmax', [s.input([0, 4])], { axis: 1 })),
  scene('softmax of single elements', (s) => make('softmax', [s.input([4, 1])], { axis: 1 })),
  scene('sort of nothing', (s) => make('sort', [s.input([2, 0])], { axis: 1, descending: false })),
  scene('scan of nothing', (s) => make('scan', [s.input([2, 0])], { op: 'add', axis: 1, exclusive: false, reverse: true })),
  scene('scatter of nothing', (s) => make('scatter', [s.input([4, 3]), s.input([0], 'i32'), s.input([0, 3])], { axis: 0, batch: 0, combine: 'add' })),
  scene('gather of nothing', (s) => make('gather', [s.input([4, 3]), s.input([0], 'i32')], { axis: 0, batch: 0 })),
  scene('concat with nothing', (s) => make('concat', [s.input([2, 0]), s.input([2, 3]), s.input([2, 0])], { axis: 1 })),
  scene('product of no rows', (s) => linear(s.input([seq, 20]), s.input([9, 20])), { dims: { seq: 0 } }),
  scene('product of no rows, at most a few', (s) => linear(s.input([dimVar('few', 0, 4), 20]), s.input([9, 20])), { dims: { few: 0 } }),
  scene('product without depth', (s) => linear(s.input([3, 0]), s.input([9, 0]))),
  scene('product without depth, many rows', (s) => linear(s.input([80, 0]), s.input([9, 0]))),
  scene('product without columns', (s) => linear(s.input([3, 5]), s.input([0, 5]))),
  scene('product of two vectors', (s) => linear(s.input([5]), s.input([5]))),
  scene('product of a vector and a matrix', (s) => linear(s.input([50]), s.input([6, 50]))),
  scene('product of single elements', (s) => linear(s.input([1, 1]), s.input([1, 1]))),
  scene('norm of single elements', (s) => norm(s.input([3, 1]), s.input([1]), 'layer')),
  scene('attention of no queries', (s) => attention(s, { batch: 2, heads: 2, groups: 1, queries: 0, keys: 3, width: 8 })),
  scene('attention of no keys', (s) => attention(s, { batch: 2, heads: 2, groups: 1, queries: 3, keys: 0, width: 8 })),
]; // biome-ignore format: a table

export const long: KernelCase[] = [
  ...[32769, 40001, 65536].flatMap((n) => [
    scene(`elementwise on ${n}`, (s) => silu(s.input([n]))),
    scene(`elementwise on [3, ${n}] with a row and a column`, (s) => {
      const x = s.input([3, n]);
      return add(mul(x, spread(s.input([3]), x, [0])), spread(s.input([n]), x, [1]));
    }),
    scene(`bf16 of ${n}`, (s) => castTo(s.input([2, n]), 'bf16')),
    scene(`a transpose of [${n}, 2]`, (s) => make('transpose', [s.input([n, 2])], { perm: [1, 0] })),
    scene(`concat to ${n + 5}`, (s) => make('concat', [s.input([n]), s.input([5])], { axis: 0 })),
    scene(`sum of ${n}`, (s) => reduce(s.input([2, n]), 'add', [1])),
    scene(`softmax of ${n}`, (s) => make('softmax', [s.input([2, n])], { axis: 1 })),
    scene(`layer norm of ${n}`, (s) => norm(s.input([2, n]), s.input([n]), 'layer')),
  ]),
  scene('a cache update of long rows', (s) =>
    make('cache_update', [s.input([2, 40000]), s.input([1, 40000]), s.input([], 'i32', () => 1)], { axis: 0 })),
  // each array is bound by itself but on WebGPU, where a kernel has fewer bindings than these
  scene('a sum of many intermediate arrays', (s) =>
    Array.from({ length: 150 }, () => reduce(s.input([2, 3]), 'add', [0, 1])).reduce(add)),
  scene('elementwise on many rows', (s) => silu(s.input([5000, 7]))),
  scene('elementwise on a symbolic long axis', (s) => silu(s.input([dimVar('long', 1, 100000)])), { dims: { long: 33333 } }),
]; // biome-ignore format: a table

const corners: Readonly<Record<'float' | 'signed' | 'unsigned' | 'bool', readonly number[]>> = {
  float: [0, -0, 1, -1, 0.5, 1.5, 2.5, -2.5, 300.7, -300.7, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 63, -(2 ** 63), 1e-30, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN],
  signed: [0, 1, -1, 2, -2, 7, -8, 100, -100, 127, -128],
  unsigned: [0, 1, 2, 3, 7, 8, 100, 127, 128, 200, 255],
  bool: [0, 1, 1],
}; // biome-ignore format: a table
/** Corner values by position; `step` puts them into another order. */
const cornersOf =
  (dtype: DType, step: number) =>
  (i: number): number => {
    const { kind, min, max } = dtypeInfo[dtype];
    const list = isInteger(dtype) && dtype !== 'i64' ? [...corners[kind], min, max] : corners[kind];
    return list[(i * step + step) % list.length];
  };
const smooth = (i: number): number => ((i * 13) % 41) / 8 - 2.4;

export const elementwise: KernelCase[] = [
  ...dtypes.flatMap((from) => dtypes.map((to) => scene(`cast ${from} to ${to}`, (s) => castTo(s.input([37], from, cornersOf(from, 1)), to), { tolerance: 0 }))),
  ...dtypes.flatMap((dtype) => [
    ...(['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const).map((direction) =>
      scene(`${direction} of ${dtype}`, (s) => make('compare', [s.input([37], dtype, cornersOf(dtype, 1)), s.input([37], dtype, cornersOf(dtype, 3))], { direction })),
    ),
    scene(`select of ${dtype}`, (s) => make('select', [s.input([37], 'bool', (i) => (i % 3 ? 1 : 0)), s.input([37], dtype, cornersOf(dtype, 1)), s.input([37], dtype, cornersOf(dtype, 3))], {}), { tolerance: 0 }),
    ...(['add', 'mul', 'div', 'rem', 'max', 'min', 'and', 'or', 'xor', 'shl', 'shr'] as const)
      .filter((op) => (isInteger(dtype) ? true : dtype === 'bool' ? ['and', 'or', 'xor'].includes(op) : ['max', 'min', 'add', 'mul', 'div'].includes(op)))
      .map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, cornersOf(dtype, 1)), s.input([37], dtype, cornersOf(dtype, 5))], {}), { tolerance: 0 })),
  ]),
  ...(['f32', 'bf16', 'f16'] as const).flatMap((dtype) => [
    ...(['neg', 'floor', 'round'] as const).map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, cornersOf(dtype, 1))], {}), { tolerance: 0 })),
    ...(['exp', 'log', 'sin', 'cos', 'tanh', 'erf', 'sqrt', 'rsqrt'] as const).map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, smooth)], {}))),
    ...(['pow', 'rem'] as const).map((op) => scene(`${op} of ${dtype}`, (s) => make(op, [s.input([37], dtype, smooth), s.input([37], dtype, (i) => smooth(3 * i + 1))], {}))),
  ]),
]; // biome-ignore format: a table
