// Row template: reductions over the last axis and everything elementwise around them, one row at a time, on chip. Each
// reduction is a loop over the row with vector accumulators; the last loop stores the result. A value that costs more
// than a few operations and is wanted by two loops is kept in task-private memory.
import { dimProduct, shapeEquals } from '../../../ir/dim.ts';
import { topologicalOrder } from '../../../ir/graph.ts';
import { across, add, alu, cast, ceilDiv, constant, type Expr, index, mul } from '../../../ir/loop.ts';
import type { Node } from '../../../ir/node.ts';
import { opOf } from '../../../ir/ops/index.ts';
import { isRowReduction, keepsRows } from '../../../ir/region.ts';
import { combine, delinear, identity } from '../builder.ts';
import { type Emitter, vectorLoop } from '../emit.ts';
import { rowsPerTask } from '../schedule.ts';
import { taskIndex } from './map.ts';

/** The row reductions of a region, in the order in which they can be computed. */
export function rowReductions(emitter: Emitter, root: Node): Node<'reduce'>[] {
  const { interior } = emitter.region;
  return topologicalOrder([root])
    .filter((n) => interior.has(n))
    .filter(isRowReduction);
}

/** Computes `reduce` at row index `at` with vector accumulators and defines it for what follows in the block. */
export function emitRowReduction(emitter: Emitter, reduce: Node<'reduce'>, at: readonly Expr[], lanes: number): void {
  const { builder } = emitter;
  const { op, acc } = reduce.attrs;
  const [x] = reduce.args;
  const size = builder.size(x.type.shape[x.type.shape.length - 1]);
  const zero = identity(op, acc);
  const canUseLanes = op === 'add' || op === 'max' || op === 'min';
  const width = canUseLanes && acc === 'f32' ? lanes : 1;
  const vector = width > 1 ? builder.mutable(constant(zero, acc, width)) : undefined;
  const scalar = builder.mutable(constant(zero, acc));
  vectorLoop(emitter, size, width, (position, n) => {
    const value = cast(emitter.element(x, [...at, position]), acc);
    if (n === width && vector) builder.assign(vector, combine(op, vector, emitter.full(value)));
    else if (n > 1)
      builder.assign(scalar, combine(op, scalar, across(op as 'add' | 'max' | 'min', emitter.full(value))));
    else builder.assign(scalar, combine(op, scalar, value));
  });
  let total: Expr = scalar;
  if (vector) total = combine(op, total, across(op as 'add' | 'max' | 'min', vector));
  emitter.define(reduce, at, builder.let(cast(total, reduce.type.dtype)));
}

/** Emits all values of one row of `root` (an index of its leading axes), handing each to `store`. */
export function emitRow(
  emitter: Emitter,
  root: Node,
  at: readonly Expr[],
  lanes: number,
  store: (position: Expr, value: Expr) => void,
): void {
  const { builder } = emitter;
  const rowShape = root.type.shape.slice(0, -1);
  const isRowValue = (n: Node) => shapeEquals(n.type.shape, rowShape);
  const reductions = rowReductions(emitter, root).filter(isRowValue);
  const loops = [...reductions.map((r) => r.args[0]), root].map((sink) => loopValues(emitter, sink, reductions));
  stage(emitter, root, loops);
  reductions.forEach((reduce, i) => {
    emitRowReduction(emitter, reduce, at, lanes);
    for (const n of loops[i]) {
      const staged = emitter.staged.get(n);
      if (staged) staged.written = true;
    }
  });
  // What is one number per row is computed once, before the loop over the row.
  for (const n of topologicalOrder([root])) {
    if (emitter.region.interior.has(n) && n !== root && n.args.length > 0 && isRowValue(n)) emitter.element(n, at);
  }
  const size = builder.size(root.type.shape[root.type.shape.length - 1]);
  vectorLoop(emitter, size, lanes, (position, n, base) => {
    const value = emitter.element(root, [...at, position]);
    store(base, n > 1 ? emitter.full(value) : value);
  });
  emitter.staged.clear();
}

/** The nodes that the loop ending in `sink` computes: everything inside, down to the row reductions. */
export function loopValues(emitter: Emitter, sink: Node, reductions: readonly Node[]): Set<Node> {
  const seen = new Set<Node>();
  const visit = (n: Node) => {
    if (seen.has(n) || !emitter.region.interior.has(n) || reductions.includes(n)) return;
    seen.add(n);
    n.args.forEach(visit);
  };
  visit(sink);
  return seen;
}

/** Expensive values of the root's rows that more than one loop wants, each at its own position. */
export function sharedValues(emitter: Emitter, root: Node, loops: readonly Set<Node>[]): Node[] {
  const moved = movedValues(emitter, root);
  return [...new Set(loops.flatMap((l) => [...l]))].filter(
    (n) =>
      loops.filter((l) => l.has(n)).length > 1 &&
      !moved.has(n) &&
      opOf(n.op).cost === 'costly' &&
      shapeEquals(n.type.shape, root.type.shape),
  );
}

/** Gives private memory to such values. */
function stage(emitter: Emitter, root: Node, loops: readonly Set<Node>[]): void {
  const last = root.type.shape[root.type.shape.length - 1];
  if (last.max > 1 << 20) return;
  for (const n of sharedValues(emitter, root, loops)) {
    emitter.staged.set(n, { buffer: emitter.builder.alloc(n.type.dtype, Math.max(1, last.max)), written: false });
  }
}

/** Values that some user reads at another row, or elsewhere in the row, than where it stands itself. */
function movedValues(emitter: Emitter, root: Node): Set<Node> {
  const { interior } = emitter.region;
  const moved = new Set<Node>();
  const visit = (n: Node) => {
    if (moved.has(n) || !interior.has(n)) return;
    moved.add(n);
    n.args.forEach(visit);
  };
  for (const n of topologicalOrder([root])) if (interior.has(n) && !keepsRows(n)) n.args.forEach(visit);
  return moved;
}

export function rowKernel(emitter: Emitter, lanes: number): Expr {
  const { builder, region } = emitter;
  const { root } = region;
  const { shape } = root.type;
  // Reductions either have the root's rows, which are then loops over the last axis, or its very shape.
  const reductions = rowReductions(emitter, root);
  const inRows = shape.length > 0 && reductions.some((r) => shapeEquals(r.type.shape, shape.slice(0, -1)));
  const rowShape = inRows ? shape.slice(0, -1) : shape;
  const own = reductions.filter((r) => shapeEquals(r.type.shape, rowShape));
  const [{ type: longest }] = own[0].args;
  const out = builder.buffer(root, 'write');
  const perTask = rowsPerTask(longest.shape[longest.shape.length - 1]);
  const count = builder.size(dimProduct(rowShape));
  const grid = ceilDiv(count, perTask);
  const task = taskIndex(grid);
  const oneRow = (row: Expr) => {
    const at = delinear(builder, rowShape, row);
    if (!inRows) {
      for (const reduce of own) emitRowReduction(emitter, reduce, at, lanes);
      builder.store(out, row, emitter.element(root, at));
    } else {
      const base = builder.let(mul(row, builder.size(shape[shape.length - 1])));
      emitRow(emitter, root, at, lanes, (position, value) => builder.store(out, add(base, position), value));
    }
  };
  if (perTask === 1) oneRow(task);
  else {
    const first = builder.let(mul(task, index(perTask)));
    const end = builder.let(alu('min', add(first, index(perTask)), count));
    builder.for(first, end, 1, oneRow, 'serial', count);
  }
  return grid;
}
