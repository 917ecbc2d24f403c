// The types of values as C has them, and conversions between them as C text. f16 and bf16 values are their 16 bits, a bool
// is 0 or 1, a vector of bools is a mask of 32-bit lanes.
import type { DType } from '../../ir/dtype.ts';
import type { ScalarType } from '../../ir/loop.ts';

/** The C declarations of the types of elements. */
export const typedefs = `
typedef float f32;
typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
`;

const cNames = {
  f32: 'f32',
  f16: 'u16',
  bf16: 'u16',
  i64: 'i64',
  i32: 'i32',
  i8: 'i8',
  u8: 'u8',
  u32: 'u32',
  bool: 'u8',
  index: 'i64',
} as const satisfies Record<ScalarType, string>;
const cNameOf = new Map<string, string>(Object.entries(cNames));
export const baseTypes = ['f32', 'u16', 'i64', 'i32', 'i8', 'u8', 'u32'] as const;
export const baseBytes = { f32: 4, u16: 2, i64: 8, i32: 4, i8: 1, u8: 1, u32: 4 } as const;

/** The C type of an element in memory; undefined for a name that is no type. */
export const memoryType = (dtype: ScalarType): string | undefined => cNameOf.get(dtype);

export const typeName = (base: string, lanes: number): string => (lanes === 1 ? base : `${base}x${lanes}`);

/** The C type of a value. */
export function valueType(dtype: ScalarType, lanes: number): string {
  return typeName(dtype === 'bool' && lanes > 1 ? 'i32' : cNames[dtype], lanes);
}

/** The integer vector with as many and as wide lanes. */
export const integerType = (base: (typeof baseTypes)[number], lanes: number): string =>
  typeName(base === 'f32' ? 'i32' : base, lanes);

export const isHalf = (dtype: ScalarType): boolean => dtype === 'f16' || dtype === 'bf16';

export const convertVector = (x: string, base: string, n: number): string =>
  n === 1 ? `((${base})${x})` : `__builtin_convertvector(${x}, ${typeName(base, n)})`;

/** The C expression that converts `x`, as castValue in ir/dtype.ts defines it. */
export function castText(from: ScalarType, to: ScalarType, n: number, x: string): string {
  if (cNames[from] === cNames[to] && (from === 'bool') === (to === 'bool') && !isHalf(from)) return x;
  if (from === to) return x;
  if (isHalf(from)) {
    if (to === 'bool') return castText('f32', 'bool', n, `f32_from_${from}_${n}(${x})`);
    return castText('f32', to, n, `f32_from_${from}_${n}(${x})`);
  }
  if (isHalf(to)) return `${to}_from_f32_${n}(${castText(from, 'f32', n, x)})`;
  if (to === 'bool') {
    if (n === 1) return `((u8)(${x} != 0))`;
    const compared = `(${x} != 0)`;
    return valueBytes(from) === 4 ? compared : convertVector(compared, 'i32', n);
  }
  if (from === 'bool') return n === 1 ? convertVector(x, cNames[to], 1) : castText('i32', to, n, `(-${x})`);
  if (from === 'f32') return `${to === 'index' ? 'i64' : to}_from_f32_${n}(${x})`;
  if (n > 1 && (from === 'u8' || from === 'i8')) {
    if (to === 'u8' || to === 'i8') return `((${typeName(to, n)})${x})`;
    return castText('i32', to, n, `widen_${from}_${n}(${x})`);
  }
  if (n > 1 && (to === 'u8' || to === 'i8')) return `narrow_${to}_${n}(${castText(from, 'i32', n, x)})`;
  if (n > 1 && valueBytes(from) === 4 && valueBytes(to) === 4 && to !== 'f32')
    return `((${typeName(cNames[to], n)})${x})`;
  return convertVector(x, cNames[to], n);
}

/** The conversion of narrow elements straight from memory at pointer `p`, when that is one instruction less. */
export function castLoadText(from: DType, to: ScalarType, n: number, p: string): string | undefined {
  if (n === 1) return undefined;
  if (from === 'bf16' || from === 'f16') return castText('f32', to, n, `load_f32_from_${from}_${n}(${p})`);
  if ((from === 'u8' || from === 'i8') && to !== 'u8' && to !== 'i8') {
    return castText('i32', to, n, `load_widen_${from}_${n}(${p})`);
  }
  return undefined;
}

/** Bytes of an element of a value, where a bool in a vector is a 32-bit mask. */
export const valueBytes = (dtype: ScalarType): number => (dtype === 'bool' ? 4 : baseBytes[cNames[dtype]]);
