// Matrix product with few rows on the left (decoding), for groups. A group owns a few columns (weight rows), and `split`
// threads share each: thread t of them reads every split-th vector of the weight row, so that threads side by side read
// memory side by side. Partial sums meet in group memory, and one thread a result adds them up and runs the epilogue.
import { across, add, alu, below, cast, ceilDiv, constant, type Expr, floorDiv, index, modulo, mul, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Node } from '../../../ir/graph.ts';
import type { Target } from '../../../ir/target.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { type GroupMatvecTile, groupMatvecTile, lanesOf } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import { emitResult, type Products, productsOf } from '../templates/product.ts';
import { threadIndex } from './map.ts';
import { emitReductions } from './row.ts';

export function matvecKernel(emitter: Emitter, target: Target): Expr {
  const { builder } = emitter;
  const products = productsOf(emitter);
  const tile = groupMatvecTile(target, products.depth);
  const { split, columns } = tile;
  const grid = ceilDiv(products.n, columns);
  const n0 = builder.let(mul(taskIndex(grid), index(columns)));
  const thread = threadIndex(target);
  const part = builder.let(modulo(thread, index(split)));
  const own = builder.let(floorDiv(thread, index(split)));
  const column = products.column(builder.let(alu('min', add(n0, own), sub(products.n, index(1)))));
  const place = builder.let(add(mul(own, index(split)), part));
  const isOne = products.m.kind === 'const' && products.m.value === 1;
  const sums = builder.alloc('f32', products.nodes.length * (isOne ? 1 : tile.rows) * target.groupThreads, 'group');
  const block = (m0: Expr, rows: number) => {
    emitBlock(emitter, products, tile, { m0, rows, n0, column, part, place, sums, lanes: lanesOf(target) });
  };
  if (isOne) block(index(0), 1);
  else {
    builder.if(
      alu('eq', products.m, index(1)),
      () => block(index(0), 1),
      () =>
        builder.for(index(0), products.m, tile.rows, (m0) => {
          block(m0, tile.rows);
          builder.barrier(); // before the sums are written again
        }),
    );
  }
  return grid;
}

interface Block {
  readonly m0: Expr;
  readonly rows: number;
  readonly n0: Expr;
  readonly column: readonly Expr[];
  /** Which part of k the thread takes, and its place among the partial sums of a row. */
  readonly part: Expr;
  readonly place: Expr;
  readonly sums: string;
  readonly lanes: number;
}

function emitBlock(emitter: Emitter, products: Products, tile: GroupMatvecTile, b: Block): void {
  const { builder } = emitter;
  const { split, columns } = tile;
  const lastRow = sub(products.m, index(1));
  const rows = Array.from({ length: b.rows }, (_, r) =>
    products.row(b.rows === 1 ? b.m0 : builder.let(alu('min', add(b.m0, index(r)), lastRow))),
  );
  const size = split * columns;
  for (const row of rows) emitReductions(emitter, products.lhs, row);
  products.nodes.forEach((node, p) => {
    const parts = emitParts(emitter, node.args[1], products, rows, tile, b);
    parts.forEach((value, r) => builder.store(b.sums, add(index((p * b.rows + r) * size), b.place), value));
  });
  builder.barrier();
  builder.for(
    index(0),
    index(b.rows * columns),
    1,
    (e) => {
      const r = builder.let(floorDiv(e, index(columns)));
      const j = builder.let(modulo(e, index(columns)));
      const m = below(builder.let(add(b.m0, r)), products.m);
      const n = below(builder.let(add(b.n0, j)), products.n);
      builder.if(alu('and', alu('lt', m, products.m), alu('lt', n, products.n)), () => {
        const totals = products.nodes.map((_, p) => {
          const total = builder.mutable(constant(0, 'f32'));
          const base = builder.let(add(index(p * b.rows * size), mul(e, index(split))));
          builder.for(index(0), index(split), 1, (t) => {
            builder.assign(total, alu('add', total, builder.load(b.sums, add(base, t), 'f32')));
          });
          return total;
        });
        emitResult(emitter, products, m, n, totals);
      });
    },
    'group',
  );
}

/** The thread's part of the dot products of its weight row with the left rows. */
function emitParts(
  emitter: Emitter,
  rhs: Node,
  { lhs, k }: Products,
  rows: readonly Expr[][],
  { split }: GroupMatvecTile,
  { column, part, lanes }: Block,
): Expr[] {
  const { builder } = emitter;
  const scalars = rows.map(() => builder.mutable(constant(0, 'f32')));
  const scalarLoop = (start: Expr) =>
    builder.for(
      add(start, part),
      k,
      split,
      (i) => {
        const w = builder.let(cast(emitter.element(rhs, [...column, i]), 'f32'));
        rows.forEach((row, r) => {
          builder.assign(scalars[r], alu('fma', w, cast(emitter.element(lhs, [...row, i]), 'f32'), scalars[r]));
        });
      },
      'serial',
    );
  if (lanes === 1) {
    scalarLoop(index(0));
    return scalars;
  }
  try {
    return builder.attempt(() => {
      const sums = rows.map(() => builder.mutable(constant(0, 'f32', lanes)));
      const whole = builder.let(mul(floorDiv(k, index(lanes)), index(lanes)));
      builder.for(mul(part, index(lanes)), whole, split * lanes, (base) =>
        emitter.vector(lanes, (lane) => {
          const w = builder.let(emitter.full(cast(emitter.element(rhs, [...column, add(base, lane)]), 'f32')));
          rows.forEach((row, r) => {
            const x = emitter.full(cast(emitter.element(lhs, [...row, add(base, lane)]), 'f32'));
            builder.assign(sums[r], alu('fma', w, x, sums[r]));
          });
        }),
      );
      const isWhole = k.kind === 'const' && whole.kind === 'const' && k.value === whole.value;
      if (!isWhole) scalarLoop(whole);
      return rows.map((_, r) => alu('add', across('add', sums[r]), scalars[r]));
    });
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    scalarLoop(index(0));
    return scalars;
  }
}
