// The template that always applies: every element of the root by itself, rows spread over tasks, vectors along the last
// axis where the expression allows it. Folds inside (reductions, odd contractions) become loops in the element.
import { type Dim, dim, dimProduct } from '../../../ir/dim.ts';
import { add, alu, below, ceilDiv, type Expr, floorDiv, index, modulo, mul, sub, variable } from '../../../ir/loop.ts';
import { delinear, type KernelBuilder } from '../builder.ts';
import { type Emitter, vectorLoop } from '../emit.ts';
import { mapSplit } from '../schedule.ts';

/** Task number of the running task, below `grid`. */
export const taskIndex = (grid: Expr): Expr => below(variable('task'), grid);

/**
 * Spreads an index space over tasks: `body` gets the index of a row (all axes but the last) and runs over (part of) the
 * last axis as the loop helper tells it. Returns the grid.
 */
export function overRows(
  builder: KernelBuilder,
  shape: readonly Dim[],
  body: (row: Expr, at: Expr[], start: Expr, size: Expr) => void,
): Expr {
  const outer = shape.slice(0, -1);
  const rows = dimProduct(outer);
  const inner = shape.length > 0 ? shape[shape.length - 1] : dim(1);
  const innerSize = builder.size(inner);
  const { rowsPerTask, piece } = mapSplit(rows, inner);
  const rowCount = builder.size(rows);
  if (piece > 0) {
    const pieces = ceilDiv(innerSize, piece);
    const task = taskIndex(mul(rowCount, pieces));
    const row = builder.let(floorDiv(task, pieces));
    below(row, rowCount);
    const start = builder.let(mul(modulo(task, pieces), index(piece)));
    const size = builder.let(alu('min', index(piece), sub(innerSize, start)));
    body(row, delinear(builder, outer, row), start, size);
    return mul(rowCount, pieces);
  }
  const grid = ceilDiv(rowCount, rowsPerTask);
  const task = taskIndex(grid);
  if (rowsPerTask === 1) {
    body(task, delinear(builder, outer, task), index(0), innerSize);
  } else {
    const first = builder.let(mul(task, index(rowsPerTask)));
    const end = builder.let(alu('min', add(first, index(rowsPerTask)), rowCount));
    builder.for(
      first,
      end,
      1,
      (row) => body(row, delinear(builder, outer, row), index(0), innerSize),
      'serial',
      rowCount,
    );
  }
  return grid;
}

export function mapKernel(emitter: Emitter, lanes: number): Expr {
  const { builder, region } = emitter;
  const { root } = region;
  const { shape } = root.type;
  const out = builder.buffer(root, 'write');
  const inner = shape.length > 0 ? builder.size(shape[shape.length - 1]) : index(1);
  return overRows(builder, shape, (row, at, start, size) => {
    const base = builder.let(mul(row, inner));
    vectorLoop(emitter, size, lanes, (position, width, scalarPosition) => {
      const p = add(start, position);
      const value = emitter.element(root, shape.length > 0 ? [...at, p] : []);
      builder.store(out, add(base, add(start, scalarPosition)), width > 1 ? emitter.full(value) : value);
    });
  });
}
