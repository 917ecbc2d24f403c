// Runs the element code of an op on numbers: every expression is evaluated as soon as the op has built it, so that what
// `Op.element` means can be compared with `Op.eval` without a backend. What a machine would trap on or leave undefined
// (reads out of bounds, integer division by zero, shifts by more than the width) is an error here.
import { dimEval } from '../../ir/dim.ts';
import { castValue, dtypeInfo, isFloat, isInteger, roundHalfEven } from '../../ir/dtype.ts';
import { type AluOp, constant, type Expr, type ScalarType } from '../../ir/loop.ts';
import { type NdArray, ndarray, stridesOf } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import { forEachIndex, offsetOf, shapeOf } from '../../ir/ops/common.ts';
import { opOf } from '../../ir/ops/index.ts';
import type { DimEnv, ElementContext } from '../../ir/ops/op.ts';
import { arithmetic, bitcastValue, erf, identityOf, storeValue } from '../../ir/ops/scalar.ts';

/** The result of a node by its element code; undefined where the op has none. */
export function evaluateElements(node: Node, args: readonly NdArray[], env: DimEnv): NdArray | undefined {
  const { element } = opOf(node.op);
  if (!element) return undefined;
  const result = ndarray(node.type.dtype, shapeOf(node, env));
  forEachIndex(result.shape, (at, flat) => {
    const indices = at.map((i) => constant(i, 'index'));
    result.data[flat] = numberOf(element(node, indices, contextOf(args, env)), node.type.dtype);
  });
  return result;
}

function contextOf(args: readonly NdArray[], env: DimEnv): ElementContext {
  return {
    read(arg, index) {
      const { dtype, shape, data } = args[arg];
      const at = index.map((e) => numberOf(e, 'index'));
      if (at.length !== shape.length || at.some((i, axis) => !(Number.isInteger(i) && i >= 0 && i < shape[axis]))) {
        throw new Error(`argument ${arg} of shape [${shape}] is read at [${at}]`);
      }
      return constant(data[offsetOf(at, stridesOf(shape))], dtype);
    },
    size: (d) => constant(dimEval(d, env), 'index'),
    let: (e) => constant(evaluate(e), e.dtype),
    fold(combine, extents, dtype, body) {
      const apply = arithmetic(combine, dtype);
      let sum = identityOf(combine, dtype);
      forEachIndex(
        extents.map((d) => dimEval(d, env)),
        (at) => {
          const indices = at.map((i) => constant(i, 'index'));
          sum = apply(sum, numberOf(body(indices), dtype));
        },
      );
      return constant(storeValue(dtype, sum), dtype);
    },
    guard: (condition, then, otherwise) => (numberOf(condition, 'bool') ? then() : otherwise),
  };
}

function numberOf(e: Expr, dtype: ScalarType): number {
  if (e.dtype !== dtype || e.lanes !== 1) throw new Error(`expected ${dtype}, got ${e.dtype} x ${e.lanes}`);
  return evaluate(e);
}

const unary: Partial<Record<AluOp, (x: number) => number>> = {
  neg: (x) => -x,
  floor: Math.floor,
  round: roundHalfEven,
  exp: Math.exp,
  log: Math.log,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  erf,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
};
const comparisons: Partial<Record<AluOp, (x: number, y: number) => boolean>> = {
  eq: (x, y) => x === y,
  ne: (x, y) => x !== y,
  lt: (x, y) => x < y,
  le: (x, y) => x <= y,
  gt: (x, y) => x > y,
  ge: (x, y) => x >= y,
};

function evaluate(e: Expr): number {
  switch (e.kind) {
    case 'const':
      return e.value;
    case 'alu':
      return compute(e.op, e.args, e.dtype);
    case 'cast': {
      const from = e.arg.dtype === 'index' ? 'i64' : e.arg.dtype;
      return castValue(from, e.dtype === 'index' ? 'i64' : e.dtype, evaluate(e.arg)) + (isFloating(e.dtype) ? -0 : 0);
    }
    case 'bitcast':
      return bitcastValue(e.arg.dtype as 'i32', e.dtype as 'i32', evaluate(e.arg));
    default:
      throw new Error(`element code must not contain ${e.kind}`);
  }
}

const isFloating = (dtype: ScalarType): boolean => dtype !== 'index' && isFloat(dtype);

function compute(op: AluOp, args: readonly Expr[], dtype: ScalarType): number {
  if (op === 'select') return numberOf(args[0], 'bool') ? numberOf(args[1], dtype) : numberOf(args[2], dtype);
  if (args.some((a) => a.dtype !== args[0].dtype)) throw new Error(`${op} of ${args.map((a) => a.dtype)}`);
  const values = args.map(evaluate);
  const [x, y] = values;
  const compare = comparisons[op];
  if (compare) return Number(compare(x, y));
  if (dtype === 'index') return indexArithmetic(op, x, y);
  const one = unary[op];
  if (one) return storeValue(dtype, one(x));
  if (op === 'fma') return storeValue(dtype, x * y + values[2]);
  if (isInteger(dtype)) {
    const { bytes, min } = dtypeInfo[dtype];
    if ((op === 'div' || op === 'rem') && (y === 0 || (x === min && y === -1)))
      throw new Error(`${x} ${op} ${y} traps`);
    if ((op === 'shl' || op === 'shr') && !(y >= 0 && y < bytes * 8)) throw new Error(`${op} by ${y} is undefined`);
  }
  return storeValue(dtype, arithmetic(op as 'add', dtype)(x, y));
}

function indexArithmetic(op: AluOp, x: number, y: number): number {
  switch (op) {
    case 'add':
      return x + y;
    case 'sub':
      return x - y;
    case 'mul':
      return x * y;
    case 'max':
      return Math.max(x, y);
    case 'min':
      return Math.min(x, y);
    case 'div':
    case 'rem':
      if (x < 0 || y <= 0) throw new Error(`${x} ${op} ${y} is undefined on index`);
      return op === 'div' ? Math.floor(x / y) : x % y;
    default:
      throw new Error(`${op} is not defined on index`);
  }
}
