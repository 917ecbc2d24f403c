// Matrix product with many rows on the left (prefill, training), of operands in any layout. A task owns a block of rows
// and a few strips of columns of one entry of the batch. For a slice of the contracted axis at a time it packs its rows,
// then strip after strip of its columns, into panels of the type of the target's tiles (converted on the way), and runs
// a register block of tiles down them: at each step a fragment a column of tiles, then for each row a fragment and as
// many multiplications. Sums stay in private memory from slice to slice, and go from there to the fused epilogue.
import { dtypeInfo } from '../../../ir/dtype.ts';
import { add, alu, below, constant, type Expr, floorDiv, index, lessThan, mul, sub } from '../../../ir/loop.ts';
import type { Target } from '../../../ir/target.ts';
import type { FragmentRole } from '../../../ir/tile.ts';
import type { Emitter } from '../emit.ts';
import { lanesOf, matmulTile } from '../schedule.ts';
import { type Lines, packColumns, packRows } from './pack.ts';
import { blockOf, emitEpilogue, productsOf } from './product.ts';

export function matmulKernel(emitter: Emitter, target: Target): Expr {
  const { builder } = emitter;
  const products = productsOf(emitter);
  const { m, n, k, nodes } = products;
  const lanes = lanesOf(target);
  const plan = matmulTile(target, products.lhs.type.dtype, nodes.length, products.sizes);
  const { tile, depth: sliceDepth } = plan;
  const dtype = tile.operands;
  const word = 4 / dtypeInfo[dtype].bytes;
  const tileRows = plan.rows * tile.m;
  const strip = plan.vectors * tile.n; // columns of one product
  const width = strip * nodes.length; // columns of the panel
  const strips = plan.columns / strip;

  const { grid, entry, m0, mEnd, n0: c0 } = blockOf(emitter, products, plan.block, plan.columns);
  const cEnd = builder.let(alu('min', add(c0, index(plan.columns)), n));

  const pitch = sliceDepth + 16 * word; // rows of the left panel begin at different places of the cache
  const leftPanel = builder.alloc(dtype, plan.block * pitch);
  const rightPanel = builder.alloc(dtype, sliceDepth * width);
  const isSingle = products.sizes.depth.max <= sliceDepth;
  const stripSums = plan.block * width;
  const sums = builder.alloc('f32', isSingle ? tileRows * width : strips * stripSums);

  const slice = (k0: Expr) => {
    const depth = isSingle ? k : builder.let(alu('min', index(sliceDepth), sub(k, k0)));
    const lines = (element: Lines['element'], first: Expr, limit: Expr): Lines => ({
      ...{ element, first, limit, k0, depth },
      multiple: tile.k,
    });
    builder.for(m0, mEnd, lanes, (first) => {
      const base = builder.let(mul(sub(first, m0), index(pitch)));
      const panel = { buffer: leftPanel, dtype, lanes, base, pitch };
      packRows(
        emitter,
        lines((row, at) => products.left(entry, row, at), first, m),
        panel,
      );
    });
    builder.for(c0, cEnd, strip, (n0) => {
      nodes.forEach((_, p) => {
        const places = Array.from({ length: strip / lanes }, (_, v) => index((p * strip + v * lanes) * word));
        const panel = { buffer: rightPanel, dtype, lanes, places, pitch: width * word, word };
        packColumns(
          emitter,
          lines((column, at) => products.right(p, entry, column, at), n0, n),
          panel,
        );
      });
      const count = builder.let(alu('min', index(strip), sub(n, n0)));
      const inStrip = isSingle ? index(0) : builder.let(mul(floorDiv(sub(n0, c0), index(strip)), index(stripSums)));
      builder.for(m0, mEnd, tileRows, (i0) => multiply(i0, n0, { k0, depth, count, inStrip }));
    });
  };
  const slices = () => {
    if (isSingle) return slice(index(0));
    builder.for(index(0), index(strips * stripSums), lanes, (i) => builder.store(sums, i, constant(0, 'f32', lanes)));
    builder.for(index(0), k, sliceDepth, slice);
  };
  // of groups of rows, some tasks are left over
  if (products.group === undefined) slices();
  else builder.if(lessThan(m0, mEnd), slices);
  return grid;

  /** A register block: rows from i0 on, the columns of the strip at n0. */
  function multiply(
    i0: Expr,
    n0: Expr,
    { k0, depth, count, inStrip }: Readonly<Record<'k0' | 'depth' | 'count' | 'inStrip', Expr>>,
  ): void {
    const row0 = builder.let(sub(i0, m0));
    const base = isSingle ? index(0) : builder.let(add(inStrip, mul(row0, index(width))));
    const at = (i: number, v: number) => add(base, index(i * tile.m * width + v * tile.n));
    const fragment = (role: FragmentRole) => builder.fragment(tile.name, role);
    const read = (name: string, buffer: string, place: Expr, rowPitch: number) =>
      builder.emit({ kind: 'tile_read', fragment: name, buffer, index: place, pitch: rowPitch });
    const acc = Array.from({ length: plan.rows }, () => Array.from({ length: width / tile.n }, () => fragment('sum')));
    const each = (visit: (sum: string, i: number, v: number) => void) =>
      acc.forEach((r, i) => r.forEach((sum, v) => visit(sum, i, v)));
    if (!isSingle) each((sum, i, v) => read(sum, sums, at(i, v), width)); // zeroed before the first slice
    const left0 = builder.let(mul(row0, index(pitch)));
    builder.for(index(0), depth, tile.k, (j) => {
      const start = builder.let(mul(j, index(width)));
      const right = acc[0].map((_, v) => {
        const name = fragment('right');
        read(name, rightPanel, add(start, index(v * tile.n * word)), width * word);
        return name;
      });
      const left = fragment('left');
      const along = builder.let(add(left0, j));
      acc.forEach((r, i) => {
        read(left, leftPanel, add(along, index(i * tile.m * pitch)), pitch);
        r.forEach((sum, v) => builder.emit({ kind: 'tile_multiply', sum, left, right: right[v] }));
      });
    });
    each((sum, i, v) =>
      builder.emit({ kind: 'tile_store', fragment: sum, buffer: sums, index: at(i, v), pitch: width }),
    );
    const finish = () =>
      builder.for(index(0), alu('min', index(tileRows), sub(mEnd, i0)), 1, (i) => {
        const row = below(builder.let(add(i0, i)), m);
        const offset = builder.let(add(base, mul(i, index(width))));
        emitEpilogue(emitter, products, [entry, row, n0], count, lanes, sums, (p) => add(offset, index(p * strip)));
      });
    if (isSingle) finish();
    else builder.if(alu('ge', add(k0, index(sliceDepth)), k), finish);
  }
}
