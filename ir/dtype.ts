// Scalar types: sizes, classes and exact rounding. f16 rounds as IEEE 754 binary16, bf16 as the upper half of
// binary32, both to nearest, ties to even.

export const dtypes = ['f32', 'f16', 'bf16', 'i64', 'i32', 'i8', 'u8', 'u32', 'bool'] as const;
/**
 * A scalar type. Computation is in f32; f16 and bf16 are for weights, caches and products; i8 and u8 for packed
 * weights.
 */
export type DType = (typeof dtypes)[number];

interface DTypeInfo {
  bytes: number;
  kind: 'float' | 'signed' | 'unsigned' | 'bool';
  /** Smallest and largest finite value. */
  min: number;
  max: number;
}

const f16Max = 65504;
const bf16Max = 2 ** 127 * (2 - 2 ** -7);
const f32Max = 2 ** 127 * (2 - 2 ** -23);

export const dtypeInfo: Record<DType, DTypeInfo> = {
  f32: { bytes: 4, kind: 'float', min: -f32Max, max: f32Max },
  f16: { bytes: 2, kind: 'float', min: -f16Max, max: f16Max },
  bf16: { bytes: 2, kind: 'float', min: -bf16Max, max: bf16Max },
  i64: { bytes: 8, kind: 'signed', min: -(2 ** 63), max: 2 ** 63 },
  i32: { bytes: 4, kind: 'signed', min: -(2 ** 31), max: 2 ** 31 - 1 },
  i8: { bytes: 1, kind: 'signed', min: -128, max: 127 },
  u8: { bytes: 1, kind: 'unsigned', min: 0, max: 255 },
  u32: { bytes: 4, kind: 'unsigned', min: 0, max: 2 ** 32 - 1 },
  bool: { bytes: 1, kind: 'bool', min: 0, max: 1 },
};

export const isFloat = (t: DType): boolean => dtypeInfo[t].kind === 'float';
export const isInteger = (t: DType): boolean => dtypeInfo[t].kind === 'signed' || dtypeInfo[t].kind === 'unsigned';
export const isDType = (text: string): text is DType => (dtypes as readonly string[]).includes(text);

const scratch = new DataView(new ArrayBuffer(8));

/** The bits of `x` rounded to binary16. */
export function f32ToF16Bits(x: number): number {
  scratch.setFloat32(0, x);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // rounds to infinity
  if (magnitude < 0x38800000) {
    // Subnormal: the unit is 2^-24; a double holds x exactly, so one rounding suffices.
    return sign | roundHalfEven(Math.abs(x) * 2 ** 24);
  }
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1);
  return sign | ((rounded - 0x38000000) >>> 13);
}

export function f16BitsToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -24 * fraction;
}

/** The upper 16 bits of `x` as binary32, rounded to nearest even. */
export function f32ToBf16Bits(x: number): number {
  scratch.setFloat32(0, x);
  const bits = scratch.getUint32(0);
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // NaN stays quiet
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function bf16BitsToF32(bits: number): number {
  scratch.setUint32(0, bits << 16);
  return scratch.getFloat32(0);
}

export function roundHalfEven(x: number): number {
  const r = Math.round(x);
  return Math.abs(x - Math.trunc(x)) === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

const wrap = (x: number, bits: number, signed: boolean): number => {
  const size = 2 ** bits;
  const t = x - Math.floor(x / size) * size;
  return signed && t >= size / 2 ? t - size : t;
};

let isRounding = true;

/** What `body` gives when floats of all types keep the precision of doubles: for derivatives by differences. */
export function inDoubles<T>(body: () => T): T {
  isRounding = false;
  try {
    return body();
  } finally {
    isRounding = true;
  }
}

/**
 * `x` as dtype stores it. Floats round to nearest even (f16 and bf16 by way of f32, as hardware that computes in f32
 * does); integers take an integral `x` and wrap; bool is x !== 0. i64 is exact up to 2^53.
 */
export function roundTo(dtype: DType, x: number): number {
  if (!isRounding && isFloat(dtype)) return x;
  switch (dtype) {
    case 'f32':
      return Math.fround(x);
    case 'f16':
      return f16BitsToF32(f32ToF16Bits(Math.fround(x)));
    case 'bf16':
      return bf16BitsToF32(f32ToBf16Bits(Math.fround(x)));
    case 'i64':
      return x;
    case 'i32':
      return x | 0;
    case 'u32':
      return x >>> 0;
    case 'i8':
      return wrap(x, 8, true);
    case 'u8':
      return wrap(x, 8, false);
    case 'bool':
      return x !== 0 ? 1 : 0;
    default:
      return dtype satisfies never;
  }
}

/**
 * Value conversion as `cast` defines it: float to integer truncates towards zero and saturates (NaN becomes 0),
 * integer to integer wraps, to bool is x !== 0, to float rounds to nearest even.
 */
export function castValue(from: DType, to: DType, x: number): number {
  if (to === 'bool' || !isFloat(from) || isFloat(to)) return roundTo(to, x);
  if (Number.isNaN(x)) return 0;
  const { min, max } = dtypeInfo[to];
  return Math.min(max, Math.max(min, Math.trunc(x)));
}
