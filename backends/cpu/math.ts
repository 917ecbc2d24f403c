// exp, log, tanh and erf of f32, as branch-free C for scalars and vectors alike, so that loops over them vectorise.
// All reduce the argument and evaluate a minimax polynomial (fitted for this file in multiple precision by the Remez
// exchange); errors are below 2 units in the last place. Infinities, NaN, signed zeros and subnormals come out as IEEE
// arithmetic would have them.
import type { Item } from './item.ts';

/** c[0] + c[1] x + … by Horner's rule. */
const polynomial = (x: string, c: readonly string[]): string =>
  c.slice(0, -1).reduceRight((sum, ci) => `(${sum} * ${x} + ${ci})`, c[c.length - 1]);

// (e^r - 1 - r) / r² on |r| <= ln2 / 2
const expTail = ['0x1.fffffcp-2f', '0x1.55548ap-3f', '0x1.555916p-5f', '0x1.123fc6p-7f', '0x1.6a1a72p-10f'];
// (ln(1 + f) - f + f² / 2) / f³ on sqrt(1/2) <= 1 + f <= sqrt(2)
const logTail = [
  ...['0x1.555546p-2f', '-0x1.ffffecp-3f', '0x1.99a574p-3f', '-0x1.55637ap-3f', '0x1.232ee2p-3f'],
  ...['-0x1.fb2868p-4f', '0x1.e67656p-4f', '-0x1.e3a2e2p-4f', '0x1.1bc8fcp-4f'],
];
// (tanh(x) / x - 1) / x² in x² on |x| <= 0.63
const tanhNear = [
  '-0x1.555554p-2f',
  '0x1.11105ep-3f',
  '-0x1.b9ecf2p-5f',
  '0x1.6377ecp-6f',
  '-0x1.0b8d4ap-7f',
  '0x1.174d52p-9f',
];
// erf(x) / x - 1 in x² on |x| <= 0.95
const erfNear = [
  ...['0x1.06eba8p-3f', '-0x1.812742p-2f', '0x1.ce2de2p-4f', '-0x1.b80b0ep-6f'],
  ...['0x1.54a492p-8f', '-0x1.a8fc6ep-11f', '0x1.58947ap-14f'],
];
// ln(1 - erf(x)) on 0.9 <= x <= 3.95
const erfFar = [
  ...['0x1.62d888p-13f', '-0x1.212626p+0f', '-0x1.444d1ep-1f', '-0x1.bb4548p-4f'],
  ...['0x1.9aebaep-6f', '-0x1.10624ep-8f', '0x1.c4590ap-12f', '-0x1.5d71d0p-16f'],
];

// ln2 as a short number, whose multiples by an exponent are exact, and the rest.
const ln2High = '0x1.63p-1f';
const ln2Low = '-0x1.bd0106p-13f';
// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
const shifter = '0x1.8p23f';

/** The functions for vectors of `n` lanes, or for scalars. */
export function mathFunctions(n: number): Item[] {
  const f = n === 1 ? 'f32' : `f32x${n}`;
  const i = n === 1 ? 'i32' : `i32x${n}`;
  const u = n === 1 ? 'u32' : `u32x${n}`;
  const value = (c: string): string => (n === 1 ? c : `splat_${f}(${c})`);
  const choose = (c: string, a: string, b: string): string =>
    n === 1 ? `(${c} ? ${a} : ${b})` : `select_${f}(${c}, ${a}, ${b})`;
  const floatOf = (x: string): string => `float_of_${n}((${u})(${x}))`;
  const bitsOf = (x: string): string => `(${i})bits_of_${n}(${x})`;
  const toFloat = (x: string): string => (n === 1 ? `(f32)${x}` : `__builtin_convertvector(${x}, ${f})`);
  const copySign = (x: string, sign: string): string =>
    floatOf(`(${bitsOf(x)} & 0x7fffffff) | (${bitsOf(sign)} & (-0x7fffffff - 1))`);
  const magnitude = (x: string): string => floatOf(`${bitsOf(x)} & 0x7fffffff`);
  const define = (name: string, body: string): Item => ({
    name: `${name}_${f}`,
    text: `static inline __attribute__((always_inline)) ${f} ${name}_${f}(${f} x) {\n${body}}`,
  });
  // c = k ln2 + r with integral k and |r| <= ln2 / 2; p = e^r - 1
  const reduce = `  ${f} t = c * 0x1.715476p+0f + ${shifter}, w = t - ${shifter};
  ${i} k = ${bitsOf('t')} - 0x4b400000;
  ${f} r = c - w * ${ln2High};
  r = r - w * ${ln2Low};
  ${f} p = r * r * ${polynomial('r', expTail)} + r;
`;
  return [
    // Scaling in two steps keeps both factors in range when the result is subnormal or overflows.
    define(
      'exp',
      `  ${f} c = ${choose('x > 89.0f', value('89.0f'), 'x')};
  c = ${choose('c < -104.0f', value('-104.0f'), 'c')};
${reduce}  ${i} h = k >> 1;
  return (p + 1.0f) * ${floatOf('(h + 127) << 23')} * ${floatOf('(k - h + 127) << 23')};
`,
    ),
    define(
      'log',
      `  ${i} tiny = x < 0x1p-126f;
  ${i} b = ${bitsOf(choose('tiny', 'x * 0x1p23f', 'x'))};
  ${i} k = (b - 0x3f3504f3) >> 23;
  ${f} e = ${toFloat('k')} - ${choose('tiny', value('23.0f'), value('0.0f'))};
  ${f} m = ${floatOf('b - (k << 23)')} - 1.0f, s = m * m;
  ${f} y = s * m * ${polynomial('m', logTail)} + e * ${ln2Low};
  y = y - s * 0.5f;
  y = m + y + e * ${ln2High};
  y = ${choose('x < __builtin_inff()', 'y', 'x')};
  y = ${choose('x < 0.0f', value('__builtin_nanf("")'), 'y')};
  return ${choose('x == 0.0f', value('-__builtin_inff()'), 'y')};
`,
    ),
    // Far from 0, tanh x = e / (e + 2) with e = e^2x - 1 = 2^k p + (2^k - 1).
    define(
      'tanh',
      `  ${f} a = ${magnitude('x')}, z = x * x;
  ${f} near = x * z * ${polynomial('z', tanhNear)} + x;
  ${f} c = ${choose('a > 10.0f', value('20.0f'), 'a + a')};
${reduce}  ${f} s = ${floatOf('(k + 127) << 23')};
  ${f} e = s * p + (s - 1.0f);
  return ${choose('a < 0.6f', 'near', copySign('e / (e + 2.0f)', 'x'))};
`,
    ),
    define(
      'erf',
      `  ${f} a = ${magnitude('x')}, z = x * x;
  ${f} near = x * ${polynomial('z', erfNear)} + x;
  ${f} c = ${choose('a > 4.0f', value('4.0f'), 'a')};
  ${f} far = 1.0f - exp_${f}(${polynomial('c', erfFar)});
  return ${choose('a < 0.92f', 'near', copySign('far', 'x'))};
`,
    ),
  ];
}
