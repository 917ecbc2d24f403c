// Tensor: what an author of a model computes with. It wraps one graph node; every method returns a new Tensor whose node
// has been typed and interned by `make`. The graph knows neither broadcasting nor promotion, so both happen here, by
// NumPy's shape rule (align at the right, size 1 repeats) and PyTorch's dtype rule (float over integer over bool, plain
// numbers never widen), as explicit `broadcast` and `cast` nodes.
import type { Dim, DimLike } from '../../ir/dim.ts';
import {
  dim,
  dimAdd,
  dimConst,
  dimDivExact,
  dimEquals,
  dimProduct,
  dimSub,
  dimText,
  shapeEquals,
  shapeText,
} from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import { dtypeInfo, isFloat, isInteger, roundTo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { make } from '../../ir/make.ts';
import type { Node, OpName } from '../../ir/node.ts';
import type { Attrs } from '../../ir/ops/attrs.ts';
import { described, explained, mark, paramOf, wordOf } from './scope.ts';

/** An operand: a tensor, or a number that takes the dtype of the other operand. */
export type TensorLike = Tensor | number;
type CompareDirection = Attrs['compare']['direction'];
type ReduceOp = Attrs['reduce']['op'];

const typeError = (message: string): ModelcError => new ModelcError('type', message);

/** Applies an op of the IR: the door to everything that has no method here. */
export function op<O extends OpName>(name: O, args: readonly Tensor[], attrs: Attrs[O]): Tensor {
  for (const arg of args) {
    if (!(arg instanceof Tensor)) throw typeError(`${wordOf(name)} takes tensors, but got ${String(arg)}`);
  }
  let node: Node;
  try {
    node = make(
      name,
      args.map((a) => a.node),
      attrs,
    );
  } catch (error) {
    throw explained(error, name, args);
  }
  mark(node);
  return new Tensor(node);
}

/** A scalar of shape []. */
export const scalar = (value: number, dtype: DType = 'f32'): Tensor =>
  op('const', [], { value: roundTo(dtype, value), dtype });

/** A dimension as an i32 scalar. */
export const sizeOf = (size: DimLike): Tensor => op('dim', [], { dim: dim(size) });

/** `value` repeated to `shape`. */
export const full = (shape: readonly DimLike[], value: number, dtype: DType = 'f32'): Tensor =>
  scalar(value, dtype).broadcastTo(shape);

/** 0, 1, 2, … (length `size`). */
export const arange = (size: DimLike, dtype: DType = 'i32'): Tensor =>
  op('iota', [], { shape: [dim(size)], axis: 0, dtype });

/** The dtype in which an operation on `a` and `b` is computed. */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  if (isFloat(a) !== isFloat(b)) return isFloat(a) ? a : b;
  if (isFloat(a)) return 'f32'; // f16 and bf16 hold each other's values only in f32
  if (a === 'bool' || b === 'bool') return a === 'bool' ? b : a;
  const [x, y] = [dtypeInfo[a], dtypeInfo[b]];
  if (x.kind === y.kind) return x.bytes > y.bytes ? a : b;
  return [a, b].includes('i64') || [a, b].includes('u32') ? 'i64' : 'i32';
}

function lift(value: TensorLike, other: TensorLike): Tensor {
  if (value instanceof Tensor) return value;
  if (typeof value !== 'number')
    throw typeError(
      `an operation takes tensors and numbers, but got ${value === undefined ? 'nothing' : String(value)}`,
    );
  const dtype = other instanceof Tensor ? other.dtype : 'f32';
  return scalar(value, isFloat(dtype) || Number.isInteger(value) ? dtype : 'f32');
}

/** The common shape of NumPy's broadcasting. Throws ModelcError 'type' when there is none. */
export function broadcastShapes(a: readonly Dim[], b: readonly Dim[]): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? dim(1);
    const y = b[i - rank + b.length] ?? dim(1);
    if (dimEquals(x, y) || dimConst(y) === 1) return x;
    if (dimConst(x) === 1) return y;
    throw typeError(`shapes ${shapeText(a)} and ${shapeText(b)} do not broadcast together`);
  });
}

/** The common shape of two tensors; where there is none, the error names the weights among them. */
function sharedShape(x: Tensor, y: Tensor): Dim[] {
  try {
    return broadcastShapes(x.shape, y.shape);
  } catch (error) {
    if (!(error instanceof ModelcError) || !(paramOf(x.node) || paramOf(y.node))) throw error;
    throw new ModelcError(error.code, `${error.message}: ${described(x)} and ${described(y)}`, { cause: error });
  }
}

function unify(a: TensorLike, b: TensorLike, dtype?: DType): [Tensor, Tensor] {
  const x = lift(a, b);
  const y = lift(b, a);
  const type = dtype ?? promote(x.dtype, y.dtype);
  const shape = sharedShape(x, y);
  return [x.cast(type).broadcastTo(shape), y.cast(type).broadcastTo(shape)];
}

/** `onTrue` where the bool `condition` holds, else `onFalse`, broadcast together. */
export function where(condition: Tensor, onTrue: TensorLike, onFalse: TensorLike): Tensor {
  condition.require('where()', 'a bool condition', (dtype) => dtype === 'bool');
  const [x, y] = unify(onTrue, onFalse);
  const shape = sharedShape(condition, x);
  return op('select', [condition.broadcastTo(shape), x.broadcastTo(shape), y.broadcastTo(shape)], {});
}

/** Joins tensors along an axis. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  if (tensors.length === 0 || !tensors.every((t) => t instanceof Tensor)) throw typeError('concat() takes tensors, at least one'); // biome-ignore format: one row
  const at = tensors[0].axis(axis);
  const dtype = tensors.map((t) => t.dtype).reduce(promote);
  const parts = tensors.map((t) => t.cast(dtype));
  return parts.length === 1 ? parts[0] : op('concat', parts, { axis: at });
}

/**
 * An array in the graph that is being traced: no numbers yet, but their dtype and shape. Methods give new tensors,
 * whose shapes and dtypes are checked at once: ModelcError 'type' says what does not fit. Operands are broadcast as in
 * NumPy and promoted as in PyTorch.
 *
 *     const y = x.mul(2).add(bias).softmax(-1); // x f32 [batch, seq, n], bias f32 [n]
 */
export class Tensor {
  constructor(
    /** The node of the graph. */
    readonly node: Node,
  ) {}

  /** What its elements are. */
  get dtype(): DType {
    return this.node.type.dtype;
  }
  /** Sizes of its axes; those that a run chooses are symbolic. */
  get shape(): readonly Dim[] {
    return this.node.type.shape;
  }
  /** How many axes it has. */
  get rank(): number {
    return this.shape.length;
  }

  /** Throws ModelcError 'type' unless a test accepts the dtype: `call` takes `what`. */
  require(call: string, what: string, test: (dtype: DType) => boolean): void {
    if (!test(this.dtype)) throw typeError(`${call} takes ${what}, but got ${described(this)}; cast it first`);
  }

  /** Throws ModelcError 'type' unless there are so many axes. */
  requireRank(call: string, axes: string, rank: number): void {
    if (this.rank !== rank) throw typeError(`${call} takes a tensor of axes ${axes}, but got ${described(this)}`);
  }

  /** An axis counted from the end if negative. */
  axis(axis: number): number {
    const i = axis < 0 ? axis + this.rank : axis;
    if (!Number.isInteger(i) || i < 0 || i >= this.rank) {
      throw typeError(`axis ${axis} is out of range for ${described(this)}`);
    }
    return i;
  }

  // Elementwise.
  /** this + other */
  add(other: TensorLike): Tensor {
    return op('add', unify(this, other), {});
  }
  /** this - other */
  sub(other: TensorLike): Tensor {
    return typeof other === 'number'
      ? this.add(-other)
      : this.add(other.dtype === 'bool' ? other.cast('i32').neg() : other.neg());
  }
  /** this * other, element by element. */
  mul(other: TensorLike): Tensor {
    return op('mul', unify(this, other), {});
  }
  /** True division: integers are divided as f32. */
  div(other: TensorLike): Tensor {
    const dtype = promote(this.dtype, other instanceof Tensor ? other.dtype : this.dtype);
    return op('div', unify(this, other, isFloat(dtype) ? dtype : 'f32'), {});
  }
  /** The remainder of truncated division, which has the sign of this tensor: C's fmod. */
  rem(other: TensorLike): Tensor {
    return op('rem', unify(this, other), {});
  }
  /** this to the power of `other`. */
  pow(other: TensorLike): Tensor {
    return op('pow', unify(this, other), {});
  }
  /** The larger of two elements; NaN where one is NaN. */
  maximum(other: TensorLike): Tensor {
    return op('max', unify(this, other), {});
  }
  /** The smaller of two elements; NaN where one is NaN. */
  minimum(other: TensorLike): Tensor {
    return op('min', unify(this, other), {});
  }
  /** -this */
  neg(): Tensor {
    return op('neg', [this], {});
  }
  /** The absolute value. */
  abs(): Tensor {
    return this.maximum(this.neg());
  }
  /** To the next integer below. */
  floor(): Tensor {
    return op('floor', [this], {});
  }
  /** To the nearest integer, ties to even. */
  round(): Tensor {
    return op('round', [this], {});
  }
  /** e to the power of this. */
  exp(): Tensor {
    return op('exp', [this], {});
  }
  /** The natural logarithm. */
  log(): Tensor {
    return op('log', [this], {});
  }
  /** The sine of radians. */
  sin(): Tensor {
    return op('sin', [this], {});
  }
  /** The cosine of radians. */
  cos(): Tensor {
    return op('cos', [this], {});
  }
  /** The hyperbolic tangent. */
  tanh(): Tensor {
    return op('tanh', [this], {});
  }
  /** The error function, 2/√π times the integral of e^(-t²) from 0 to this. */
  erf(): Tensor {
    return op('erf', [this], {});
  }
  /** The square root. */
  sqrt(): Tensor {
    return op('sqrt', [this], {});
  }
  /** 1 / √this */
  rsqrt(): Tensor {
    return op('rsqrt', [this], {});
  }
  /** this * this */
  square(): Tensor {
    return this.mul(this);
  }
  /** min where it is less, max where it is more. */
  clamp(min: number, max: number): Tensor {
    return this.maximum(min).minimum(max);
  }
  /**
   * The values in another dtype: rounded to the nearest, ties to even; towards 0 from floats to integers; not 0 is
   * true.
   */
  cast(dtype: DType): Tensor {
    return dtype === this.dtype ? this : op('cast', [this], { dtype });
  }
  /** The same values, in which derivatives see a constant: PyTorch's detach. */
  detach(): Tensor {
    return op('stop_gradient', [this], {});
  }

  // Comparison and logic.
  private compare(direction: CompareDirection, other: TensorLike): Tensor {
    return op('compare', unify(this, other), { direction });
  }
  /** this = other, bool. */
  eq(other: TensorLike): Tensor {
    return this.compare('eq', other);
  }
  /** this ≠ other, bool. */
  ne(other: TensorLike): Tensor {
    return this.compare('ne', other);
  }
  /** this < other, bool. */
  lt(other: TensorLike): Tensor {
    return this.compare('lt', other);
  }
  /** this ≤ other, bool. */
  le(other: TensorLike): Tensor {
    return this.compare('le', other);
  }
  /** this > other, bool. */
  gt(other: TensorLike): Tensor {
    return this.compare('gt', other);
  }
  /** this ≥ other, bool. */
  ge(other: TensorLike): Tensor {
    return this.compare('ge', other);
  }
  /** Whether both hold: bools, or the bits of integers. */
  and(other: Tensor): Tensor {
    return op('and', unify(this, other), {});
  }
  /** Whether one holds or both: bools, or the bits of integers. */
  or(other: Tensor): Tensor {
    return op('or', unify(this, other), {});
  }
  /** Whether it does not hold: true where an element is 0 or false. */
  not(): Tensor {
    return this.eq(0);
  }

  // Shape.
  /** At most one size may be -1: it takes what is left. */
  reshape(sizes: readonly DimLike[]): Tensor {
    const open = sizes.indexOf(-1);
    let shape = sizes.map(dim);
    if (open >= 0) {
      const rest = dimDivExact(dimProduct(this.shape), dimProduct(sizes.filter((_, i) => i !== open)));
      if (!rest) throw typeError(`reshape of ${shapeText(this.shape)} to ${shapeText(sizes)}: no size fits -1`);
      shape = shape.map((d, i) => (i === open ? rest : d));
    }
    return shapeEquals(shape, this.shape) ? this : op('reshape', [this], { shape });
  }

  /** Result axis i is axis perm[i] of this tensor. */
  permute(perm: readonly number[]): Tensor {
    const order = perm.map((p) => this.axis(p));
    return order.length === this.rank && order.every((p, i) => p === i)
      ? this
      : op('transpose', [this], { perm: order });
  }

  /** Swaps two axes. */
  transpose(a: number, b: number): Tensor {
    const [x, y] = [this.axis(a), this.axis(b)];
    return this.permute(this.shape.map((_, i) => (i === x ? y : i === y ? x : i)));
  }

  /**
   * Repeats axes of size 1, and the whole along new axes at the left, to a shape. Throws ModelcError 'type' where
   * another axis would change.
   */
  broadcastTo(sizes: readonly DimLike[]): Tensor {
    const shape = sizes.map(dim);
    if (shapeEquals(shape, this.shape)) return this;
    return op('broadcast', [this], { shape, axes: this.shape.map((_, i) => shape.length - this.rank + i) });
  }

  /** Inserts an axis of size 1 at position `axis` of the result. */
  unsqueeze(axis: number): Tensor {
    const at = axis < 0 ? axis + this.rank + 1 : axis;
    if (!Number.isInteger(at) || at < 0 || at > this.rank) {
      throw typeError(`unsqueeze(): axis ${axis} is out of range for ${described(this)}`);
    }
    return this.reshape([...this.shape.slice(0, at), 1, ...this.shape.slice(at)]);
  }

  /** Drops an axis of size 1. */
  squeeze(axis: number): Tensor {
    const at = this.axis(axis);
    if (dimConst(this.shape[at]) !== 1) {
      throw typeError(`squeeze(): axis ${axis} of ${described(this)} does not have the size 1`);
    }
    return this.reshape(this.shape.filter((_, i) => i !== at));
  }

  /** Elements start..end-1 of an axis, every `stride`-th; negative numbers count from the end. */
  slice(axis: number, start: DimLike = 0, end?: DimLike, stride = 1): Tensor {
    const at = this.axis(axis);
    const size = this.shape[at];
    const position = (p: DimLike): Dim => (typeof p === 'number' && p < 0 ? dimSub(size, -p) : dim(p));
    const first = position(start);
    const length = dimSub(end === undefined ? size : position(end), first);
    const fixed = dimConst(length);
    if (stride !== 1 && fixed === undefined) {
      throw new ModelcError(
        'type',
        `slice with stride ${stride} needs a length that is known, got ${shapeText([length])}`,
      );
    }
    const count = stride === 1 ? length : dim(Math.ceil(fixed! / stride));
    if (stride === 1 && dimEquals(first, 0) && dimEquals(count, size)) return this;
    return op('slice', [this], {
      starts: this.shape.map((_, i) => (i === at ? first : dim(0))),
      sizes: this.shape.map((d, i) => (i === at ? count : d)),
      strides: this.shape.map((_, i) => (i === at ? stride : 1)),
    });
  }

  /** Cuts an axis into pieces of the given sizes, which sum to its own. */
  split(sizes: readonly DimLike[], axis: number): Tensor[] {
    const size = this.shape[this.axis(axis)];
    const total = sizes.reduce<Dim>((sum, part) => dimAdd(sum, part), dim(0));
    if (!dimEquals(total, size)) {
      throw typeError(`split() into ${shapeText(sizes)}: the sizes sum to ${dimText(total)}, but axis ${axis} of ${described(this)} has ${dimText(size)}`); // biome-ignore format: one row
    }
    let start = dim(0);
    return sizes.map((size) => {
      const end = dimSub(start, dimSub(0, size));
      const part = this.slice(axis, start, end);
      start = end;
      return part;
    });
  }

  // Reductions. `axes` defaults to all; keepdim leaves axes of size 1.
  private reduce(kind: ReduceOp, axes: number | readonly number[] | undefined, keepdim: boolean): Tensor {
    const list = (typeof axes === 'number' ? [axes] : (axes ?? this.shape.map((_, i) => i)))
      .map((a) => this.axis(a))
      .sort((a, b) => a - b);
    const acc = isFloat(this.dtype) ? 'f32' : this.dtype;
    const reduced = op('reduce', [this], { op: kind, axes: list, acc });
    return keepdim ? reduced.reshape(this.shape.map((d, i) => (list.includes(i) ? 1 : d))) : reduced;
  }
  /** The sum over `axes` (all); `keepdim` leaves them as axes of size 1. Floats add up in f32. */
  sum(axes?: number | readonly number[], keepdim = false): Tensor {
    return this.reduce('add', axes, keepdim);
  }
  /** The largest over `axes` (all); `keepdim` leaves them as axes of size 1. */
  max(axes?: number | readonly number[], keepdim = false): Tensor {
    return this.reduce('max', axes, keepdim);
  }
  /** The smallest over `axes` (all); `keepdim` leaves them as axes of size 1. */
  min(axes?: number | readonly number[], keepdim = false): Tensor {
    return this.reduce('min', axes, keepdim);
  }
  /** Of bools: whether all hold over `axes` (all); `keepdim` leaves them as axes of size 1. */
  all(axes?: number | readonly number[], keepdim = false): Tensor {
    this.require('all()', 'bools', (dtype) => dtype === 'bool');
    return this.reduce('and', axes, keepdim);
  }
  /** Of bools: whether any holds over `axes` (all); `keepdim` leaves them as axes of size 1. */
  any(axes?: number | readonly number[], keepdim = false): Tensor {
    this.require('any()', 'bools', (dtype) => dtype === 'bool');
    return this.reduce('or', axes, keepdim);
  }
  /** Of floats: the mean over `axes` (all); `keepdim` leaves them as axes of size 1. */
  mean(axes?: number | readonly number[], keepdim = false): Tensor {
    const list = (typeof axes === 'number' ? [axes] : (axes ?? this.shape.map((_, i) => i))).map((a) => this.axis(a));
    const count = dimProduct(list.map((a) => this.shape[a]));
    this.require('mean()', 'floats', isFloat);
    const total = this.sum(list, keepdim);
    return total.div(dimConst(count) ?? sizeOf(count).cast(total.dtype));
  }
  /** Sums of the elements up to each one along an axis. */
  cumsum(axis: number): Tensor {
    return op('scan', [this], { op: 'add', axis: this.axis(axis), exclusive: false, reverse: false });
  }
  /** e^x over the sum of e^x along an axis (the last). */
  softmax(axis = -1): Tensor {
    return op('softmax', [this], { axis: this.axis(axis) });
  }
  /** i32 positions of the k largest along the last axis, largest first. */
  topK(k: number): Tensor {
    return op('top_k', [this], { k });
  }
  /** i32 position of the largest along the last axis, the first of equals. */
  argmax(): Tensor {
    return this.topK(1).squeeze(-1);
  }

  // Contractions and indexing.
  /** Matrix product over the last two axes, of one dtype; leading axes broadcast. Accumulates in f32. */
  matmul(other: Tensor): Tensor {
    const { dtype } = this;
    if (other.dtype !== dtype) {
      throw typeError(`matmul() takes two tensors of one dtype, but got ${described(this)} and ${described(other)}; cast one`); // biome-ignore format: one row
    }
    if (this.rank < 2 || other.rank < 2) {
      throw typeError(`matmul() takes matrices, but got ${described(this)} and ${described(other)}`);
    }
    const batchShape = other.rank === 2 ? [] : broadcastShapes(this.shape.slice(0, -2), other.shape.slice(0, -2));
    const lhs = this.cast(dtype).broadcastTo(other.rank === 2 ? this.shape : [...batchShape, ...this.shape.slice(-2)]);
    const rhs = other.cast(dtype).broadcastTo([...batchShape, ...other.shape.slice(-2)]);
    const batch = batchShape.map((_, i) => i);
    const contract = [[lhs.rank - 1], [rhs.rank - 2]] as const;
    const acc = isFloat(dtype) ? 'f32' : 'i32';
    return op('dot_general', [lhs, rhs], { batch: [batch, batch], contract, acc }).cast(dtype);
  }

  /** Entries of `axis` at integer `indices` (any shape): NumPy's take. Out-of-range indices clamp. */
  gather(indices: Tensor, axis = 0): Tensor {
    indices.require('gather()', 'integers as indices', isInteger);
    return op('gather', [this, indices.cast('i32')], { axis: this.axis(axis), batch: 0 });
  }
}
