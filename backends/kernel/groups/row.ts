// Row template for groups: one row a group. Each reduction is a loop in which the threads stride over the row, followed by
// a reduction over the group; the last loop stores the result. A value that costs more than a few operations and is
// wanted by two loops is kept in the group's memory: every thread finds there what it wrote itself.
import { dimProduct, shapeEquals } from '../../../ir/dim.ts';
import { topologicalOrder } from '../../../ir/graph.ts';
import { across, add, cast, constant, type Expr, exprEquals, floorDiv, index, mul, type ReduceOp } from '../../../ir/loop.ts'; // biome-ignore format: one row
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { combine, delinear, identity } from '../builder.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { groupElements, lanesOf } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import { loopValues, rowReductions, sharedValues } from '../templates/row.ts';
import { mapKernel, once } from './map.ts';

export function rowKernel(emitter: Emitter, target: Target): Expr {
  const { builder, region } = emitter;
  const { root } = region;
  const { shape } = root.type;
  const reductions = rowReductions(emitter, root);
  const inRows = shape.length > 0 && reductions.some((r) => shapeEquals(r.type.shape, shape.slice(0, -1)));
  const rowShape = inRows ? shape.slice(0, -1) : shape;
  const own = reductions.filter((r) => shapeEquals(r.type.shape, rowShape));
  // What a group cannot combine, or would with most threads idle, threads fold one element each.
  const isShort = !inRows && own.every((r) => lastAxis(r.args[0]).max <= target.groupThreads);
  if (isShort || !own.every(isCombined)) return mapKernel(emitter, target);

  const out = builder.buffer(root, 'write');
  const grid = builder.size(dimProduct(rowShape));
  const row = taskIndex(grid);
  const at = delinear(builder, rowShape, row);
  const loops = own.map((r) => loopValues(emitter, r.args[0], own));
  if (inRows) stage(emitter, root, [...loops, loopValues(emitter, root, own)], target);
  own.forEach((reduce, i) => {
    emitReduction(emitter, target, reduce, [at], 1); // threads find what they staged at single positions
    for (const n of loops[i]) {
      const staged = emitter.staged.get(n);
      if (staged) staged.written = true;
    }
  });
  if (!inRows) {
    once(builder, () => builder.store(out, row, emitter.element(root, at)));
    return grid;
  }
  emitRowValues(emitter, root, at);
  const size = builder.size(shape[shape.length - 1]);
  const base = builder.let(mul(row, size));
  builder.for(
    index(0),
    size,
    1,
    (position) => builder.store(out, add(base, position), emitter.element(root, [...at, position])),
    'group',
  );
  emitter.staged.clear();
  return grid;
}

const lastAxis = (n: Node) => n.type.shape[n.type.shape.length - 1];

/** The reductions over the rows of `root` that groups combine, computed for some rows and defined for what follows. */
export function emitReductions(emitter: Emitter, target: Target, root: Node, rows: readonly Expr[][]): void {
  const rowShape = root.type.shape.slice(0, -1);
  const own = rowReductions(emitter, root).filter((r) => shapeEquals(r.type.shape, rowShape) && isCombined(r));
  for (const reduce of own) emitReduction(emitter, target, reduce, rows, lanesOf(target));
  for (const at of rows) emitRowValues(emitter, root, at);
}

/** What is one number per row is computed once, before the loops over the row. */
function emitRowValues(emitter: Emitter, root: Node, at: readonly Expr[]): void {
  const rowShape = root.type.shape.slice(0, -1);
  for (const n of topologicalOrder([root])) {
    const isRowValue = n !== root && n.args.length > 0 && shapeEquals(n.type.shape, rowShape);
    if (emitter.region.interior.has(n) && isRowValue) emitter.element(n, at);
  }
}

/** Whether groups combine such a reduction: the sums and maxima of 32-bit numbers. */
export const isCombined = ({ attrs: { op, acc } }: Node<'reduce'>): boolean =>
  (op === 'add' || op === 'max' || op === 'min') && (acc === 'f32' || acc === 'i32' || acc === 'u32');

/** `lanes`: of the vectors that a thread takes, where the elements allow it. */
function emitReduction(
  emitter: Emitter,
  target: Target,
  reduce: Node<'reduce'>,
  rows: readonly Expr[][],
  lanes: number,
): void {
  const { builder } = emitter;
  const { op, acc } = reduce.attrs;
  const [x] = reduce.args;
  const size = builder.size(lastAxis(x));
  const parts = rows.map(() => builder.mutable(constant(identity(op, acc), acc)));
  const loop = (start: Expr, end: Expr, width: number) => {
    const wide = rows.map(() => builder.mutable(constant(identity(op, acc), acc, width)));
    builder.for(
      start,
      end,
      width,
      (base) =>
        emitter.vector(width, (lane) =>
          rows.forEach((at, r) => {
            const value = cast(emitter.element(x, [...at, add(base, lane)]), acc);
            builder.assign(wide[r], combine(op, wide[r], emitter.full(value)));
          }),
        ),
      'group',
    );
    wide.forEach((value, r) => builder.assign(parts[r], combine(op, parts[r], across(op as ReduceOp, value))));
  };
  const width = acc === 'f32' ? lanes : 1;
  const whole = width === 1 ? size : builder.let(mul(floorDiv(size, index(width)), index(width)));
  try {
    builder.attempt(() => loop(index(0), whole, width));
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    loop(index(0), whole, 1);
  }
  if (!exprEquals(whole, size)) loop(whole, size, 1);
  const totals = builder.reduce(op as ReduceOp, target.groupThreads, parts);
  rows.forEach((at, r) => emitter.define(reduce, at, builder.let(cast(totals[r], reduce.type.dtype))));
}

/** Gives group memory to expensive row values that more than one loop wants, as long as there is room. */
function stage(emitter: Emitter, root: Node, loops: readonly Set<Node>[], target: Target): void {
  const { max } = lastAxis(root);
  let room = groupElements(target);
  for (const n of sharedValues(emitter, root, loops)) {
    if (max > room || isOp(n, 'reduce')) continue;
    room -= max;
    emitter.staged.set(n, { buffer: emitter.builder.alloc(n.type.dtype, Math.max(1, max), 'group'), written: false });
  }
}
