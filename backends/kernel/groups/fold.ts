// Reductions along other axes than the last, for groups: gradients of biases and norms, sums over everything. The map
// template would fold each element in one thread; here the threads of a group share the reduced positions.
//
// Where the last axis is kept, a group takes a strip of columns. Threads side by side read columns side by side, each
// a vector of them, and lines of threads take rows in turn. What each thread folded goes to the group's memory, and runs
// of threads fold the lines of a column. Where the last axis is reduced too, a group takes one element.
import { type Dim, dimConst, dimProduct } from '../../../ir/dim.ts';
import {
  add,
  alu,
  below,
  cast,
  ceilDiv,
  constant,
  type Expr,
  floorDiv,
  index,
  load,
  modulo,
  mul,
  type ReduceOp,
  sub,
} from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { combine, delinear, identity } from '../builder.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { foldStrip, lanesOf, minSharedFold } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import { once, threadIndex } from './map.ts';
import { isCombined } from './row.ts';

/** Emits the kernel and returns its grid; undefined where the root is no reduction that threads had better share. */
export function foldKernel(emitter: Emitter, target: Target): Expr | undefined {
  const { root } = emitter.region;
  if (!isOp(root, 'reduce') || !isCombined(root)) return undefined;
  const { shape } = root.args[0].type;
  if (dimProduct(reducedShape(root)).max < minSharedFold(target)) return undefined;
  if (root.attrs.axes.includes(shape.length - 1)) return elementKernel(emitter, target, root);
  // runs of threads that are not the whole group combine floats alone
  return root.attrs.acc === 'f32' ? stripKernel(emitter, target, root) : undefined;
}

/** Where the positions of a reduction lie: the index of its argument from those of the kept and of the reduced axes. */
function placeOf(
  { args: [x], attrs: { axes } }: Node<'reduce'>,
  kept: readonly Expr[],
  reduced: readonly Expr[],
): Expr[] {
  let [k, r] = [0, 0];
  return x.type.shape.map((_, axis) => (axes.includes(axis) ? reduced[r++] : kept[k++]));
}

const reducedShape = ({ args: [x], attrs: { axes } }: Node<'reduce'>): Dim[] =>
  x.type.shape.filter((_, axis) => axes.includes(axis));

/** One element of the result a group: threads take positions in turn. */
function elementKernel(emitter: Emitter, target: Target, root: Node<'reduce'>): Expr {
  const { builder } = emitter;
  const { op, acc } = root.attrs;
  const out = builder.buffer(root, 'write');
  const grid = builder.size(dimProduct(root.type.shape));
  const element = taskIndex(grid);
  const kept = delinear(builder, root.type.shape, element).map((e) => builder.let(e));
  const positions = reducedShape(root);
  const part = builder.mutable(constant(identity(op, acc), acc));
  builder.for(
    index(0),
    builder.size(dimProduct(positions)),
    1,
    (position) => {
      const at = placeOf(root, kept, delinear(builder, positions, position));
      builder.assign(part, combine(op, part, cast(emitter.element(root.args[0], at), acc)));
    },
    'group',
  );
  const [total] = builder.reduce(op as ReduceOp, target.groupThreads, [part]);
  once(builder, () => builder.store(out, element, cast(total, root.type.dtype)));
  return grid;
}

/** A strip of columns a group, in vectors where whole vectors fill the columns and elements come in such. */
function stripKernel(emitter: Emitter, target: Target, root: Node<'reduce'>): Expr {
  const lanes = lanesOf(target);
  const columns = dimConst(root.type.shape[root.type.shape.length - 1]) ?? 1;
  if (columns % lanes !== 0) return emitStrip(emitter, target, root, 1);
  try {
    return emitter.builder.attempt(() => emitStrip(emitter, target, root, lanes));
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    return emitStrip(emitter, target, root, 1);
  }
}

function emitStrip(emitter: Emitter, target: Target, root: Node<'reduce'>, lanes: number): Expr {
  const { builder } = emitter;
  const { op, acc } = root.attrs;
  const outer = root.type.shape.slice(0, -1);
  const columns = root.type.shape[root.type.shape.length - 1];
  const { across, lines, width } = foldStrip(target, outer, columns, lanes);
  const strip = across * lanes;
  const count = builder.size(columns);
  const strips = ceilDiv(count, strip);
  const grid = mul(builder.size(dimProduct(outer)), strips);
  const out = builder.buffer(root, 'write');
  const task = taskIndex(grid);
  const line = builder.let(floorDiv(task, strips));
  const first = builder.let(mul(modulo(task, strips), index(strip)));
  const kept = delinear(builder, outer, line).map((e) => builder.let(e));
  const thread = threadIndex(target);
  // Threads beyond the last column fold the last ones again, which nobody stores.
  const own = mul(modulo(thread, index(across)), index(lanes));
  const column = builder.let(alu('min', add(first, own), sub(count, index(lanes))));
  const part = emitPart(emitter, root, { kept, column, lanes, start: floorDiv(thread, index(across)), lines });

  const shared = builder.alloc(acc, target.groupThreads * lanes, 'group');
  builder.store(shared, mul(thread, index(lanes)), part);
  builder.barrier();
  const mine = builder.let(floorDiv(thread, index(width)));
  const sum = builder.mutable(constant(identity(op, acc), acc));
  builder.for(modulo(thread, index(width)), index(lines), width, (i) =>
    builder.assign(sum, combine(op, sum, load(shared, add(mul(i, index(strip)), mine), acc))),
  );
  const [total] = builder.reduce(op as ReduceOp, width, [sum]);
  const place = builder.let(add(first, mine));
  const isFirst = alu('eq', modulo(thread, index(width)), index(0));
  builder.if(alu('and', isFirst, alu('lt', place, count)), () =>
    builder.store(out, add(mul(line, count), below(place, count)), cast(total, root.type.dtype)),
  );
  return grid;
}

interface Part {
  readonly kept: readonly Expr[];
  /** The thread's first column, and how many it has. */
  readonly column: Expr;
  readonly lanes: number;
  /** The thread's first position, and how many lines of threads take positions in turn. */
  readonly start: Expr;
  readonly lines: number;
}

/** What one thread folds of its columns: a vector. */
function emitPart(emitter: Emitter, root: Node<'reduce'>, { kept, column, lanes, start, lines }: Part): Expr {
  const { builder } = emitter;
  const { op, acc } = root.attrs;
  const positions = reducedShape(root);
  const part = builder.mutable(constant(identity(op, acc), acc, lanes));
  builder.for(start, builder.size(dimProduct(positions)), lines, (position) =>
    emitter.vector(lanes, (lane) => {
      const at = placeOf(root, [...kept, add(column, lane)], delinear(builder, positions, position));
      const value = cast(emitter.element(root.args[0], at), acc);
      builder.assign(part, combine(op, part, emitter.full(value)));
    }),
  );
  return part;
}
