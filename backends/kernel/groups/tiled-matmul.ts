// Matrix product with many rows on the left by matrix instructions. A group owns a block of the result, each team of its
// threads a part of it, as sums of tiles in registers. Slices of k of both operands come into group memory as panels,
// several under way at a time: while the teams multiply one, the copies of the next ones run. A slice is a barrier, copies
// of a later slice into the panel that was multiplied last, and rows x columns tiles a step of k. At the end the sums pass
// through the panels' memory, so that the epilogue is ordinary code that touches rows of the result in order.
import { dtypeInfo } from '../../../ir/dtype.ts';
import { add, alu, below, ceilDiv, type Expr, floorDiv, index, lessThan, modulo, mul, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Target } from '../../../ir/target.ts';
import type { Emitter } from '../emit.ts';
import { lanesOf, sides, type TiledMatmul } from '../schedule.ts';
import { blockOf, emitEpilogue, type Products } from '../templates/product.ts';
import { threadIndex } from './map.ts';
import { bringRows, type PanelRows } from './panels.ts';

export function tiledMatmulKernel(emitter: Emitter, target: Target, products: Products, plan: TiledMatmul): Expr {
  const { builder } = emitter;
  const { m, n, k, nodes } = products;
  const { tile, across, rows, columns, depth, stages } = plan;
  const [height, width] = sides(plan);

  const { grid, entry, m0, mEnd, n0 } = blockOf(emitter, products, height, width);
  const team = builder.let(floorDiv(threadIndex(target), index(tile.threads)));
  const row0 = builder.let(mul(floorDiv(team, index(across[1])), index(rows * tile.m)));
  const column0 = builder.let(mul(modulo(team, index(across[1])), index(columns * tile.n)));

  const rowsOf = (count: number, first: Expr, limit: Expr, element: (line: Expr, k: Expr) => Expr): PanelRows => ({
    dtype: tile.operands,
    count,
    size: k,
    element: (i, at) => element(builder.let(alu('min', add(first, i), sub(limit, index(1)))), at),
  });
  const left = rowsOf(height, m0, m, (row, at) => products.left(entry, row, at));
  const right = nodes.map((_, p) => rowsOf(width, n0, n, (column, at) => products.right(p, entry, column, at)));
  const lines = height + nodes.length * width;
  const panels = builder.alloc(tile.operands, stages * lines * depth, 'group');
  const bring = (step: Expr): void => {
    const line = builder.let(mul(modulo(step, index(stages)), index(lines)));
    const k0 = builder.let(mul(step, index(depth)));
    bringRows(emitter, left, k0, panels, line, depth);
    right.forEach((r, p) => bringRows(emitter, r, k0, panels, add(line, index(height + p * width)), depth));
  };
  const sums = nodes.map(() => grate(rows, columns, () => builder.fragment(tile.name, 'sum')));

  const steps = builder.let(ceilDiv(k, depth));
  builder.for(index(0), index(stages - 1), 1, (step) => {
    builder.if(lessThan(step, steps), () => bring(step));
    builder.emit({ kind: 'copy_batch' });
  });
  builder.for(index(0), steps, 1, (step) => {
    builder.emit({ kind: 'copy_wait', pending: stages - 2 });
    builder.barrier(); // all have this slice, and none is at the one before
    const next = builder.let(add(step, index(stages - 1)));
    builder.if(lessThan(next, steps), () => bring(next));
    builder.emit({ kind: 'copy_batch' });
    const line = builder.let(mul(modulo(step, index(stages)), index(lines)));
    builder.for(index(0), index(depth), tile.k, (column) => {
      const operand = (role: 'left' | 'right', row: Expr): string => {
        const fragment = builder.fragment(tile.name, role);
        builder.emit({
          kind: 'tile_load',
          fragment,
          panel: panels,
          pitch: depth,
          row: add(line, row),
          column,
          transposed: false,
        });
        return fragment;
      };
      const left = sums[0].map((_, i) => operand('left', add(row0, index(i * tile.m))));
      sums.forEach((sum, p) => {
        const right = sum[0].map((_, j) => operand('right', add(column0, index(height + p * width + j * tile.n))));
        sum.forEach((r, i) =>
          r.forEach((name, j) => builder.emit({ kind: 'tile_multiply', sum: name, left: left[i], right: right[j] })),
        );
      });
    });
  });
  builder.emit({ kind: 'copy_wait', pending: 0 });
  builder.barrier(); // the panels' memory is free

  // As many rows of every team at a time as fit
  const pitch = nodes.length * width + 8; // teams' neighbouring rows begin at different banks
  const panelBytes = stages * lines * depth * dtypeInfo[tile.operands].bytes;
  const fits = (r: number): boolean => rows % r === 0 && 4 * across[0] * r * tile.m * pitch <= panelBytes;
  const band = Array.from({ length: rows }, (_, i) => rows - i).find(fits) ?? 1;
  const bandRows = band * tile.m;
  const staged = builder.alloc('f32', across[0] * bandRows * pitch, 'group', panels);
  const lanes = n.kind === 'const' && n.value % lanesOf(target) === 0 ? lanesOf(target) : 1;
  const pieces = width / lanes;
  for (let from = 0; from < rows; from += band) {
    if (from > 0) builder.barrier(); // the last band was read
    const stagedRow = mul(floorDiv(team, index(across[1])), index(bandRows));
    sums.forEach((sum, p) =>
      sum.slice(from, from + band).forEach((r, i) =>
        r.forEach((fragment, j) => {
          const row = add(stagedRow, index(i * tile.m));
          const at = add(mul(row, index(pitch)), add(column0, index(p * width + j * tile.n)));
          builder.emit({ kind: 'tile_store', fragment, buffer: staged, index: at, pitch });
        }),
      ),
    );
    builder.barrier();
    builder.for(
      index(0),
      index(across[0] * bandRows * pieces),
      1,
      (e) => {
        const r = builder.let(floorDiv(e, index(pieces)));
        const c = builder.let(mul(modulo(e, index(pieces)), index(lanes)));
        const inBlock = add(mul(floorDiv(r, index(bandRows)), index(rows * tile.m)), modulo(r, index(bandRows)));
        const row = below(builder.let(add(m0, add(inBlock, index(from * tile.m)))), m);
        const column = below(builder.let(add(n0, c)), n);
        builder.if(alu('and', lessThan(row, mEnd), lessThan(column, n)), () => {
          const place = builder.let(add(mul(r, index(pitch)), c));
          emitEpilogue(emitter, products, [entry, row, column], index(lanes), lanes, staged, (p) =>
            add(place, index(p * width)),
          );
        });
      },
      'group',
    );
  }
  return grid;
}

const grate = <T>(rows: number, columns: number, make: () => T): T[][] =>
  Array.from({ length: rows }, () => Array.from({ length: columns }, make));
