// Cases of the contractions.
import * as tf from '@tensorflow/tfjs-core';
import { dim, dimVar } from '../../../ir/dim.ts';
import type { Case, FailingCase } from './case.ts';
import { array, f32, i32, uniform } from './case.ts';

const plain = { batch: [[], []], contract: [[1], [0]], acc: 'f32' } as const;
const conv2d = { strides: [1, 1], padding: [[0, 0], [0, 0]], dilation: [1, 1], inputDilation: [1, 1], groups: 1, acc: 'f32' } as const; // biome-ignore format: one row
const [m, n] = [dimVar('m', 1, 9), dimVar('n', 1, 9)];

export const cases: readonly Case[] = [
  {
    op: 'dot_general',
    name: 'matrix product',
    args: [uniform([3, 5], 1), uniform([5, 4], 2)],
    attrs: plain,
    tfjs: (x, y) => tf.matMul(x, y),
    tolerance: 1e-5,
  },
  {
    op: 'dot_general',
    name: 'a linear layer: weights [N, K], rows by batch',
    args: [uniform([2, 3, 5], 3), uniform([7, 5], 4)],
    attrs: { batch: [[], []], contract: [[2], [1]], acc: 'f32' },
    tfjs: (x, w) => tf.reshape(tf.matMul(tf.reshape(x, [6, 5]), w, false, true), [2, 3, 7]),
    tolerance: 1e-5,
  },
  {
    op: 'dot_general',
    name: 'batched, batch axis in the middle',
    args: [uniform([2, 3, 4], 5), uniform([2, 4, 3, 5], 6)],
    attrs: { batch: [[0, 1], [0, 2]], contract: [[2], [1]], acc: 'f32' }, // biome-ignore format: one row
    tfjs: (x, y) => tf.reshape(tf.matMul(tf.reshape(x, [2, 3, 1, 4]), tf.transpose(y, [0, 2, 1, 3])), [2, 3, 5]),
    tolerance: 1e-5,
  },
  {
    op: 'dot_general',
    name: 'two contracted axes, in different order',
    args: [f32([2, 2], 1, 2, 3, 4), f32([2, 2], 10, 20, 30, 40)],
    attrs: { batch: [[], []], contract: [[0, 1], [1, 0]], acc: 'f32' }, // biome-ignore format: one row
    expected: [1 * 10 + 2 * 30 + 3 * 20 + 4 * 40],
  },
  {
    op: 'dot_general',
    name: 'nothing contracted: an outer product',
    args: [f32([2], 1, 2), f32([3], 3, 4, 5)],
    attrs: { batch: [[], []], contract: [[], []], acc: 'f32' },
    expected: [3, 4, 5, 6, 8, 10],
  },
  {
    op: 'dot_general',
    name: 'an empty sum is 0',
    args: [f32([2, 0]), f32([0, 2])],
    attrs: plain,
    expected: [0, 0, 0, 0],
  },
  {
    op: 'dot_general',
    name: 'bytes accumulate in i32',
    args: [array('i8', [1, 3], [-128, 127, 100]), array('i8', [3, 1], [127, 127, -128])],
    attrs: { ...plain, acc: 'i32' },
    expected: [-128 * 127 + 127 * 127 - 12800],
  },
  {
    op: 'dot_general',
    name: 'bf16 arguments add up in f32',
    args: [array('bf16', [1, 3], [1, 256, 1]), array('bf16', [3, 1], [1, 1, 1])],
    attrs: plain,
    expected: [258],
  },
  {
    op: 'dot_general',
    name: 'symbolic sizes',
    args: [uniform([4, 6], 7), uniform([6, 3], 8)],
    shapes: [
      [m, n],
      [n, dimVar('k', 1, 5)],
    ],
    dims: { m: 4, n: 6, k: 3 },
    attrs: plain,
    tfjs: (x, y) => tf.matMul(x, y),
    tolerance: 1e-5,
  },
  {
    op: 'conv',
    name: 'two spatial axes, strided and padded',
    args: [uniform([2, 5, 6, 3], 9), uniform([3, 3, 3, 4], 10)],
    attrs: { ...conv2d, strides: [2, 2], padding: [[1, 1], [1, 1]] }, // biome-ignore format: one row
    tfjs: (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 2, 1),
    tolerance: 1e-5,
  },
  {
    op: 'conv',
    name: 'dilated window',
    args: [uniform([1, 7, 7, 2], 11), uniform([2, 3, 2, 3], 12)],
    attrs: { ...conv2d, dilation: [2, 2] },
    tfjs: (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, 'valid', 'NHWC', 2),
    tolerance: 1e-5,
  },
  {
    op: 'conv',
    name: 'a group per channel',
    args: [uniform([1, 5, 5, 3], 13), uniform([3, 3, 1, 6], 14)],
    attrs: { ...conv2d, groups: 3 },
    // TensorFlow's depthwise filter is [.., C, multiplier]; ours has all results of a channel together
    tfjs: (x, w) => tf.depthwiseConv2d(x as tf.Tensor4D, tf.reshape(w, [3, 3, 3, 2]) as tf.Tensor4D, 1, 'valid'),
    tolerance: 1e-5,
  },
  {
    op: 'conv',
    name: 'channels that fill vectors',
    args: [uniform([2, 5, 6, 16], 15), uniform([3, 2, 16, 20], 16)],
    attrs: { ...conv2d, padding: [[1, 1], [0, 0]] }, // biome-ignore format: one row
    shapes: [[dimVar('b', 1, 4), dim(5), dim(6), dim(16)], [dim(3), dim(2), dim(16), dim(20)]], // biome-ignore format: one row
    dims: { b: 2 },
    tfjs: (x, w) => tf.conv2d(tf.pad(x, [[0, 0], [1, 1], [0, 0], [0, 0]]) as tf.Tensor4D, w as tf.Tensor4D, 1, 'valid'), // biome-ignore format: one row
    tolerance: 1e-4,
  },
  {
    op: 'conv',
    name: 'two groups of several channels',
    args: [uniform([1, 4, 4, 6], 17), uniform([2, 2, 3, 4], 18)],
    attrs: { ...conv2d, groups: 2 },
    tfjs: (x, w) =>
      tf.concat([0, 1].map((g) => tf.conv2d(tf.slice(x, [0, 0, 0, 3 * g], [1, 4, 4, 3]) as tf.Tensor4D, tf.slice(w, [0, 0, 0, 2 * g], [2, 2, 3, 2]) as tf.Tensor4D, 1, 'valid')), 3), // biome-ignore format: one row
    tolerance: 1e-5,
  },
  {
    op: 'conv',
    name: 'zeros between inputs: transposed convolution',
    args: [f32([1, 3, 1], 1, 2, 3), f32([2, 1, 1], 10, 1)],
    attrs: { strides: [1], padding: [[1, 1]], dilation: [1], inputDilation: [2], groups: 1, acc: 'f32' },
    expected: [1, 10, 2, 20, 3, 30],
  },
  {
    op: 'conv',
    name: 'negative padding crops',
    args: [f32([1, 4, 1], 1, 2, 3, 4), f32([1, 1, 1], 2)],
    attrs: { strides: [1], padding: [[-1, -1]], dilation: [1], inputDilation: [1], groups: 1, acc: 'f32' },
    expected: [4, 6],
  },
  {
    op: 'conv',
    name: 'a symbolic spatial axis',
    args: [f32([1, 4, 1], 1, 2, 3, 4), f32([2, 1, 1], 1, 1)],
    shapes: [
      [dimVar('b', 1, 4), m, dim(1)],
      [dim(2), dim(1), dim(1)],
    ],
    dims: { b: 1, m: 4 },
    attrs: { strides: [1], padding: [[1, 0]], dilation: [1], inputDilation: [1], groups: 1, acc: 'f32' },
    expected: [1, 3, 5, 7],
  },
  {
    op: 'ragged_dot',
    name: 'an empty group, and rows beyond the last',
    args: [f32([4, 2], 1, 0, 0, 1, 1, 1, 5, 5), f32([3, 2, 1], 1, 2, 30, 40, 500, 600), i32([3], 2, 0, 1)],
    attrs: { acc: 'f32' },
    expected: [1, 2, 1100, 0],
  },
  {
    op: 'ragged_dot',
    name: 'one group is a matrix product',
    args: [uniform([5, 4], 15), uniform([1, 4, 3], 16), i32([1], 5)],
    attrs: { acc: 'f32' },
    tfjs: (x, w) => tf.matMul(x, tf.reshape(w, [4, 3])),
    tolerance: 1e-5,
  },
];

export const failing: readonly FailingCase[] = [
  { op: 'dot_general', constraint: 0, args: [['f32', [2]]], attrs: plain },
  { op: 'dot_general', constraint: 1, args: [['f32', [2, 3]], ['f16', [3, 2]]], attrs: plain },
  { op: 'dot_general', constraint: 1, args: [['f32', [2, 3]], ['f32', [3, 2]]], attrs: { ...plain, acc: 'i32' } },
  { op: 'dot_general', constraint: 1, args: [['f32', [2, 3]], ['f32', [3, 2]]], attrs: { ...plain, acc: 'f64' } },
  { op: 'dot_general', constraint: 1, args: [['bool', [2, 3]], ['bool', [3, 2]]], attrs: { ...plain, acc: 'i32' } },
  { op: 'dot_general', constraint: 2, args: [['f32', [2, 3]], ['f32', [3, 2]]], attrs: { ...plain, batch: [[0]] } },
  { op: 'dot_general', constraint: 2, args: [['f32', [2, 3]], ['f32', [3, 2]]], attrs: { ...plain, contract: [[1], [2]] } },
  { op: 'dot_general', constraint: 2, args: [['f32', [2, 3]], ['f32', [3, 2]]], attrs: { ...plain, batch: [[1], [0]] } },
  { op: 'dot_general', constraint: 3, args: [['f32', [2, 3]], ['f32', [4, 2]]], attrs: plain },
  { op: 'dot_general', constraint: 3, args: [['f32', [2, m]], ['f32', [n, 2]]], attrs: plain },
  { op: 'dot_general', constraint: 4, args: [['f32', [2 ** 40, 2]], ['f32', [2, 2 ** 40]]], attrs: plain },
  { op: 'conv', constraint: 1, args: [['f32', [1, 4, 4, 2]], ['f16', [2, 2, 2, 2]]], attrs: conv2d },
  { op: 'conv', constraint: 2, args: [['f32', [1, 2]], ['f32', [2, 2]]], attrs: { ...conv2d, strides: [] } },
  { op: 'conv', constraint: 2, args: [['f32', [1, 4, 4, 2]], ['f32', [2, 2, 2]]], attrs: conv2d },
  { op: 'conv', constraint: 3, args: [['f32', [1, 4, 4, 2]], ['f32', [2, 2, 2, 2]]], attrs: { ...conv2d, strides: [1] } },
  { op: 'conv', constraint: 3, args: [['f32', [1, 4, 4, 2]], ['f32', [2, 2, 2, 2]]], attrs: { ...conv2d, dilation: [0, 1] } },
  { op: 'conv', constraint: 3, args: [['f32', [1, 4, 4, 2]], ['f32', [2, 2, 2, 2]]], attrs: { ...conv2d, padding: [1, 1] } },
  { op: 'conv', constraint: 4, args: [['f32', [1, 4, 4, 2]], ['f32', [m, 2, 2, 2]]], attrs: conv2d },
  { op: 'conv', constraint: 5, args: [['f32', [1, 4, 4, 3]], ['f32', [2, 2, 2, 2]]], attrs: conv2d },
  { op: 'conv', constraint: 5, args: [['f32', [1, 4, 4, 4]], ['f32', [2, 2, 2, 3]]], attrs: { ...conv2d, groups: 2 } },
  { op: 'conv', constraint: 6, args: [['f32', [1, 4, 1, 2]], ['f32', [2, 2, 2, 2]]], attrs: conv2d },
  { op: 'ragged_dot', constraint: 1, args: [['f32', [4, 2]], ['bf16', [3, 2, 1]], ['i32', [3]]], attrs: { acc: 'f32' } },
  { op: 'ragged_dot', constraint: 2, args: [['f32', [4, 2]], ['f32', [3, 5, 1]], ['i32', [3]]], attrs: { acc: 'f32' } },
  { op: 'ragged_dot', constraint: 3, args: [['f32', [4, 2]], ['f32', [3, 2, 1]], ['i32', [4]]], attrs: { acc: 'f32' } },
]; // biome-ignore format: a table
