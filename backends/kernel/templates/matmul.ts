// Matrix product with many rows on the left (prefill, training), of operands in any layout. A task owns a block of rows
// and a few strips of columns of one entry of the batch. For a slice of the contracted axis at a time it packs its rows,
// then strip after strip of its columns, into panels (converted to f32 on the way), and runs a register tile of rows x
// vectors down them: at each depth a vector load a vector, a broadcast a row, rows x vectors fused multiply-adds. Sums
// stay in private memory from slice to slice, and go from there to the fused epilogue.
import { add, alu, below, constant, type Expr, floorDiv, index, load, mul, splat, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Target } from '../../../ir/target.ts';
import type { Emitter } from '../emit.ts';
import { lanesOf, matmulTile } from '../schedule.ts';
import { packPanel } from './pack.ts';
import { blockOf, emitEpilogue, productsOf } from './product.ts';

export function matmulKernel(emitter: Emitter, target: Target): Expr {
  const { builder } = emitter;
  const products = productsOf(emitter);
  const { m, n, k, nodes } = products;
  const lanes = lanesOf(target);
  const tile = matmulTile(target, nodes.length, products.sizes);
  const strip = tile.vectors * lanes; // columns of one product
  const width = strip * nodes.length; // columns of the panel
  const strips = tile.columns / strip;

  const { grid, entry, m0, n0: c0 } = blockOf(emitter, products, tile.block, tile.columns);
  const mEnd = builder.let(alu('min', add(m0, index(tile.block)), m));
  const cEnd = builder.let(alu('min', add(c0, index(tile.columns)), n));

  const leftPanel = builder.alloc('f32', tile.depth * tile.block);
  const rightPanel = builder.alloc('f32', tile.depth * width);
  const isSingle = products.sizes.depth.max <= tile.depth;
  const stripSums = tile.block * width;
  const sums = builder.alloc('f32', isSingle ? tile.rows * width : strips * stripSums);
  /** Tiles of rows that are packed together: whole lines of memory where rows lie side by side. */
  const together = Math.max(1, Math.min(tile.block, 2 * lanes) / tile.rows);
  const tileSize = tile.depth * tile.rows;

  const slice = (k0: Expr) => {
    const depth = isSingle ? k : builder.let(alu('min', index(tile.depth), sub(k, k0)));
    builder.for(m0, mEnd, together * tile.rows, (first) => {
      const base = builder.let(mul(sub(first, m0), index(tile.depth)));
      const places = Array.from({ length: together }, (_, t) => add(base, index(t * tileSize)));
      const element = (row: Expr, at: Expr) => products.left(entry, row, at);
      const panel = { buffer: leftPanel, lanes: tile.rows, places, pitch: tile.rows };
      packPanel(emitter, { element, first, limit: m, k0, depth }, panel);
    });
    builder.for(c0, cEnd, strip, (n0) => {
      nodes.forEach((_, p) => {
        const places = Array.from({ length: tile.vectors }, (_, v) => index(p * strip + v * lanes));
        const element = (column: Expr, at: Expr) => products.right(p, entry, column, at);
        const panel = { buffer: rightPanel, lanes, places, pitch: width };
        packPanel(emitter, { element, first: n0, limit: n, k0, depth }, panel);
      });
      const count = builder.let(alu('min', index(strip), sub(n, n0)));
      const inStrip = isSingle ? index(0) : builder.let(mul(floorDiv(sub(n0, c0), index(strip)), index(stripSums)));
      builder.for(m0, mEnd, tile.rows, (i0) => rowsOf(i0, n0, { k0, depth, count, inStrip }));
    });
  };
  if (isSingle) slice(index(0));
  else {
    builder.for(index(0), index(strips * stripSums), lanes, (i) => builder.store(sums, i, constant(0, 'f32', lanes)));
    builder.for(index(0), k, tile.depth, slice);
  }
  return grid;

  /** A register tile: rows from i0 on, the columns of the strip at n0. */
  function rowsOf(
    i0: Expr,
    n0: Expr,
    { k0, depth, count, inStrip }: Readonly<Record<'k0' | 'depth' | 'count' | 'inStrip', Expr>>,
  ): void {
    const row0 = builder.let(sub(i0, m0));
    const base = isSingle ? index(0) : builder.let(add(inStrip, mul(row0, index(width))));
    const at = (i: number, v: number) => add(base, index(i * width + v * lanes));
    const start = (i: number, v: number): Expr =>
      isSingle ? constant(0, 'f32', lanes) : load(sums, at(i, v), 'f32', lanes); // zeroed before the first slice
    const acc = Array.from({ length: tile.rows }, (_, i) =>
      Array.from({ length: width / lanes }, (__, v) => builder.mutable(start(i, v))),
    );
    const left = builder.let(mul(row0, index(tile.depth)));
    builder.for(index(0), depth, 1, (j) => {
      const right = builder.let(mul(j, index(width)));
      const b = acc[0].map((_, v) => builder.let(load(rightPanel, add(right, index(v * lanes)), 'f32', lanes)));
      const rows = builder.let(add(left, mul(j, index(tile.rows))));
      acc.forEach((r, i) => {
        const a = builder.let(splat(load(leftPanel, add(rows, index(i)), 'f32'), lanes));
        r.forEach((sum, v) => builder.assign(sum, alu('fma', a, b[v], sum)));
      });
    });
    acc.forEach((r, i) => r.forEach((value, v) => builder.store(sums, at(i, v), value)));
    const finish = () =>
      builder.for(index(0), alu('min', index(tile.rows), sub(mEnd, i0)), 1, (i) => {
        const row = below(builder.let(add(i0, i)), m);
        const offset = builder.let(add(base, mul(i, index(width))));
        emitEpilogue(emitter, products, [entry, row, n0], count, lanes, sums, (p) => add(offset, index(p * strip)));
      });
    if (isSingle) finish();
    else builder.if(alu('ge', add(k0, index(tile.depth)), k), finish);
  }
}
