// Cases of the cache ops and of those that compute nothing.
import { dim, dimAdd, dimVar } from '../../../ir/dim.ts';
import type { Case, FailingCase } from './case.ts';
import { bool, f32, i32, uniform } from './case.ts';

const past = dimVar('past', 0, 8);

export const cases: readonly Case[] = [
  {
    op: 'cache_update',
    name: 'positions of the middle axis',
    args: [f32([2, 4, 1], 1, 2, 3, 4, 5, 6, 7, 8), f32([2, 2, 1], 10, 20, 30, 40), i32([], 1)],
    attrs: { axis: 1 },
    expected: [1, 10, 20, 4, 5, 30, 40, 8],
  },
  {
    op: 'cache_update',
    name: 'positions beyond the capacity are dropped',
    args: [f32([3], 1, 2, 3), f32([2], 10, 20), i32([], 2)],
    attrs: { axis: 0 },
    expected: [1, 2, 10],
  },
  {
    op: 'cache_update',
    name: 'rows at places of their own, partly before the first position and beyond the last',
    args: [f32([3, 1, 4, 1], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), f32([3, 1, 2, 1], 10, 20, 30, 40, 50, 60), i32([3], 1, -1, 3)], // biome-ignore format: one row
    attrs: { axis: 2 },
    expected: [1, 10, 20, 4, 40, 6, 7, 8, 9, 10, 11, 50],
  },
  {
    op: 'cache_read',
    name: 'the first positions',
    args: [f32([2, 4], 1, 2, 3, 4, 5, 6, 7, 8)],
    attrs: { axis: 1, length: dim(3) },
    expected: [1, 2, 3, 5, 6, 7],
  },
  {
    op: 'cache_read',
    name: 'a symbolic length',
    args: [f32([4, 1], 1, 2, 3, 4)],
    shapes: [[dimVar('capacity', 1, 16), dim(1)]],
    dims: { capacity: 4, past: 1 },
    attrs: { axis: 0, length: dimAdd(past, 1) },
    expected: [1, 2],
  },
  { op: 'fence', name: 'gives x', args: [uniform([3], 1), i32([2], 0, 1)], attrs: {}, expected: [...uniform([3], 1).data] },
  { op: 'stop_gradient', name: 'gives x', args: [uniform([3], 1)], attrs: {}, expected: [...uniform([3], 1).data] },
  { op: 'gradient', name: 'is zero where the loss does not depend on x', args: [f32([], 3), uniform([2], 1)], attrs: {}, expected: [0, 0] },
  { op: 'mark', name: 'gives x', args: [bool([2], 1, 0)], attrs: { name: 'kept', save: true }, expected: [1, 0] },
  { op: 'mark', name: 'floats', args: [uniform([3], 1)], attrs: { name: 'kept' }, expected: [...uniform([3], 1).data] },
]; // biome-ignore format: a table

export const failing: readonly FailingCase[] = [
  { op: 'cache_update', constraint: 1, args: [['f32', [4]], ['f16', [2]], ['i32', []]], attrs: { axis: 0 } },
  { op: 'cache_update', constraint: 2, args: [['f32', [4]], ['f32', [2]], ['i32', []]], attrs: { axis: 1 } },
  { op: 'cache_update', constraint: 2, args: [['f32', [4, 2]], ['f32', [2, 3]], ['i32', []]], attrs: { axis: 0 } },
  { op: 'cache_update', constraint: 3, args: [['f32', [4]], ['f32', [2]], ['i32', [1]]], attrs: { axis: 0 } },
  { op: 'cache_update', constraint: 3, args: [['f32', [2, 4]], ['f32', [2, 2]], ['i32', [3]]], attrs: { axis: 1 } },
  { op: 'cache_read', constraint: 1, args: [['f32', [4]]], attrs: { axis: -1, length: dim(2) } },
  { op: 'cache_read', constraint: 2, args: [['f32', [4]]], attrs: { axis: 0, length: dim(5) } },
  { op: 'cache_read', constraint: 2, args: [['f32', [4]]], attrs: { axis: 0, length: dimAdd(past, -1) } },
  { op: 'fence', constraint: 0, args: [['f32', [4]]], attrs: {} },
  { op: 'stop_gradient', constraint: 0, args: [], attrs: {} },
  { op: 'gradient', constraint: 0, args: [['f32', []]], attrs: {} },
  { op: 'gradient', constraint: 1, args: [['i32', []], ['f32', [2]]], attrs: {} },
  { op: 'gradient', constraint: 1, args: [['f32', [1]], ['f32', [2]]], attrs: {} },
  { op: 'gradient', constraint: 2, args: [['f32', []], ['i32', [2]]], attrs: {} },
  { op: 'mark', constraint: 1, args: [['f32', [4]]], attrs: { name: 3 } },
  { op: 'mark', constraint: 1, args: [['f32', [4]]], attrs: { save: 'yes' } },
  { op: 'mark', constraint: 1, args: [['f32', [4]]], attrs: { prepare: 1 } },
]; // biome-ignore format: a table
