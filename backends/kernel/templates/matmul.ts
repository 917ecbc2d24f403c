// Matrix product with many rows on the left (prefill, training). A task owns a strip of columns and a block of rows: it
// packs the strip's weights, a slice of k at a time, into a k-major panel of vectors (transposed in registers, converted
// to f32 on the way), then runs a register tile of rows x vectors down the panel: per k one vector load a vector, one
// broadcast a row, rows x vectors fused multiply-adds. Sums go through private memory to the fused epilogue.
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
  splat,
  sub,
  zip,
} from '../../../ir/loop.ts';
import type { Node } from '../../../ir/graph.ts';
import type { Target } from '../../../ir/target.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { lanesOf, matmulTile } from '../schedule.ts';
import { taskIndex } from './map.ts';
import { emitEpilogue, productsOf } from './product.ts';

export function matmulKernel(emitter: Emitter, target: Target): Expr {
  const { builder } = emitter;
  const products = productsOf(emitter);
  const { lhs, m, n, k } = products;
  const lanes = lanesOf(target);
  const tile = matmulTile(target, products.nodes.length, products.depth);
  const strip = tile.vectors * lanes; // columns of one product
  const width = strip * products.nodes.length; // columns of the panel

  const blocks = ceilDiv(m, tile.block);
  const grid = mul(ceilDiv(n, strip), blocks);
  const task = taskIndex(grid);
  const n0 = builder.let(mul(floorDiv(task, blocks), index(strip)));
  const m0 = builder.let(mul(modulo(task, blocks), index(tile.block)));
  const mEnd = builder.let(alu('min', add(m0, index(tile.block)), m));
  const count = builder.let(alu('min', index(strip), sub(n, n0)));
  const lastRow = builder.let(sub(m, index(1)));
  const lastColumn = builder.let(sub(n, index(1)));

  const panel = builder.alloc('f32', tile.depth * width);
  const single = products.depth <= tile.depth;
  const sums = builder.alloc('f32', (single ? tile.rows : tile.block) * width);

  const slice = (k0: Expr) => {
    const depth = single ? k : builder.let(alu('min', index(tile.depth), sub(k, k0)));
    products.nodes.forEach((node, p) => {
      builder.for(index(0), index(tile.vectors), 1, (v) => {
        const first = builder.let(add(n0, mul(v, index(lanes))));
        const columns = Array.from({ length: lanes }, (_, i) =>
          products.column(builder.let(alu('min', add(first, index(i)), lastColumn))),
        );
        const target = add(mul(v, index(lanes)), index(p * strip));
        packColumns(emitter, node.args[1], columns, k0, depth, panel, width, target);
      });
    });
    builder.for(m0, mEnd, tile.rows, (i0) => {
      const rows = Array.from({ length: tile.rows }, (_, i) =>
        products.row(builder.let(alu('min', add(i0, index(i)), lastRow))),
      );
      const base = single ? index(0) : builder.let(mul(sub(i0, m0), index(width)));
      const at = (i: number, v: number) => add(base, index(i * width + v * lanes));
      const vectors = tile.vectors * products.nodes.length;
      const start = (i: number, v: number): Expr =>
        single ? constant(0, 'f32', lanes) : load(sums, at(i, v), 'f32', lanes); // zeroed before the first slice
      const acc = rows.map((_, i) => Array.from({ length: vectors }, (__, v) => builder.mutable(start(i, v))));
      builder.for(index(0), depth, 1, (j) => {
        const b = acc[0].map((_, v) =>
          builder.let(load(panel, add(mul(j, index(width)), index(v * lanes)), 'f32', lanes)),
        );
        rows.forEach((row, i) => {
          const a = builder.let(splat(cast(emitter.element(lhs, [...row, add(k0, j)]), 'f32'), lanes));
          b.forEach((bv, v) => builder.assign(acc[i][v], alu('fma', a, bv, acc[i][v])));
        });
      });
      acc.forEach((r, i) => r.forEach((value, v) => builder.store(sums, at(i, v), value)));
      const finish = () =>
        builder.for(index(0), alu('min', index(tile.rows), sub(mEnd, i0)), 1, (i) => {
          const row = builder.let(add(i0, i));
          below(row, m);
          const offset = builder.let(add(base, mul(i, index(width))));
          emitEpilogue(emitter, products, row, n0, count, lanes, sums, (p) => add(offset, index(p * strip)));
        });
      if (single) finish();
      else builder.if(alu('ge', add(k0, index(tile.depth)), k), finish);
    });
  };
  if (single) slice(index(0));
  else {
    builder.for(index(0), index(tile.block * width), lanes, (i) => builder.store(sums, i, constant(0, 'f32', lanes)));
    builder.for(index(0), k, tile.depth, slice);
  }
  return grid;
}

/** Writes columns as vectors: panel[j * width + target + lane] = rhs[columns[lane], k0 + j] for j < depth. */
export function packColumns(
  emitter: Emitter,
  rhs: Node,
  columns: readonly Expr[][],
  k0: Expr,
  depth: Expr,
  panel: string,
  width: number,
  target: Expr,
): void {
  const { builder } = emitter;
  const lanes = columns.length;
  const at = (j: Expr) => add(mul(j, index(width)), target);
  const scalars = (start: Expr) =>
    builder.for(start, depth, 1, (j) =>
      columns.forEach((c, i) => {
        const w = cast(emitter.element(rhs, [...c, add(k0, j)]), 'f32');
        builder.store(panel, add(at(j), index(i)), w);
      }),
    );
  const whole = builder.let(mul(alu('div', depth, index(lanes)), index(lanes)));
  try {
    builder.attempt(() =>
      builder.for(index(0), whole, lanes, (j) => {
        let vectors = emitter.vector(lanes, (lane) =>
          columns.map((c) => builder.let(cast(emitter.element(rhs, [...c, add(add(k0, j), lane)]), 'f32'))),
        );
        for (let size = 1; size < lanes; size *= 2) {
          const half = lanes / 2;
          vectors = vectors.flatMap((_, i) =>
            i < half
              ? [
                  builder.let(zip('low', vectors[i], vectors[i + half])),
                  builder.let(zip('high', vectors[i], vectors[i + half])),
                ]
              : [],
          );
        }
        vectors.forEach((v, i) => builder.store(panel, at(add(j, index(i))), v));
      }),
    );
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    return scalars(index(0));
  }
  if (!(whole.kind === 'const' && depth.kind === 'const' && whole.value === depth.value)) scalars(whole);
}
