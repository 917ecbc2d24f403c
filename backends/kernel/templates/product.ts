// What the matrix product templates share: the region's products y[g, m, n] = sum over k of x[g, m, k] * w[g, n, k], seen
// as flat batch entries g, rows m, columns n and depth k whatever axes of the operands these are, and the epilogue that
// turns sums in private memory into results.
import { type Dim, dim, dimAdd, dimProduct, shapeEquals } from '../../../ir/dim.ts';
import { dtypeInfo } from '../../../ir/dtype.ts';
import { add, below, cast, ceilDiv, type Expr, floorDiv, index, modulo, mul } from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import { freeAxes, keepsOrder, partsOf } from '../../../ir/region.ts';
import { delinear, linear } from '../builder.ts';
import { type Emitter, vectorLoop } from '../emit.ts';
import type { ProductSizes } from '../schedule.ts';
import { taskIndex } from './map.ts';
import { storeInState, updateOrigin } from './update.ts';

export interface Products {
  readonly nodes: readonly Node<'dot_general'>[];
  readonly lhs: Node;
  /** Sizes as expressions: entries of the batch, rows, columns, depth. */
  readonly g: Expr;
  readonly m: Expr;
  readonly n: Expr;
  readonly k: Expr;
  /** The same as dims. */
  readonly sizes: ProductSizes;
  /** The element of the left operand, or of product p's right operand. */
  left(g: Expr, m: Expr, k: Expr): Expr;
  right(p: number, g: Expr, n: Expr, k: Expr): Expr;
  /** Index of a product's element. */
  result(g: Expr, m: Expr, n: Expr): Expr[];
  /** Of a plain product: index of a flat row, and of a flat column, without the contracted axis. */
  row(m: Expr): Expr[];
  column(n: Expr): Expr[];
}

export function productsOf(emitter: Emitter): Products {
  const { builder, region } = emitter;
  const nodes = region.anchors as readonly Node<'dot_general'>[];
  const [lhs, rhs] = nodes[0].args;
  const { batch, contract } = nodes[0].attrs;
  const pick = (x: Node, axes: readonly number[]): Dim[] => axes.map((axis) => x.type.shape[axis]);
  const shapes = {
    batch: pick(lhs, batch[0]),
    rows: pick(lhs, freeAxes(nodes[0], 0)),
    columns: pick(rhs, freeAxes(nodes[0], 1)),
    depth: pick(lhs, contract[0]),
  };
  const at = (shape: readonly Dim[], flat: Expr) => delinear(builder, shape, flat);
  /** The element of an operand of `node` whose free axes are `free`. */
  const element = (node: Node<'dot_general'>, side: 0 | 1, g: Expr, free: readonly Expr[], k: Expr): Expr => {
    const place = new Array<Expr>(node.args[side].type.shape.length);
    const put = (axes: readonly number[], values: readonly Expr[]) =>
      axes.forEach((axis, i) => (place[axis] = values[i]));
    put(node.attrs.batch[side], at(shapes.batch, g));
    put(freeAxes(node, side), free);
    put(node.attrs.contract[side], at(shapes.depth, k));
    return emitter.element(node.args[side], place);
  };
  return {
    nodes,
    lhs,
    g: builder.size(dimProduct(shapes.batch)),
    m: builder.size(dimProduct(shapes.rows)),
    n: builder.size(dimProduct(shapes.columns)),
    k: builder.size(dimProduct(shapes.depth)),
    sizes: {
      batch: dimProduct(shapes.batch),
      rows: dimProduct(shapes.rows),
      columns: dimProduct(shapes.columns),
      depth: dimProduct(shapes.depth),
    },
    left: (g, m, k) => element(nodes[0], 0, g, at(shapes.rows, m), k),
    right: (p, g, n, k) => element(nodes[p], 1, g, at(shapes.columns, n), k),
    result: (g, m, n) => [...at(shapes.batch, g), ...at(shapes.rows, m), ...at(shapes.columns, n)],
    row: (m) => at(shapes.rows, m),
    column: (n) => at(shapes.columns, n),
  };
}

/** The block of the result that a group computes: `height` rows and `width` columns of one entry of the batch. */
export function blockOf(
  { builder }: Emitter,
  { g, m, n }: Products,
  height: number,
  width: number,
): Readonly<Record<'grid' | 'entry' | 'm0' | 'n0', Expr>> {
  const down = ceilDiv(m, height);
  const perEntry = mul(ceilDiv(n, width), down);
  const grid = mul(g, perEntry);
  const task = taskIndex(grid);
  const isOne = g.kind === 'const' && g.value === 1;
  const entry = isOne ? index(0) : below(builder.let(floorDiv(task, perEntry)), g);
  const inEntry = isOne ? task : builder.let(modulo(task, perEntry));
  const n0 = builder.let(mul(floorDiv(inEntry, down), index(width)));
  const m0 = builder.let(mul(modulo(inEntry, down), index(height)));
  return { grid, entry, m0, n0 };
}

/** Bytes of an element of operands as stored; of the largest. */
export function storedBytes(operands: readonly Node[]): number {
  const stored = (n: Node): Node => (n.args.length > 0 ? stored(n.args[0]) : n);
  return Math.max(...operands.map((n) => dtypeInfo[stored(n).type.dtype].bytes));
}

/**
 * Results of row m of batch entry g, columns n0 … n0 + count - 1, from sums at sums[offset_p + position] for product p.
 */
export function emitEpilogue(
  emitter: Emitter,
  products: Products,
  [g, m, n0]: readonly [g: Expr, m: Expr, n0: Expr],
  count: Expr,
  lanes: number,
  sums: string,
  offset: (product: number) => Expr,
): void {
  const { builder, region } = emitter;
  const { root } = region;
  const out = builder.buffer(root, 'write');
  const sameShape = shapeEquals(root.type.shape, products.nodes[0].type.shape);
  const start = builder.let(placeOf(products, g, m, n0));
  vectorLoop(emitter, count, lanes, (position, width, base) => {
    const n = add(n0, position);
    const at = sameShape ? products.result(g, m, n) : delinear(builder, root.type.shape, add(start, position));
    products.nodes.forEach((node, p) => {
      emitter.given.set(node, () => cast(emitter.access(sums, add(offset(p), position), 'f32'), node.type.dtype));
    });
    const value = emitter.element(root, at);
    builder.store(out, add(start, base), width > 1 ? emitter.full(value) : value);
    for (const node of products.nodes) emitter.given.delete(node);
  });
}

/** Where a product's element lies among all of them. */
const placeOf = ({ m: rows, n: columns }: Products, g: Expr, m: Expr, n: Expr): Expr =>
  add(mul(add(mul(g, rows), m), columns), n);

/** The results at row m, column n of batch entry g, from the sum of each product: one, or one in each part of the root. */
export function emitResult(
  emitter: Emitter,
  products: Products,
  [g, m, n]: readonly [g: Expr, m: Expr, n: Expr],
  sums: readonly Expr[],
): void {
  const { builder, region } = emitter;
  const out = builder.buffer(region.root, 'write');
  const { frame, parts } = partsOf(region.root);
  const place = builder.let(placeOf(products, g, m, n));
  const sameShape = shapeEquals(parts[0].type.shape, products.nodes[0].type.shape);
  const at = sameShape ? products.result(g, m, n) : delinear(builder, parts[0].type.shape, place);
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
