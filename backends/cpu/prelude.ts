// The C functions that printed kernels call: vector types, conversions, arithmetic that C lacks. Each function exists
// per number of lanes (1 is a scalar) and is written once, as text over `Lanes`; a program gets the functions that it
// mentions. f16 and bf16 values are their 16 bits, a bool is 0 or 1, a vector of bools is a mask of 32-bit lanes.
import { baseBytes, baseTypes, convertVector, integerType, typeName } from '../c/types.ts';
import { conversions } from './conversions.ts';
import { define, type Item } from './item.ts';
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
