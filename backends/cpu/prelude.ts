// The C functions that printed kernels call: vector types, conversions, arithmetic that C lacks. Each function exists
// per number of lanes (1 is a scalar) and is written once, as text over `Lanes`; a program gets the functions that it
// mentions. f16 and bf16 values are their 16 bits, a bool is 0 or 1, a vector of bools is a mask of 32-bit lanes.
import { baseBytes, baseTypes, convertVector, integerType, typeName } from '../c/types.ts';
import type { Item } from './item.ts';
import { mathFunctions } from './math.ts';
import type { Isa } from './target.ts';
import { tileItems } from './tiles.ts';

/** `a, b, c, …`: one element per lane. */
const perLane = (lanes: number, element: (i: number) => string | number): string =>
  Array.from({ length: lanes }, (_, i) => element(i)).join(', ');

/** `name` applied to each lane; compilers turn it into one instruction where there is one. */
const eachLane = (lanes: number, type: string, name: string, args: readonly string[]): string =>
  lanes === 1
    ? `return ${name}(${args.join(', ')});`
    : `return (${type}){${perLane(lanes, (i) => `${name}(${args.map((a) => `${a}[${i}]`).join(', ')})`)}};`;

function define(result: string, name: string, params: string, body: string): Item {
  return { name, text: `static inline __attribute__((always_inline)) ${result} ${name}(${params}) { ${body} }` };
}

/** Everything that exists for a number of lanes, in an order where callees come first. */
function laneItems(lanes: number, isa: Isa): Item[] {
  return [
    ...(lanes === 1 ? [] : vectorTypes(lanes)),
    ...conversions(lanes, isa),
    ...integerFunctions(lanes),
    ...floatFunctions(lanes),
    ...mathFunctions(lanes),
    ...(lanes === 1 ? [] : acrossFunctions(lanes)),
  ];
}

function vectorTypes(n: number): Item[] {
  const items: Item[] = [];
  for (const base of baseTypes) {
    const bytes = baseBytes[base];
    const type = typeName(base, n);
    items.push({ name: type, text: `typedef ${base} ${type} __attribute__((vector_size(${bytes * n})));` });
    items.push({
      name: `${type}_at`,
      text: `typedef ${base} ${type}_at __attribute__((vector_size(${bytes * n}), aligned(${bytes}), may_alias));`,
    });
    items.push(define(type, `splat_${type}`, `${base} x`, `return (${type}){${perLane(n, () => 'x')}};`));
  }
  for (const base of baseTypes) {
    const type = typeName(base, n);
    for (const [half, start] of [
      ['low', 0],
      ['high', n / 2],
    ] as const) {
      const order = perLane(n, (i) => start + (i >> 1) + (i % 2 === 0 ? 0 : n));
      items.push(
        define(
          type,
          `zip_${half}_${type}`,
          `${type} a, ${type} b`,
          `return SHUFFLE(${integerType(base, n)}, a, b, ${order});`,
        ),
      );
    }
    const body =
      baseBytes[base] === 4
        ? `return (${type})(((i32x${n})a & m) | ((i32x${n})b & ~m));`
        : `${type} w = __builtin_convertvector(m, ${type}); return (a & w) | (b & ~w);`;
    items.push(define(type, `select_${type}`, `i32x${n} m, ${type} a, ${type} b`, body));
  }
  items.push(define(`i32x${n}`, `ramp_${n}`, 'i32 start', `return (i32x${n}){${perLane(n, (i) => i)}} + start;`));
  return items;
}

// ---- conversions ----

// Widening instructions by the size of the source. GCC's own lowering of these goes through halves or single elements.
const widening = [
  { name: 'widen_u16', from: 'u16', to: 'u32', instruction: 'vpmovzxwd' },
  { name: 'widen_u8', from: 'u8', to: 'i32', instruction: 'vpmovzxbd' },
  { name: 'widen_i8', from: 'i8', to: 'i32', instruction: 'vpmovsxbd' },
  { name: 'f32_from_f16', from: 'u16', to: 'f32', instruction: 'vcvtph2ps' },
] as const;

/** Whether the instruction set converts between 32-bit and narrow vectors of `n` lanes by one instruction. */
/** Whether there are instructions for bf16. */
const hasBf16 = (isa: Isa): boolean => isa.needs.includes('avx512_bf16');
const hasNarrow = (isa: Isa, n: number): boolean => isa.name !== 'plain' && n >= 8 && n * 4 <= isa.vectorBytes;

/** Functions from vectors (`NAME_LANES`) and from memory (`load_NAME_LANES`); softened for scalars and plain C. */
function conversions(n: number, isa: Isa): Item[] {
  const items: Item[] = [];
  const fast = hasNarrow(isa, n);
  const f = typeName('f32', n);
  const i = typeName('i32', n);
  const u = typeName('u32', n);
  const h = typeName('u16', n);
  const choose = (c: string, a: string, b: string, type: string): string =>
    n === 1 ? `(${c} ? ${a} : ${b})` : `select_${type}(${c}, ${a}, ${b})`;
  const k = (value: string, type: string): string => (n === 1 ? `(${type})${value}` : `splat_${type}(${value})`);
  items.push(
    n === 1
      ? define('f32', 'float_of_1', 'u32 x', 'f32 r; __builtin_memcpy(&r, &x, 4); return r;')
      : define(f, `float_of_${n}`, `${u} x`, `return (${f})x;`),
    n === 1
      ? define('u32', 'bits_of_1', 'f32 x', 'u32 r; __builtin_memcpy(&r, &x, 4); return r;')
      : define(u, `bits_of_${n}`, `${f} x`, `return (${u})x;`),
  );
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
          `r = ${choose('(w & 0x7c00) == 0x7c00', 'a | 0x7f800000', 'r', u)}; ` +
          `return float_of_${n}(r | ((w & 0x8000) << 16));`;
    items.push(define(to, `${row.name}_${n}`, `${from} x`, body));
    items.push(define(to, `load_${row.name}_${n}`, `const ${row.from} *p`, `return ${row.name}_${n}(*${at});`));
  }
  const narrowTo = (name: string, base: 'u16' | 'u8' | 'i8', source: 'u32' | 'i32', instruction: string): Item => {
    const to = typeName(base, n);
    const from = typeName(source, n);
    const body =
      fast && isa.vectorBytes === 64
        ? `${to} r; __asm__("${instruction} %1, %0" : "=v"(r) : "v"(x)); return r;`
        : `return ${n === 1 ? `(${base})x` : `__builtin_convertvector(x, ${to})`};`;
    return define(to, name, `${from} x`, body);
  };
  items.push(
    narrowTo(`narrow_u16_${n}`, 'u16', 'u32', 'vpmovdw'),
    narrowTo(`narrow_u8_${n}`, 'u8', 'i32', 'vpmovdb'),
    narrowTo(`narrow_i8_${n}`, 'i8', 'i32', 'vpmovdb'),
  );
  // bf16 is the upper half of f32, rounded to nearest even; a NaN stays one.
  items.push(
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
        `return narrow_u16_${n}(${choose('x != x', '(b >> 16) | 0x40', 'r', u)});`,
    ),
  );
  items.push(
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
            `r = ${choose('a < 0x38800000', 'tiny', 'r', u)}; ` +
            `r = ${choose('a >= 0x477ff000', k('0x7c00', u), 'r', u)}; ` +
            `r = ${choose('a > 0x7f800000', k('0x7e00', u), 'r', u)}; ` +
            `return narrow_u16_${n}(r | ((b >> 16) & 0x8000));`,
    ),
  );
  // Float to integer truncates and saturates, and NaN gives 0. The order of the choices decides which of them holds.
  const convert = (type: string): string => (n === 1 ? `(${type})c` : `__builtin_convertvector(c, ${type})`);
  const saturate = (to: 'i32' | 'u32' | 'i64', low: string, high: string, min: string, max: string): Item => {
    const type = typeName(to, n);
    return define(
      type,
      `${to}_from_f32_${n}`,
      `${f} x`,
      `${i} under = x <= ${low}, over = x >= ${high}, inside = (x > ${low}) & (x < ${high}); ` +
        `${f} c = ${choose('inside', 'x', k('0.0f', f), f)}; ` +
        `${type} r = ${convert(type)}; ` +
        `r = ${choose('under', k(min, type), 'r', type)}; ` +
        `return ${choose('over', k(max, type), 'r', type)};`,
    );
  };
  items.push(
    saturate('i32', '-0x1p31f', '0x1p31f', '(-2147483647 - 1)', '2147483647'),
    saturate('u32', '0.0f', '0x1p32f', '0u', '4294967295u'),
    saturate('i64', '-0x1p63f', '0x1p63f', '(-9223372036854775807LL - 1)', '9223372036854775807LL'),
  );
  const clamp = (low: string, high: string): string =>
    `${i} r = i32_from_f32_${n}(x); r = ${choose(`r < ${low}`, k(low, i), 'r', i)}; ` +
    `r = ${choose(`r > ${high}`, k(high, i), 'r', i)};`;
  items.push(
    define(typeName('i8', n), `i8_from_f32_${n}`, `${f} x`, `${clamp('-128', '127')} return narrow_i8_${n}(r);`),
    define(typeName('u8', n), `u8_from_f32_${n}`, `${f} x`, `${clamp('0', '255')} return narrow_u8_${n}(r);`),
  );
  return items;
}

// ---- arithmetic ----

function integerFunctions(n: number): Item[] {
  const items: Item[] = [];
  for (const base of ['i8', 'u8', 'i32', 'u32', 'i64'] as const) {
    const type = typeName(base, n);
    const signed = base.startsWith('i');
    const bits = baseBytes[base] * 8;
    const two = `${type} a, ${type} b`;
    if (n === 1) {
      // Division never traps: by zero it gives 0 (and the remainder is the dividend); the minimum by -1 wraps.
      const minusOne = (value: string): string => (signed ? `b == -1 ? ${value} : ` : '');
      const negated = base === 'i8' ? '(i8)-a' : '-a';
      items.push(
        define(type, `div_${type}`, two, `return b == 0 ? 0 : ${minusOne(negated)}a / b;`),
        define(type, `rem_${type}`, two, `return b == 0 ? a : ${minusOne('0')}a % b;`),
        define(type, `shl_${type}`, two, `return (${base})(a << (b & ${bits - 1}));`),
        define(type, `shr_${type}`, two, `return (${base})(a >> (b & ${bits - 1}));`),
        define(type, `max_${type}`, two, 'return a > b ? a : b;'),
        define(type, `min_${type}`, two, 'return a < b ? a : b;'),
      );
      continue;
    }
    const mask = baseBytes[base] === 4 ? (c: string) => `(${c})` : (c: string) => convertVector(`(${c})`, 'i32', n);
    items.push(
      define(type, `div_${type}`, two, eachLane(n, type, `div_${base}`, ['a', 'b'])),
      define(type, `rem_${type}`, two, eachLane(n, type, `rem_${base}`, ['a', 'b'])),
      define(type, `shl_${type}`, two, `return a << (b & ${bits - 1});`),
      define(type, `shr_${type}`, two, `return a >> (b & ${bits - 1});`),
      define(type, `max_${type}`, two, `return select_${type}(${mask('a > b')}, a, b);`),
      define(type, `min_${type}`, two, `return select_${type}(${mask('a < b')}, a, b);`),
    );
  }
  if (n === 1) {
    // Index arithmetic is on non-negative numbers, where unsigned division is the cheaper one.
    items.push(
      define('ix', 'div_index', 'ix a, ix b', 'return b == 0 ? 0 : (ix)((u64)a / (u64)b);'),
      define('ix', 'rem_index', 'ix a, ix b', 'return b == 0 ? a : (ix)((u64)a % (u64)b);'),
    );
  }
  return items;
}

function floatFunctions(n: number): Item[] {
  const f = typeName('f32', n);
  const one = `${f} x`;
  const two = `${f} a, ${f} b`;
  const orNaN = n === 1 ? '||' : '|';
  const choose = (c: string): string => (n === 1 ? `(${c}) ? a : b` : `select_${f}(${c}, a, b)`);
  const each = (name: string, builtin: string): Item => define(f, `${name}_${f}`, one, eachLane(n, f, builtin, ['x']));
  return [
    each('floor', '__builtin_floorf'),
    each('round', '__builtin_rintf'),
    each('sqrt', '__builtin_sqrtf'),
    each('sin', '__builtin_sinf'),
    each('cos', '__builtin_cosf'),
    define(f, `rsqrt_${f}`, one, `return 1.0f / sqrt_${f}(x);`),
    define(f, `pow_${f}`, two, eachLane(n, f, '__builtin_powf', ['a', 'b'])),
    define(f, `rem_${f}`, two, eachLane(n, f, '__builtin_fmodf', ['a', 'b'])),
    define(f, `max_${f}`, two, `return ${choose(`(a > b) ${orNaN} (a != a)`)};`),
    define(f, `min_${f}`, two, `return ${choose(`(a < b) ${orNaN} (a != a)`)};`),
  ];
}

/** All lanes combined into a scalar, by halves. */
function acrossFunctions(n: number): Item[] {
  const items: Item[] = [];
  for (const base of baseTypes) {
    if (base === 'u16') continue;
    const type = typeName(base, n);
    for (const op of ['add', 'max', 'min'] as const) {
      const combine = (b: string): string => (op === 'add' ? `v + ${b}` : `${op}_${type}(v, ${b})`);
      let body = '';
      for (let half = n / 2; half >= 1; half /= 2) {
        body += `v = ${combine(`SHUFFLE(${integerType(base, n)}, v, v, ${perLane(n, (i) => (i % half) + (i % (2 * half) < half ? half : 0))})`)}; `;
      }
      items.push(define(base, `across_${op}_${type}`, `${type} v`, `${body}return v[0];`));
    }
  }
  return items;
}

const compilerMacros = `
#ifdef __clang__
#define SIMD _Pragma("clang loop vectorize(assume_safety)")
#define SHUFFLE(order, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SIMD _Pragma("GCC ivdep")
#define SHUFFLE(order, a, b, ...) __builtin_shuffle(a, b, (order){__VA_ARGS__})
#endif
`;

/** The prelude of a text that uses vectors of `lanes` elements: types, and the functions it mentions. */
export function prelude(text: string, lanes: Iterable<number>, isa: Isa): string {
  const counts = [1, ...[...lanes].filter((n) => n > 1).sort((a, b) => a - b)];
  const all = [...counts.flatMap((n) => laneItems(n, isa)), ...tileItems];
  const mentioned = new Set(text.match(/\w+/g));
  const kept: string[] = [];
  for (const item of all.reverse()) {
    if (!mentioned.has(item.name)) continue;
    for (const word of item.text.match(/\w+/g) ?? []) mentioned.add(word);
    kept.push(item.text);
  }
  return `${compilerMacros}${kept.reverse().join('\n')}\n`;
}
