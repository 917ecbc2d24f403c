// WGSL functions that printed kernels call, each written once for scalars; a version for vectors applies it lane by lane
// and is made on demand. A kernel gets the functions that it mentions. They exist where WGSL leaves open what the loop IR
// defines: NaN and infinity (an implementation may assume that there are none, and compares x != x as false), conversions
// that saturate, rounding to 16 bits, and functions whose error bounds are too wide (log, sin, cos, tanh, erf, pow).

interface Item {
  readonly name: string;
  readonly text: string;
}

interface Fn {
  readonly params: readonly string[];
  readonly result: string;
  readonly body: string;
}

/** c[0] + c[1] x + … by Horner's rule. */
const polynomial = (x: string, c: readonly (string | number)[]): string =>
  c
    .slice(0, -1)
    .map(String)
    .reduceRight((sum, ci) => `(${sum} * ${x} + ${ci})`, String(c[c.length - 1]));

// The polynomials of backends/cpu/math.ts.
const logTail = [
  ...['0x1.555546p-2f', '-0x1.ffffecp-3f', '0x1.99a574p-3f', '-0x1.55637ap-3f', '0x1.232ee2p-3f'],
  ...['-0x1.fb2868p-4f', '0x1.e67656p-4f', '-0x1.e3a2e2p-4f', '0x1.1bc8fcp-4f'],
];
const tanhNear = [
  ...['-0x1.555554p-2f', '0x1.11105ep-3f', '-0x1.b9ecf2p-5f', '0x1.6377ecp-6f', '-0x1.0b8d4ap-7f', '0x1.174d52p-9f'],
];
const erfNear = [
  ...['0x1.06eba8p-3f', '-0x1.812742p-2f', '0x1.ce2de2p-4f', '-0x1.b80b0ep-6f'],
  ...['0x1.54a492p-8f', '-0x1.a8fc6ep-11f', '0x1.58947ap-14f'],
];
const erfFar = [
  ...['0x1.62d888p-13f', '-0x1.212626p+0f', '-0x1.444d1ep-1f', '-0x1.bb4548p-4f'],
  ...['0x1.9aebaep-6f', '-0x1.10624ep-8f', '0x1.c4590ap-12f', '-0x1.5d71d0p-16f'],
];
// (e^r - 1 - r) / r² on |r| <= ln2 / 2
const expTail = ['0x1.fffffcp-2f', '0x1.55548ap-3f', '0x1.555916p-5f', '0x1.123fc6p-7f', '0x1.6a1a72p-10f'];
const sinTail = [-1 / 6, 1 / 120, -1 / 5040, 1 / 362880];
const cosTail = [-1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800];

/** pi / 2 as a sum of short numbers, whose multiples by integers below 2^17 are exact, and a rest. */
const halfPi = (() => {
  const parts: number[] = [];
  let rest = Math.PI / 2;
  for (let i = 0; i < 4; i++) {
    const unit = 2 ** (Math.floor(Math.log2(rest)) - 6);
    const part = Math.floor(rest / unit) * unit;
    parts.push(part);
    rest -= part;
  }
  return [...parts, rest];
})();

const unaryFloat = (body: string): Fn => ({ params: ['f32'], result: 'f32', body });
const binaryFloat = (body: string): Fn => ({ params: ['f32', 'f32'], result: 'f32', body });

const functions: Record<string, Fn> = {
  bits_to_f32: { params: ['u32'], result: 'f32', body: 'return bitcast<f32>(a);' },
  is_nan: {
    params: ['f32'],
    result: 'bool',
    body: 'return (bitcast<u32>(a) & 0x7fffffffu) > 0x7f800000u;',
  },
  max_f32: binaryFloat('return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));'),
  min_f32: binaryFloat('return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));'),
  subgroup_max_f32: unaryFloat('return select(subgroupMax(a), bits_to_f32(0x7fc00000u), subgroupAny(is_nan(a)));'),
  subgroup_min_f32: unaryFloat('return select(subgroupMin(a), bits_to_f32(0x7fc00000u), subgroupAny(is_nan(a)));'),
  // The remainder of truncated division; quotients beyond 2^24 are reduced step by step.
  rem_f32: binaryFloat(`let y = abs(b);
  var x = abs(a);
  if (is_nan(a) || is_nan(b) || y == 0.0 || x > 3.4028234e38) { return bits_to_f32(0x7fc00000u); }
  if (y > 3.4028234e38) { return a; }
  for (var i = 0; i < 300 && x >= y; i++) {
    let e = i32((bitcast<u32>(x) >> 23u) & 255u) - i32((bitcast<u32>(y) >> 23u) & 255u);
    var s = y;
    if (e > 0) { s = ldexp(y, e); if (s > x) { s = ldexp(y, e - 1); } }
    x = x - s;
  }
  return select(x, -x, (bitcast<u32>(a) >> 31u) == 1u);`),
  exp_f32: unaryFloat(`let c = clamp(a, -104.0, 89.0);
  let k = round(c * 0x1.715476p+0f);
  let r = (c - k * 0x1.63p-1f) + k * 0x1.bd0106p-13f;
  let p = (r * r * ${polynomial('r', expTail)} + r) + 1.0;
  let h = i32(k) >> 1u;
  let e = p * bitcast<f32>((h + 127) << 23u) * bitcast<f32>((i32(k) - h + 127) << 23u);
  return select(e, a, is_nan(a));`),
  log_f32: unaryFloat(`let tiny = a < 0x1p-126f;
  let b = bitcast<i32>(select(a, a * 0x1p23f, tiny));
  let k = (b - 0x3f3504f3) >> 23u;
  let e = f32(k) - select(0.0, 23.0, tiny);
  let m = bitcast<f32>(b - (k << 23u)) - 1.0;
  let s = m * m;
  var y = s * m * ${polynomial('m', logTail)} + e * -0x1.bd0106p-13f;
  y = m + (y - s * 0.5) + e * 0x1.63p-1f;
  if (a == 0.0) { return bits_to_f32(0xff800000u); }
  if (a < 0.0 || is_nan(a)) { return bits_to_f32(0x7fc00000u); }
  return select(y, a, a > 3.4028234e38);`),
  tanh_f32: unaryFloat(`let x = abs(a);
  let z = a * a;
  if (x < 0.6) { return a * z * ${polynomial('z', tanhNear)} + a; }
  if (is_nan(a)) { return a; }
  let e = exp_f32(min(x, 10.0) * 2.0);
  return sign(a) * (1.0 - 2.0 / (e + 1.0));`),
  erf_f32: unaryFloat(`let x = abs(a);
  let z = a * a;
  if (x < 0.92) { return a * ${polynomial('z', erfNear)} + a; }
  if (is_nan(a)) { return a; }
  let c = min(x, 4.0);
  return sign(a) * (1.0 - exp_f32(${polynomial('c', erfFar)}));`),
  // sin(a + quarter * pi / 2)
  turn: {
    params: ['f32', 'i32'],
    result: 'f32',
    body: `if (!(abs(a) <= 3.4028234e38) || is_nan(a)) { return bits_to_f32(0x7fc00000u); }
  let k = round(a * ${2 / Math.PI});
  var r = a;
${halfPi.map((part) => `  r = r - k * ${part};`).join('\n')}
  let q = (i32(clamp(k, -2e9, 2e9)) + b) & 3;
  let z = r * r;
  let s = r + r * z * ${polynomial('z', sinTail)};
  let c = 1.0 + z * ${polynomial('z', cosTail)};
  let y = select(s, c, (q & 1) == 1);
  return select(y, -y, q >= 2);`,
  },
  sin_f32: unaryFloat('if (a == 0.0) { return a; } return turn(a, 0);'),
  cos_f32: unaryFloat('return turn(a, 1);'),
  sqrt_f32: unaryFloat(`if (a < 0.0 || is_nan(a)) { return bits_to_f32(0x7fc00000u); }
  return select(sqrt(a), a, a > 3.4028234e38);`),
  rsqrt_f32: unaryFloat(`if (a < 0.0 || is_nan(a)) { return bits_to_f32(0x7fc00000u); }
  if (a == 0.0) { return bits_to_f32(0x7f800000u); }
  return select(inverseSqrt(a), 0.0, a > 3.4028234e38);`),
  // Division whose special cases do not depend on the implementation.
  div_f32: binaryFloat(`let sign = (bitcast<u32>(a) ^ bitcast<u32>(b)) & 0x80000000u;
  if (is_nan(a) || is_nan(b)) { return bits_to_f32(0x7fc00000u); }
  if (b == 0.0) { return bits_to_f32(select(0x7f800000u | sign, 0x7fc00000u, a == 0.0)); }
  if (abs(b) > 3.4028234e38) { return bits_to_f32(select(sign, 0x7fc00000u, abs(a) > 3.4028234e38)); }
  return a / b;`),
  // IEEE 754 pow: the sign and the special cases here, the magnitude by exp and log.
  pow_f32: binaryFloat(`if (b == 0.0 || a == 1.0) { return 1.0; }
  if (is_nan(a) || is_nan(b)) { return bits_to_f32(0x7fc00000u); }
  let huge = 3.4028234e38;
  let x = abs(a);
  if (abs(b) > huge) {
    if (x == 1.0) { return 1.0; }
    return bits_to_f32(select(0u, 0x7f800000u, (x > 1.0) == (b > 0.0)));
  }
  let whole = floor(b) == b;
  let odd = whole && abs(b) < 16777216.0 && (i32(b) & 1) == 1;
  let flip = select(0u, 0x80000000u, odd && (bitcast<u32>(a) >> 31u) == 1u);
  if (x == 0.0 || x > huge) { return bits_to_f32(select(0u, 0x7f800000u, (x > huge) == (b > 0.0)) | flip); }
  if (a < 0.0 && !whole) { return bits_to_f32(0x7fc00000u); }
  var y = 1.0;
  if (whole && abs(b) <= 64.0) {
    var n = i32(abs(b));
    var p = x;
    while (n > 0) { if ((n & 1) == 1) { y = y * p; } p = p * p; n = n >> 1u; }
    if (b < 0.0) { y = div_f32(1.0, y); }
  } else {
    let t = b * log_f32(x);
    y = select(exp_f32(t), bits_to_f32(0x7f800000u), t > 88.73);
  }
  return bits_to_f32(bitcast<u32>(y) | flip);`),
  i32_from_f32: {
    params: ['f32'],
    result: 'i32',
    body: `if (is_nan(a)) { return 0; }
  if (a >= 2147483648.0) { return 2147483647; }
  if (a <= -2147483648.0) { return -2147483647 - 1; }
  return i32(a);`,
  },
  u32_from_f32: {
    params: ['f32'],
    result: 'u32',
    body: `if (is_nan(a) || a <= 0.0) { return 0u; }
  if (a >= 4294967296.0) { return 4294967295u; }
  return u32(a);`,
  },
  i8_from_f32: { params: ['f32'], result: 'i32', body: 'return clamp(i32_from_f32(a), -128, 127);' },
  u8_from_f32: { params: ['f32'], result: 'u32', body: 'return min(u32_from_f32(a), 255u);' },
  wrap_i8: { params: ['i32'], result: 'i32', body: 'return (a << 24u) >> 24u;' },
  wrap_u8: { params: ['u32'], result: 'u32', body: 'return a & 255u;' },
  // A value of f32 rounded to bf16 and f16, to nearest even.
  round_bf16: unaryFloat(`let b = bitcast<u32>(a);
  return select(bits_to_f32((b + 0x7fffu + ((b >> 16u) & 1u)) & 0xffff0000u), a, is_nan(a));`),
  f16_bits: {
    params: ['f32'],
    result: 'u32',
    body: `let b = bitcast<u32>(a);
  let m = b & 0x7fffffffu;
  var r = (m + 0xfffu + ((m >> 13u) & 1u) - 0x38000000u) >> 13u;
  if (m < 0x38800000u) { r = u32(round(bitcast<f32>(m) * 16777216.0)); }
  if (m >= 0x477ff000u) { r = 0x7c00u; }
  if (m > 0x7f800000u) { r = 0x7e00u; }
  return r | ((b >> 16u) & 0x8000u);`,
  },
  f16_value: {
    params: ['u32'],
    result: 'f32',
    body: `let m = a & 0x7fffu;
  var r = (m << 13u) + 0x38000000u;
  if (m < 0x400u) { r = bitcast<u32>(f32(m) * 0x1p-24f); }
  if (m >= 0x7c00u) { r = (m << 13u) | 0x7f800000u; }
  return bits_to_f32(r | ((a & 0x8000u) << 16u));`,
  },
  round_f16: unaryFloat('return f16_value(f16_bits(a));'),
};

const typeName = (type: string, lanes: number): string => (lanes === 1 ? type : `vec${lanes}<${type}>`);
const letters = ['a', 'b', 'c'];
const components = ['x', 'y', 'z', 'w'];

/** The name of a function for a number of lanes. */
export const functionName = (name: string, lanes: number): string => (lanes === 1 ? name : `${name}_v${lanes}`);

function items(): Item[] {
  const list: Item[] = [];
  for (const [name, { params, result, body }] of Object.entries(functions)) {
    const scalar = params.map((type, i) => `${letters[i]}: ${type}`).join(', ');
    list.push({ name, text: `fn ${name}(${scalar}) -> ${result} {\n  ${body}\n}` });
    for (const lanes of [2, 4]) {
      const vector = params.map((type, i) => `${letters[i]}: ${typeName(type, lanes)}`).join(', ');
      const calls = components
        .slice(0, lanes)
        .map((c) => `${name}(${params.map((_, i) => `${letters[i]}.${c}`).join(', ')})`);
      const type = typeName(result, lanes);
      list.push({
        name: functionName(name, lanes),
        text: `fn ${functionName(name, lanes)}(${vector}) -> ${type} { return ${type}(${calls.join(', ')}); }`,
      });
    }
  }
  return list;
}
const all = items();
const byName = new Map(all.map((item) => [item.name, item]));

/** The functions that `text` mentions, and those that they do. */
export function prelude(text: string): string {
  const kept = new Set<Item>();
  const visit = (code: string): void => {
    for (const [name] of code.matchAll(/\b[a-z_][a-z0-9_]*(?=\()/g)) {
      const item = byName.get(name);
      if (!item || kept.has(item)) continue;
      kept.add(item);
      visit(item.text);
    }
  };
  visit(text);
  return all
    .filter((item) => kept.has(item))
    .map((item) => `${item.text}\n`)
    .join('');
}

export const wgslType = typeName;
