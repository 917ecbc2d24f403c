// The basic productions of random graphs: each applies one op, or one small idiom, to values drawn from a Builder, and
// returns undefined where the drawn values do not suit it. See random-graph.ts for `bound` and `exact`.
import type { Dim } from '../../ir/dim.ts';
import { dim, dimConst, dimDivExact, dimMul, dimProduct, dimSub } from '../../ir/dim.ts';
import { isFloat } from '../../ir/dtype.ts';
import {
  chooseRanked,
  constantLike,
  dtypeOf,
  last,
  type Production,
  ranked,
  replaced,
  sameAs,
  shapeOf,
} from './random-helpers.ts';

// ---- elementwise ----

const unary: Production = (b) => {
  const op = b.pick(['neg', 'exp', 'log', 'sin', 'cos', 'tanh', 'erf', 'sqrt', 'rsqrt'] as const);
  const x = b.chooseFloat();
  switch (op) {
    case 'neg':
      return b.apply(op, [x], {}, x.bound, true);
    case 'exp': {
      const small = b.apply('min', [x, constantLike(b, 2, x)], {}, x.bound, true);
      return b.apply(op, [small], {}, Math.exp(2), false);
    }
    case 'log':
    case 'sqrt':
    case 'rsqrt': {
      const square = b.apply('mul', [x, x], {}, x.bound ** 2, false);
      const positive = b.apply('add', [square, constantLike(b, 0.5, x)], {}, x.bound ** 2 + 0.5, false);
      return b.apply(op, [positive], {}, x.bound + 1, false);
    }
    default:
      return b.apply(op, [x], {}, 1, false);
  }
};

const binary: Production = (b) => {
  const op = b.pick(['add', 'sub', 'mul', 'div', 'pow', 'max', 'min'] as const);
  const x = b.chooseFloat();
  const y = sameAs(b, x);
  switch (op) {
    case 'add':
      return b.apply(op, [x, y], {}, x.bound + y.bound, false);
    case 'sub':
      return b.apply('add', [x, b.apply('neg', [y], {}, y.bound, true)], {}, x.bound + y.bound, false);
    case 'mul':
      return b.apply(op, [x, y], {}, x.bound * y.bound, false);
    case 'div': {
      const divisor = b.apply('add', [b.apply('tanh', [y], {}, 1, false), constantLike(b, 1.5, y)], {}, 2.5, false);
      return b.apply(op, [x, divisor], {}, 2 * x.bound, false);
    }
    case 'pow': {
      const base = b.apply('add', [b.apply('tanh', [x], {}, 1, false), constantLike(b, 1.5, x)], {}, 2.5, false);
      const exponent = b.apply('tanh', [y], {}, 1, false);
      return b.apply(op, [base, exponent], {}, 2.5, false);
    }
    default:
      return b.apply(op, [x, y], {}, Math.max(x.bound, y.bound), true);
  }
};

/** The activations of models, as they are written in terms of ops. */
const activation: Production = (b) => {
  const x = b.chooseFloat((v) => v.bound <= 20);
  if (x.bound > 20) return undefined;
  const one = constantLike(b, 1, x);
  const e = b.apply('exp', [b.apply('neg', [x], {}, x.bound, true)], {}, Math.exp(Math.min(x.bound, 10)), false);
  const logistic = b.apply('div', [one, b.apply('add', [one, e], {}, e.bound, false)], {}, 1, false);
  return b.apply('mul', [x, logistic], {}, x.bound, false);
};

const rounding: Production = (b) => {
  const x = b.choose((v) => v.exact && isFloat(dtypeOf(v)));
  return x && b.apply(b.pick(['floor', 'round'] as const), [x], {}, x.bound + 1, true);
};

const integers: Production = (b) => {
  const x = b.choose((v) => dtypeOf(v) === 'i32' && v.bound < 2 ** 10) ?? b.keep(b.fresh('i32', b.shape()));
  const y = sameAs(b, x, (v) => v.bound < 2 ** 10);
  const op = b.pick(['add', 'mul', 'div', 'rem', 'max', 'min', 'and', 'or', 'xor', 'shl', 'shr', 'neg'] as const);
  if (op === 'neg') return b.apply(op, [x], {}, x.bound, true);
  if (op === 'shl' || op === 'shr') {
    return b.apply(op, [x, constantLike(b, b.integer(0, 3), x)], {}, x.bound * 8, true);
  }
  const bound = op === 'mul' ? x.bound * y.bound : 2 * Math.max(x.bound, y.bound) + 1;
  return b.apply(op, [x, y], {}, bound, true);
};

const comparison: Production = (b) => {
  const x = b.choose((v) => v.exact && dtypeOf(v) !== 'bool');
  if (!x) return undefined;
  const direction = b.pick(['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const);
  return b.apply('compare', [x, sameAs(b, x, (v) => v.exact)], { direction }, 1, true);
};

const logic: Production = (b) => {
  const x = b.choose((v) => dtypeOf(v) === 'bool') ?? b.keep(b.fresh('bool', b.shape()));
  return b.apply(b.pick(['and', 'or', 'xor'] as const), [x, sameAs(b, x)], {}, 1, true);
};

const selection: Production = (b) => {
  const x = b.chooseFloat();
  const y = sameAs(b, x);
  return b.apply('select', [b.like('bool', shapeOf(x)), x, y], {}, Math.max(x.bound, y.bound), true);
};

const conversion: Production = (b) => {
  const x = b.choose(() => true);
  if (!x) return undefined;
  const to = b.pick(['f32', 'f32', 'bf16', 'f16', 'i32', 'bool'] as const);
  if (isFloat(dtypeOf(x)) && !isFloat(to) && !x.exact) return undefined;
  if (to === 'f16' && x.bound > 1e4) return undefined;
  return b.apply('cast', [x], { dtype: to }, to === 'bool' ? 1 : x.bound, true);
};

const bits: Production = (b) => {
  const x = b.choose((v) => dtypeOf(v) === 'f32');
  if (!x) return undefined;
  const raw = b.apply('bitcast', [x], { dtype: 'u32' }, 2 ** 32, true);
  // clears the sign bit
  const mask = b.filled(0x7fffffff, 'u32', shapeOf(x));
  const magnitude = b.apply('and', [raw, mask], {}, 2 ** 31, true);
  return b.apply('bitcast', [magnitude], { dtype: 'f32' }, x.bound, true);
};

const random: Production = (b) => {
  const key = b.input('u32', [dim(2)], 2 ** 32, () => b.integer(0, 2 ** 32 - 1));
  const shape = b.shape();
  if (!b.fits(shape)) return undefined;
  const raw = b.apply('rng_bits', [key], { shape }, 2 ** 32, true);
  const top = b.apply('shr', [raw, b.filled(8, 'u32', shape)], {}, 2 ** 24, true);
  const real = b.apply('cast', [top], { dtype: 'f32' }, 2 ** 24, true);
  return b.apply('mul', [real, b.filled(2 ** -24, 'f32', shape)], {}, 1, true);
};

// ---- leaves and views ----

const counting: Production = (b) => {
  const shape = b.shape();
  if (!b.fits(shape)) return undefined;
  const axis = b.integer(0, shape.length - 1);
  return b.apply('iota', [], { shape, axis, dtype: b.pick(['i32', 'f32'] as const) }, 16, true);
};

const dimension: Production = (b) => {
  const x = ranked(b);
  const d = b.pick(shapeOf(x));
  return d && b.apply('dim', [], { dim: d }, b.extent(d) + 1, true);
};

const reshaping: Production = (b) => {
  const x = b.choose((v) => shapeOf(v).length > 0);
  if (!x) return undefined;
  const shape = shapeOf(x);
  const at = b.integer(0, shape.length - 1);
  const [before, after] = [shape.slice(0, at), shape.slice(at + 1)];
  const parts = [2, 3, ...shape.flatMap((d) => [...d.vars.values()].map((v) => v.name))];
  const factor = b.pick(parts);
  const variable = typeof factor === 'string' ? shape.find((d) => d.vars.size === 1 && d.vars.has(factor) && d.terms.get(factor) === 1 && d.terms.size === 1) : dim(factor); // biome-ignore format: one row
  const rest = variable && dimDivExact(shape[at], variable);
  const target =
    rest && b.chance(0.6)
      ? [...before, ...b.shuffled([rest, variable]), ...after]
      : after.length > 0 && b.chance(0.8)
        ? [...before, dimMul(shape[at], after[0]), ...after.slice(1)]
        : b.chance(0.5)
          ? [dimProduct(shape)]
          : [...before, dim(1), shape[at], ...after];
  return b.fits(target) ? b.apply('reshape', [x], { shape: target }, x.bound, true) : undefined;
};

const transposition: Production = (b) => {
  const x = b.choose((v) => shapeOf(v).length > 1);
  return x && b.apply('transpose', [x], { perm: b.shuffled(shapeOf(x).map((_, i) => i)) }, x.bound, true);
};

const broadcasting: Production = (b) => {
  const x = b.choose((v) => shapeOf(v).length < 4);
  if (!x) return undefined;
  const shape: Dim[] = [];
  const axes: number[] = [];
  for (const d of shapeOf(x)) {
    while (b.chance(0.25)) shape.push(b.size());
    axes.push(shape.length);
    shape.push(dimConst(d) === 1 && b.chance(0.5) ? b.size() : d);
  }
  if (axes.length === shape.length) shape.push(b.size());
  return b.fits(shape) ? b.apply('broadcast', [x], { shape, axes }, x.bound, true) : undefined;
};

const slicing: Production = (b) => {
  const x = b.choose((v) => shapeOf(v).length > 0);
  if (!x) return undefined;
  const cuts = shapeOf(x).map((d): { start: Dim; size: Dim; stride: number } => {
    const n = dimConst(d);
    if (n !== undefined && n > 1 && b.chance(0.6)) {
      const start = b.integer(0, n - 1);
      const stride = b.integer(1, 2);
      return { start: dim(start), size: dim(b.integer(1, Math.ceil((n - start) / stride))), stride };
    }
    const drop = b.chance(0.4) && d.min >= 2 ? 1 : 0;
    return { start: dim(b.chance(0.5) ? drop : 0), size: dimSub(d, drop), stride: 1 };
  });
  const attrs = {
    starts: cuts.map((c) => c.start),
    sizes: cuts.map((c) => c.size),
    strides: cuts.map((c) => c.stride),
  };
  return b.apply('slice', [x], attrs, x.bound, true);
};

const padding: Production = (b) => {
  const x = b.choose((v) => shapeOf(v).length > 0 && dtypeOf(v) !== 'bool');
  if (!x) return undefined;
  const [low, high] = [0, 1].map(() => shapeOf(x).map(() => dim(b.chance(0.4) ? b.integer(1, 2) : 0)));
  const value = b.apply('const', [], { value: 1, dtype: dtypeOf(x) }, 1, true);
  return b.apply('pad', [x, value], { low, high }, Math.max(1, x.bound), true);
};

const concatenation: Production = (b) => {
  const x = b.choose((v) => shapeOf(v).length > 0);
  if (!x) return undefined;
  const axis = b.integer(0, shapeOf(x).length - 1);
  const others = Array.from({ length: b.integer(0, 2) }, () =>
    b.like(dtypeOf(x), replaced(shapeOf(x), axis, b.chance(0.5) ? shapeOf(x)[axis] : b.size())),
  );
  const parts = b.shuffled([x, ...others]);
  return b.apply('concat', parts, { axis }, Math.max(...parts.map((p) => p.bound)), true);
};

const reversal: Production = (b) => {
  const x = b.choose((v) => shapeOf(v).length > 0);
  return x && b.apply('reverse', [x], { axes: [b.integer(0, shapeOf(x).length - 1)] }, x.bound, true);
};

// ---- reductions ----

const reduction: Production = (b) => {
  const x = b.chooseFloat((v) => shapeOf(v).length > 0);
  const shape = shapeOf(x);
  if (shape.length === 0) return undefined;
  const axes = b.shuffled(shape.map((_, i) => i)).slice(0, b.integer(1, shape.length)).sort((p, q) => p - q); // biome-ignore format: one row
  const op = b.pick(['add', 'add', 'max', 'min'] as const);
  if (op === 'add') {
    return b.apply('reduce', [x], { op, axes, acc: 'f32' }, x.bound * b.elements(axes.map((i) => shape[i])), false);
  }
  if (axes.some((i) => b.extent(shape[i]) === 0)) return undefined; // the identity is infinite
  return b.apply('reduce', [x], { op, axes, acc: 'f32' }, x.bound, true);
};

const quantifier: Production = (b) => {
  const x = b.choose((v) => dtypeOf(v) === 'bool' && shapeOf(v).length > 0);
  if (!x) return undefined;
  const axes = [b.integer(0, shapeOf(x).length - 1)];
  return b.apply('reduce', [x], { op: b.pick(['and', 'or'] as const), axes, acc: 'bool' }, 1, true);
};

const windows: Production = (b) => {
  const { x, axis } = chooseRanked(b) ?? {};
  if (!x || axis === undefined) return undefined;
  const shape = shapeOf(x);
  const size = Math.min(2, shape[axis].min);
  if (size < 1 || shape.some((d) => d.min < 1)) return undefined;
  const at = <T>(value: T, other: T): T[] => shape.map((_, i) => (i === axis ? value : other));
  const op = b.pick(['add', 'max', 'min'] as const);
  const attrs = {
    op,
    window: at(size, 1),
    strides: at(dimConst(shape[axis]) === undefined ? 1 : b.integer(1, 2), 1),
    padding: at<readonly [number, number]>([b.integer(0, size - 1), 0], [0, 0]),
  };
  return b.apply('reduce_window', [x], attrs, op === 'add' ? 2 * x.bound : x.bound, op !== 'add');
};

const scanning: Production = (b) => {
  const { x, axis } = chooseRanked(b) ?? {};
  if (!x || axis === undefined) return undefined;
  const n = Math.max(1, b.extent(shapeOf(x)[axis]));
  const op = b.pick(['add', 'max', 'affine'] as const);
  const isExtremum = op === 'max';
  const attrs = { op, axis, exclusive: !isExtremum && b.chance(0.3), reverse: b.chance(0.3) };
  if (op !== 'affine') return b.apply('scan', [x], attrs, isExtremum ? x.bound : x.bound * n, isExtremum);
  const decay = b.apply('tanh', [sameAs(b, x)], {}, 1, false);
  const before = b.chance(0.5) ? [b.fresh(dtypeOf(x), shapeOf(x).toSpliced(axis, 1))] : [];
  return b.apply(
    'scan',
    [decay, x, ...before],
    attrs,
    Math.max(x.bound, ...before.map((v) => v.bound)) * (n + 1),
    false,
  );
};

const ordering: Production = (b) => {
  const x = b.choose((v) => v.exact && dtypeOf(v) === 'f32' && shapeOf(v).length > 0);
  if (!x) return undefined;
  const axis = shapeOf(x).length - 1;
  const n = last(shapeOf(x));
  if (n.min < 1) return undefined;
  const order = b.chance(0.5)
    ? b.apply('sort', [x], { axis, descending: b.chance(0.5) }, b.extent(n), true)
    : b.apply('top_k', [x], { k: b.integer(1, n.min) }, b.extent(n), true);
  return b.chance(0.3) ? order : b.apply('gather', [x, order], { axis, batch: axis }, x.bound, true);
};

/** Repeated entries are more likely. */
export const basicProductions: readonly Production[] = [
  unary, unary, binary, binary, binary, activation, rounding, integers, comparison, logic, selection, conversion, bits,
  random, counting, dimension, reshaping, reshaping, transposition, broadcasting, broadcasting, slicing, padding,
  concatenation, reversal, reduction, reduction, quantifier, windows, scanning, ordering,
]; // biome-ignore format: a table
