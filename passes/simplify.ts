// Algebra that holds for every input, bit for bit: identities, views of views, conversions that lose nothing, constants.
// Floats keep their IEEE meaning: x * 0 stays (NaN, -0, infinities), x + 0 stays (-0 + 0 is +0; only x + -0 is x), nothing
// is reassociated. Constants fold through `eval`, so what is folded here equals what would have been computed.
import { constant, filled, mul, neg, spread } from '../ir/build.ts';
import { dim, dimConst, dimEquals, shapeEquals } from '../ir/dim.ts';
import type { DType } from '../ir/dtype.ts';
import { dtypeInfo, isFloat, roundTo } from '../ir/dtype.ts';
import { make } from '../ir/make.ts';
import { ndarray } from '../ir/ndarray.ts';
import type { Node, OpName, TensorType } from '../ir/node.ts';
import { isOp } from '../ir/node.ts';
import { elementwise } from '../ir/ops/elementwise.ts';
import { opOf } from '../ir/ops/index.ts';
import type { Rules } from '../ir/rewrite.ts';
import { rewrite } from '../ir/rewrite.ts';
import type { Pass } from './pass.ts';

// ---- constants ----

const views: ReadonlySet<OpName> = new Set<OpName>(['broadcast', 'reshape', 'transpose', 'slice', 'reverse']);

/** The constant that every element of `node` is, seen through views. */
function constantOf(node: Node): Node<'const'> | undefined {
  let n = node;
  while (views.has(n.op)) n = n.args[0];
  return isOp(n, 'const') ? n : undefined;
}
const scalarOf = (node: Node): number | undefined => constantOf(node)?.attrs.value;

/** An elementwise op on constants, computed. */
function folded(node: Node): Node | undefined {
  const constants: Node<'const'>[] = [];
  for (const arg of node.args) {
    const c = constantOf(arg);
    if (!c) return undefined;
    constants.push(c);
  }
  const one = make(node.op, constants, node.attrs);
  const inputs = constants.map((c) => ndarray(c.attrs.dtype, [], [c.attrs.value]));
  const [value] = opOf(node.op).eval(one, inputs, {}).data;
  return filled(value, node);
}

/** A view of a constant is a broadcast of that constant. */
function viewOfConstant(node: Node): Node | undefined {
  const constant = constantOf(node);
  if (!constant) return undefined;
  const result = spread(constant, node.type.shape, []);
  return result === node ? undefined : result;
}

// ---- identities of binary ops ----

type Test = (value: number, dtype: DType) => boolean;

/** `x op c` and `c op x` are x for the constants that pass `test`. */
function neutral(node: Node, test: Test): Node | undefined {
  const [a, b] = node.args;
  return right(node, test) ?? (right({ ...node, args: [b, a] }, test) ? b : undefined);
}
/** `x op c` is x for the constants that pass `test`. */
function right(node: Node, test: Test): Node | undefined {
  const [a, b] = node.args;
  const value = scalarOf(b);
  return value !== undefined && test(value, b.type.dtype) ? a : undefined;
}
/** `x op c` and `c op x` are c for the constants that pass `test`. */
function absorbing(node: Node, test: Test): Node | undefined {
  return node.args.find((arg) => {
    const value = scalarOf(arg);
    return value !== undefined && test(value, arg.type.dtype);
  });
}

const isZero: Test = (v) => v === 0;
const isOne: Test = (v) => v === 1;
/** Zero where it changes nothing when added: -0 for floats, since -0 + 0 is 0. */
const isNeutralZero: Test = (v, dtype) => v === 0 && (!isFloat(dtype) || Object.is(v, -0));
const isAllOnes: Test = (v, dtype) => v === (dtypeInfo[dtype].kind === 'signed' ? -1 : dtypeInfo[dtype].max);
const isIntegerZero: Test = (v, dtype) => v === 0 && !isFloat(dtype);

/** (x op c) op d is x op (c op d) in integers, which wrap and so are associative. */
function reassociated(node: Node): Node | undefined {
  const [a, b] = node.args;
  if (isFloat(node.type.dtype)) return undefined;
  const [inner, outer] = constantOf(a) ? [b, a] : [a, b];
  if (inner.op !== node.op || !constantOf(outer)) return undefined;
  const [x, c] = constantOf(inner.args[0]) ? [inner.args[1], inner.args[0]] : inner.args;
  return constantOf(c) ? make(node.op, [x, make(node.op, [c, outer], node.attrs)], node.attrs) : undefined;
}

/** Division by a power of two is multiplication by its inverse, when the inverse is a normal number of the type. */
function byReciprocal(node: Node): Node | undefined {
  const [x, divisor] = node.args;
  const { dtype } = node.type;
  const value = scalarOf(divisor);
  if (value === undefined || !isFloat(dtype) || !Number.isInteger(Math.log2(Math.abs(value)))) return undefined;
  const inverse = 1 / value;
  const smallestNormal = dtype === 'f16' ? 2 ** -14 : 2 ** -126;
  if (Math.abs(inverse) < smallestNormal || Math.abs(inverse) > dtypeInfo[dtype].max) return undefined;
  return mul(x, filled(roundTo(dtype, inverse), x));
}

// ---- conversions ----

/** Integers up to this size are exact in a float type. */
const exactIntegers: Partial<Record<DType, number>> = { f32: 2 ** 24, f16: 2 ** 11, bf16: 2 ** 8 };

/** Whether every value of `from` is a value of `to`. */
function isLossless(from: DType, to: DType): boolean {
  if (from === to) return true;
  const [a, b] = [dtypeInfo[from], dtypeInfo[to]];
  if (a.kind === 'float') return to === 'f32';
  return b.kind === 'float' ? Math.max(-a.min, a.max) <= exactIntegers[to]! : b.min <= a.min && a.max <= b.max;
}

function cast(node: Node<'cast'>): Node | undefined {
  const [x] = node.args;
  const to = node.attrs.dtype;
  if (x.type.dtype === to) return x;
  if (!isOp(x, 'cast')) return undefined;
  const [source] = x.args;
  const [from, through] = [source.type.dtype, x.type.dtype];
  // An integer that comes back from a float saturates where a direct conversion wraps.
  const isDetour = !isFloat(from) && isFloat(through) && !isFloat(to) && to !== 'bool';
  if (!isLossless(from, through) || (isDetour && !isLossless(from, to))) return undefined;
  return make('cast', [source], { dtype: to });
}

// ---- views ----

const sameType = (a: TensorType, b: TensorType): boolean => a.dtype === b.dtype && shapeEquals(a.shape, b.shape);
/** The argument, when a view gives it back as it is. */
const unchanged = (node: Node): Node | undefined => (sameType(node.type, node.args[0].type) ? node.args[0] : undefined);
const ascending = (axes: readonly number[]): boolean => axes.every((a, i) => a === i);

function reshape(node: Node<'reshape'>): Node | undefined {
  const [x] = node.args;
  return unchanged(node) ?? (isOp(x, 'reshape') ? make('reshape', x.args, node.attrs) : viewOfConstant(node));
}

function transpose(node: Node<'transpose'>): Node | undefined {
  const [x] = node.args;
  const { perm } = node.attrs;
  if (ascending(perm)) return x;
  if (!isOp(x, 'transpose')) return viewOfConstant(node);
  return make('transpose', x.args, { perm: perm.map((p) => x.attrs.perm[p]) });
}

function broadcast(node: Node<'broadcast'>): Node | undefined {
  const [x] = node.args;
  const { shape, axes } = node.attrs;
  if (ascending(axes) && sameType(node.type, x.type)) return x;
  if (!isOp(x, 'broadcast')) return viewOfConstant(node);
  return make('broadcast', x.args, { shape, axes: x.attrs.axes.map((a) => axes[a]) });
}

function slice(node: Node<'slice'>): Node | undefined {
  const { starts, strides } = node.attrs;
  if (strides.every((s) => s === 1) && starts.every((s) => dimConst(s) === 0)) {
    const whole = unchanged(node);
    if (whole) return whole;
  }
  return viewOfConstant(node);
}

function reverse(node: Node<'reverse'>): Node | undefined {
  const [x] = node.args;
  const { axes } = node.attrs;
  if (axes.length === 0) return x;
  const undone = isOp(x, 'reverse') && [...axes].sort().join() === [...x.attrs.axes].sort().join();
  return undone ? x.args[0] : viewOfConstant(node);
}

// ---- the table ----

const identities: Rules = {
  neg: ({ args: [x] }) => (isOp(x, 'neg') ? x.args[0] : undefined),
  add: (n) => neutral(n, isNeutralZero) ?? reassociated(n),
  mul: (n) => {
    if (neutral(n, (v) => v === -1)) return neg(neutral(n, (v) => v === -1)!);
    return neutral(n, isOne) ?? absorbing(n, isIntegerZero) ?? reassociated(n);
  },
  div: (n) => right(n, isOne) ?? byReciprocal(n),
  pow: (n) => {
    const [x, exponent] = n.args;
    if (!isFloat(n.type.dtype)) return undefined;
    return right(n, isOne) ?? (scalarOf(exponent) === 2 ? mul(x, x) : undefined);
  },
  max: ({ args: [a, b] }) => (a === b ? a : undefined),
  min: ({ args: [a, b] }) => (a === b ? a : undefined),
  and: (n) => (n.args[0] === n.args[1] ? n.args[0] : (neutral(n, isAllOnes) ?? absorbing(n, isZero))),
  or: (n) => (n.args[0] === n.args[1] ? n.args[0] : (neutral(n, isZero) ?? absorbing(n, isAllOnes))),
  xor: (n) => neutral(n, isZero),
  shl: (n) => right(n, isZero),
  shr: (n) => right(n, isZero),
  select: ({ args: [condition, a, b] }) => {
    const value = scalarOf(condition);
    return a === b ? a : value === undefined ? undefined : value !== 0 ? a : b;
  },
  cast,
  bitcast: (n) => (n.args[0].type.dtype === n.attrs.dtype ? n.args[0] : undefined),
};

/** Every elementwise op folds on constants; then come its identities. */
const elementwiseRules: Rules = Object.fromEntries(
  (Object.keys(elementwise) as OpName[]).map((op) => {
    const identity = identities[op] as ((node: Node) => Node | undefined) | undefined;
    return [op, (node: Node) => folded(node) ?? identity?.(node)];
  }),
);

const rules: Rules = {
  ...elementwiseRules,
  reshape,
  transpose,
  broadcast,
  slice,
  reverse,
  pad: (n) => (n.attrs.low.concat(n.attrs.high).every((d) => dimEquals(d, dim(0))) ? n.args[0] : undefined),
  stop_gradient: (n) => n.args[0],
  concat: (n) => (n.args.length === 1 ? n.args[0] : undefined),
  dim: (n) => {
    const value = dimConst(n.attrs.dim);
    return value === undefined ? undefined : constant(value, 'i32');
  },
};

export const simplify: Pass = { name: 'simplify', run: (graph) => rewrite(graph, rules) };
