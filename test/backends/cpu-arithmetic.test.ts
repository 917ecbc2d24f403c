// Arithmetic of the backends that print C: every operation and conversion of the loop IR, in scalars, in loops that the
// compiler vectorises and in explicit vectors, on every instruction set of this machine and as emulated CUDA C, against
// the reference's arithmetic.
import { describe, expect, test } from 'vitest';
import { hostIsas } from '../../backends/cpu/target.ts';
import { castValue, type DType, dtypeInfo, dtypes, isFloat, roundHalfEven, roundTo } from '../../ir/dtype.ts';
import {
  type AluOp,
  add,
  alu,
  cast,
  type compareAlu,
  constant,
  type Expr,
  index,
  load,
  ramp,
  variable,
  zip,
} from '../../ir/loop.ts';
import { arithmetic, type BinaryOp, bitcastValue, erf, storeValue } from '../../ir/ops/scalar.ts';
import { type Case, failures, forEach, kernel, type Place, store } from '../support/cpu-kernels.ts';

let seed = 1;
const random = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 32;
};
const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
const randomFloat = (): number => {
  bits[0] = Math.floor(random() * 2 ** 32);
  return float[0];
};

const specials = [
  0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3.5, 0.49999997, 1e-45, -1e-45, 1e-40, 1.17549435e-38, 3.4e38, -3.4e38, 65504,
  65520, 65519, 6e-8, 3e-8, 2.9802322e-8, 6.1e-5, 127.5, 128, -128.5, -129, 255.5, 256, -0.9, 2147483648, 2147483520, -2147483648,
  4294967296, 4294967040, 9.2233720e18, -9.3e18, 8388607.5, 8388608, 1e10, -1e10, 88.7, 88.8, 89, -87.4, -103.9, -104, -105, 0.92,
  -0.92, 0.6, 4, -4, 9, 10, 11, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY,
]; // biome-ignore format: a list
const size = 16384;
const padded = (values: number[], fill: () => number, n = size): number[] => {
  while (values.length < n) values.push(fill());
  return values.slice(0, n);
};
const floats = padded([...specials], () => {
  const kind = random();
  return kind < 0.4 ? randomFloat() : kind < 0.7 ? (random() - 0.5) * 20 : (random() - 0.5) * 220;
}).map(Math.fround);

/** The forms in which an element-wise kernel can be written; each must agree with the reference. */
const forms = [
  { name: 'scalar', lanes: 1, simd: false },
  { name: 'simd', lanes: 1, simd: true },
  { name: '4 lanes', lanes: 4, simd: false },
  { name: '16 lanes', lanes: 16, simd: false },
  { name: '64 lanes', lanes: 64, simd: false },
] as const;

function elementwise(
  name: string,
  from: readonly DType[],
  to: DType,
  inputs: readonly number[][],
  code: (...args: Expr[]) => Expr,
  expected: readonly number[],
  close?: Case['close'],
  only: readonly (typeof forms)[number][] = forms.slice(0, 4),
): Case[] {
  return only.map((form) => {
    const i = variable('i');
    const args = from.map((dtype, k) => load(`x${k}`, i, dtype, form.lanes));
    const body = forEach('i', expected.length, [store('y', i, code(...args))], form.lanes, form.simd);
    const buffers = [...from.map((d, k) => [`x${k}`, d, 'read'] as const), ['y', to, 'write'] as const];
    return { name: `${name} (${form.name})`, kernel: kernel(buffers, 1, [body]), inputs, expected, close };
  });
}

/** Within `ulps` units in the last place of f32; infinities and NaNs exactly. */
const within =
  (ulps: number) =>
  (got: number, expected: number): boolean => {
    const rounded = Math.fround(expected);
    if (!Number.isFinite(rounded) || Number.isNaN(got)) return Object.is(got, rounded);
    const ulp = 2 ** (Math.max(-126, Math.floor(Math.log2(Math.abs(expected) || 1e-300))) - 23);
    return Math.abs(got - expected) <= ulps * ulp * 1.001;
  };

const each = (cases: (place: Place) => Case[]): void => {
  for (const name of [...hostIsas().map((row) => row.name), 'sm_80' as const]) {
    test(name, async () => expect(await failures(name, cases(name))).toEqual([]));
  }
};

describe('functions of f32', () => {
  const exact: Partial<Record<AluOp, (x: number) => number>> = {
    neg: (x) => -x,
    floor: Math.floor,
    round: roundHalfEven,
    sqrt: Math.sqrt,
  };
  const near: Partial<Record<AluOp, (x: number) => number>> = {
    exp: Math.exp,
    log: Math.log,
    tanh: Math.tanh,
    erf,
    sin: Math.sin,
    cos: Math.cos,
    rsqrt: (x) => 1 / Math.sqrt(x),
  };
  const unary = (table: typeof exact, close: Case['close']): Case[] =>
    Object.entries(table).flatMap(([op, f]) =>
      elementwise(op, ['f32'], 'f32', [floats], (x) => alu(op as AluOp, x), floats.map(f), close, forms),
    );
  each(() => [...unary(exact, within(0.5)), ...unary(near, within(2))]);
});

describe('two operands of f32, f16 and bf16', () => {
  const ops = ['add', 'mul', 'div', 'max', 'min', 'rem', 'pow'] as const;
  const a = padded([...specials.flatMap((x) => specials.map(() => x))], () => (random() - 0.5) * 8).map(Math.fround);
  const b = padded([...specials.flatMap(() => specials)], () => (random() - 0.5) * 8).map(Math.fround);
  each(() =>
    (['f32', 'f16', 'bf16'] as const).flatMap((dtype) => {
      const [x, y] = [a, b].map((list) => list.map((v) => roundTo(dtype, v)));
      const cases: Case[] = ops.flatMap((op) => {
        const f = arithmetic(op, dtype);
        // a double that is rounded once; pow comes from the system's library
        const expected = x.map((v, i) => roundTo(dtype, f(v, y[i])));
        const close: Case['close'] = op === 'pow' ? (g, e) => within(dtype === 'f32' ? 2 : 2 ** 17)(g, e) : undefined;
        return elementwise(`${op} ${dtype}`, [dtype, dtype], dtype, [x, y], (p, q) => alu(op, p, q), expected, close);
      });
      const comparisons = { eq: 0, ne: 0, lt: 0, le: 0, gt: 0, ge: 0 };
      for (const op of Object.keys(comparisons) as (keyof typeof comparisons)[]) {
        cases.push(
          ...elementwise(`${op} ${dtype}`, [dtype, dtype], 'bool', [x, y], (p, q) => alu(op, p, q), compared(op, x, y)),
        );
      }
      const chosen = x.map((v, i) => (v < y[i] ? v : 2));
      cases.push(
        ...elementwise(
          `select ${dtype}`,
          [dtype, dtype],
          dtype,
          [x, y],
          (p, q) => alu('select', alu('lt', p, q), p, constant(2, dtype)),
          chosen,
        ),
      );
      return cases;
    }),
  );
});

function compared(op: (typeof compareAlu)[number], x: number[], y: number[]): number[] {
  const holds = {
    eq: (a: number, b: number) => a === b,
    ne: (a: number, b: number) => a !== b,
    lt: (a: number, b: number) => a < b,
    le: (a: number, b: number) => a <= b,
    gt: (a: number, b: number) => a > b,
    ge: (a: number, b: number) => a >= b,
  };
  return x.map((a, i) => Number(holds[op](a, y[i])));
}

const integers = (dtype: DType, n: number): number[] => {
  const { min, max } = dtypeInfo[dtype];
  const safe = dtype === 'i64' ? 2 ** 40 : max;
  return padded([0, 1, -1, 2, 3, min, max, min + 1].filter((v) => v >= min && (dtype !== 'i64' || Math.abs(v) < 2 ** 53)), () =>
    random() < 0.3 ? Math.floor(random() * 5) - (min < 0 ? 2 : 0) : Math.floor((random() * 2 - (min < 0 ? 1 : 0)) * (safe / 2)), n); // biome-ignore format: short
};

describe('integers and bool', () => {
  each(() =>
    (['i8', 'u8', 'i32', 'u32', 'i64', 'bool'] as const).flatMap((dtype) => {
      const n = 1024;
      const x =
        dtype === 'bool'
          ? padded([], () => Number(random() < 0.5), n)
          : integers(dtype, n).map((v) => roundTo(dtype, v));
      const shifted =
        dtype === 'bool'
          ? padded([], () => Number(random() < 0.5), n)
          : integers(dtype, n + 3)
              .slice(3)
              .map((v) => roundTo(dtype, v));
      const ops: readonly BinaryOp[] =
        dtype === 'bool'
          ? ['and', 'or', 'xor']
          : ['add', 'mul', 'div', 'rem', 'max', 'min', 'and', 'or', 'xor', 'shl', 'shr'];
      const cases = ops.flatMap((op) => {
        const f = arithmetic(op, dtype);
        // products and shifts of i64 leave the doubles of the reference: small operands there
        const small = dtype === 'i64' && (op === 'mul' || op === 'shl');
        const [a, b] = small ? [x.map((v) => v % 1024), shifted.map((v) => Math.abs(v % 32))] : [x, shifted];
        return elementwise(
          `${op} ${dtype}`,
          [dtype, dtype],
          dtype,
          [a, b],
          (p, q) => alu(op, p, q),
          a.map((v, i) => f(v, b[i])),
        );
      });
      if (dtype !== 'bool') {
        cases.push(
          ...elementwise(
            `neg ${dtype}`,
            [dtype],
            dtype,
            [x],
            (p) => alu('neg', p),
            x.map((v) => storeValue(dtype, -v)),
          ),
        );
      }
      for (const op of ['eq', 'lt', 'ge'] as const) {
        cases.push(
          ...elementwise(
            `${op} ${dtype}`,
            [dtype, dtype],
            'bool',
            [x, shifted],
            (p, q) => alu(op, p, q),
            compared(op, x, shifted),
          ),
        );
      }
      cases.push(
        ...elementwise(`select ${dtype}`, ['bool', dtype, dtype], dtype, [x.map((v) => Number(v > 1)), x, shifted],
          (c, p, q) => alu('select', c, p, q), x.map((v, i) => (v > 1 ? v : shifted[i]))), // biome-ignore format: short
      );
      return cases;
    }),
  );
});

describe('casts and bitcasts', () => {
  const n = 1024;
  const valuesOf = (dtype: DType): number[] => {
    if (dtype === 'bool') return padded([], () => Number(random() < 0.5), n);
    return (isFloat(dtype) ? floats.slice(0, n) : integers(dtype, n)).map((v) => roundTo(dtype, v));
  };
  const pairs = dtypes.flatMap((from) => dtypes.filter((to) => to !== from).map((to) => ({ from, to })));
  each(() =>
    pairs.flatMap(({ from, to }) => {
      const x = valuesOf(from);
      const converted = x.map((v) => castValue(from, to, v));
      const fromMemory = (p: Expr): Expr => cast(p, to);
      const fromValue = (p: Expr): Expr => cast(alu('select', constant(1, 'bool', p.lanes), p, p), to);
      const cases = [
        ...elementwise(`${from} to ${to}`, [from], to, [x], fromMemory, converted),
        ...elementwise(`${from} value to ${to}`, [from], to, [x], fromValue, converted, undefined, [
          forms[2],
          forms[3],
        ]),
      ];
      if (dtypeInfo[from].bytes === dtypeInfo[to].bytes && from !== 'bool' && to !== 'bool') {
        const numbers = x.map((v) => (Number.isNaN(v) ? 1 : v));
        const same = numbers.map((v) => bitcastValue(from, to, v));
        const code = (p: Expr): Expr => ({ kind: 'bitcast', arg: p, dtype: to, lanes: p.lanes });
        cases.push(...elementwise(`${from} as ${to}`, [from], to, [numbers], code, same));
      }
      return cases;
    }),
  );
});

describe('lanes', () => {
  const x = padded([], () => Math.fround(Math.floor(random() * 100)), 64);
  each(() =>
    [4, 16, 64].flatMap((n): Case[] => {
      const ops = {
        add: (p: number, q: number) => p + q,
        max: (p: number, q: number) => Math.max(p, q),
        min: (p: number, q: number) => Math.min(p, q),
      };
      const across = (['f32', 'i32', 'bf16', 'u8', 'i64'] as const).flatMap((dtype) =>
        Object.entries(ops).map(([op, f]): Case => {
          const value: Expr = {
            kind: 'across',
            op: op as keyof typeof ops,
            arg: load('x', index(0), dtype, n),
            dtype,
            lanes: 1,
          };
          const expected = [roundTo(dtype, x.slice(0, n).reduce(f))];
          return {
            name: `across ${op} ${dtype} ${n}`,
            kernel: kernel(
              [
                ['x', dtype, 'read'],
                ['y', dtype, 'write'],
              ],
              1,
              [store('y', index(0), value)],
            ),
            inputs: [x],
            expected,
          };
        }),
      );
      const zips = (['low', 'high'] as const).map((half): Case => {
        const value = zip(
          half,
          load('x', index(0), 'f32', n),
          add(load('x', index(0), 'f32', n), constant(0.5, 'f32')),
        );
        const from = half === 'low' ? 0 : n / 2;
        const expected = Array.from({ length: n }, (_, i) => x[from + (i >> 1)] + (i % 2) / 2);
        return {
          name: `zip ${half} ${n}`,
          kernel: kernel(
            [
              ['x', 'f32', 'read'],
              ['y', 'f32', 'write'],
            ],
            1,
            [store('y', index(0), value)],
          ),
          inputs: [x],
          expected,
        };
      });
      const counted: Case = {
        name: `ramp ${n}`,
        kernel: kernel([['y', 'i32', 'write']], 1, [store('y', index(0), ramp(index(7), n))]),
        inputs: [],
        expected: Array.from({ length: n }, (_, i) => 7 + i),
      };
      const constants = specials.map(
        (v): Case => ({
          name: `constant ${v} ${n}`,
          kernel: kernel([['y', 'f32', 'write']], 1, [store('y', index(0), constant(v, 'f32', n))]),
          inputs: [],
          expected: Array.from({ length: n }, () => Math.fround(v)),
          close: Object.is,
        }),
      );
      return [...across, ...zips, counted, ...constants];
    }),
  );
});
