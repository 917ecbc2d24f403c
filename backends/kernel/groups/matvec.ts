// Matrix product with few rows on the left (decoding), for groups: what counts is that the weights stream in. A run of
// threads side by side owns a few columns (weight rows) and divides k: every thread loads the widest vectors there are, so
// that the run reads each weight row front to back, and multiplies them with the left rows, which it loads once for all of
// its columns. The sums of the threads of a run are combined in registers where the target can, and each thread of it runs
// the epilogue of some of the results. Norms below the left operand: the group reduces the rows first, and the product
// computes their elements on the way.
import { across, add, alu, below, cast, ceilDiv, constant, type Expr, floorDiv, index, modulo, mul, select, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Target } from '../../../ir/target.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { type GroupMatvecTile, groupMatvecTile } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import { emitResult, type Products, productsOf, storedBytes } from '../templates/product.ts';
import { threadIndex } from './map.ts';
import { emitReductions } from './row.ts';

export function matvecKernel(emitter: Emitter, target: Target): Expr {
  const { builder } = emitter;
  const products = productsOf(emitter);
  const { nodes } = products;
  const [depth, n] = [products.sizes.depth.max, products.sizes.columns.max];
  const tile = groupMatvecTile(
    target,
    { depth, columns: n, products: nodes.length },
    storedBytes(nodes.map((node) => node.args[1])),
  );
  const { width, columns } = tile;
  const perGroup = (target.groupThreads / width) * columns;
  const grid = ceilDiv(products.n, perGroup);
  const thread = threadIndex(target);
  const part = builder.let(modulo(thread, index(width)));
  const run = mul(floorDiv(thread, index(width)), index(columns));
  const n0 = builder.let(add(mul(taskIndex(grid), index(perGroup)), run));
  const lastColumn = sub(products.n, index(1));
  const own = Array.from({ length: columns }, (_, j) =>
    products.column(builder.let(alu('min', add(n0, index(j)), lastColumn))),
  );
  const block = (m0: Expr, rows: number) => emitBlock(emitter, target, products, tile, { m0, rows, n0, own, part });
  if (products.m.kind === 'const' && products.m.value === 1) block(index(0), 1);
  else {
    builder.if(
      alu('eq', products.m, index(1)),
      () => block(index(0), 1),
      () => builder.for(index(0), products.m, tile.rows, (m0) => block(m0, tile.rows)),
    );
  }
  return grid;
}

interface Block {
  readonly m0: Expr;
  readonly rows: number;
  /** The run's first column, and all of its columns as indices. */
  readonly n0: Expr;
  readonly own: readonly Expr[][];
  /** Which part of k the thread takes. */
  readonly part: Expr;
}

function emitBlock(emitter: Emitter, target: Target, products: Products, tile: GroupMatvecTile, b: Block): void {
  const { builder } = emitter;
  const { width, columns } = tile;
  const lastRow = sub(products.m, index(1));
  const rows = Array.from({ length: b.rows }, (_, r) =>
    products.row(b.rows === 1 ? b.m0 : builder.let(alu('min', add(b.m0, index(r)), lastRow))),
  );
  emitReductions(emitter, target, products.lhs, rows);
  const sums = builder.reduce('add', width, emitParts(emitter, products, rows, tile, b));
  const results = b.rows * columns;
  builder.for(b.part, index(results), width, (e) => {
    const m = below(builder.let(add(b.m0, floorDiv(e, index(columns)))), products.m);
    const n = below(builder.let(add(b.n0, modulo(e, index(columns)))), products.n);
    builder.if(alu('and', alu('lt', m, products.m), alu('lt', n, products.n)), () => {
      const totals = products.nodes.map((_, p) => {
        const own = sums.slice(p * results, (p + 1) * results);
        return builder.let(own.reduceRight((rest, sum, i) => select(alu('eq', e, index(i)), sum, rest)));
      });
      emitResult(emitter, products, [index(0), m, n], totals);
    });
  });
}

/** The thread's part of the dot products, by product, left row and column. */
function emitParts(
  emitter: Emitter,
  { nodes, lhs, k }: Products,
  rows: readonly Expr[][],
  { lanes, width, columns, unroll, keepsVectors }: GroupMatvecTile,
  { own, part }: Block,
): Expr[] {
  const { builder } = emitter;
  const sumsOf = (size: number) =>
    Array.from({ length: nodes.length * rows.length * columns }, () => builder.mutable(constant(0, 'f32', size)));
  const scalars = sumsOf(1);
  /** Multiplies what stands at `position` of every weight row and left row; `accumulate` adds the products to sum i. */
  const multiply = (position: Expr, accumulate: (i: number, w: Expr, x: Expr) => void) => {
    const weights = nodes.map((node) =>
      own.map((column) => builder.let(emitter.full(cast(emitter.element(node.args[1], [...column, position]), 'f32')))),
    );
    rows.forEach((row, r) => {
      const x = builder.let(emitter.full(cast(emitter.element(lhs, [...row, position]), 'f32')));
      weights.forEach((list, p) => list.forEach((w, j) => accumulate((p * rows.length + r) * columns + j, w, x)));
    });
  };
  const scalarLoop = (start: Expr) =>
    builder.for(add(start, part), k, width, (i) =>
      multiply(i, (s, w, x) => builder.assign(scalars[s], alu('fma', w, x, scalars[s]))),
    );
  if (lanes === 1) {
    scalarLoop(index(0));
    return scalars;
  }
  try {
    return builder.attempt(() => {
      const vectors = keepsVectors(scalars.length) ? sumsOf(lanes) : undefined;
      const step = (base: Expr) =>
        emitter.vector(lanes, (lane) =>
          multiply(add(base, lane), (s, w, x) => {
            if (vectors) builder.assign(vectors[s], alu('fma', w, x, vectors[s]));
            else builder.assign(scalars[s], alu('add', scalars[s], across('add', alu('mul', w, x))));
          }),
        );
      const start = mul(part, index(lanes));
      const wholeOf = (size: number) => builder.let(mul(floorDiv(k, index(size)), index(size)));
      const loads = rows.length === 1 ? unroll : 1;
      const many = wholeOf(width * lanes * loads);
      if (!isSame(many, index(0))) {
        builder.for(start, many, width * lanes * loads, (base) => {
          for (let u = 0; u < loads; u++) step(add(base, index(u * width * lanes)));
        });
      }
      const whole = wholeOf(lanes);
      if (!isSame(many, whole)) builder.for(add(many, start), whole, width * lanes, step);
      if (!isSame(whole, k)) scalarLoop(whole);
      return scalars.map((sum, i) => (vectors ? alu('add', across('add', vectors[i]), sum) : sum));
    });
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    scalarLoop(index(0));
    return scalars;
  }
}

const isSame = (a: Expr, b: Expr): boolean => a.kind === 'const' && b.kind === 'const' && a.value === b.value;
