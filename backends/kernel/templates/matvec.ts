// Matrix product with few rows on the left (decoding): weights are streamed once, in storage order, so the kernel runs at
// memory bandwidth. A task owns a range of columns (weight rows). The left rows, with whatever is fused into them (a norm,
// an attention's output), are first put into private memory; then each weight row is read once and multiplied with up to
// four left rows, with several accumulators along k.
import { across, add, alu, cast, ceilDiv, constant, type Expr, index, mul, sub } from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { lanesOf, matvecTile } from '../schedule.ts';
import { taskIndex } from './map.ts';
import { emitEpilogue, type Products, productsOf, storedBytes } from './product.ts';
import { emitRow } from './row.ts';

export function matvecKernel(emitter: Emitter, target: Target): Expr {
  const { builder } = emitter;
  const products = productsOf(emitter);
  const lanes = lanesOf(target);
  const tile = matvecTile(
    target,
    products.sizes.columns.max,
    products.sizes.depth.max,
    storedBytes([products.nodes[0].args[1]]),
  );
  const grid = ceilDiv(products.n, tile.columns);
  const task = taskIndex(grid);
  const n0 = builder.let(mul(task, index(tile.columns)));
  const count = builder.let(alu('min', index(tile.columns), sub(products.n, n0)));
  const block = (m0: Expr, rows: number) => emitBlock(emitter, products, { m0, rows, n0, count, lanes, ...tile });
  if (products.m.kind === 'const' && products.m.value === 1) block(index(0), 1);
  else {
    builder.if(
      alu('eq', products.m, index(1)),
      () => block(index(0), 1),
      () => builder.for(index(0), products.m, 4, (m0) => block(m0, 4)),
    );
  }
  return grid;
}

interface Block {
  m0: Expr;
  rows: number;
  n0: Expr;
  count: Expr;
  lanes: number;
  columns: number;
  unroll: number;
}

function emitBlock(emitter: Emitter, products: Products, b: Block): void {
  const { builder } = emitter;
  const { lhs, k } = products;
  const depth = products.sizes.depth.max;
  const rowOf = (r: Expr) => (b.rows === 1 ? b.m0 : builder.let(alu('min', add(b.m0, r), sub(products.m, index(1)))));
  // The left operand: read where it is when it is plain f32 memory, otherwise staged.
  let left: (r: number, position: Expr) => Expr;
  if (isOp(lhs, 'param') || !emitter.region.interior.has(lhs)) {
    const rows = Array.from({ length: b.rows }, (_, r) => products.row(rowOf(index(r))));
    left = (r, position) => emitter.element(lhs, [...rows[r], position]);
  } else {
    const staged = builder.alloc('f32', b.rows * depth);
    const stageRow = (r: Expr) => {
      const at = products.row(rowOf(r));
      const base = mul(r, index(depth));
      emitRow(emitter, lhs, at, b.lanes, (p, v) => builder.store(staged, add(base, p), cast(v, 'f32')));
    };
    if (b.rows === 1) stageRow(index(0));
    else builder.for(index(0), index(b.rows), 1, stageRow);
    left = (r, position) => emitter.access(staged, add(index(r * depth), position), 'f32');
  }
  const sums = builder.alloc('f32', products.nodes.length * b.rows * b.columns);
  const offset = (p: number, r: number) => index((p * b.rows + r) * b.columns);
  builder.for(index(0), b.count, 1, (j) => {
    const column = products.column(builder.let(add(b.n0, j)));
    products.nodes.forEach((node, p) => {
      const totals = emitDots(emitter, node.args[1], column, left, k, b);
      totals.forEach((t, r) => builder.store(sums, add(offset(p, r), j), t));
    });
  });
  for (let r = 0; r < b.rows; r++) {
    const m = add(b.m0, index(r));
    const finish = () =>
      emitEpilogue(emitter, products, [index(0), m, b.n0], b.count, b.lanes, sums, (p) => offset(p, r));
    if (b.rows === 1) finish();
    else builder.if(alu('lt', m, products.m), finish);
  }
}

/** Dot products of one weight row with the block's left rows. */
function emitDots(
  emitter: Emitter,
  rhs: Node,
  column: readonly Expr[],
  left: (r: number, position: Expr) => Expr,
  k: Expr,
  b: Block,
): Expr[] {
  const { builder } = emitter;
  const rows = Array.from({ length: b.rows }, (_, r) => r);
  const scalars = rows.map(() => builder.mutable(constant(0, 'f32')));
  const scalarLoop = (start: Expr) =>
    builder.for(start, k, 1, (i) => {
      const w = cast(emitter.element(rhs, [...column, i]), 'f32');
      for (const r of rows) builder.assign(scalars[r], alu('fma', w, cast(left(r, i), 'f32'), scalars[r]));
    });
  try {
    return builder.attempt(() => {
      const wide = b.lanes * b.unroll;
      const sums = rows.map(() => Array.from({ length: b.unroll }, () => builder.mutable(constant(0, 'f32', b.lanes))));
      const step = (base: Expr, u: number) =>
        emitter.vector(b.lanes, (lane) => {
          const position = add(add(base, index(u * b.lanes)), lane);
          const w = builder.let(cast(emitter.element(rhs, [...column, position]), 'f32'));
          for (const r of rows) {
            builder.assign(sums[r][u], alu('fma', w, cast(left(r, position), 'f32'), sums[r][u]));
          }
        });
      const whole = builder.let(mul(alu('div', k, index(wide)), index(wide)));
      builder.for(index(0), whole, wide, (i) => {
        for (let u = 0; u < b.unroll; u++) step(i, u);
      });
      const vectors = builder.let(mul(alu('div', k, index(b.lanes)), index(b.lanes)));
      if (!(vectors.kind === 'const' && whole.kind === 'const' && vectors.value === whole.value)) {
        builder.for(whole, vectors, b.lanes, (i) => step(i, 0));
      }
      if (!(vectors.kind === 'const' && k.kind === 'const' && vectors.value === k.value)) scalarLoop(vectors);
      return rows.map((r) => {
        const total = sums[r].slice(1).reduce<Expr>((a, s) => alu('add', a, s), sums[r][0]);
        return alu('add', across('add', total), scalars[r]);
      });
    });
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    scalarLoop(index(0));
    return scalars;
  }
}
