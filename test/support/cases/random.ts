// Cases of random bits. The cipher itself is checked against the known answers of its authors in random.test.ts.
import { dim, dimVar } from '../../../ir/dim.ts';
import { array, type Case, dims, type FailingCase } from './case.ts';

const seq = dimVar('seq', 0, 16);

export const cases: Case[] = [
  {
    op: 'rng_bits',
    name: 'the first word: both words of the known answer for zeros',
    args: [array('u32', [2], [0, 0])],
    attrs: { shape: [] },
    expected: [(0x6b200159 ^ 0x99ba4efe) >>> 0],
  },
  { op: 'rng_bits', name: 'matrix', args: [array('u32', [2], [1, 4294967295])], attrs: { shape: dims(3, 5) } },
  {
    op: 'rng_bits',
    name: 'symbolic',
    args: [array('u32', [2], [7, 9])],
    attrs: { shape: [seq, dim(2)] },
    dims: { seq: 3 },
  },
];

export const failing: FailingCase[] = [
  { op: 'rng_bits', constraint: 1, args: [['u32', [4]]], attrs: { shape: dims(3) } },
  { op: 'rng_bits', constraint: 1, args: [['i32', [2]]], attrs: { shape: dims(3) } },
  { op: 'rng_bits', constraint: 2, args: [['u32', [2]]], attrs: { shape: dims(-3) } },
];
