// What the matrix product templates share: the region's products y[g, m, n] = sum over k of x[g, m, k] * w[g, n, k], seen
// as flat batch entries g, rows m, columns n and depth k whatever axes of the operands these are, and the epilogue that
// turns sums in private memory into results.
import { type Dim, dim, dimAdd, dimProduct, shapeEquals } from '../../../ir/dim.ts';
import { dtypeInfo } from '../../../ir/dtype.ts';
import { add, alu, below, cast, ceilDiv, constant, type Expr, floorDiv, index, lessThan, modulo, mul, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import { isOp, type Node } from '../../../ir/node.ts';
import { keepsOrder, partsOf, productOf } from '../../../ir/region.ts';
import { delinear, linear } from '../builder.ts';
import { type Emitter, vectorLoop } from '../emit.ts';
import type { ProductSizes } from '../schedule.ts';
import { taskIndex } from './map.ts';
import { storeInState, updateOrigin } from './update.ts';

export interface Products {
  readonly nodes: readonly Node[];
  readonly lhs: Node;
  /** Sizes as expressions: entries of the batch, rows, columns, depth. */
  readonly g: Expr;
  readonly m: Expr;
  readonly n: Expr;
  readonly k: Expr;
  /** The same as dims. */
  readonly sizes: ProductSizes;
  /** Groups of rows that have a right operand of their own; 0: all rows have one. */
  readonly groups: Expr;
  /** The group of the rows that the task computes; as many as there are: rows behind the last group, whose results are 0. */
  group?: Expr;
  /** The element of the left operand, or of product p's right operand, that of the task's group. */
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
  const nodes = region.anchors;
  const [lhs, rhs] = nodes[0].args;
  const { batch, rows, columns, depth, result, group } = productOf(nodes[0])!;
  const pick = (x: Node, axes: readonly number[]): Dim[] => axes.map((axis) => x.type.shape[axis]);
  const shapes = { batch: pick(lhs, batch[0]), rows: pick(lhs, rows), columns: pick(rhs, columns), depth: pick(lhs, depth[0]) }; // biome-ignore format: one row
  const at = (shape: readonly Dim[], flat: Expr) => delinear(builder, shape, flat);
  /** The element of an operand of product `p` whose own axes are `free`. */
  const element = (p: number, side: 0 | 1, g: Expr, free: readonly Expr[], k: Expr): Expr => {
    const product = productOf(nodes[p])!;
    const operand = nodes[p].args[side];
    const place = new Array<Expr>(operand.type.shape.length);
    const put = (axes: readonly number[], values: readonly Expr[]) =>
      axes.forEach((axis, i) => (place[axis] = values[i]));
    put(product.batch[side], at(shapes.batch, g));
    put(side === 0 ? product.rows : product.columns, free);
    put(product.depth[side], at(shapes.depth, k));
    if (side === 1 && group !== undefined) place[group] = alu('min', products.group!, sub(groups, index(1)));
    return emitter.element(operand, place);
  };
  const sizes = {
    batch: dimProduct(shapes.batch),
    rows: dimProduct(shapes.rows),
    columns: dimProduct(shapes.columns),
    depth: dimProduct(shapes.depth),
  };
  const groups = group === undefined ? index(0) : builder.size(rhs.type.shape[group]);
  const products: Products = {
    nodes,
    lhs,
    groups,
    g: builder.size(sizes.batch),
    m: builder.size(sizes.rows),
    n: builder.size(sizes.columns),
    k: builder.size(sizes.depth),
    sizes,
    left: (g, m, k) => element(0, 0, g, at(shapes.rows, m), k),
    right: (p, g, n, k) => element(p, 1, g, at(shapes.columns, n), k),
    result(g, m, n) {
      const places = { batch: at(shapes.batch, g), rows: at(shapes.rows, m), columns: at(shapes.columns, n) };
      return result.map((from) => (from ? places[from[0]][from[1]] : index(0)));
    },
    row: (m) => at(shapes.rows, m),
    column: (n) => at(shapes.columns, n),
  };
  return products;
}

/** Rows m0 … mEnd - 1 of an entry of the batch, and columns from n0 on. */
type Block = Readonly<Record<'grid' | 'entry' | 'm0' | 'mEnd' | 'n0', Expr>>;

/** The block of the result that a task computes: up to `height` rows and `width` columns of one entry of the batch. */
export function blockOf(emitter: Emitter, products: Products, height: number, width: number): Block {
  const { builder } = emitter;
  const { g, m, n } = products;
  if (productOf(products.nodes[0])!.group !== undefined) return groupedBlock(emitter, products, height, width);
  const down = ceilDiv(m, height);
  const perEntry = mul(ceilDiv(n, width), down);
  const grid = mul(g, perEntry);
  const task = taskIndex(grid);
  const isOne = g.kind === 'const' && g.value === 1;
  const entry = isOne ? index(0) : below(builder.let(floorDiv(task, perEntry)), g);
  const inEntry = isOne ? task : builder.let(modulo(task, perEntry));
  const n0 = builder.let(mul(floorDiv(inEntry, down), index(width)));
  const m0 = builder.let(mul(modulo(inEntry, down), index(height)));
  return { grid, entry, m0, mEnd: builder.let(alu('min', add(m0, index(height)), m)), n0 };
}

/**
 * The same where rows come in groups: no block has rows of two. The counts of the groups say where the blocks of each
 * begin; there are as many tasks as there can be blocks, and those left over get no rows.
 */
function groupedBlock(emitter: Emitter, products: Products, height: number, width: number): Block {
  const { builder } = emitter;
  const { m, n, nodes, groups } = products;
  const down = add(ceilDiv(m, height), groups);
  const grid = mul(ceilDiv(n, width), down);
  const task = taskIndex(grid);
  const n0 = builder.let(mul(floorDiv(task, down), index(width)));
  const block = builder.let(modulo(task, down));
  const [first, used, own, m0, mEnd] = [index(0), index(0), groups, m, m].map((e) => builder.mutable(e));
  const claim = (rows: Expr, group: Expr): void => {
    builder.assign(own, group);
    builder.assign(m0, add(first, mul(sub(block, used), index(height))));
    builder.assign(mEnd, alu('min', add(m0, index(height)), add(first, rows)));
  };
  builder.for(index(0), groups, 1, (e) => {
    const count = alu('max', emitter.element(nodes[0].args[2], [e]), constant(0, 'i32'));
    const rows = builder.let(alu('min', cast(count, 'index'), sub(m, first)));
    const end = builder.let(add(used, ceilDiv(rows, height)));
    const isOwn = alu('and', alu('ge', block, used), lessThan(block, end));
    builder.if(isOwn, () => claim(rows, e));
    builder.assign(first, add(first, rows));
    builder.assign(used, end);
  });
  builder.if(alu('ge', block, used), () => {
    const rows = builder.let(sub(m, first));
    builder.if(lessThan(block, add(used, ceilDiv(rows, height))), () => claim(rows, groups));
  });
  products.group = builder.let(own);
  return { grid, entry: index(0), m0: builder.let(m0), mEnd: builder.let(mEnd), n0 };
}

/** Emits what becomes of a task's sums; rows behind the last group have none. */
function withSums({ builder }: Emitter, { group, groups }: Products, emit: (hasSums: boolean) => void): void {
  if (group === undefined) emit(true);
  else
    builder.if(
      lessThan(group, groups),
      () => emit(true),
      () => emit(false),
    );
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
  withSums(emitter, products, (hasSums) =>
    vectorLoop(emitter, count, lanes, (position, width, base) => {
      const n = add(n0, position);
      const at = sameShape ? products.result(g, m, n) : delinear(builder, root.type.shape, add(start, position));
      products.nodes.forEach((node, p) => {
        const sum = () => emitter.access(sums, add(offset(p), position), 'f32');
        emitter.given.set(node, () => (hasSums ? sum() : constant(0, 'f32')));
      });
      const value = emitter.element(root, at);
      builder.store(out, add(start, base), width > 1 ? emitter.full(value) : value);
      for (const node of products.nodes) emitter.given.delete(node);
    }),
  );
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
  withSums(emitter, products, (hasSums) => {
    products.nodes.forEach((node, p) => {
      emitter.given.set(node, () => (hasSums ? sums[p] : constant(0, 'f32')));
    });
    parts.forEach((part, i) => {
      const value = emitter.element(part, at);
      if (frame.length === 0) builder.store(out, place, value);
      else storeInFrame(emitter, frame, at, i, (to) => builder.store(out, to, value));
    });
    for (const node of products.nodes) emitter.given.delete(node);
  });
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
