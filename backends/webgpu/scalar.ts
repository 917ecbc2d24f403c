// Operations, conversions and constants of the loop IR as WGSL text, by scalar type. Numbers of the program are checked
// here before they are printed.
import { castValue, type DType, dtypeInfo, roundTo } from '../../ir/dtype.ts';
import { type ArithmeticOp, type CompareOp, isCompare, type ScalarType } from '../../ir/loop.ts';
import { functionName, wgslType } from './prelude.ts';
import { valueTypes } from './storage.ts';

/** The WGSL type of a value. */
export const typeOf = (dtype: ScalarType, lanes: number): string => wgslType(valueTypes[dtype], lanes);

const comparisons: Readonly<Record<CompareOp, string>> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' };
const isHalf = (dtype: ScalarType): boolean => dtype === 'f16' || dtype === 'bf16';

/** `op` applied to operands of one type. */
export function aluText(
  op: CompareOp | ArithmeticOp,
  dtype: ScalarType,
  n: number,
  operands: readonly string[],
): string {
  const [a, b, c] = operands;
  if (isCompare(op)) return compare(op, dtype, n, a, b);
  const text = arithmetic(op, dtype, n, a, b, c);
  return narrow(text, dtype, n);
}

function compare(op: CompareOp, dtype: ScalarType, n: number, a: string, b: string): string {
  // Comparisons with NaN are false but for ne; WGSL's own != is false too.
  if (valueTypes[dtype] === 'f32' && (op === 'eq' || op === 'ne')) {
    const not = (text: string): string => `(!${text})`;
    if (a === b) {
      const isNaN_ = `${functionName('is_nan', n)}(${a})`;
      return op === 'ne' ? isNaN_ : not(isNaN_);
    }
    return op === 'eq' ? `(${a} == ${b})` : not(`(${a} == ${b})`);
  }
  if (dtype === 'bool' && op !== 'eq' && op !== 'ne') {
    return `(${castText('bool', 'u32', n, a)} ${comparisons[op]} ${castText('bool', 'u32', n, b)})`;
  }
  return `(${a} ${comparisons[op]} ${b})`;
}

/** Operations on types for which ir/verify-expr.ts has them defined (rule 6). */
function arithmetic(op: ArithmeticOp, dtype: ScalarType, n: number, a: string, b: string, c: string): string {
  const value = valueTypes[dtype];
  const float = value === 'f32';
  const call = (name: string, ...args: string[]): string => `${functionName(name, n)}(${args.join(', ')})`;
  if (value === 'bool') {
    switch (op) {
      case 'or':
      case 'max':
        return `(${a} | ${b})`;
      case 'xor':
        return `(${a} != ${b})`;
      default: // and, min, mul
        return `(${a} & ${b})`;
    }
  }
  switch (op) {
    case 'neg':
      return value === 'u32' ? `(${wgslType('u32', n)}(0u) - ${a})` : `(-${a})`;
    case 'add':
      return `(${a} + ${b})`;
    case 'sub':
      return `(${a} - ${b})`;
    case 'mul':
      return `(${a} * ${b})`;
    case 'fma':
      return `(${a} * ${b} + ${c})`;
    case 'div':
      return `(${a} / ${b})`;
    case 'rem':
      return float ? call('rem_f32', a, b) : `(${a} % ${b})`;
    case 'max':
    case 'min':
      return float ? call(`${op}_f32`, a, b) : `${op}(${a}, ${b})`;
    case 'floor':
    case 'round':
      return float ? `${op}(${a})` : a;
    case 'exp':
    case 'log':
    case 'sin':
    case 'cos':
    case 'tanh':
    case 'erf':
    case 'sqrt':
    case 'rsqrt':
      return call(`${op}_f32`, a);
    case 'pow':
      return call('pow_f32', a, b);
    case 'and':
    case 'or':
    case 'xor':
      return `(${a} ${{ and: '&', or: '|', xor: '^' }[op]} ${b})`;
    case 'shl':
    case 'shr':
      return `(${a} ${op === 'shl' ? '<<' : '>>'} (${wgslType('u32', n)}(${b}) & ${wgslType('u32', n)}(31u)))`;
    default:
      return op satisfies never;
  }
}

/** The values of a subgroup's threads combined; every one of them gets the result. NaN goes through maxima and minima. */
export function subgroupText(op: 'add' | 'max' | 'min', dtype: ScalarType, value: string): string {
  const name = { add: 'subgroupAdd', max: 'subgroupMax', min: 'subgroupMin' }[op];
  if (op === 'add') return narrow(`${name}(${value})`, dtype, 1);
  return valueTypes[dtype] === 'f32' ? `subgroup_${op}_f32(${value})` : `${name}(${value})`;
}

/** A value that arithmetic made, brought back to what its dtype can hold. */
export function narrow(text: string, dtype: ScalarType, n: number): string {
  switch (dtype) {
    case 'f16':
    case 'bf16':
      return `${functionName(`round_${dtype}`, n)}(${text})`;
    case 'i8':
    case 'u8':
      return `${functionName(`wrap_${dtype}`, n)}(${text})`;
    default:
      return text;
  }
}

/** Converts `x`, as castValue in ir/dtype.ts defines it. */
export function castText(from: ScalarType, to: ScalarType, n: number, x: string): string {
  if (from === to) return x;
  const [source, target] = [valueTypes[from], valueTypes[to]];
  if (to === 'bool') {
    if (source === 'f32') return `(!(${x} == ${wgslType('f32', n)}(0.0)))`;
    return `(${x} != ${wgslType(source, n)}(0))`;
  }
  if (source === 'bool') return `${wgslType(target, n)}(${x})`;
  if (source === 'f32') {
    if (target === 'f32') return isHalf(to) ? narrow(x, to, n) : x;
    const kind = to === 'i8' || to === 'u8' ? to : target;
    return `${functionName(`${kind}_from_f32`, n)}(${x})`;
  }
  if (target === 'f32') return narrow(`${wgslType('f32', n)}(${x})`, to, n);
  const same = source === target ? x : `bitcast<${wgslType(target, n)}>(${x})`;
  const isWider = from !== 'index' && to !== 'index' && bits(from) > bits(to);
  return isWider || ((to === 'i8' || to === 'u8') && (from === 'index' || bits(from as DType) === bits(to)))
    ? narrow(same, to, n)
    : same;
}
const bits = (dtype: DType): number => dtypeInfo[dtype].bytes * 8;

/** The same bits as another type of the same width. */
export function bitcastText(from: ScalarType, to: ScalarType, n: number, x: string): string {
  if (from === to) return x;
  if (isHalf(from)) {
    const one = (e: string): string =>
      from === 'bf16' ? `f16_value(bitcast<u32>(${e}) >> 16u)` : `bits_to_f32(f16_bits(${e}) << 16u)`;
    if (n === 1) return one(x);
    const lanes = Array.from({ length: n }, (_, i) => one(`(${x})[${i}]`));
    return `${typeOf(to, n)}(${lanes.join(', ')})`;
  }
  return narrow(`bitcast<${typeOf(to, n)}>(${x})`, to, n);
}

/** A WGSL expression with exactly this value. */
export function constantText(value: number, dtype: ScalarType, n: number): string {
  const text = scalarConstant(value, dtype);
  return n === 1 ? text : `${typeOf(dtype, n)}(${text})`;
}

function scalarConstant(value: number, dtype: ScalarType): string {
  switch (dtype) {
    case 'f32':
    case 'f16':
    case 'bf16': {
      const x = roundTo(dtype, value);
      if (Number.isNaN(x)) return 'bits_to_f32(0x7fc00000u)';
      if (!Number.isFinite(x)) return `bits_to_f32(0x${x > 0 ? '7f' : 'ff'}800000u)`;
      if (Object.is(x, -0)) return 'bits_to_f32(0x80000000u)';
      return x < 0 ? `(-${-x}f)` : `${x}f`;
    }
    case 'bool':
      return value !== 0 ? 'true' : 'false';
    case 'i64':
    case 'index':
    case 'i32': {
      const x = castValue('f32', 'i32', value);
      return x === -(2 ** 31) ? '(-2147483647 - 1)' : x < 0 ? `(${x})` : `${x}`;
    }
    case 'i8':
      return `(${castValue('f32', 'i8', value)})`;
    case 'u8':
      return `${castValue('f32', 'u8', value)}u`;
    case 'u32':
      return `${castValue('f32', 'u32', value)}u`;
    default:
      return dtype satisfies never;
  }
}
