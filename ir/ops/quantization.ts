// Quantization: packed integers and their meaning, the QuantSpec. Schemes (GPTQ, AWQ, NF4, LLM.int8(), …) are specs and
// importers; these two ops are all that executes.
//
// Layout. The last axis of K elements is packed into u32 words, 32 / bits codes a word, the first code in the lowest
// bits; 8-bit codes are i8 bytes. Leading axes are rows. A scale (and a zero) serves `group` consecutive elements.
// Codes are signed (two's complement) when spec.code is 'affine' and spec.zero is 'none', unsigned otherwise.
import type { Dim } from '../dim.ts';
import { dim, dimDivExact, dimMul, dimText, shapeText } from '../dim.ts';
import type { DType } from '../dtype.ts';
import { roundHalfEven, roundTo } from '../dtype.ts';
import type { Expr } from '../loop.ts';
import { add, alu, cast, constant, floorDiv, index, modulo, mul, select } from '../loop.ts';
import type { NdArray } from '../ndarray.ts';
import { sizeOf } from '../ndarray.ts';
import type { TensorType } from '../node.ts';
import type { QuantizationAttrs, QuantSpec } from './attrs.ts';
import { Factors, fail, requireArity, requireClass, requireDType, shapeOf } from './common.ts';
import type { AxisRule, ElementContext, Op, OpTable } from './op.ts';

type QuantOp = keyof QuantizationAttrs;

/** Codes per storage element. */
const perWord = (spec: QuantSpec): number => (spec.bits === 8 ? 1 : 32 / spec.bits);
const storage = (spec: QuantSpec): DType => (spec.bits === 8 ? 'i8' : 'u32');
const isSigned = (spec: QuantSpec): boolean => spec.code === 'affine' && spec.zero === 'none';

function requireSpec(op: QuantOp, spec: QuantSpec): void {
  if (typeof spec !== 'object' || spec === null) fail(op, 1, 'spec is missing');
  const { bits, group, code, zero } = spec;
  if (![2, 4, 8].includes(bits)) fail(op, 1, `bits must be 2, 4 or 8, got ${String(bits)}`);
  const per = perWord(spec);
  if (!(Number.isInteger(group) && group >= 0 && (group % per === 0 || per % group === 0))) {
    fail(op, 1, `group must be 0, a multiple or a divisor of ${per}, got ${String(group)}`);
  }
  if (code !== 'affine') {
    const isTable = Array.isArray(code) && code.length === 2 ** bits && code.every((v) => Number.isFinite(v));
    if (!isTable) fail(op, 1, `code must be 'affine' or a table of ${2 ** bits} numbers`);
    if (zero !== 'none') fail(op, 1, 'a table of values has no zero');
  } else if (zero !== 'none' && zero !== 'tensor' && !(Number.isInteger(zero) && zero >= 0 && zero < 2 ** bits)) {
    fail(op, 1, `zero must be 'none', 'tensor' or a code below ${2 ** bits}, got ${String(zero)}`);
  }
}

/** C3 and C4: the leading axes agree, and the last one has an entry per group. */
function requireGroups(op: QuantOp, what: string, t: TensorType, rows: readonly Dim[], k: Dim, spec: QuantSpec): void {
  const groups = spec.group === 0 ? dim(1) : dimDivExact(k, spec.group);
  if (!groups) fail(op, 3, `groups of ${spec.group} do not divide ${dimText(k)}`);
  const wanted = shapeText([...rows, groups]);
  if (shapeText(t.shape) !== wanted) fail(op, 3, `${what} must have shape ${wanted}, got ${shapeText(t.shape)}`);
}

/**
 * How K splits into factors: [group, word in group, code in word], or [word, group in word, code in group] where
 * groups are smaller than words. Only the codes within a word are no axis of the packed array.
 */
function packedAxes(
  values: readonly Dim[],
  spec: QuantSpec,
): { factors: Factors; axes: Record<'values' | 'words' | 'scale', readonly (readonly number[])[]> } {
  const factors = new Factors();
  const rows = values.slice(0, -1).map((d) => factors.add(d));
  const k = values[values.length - 1];
  const per = perWord(spec);
  const { group } = spec;
  const split = (): Record<'values' | 'words' | 'scale', readonly number[]> => {
    if (group === 0) {
      const words = factors.add(dimDivExact(k, per)!);
      return { words, scale: [], values: [...words, ...factors.add(dim(per))] };
    }
    if (group % per === 0) {
      const groups = factors.add(dimDivExact(k, group)!);
      const words = [...groups, ...factors.add(dim(group / per))];
      return { words, scale: groups, values: [...words, ...factors.add(dim(per))] };
    }
    const words = factors.add(dimDivExact(k, per)!);
    const scale = [...words, ...factors.add(dim(per / group))];
    return { words, scale, values: [...scale, ...factors.add(dim(group))] };
  };
  const last = split();
  const axes = { values: [...rows, last.values], words: [...rows, last.words], scale: [...rows, last.scale] };
  return { factors, axes };
}

/** The codes of a table by ascending value, the first of equal ones, and the midpoints between neighbours. */
function sortedTable(table: readonly number[]): { codes: number[]; midpoints: number[] } {
  const byValue = table.map((_, i) => i).sort((a, b) => table[a] - table[b]);
  const codes = byValue.filter((c, i) => i === 0 || table[c] !== table[byValue[i - 1]]);
  const midpoints = codes.slice(1).map((c, i) => Math.fround((table[codes[i]] + table[c]) / 2));
  return { codes, midpoints };
}

/** The index of the scale that element `k` of a row uses, by row of K elements. */
const scaleIndex = (k: Expr, spec: QuantSpec): Expr => (spec.group === 0 ? index(0) : floorDiv(k, index(spec.group)));

/** Reads the zero as `dtype`, undefined where it is 0. */
function zeroElement(spec: QuantSpec, context: ElementContext, at: readonly Expr[], dtype: DType): Expr | undefined {
  if (spec.zero === 'none' || spec.zero === 0) return undefined;
  return spec.zero === 'tensor' ? cast(context.read(2, at), dtype) : constant(spec.zero, dtype);
}

const zeroOf = (spec: QuantSpec, zeros: NdArray | undefined, at: number): number =>
  zeros ? zeros.data[at] : typeof spec.zero === 'number' ? spec.zero : 0;

/**
 * Real numbers from packed codes: (q - zero) * scale, or scale * table[q], in f32, then cast to dtype.
 * C1: the spec is sound: 2, 4 or 8 bits; group and 32 / bits divide one another; a table has 2^bits finite values.
 * C2: words are u32 (i8 for 8 bits), at least one axis; scale is float; dtype is float; zero is a number.
 * C3: scale, and zero where spec.zero is 'tensor', have the rows of words and one entry per group.
 */
const dequantize: Op<'dequantize'> = {
  infer(args, { spec, dtype }) {
    requireSpec('dequantize', spec);
    requireArity('dequantize', args, spec.zero === 'tensor' ? 3 : 2);
    const [words, scale, zero] = args;
    if (words.dtype !== storage(spec)) {
      fail('dequantize', 2, `${spec.bits}-bit words must be ${storage(spec)}, got ${words.dtype}`);
    }
    if (words.shape.length === 0) fail('dequantize', 2, 'words must have at least one axis');
    requireDType('dequantize', 2, dtype);
    requireClass('dequantize', 2, dtype, 'float');
    requireClass('dequantize', 2, scale.dtype, 'float');
    const rows = words.shape.slice(0, -1);
    const k = dimMul(words.shape[rows.length], perWord(spec));
    requireGroups('dequantize', 'scale', scale, rows, k, spec);
    if (zero) {
      requireClass('dequantize', 2, zero.dtype, 'numeric');
      requireGroups('dequantize', 'zero', zero, rows, k, spec);
    }
    return { dtype, shape: [...rows, k] };
  },

  axes(node): AxisRule {
    const { factors, axes } = packedAxes(node.type.shape, node.attrs.spec);
    const args = node.args.map((_, i) => (i === 0 ? axes.words : axes.scale));
    return { factors: factors.list, args, result: axes.values };
  },

  eval(node, [words, scale, zeros], env) {
    const { spec, dtype } = node.attrs;
    const shape = shapeOf(node, env);
    const k = shape[shape.length - 1];
    const group = spec.group || k;
    const per = perWord(spec);
    const size = 2 ** spec.bits;
    const data = new Float64Array(sizeOf(shape));
    for (let i = 0; i < data.length; i++) {
      const word = words.data[Math.floor(i / per)] >>> 0;
      const unsigned = (word >>> ((i % per) * spec.bits)) & (size - 1);
      const q = isSigned(spec) && unsigned >= size / 2 ? unsigned - size : unsigned;
      const at = Math.floor(i / group);
      const value = spec.code === 'affine' ? Math.fround(q - zeroOf(spec, zeros, at)) : Math.fround(spec.code[q]);
      data[i] = roundTo(dtype, Math.fround(value * scale.data[at]));
    }
    return { dtype, shape, data };
  },

  element(node, at, context) {
    const { spec, dtype } = node.attrs;
    const rows = at.slice(0, -1);
    const k = at[rows.length];
    const per = perWord(spec);
    const size = 2 ** spec.bits;
    const word = cast(context.read(0, [...rows, per === 1 ? k : floorDiv(k, index(per))]), 'u32');
    const shift = mul(cast(modulo(k, index(per)), 'u32'), constant(spec.bits, 'u32'));
    const code = context.let(alu('and', per === 1 ? word : alu('shr', word, shift), constant(size - 1, 'u32')));
    const group = [...rows, scaleIndex(k, spec)];
    const scale = cast(context.read(1, group), 'f32');
    if (spec.code !== 'affine') return cast(mul(lookup(spec.code, code, spec.bits, 0), scale), dtype);
    // two's complement: flip the sign bit, then subtract its weight
    const q = isSigned(spec)
      ? add(cast(alu('xor', code, constant(size / 2, 'u32')), 'i32'), constant(-size / 2, 'i32'))
      : cast(code, 'i32');
    const zero = zeroElement(spec, context, group, 'f32');
    const value = zero ? add(cast(q, 'f32'), alu('neg', zero)) : cast(q, 'f32');
    return cast(mul(value, scale), dtype);
  },
};

/** table[first + code mod 2^bits], as a tree of selections by the bits of the code. */
function lookup(table: readonly number[], code: Expr, bits: number, first: number): Expr {
  if (bits === 0) return constant(Math.fround(table[first]), 'f32');
  const half = 2 ** (bits - 1);
  const upper = alu('ne', alu('and', code, constant(half, 'u32')), constant(0, 'u32'));
  return select(upper, lookup(table, code, bits - 1, first + half), lookup(table, code, bits - 1, first));
}

/**
 * Packed codes of real numbers: clamp(round(x / scale) + zero), ties to even; or the table entry nearest to x / scale,
 * ties to the smaller one. Where scale is 0, x / scale counts as 0. Quotients are f32.
 * C1: the spec is sound, as for dequantize.
 * C2: x and scale are float; zero is an integer; x has at least one axis.
 * C3: scale and zero have the rows of x and one entry per group.
 * C4: the last axis of x fills whole words.
 */
const quantize: Op<'quantize'> = {
  infer(args, { spec }) {
    requireSpec('quantize', spec);
    requireArity('quantize', args, spec.zero === 'tensor' ? 3 : 2);
    const [x, scale, zero] = args;
    requireClass('quantize', 2, x.dtype, 'float');
    requireClass('quantize', 2, scale.dtype, 'float');
    if (x.shape.length === 0) fail('quantize', 2, 'x must have at least one axis');
    const rows = x.shape.slice(0, -1);
    const k = x.shape[rows.length];
    requireGroups('quantize', 'scale', scale, rows, k, spec);
    if (zero) {
      requireClass('quantize', 2, zero.dtype, 'integer');
      requireGroups('quantize', 'zero', zero, rows, k, spec);
    }
    const words = dimDivExact(k, perWord(spec));
    if (!words) fail('quantize', 4, `words of ${perWord(spec)} codes do not divide ${dimText(k)}`);
    return { dtype: storage(spec), shape: [...rows, words] };
  },

  axes(node): AxisRule {
    const { factors, axes } = packedAxes(node.args[0].type.shape, node.attrs.spec);
    const kept = new Set(axes.words.flat());
    return {
      // codes of one word come together
      factors: factors.list.map((f, i) => (kept.has(i) ? f : { ...f, kind: 'opaque' as const })),
      args: node.args.map((_, i) => (i === 0 ? axes.values : axes.scale)),
      result: axes.words,
    };
  },

  eval(node, [x, scale, zeros], env) {
    const { spec } = node.attrs;
    const per = perWord(spec);
    const group = spec.group || x.shape[x.shape.length - 1];
    const size = 2 ** spec.bits;
    const [low, high] = isSigned(spec) ? [-size / 2, size / 2 - 1] : [0, size - 1];
    const table = spec.code === 'affine' ? undefined : sortedTable(spec.code);
    const shape = shapeOf(node, env);
    const data = new Float64Array(sizeOf(shape));
    for (let i = 0; i < x.data.length; i++) {
      const at = Math.floor(i / group);
      const value = scale.data[at] === 0 ? 0 : Math.fround(x.data[i] / scale.data[at]);
      const q = table
        ? table.codes[table.midpoints.filter((m) => value > m).length]
        : Math.min(high, Math.max(low, roundHalfEven(value) + zeroOf(spec, zeros, at)));
      const code = (Number.isNaN(q) ? 0 : q) & (size - 1);
      data[Math.floor(i / per)] += code * 2 ** ((i % per) * spec.bits);
    }
    return { dtype: storage(spec), shape, data: spec.bits === 8 ? data.map((v) => roundTo('i8', v)) : data };
  },

  element(node, at, context) {
    const { spec } = node.attrs;
    const rows = at.slice(0, -1);
    const word = at[rows.length];
    const per = perWord(spec);
    const size = 2 ** spec.bits;
    const code = (k: Expr): Expr => {
      const group = [...rows, scaleIndex(k, spec)];
      const scale = context.let(cast(context.read(1, group), 'f32'));
      const x = cast(context.read(0, [...rows, k]), 'f32');
      const isZero = alu('eq', scale, constant(0, 'f32'));
      const value = context.let(select(isZero, constant(0, 'f32'), alu('div', x, scale)));
      if (spec.code !== 'affine') {
        const { codes, midpoints } = sortedTable(spec.code);
        // every midpoint below the value moves on to the next code in order
        return midpoints.reduce<Expr>(
          (sum, m, i) => {
            const step = constant(codes[i + 1] - codes[i], 'i32');
            return add(sum, select(alu('gt', value, constant(m, 'f32')), step, constant(0, 'i32')));
          },
          constant(codes[0], 'i32'),
        );
      }
      const [low, high] = isSigned(spec) ? [-size / 2, size / 2 - 1] : [0, size - 1];
      const zero = zeroElement(spec, context, group, 'f32');
      const shifted = zero ? add(alu('round', value), zero) : alu('round', value);
      const clamped = alu('min', constant(high, 'f32'), alu('max', constant(low, 'f32'), shifted));
      return cast(clamped, 'i32');
    };
    if (per === 1) return cast(code(word), 'i8');
    return context.fold('add', [dim(per)], 'u32', ([j]) => {
      const bits = alu('and', cast(code(add(mul(word, index(per)), j)), 'u32'), constant(size - 1, 'u32'));
      return alu('shl', bits, mul(cast(j, 'u32'), constant(spec.bits, 'u32')));
    });
  },
};

export const quantization: OpTable<QuantizationAttrs> = { quantize, dequantize };
