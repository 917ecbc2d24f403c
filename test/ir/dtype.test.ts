// Rounding of scalar types: exhaustive over the bit patterns of f16 and bf16, then the borders by hand.
import { expect, test } from 'vitest';
import {
  bf16BitsToF32,
  castValue,
  dtypeInfo,
  dtypes,
  f16BitsToF32,
  f32ToBf16Bits,
  f32ToF16Bits,
  roundHalfEven,
  roundTo,
} from '../../ir/dtype.ts';

const { NaN: nan, POSITIVE_INFINITY: inf } = Number;

interface Narrow {
  readonly name: string;
  readonly encode: (x: number) => number;
  readonly decode: (bits: number) => number;
  /** Bits of +infinity: finite values lie below. */
  readonly infinity: number;
}
const narrow: readonly Narrow[] = [
  { name: 'f16', encode: f32ToF16Bits, decode: f16BitsToF32, infinity: 0x7c00 },
  { name: 'bf16', encode: f32ToBf16Bits, decode: bf16BitsToF32, infinity: 0x7f80 },
];

test.each(narrow)('$name: every value is encoded as itself', ({ encode, decode }) => {
  for (let bits = 0; bits < 65536; bits++) {
    const x = decode(bits);
    if (Number.isNaN(x)) expect(decode(encode(x))).toBeNaN();
    else if (encode(x) !== bits) expect.fail(`${bits} decodes to ${x}, which encodes to ${encode(x)}`);
  }
});

test.each(narrow)('$name: halfway goes to even, just beside it to the nearer', ({ encode, decode, infinity }) => {
  // neighbours of a halfway point in f32
  const float = new Float32Array(1);
  const word = new Uint32Array(float.buffer);
  const step = (x: number, by: number): number => {
    float[0] = x;
    word[0] += by;
    return float[0];
  };
  for (let bits = 0; bits < infinity - 1; bits++) {
    const middle = (decode(bits) + decode(bits + 1)) / 2; // exact in a double
    const even = bits % 2 === 0 ? bits : bits + 1;
    const isExact = Math.fround(middle) === middle; // bf16 subnormals end where those of f32 do
    if (!isExact) continue;
    for (const sign of [0, 0x8000]) {
      const s = sign ? -1 : 1;
      const found = [encode(s * middle), encode(s * step(middle, -1)), encode(s * step(middle, 1))];
      const wanted = [even, bits, bits + 1].map((b) => sign | b);
      if (found.join() !== wanted.join()) expect.fail(`around ${middle}: ${found}, not ${wanted}`);
    }
  }
});

test('f16 at its borders', () => {
  const cases: [number, number][] = [
    [65504, 65504],
    [65519.99609375, 65504],
    [65520, inf],
    [-65520, -inf],
    [inf, inf],
    [2 ** -14, 2 ** -14], // smallest normal
    [2 ** -14 - 2 ** -25, 2 ** -14], // halfway to the largest subnormal, which is odd
    [2 ** -24, 2 ** -24], // smallest subnormal
    [2 ** -25, 0], // halfway to zero
    [2 ** -25 + 2 ** -40, 2 ** -24],
    [3 * 2 ** -25, 2 ** -23],
    [2 ** -140, 0],
    [1 + 2 ** -11, 1],
    [1 + 3 * 2 ** -11, 1 + 2 ** -9],
  ];
  for (const [x, rounded] of cases) expect(roundTo('f16', x)).toBe(rounded);
  expect(roundTo('f16', nan)).toBeNaN();
  expect(roundTo('f16', -0)).toBe(-0);
  expect(roundTo('f16', -(2 ** -26))).toBe(-0);
});

test('bf16 at its borders', () => {
  const cases: [number, number][] = [
    [dtypeInfo.bf16.max, dtypeInfo.bf16.max],
    [dtypeInfo.bf16.max + 2 ** 118, dtypeInfo.bf16.max], // below halfway to 2^128
    [dtypeInfo.f32.max, inf],
    [-dtypeInfo.f32.max, -inf],
    [1 + 2 ** -8, 1],
    [1 + 3 * 2 ** -8, 1 + 2 ** -6],
    [2 ** -133, 2 ** -133], // smallest subnormal
    [2 ** -134, 0],
    [3 * 2 ** -134, 2 ** -132],
  ];
  for (const [x, rounded] of cases) expect(roundTo('bf16', x)).toBe(rounded);
  expect(roundTo('bf16', nan)).toBeNaN();
  // NaNs whose payload lies in the lower half only must stay NaNs
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, 0x7f800001);
  expect(bf16BitsToF32(f32ToBf16Bits(view.getFloat32(0)))).toBeNaN();
});

test('limits are representable', () => {
  for (const dtype of dtypes) {
    if (dtype === 'i64') continue; // its maximum is no double
    const { min, max } = dtypeInfo[dtype];
    expect([roundTo(dtype, min), roundTo(dtype, max)]).toEqual([min, max]);
  }
});

test('integers wrap', () => {
  expect(roundTo('i8', 128)).toBe(-128);
  expect(roundTo('i8', -129)).toBe(127);
  expect(roundTo('u8', -1)).toBe(255);
  expect(roundTo('u8', 256)).toBe(0);
  expect(roundTo('i32', 2 ** 31)).toBe(-(2 ** 31));
  expect(roundTo('u32', -1)).toBe(2 ** 32 - 1);
  expect(roundTo('bool', -7)).toBe(1);
});

test('conversion from float to integer truncates and saturates', () => {
  expect(castValue('f32', 'i8', 127.9)).toBe(127);
  expect(castValue('f32', 'i8', -1e9)).toBe(-128);
  expect(castValue('f32', 'u32', inf)).toBe(2 ** 32 - 1);
  expect(castValue('f32', 'i32', nan)).toBe(0);
  expect(castValue('f32', 'bool', nan)).toBe(1);
  expect(castValue('i32', 'u8', 511)).toBe(255);
});

test('rounding to the nearest integer, ties to even', () => {
  const values = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 2.4999, 2.5001, 1e15 + 0.5, inf];
  expect(values.map((x) => roundHalfEven(x) + 0)).toEqual([0, 2, 2, 0, -2, -2, 2, 3, 1e15, inf]);
  expect(roundHalfEven(nan)).toBeNaN();
});
