// Cases of leaves.
import { dimVar } from '../../../ir/dim.ts';
import { array, type Case, dims, type FailingCase, f32 } from './case.ts';

const seq = dimVar('seq', 0, 16);

export const cases: Case[] = [
  {
    op: 'param',
    name: 'an input',
    args: [f32([2], 1, -2.5)],
    attrs: { name: 'p0', kind: 'input', dtype: 'f32', shape: dims(2) },
    expected: [1, -2.5],
  },
  { op: 'const', name: 'f32 rounds', args: [], attrs: { value: 0.1, dtype: 'f32' }, expected: [Math.fround(0.1)] },
  { op: 'const', name: 'bf16 rounds', args: [], attrs: { value: 1.00390625, dtype: 'bf16' }, expected: [1] },
  {
    op: 'const',
    name: 'infinity',
    args: [],
    attrs: { value: Number.NEGATIVE_INFINITY, dtype: 'f32' },
    expected: [-Infinity],
  },
  { op: 'const', name: 'u32', args: [], attrs: { value: 4294967295, dtype: 'u32' }, expected: [4294967295] },
  { op: 'const', name: 'bool', args: [], attrs: { value: 1, dtype: 'bool' }, expected: [1] },
  {
    op: 'iota',
    name: 'rows',
    args: [],
    attrs: { shape: dims(2, 3), axis: 0, dtype: 'i32' },
    expected: [0, 0, 0, 1, 1, 1],
  },
  {
    op: 'iota',
    name: 'columns of a symbolic size, f32',
    args: [],
    attrs: { shape: [...dims(2), seq], axis: 1, dtype: 'f32' },
    dims: { seq: 3 },
    expected: [0, 1, 2, 0, 1, 2],
  },
  {
    op: 'dim',
    name: 'a polynomial of argument sizes',
    args: [array('f32', [5], [1, 2, 3, 4, 5])],
    shapes: [[seq]],
    attrs: { dim: seq },
    leaf: true,
    dims: { seq: 5 },
    expected: [5],
  },
];

export const failing: FailingCase[] = [
  { op: 'param', constraint: 0, args: [['f32', []]], attrs: { name: 'x', kind: 'input', dtype: 'f32', shape: [] } },
  { op: 'param', constraint: 1, args: [], attrs: { name: '', kind: 'input', dtype: 'f32', shape: [] } },
  { op: 'param', constraint: 1, args: [], attrs: { name: 'a\nb', kind: 'input', dtype: 'f32', shape: [] } },
  { op: 'param', constraint: 2, args: [], attrs: { name: 'x', kind: 'other', dtype: 'f32', shape: [] } },
  { op: 'param', constraint: 3, args: [], attrs: { name: 'x', kind: 'input', dtype: 'f64', shape: [] } },
  { op: 'param', constraint: 4, args: [], attrs: { name: 'x', kind: 'input', dtype: 'f32', shape: dims(-1) } },
  { op: 'param', constraint: 4, args: [], attrs: { name: 'x', kind: 'input', dtype: 'f32', shape: [3] } },
  {
    op: 'param',
    constraint: 4,
    args: [],
    attrs: { name: 'x', kind: 'input', dtype: 'f32', shape: dims(2 ** 40, 2 ** 40) },
  },
  ...[
    { kind: 'input', role: { kind: 'kv', layer: 0, rows: 0, positions: 1 } },
    { kind: 'state', role: { kind: 'toString', rows: 0 } },
    { kind: 'state', role: { kind: 'kv', layer: 0, rows: 0 } },
    { kind: 'state', role: { kind: 'kv', layer: 0, rows: 0, positions: 2 } },
    { kind: 'state', role: { kind: 'kv', layer: 0, rows: 1, positions: 1 } },
    { kind: 'state', role: { kind: 'kv', layer: -1, rows: 0, positions: 1 } },
    { kind: 'state', role: { kind: 'kv', layer: 0, rows: 0, positions: 1, of: 'w' } },
    { kind: 'state', role: { kind: 'train', of: 3 } },
  ].map(({ kind, role }) => ({
    op: 'param' as const,
    constraint: 5,
    args: [],
    attrs: { name: 'x', kind, role, dtype: 'f32', shape: dims(2, 3) },
  })),
  { op: 'const', constraint: 1, args: [], attrs: { value: 1, dtype: 'toString' } },
  { op: 'const', constraint: 2, args: [], attrs: { value: 256, dtype: 'u8' } },
  { op: 'const', constraint: 2, args: [], attrs: { value: 0.5, dtype: 'i32' } },
  { op: 'const', constraint: 2, args: [], attrs: { value: '1', dtype: 'f32' } },
  { op: 'iota', constraint: 1, args: [], attrs: { shape: dims(2), axis: 0, dtype: 'bool' } },
  { op: 'iota', constraint: 2, args: [], attrs: { shape: dims(-2), axis: 0, dtype: 'i32' } },
  { op: 'iota', constraint: 3, args: [], attrs: { shape: dims(2), axis: 1, dtype: 'i32' } },
  { op: 'iota', constraint: 3, args: [], attrs: { shape: [], axis: 0, dtype: 'i32' } },
  { op: 'dim', constraint: 1, args: [], attrs: { dim: 'seq' } },
  { op: 'dim', constraint: 1, args: [], attrs: { dim: dimVar('huge', 0, 2 ** 31) } },
];
