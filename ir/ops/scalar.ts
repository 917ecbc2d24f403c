// Scalar arithmetic of the reference interpreter: what one element of add, pow, erf, … is. Floats are computed in
// double and rounded by the caller, once; integers wrap. Shift amounts are taken modulo the width of the type, and
// division by zero is defined on integers: x / 0 = 0 and x rem 0 = x.
import type { DType } from '../dtype.ts';
import { bf16BitsToF32, dtypeInfo, f16BitsToF32, f32ToBf16Bits, f32ToF16Bits, isFloat, roundTo } from '../dtype.ts';
import { ModelcError } from '../error.ts';
import type { binaryAlu } from '../loop.ts';
import type { Attrs } from './attrs.ts';

export type BinaryOp = (typeof binaryAlu)[number];
type Binary = (x: number, y: number) => number;

/** IEEE 754 pow: 1 to any power is 1, -1 to an infinite one too (where JavaScript says NaN). */
const pow: Binary = (x, y) => (x === 1 || (x === -1 && Math.abs(y) === Number.POSITIVE_INFINITY) ? 1 : x ** y);

const floats: Partial<Record<BinaryOp, Binary>> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  rem: (x, y) => x % y,
  pow,
  max: Math.max,
  min: Math.min,
};

const bools: Partial<Record<BinaryOp, Binary>> = {
  and: (x, y) => x & y,
  or: (x, y) => x | y,
  xor: (x, y) => x ^ y,
};

/** Integers of at most 32 bits, before wrapping. */
const integers = (bits: number, signed: boolean): Partial<Record<BinaryOp, Binary>> => ({
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: Math.imul,
  div: (x, y) => (y === 0 ? 0 : Math.trunc(x / y)),
  rem: (x, y) => (y === 0 ? x : x % y),
  max: Math.max,
  min: Math.min,
  and: (x, y) => x & y,
  or: (x, y) => x | y,
  xor: (x, y) => x ^ y,
  shl: (x, y) => x << (y & (bits - 1)),
  shr: (x, y) => (signed ? x >> (y & (bits - 1)) : x >>> (y & (bits - 1))),
});

type Wide = (x: bigint, y: bigint) => bigint;
const wide: Partial<Record<BinaryOp, Wide>> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => (y === 0n ? 0n : x / y),
  rem: (x, y) => (y === 0n ? x : x % y),
  and: (x, y) => x & y,
  or: (x, y) => x | y,
  xor: (x, y) => x ^ y,
  shl: (x, y) => x << (y & 63n),
  shr: (x, y) => x >> (y & 63n),
};

/** The function of a binary op on values of `dtype`; float results are not rounded yet. */
export function arithmetic(op: BinaryOp, dtype: DType): Binary {
  if (dtype === 'i64' && (op === 'max' || op === 'min')) return Math[op];
  if (dtype === 'i64') {
    const f = wide[op];
    if (f) return (x, y) => Number(BigInt.asIntN(64, f(BigInt(x), BigInt(y))));
  } else if (isFloat(dtype) || dtype === 'bool') {
    const f = (dtype === 'bool' ? bools : floats)[op];
    if (f) return f;
  } else {
    const f = integers(dtypeInfo[dtype].bytes * 8, dtypeInfo[dtype].kind === 'signed')[op];
    if (f) return (x, y) => roundTo(dtype, f(x, y));
  }
  throw new ModelcError('type', `${op} is not defined on ${dtype}`);
}

/** A computed value as an element of `dtype`: floats round, integers wrap and have no negative zero. */
export function storeValue(dtype: DType, x: number): number {
  if (dtype !== 'i64') return roundTo(dtype, x);
  return Number.isSafeInteger(x) || !Number.isInteger(x) ? x + 0 : Number(BigInt.asIntN(64, BigInt(x)));
}

export type CombineOp = Attrs['reduce']['op'];

/** The identity of a reduction over `dtype`: what an empty one gives. */
export function identityOf(op: CombineOp, dtype: DType): number {
  switch (op) {
    case 'add':
    case 'or':
      return 0;
    case 'mul':
    case 'and':
      return 1;
    case 'max':
      return isFloat(dtype) ? Number.NEGATIVE_INFINITY : dtypeInfo[dtype].min;
    case 'min':
      return isFloat(dtype) ? Number.POSITIVE_INFINITY : dtypeInfo[dtype].max;
    default:
      return op satisfies never;
  }
}

const bits = new ArrayBuffer(4);
const floatBits = new Float32Array(bits);
const halfBits = new Uint16Array(bits);
/** Writes and reads the bits of an element of each dtype. i64 has no other dtype of its size. */
const storage: Record<Exclude<DType, 'i64'>, { write(x: number): void; read(): number }> = {
  f32: { write: (x) => floatBits.fill(x), read: () => floatBits[0] },
  f16: { write: (x) => halfBits.fill(f32ToF16Bits(x)), read: () => f16BitsToF32(halfBits[0]) },
  bf16: { write: (x) => halfBits.fill(f32ToBf16Bits(x)), read: () => bf16BitsToF32(halfBits[0]) },
  i32: integerBits(new Int32Array(bits)),
  u32: integerBits(new Uint32Array(bits)),
  i8: integerBits(new Int8Array(bits)),
  u8: integerBits(new Uint8Array(bits)),
  bool: integerBits(new Uint8Array(bits)),
};

function integerBits(view: Int32Array | Uint32Array | Int8Array | Uint8Array) {
  return { write: (x: number) => view.fill(x), read: () => view[0] };
}

/** The value of dtype `to` that has the bits of `x`; both have the same number of bytes. */
export function bitcastValue(from: DType, to: DType, x: number): number {
  if (from === to || from === 'i64' || to === 'i64') return x;
  storage[from].write(x);
  return storage[to].read();
}

/**
 * The error function in double precision. Below 2.5 the series 2/sqrt(pi) exp(-x²) sum(2^n x^(2n+1) / (2n+1)!!), whose
 * terms all have one sign; above, the continued fraction of erfc from the back (Abramowitz and Stegun 7.1.6, 7.1.14).
 */
export function erf(x: number): number {
  if (Number.isNaN(x)) return x;
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; term > sum * 2 ** -55; n++) sum += term *= (2 * a * a) / (2 * n + 1);
    const value = (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum;
    return x < 0 || Object.is(x, -0) ? -value : value;
  }
  if (a > 6) return Math.sign(x); // 1 - erf(6) is below 2^-53
  let fraction = a;
  for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / fraction);
}
