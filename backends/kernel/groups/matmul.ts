// Matrix product with many rows on the left (prefill), for groups. A group owns a tile of the result; a slice of k at a
// time, its threads bring panels of both operands into group memory, k-major, converted to f32 on the way, and every
// thread runs a register tile of rows x columns down the panels. Beyond the edges, panels hold zeros. Where the target has
// a tile for the operands' type, that is used instead (tiled-matmul.ts).
import { add, alu, below, cast, constant, type Expr, floorDiv, index, modulo, mul, select, splat, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Target } from '../../../ir/target.ts';
import type { Emitter } from '../emit.ts';
import { groupMatmulTile, lanesOf, tiledMatmul } from '../schedule.ts';
import { blockOf, emitResult, productsOf } from '../templates/product.ts';
import { threadIndex } from './map.ts';
import { tiledMatmulKernel } from './tiled-matmul.ts';

/** Padding of panel rows: threads that write down a column of a panel then reach different banks of memory. */
const padding = 4;

export function matmulKernel(emitter: Emitter, target: Target): Expr {
  const { builder } = emitter;
  const products = productsOf(emitter);
  const tiled = tiledMatmul(target, products.lhs.type.dtype, products.nodes.length, products.sizes);
  if (tiled) return tiledMatmulKernel(emitter, target, products, tiled);
  const { m, n, k, nodes } = products;
  const { across, rows, columns, depth } = groupMatmulTile(target);
  const [height, width] = [across[0] * rows, across[1] * columns];
  const lanes = Math.min(columns, lanesOf(target));
  const vectors = columns / lanes;

  const { grid, entry, m0, mEnd, n0 } = blockOf(emitter, products, height, width);
  const thread = threadIndex(target);
  const row0 = builder.let(mul(floorDiv(thread, index(across[1])), index(rows)));
  const column0 = builder.let(mul(modulo(thread, index(across[1])), index(columns)));

  const left = { panel: builder.alloc('f32', depth * (height + padding), 'group'), pitch: height + padding };
  const right = nodes.map(() => ({
    panel: builder.alloc('f32', depth * (width + padding), 'group'),
    pitch: width + padding,
  }));
  const zero = constant(0, 'f32', lanes);
  const acc = nodes.map(() =>
    Array.from({ length: rows }, () => Array.from({ length: vectors }, () => builder.mutable(zero))),
  );
  builder.for(index(0), k, depth, (k0) => {
    bring((i, at) => products.left(entry, i, at), left, height, k0, m0, m);
    nodes.forEach((_, p) => bring((i, at) => products.right(p, entry, i, at), right[p], width, k0, n0, n));
    builder.barrier();
    builder.for(index(0), index(depth), 1, (j) => {
      const base = builder.let(add(mul(j, index(left.pitch)), row0));
      const a = acc[0].map((_, i) => {
        const value = builder.let(builder.load(left.panel, add(base, index(i)), 'f32'));
        return lanes === 1 ? value : builder.let(splat(value, lanes));
      });
      right.forEach(({ panel, pitch }, p) => {
        const start = builder.let(add(mul(j, index(pitch)), column0));
        const b = acc[p][0].map((_, v) => builder.let(builder.load(panel, add(start, index(v * lanes)), 'f32', lanes)));
        acc[p].forEach((r, i) => r.forEach((sum, v) => builder.assign(sum, alu('fma', a[i], b[v], sum))));
      });
    });
    builder.barrier();
  });

  const size = rows * columns;
  const sums = builder.alloc('f32', nodes.length * size);
  acc.forEach((r, p) =>
    r.forEach((vs, i) =>
      vs.forEach((value, v) => builder.store(sums, index(p * size + i * columns + v * lanes), value)),
    ),
  );
  builder.for(index(0), index(size), 1, (e) => {
    const row = below(builder.let(add(add(m0, row0), floorDiv(e, index(columns)))), m);
    const column = below(builder.let(add(add(n0, column0), modulo(e, index(columns)))), n);
    builder.if(alu('and', alu('lt', row, mEnd), alu('lt', column, n)), () => {
      const totals = nodes.map((_, p) => builder.let(builder.load(sums, add(e, index(p * size)), 'f32')));
      emitResult(emitter, products, [entry, row, column], totals);
    });
  });
  return grid;

  /** panel[j, i] = element(first + i, k0 + j), 0 outside of the operand. Neighbours in memory come by neighbours. */
  function bring(
    element: (line: Expr, k: Expr) => Expr,
    { panel, pitch }: { readonly panel: string; readonly pitch: number },
    extent: number,
    k0: Expr,
    first: Expr,
    limit: Expr,
  ): void {
    const isWhole = k.kind === 'const' && k.value % depth === 0;
    const alongLines = emitter.isContiguous((lane) => element(add(first, lane), k0));
    builder.for(
      index(0),
      index(extent * depth),
      1,
      (e) => {
        const i = builder.let(alongLines ? modulo(e, index(extent)) : floorDiv(e, index(depth)));
        const j = builder.let(alongLines ? floorDiv(e, index(extent)) : modulo(e, index(depth)));
        const line = builder.let(alu('min', add(first, i), sub(limit, index(1))));
        const along = builder.let(isWhole ? add(k0, j) : alu('min', add(k0, j), sub(k, index(1))));
        const value = cast(element(line, along), 'f32');
        const inside = alu('lt', add(k0, j), k);
        builder.store(panel, add(mul(j, index(pitch)), i), isWhole ? value : select(inside, value, constant(0, 'f32')));
      },
      'group',
    );
  }
}
