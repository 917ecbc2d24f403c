// Operations and constants of the loop IR as C text, by scalar type: which are C operators and which are functions of
// the prelude.
import { castValue, f32ToBf16Bits, f32ToF16Bits } from '../../ir/dtype.ts';
import type { ArithmeticOp, CompareOp, ScalarType } from '../../ir/loop.ts';
import { memoryType, valueBytes, valueType } from './types.ts';

const comparisons: Readonly<Record<CompareOp, string>> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' };

export function compare(op: CompareOp, dtype: ScalarType, n: number, operands: readonly string[]): string {
  // true is the mask -1 in vectors
  const [a, b] = n > 1 && dtype === 'bool' ? operands.map((x) => `(-${x})`) : operands;
  const text = `(${a} ${comparisons[op]} ${b})`;
  if (n === 1 || valueBytes(dtype) === 4) return text;
  return `__builtin_convertvector(${text}, i32x${n})`; // the mask of a narrow or wide comparison
}

/** Operations on types for which ir/verify-expr.ts has them defined (rule 6). */
export function arithmetic(op: ArithmeticOp, dtype: ScalarType, n: number, [a, b, c]: readonly string[]): string {
  const type = valueType(dtype, n);
  const float = dtype === 'f32';
  // C computes narrow integers in int: the conversion back wraps
  const wrap = (text: string): string => (n === 1 && (dtype === 'i8' || dtype === 'u8') ? `((${type})${text})` : text);
  const call = (): string =>
    `${op}_${dtype === 'index' && (op === 'div' || op === 'rem') ? 'index' : type}(${a}${b ? `, ${b}` : ''})`;
  if (dtype === 'bool') {
    // 0/1 scalars and 0/-1 masks behave alike under these
    switch (op) {
      case 'or':
      case 'max':
        return `(${a} | ${b})`;
      case 'xor':
        return `(${a} ^ ${b})`;
      default: // and, min, mul
        return `(${a} & ${b})`;
    }
  }
  switch (op) {
    case 'neg':
      return wrap(`(-${a})`);
    case 'add':
      return wrap(`(${a} + ${b})`);
    case 'sub':
      return wrap(`(${a} - ${b})`);
    case 'mul':
      return wrap(`(${a} * ${b})`);
    case 'fma':
      return wrap(`(${a} * ${b} + ${c})`);
    case 'div':
      return float ? `(${a} / ${b})` : call();
    case 'rem':
    case 'max':
    case 'min':
      return call();
    case 'floor':
    case 'round':
      return float ? call() : a;
    case 'exp':
    case 'log':
    case 'sin':
    case 'cos':
    case 'tanh':
    case 'erf':
    case 'sqrt':
    case 'rsqrt':
    case 'pow':
      return call();
    case 'and':
    case 'or':
    case 'xor':
      return `(${a} ${{ and: '&', or: '|', xor: '^' }[op]} ${b})`;
    case 'shl':
    case 'shr':
      return call();
    default:
      return op satisfies never;
  }
}

/** A C literal with exactly this value. */
export function constantText(value: number, dtype: ScalarType): string {
  switch (dtype) {
    case 'f32': {
      const x = Math.fround(value);
      if (Number.isNaN(x)) return '__builtin_nanf("")';
      if (!Number.isFinite(x)) return x > 0 ? '__builtin_inff()' : '(-__builtin_inff())';
      const digits = Object.is(x, -0) ? '-0' : String(x);
      const text = /[.e]/.test(digits) ? digits : `${digits}.0`;
      return text.startsWith('-') ? `(${text}f)` : `${text}f`;
    }
    case 'bf16':
      return `((u16)${f32ToBf16Bits(value)})`;
    case 'f16':
      return `((u16)${f32ToF16Bits(value)})`;
    case 'bool':
      return value !== 0 ? '1' : '0';
    case 'index':
    case 'i64': {
      if (Number.isNaN(value)) return '0LL';
      const clamped = Math.min(Math.max(Math.trunc(value), -(2 ** 63)), 2 ** 63);
      const exact = BigInt.asIntN(64, clamped === 2 ** 63 ? 2n ** 63n - 1n : BigInt(clamped));
      return exact === -(2n ** 63n) ? '(-9223372036854775807LL - 1)' : exact < 0n ? `(${exact}LL)` : `${exact}LL`;
    }
    case 'i32': {
      const x = castValue('f32', 'i32', value);
      return x === -(2 ** 31) ? '(-2147483647 - 1)' : x < 0 ? `(${x})` : `${x}`;
    }
    case 'u32':
      return `${castValue('f32', 'u32', value)}u`;
    case 'i8':
    case 'u8':
      return `((${memoryType(dtype)})${castValue('f32', dtype, value)})`;
    default:
      return dtype satisfies never;
  }
}
