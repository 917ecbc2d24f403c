// What the two matrix product templates share: the region's products y[m, n] = sum over k of x[m, k] * w[n, k], seen as
// flat rows m and columns n, and the epilogue that turns sums in private memory into results.
import { type Dim, dim, dimAdd, dimProduct, shapeEquals } from '../../../ir/dim.ts';
import { dtypeInfo } from '../../../ir/dtype.ts';
import { isOp, type Node } from '../../../ir/graph.ts';
import { add, cast, type Expr, mul } from '../../../ir/loop.ts';
import { keepsOrder, partsOf } from '../../../ir/region.ts';
import { delinear, linear } from '../builder.ts';
import { type Emitter, vectorLoop } from '../emit.ts';
import { storeInState, updateOrigin } from './update.ts';

export interface Products {
  readonly nodes: readonly Node<'dot_general'>[];
  readonly lhs: Node;
  /** Sizes as expressions. */
  readonly m: Expr;
  readonly n: Expr;
  readonly k: Expr;
  /** Upper bound of the depth. */
  readonly depth: number;
  readonly columns: number;
  /** Index of a flat row, without the contracted axis. */
  row(m: Expr): Expr[];
  /** Index of a flat column of the right operand, without the contracted axis. */
  column(n: Expr): Expr[];
}

export function productsOf(emitter: Emitter): Products {
  const { builder, region } = emitter;
  const nodes = region.anchors as readonly Node<'dot_general'>[];
  const [lhs, rhs] = nodes[0].args;
  const outer = lhs.type.shape.slice(0, -1);
  const depth = lhs.type.shape[lhs.type.shape.length - 1];
  const free = rhs.type.shape.slice(0, -1);
  const columns = dimProduct(free);
  return {
    nodes,
    lhs,
    m: builder.size(dimProduct(outer)),
    n: builder.size(columns),
    k: builder.size(depth),
    depth: depth.max,
    columns: columns.max,
    row: (m) => delinear(builder, outer, m),
    column: (n) => delinear(builder, free, n),
  };
}

/** Bytes of an element of operands as stored; of the largest. */
export function storedBytes(operands: readonly Node[]): number {
  const stored = (n: Node): Node => (n.args.length > 0 ? stored(n.args[0]) : n);
  return Math.max(...operands.map((n) => dtypeInfo[stored(n).type.dtype].bytes));
}

/**
 * Results of row m, columns n0 … n0 + count - 1, from sums at sums[offset_p + position] for product p.
 */
export function emitEpilogue(
  emitter: Emitter,
  products: Products,
  m: Expr,
  n0: Expr,
  count: Expr,
  lanes: number,
  sums: string,
  offset: (product: number) => Expr,
): void {
  const { builder, region } = emitter;
  const { root } = region;
  const out = builder.buffer(root, 'write');
  const sameShape = shapeEquals(root.type.shape, products.nodes[0].type.shape);
  const start = builder.let(add(mul(m, products.n), n0));
  vectorLoop(emitter, count, lanes, (position, width, base) => {
    const n = add(n0, position);
    const at = sameShape
      ? [...products.row(m), ...products.column(n)]
      : delinear(builder, root.type.shape, add(start, position));
    products.nodes.forEach((node, p) => {
      emitter.given.set(node, () => cast(emitter.access(sums, add(offset(p), position), 'f32'), node.type.dtype));
    });
    const value = emitter.element(root, at);
    builder.store(out, add(start, base), width > 1 ? emitter.full(value) : value);
    for (const node of products.nodes) emitter.given.delete(node);
  });
}

/** The results at row m, column n, from the sum of each product: one, or one in each part of the root. */
export function emitResult(emitter: Emitter, products: Products, m: Expr, n: Expr, sums: readonly Expr[]): void {
  const { builder, region } = emitter;
  const out = builder.buffer(region.root, 'write');
  const { frame, parts } = partsOf(region.root);
  const place = builder.let(add(mul(m, products.n), n));
  const sameShape = shapeEquals(parts[0].type.shape, products.nodes[0].type.shape);
  const at = sameShape ? [...products.row(m), ...products.column(n)] : delinear(builder, parts[0].type.shape, place);
  products.nodes.forEach((node, p) => {
    emitter.given.set(node, () => cast(sums[p], node.type.dtype));
  });
  parts.forEach((part, i) => {
    const value = emitter.element(part, at);
    if (frame.length === 0) builder.store(out, place, value);
    else storeInFrame(emitter, frame, at, i, (to) => builder.store(out, to, value));
  });
  for (const node of products.nodes) emitter.given.delete(node);
}

/** Hands over where the element `at` of part `i` lies in the root, if it does. */
function storeInFrame(
  emitter: Emitter,
  frame: readonly Node[],
  at: readonly Expr[],
  i: number,
  store: (place: Expr) => void,
): void {
  const { builder } = emitter;
  let to = [...at];
  for (const n of [...frame].reverse()) {
    if (isOp(n, 'concat')) {
      const { axis } = n.attrs;
      const before = n.args.slice(0, i).reduce<Dim>((sum, a) => dimAdd(sum, a.type.shape[axis]), dim(0));
      to = to.map((e, a) => (a === axis ? add(e, builder.size(before)) : e));
    } else if (keepsOrder(n)) {
      to = delinear(builder, n.type.shape, builder.let(linear(builder, n.args[0].type.shape, to)));
    } else return storeInState(emitter, updateOrigin(emitter), to, store);
  }
  store(linear(builder, frame[0].type.shape, to));
}
