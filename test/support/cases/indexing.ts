// Cases of indexing ops.
import * as tf from '@tensorflow/tfjs-core';
import { dim, dimVar } from '../../../ir/dim.ts';
import { array, type Case, dims, type FailingCase, f32, i32, uniform } from './case.ts';

const batch = dimVar('batch', 1, 8);
const seq = dimVar('seq', 1, 16);

export const cases: Case[] = [
  {
    op: 'gather',
    name: 'embedding',
    args: [uniform([7, 4], 1), i32([2, 3], 0, 6, 2, 3, 3, 1)],
    attrs: { axis: 0, batch: 0 },
    tfjs: (x, i) => tf.gather(x, i, 0),
  },
  {
    op: 'gather',
    name: 'inner axis',
    args: [uniform([2, 5, 3], 2), i32([4], 4, 0, 0, 2)],
    attrs: { axis: 1, batch: 0 },
    tfjs: (x, i) => tf.gather(x, i, 1),
  },
  {
    op: 'gather',
    name: 'batch',
    args: [uniform([2, 5, 3], 3), i32([2, 2], 4, 0, 1, 3)],
    attrs: { axis: 1, batch: 1 },
    tfjs: (x, i) => tf.gather(x, i, 1, 1),
  },
  {
    op: 'gather',
    name: 'batch before a later axis',
    args: [f32([2, 1, 3], 1, 2, 3, 4, 5, 6), i32([2, 2], 2, 0, 1, 1)],
    attrs: { axis: 2, batch: 1 },
    expected: [3, 1, 5, 5],
  },
  {
    op: 'gather',
    name: 'scalar index',
    args: [f32([3], 1, 2, 3), i32([], 1)],
    attrs: { axis: 0, batch: 0 },
    expected: [2],
  },
  {
    op: 'gather',
    name: 'out of range clamps',
    args: [f32([3], 1, 2, 3), i32([4], -1, 3, -2147483648, 2147483647)],
    attrs: { axis: 0, batch: 0 },
    expected: [1, 3, 1, 3],
  },
  {
    op: 'gather',
    name: 'symbolic tokens',
    args: [uniform([5, 2], 4), i32([2, 3], 0, 1, 2, 3, 4, 0)],
    shapes: [dims(5, 2), [batch, seq]],
    dims: { batch: 2, seq: 3 },
    attrs: { axis: 0, batch: 0 },
    tfjs: (x, i) => tf.gather(x, i, 0),
  },

  {
    op: 'scatter',
    name: 'set, last wins, out of range dropped',
    args: [f32([4], 1, 2, 3, 4), i32([4], 1, 1, -1, 4), f32([4], 10, 20, 30, 40)],
    attrs: { axis: 0, batch: 0, combine: 'set' },
    expected: [1, 20, 3, 4],
  },
  {
    op: 'scatter',
    name: 'add rows',
    args: [f32([3, 2], 1, 1, 1, 1, 1, 1), i32([3], 2, 0, 2), f32([3, 2], 1, 2, 3, 4, 5, 6)],
    attrs: { axis: 0, batch: 0, combine: 'add' },
    expected: [4, 5, 1, 1, 7, 9],
  },
  {
    op: 'scatter',
    name: 'batch, inner axis',
    args: [f32([2, 3], 1, 2, 3, 4, 5, 6), i32([2, 1], 2, 0), f32([2, 1], -1, -2)],
    attrs: { axis: 1, batch: 1, combine: 'set' },
    expected: [1, 2, -1, -2, 5, 6],
  },
  {
    op: 'scatter',
    name: 'max',
    args: [i32([2], 5, 5), i32([2], 0, 1), i32([2], 9, 1)],
    attrs: { axis: 0, batch: 0, combine: 'max' },
    expected: [9, 5],
  },
  {
    op: 'scatter',
    name: 'min',
    args: [i32([2], 5, 5), i32([3], 0, 1, 1), i32([3], 9, 1, 3)],
    attrs: { axis: 0, batch: 0, combine: 'min' },
    expected: [5, 1],
  },
  {
    op: 'scatter',
    name: 'u8 add wraps',
    args: [array('u8', [1], [200]), i32([2], 0, 0), array('u8', [2], [100, 1])],
    attrs: { axis: 0, batch: 0, combine: 'add' },
    expected: [45],
  },

  {
    op: 'dynamic_slice',
    name: 'inside',
    args: [uniform([4, 5], 5), i32([], 1), i32([], 2)],
    attrs: { sizes: dims(2, 3) },
    tfjs: (x) => tf.slice(x, [1, 2], [2, 3]),
  },
  {
    op: 'dynamic_slice',
    name: 'clamps',
    args: [uniform([4, 5], 6), i32([], -7), i32([], 9)],
    attrs: { sizes: dims(2, 3) },
    tfjs: (x) => tf.slice(x, [0, 2], [2, 3]),
  },
  {
    op: 'dynamic_slice',
    name: 'whole axis',
    args: [uniform([2, 3], 7), i32([], 5), i32([], 1)],
    shapes: [[seq, dim(3)], [], []],
    dims: { seq: 2 },
    attrs: { sizes: [seq, dim(1)] },
    tfjs: (x) => tf.slice(x, [0, 1], [2, 1]),
  },

  {
    op: 'dynamic_update_slice',
    name: 'inside',
    args: [f32([5], 1, 2, 3, 4, 5), f32([2], 8, 9), i32([], 2)],
    attrs: {},
    expected: [1, 2, 8, 9, 5],
  },
  {
    op: 'dynamic_update_slice',
    name: 'clamps',
    args: [f32([2, 2], 1, 2, 3, 4), f32([1, 1], 9), i32([], 7), i32([], -7)],
    attrs: {},
    expected: [1, 2, 9, 4],
  },
  {
    op: 'dynamic_update_slice',
    name: 'everything',
    args: [f32([2], 1, 2), f32([2], 3, 4), i32([], 1)],
    attrs: {},
    expected: [3, 4],
  },
];

export const failing: FailingCase[] = [
  {
    op: 'gather',
    constraint: 1,
    args: [
      ['f32', [3]],
      ['i64', [2]],
    ],
    attrs: { axis: 0, batch: 0 },
  },
  {
    op: 'gather',
    constraint: 2,
    args: [
      ['f32', [3]],
      ['i32', [2]],
    ],
    attrs: { axis: 1, batch: 0 },
  },
  {
    op: 'gather',
    constraint: 3,
    args: [
      ['f32', [3]],
      ['i32', [2]],
    ],
    attrs: { axis: 0, batch: 1 },
  },
  {
    op: 'gather',
    constraint: 3,
    args: [
      ['f32', [3, 4]],
      ['i32', [2, 2]],
    ],
    attrs: { axis: 1, batch: 1 },
  },
  {
    op: 'gather',
    constraint: 4,
    args: [
      ['f32', [dimVar('past', 0, 4)]],
      ['i32', []],
    ],
    attrs: { axis: 0, batch: 0 },
  },
  {
    op: 'scatter',
    constraint: 1,
    args: [
      ['f32', [3]],
      ['u32', []],
      ['f32', []],
    ],
    attrs: { axis: 0, batch: 0, combine: 'set' },
  },
  {
    op: 'scatter',
    constraint: 2,
    args: [
      ['f32', [3]],
      ['i32', []],
      ['f32', []],
    ],
    attrs: { axis: -1, batch: 0, combine: 'set' },
  },
  {
    op: 'scatter',
    constraint: 3,
    args: [
      ['f32', [3]],
      ['i32', []],
      ['f32', []],
    ],
    attrs: { axis: 0, batch: 0.5, combine: 'set' },
  },
  {
    op: 'scatter',
    constraint: 4,
    args: [
      ['f32', [0]],
      ['i32', []],
      ['f32', []],
    ],
    attrs: { axis: 0, batch: 0, combine: 'set' },
  },
  {
    op: 'scatter',
    constraint: 5,
    args: [
      ['f32', [3]],
      ['i32', []],
      ['f32', [1]],
    ],
    attrs: { axis: 0, batch: 0, combine: 'set' },
  },
  {
    op: 'scatter',
    constraint: 6,
    args: [
      ['f32', [3]],
      ['i32', []],
      ['f32', []],
    ],
    attrs: { axis: 0, batch: 0, combine: 'mul' },
  },
  {
    op: 'scatter',
    constraint: 6,
    args: [
      ['bool', [3]],
      ['i32', []],
      ['bool', []],
    ],
    attrs: { axis: 0, batch: 0, combine: 'add' },
  },
  { op: 'dynamic_slice', constraint: 0, args: [['f32', [3]]], attrs: { sizes: dims(1) } },
  {
    op: 'dynamic_slice',
    constraint: 1,
    args: [
      ['f32', [3]],
      ['i32', [1]],
    ],
    attrs: { sizes: dims(1) },
  },
  {
    op: 'dynamic_slice',
    constraint: 2,
    args: [
      ['f32', [3]],
      ['i32', []],
    ],
    attrs: { sizes: dims(1, 1) },
  },
  {
    op: 'dynamic_slice',
    constraint: 2,
    args: [
      ['f32', [3]],
      ['i32', []],
    ],
    attrs: { sizes: dims(-1) },
  },
  {
    op: 'dynamic_slice',
    constraint: 3,
    args: [
      ['f32', [3]],
      ['i32', []],
    ],
    attrs: { sizes: [seq] },
  },
  { op: 'dynamic_update_slice', constraint: 0, args: [['f32', [3]]], attrs: {} },
  {
    op: 'dynamic_update_slice',
    constraint: 1,
    args: [
      ['f32', [3]],
      ['f16', [3]],
      ['i32', []],
    ],
    attrs: {},
  },
  {
    op: 'dynamic_update_slice',
    constraint: 1,
    args: [
      ['f32', [3]],
      ['f32', []],
      ['i32', []],
    ],
    attrs: {},
  },
  {
    op: 'dynamic_update_slice',
    constraint: 2,
    args: [
      ['f32', [3]],
      ['f32', [3]],
      ['u32', []],
    ],
    attrs: {},
  },
  {
    op: 'dynamic_update_slice',
    constraint: 3,
    args: [
      ['f32', [3]],
      ['f32', [4]],
      ['i32', []],
    ],
    attrs: {},
  },
];
