// What an op is: one record, in one place. Everything else in the compiler reads these records.
import type { Dim, DimLike } from '../dim.ts';
import type { DType } from '../dtype.ts';
import type { Expr } from '../loop.ts';
import type { NdArray } from '../ndarray.ts';
import type { Node, OpName, TensorType } from '../node.ts';
import type { Attrs } from './attrs.ts';

/**
 * Which output axis comes from which input axis, as in an einsum. A factor is an iteration axis; each dimension of an
 * argument or of the result is a list of factors, major to minor (several for a merged dimension, none for size 1).
 * 'map' factors are independent, 'reduce' factors are summed over (absent from the result), 'opaque' factors must be
 * seen whole (a sort axis, a gather axis). An argument dimension that follows no factor is listed as an opaque one.
 */
export interface AxisRule {
  readonly factors: readonly { readonly size: Dim; readonly kind: 'map' | 'reduce' | 'opaque' }[];
  readonly args: readonly (readonly (readonly number[])[])[];
  readonly result: readonly (readonly number[])[];
}

/** Values of the dim variables of one run. */
export type DimEnv = Readonly<Record<string, number>>;

/** How `Op.element` builds scalar code for one element of a result. */
export interface ElementContext {
  /** The element of argument `arg` at `index` (one index expression per dimension). */
  read(arg: number, index: readonly Expr[]): Expr;
  /** A dimension as an index expression. */
  size(d: DimLike): Expr;
  /** A name for `value`, so that code that uses it several times is computed (and printed) once. */
  let(value: Expr): Expr;
  /**
   * Folds `body` over all index tuples below `extents`, starting at `init`, with accumulation in `dtype`.
   * Emits a loop nest; returns the accumulated value.
   */
  fold(
    combine: 'add' | 'mul' | 'max' | 'min' | 'and' | 'or',
    extents: readonly DimLike[],
    dtype: DType,
    body: (index: readonly Expr[]) => Expr,
  ): Expr;
  /** `then()` where `condition` holds, else `otherwise`; the branch not taken reads no memory. */
  guard(condition: Expr, then: () => Expr, otherwise: Expr): Expr;
}

export interface Op<O extends OpName> {
  /** The result type; checks the numbered constraints of the op's doc comment. Throws ModelcError 'type'. */
  infer(args: readonly TensorType[], attrs: Attrs[O]): TensorType;
  axes(node: Node<O>): AxisRule;
  /**
   * What one element costs beside its arguments' elements: nothing, as that of a view or a conversion; much, as a
   * function that takes many instructions; or a loop of its own that `axes` does not show. Otherwise, about an addition.
   */
  readonly cost?: 'free' | 'costly' | 'loop';
  /** The meaning, in plain TypeScript. Values are rounded to the result's dtype. */
  eval(node: Node<O>, args: readonly NdArray[], env: DimEnv): NdArray;
  /** One element of the result as scalar loop code; absent for ops that have no cheap per-element form. */
  element?(node: Node<O>, at: readonly Expr[], context: ElementContext): Expr;
}

/** A graph of simpler ops that is equivalent to a node (ops/decompose/). */
export type Decomposition<O extends OpName> = (node: Node<O>) => Node;

export type OpTable<Family> = { readonly [O in keyof Family & OpName]: Op<O> };
