// Cases of elementwise ops: ordinary values against TensorFlow.js, special values by hand.
import * as tf from '@tensorflow/tfjs-core';
import { dimVar } from '../../../ir/dim.ts';
import type { DType } from '../../../ir/dtype.ts';
import type { ElementwiseAttrs } from '../../../ir/ops/attrs.ts';
import { array, bool, type Case, dims, type FailingCase, f32, uniform } from './case.ts';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;
const low = -(2 ** 31);
const top = 2 ** 31 - 1;
const seq = dimVar('seq', 0, 16);

/** Functions of f32 are computed in f32 by devices: a few units in the last place. */
const tolerance = 2e-6;
const functions = {
  exp: tf.exp,
  log: tf.log,
  sin: tf.sin,
  cos: tf.cos,
  tanh: tf.tanh,
  erf: tf.erf,
  sqrt: tf.sqrt,
  rsqrt: tf.rsqrt,
} as const;

const unary = (
  op: keyof typeof functions | 'neg' | 'floor' | 'round',
  type: DType,
  x: number[],
  expected: number[],
): Case => ({
  op,
  name: `${type} special values`,
  args: [array(type, [x.length], x)],
  attrs: {},
  expected,
  tolerance: op in functions ? tolerance : 0,
});

type BinaryName = 'add' | 'mul' | 'div' | 'rem' | 'pow' | 'max' | 'min' | 'and' | 'or' | 'xor' | 'shl' | 'shr';
const binary = (op: BinaryName, type: DType, x: number[], y: number[], expected: number[]): Case => ({
  op,
  name: `${type} special values`,
  args: [array(type, [x.length], x), array(type, [y.length], y)],
  attrs: {},
  expected,
  tolerance: op === 'pow' ? tolerance : 0,
});

const compare = (direction: ElementwiseAttrs['compare']['direction'], ...expected: number[]): Case => ({
  op: 'compare',
  name: direction,
  args: [f32([5], 1, 2, 3, nan, nan), f32([5], 2, 2, 2, 1, nan)],
  attrs: { direction },
  expected,
});

const convert = (from: DType, to: DType, x: number[], expected: number[], op: 'cast' | 'bitcast' = 'cast'): Case => ({
  op,
  name: `${from} to ${to}`,
  args: [array(from, [x.length], x)],
  attrs: { dtype: to },
  expected,
});

export const cases: Case[] = [
  ...(Object.keys(functions) as (keyof typeof functions)[]).map(
    (op): Case => ({
      op,
      name: 'f32 against TensorFlow.js',
      args: [uniform([3, 67], 1, op === 'log' || op === 'sqrt' || op === 'rsqrt' ? 0.01 : -4, 4)],
      attrs: {},
      tfjs: functions[op],
      tolerance,
    }),
  ),
  { op: 'neg', name: 'f32', args: [uniform([5, 5], 2)], attrs: {}, tfjs: tf.neg },
  { op: 'floor', name: 'f32', args: [uniform([5, 5], 3)], attrs: {}, tfjs: tf.floor },
  { op: 'round', name: 'f32', args: [uniform([5, 5], 4, -9, 9)], attrs: {}, tfjs: tf.round },
  unary('neg', 'i32', [1, low, 0], [-1, low, 0]),
  unary('neg', 'u8', [1, 0, 255], [255, 0, 1]),
  unary('neg', 'bf16', [1.5, -inf, nan], [-1.5, inf, nan]),
  unary('floor', 'f32', [-0.5, 2.5, -inf, nan], [-1, 2, -inf, nan]),
  unary('round', 'f32', [0.5, 1.5, 2.5, -0.5, -1.5, 2.4, inf, nan], [0, 2, 2, 0, -2, 2, inf, nan]),
  unary('round', 'f16', [0.5, 1.5, 1023.5], [0, 2, 1024]),
  unary('exp', 'f32', [0, inf, -inf, nan, 100], [1, inf, 0, nan, inf]),
  unary('exp', 'bf16', [1], [2.71875]),
  unary('log', 'f32', [1, 0, -1, inf], [0, -inf, nan, inf]),
  unary('sin', 'f32', [0, inf], [0, nan]),
  unary('cos', 'f32', [0, inf], [1, nan]),
  unary('tanh', 'f32', [0, inf, -inf, nan], [0, 1, -1, nan]),
  // erf(0.5), erf(1), erf(3) from Abramowitz and Stegun, table 7.1
  unary(
    'erf',
    'f32',
    [0, 0.5, 1, -1, 3, inf, nan],
    [0, 0.5204998778, 0.8427007929, -0.8427007929, 0.9999779095, 1, nan],
  ),
  unary('sqrt', 'f32', [4, 0, -1, inf], [2, 0, nan, inf]),
  unary('rsqrt', 'f32', [4, 0, -1, inf], [0.5, inf, nan, 0]),

  { op: 'add', name: 'f32', args: [uniform([4, 19], 5), uniform([4, 19], 6)], attrs: {}, tfjs: tf.add },
  { op: 'mul', name: 'f32', args: [uniform([4, 19], 5), uniform([4, 19], 6)], attrs: {}, tfjs: tf.mul },
  {
    op: 'div',
    name: 'f32',
    args: [uniform([4, 19], 5), uniform([4, 19], 6, 0.5, 4)],
    attrs: {},
    tfjs: tf.div,
    tolerance: 2e-7,
  },
  { op: 'rem', name: 'f32', args: [uniform([4, 19], 5, 0, 9), uniform([4, 19], 6, 0.5, 4)], attrs: {}, tfjs: tf.mod },
  {
    op: 'pow',
    name: 'f32',
    args: [uniform([4, 19], 5, 0.1, 3), uniform([4, 19], 6)],
    attrs: {},
    tfjs: tf.pow,
    tolerance,
  },
  { op: 'max', name: 'f32', args: [uniform([4, 19], 5), uniform([4, 19], 6)], attrs: {}, tfjs: tf.maximum },
  { op: 'min', name: 'f32', args: [uniform([4, 19], 5), uniform([4, 19], 6)], attrs: {}, tfjs: tf.minimum },
  {
    op: 'add',
    name: 'symbolic shape, one of them 1',
    args: [uniform([1, 5], 7), uniform([1, 5], 8)],
    shapes: [
      [...dims(1), seq],
      [...dims(1), seq],
    ],
    dims: { seq: 5 },
    attrs: {},
    tfjs: tf.add,
  },
  binary('add', 'f16', [2048, 65504, 1], [1, 16, 2 ** -11], [2048, inf, 1]),
  binary('add', 'bf16', [256, 1], [1, 2 ** -8], [256, 1]),
  binary('add', 'i8', [127, -128], [1, -1], [-128, 127]),
  binary('add', 'i64', [2 ** 40, -1], [2 ** 40, 1], [2 ** 41, 0]),
  binary('mul', 'i32', [65536, 123456789], [65536, 987654321], [0, -67153019]),
  binary('mul', 'u32', [4294967295, 65536], [4294967295, 65537], [1, 65536]),
  binary('mul', 'u8', [16, 15], [17, 17], [16, 255]),
  binary('mul', 'i64', [3037000500, 2 ** 32], [2, 2 ** 32], [6074001000, 0]),
  binary('div', 'f32', [1, -1, 0], [0, 0, 0], [inf, -inf, nan]),
  binary('div', 'i32', [7, -7, 7, -7, 0, low, low], [2, 2, -2, 0, 0, -1, 0], [3, -3, -3, 0, 0, low, 0]),
  binary('div', 'u32', [4294967295, 7, 4294967295], [2, 0, 4294967295], [2147483647, 0, 1]),
  binary('div', 'i8', [-128, 100], [-1, 7], [-128, 14]),
  binary('rem', 'f32', [5.5, -5.5, 5.5, 1, 1], [2, 2, -2, 0, inf], [1.5, -1.5, 1.5, nan, 1]),
  binary('rem', 'i32', [7, -7, 7, 7, low], [4, 4, -4, 0, -1], [3, -3, 3, 7, 0]),
  binary('rem', 'u8', [250, 5], [7, 0], [5, 5]),
  binary('pow', 'f32', [1, -1, 2, -8, 0, 0, -2], [nan, inf, -1, 0.5, 0, -1, 3], [1, 1, 0.5, nan, 1, inf, -8]),
  binary('max', 'f32', [1, nan, nan, -inf], [nan, 1, nan, -1], [nan, nan, nan, -1]),
  binary('min', 'f32', [1, nan, nan, inf], [nan, 1, nan, -1], [nan, nan, nan, -1]),
  binary('max', 'u32', [4294967295], [1], [4294967295]),
  binary('min', 'i8', [-128], [127], [-128]),
  binary('and', 'bool', [0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]),
  binary('or', 'bool', [0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 1]),
  binary('xor', 'bool', [0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]),
  binary('and', 'u32', [0xffffffff, 0xf0f0f0f0], [0x80000001, 0xff00ff00], [0x80000001, 0xf000f000]),
  binary('or', 'i32', [low, 6], [1, 3], [low + 1, 7]),
  binary('xor', 'u8', [255, 170], [15, 170], [240, 0]),
  binary('shl', 'i32', [1, 1, 1, 3], [4, 31, 33, -1], [16, low, 2, low]),
  binary('shl', 'i8', [64, 1], [1, 8], [-128, 1]),
  binary('shr', 'i32', [-8, low, 8], [1, 31, 32], [-4, -1, 8]),
  binary('shr', 'u32', [0x80000000, 0xffffffff], [31, 4], [1, 0x0fffffff]),
  binary('shr', 'i64', [-(2 ** 40)], [8], [-(2 ** 32)]),

  compare('eq', 0, 1, 0, 0, 0),
  compare('ne', 1, 0, 1, 1, 1),
  compare('lt', 1, 0, 0, 0, 0),
  compare('le', 1, 1, 0, 0, 0),
  compare('gt', 0, 0, 1, 0, 0),
  compare('ge', 0, 1, 1, 0, 0),
  {
    op: 'compare',
    name: 'bool',
    args: [bool([4], 0, 0, 1, 1), bool([4], 0, 1, 0, 1)],
    attrs: { direction: 'eq' },
    expected: [1, 0, 0, 1],
  },
  {
    op: 'compare',
    name: 'u32 is unsigned',
    args: [array('u32', [1], [2 ** 31]), array('u32', [1], [1])],
    attrs: { direction: 'gt' },
    expected: [1],
  },
  {
    op: 'select',
    name: 'f32',
    args: [bool([3], 1, 0, 1), f32([3], 1, 2, 3), f32([3], nan, 5, 6)],
    attrs: {},
    expected: [1, 5, 3],
  },
  {
    op: 'select',
    name: 'bool',
    args: [bool([2], 1, 0), bool([2], 0, 1), bool([2], 1, 1)],
    attrs: {},
    expected: [0, 1],
  },

  convert('f32', 'i32', [1.9, -1.9, 3e9, nan, -inf, -0.5], [1, -1, top, 0, low, 0]),
  convert('f32', 'u8', [300, -5, 3.7, 254.5], [255, 0, 3, 254]),
  convert('f32', 'i8', [-200, 127.9], [-128, 127]),
  convert('f32', 'u32', [4e9, -1, 5e9], [4e9, 0, 4294967295]),
  convert('f32', 'bool', [0, -0, 0.5, nan], [0, 0, 1, 1]),
  convert('f32', 'f16', [65519, 65520, 2 ** -24, 1 + 2 ** -11], [65504, inf, 2 ** -24, 1]),
  convert('f32', 'bf16', [1 + 2 ** -8, 1 + 3 * 2 ** -8, nan], [1, 1 + 2 ** -6, nan]),
  convert('f16', 'f32', [65504, 2 ** -24], [65504, 2 ** -24]),
  convert('bf16', 'f16', [1.5, 2 ** 17], [1.5, inf]),
  convert('i32', 'i8', [300, -129, 5], [44, 127, 5]),
  convert('i32', 'u32', [-1], [4294967295]),
  convert('u32', 'i32', [4294967295], [-1]),
  convert('i32', 'f32', [16777217], [16777216]),
  convert('i32', 'i64', [-7], [-7]),
  convert('i64', 'i32', [2 ** 32 + 5], [5]),
  convert('i64', 'f32', [2 ** 40], [2 ** 40]),
  convert('bool', 'f32', [0, 1], [0, 1]),
  convert('i32', 'bool', [0, -3], [0, 1]),
  convert('u8', 'f32', [255], [255]),
  convert('f32', 'i32', [1, -2], [0x3f800000, -0x40000000], 'bitcast'),
  convert('u32', 'f32', [0x40490fdb], [Math.fround(Math.PI)], 'bitcast'),
  convert('i32', 'u32', [-1], [4294967295], 'bitcast'),
  convert('bf16', 'f16', [1], [1.875], 'bitcast'),
  convert('i8', 'u8', [-1], [255], 'bitcast'),
];

const pairs: FailingCase[] = (['add', 'pow', 'and', 'shl', 'compare'] as const).flatMap((op): FailingCase[] => [
  { op, constraint: 0, args: [['i32', [2]]], attrs: { direction: 'eq' } },
  {
    op,
    constraint: 1,
    args: [
      ['i32', [2]],
      ['u32', [2]],
    ],
    attrs: { direction: 'eq' },
  },
  {
    op,
    constraint: 1,
    args: [
      ['i32', [2]],
      ['i32', [1]],
    ],
    attrs: { direction: 'eq' },
  },
  {
    op,
    constraint: 1,
    args: [
      ['i32', [2]],
      ['i32', [2, 1]],
    ],
    attrs: { direction: 'eq' },
  },
  {
    op,
    constraint: 1,
    args: [
      ['i32', [seq]],
      ['i32', [16]],
    ],
    attrs: { direction: 'eq' },
  },
]);

export const failing: FailingCase[] = [
  ...pairs,
  { op: 'exp', constraint: 2, args: [['i32', [2]]], attrs: {} },
  { op: 'neg', constraint: 2, args: [['bool', [2]]], attrs: {} },
  {
    op: 'add',
    constraint: 2,
    args: [
      ['bool', [2]],
      ['bool', [2]],
    ],
    attrs: {},
  },
  {
    op: 'pow',
    constraint: 2,
    args: [
      ['i32', [2]],
      ['i32', [2]],
    ],
    attrs: {},
  },
  {
    op: 'and',
    constraint: 2,
    args: [
      ['f32', [2]],
      ['f32', [2]],
    ],
    attrs: {},
  },
  {
    op: 'shl',
    constraint: 2,
    args: [
      ['bool', [2]],
      ['bool', [2]],
    ],
    attrs: {},
  },
  {
    op: 'compare',
    constraint: 2,
    args: [
      ['f32', [2]],
      ['f32', [2]],
    ],
    attrs: { direction: 'less' },
  },
  {
    op: 'select',
    constraint: 1,
    args: [
      ['bool', [2]],
      ['f32', [2]],
      ['i32', [2]],
    ],
    attrs: {},
  },
  {
    op: 'select',
    constraint: 2,
    args: [
      ['i32', [2]],
      ['f32', [2]],
      ['f32', [2]],
    ],
    attrs: {},
  },
  {
    op: 'select',
    constraint: 2,
    args: [
      ['bool', []],
      ['f32', [2]],
      ['f32', [2]],
    ],
    attrs: {},
  },
  { op: 'cast', constraint: 1, args: [['f32', []]], attrs: { dtype: 'f8' } },
  { op: 'bitcast', constraint: 1, args: [['f32', []]], attrs: { dtype: 'f16' } },
  { op: 'bitcast', constraint: 1, args: [['f32', []]], attrs: { dtype: 'int' } },
  { op: 'bitcast', constraint: 2, args: [['u8', []]], attrs: { dtype: 'bool' } },
];
