// Cases of the collectives on a mesh axis of size 1, where each is the identity; eval.test.ts runs them on many ranks.
import type { Case, FailingCase } from './case.ts';
import { f32 } from './case.ts';

const one = { mesh: 'tp', size: 1 } as const;
const two = { mesh: 'tp', size: 2 } as const;
const x = f32([2, 2], 1, 2, 3, 4);
const expected = [1, 2, 3, 4];

export const cases: readonly Case[] = [
  { op: 'all_gather', name: 'one rank', args: [x], attrs: { ...one, axis: 1 }, expected },
  { op: 'all_reduce', name: 'one rank', args: [x], attrs: { ...one, op: 'add' }, expected },
  { op: 'reduce_scatter', name: 'one rank', args: [x], attrs: { ...one, op: 'add', axis: 0 }, expected },
  { op: 'all_to_all', name: 'one rank', args: [x], attrs: { ...one, split: 0, concat: 1 }, expected },
  { op: 'permute', name: 'one rank', args: [x], attrs: { ...one, shift: 1 }, expected },
  { op: 'axis_index', name: 'one rank', args: [], attrs: one, expected: [0] },
];

export const failing: readonly FailingCase[] = [
  { op: 'all_gather', constraint: 0, args: [], attrs: { ...two, axis: 0 } },
  { op: 'all_gather', constraint: 1, args: [['f32', [2]]], attrs: { size: 2, axis: 0 } },
  { op: 'all_gather', constraint: 1, args: [['f32', [2]]], attrs: { mesh: 'tp', size: 0, axis: 0 } },
  { op: 'all_gather', constraint: 2, args: [['f32', [2]]], attrs: { ...two, axis: 1 } },
  { op: 'all_reduce', constraint: 3, args: [['f32', [2]]], attrs: { ...two, op: 'mul' } },
  { op: 'all_reduce', constraint: 4, args: [['bool', [2]]], attrs: { ...two, op: 'add' } },
  { op: 'reduce_scatter', constraint: 2, args: [['f32', [2]]], attrs: { ...two, op: 'add', axis: 2 } },
  { op: 'reduce_scatter', constraint: 3, args: [['f32', [3]]], attrs: { ...two, op: 'add', axis: 0 } },
  { op: 'reduce_scatter', constraint: 4, args: [['f32', [2]]], attrs: { ...two, op: 'max', axis: 0 } },
  { op: 'all_to_all', constraint: 2, args: [['f32', [2]]], attrs: { ...two, split: 0, concat: 1 } },
  { op: 'all_to_all', constraint: 3, args: [['f32', [3, 2]]], attrs: { ...two, split: 0, concat: 1 } },
  { op: 'permute', constraint: 2, args: [['f32', [2]]], attrs: { ...two, shift: 0.5 } },
  { op: 'axis_index', constraint: 1, args: [], attrs: { mesh: '', size: 2 } },
];
