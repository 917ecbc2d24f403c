// Loads from memory that kernels bind. A binding is an array whose elements are as wide as every access of the kernel to
// it allows: single words where it is written or read element by element; two or four words where all that is read is
// vectors at multiples of their size, so that one load brings what a vector needs; 16-bit floats, single or four, where
// the device has that type.
import { accessBytes, type Factors, factorOf } from '../../ir/alignment.ts';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import type { Expr, Kernel, Stmt } from '../../ir/loop.ts';
import type { Module } from './layout.ts';
import { functionName, wgslType } from './prelude.ts';
import { typeOf } from './scalar.ts';
import { valueTypes, wordBytes } from './storage.ts';
import type { Feature } from './target.ts';

/** The elements of a binding's array. */
export interface Element {
  readonly type: 'u32' | 'f16';
  /** 1 for scalars. */
  readonly lanes: number;
}

/** Where a buffer of a kernel is: a binding, and the words before it, as WGSL. */
export interface Place {
  readonly binding: string;
  readonly element: Element;
  readonly offset: string | undefined;
  /** Elements lie as in files; read only. */
  readonly packed: boolean;
}

/** Dtypes whose elements in files are not words. */
const isPacked = (dtype: DType): boolean => dtype !== 'f32' && dtype !== 'i32' && dtype !== 'u32';

/** Dtypes of which a word of a file holds several elements. */
type Narrow = 'bf16' | 'f16' | 'i8' | 'u8' | 'bool';
const isNarrow = (dtype: DType): dtype is Narrow => dtypeInfo[dtype].bytes < wordBytes;

/** Bytes of an element in memory. */
const bytesIn = (dtype: DType, packed: boolean): number => (packed ? dtypeInfo[dtype].bytes : wordBytes);

/** For every load, bytes that can be loaded together; 0 for one element at a time. */
export type Widths = ReadonlyMap<Expr, number>;

/** What the elements of each binding are, and how wide the loads of the kernel. */
export function bindingElements(
  kernel: Kernel,
  { buffers, writes }: Pick<Module, 'buffers' | 'writes'>,
  features: ReadonlySet<Feature>,
): { elements: Element[]; widths: Widths } {
  const places = new Map(kernel.buffers.map((b, i) => [b.name, { dtype: b.dtype, ...buffers[i] }]));
  const widths = new Map<Expr, number>();
  const narrowest = writes.map(() => 16);
  visitAccesses(kernel.body, new Map(), (name, load, factor) => {
    const place = places.get(name);
    if (!place) return;
    const elementBytes = bytesIn(place.dtype, place.packed);
    const isVector = load !== undefined && elementBytes <= wordBytes;
    const bytes = isVector ? accessBytes(factor, elementBytes, load.lanes) : 0;
    if (load) widths.set(load, Math.min(bytes, widths.get(load) ?? bytes));
    narrowest[place.binding] = Math.min(narrowest[place.binding], Math.max(bytes, wordBytes));
  });
  const elements = narrowest.map((bytes, binding): Element => {
    const own = [...places.values()].filter((p) => p.binding === binding);
    const isHalf = own.every(({ dtype, packed }) => dtype === 'f16' && packed);
    if (isHalf && features.has('shader-f16')) return { type: 'f16', lanes: bytes === 8 ? 4 : 1 };
    return { type: 'u32', lanes: bytes / wordBytes };
  });
  return { elements, widths };
}

/** Calls `access` for every load and, without one, for every store; with what divides the index. */
function visitAccesses(
  body: readonly Stmt[],
  outer: Factors,
  access: (buffer: string, load: (Expr & { kind: 'load' }) | undefined, factor: number) => void,
): void {
  const factors: Factors = new Map(outer);
  const visit = (e: Expr): void => {
    switch (e.kind) {
      case 'load':
        access(e.buffer, e, factorOf(e.index, factors));
        return visit(e.index);
      case 'alu':
      case 'zip':
        return e.args.forEach(visit);
      case 'cast':
      case 'bitcast':
      case 'splat':
      case 'across':
        return visit(e.arg);
      case 'ramp':
        return visit(e.start);
      default: // constants and variables
    }
  };
  for (const s of body) {
    switch (s.kind) {
      case 'for': {
        for (const e of [s.start, s.end]) visit(e);
        visitAccesses(s.body, new Map(factors).set(s.name, factorOf(s.start, factors, s.step)), access);
        break;
      }
      case 'let':
        visit(s.value);
        if (s.value.dtype === 'index' && !s.mutable) factors.set(s.name, factorOf(s.value, factors));
        else factors.delete(s.name);
        break;
      case 'assign':
        visit(s.value);
        break;
      case 'reduce':
        for (const { value } of s.values) visit(value);
        break;
      case 'store':
        access(s.buffer, undefined, 1);
        for (const e of [s.index, s.value]) visit(e);
        break;
      case 'if':
        visit(s.condition);
        for (const branch of [s.then, s.otherwise]) visitAccesses(branch, factors, access);
        break;
      default: // nothing that this target prints reads memory there
    }
  }
}

/** A buffer that a kernel binds. */
export interface Bound {
  readonly name: string;
  readonly dtype: DType;
  readonly place: Place;
}

/** The element of the binding's array that holds position `at` of the buffer: 2 ** shift positions are in one. */
function elementAt({ binding, offset, element }: Place, at: string, shift: number, more = 0): string {
  const own = shift === 0 ? at : `(${at} >> ${shift}u)`;
  const before = offset === undefined ? '' : element.lanes === 1 ? `${offset} + ` : `(${offset} >> ${Math.log2(element.lanes)}u) + `; // biome-ignore format: one row
  return `${binding}[${before}${own}${more === 0 ? '' : ` + ${more}`}]`;
}

/**
 * The elements from `at` on as a value; `width`: bytes that can be loaded together. Functions that it calls are defined by
 * `define`.
 */
export function loadText(
  { name, dtype, place }: Bound,
  at: string,
  lanes: number,
  width: number,
  define: (name: string, text: string) => void,
): string {
  const type = wgslType(valueTypes[dtype], lanes);
  const { element } = place;
  if (element.type === 'f16') {
    if (lanes === 1) return `f32(${elementAt(place, at, 0)})`;
    if (element.lanes === lanes) return `${type}(${elementAt(place, at, Math.log2(lanes))})`;
  }
  const packed = place.packed && isPacked(dtype);
  const one = (index: string): string => {
    if (element.type === 'f16') return `f32(${elementAt(place, index, 0)})`;
    if (!packed) return fromWord(dtype, elementAt(place, index, 0));
    define(`load_${name}`, `fn load_${name}(i: i32) -> ${typeOf(dtype, 1)} { return ${unpacked(dtype, place)}; }`);
    return `load_${name}(${index})`;
  };
  if (lanes === 1) return one(at);
  const bytes = bytesIn(dtype, place.packed);
  if (width === 0 || element.type === 'f16') {
    const values = Array.from({ length: lanes }, (_, i) => one(i === 0 ? 'i' : `i + ${i}`)).join(', ');
    define(`gather${lanes}_${name}`, `fn gather${lanes}_${name}(i: i32) -> ${type} { return ${type}(${values}); }`);
    return `gather${lanes}_${name}(${at})`;
  }
  const words = (lanes * bytes) / wordBytes;
  const shift = Math.log2((element.lanes * wordBytes) / bytes);
  const elements = Array.from({ length: words / element.lanes }, (_, i) => elementAt(place, 'i', shift, i));
  const all = elements.length === 1 ? elements[0] : `${wgslType('u32', words)}(${elements.join(', ')})`;
  const body = packed && isNarrow(dtype) ? `let w = ${all}; return ${fromPacked(dtype, words, lanes)};` : `return ${fromWord(dtype, all, lanes)};`; // biome-ignore format: one row
  define(`load${lanes}_${name}`, `fn load${lanes}_${name}(i: i32) -> ${type} { ${body} }`);
  return `load${lanes}_${name}(${at})`;
}

/** Element i of packed memory. */
function unpacked(dtype: DType, place: Place): string {
  const word = (shift: number): string => elementAt(place, 'i', shift);
  switch (dtype) {
    case 'bf16':
      return `bitcast<f32>((${word(1)} >> (u32(i & 1) << 4u)) << 16u)`;
    case 'f16':
      return `unpack2x16float(${word(1)})[i & 1]`;
    case 'i8':
      return `wrap_i8(bitcast<i32>(${word(2)} >> (u32(i & 3) << 3u)))`;
    case 'u8':
      return `((${word(2)} >> (u32(i & 3) << 3u)) & 0xffu)`;
    case 'bool':
      return `(((${word(2)} >> (u32(i & 3) << 3u)) & 0xffu) != 0u)`;
    default: // i64
      return `bitcast<i32>(${place.binding}[i * 2])`;
  }
}

/** The lanes in `words` words named w of packed memory, one or a vector. */
function fromPacked(dtype: Narrow, words: number, lanes: number): string {
  const each = (f: (word: string) => string): string =>
    `${typeOf(dtype, lanes)}(${Array.from({ length: words }, (_, i) => f(words === 1 ? 'w' : `w.${'xyzw'[i]}`)).join(', ')})`;
  const bytesOf = (word: string): string => `((vec4<u32>(${word}) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u))`;
  switch (dtype) {
    case 'bf16':
      return each((w) => `bitcast<f32>(${w} << 16u), bitcast<f32>(${w} & 0xffff0000u)`);
    case 'f16':
      return each((w) => `unpack2x16float(${w})`);
    case 'i8':
      return each((w) => `${functionName('wrap_i8', 4)}(bitcast<vec4<i32>>(${bytesOf(w)}))`);
    case 'u8':
      return each(bytesOf);
    case 'bool':
      return each((w) => `(${bytesOf(w)} != vec4<u32>(0u))`);
    default:
      return dtype satisfies never;
  }
}

/** What words of unpacked memory hold. */
export function fromWord(dtype: DType, words: string, lanes = 1): string {
  const value = valueTypes[dtype];
  switch (value) {
    case 'f32':
    case 'i32':
      return `bitcast<${typeOf(dtype, lanes)}>(${words})`;
    case 'u32':
      return words;
    case 'bool':
      return `(${words} != ${wgslType('u32', lanes)}(0u))`;
    default:
      return value satisfies never;
  }
}

/** The word of unpacked memory that holds a value. */
export function storeText({ dtype, place }: Bound, at: string, value: string): string {
  const word = ((): string => {
    switch (valueTypes[dtype]) {
      case 'u32':
        return value;
      case 'bool':
        return `u32(${value})`;
      default:
        return `bitcast<u32>(${value})`;
    }
  })();
  return `${elementAt(place, at, 0)} = ${word};`;
}
