// Cases of the quantization ops.
import type { QuantSpec } from '../../../ir/ops/attrs.ts';
import type { Case, FailingCase } from './case.ts';
import { array, f32 } from './case.ts';

const int4: QuantSpec = { bits: 4, group: 0, code: 'affine', zero: 'none' };
const nibbles = (codes: readonly number[]): number => codes.reduce((word, code, i) => word + (code & 15) * 16 ** i, 0);
/** An unsorted table with a negative zero, as FP4 has. */
const table = [0, 0.25, 8, 12, 4, 6, 2, 3, -0, -0.25, -8, -12, -4, -6, -2, -3];

export const cases: readonly Case[] = [
  {
    op: 'dequantize',
    name: 'signed 4-bit codes, low bits first',
    args: [array('u32', [1, 1], [nibbles([0, 1, 7, 8, 15, 2, 3, 4])]), f32([1, 1], 0.5)],
    attrs: { spec: int4, dtype: 'f32' },
    expected: [0, 0.5, 3.5, -4, -0.5, 1, 1.5, 2],
  },
  {
    op: 'dequantize',
    name: 'a scale and a zero per group, groups smaller than a word',
    args: [array('u32', [1, 1], [nibbles([0, 1, 2, 3, 4, 5, 6, 7])]), f32([1, 2], 1, 10), array('u8', [1, 2], [1, 4])],
    attrs: { spec: { bits: 4, group: 4, code: 'affine', zero: 'tensor' }, dtype: 'f32' },
    expected: [-1, 0, 1, 2, 0, 10, 20, 30],
  },
  {
    op: 'dequantize',
    name: 'groups larger than a word',
    args: [array('u32', [1, 4], [0x11111111, 0x22222222, 0x33333333, 0xffffffff]), f32([1, 2], 1, 2)],
    attrs: { spec: { ...int4, group: 16 }, dtype: 'f32' },
    expected: [...Array<number>(8).fill(1), ...Array<number>(8).fill(2), ...Array<number>(8).fill(6), ...Array<number>(8).fill(-2)], // biome-ignore format: one row
  },
  {
    op: 'dequantize',
    name: '2-bit codes around a constant zero',
    args: [array('u32', [1], [0b11100100]), f32([1], 2)],
    attrs: { spec: { bits: 2, group: 0, code: 'affine', zero: 2 }, dtype: 'bf16' },
    expected: [-4, -2, 0, 2, ...Array<number>(12).fill(-4)],
  },
  {
    op: 'dequantize',
    name: 'bytes: signed without a zero',
    args: [array('i8', [2, 2], [-128, 127, 1, -1]), f32([2, 1], 1, 0.25)],
    attrs: { spec: { bits: 8, group: 0, code: 'affine', zero: 'none' }, dtype: 'f32' },
    expected: [-128, 127, 0.25, -0.25],
  },
  {
    op: 'dequantize',
    name: 'bytes: unsigned with one',
    args: [array('i8', [1, 2], [-128, 127]), f32([1, 1], 1)],
    attrs: { spec: { bits: 8, group: 0, code: 'affine', zero: 100 }, dtype: 'f32' },
    expected: [28, 27],
  },
  {
    op: 'dequantize',
    name: 'a table of values',
    args: [array('u32', [1, 1], [nibbles([0, 1, 2, 3, 8, 9, 14, 15])]), f32([1, 1], 0.5)],
    attrs: { spec: { bits: 4, group: 0, code: table, zero: 'none' }, dtype: 'f32' },
    expected: [0, 0.125, 4, 6, -0, -0.125, -1, -1.5],
  },
  {
    op: 'quantize',
    name: 'signed 4-bit codes: ties to even, clamped',
    args: [f32([1, 8], 0.5, 1.5, 2.5, -0.5, -1.5, 100, -100, 3), f32([1, 1], 1)],
    attrs: { spec: int4 },
    expected: [nibbles([0, 2, 2, 0, -2, 7, -8, 3])],
  },
  {
    op: 'quantize',
    name: 'a zero per group; scale 0 gives the zero',
    args: [f32([1, 8], 0, 1, 2, 3, 7, 7, 7, 7), f32([1, 2], 0.5, 0), array('u8', [1, 2], [3, 9])],
    attrs: { spec: { bits: 4, group: 4, code: 'affine', zero: 'tensor' } },
    expected: [nibbles([3, 5, 7, 9, 9, 9, 9, 9])],
  },
  {
    op: 'quantize',
    name: 'bytes',
    args: [f32([2, 2], 1, -1, 300, -300), f32([2, 1], 0.125, 1)],
    attrs: { spec: { bits: 8, group: 0, code: 'affine', zero: 'none' } },
    expected: [8, -8, 127, -128],
  },
  {
    op: 'quantize',
    name: 'the nearest entry of a table, the smaller one of two',
    args: [f32([1, 8], 0.1, 0.2, 7, 100, -100, -2.4, 2.5, -5), f32([1, 1], 1)],
    attrs: { spec: { bits: 4, group: 0, code: table, zero: 'none' } },
    expected: [nibbles([0, 1, 5, 3, 11, 14, 6, 13])],
  },
];

const spec = (fields: object) => ({ spec: { ...int4, ...fields }, dtype: 'f32' });
const words = ['u32', [2, 4]] as const;
const scale = ['f32', [2, 1]] as const;
export const failing: readonly FailingCase[] = [
  { op: 'dequantize', constraint: 0, args: [words], attrs: spec({}) },
  { op: 'dequantize', constraint: 0, args: [words, scale], attrs: spec({ zero: 'tensor' }) },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: {} },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: spec({ bits: 3 }) },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: spec({ group: 12 }) },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: spec({ group: -8 }) },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: spec({ zero: 16 }) },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: spec({ code: [1, 2, 3] }) },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: spec({ code: table, zero: 8 }) },
  { op: 'dequantize', constraint: 1, args: [words, scale], attrs: spec({ code: table.map(() => Number.NaN) }) },
  { op: 'dequantize', constraint: 2, args: [['i8', [2, 4]], scale], attrs: spec({}) },
  { op: 'dequantize', constraint: 2, args: [['u32', []], scale], attrs: spec({}) },
  { op: 'dequantize', constraint: 2, args: [words, ['i32', [2, 1]]], attrs: spec({}) },
  { op: 'dequantize', constraint: 2, args: [words, scale], attrs: { ...spec({}), dtype: 'i32' } },
  { op: 'dequantize', constraint: 3, args: [words, ['f32', [2, 2]]], attrs: spec({}) },
  { op: 'dequantize', constraint: 3, args: [words, scale], attrs: spec({ group: 24 }) },
  { op: 'quantize', constraint: 1, args: [['f32', [2, 8]], scale], attrs: spec({ bits: 0 }) },
  { op: 'quantize', constraint: 2, args: [['i32', [2, 8]], scale], attrs: spec({}) },
  { op: 'quantize', constraint: 2, args: [['f32', [2, 8]], scale, scale], attrs: spec({ zero: 'tensor' }) },
  { op: 'quantize', constraint: 3, args: [['f32', [2, 8]], ['f32', [1, 1]]], attrs: spec({}) },
  { op: 'quantize', constraint: 4, args: [['f32', [2, 9]], scale], attrs: spec({}) },
]; // biome-ignore format: a table
