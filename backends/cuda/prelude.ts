// The functions that printed CUDA C calls, for scalars only: a vector is printed lane by lane. The names are those that
// the C backend's scalar operations have (c/scalar.ts), so one table says which operation is an operator and which a
// function. A program gets the functions that it mentions. What only PTX can say comes under __CUDACC__; the emulation
// in the tests gives those few names their meaning in C. The text is C and C++ alike.
import { typedefs } from '../c/types.ts';
import { tileFunctions, tileInstructions } from './tiles.ts';

/** A named piece of C, kept if something that is kept mentions its name. */
interface Item {
  readonly name: string;
  readonly text: string;
}

// Instructions that the language has no expression for; kernels use these names and no other asm.
const instructions = `
#ifdef __CUDACC__
#define KERNEL(threads) extern "C" __global__ __launch_bounds__(threads) void
#define DEVICE static __device__ __forceinline__
DEVICE f32 f32_from_f16_1(u16 x) { f32 r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x)); return r; }
DEVICE u16 f16_from_f32_1(f32 x) { u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r; }
DEVICE u16 bf16_from_f32_1(f32 x) { u16 r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r; }
DEVICE void prefetch(const void *p) { asm volatile("prefetch.global.L2 [%0];" : : "l"(p)); }
#endif
`;

const instructionItems = tileInstructions.map(({ name, text }): Item => {
  return { name, text: `#ifdef __CUDACC__\n${text}\n#endif` };
});

const define = (result: string, name: string, params: string, body: string): Item => ({
  name,
  text: `DEVICE ${result} ${name}(${params}) { ${body} }`,
});

function conversions(): Item[] {
  // Float to integer truncates and saturates, and NaN gives 0: the hardware's conversion for 32 bits and up.
  const saturate = (to: string, low: string, high: string, min: string, max: string): Item =>
    define(
      to,
      `${to}_from_f32_1`,
      'f32 x',
      `return x >= ${high} ? ${max} : x <= ${low} ? ${min} : x == x ? (${to})x : (${to})0;`,
    );
  const narrow = (to: string, low: number, high: number): Item =>
    define(
      to,
      `${to}_from_f32_1`,
      'f32 x',
      `return (${to})(x >= ${high}.0f ? ${high} : x <= ${low}.0f ? ${low} : x == x ? (i32)x : 0);`,
    );
  return [
    define('f32', 'float_of_1', 'u32 x', 'return __uint_as_float(x);'),
    define('u32', 'bits_of_1', 'f32 x', 'return __float_as_uint(x);'),
    define('f32', 'f32_from_bf16_1', 'u16 x', 'return __uint_as_float((u32)x << 16);'),
    saturate('i32', '-0x1p31f', '0x1p31f', '(-2147483647 - 1)', '2147483647'),
    saturate('u32', '0.0f', '0x1p32f', '0u', '4294967295u'),
    saturate('i64', '-0x1p63f', '0x1p63f', '(-9223372036854775807LL - 1)', '9223372036854775807LL'),
    narrow('i8', -128, 127),
    narrow('u8', 0, 255),
  ];
}

function integerFunctions(): Item[] {
  const items: Item[] = [];
  const rows = [['i8', 8], ['u8', 8], ['i32', 32], ['u32', 32], ['i64', 64]] as const; // biome-ignore format: one row
  for (const [type, bits] of rows) {
    const two = `${type} a, ${type} b`;
    // Division never traps: by zero it gives 0 (and the remainder is the dividend); the minimum by -1 wraps.
    const minusOne = (value: string): string => (type.startsWith('i') ? `b == -1 ? (${type})(${value}) : ` : '');
    const negated = type === 'i8' ? '-a' : type === 'i64' ? '0 - (u64)a' : '0 - (u32)a';
    items.push(
      define(type, `div_${type}`, two, `return b == 0 ? (${type})0 : ${minusOne(negated)}(${type})(a / b);`),
      define(type, `rem_${type}`, two, `return b == 0 ? a : ${minusOne('0')}(${type})(a % b);`),
      define(type, `shl_${type}`, two, `return (${type})((${bits === 64 ? 'u64' : 'u32'})a << (b & ${bits - 1}));`),
      define(type, `shr_${type}`, two, `return (${type})(a >> (b & ${bits - 1}));`),
      define(type, `max_${type}`, two, 'return a > b ? a : b;'),
      define(type, `min_${type}`, two, 'return a < b ? a : b;'),
    );
  }
  // Index arithmetic is on non-negative numbers, where unsigned division is the cheaper one
  for (const [type, unsigned] of [
    ['i32', 'u32'],
    ['i64', 'u64'],
  ] as const) {
    // biome-ignore format: one row
    const two = `${type} a, ${type} b`;
    items.push(
      define(type, `div_index_${type}`, two, `return b == 0 ? 0 : (${type})((${unsigned})a / (${unsigned})b);`),
      define(type, `rem_index_${type}`, two, `return b == 0 ? a : (${type})((${unsigned})a % (${unsigned})b);`),
    );
  }
  return items;
}

/** CUDA's single-precision functions are within 2 units in the last place and follow IEEE in special cases. */
function floatFunctions(): Item[] {
  const unary = {
    floor: 'floorf', round: 'rintf', exp: 'expf', log: 'logf', sin: 'sinf', cos: 'cosf', tanh: 'tanhf', erf: 'erff', sqrt: 'sqrtf',
  }; // biome-ignore format: one row
  return [
    ...Object.entries(unary).map(([op, name]) => define('f32', `${op}_f32`, 'f32 x', `return ${name}(x);`)),
    define('f32', 'rsqrt_f32', 'f32 x', 'return 1.0f / sqrtf(x);'),
    define('f32', 'pow_f32', 'f32 a, f32 b', 'return powf(a, b);'),
    define('f32', 'rem_f32', 'f32 a, f32 b', 'return fmodf(a, b);'),
    define('f32', 'max_f32', 'f32 a, f32 b', 'return a > b || a != a ? a : b;'),
    define('f32', 'min_f32', 'f32 a, f32 b', 'return a < b || a != a ? a : b;'),
  ];
}

/** Types that a group can reduce: bool and the 16-bit floats are widened by the printer. */
export const reduceTypes = ['f32', 'i32', 'u32', 'i64'] as const;
export type ReduceType = (typeof reduceTypes)[number];

/** Threads of a run that combine values within a warp. */
export const runWidths: readonly number[] = [1, 2, 4, 8, 16, 32];

/**
 * A value of every thread combined over runs of threads by exchange of registers; and over the block: within warps, then
 * over the warps through shared memory. All do so in the same order, so that all get the same bits.
 */
function groupFunctions(threads: number): Item[] {
  const items: Item[] = [];
  const warps = threads / 32;
  for (const type of reduceTypes) {
    for (const op of ['add', 'max', 'min'] as const) {
      const combine = (a: string, b: string): string => (op === 'add' ? `${a} + ${b}` : `${op}_${type}(${a}, ${b})`);
      items.push(
        define(
          type,
          `run_${op}_${type}`,
          `${type} x, i32 width`,
          `for (i32 half = width / 2; half > 0; half /= 2) { const ${type} y = __shfl_xor_sync(0xffffffffu, x, half); x = ${combine('x', 'y')}; }\n  return x;`,
        ),
        define(
          type,
          `group_${op}_${type}`,
          `${type} x`,
          `__shared__ ${type} parts[${warps}];\n  x = run_${op}_${type}(x, 32);\n` +
            `  __syncthreads();\n  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;\n  __syncthreads();\n` +
            `  x = parts[0];\n  for (i32 i = 1; i < ${warps}; i++) x = ${combine('x', 'parts[i]')};\n  return x;`,
        ),
      );
    }
  }
  return items;
}

/** The prelude of `text`: types, instructions, and the functions it mentions. */
export function prelude(text: string, groupThreads: number): string {
  const all = [
    ...instructionItems,
    ...tileFunctions,
    ...conversions(),
    ...integerFunctions(),
    ...floatFunctions(),
    ...groupFunctions(groupThreads),
  ];
  const mentioned = new Set(text.match(/\w+/g));
  const kept: string[] = [];
  for (const item of all.reverse()) {
    if (!mentioned.has(item.name)) continue;
    for (const word of item.text.match(/\w+/g) ?? []) mentioned.add(word);
    kept.push(item.text);
  }
  return `${typedefs}${instructions}${kept.reverse().join('\n')}\n`;
}
