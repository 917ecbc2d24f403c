// Matrix product with many rows on the left by matrix instructions. A group owns a block of the result, each team of its
// threads a part of it, as sums of tiles in registers. Slices of k of both operands come into group memory as panels,
// several under way at a time: while the teams multiply one, the copies of the next ones run. A slice is a barrier, copies
// of a later slice into the panel that was multiplied last, and rows x columns tiles a step of k. At the end the sums pass
// through the panels' memory, so that the epilogue is ordinary code that touches rows of the result in order.
import { dtypeInfo } from '../../../ir/dtype.ts';
import type { Node } from '../../../ir/graph.ts';
import { add, alu, below, ceilDiv, constant, type Expr, floorDiv, index, lessThan, modulo, mul, panelPieceBytes, panelPlace, select, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Target } from '../../../ir/target.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { lanesOf, sides, type TiledMatmul } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import { emitEpilogue, type Products } from '../templates/product.ts';
import { threadIndex } from './map.ts';

/** Where a slice of an operand goes: `extent` lines of a panel, of which line i holds row first + i, below `limit`. */
interface Slice {
  readonly operand: Node;
  readonly line: number;
  readonly extent: number;
  readonly first: Expr;
  readonly limit: Expr;
  at(flat: Expr): Expr[];
}

export function tiledMatmulKernel(emitter: Emitter, target: Target, products: Products, plan: TiledMatmul): Expr {
  const { builder } = emitter;
  const { lhs, m, n, k, nodes } = products;
  const { tile, across, rows, columns, depth, stages } = plan;
  const [height, width] = sides(plan);

  const blocks = ceilDiv(m, height);
  const grid = mul(ceilDiv(n, width), blocks);
  const task = taskIndex(grid);
  const n0 = builder.let(mul(floorDiv(task, blocks), index(width)));
  const m0 = builder.let(mul(modulo(task, blocks), index(height)));
  const team = builder.let(floorDiv(threadIndex(target), index(tile.threads)));
  const row0 = builder.let(mul(floorDiv(team, index(across[1])), index(rows * tile.m)));
  const column0 = builder.let(mul(modulo(team, index(across[1])), index(columns * tile.n)));

  const slices: Slice[] = [
    { operand: lhs, line: 0, extent: height, first: m0, limit: m, at: products.row },
    ...nodes.map((node, p) => ({
      operand: node.args[1],
      line: height + p * width,
      extent: width,
      first: n0,
      limit: n,
      at: products.column,
    })),
  ];
  const lines = height + nodes.length * width;
  const panels = builder.alloc(tile.operands, stages * lines * depth, 'group');
  const bring = (step: Expr): void => {
    const line = builder.let(mul(modulo(step, index(stages)), index(lines)));
    const k0 = builder.let(mul(step, index(depth)));
    for (const slice of slices) bringSlice(emitter, slice, panels, add(line, index(slice.line)), k, k0, depth);
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
        builder.emit({ kind: 'tile_load', fragment, panel: panels, pitch: depth, row: add(line, row), column });
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
        builder.if(alu('and', lessThan(row, m), lessThan(column, n)), () => {
          const place = builder.let(add(mul(r, index(pitch)), c));
          emitEpilogue(emitter, products, row, column, index(lanes), lanes, staged, (p) =>
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

/**
 * Lines `line` and following of the panels = a slice of an operand from k0 on, 0 where that is beyond k. Pieces that lie
 * in memory as they are wanted are copied; others are computed.
 */
function bringSlice(
  emitter: Emitter,
  { operand, extent, first, limit, at }: Slice,
  panels: string,
  line: Expr,
  k: Expr,
  k0: Expr,
  depth: number,
): void {
  const { builder } = emitter;
  const { dtype } = operand.type;
  const { bytes } = dtypeInfo[dtype];
  const isWhole = k.kind === 'const' && k.value % depth === 0;
  const each = (lanes: number, body: (place: Expr, row: Expr[], along: Expr, inside: Expr) => void): void => {
    const pieces = depth / lanes;
    builder.for(
      index(0),
      index(extent * pieces),
      1,
      (e) => {
        const i = builder.let(floorDiv(e, index(pieces)));
        const j = builder.let(mul(modulo(e, index(pieces)), index(lanes)));
        const place = builder.let(add(mul(line, index(depth)), panelPlace(depth, bytes, i, j)));
        const row = at(builder.let(alu('min', add(first, i), sub(limit, index(1)))));
        const along = add(k0, j);
        const last = sub(k, index(lanes));
        const inside = isWhole ? constant(1, 'bool') : lessThan(along, k);
        body(place, row, builder.let(isWhole ? along : alu('min', along, last)), inside);
      },
      'group',
    );
  };
  const guarded = (inside: Expr, value: Expr): Expr =>
    isWhole ? value : select(inside, value, constant(0, dtype, value.lanes));
  const scalars = (): void =>
    each(1, (place, row, along, inside) =>
      builder.store(panels, place, guarded(inside, emitter.element(operand, [...row, along]))),
    );
  const lanes = panelPieceBytes / bytes;
  if (!(k.kind === 'const' && k.value % lanes === 0)) return scalars();
  try {
    builder.attempt(() =>
      each(lanes, (place, row, along, inside) => {
        const whole = (): Expr =>
          emitter.vector(lanes, (lane) => emitter.full(emitter.element(operand, [...row, add(along, lane)])));
        const source = sourceOf(emitter, whole);
        if (!source) return builder.store(panels, place, guarded(inside, whole()));
        const { buffer: from, index: place0 } = source;
        builder.emit({ kind: 'copy', to: panels, at: place, from, index: place0, lanes, inside });
      }),
    );
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    scalars();
  }
}

/** The load that `build` comes down to, if it computes nothing but indices; those are emitted then. */
function sourceOf({ builder }: Emitter, build: () => Expr): (Expr & { kind: 'load' }) | undefined {
  let value: Expr | undefined;
  const block = builder.block(() => {
    value = build();
  });
  const indices = block.filter((s) => s.kind === 'let' && s.value.dtype === 'index');
  const [own] = block.filter((s) => s.kind === 'let' && value?.kind === 'var' && s.name === value.name);
  const found = own?.kind === 'let' ? own.value : value;
  if (found?.kind !== 'load' || block.length !== indices.length + (own ? 1 : 0)) return undefined;
  for (const s of indices) builder.emit(s);
  return found;
}
