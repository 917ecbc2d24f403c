// Elementwise ops: result element i depends on element i of every argument. There is no implicit broadcasting and no
// promotion: arguments have equal shapes and dtypes. Every axis maps to itself, so one axis rule serves the family.
//
// Constraints of the arithmetic ops:
// C1: all arguments have one shape and one dtype. C2: the dtype belongs to the class that the op is defined on.
import type { DType } from '../dtype.ts';
import { castValue, dtypeInfo, isFloat, roundHalfEven } from '../dtype.ts';
import type { Expr } from '../loop.ts';
import { alu, cast, constant, constValue, select, type unaryAlu } from '../loop.ts';
import type { ElementwiseAttrs } from './attrs.ts';
import {
  type DTypeClass,
  fail,
  mapAxes,
  requireArity,
  requireChoice,
  requireClass,
  requireDType,
  requireSameType,
  requireType,
} from './common.ts';
import type { Op, OpTable } from './op.ts';
import { arithmetic, type BinaryOp, bitcastValue, erf, storeValue } from './scalar.ts';

type Direction = ElementwiseAttrs['compare']['direction'];

function unary<O extends (typeof unaryAlu)[number]>(op: O, domain: DTypeClass, fn: (x: number) => number): Op<O> {
  return {
    infer(args) {
      requireArity(op, args, 1);
      requireClass(op, 2, args[0].dtype, domain);
      return args[0];
    },
    axes(node) {
      return mapAxes(node.type.shape, 1);
    },
    eval(_node, [{ dtype, shape, data }]) {
      return { dtype, shape, data: data.map((x) => storeValue(dtype, fn(x))) };
    },
    element(_node, at, context) {
      return alu(op, context.read(0, at));
    },
  };
}

function binary<O extends BinaryOp & keyof ElementwiseAttrs>(
  op: O,
  domain: DTypeClass,
  code: (x: Expr, y: Expr, dtype: DType) => Expr = (x, y) => alu(op, x, y),
): Op<O> {
  return {
    infer(args) {
      requireArity(op, args, 2);
      requireSameType(op, 1, args);
      requireClass(op, 2, args[0].dtype, domain);
      return args[0];
    },
    axes(node) {
      return mapAxes(node.type.shape, 2);
    },
    eval(_node, [x, y]) {
      const { dtype, shape } = x;
      const fn = arithmetic(op, dtype);
      return { dtype, shape, data: x.data.map((a, i) => storeValue(dtype, fn(a, y.data[i]))) };
    },
    element(node, at, context) {
      return code(context.read(0, at), context.read(1, at), node.type.dtype);
    },
  };
}

/** An op of many instructions. */
const costly = <O extends keyof ElementwiseAttrs>(op: Op<O>): Op<O> => ({ ...op, cost: 'costly' });

/**
 * Integer division as the interpreter defines it, on machines that trap or are undefined for a divisor of 0, and for
 * the smallest integer over -1: those divisors are replaced by 1 and their results chosen.
 */
function divideOrRem(op: 'div' | 'rem'): (x: Expr, y: Expr, dtype: DType) => Expr {
  return (x, y, dtype) => {
    const known = constValue(y);
    if (isFloat(dtype) || (known !== undefined && known !== 0 && known !== -1)) return alu(op, x, y);
    const zero = constant(0, dtype);
    const one = constant(1, dtype);
    const byZero = alu('eq', y, zero);
    const forZero = op === 'div' ? zero : x;
    if (dtypeInfo[dtype].kind === 'unsigned') return select(byZero, forZero, alu(op, x, select(byZero, one, y)));
    const byMinusOne = alu('eq', y, constant(-1, dtype));
    const safe = alu(op, x, select(alu('or', byZero, byMinusOne), one, y));
    // x rem 1 = 0 = x rem -1; the negation wraps
    return select(byZero, forZero, op === 'div' ? select(byMinusOne, alu('neg', x), safe) : safe);
  };
}

/** Shift amounts are taken modulo the width: larger ones are undefined in C. */
function shift(op: 'shl' | 'shr'): (x: Expr, y: Expr, dtype: DType) => Expr {
  return (x, y, dtype) => {
    const bits = dtypeInfo[dtype].bytes * 8;
    const known = constValue(y);
    const inRange = known !== undefined && known >= 0 && known < bits;
    return alu(op, x, inRange ? y : alu('and', y, constant(bits - 1, dtype)));
  };
}

/** Comparisons with NaN are false, except ne. */
const comparisons: Record<Direction, (x: number, y: number) => boolean> = {
  eq: (x, y) => x === y,
  ne: (x, y) => x !== y,
  lt: (x, y) => x < y,
  le: (x, y) => x <= y,
  gt: (x, y) => x > y,
  ge: (x, y) => x >= y,
};

export const elementwise: OpTable<ElementwiseAttrs> = {
  /** -x; wraps on integers. C2: numeric. */
  neg: unary('neg', 'numeric', (x) => -x),
  /** C2: float, as for all functions up to rsqrt. */
  floor: unary('floor', 'float', Math.floor),
  round: unary('round', 'float', roundHalfEven),
  exp: costly(unary('exp', 'float', Math.exp)),
  log: costly(unary('log', 'float', Math.log)),
  sin: costly(unary('sin', 'float', Math.sin)),
  cos: costly(unary('cos', 'float', Math.cos)),
  tanh: costly(unary('tanh', 'float', Math.tanh)),
  erf: costly(unary('erf', 'float', erf)),
  sqrt: costly(unary('sqrt', 'float', Math.sqrt)),
  /** 1 / sqrt(x). */
  rsqrt: costly(unary('rsqrt', 'float', (x) => 1 / Math.sqrt(x))),

  /** Integers wrap. C1. C2: numeric. */
  add: binary('add', 'numeric'),
  mul: binary('mul', 'numeric'),
  /** Integers truncate towards zero; x / 0 = 0 on integers. C1. C2: numeric. */
  div: costly(binary('div', 'numeric', divideOrRem('div'))),
  /** The remainder of truncating division, with the sign of x, on floats too; x rem 0 = x on integers. C1. C2: numeric. */
  rem: costly(binary('rem', 'numeric', divideOrRem('rem'))),
  /** IEEE 754 pow. C1. C2: float. */
  pow: costly(binary('pow', 'float')),
  /** NaN where an argument is NaN. C1. C2: numeric. */
  max: binary('max', 'numeric'),
  min: binary('min', 'numeric'),
  /** Bitwise. C1. C2: bool or integer. */
  and: binary('and', 'bool or integer'),
  or: binary('or', 'bool or integer'),
  xor: binary('xor', 'bool or integer'),
  /** Shifts by y modulo the number of bits; shr keeps the sign of signed types. C1. C2: integer. */
  shl: binary('shl', 'integer', shift('shl')),
  shr: binary('shr', 'integer', shift('shr')),

  /** C1: arguments have one shape and dtype, which may be bool. C2: direction is known. */
  compare: {
    infer(args, attrs) {
      requireArity('compare', args, 2);
      requireSameType('compare', 1, args);
      requireChoice('compare', 2, attrs, 'direction');
      return { dtype: 'bool', shape: args[0].shape };
    },
    axes(node) {
      return mapAxes(node.type.shape, 2);
    },
    eval(node, [x, y]) {
      const holds = comparisons[node.attrs.direction];
      return { dtype: 'bool', shape: x.shape, data: x.data.map((a, i) => (holds(a, y.data[i]) ? 1 : 0)) };
    },
    element(node, at, context) {
      return alu(node.attrs.direction, context.read(0, at), context.read(1, at));
    },
  },

  /** C1: the values have one shape and dtype. C2: the condition is bool of their shape. */
  select: {
    infer(args) {
      requireArity('select', args, 3);
      const [condition, then, otherwise] = args;
      requireSameType('select', 1, [then, otherwise]);
      requireType('select', 2, 'the condition', condition, { dtype: 'bool', shape: then.shape });
      return then;
    },
    axes(node) {
      return mapAxes(node.type.shape, 3);
    },
    eval(_node, [condition, then, otherwise]) {
      const data = then.data.map((x, i) => (condition.data[i] ? x : otherwise.data[i]));
      return { dtype: then.dtype, shape: then.shape, data };
    },
    element(_node, at, context) {
      return select(context.read(0, at), context.read(1, at), context.read(2, at));
    },
  },

  /** Conversion of values; see castValue in dtype.ts. C1: dtype is known. */
  cast: {
    cost: 'free',
    infer(args, { dtype }) {
      requireArity('cast', args, 1);
      requireDType('cast', 1, dtype);
      return { dtype, shape: args[0].shape };
    },
    axes(node) {
      return mapAxes(node.type.shape, 1);
    },
    eval({ attrs: { dtype } }, [x]) {
      const zero = isFloat(dtype) ? -0 : 0; // integers have no negative zero: -0 + 0 is 0
      return { dtype, shape: x.shape, data: x.data.map((v) => castValue(x.dtype, dtype, v) + zero) };
    },
    element(node, at, context) {
      const x = context.read(0, at);
      return node.attrs.dtype === 'bool' ? alu('ne', x, constant(0, x.dtype)) : cast(x, node.attrs.dtype);
    },
  },

  /** The same bits as another dtype. C1: dtype is known, and as wide as the argument's. C2: neither is bool. */
  bitcast: {
    cost: 'free',
    infer(args, { dtype }) {
      requireArity('bitcast', args, 1);
      const [{ dtype: from, shape }] = args;
      requireDType('bitcast', 1, dtype);
      if (dtypeInfo[from].bytes !== dtypeInfo[dtype].bytes) {
        fail('bitcast', 1, `${from} has ${dtypeInfo[from].bytes} bytes and ${dtype} has ${dtypeInfo[dtype].bytes}`);
      }
      for (const t of [from, dtype]) requireClass('bitcast', 2, t, 'numeric');
      return { dtype, shape };
    },
    axes(node) {
      return mapAxes(node.type.shape, 1);
    },
    /** NaNs lose their payload: the interpreter keeps one NaN. */
    eval({ attrs: { dtype } }, [x]) {
      return { dtype, shape: x.shape, data: x.data.map((v) => bitcastValue(x.dtype, dtype, v)) };
    },
    element({ attrs: { dtype } }, at, context) {
      const arg = context.read(0, at);
      return arg.dtype === dtype ? arg : { kind: 'bitcast', arg, dtype, lanes: arg.lanes };
    },
  },
};
