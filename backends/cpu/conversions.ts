// Conversions between types in the C that CPU kernels begin with: functions of vectors (`NAME_LANES`) and of memory
// (`load_NAME_LANES`). By instructions where the machine has them for so many lanes, else in C that compilers vectorise.
import { typeName } from '../c/types.ts';
import { define, type Item } from './item.ts';
import type { Isa } from './target.ts';

// Widening instructions by the size of the source. GCC's own lowering of these goes through halves or single elements.
const widening = [
  { name: 'widen_u16', from: 'u16', to: 'u32', instruction: 'vpmovzxwd' },
  { name: 'widen_u8', from: 'u8', to: 'i32', instruction: 'vpmovzxbd' },
  { name: 'widen_i8', from: 'i8', to: 'i32', instruction: 'vpmovsxbd' },
  { name: 'f32_from_f16', from: 'u16', to: 'f32', instruction: 'vcvtph2ps' },
] as const;

/** Whether there are instructions for bf16. */
const hasBf16 = (isa: Isa): boolean => isa.needs.includes('avx512_bf16');
/** Whether one instruction converts between 32-bit and narrow vectors of `n` lanes. */
const hasNarrow = (isa: Isa, n: number): boolean => isa.name !== 'plain' && n >= 8 && n * 4 <= isa.vectorBytes;

/** What the functions for vectors of `n` lanes are written with. */
class Lanes {
  readonly fast: boolean;
  readonly f: string;
  readonly i: string;
  readonly u: string;
  /** 16 bits: what f16 and bf16 are stored as. */
  readonly h: string;

  constructor(
    readonly n: number,
    readonly isa: Isa,
  ) {
    this.fast = hasNarrow(isa, n);
    [this.f, this.i, this.u, this.h] = (['f32', 'i32', 'u32', 'u16'] as const).map((base) => typeName(base, n));
  }

  choose(condition: string, a: string, b: string, type: string): string {
    return this.n === 1 ? `(${condition} ? ${a} : ${b})` : `select_${type}(${condition}, ${a}, ${b})`;
  }
  constant(value: string, type: string): string {
    return this.n === 1 ? `(${type})${value}` : `splat_${type}(${value})`;
  }
}

/** All conversions of vectors of `n` lanes. */
export function conversions(n: number, isa: Isa): Item[] {
  const lanes = new Lanes(n, isa);
  return [...bitCasts(lanes), ...widen(lanes), ...narrow(lanes), ...roundings(lanes), ...saturations(lanes)];
}

/** Floats as their bits, and back. */
function bitCasts(lanes: Lanes): Item[] {
  const { n, f, u } = lanes;
  return [
    n === 1
      ? define('f32', 'float_of_1', 'u32 x', 'f32 r; __builtin_memcpy(&r, &x, 4); return r;')
      : define(f, `float_of_${n}`, `${u} x`, `return (${f})x;`),
    n === 1
      ? define('u32', 'bits_of_1', 'f32 x', 'u32 r; __builtin_memcpy(&r, &x, 4); return r;')
      : define(u, `bits_of_${n}`, `${f} x`, `return (${u})x;`),
  ];
}

/** Narrow integers and f16 to 32 bits, of values and from memory. */
function widen(lanes: Lanes): Item[] {
  const { n, fast, u } = lanes;
  const items: Item[] = [];
  for (const row of widening) {
    const from = typeName(row.from, n);
    const to = typeName(row.to, n);
    const at = n === 1 ? 'p' : `(const ${from}_at *)p`;
    if (fast) {
      const convert = (operand: string): string =>
        `${to} r; __asm__("${row.instruction} %1, %0" : "=v"(r) : ${operand}); return r;`;
      items.push(define(to, `${row.name}_${n}`, `${from} x`, convert('"v"(x)')));
      items.push(define(to, `load_${row.name}_${n}`, `const ${row.from} *p`, convert(`"m"(*${at})`)));
      continue;
    }
    const body =
      row.name !== 'f32_from_f16'
        ? `return ${n === 1 ? '(u32)x' : `__builtin_convertvector(x, ${to})`};`.replace('(u32)x', `(${row.to})x`)
        : // A normal or subnormal f16 is its fraction and exponent moved up, times 2^112; infinity and NaN keep theirs.
          `${u} w = widen_u16_${n}(x), a = (w & 0x7fff) << 13; ` +
          `${u} r = bits_of_${n}(float_of_${n}(a) * 0x1p112f); ` +
          `r = ${lanes.choose('(w & 0x7c00) == 0x7c00', 'a | 0x7f800000', 'r', u)}; ` +
          `return float_of_${n}(r | ((w & 0x8000) << 16));`;
    items.push(define(to, `${row.name}_${n}`, `${from} x`, body));
    items.push(define(to, `load_${row.name}_${n}`, `const ${row.from} *p`, `return ${row.name}_${n}(*${at});`));
  }
  return items;
}

/** 32-bit integers to narrow ones. */
function narrow(lanes: Lanes): Item[] {
  const { n, isa, fast } = lanes;
  const narrowTo = (name: string, base: 'u16' | 'u8' | 'i8', source: 'u32' | 'i32', instruction: string): Item => {
    const to = typeName(base, n);
    const from = typeName(source, n);
    const body =
      fast && isa.vectorBytes === 64
        ? `${to} r; __asm__("${instruction} %1, %0" : "=v"(r) : "v"(x)); return r;`
        : `return ${n === 1 ? `(${base})x` : `__builtin_convertvector(x, ${to})`};`;
    return define(to, name, `${from} x`, body);
  };
  return [
    narrowTo(`narrow_u16_${n}`, 'u16', 'u32', 'vpmovdw'),
    narrowTo(`narrow_u8_${n}`, 'u8', 'i32', 'vpmovdb'),
    narrowTo(`narrow_i8_${n}`, 'i8', 'i32', 'vpmovdb'),
  ];
}

/** Between f32 and the narrow floats. */
function roundings(lanes: Lanes): Item[] {
  const { n, isa, fast, f, u, h } = lanes;
  // bf16 is the upper half of f32, rounded to nearest even; a NaN stays one.
  return [
    define(f, `f32_from_bf16_${n}`, `${h} x`, `return float_of_${n}(widen_u16_${n}(x) << 16);`),
    define(f, `load_f32_from_bf16_${n}`, 'const u16 *p', `return float_of_${n}(load_widen_u16_${n}(p) << 16);`),
    define(
      h,
      `bf16_from_f32_${n}`,
      `${f} x`,
      (fast && hasBf16(isa)
        ? // The instruction takes numbers below the normal ones for 0
          `u16 tiny; __asm__("vfpclassps $0x20, %1, %%k1; kmovw %%k1, %k0" : "=r"(tiny) : "v"(x) : "k1"); ` +
          `if (!tiny) { ${h} r; __asm__("vcvtneps2bf16 %1, %0" : "=v"(r) : "v"(x)); return r; } `
        : '') +
        `${u} b = bits_of_${n}(x), r = (b + 0x7fff + ((b >> 16) & 1)) >> 16; ` +
        `return narrow_u16_${n}(${lanes.choose('x != x', '(b >> 16) | 0x40', 'r', u)});`,
    ),
    define(
      h,
      `f16_from_f32_${n}`,
      `${f} x`,
      fast
        ? `${h} r; __asm__("vcvtps2ph $0, %1, %0" : "=v"(r) : "v"(x)); return r;`
        : // Subnormal results: adding 0.5 rounds to a multiple of 2^-24. The others: to nearest even in integers.
          `${u} b = bits_of_${n}(x), a = b & 0x7fffffff; ` +
            `${u} tiny = bits_of_${n}(float_of_${n}(a) + 0.5f) - 0x3f000000; ` +
            `${u} r = (a + 0xfff + ((a >> 13) & 1) - 0x38000000) >> 13; ` +
            `r = ${lanes.choose('a < 0x38800000', 'tiny', 'r', u)}; ` +
            `r = ${lanes.choose('a >= 0x477ff000', lanes.constant('0x7c00', u), 'r', u)}; ` +
            `r = ${lanes.choose('a > 0x7f800000', lanes.constant('0x7e00', u), 'r', u)}; ` +
            `return narrow_u16_${n}(r | ((b >> 16) & 0x8000));`,
    ),
  ];
}

/** Floats to integers. */
function saturations(lanes: Lanes): Item[] {
  const { n, f, i } = lanes;
  // Float to integer truncates and saturates, and NaN gives 0. The order of the choices decides which of them holds.
  const convert = (type: string): string => (n === 1 ? `(${type})c` : `__builtin_convertvector(c, ${type})`);
  const saturate = (to: 'i32' | 'u32' | 'i64', low: string, high: string, min: string, max: string): Item => {
    const type = typeName(to, n);
    return define(
      type,
      `${to}_from_f32_${n}`,
      `${f} x`,
      `${i} under = x <= ${low}, over = x >= ${high}, inside = (x > ${low}) & (x < ${high}); ` +
        `${f} c = ${lanes.choose('inside', 'x', lanes.constant('0.0f', f), f)}; ` +
        `${type} r = ${convert(type)}; ` +
        `r = ${lanes.choose('under', lanes.constant(min, type), 'r', type)}; ` +
        `return ${lanes.choose('over', lanes.constant(max, type), 'r', type)};`,
    );
  };
  const wide = [
    saturate('i32', '-0x1p31f', '0x1p31f', '(-2147483647 - 1)', '2147483647'),
    saturate('u32', '0.0f', '0x1p32f', '0u', '4294967295u'),
    saturate('i64', '-0x1p63f', '0x1p63f', '(-9223372036854775807LL - 1)', '9223372036854775807LL'),
  ];
  const clamp = (low: string, high: string): string =>
    `${i} r = i32_from_f32_${n}(x); r = ${lanes.choose(`r < ${low}`, lanes.constant(low, i), 'r', i)}; ` +
    `r = ${lanes.choose(`r > ${high}`, lanes.constant(high, i), 'r', i)};`;
  return [
    ...wide,
    define(typeName('i8', n), `i8_from_f32_${n}`, `${f} x`, `${clamp('-128', '127')} return narrow_i8_${n}(r);`),
    define(typeName('u8', n), `u8_from_f32_${n}`, `${f} x`, `${clamp('0', '255')} return narrow_u8_${n}(r);`),
  ];
}
