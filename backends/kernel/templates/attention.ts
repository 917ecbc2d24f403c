// Attention with online softmax. A task owns one group of heads that share keys, and a chunk of query positions: its rows
// are (head, position) pairs. Keys go by in blocks; a block is transposed into private memory once and serves all rows.
// For a register tile of rows: scores = q · kᵀ (broadcast q, vectors of keys), masking, running maximum and sum, then
// out = out * correction + p · v (broadcast p, vectors of v). The score matrix never exists. The same code decodes: then
// the rows are the heads of a group. A split attention has a task per run of keys as well, and stores out, maximum and
// sum of each row as they are.
import { across, add, alu, cast, ceilDiv, constant, type Expr, floorDiv, index, load, modulo, mul, ramp, select, splat, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { Attention, f32, keepsLastAxis, lowest, referenceOf, resultOffset } from '../attention.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { type AttentionTile, attentionTile, lanesOf } from '../schedule.ts';
import type { KeyRange, Visibility } from '../visibility.ts';
import { taskIndex } from './map.ts';
import { packColumns } from './pack.ts';

export function attentionKernel(emitter: Emitter, target: Target): Expr {
  const attention = new Attention(emitter);
  const tile = attentionTile(target, attention.seq, attention.perGroup);
  return new ThreadAttention(emitter, attention, tile, lanesOf(target)).kernel();
}

/** What a task computes: a chunk of query positions of a group of heads, and a run of keys. */
interface Chunk {
  readonly b: Expr;
  readonly g: Expr;
  readonly split: Expr;
  /** First query position, their number, and the first one's place among the keys. */
  readonly q0: Expr;
  readonly queries: Expr;
  readonly first: Expr;
  readonly rows: Expr;
  readonly keys: KeyRange;
}

/** Private memory of a task, by row or by key of the block. */
interface Memory {
  readonly scaled: string;
  readonly keys: string;
  readonly shown: string | undefined;
  readonly weights: string;
  readonly out: string;
  readonly maxima: string;
  readonly totals: string;
}

class ThreadAttention {
  private chunk!: Chunk;
  private visibility!: Visibility;
  private memory!: Memory;

  constructor(
    private readonly emitter: Emitter,
    private readonly attention: Attention,
    private readonly tile: AttentionTile,
    private readonly lanes: number,
  ) {}

  kernel(): Expr {
    const { builder } = this.emitter;
    const { perGroup } = this.attention;
    const { tile } = this;
    const grid = this.divide();
    const { visibility } = this;
    const { first, queries, rows, keys } = this.chunk;
    this.memory = this.allocate(Math.ceil((tile.queries * perGroup) / tile.rows) * tile.rows);
    builder.for(index(0), rows, 1, (r) => this.begin(r));
    const { begin, end } = visibility.seenOf(keys, first, queries, tile.keys);
    builder.for(begin, end, tile.keys, (t0) => {
      this.packKeys(t0);
      const keyCount = builder.let(alu('min', index(tile.keys), sub(end, t0)));
      builder.for(index(0), rows, tile.rows, (r0) => {
        const tileRows = Array.from({ length: tile.rows }, (_, i) => builder.let(add(r0, index(i))));
        const corrections = this.weigh(tileRows, t0);
        this.addValues(tileRows, t0, keyCount, corrections);
      });
    });
    builder.for(index(0), rows, 1, (r) => this.end(r));
    return grid;
  }

  /** Which chunk the task has; returns the grid. */
  private divide(): Expr {
    const { builder } = this.emitter;
    const { batch, groups, perGroup, queries: s, splits } = this.attention;
    const chunks = ceilDiv(s, this.tile.queries);
    const grid = mul(mul(mul(builder.size(batch), index(groups)), chunks), index(splits));
    const task = taskIndex(grid);
    const split = builder.let(modulo(task, index(splits)));
    const piece = builder.let(floorDiv(task, index(splits)));
    const chunk = builder.let(modulo(piece, chunks));
    const pair = builder.let(floorDiv(piece, chunks));
    const b = builder.let(floorDiv(pair, index(groups)));
    const g = builder.let(modulo(pair, index(groups)));
    const q0 = builder.let(mul(chunk, index(this.tile.queries)));
    const queries = builder.let(alu('min', index(this.tile.queries), sub(s, q0)));
    const rows = builder.let(mul(queries, index(perGroup)));
    const visibility = this.attention.visibilityOf(b);
    const first = builder.let(visibility.placeOf(q0));
    this.visibility = visibility;
    this.chunk = { b, g, split, q0, queries, first, rows, keys: visibility.keysOf(split) };
    return grid;
  }

  /** The last register tile may reach beyond the rows: it computes on padding that nobody reads. */
  private allocate(maxRows: number): Memory {
    const { builder } = this.emitter;
    const { depth, width, mask } = this.attention;
    const { keys, rows } = this.tile;
    return {
      scaled: builder.alloc('f32', maxRows * depth),
      keys: builder.alloc('f32', depth * keys),
      shown: mask && builder.alloc('bool', keys),
      weights: builder.alloc('f32', rows * keys),
      out: builder.alloc('f32', maxRows * width),
      maxima: builder.alloc('f32', maxRows),
      totals: builder.alloc('f32', maxRows),
    };
  }

  private headOf(r: Expr): Expr {
    return add(mul(this.chunk.g, index(this.attention.perGroup)), floorDiv(r, this.chunk.queries));
  }
  private queryOf(r: Expr): Expr {
    return add(this.chunk.q0, modulo(r, this.chunk.queries));
  }

  /** A row before its first key: the scaled query, and nothing summed. */
  private begin(r: Expr): void {
    const { builder } = this.emitter;
    const { q, node, depth, width } = this.attention;
    const { scaled, out, maxima, totals } = this.memory;
    const h = builder.let(this.headOf(r));
    const i = builder.let(this.queryOf(r));
    builder.for(index(0), index(depth), 1, (d) => {
      const element = this.emitter.element(q, [this.chunk.b, h, i, d]);
      builder.store(scaled, add(mul(r, index(depth)), d), alu('mul', cast(element, 'f32'), f32(node.attrs.scale)));
    });
    builder.for(index(0), index(width), 1, (e) => builder.store(out, add(mul(r, index(width)), e), f32(0)));
    const start = this.attention.startOf(() => h, this.attention.isFirst(this.chunk.split));
    builder.store(maxima, r, start.maximum);
    builder.store(totals, r, start.sum);
  }

  /** A block of keys, transposed, and which of them the mask shows. */
  private packKeys(t0: Expr): void {
    const { builder } = this.emitter;
    const { k, mask, depth } = this.attention;
    const { b, g } = this.chunk;
    const { keys, shown } = this.memory;
    const { tile, lanes, visibility } = this;
    const element = (t: Expr, d: Expr) => this.emitter.element(k, [b, g, t, d]);
    const places = Array.from({ length: tile.keys / lanes }, (_, i) => index(i * lanes));
    const panel = { buffer: keys, dtype: 'f32', lanes, places, pitch: tile.keys, word: 1 } as const;
    const lines = { element, first: t0, limit: visibility.held, k0: index(0), depth: index(depth), multiple: 1 };
    packColumns(this.emitter, lines, panel);
    if (!mask || !shown) return;
    builder.for(index(0), index(tile.keys), 1, (i) => {
      const t = builder.let(visibility.clamped(add(t0, i)));
      builder.store(shown, i, this.emitter.element(mask, [b, t]));
    });
  }

  /** Masked softmax numerators of a tile of rows go to `weights`; returns how much each row's past must shrink. */
  private weigh(tileRows: readonly Expr[], t0: Expr): Expr[] {
    const { builder } = this.emitter;
    const { tile, lanes } = this;
    const { weights, maxima, totals } = this.memory;
    const products = this.multiplyKeys(tileRows);
    return tileRows.map((r, i) => {
      const masked = this.maskedScores(r, t0, products[i]);
      const before = builder.let(load(maxima, r, 'f32'));
      const top = masked.reduce((x, y) => alu('max', x, y));
      const after = builder.let(alu('max', before, across('max', top)));
      const reference = builder.let(referenceOf(after));
      const numerators = masked.map((x) => builder.let(alu('exp', alu('sub', x, splat(reference, lanes)))));
      const correction = builder.let(alu('exp', alu('sub', before, reference)));
      const sum = across(
        'add',
        numerators.reduce((x, y) => alu('add', x, y)),
      );
      builder.store(maxima, r, after);
      builder.store(totals, r, alu('fma', load(totals, r, 'f32'), correction, sum));
      numerators.forEach((p, c) => builder.store(weights, index(i * tile.keys + c * lanes), p));
      return correction;
    });
  }

  /** The products of a tile of rows with the keys of the block: vectors of keys, by row. */
  private multiplyKeys(tileRows: readonly Expr[]): Expr[][] {
    const { builder } = this.emitter;
    const { tile, lanes } = this;
    const { depth } = this.attention;
    const { scaled, keys } = this.memory;
    const vectors = tile.keys / lanes;
    const acc = tileRows.map(() => Array.from({ length: vectors }, () => builder.mutable(constant(0, 'f32', lanes))));
    builder.for(index(0), index(depth), 1, (d) => {
      const row = builder.let(mul(d, index(tile.keys)));
      const kv = acc[0].map((_, c) => builder.let(load(keys, add(row, index(c * lanes)), 'f32', lanes)));
      tileRows.forEach((r, i) => {
        const a = builder.let(splat(load(scaled, add(mul(r, index(depth)), d), 'f32'), lanes));
        kv.forEach((kc, c) => builder.assign(acc[i][c], alu('fma', a, kc, acc[i][c])));
      });
    });
    return acc;
  }

  /** The scores of a row, those that do not count the lowest number. */
  private maskedScores(r: Expr, t0: Expr, products: readonly Expr[]): Expr[] {
    const { builder } = this.emitter;
    const { lanes, visibility } = this;
    const { first, queries, keys } = this.chunk;
    const { shown } = this.memory;
    const place = builder.let(add(first, modulo(r, queries)));
    return products.map((sum, c) => {
      const inBlock = index(c * lanes);
      const start = builder.let(add(t0, inBlock));
      const score = this.attention.scoreOf(sum, (n) => this.biasVector(n, r, start));
      const seen = visibility.sees(builder.let(ramp(start, lanes)), place, keys.end);
      const counts = shown ? alu('and', seen, load(shown, inBlock, 'bool', lanes)) : seen;
      return builder.let(select(counts, score, splat(lowest, lanes)));
    });
  }

  /** The biases of a row for a vector of keys. The last vector may reach beyond the keys: it repeats the last one. */
  private biasVector(n: Node, r: Expr, start: Expr): Expr {
    const { builder } = this.emitter;
    const { b, rows } = this.chunk;
    const staging = builder.alloc('f32', this.lanes);
    builder.for(index(0), index(this.lanes), 1, (i) => {
      const t = builder.let(this.visibility.clamped(add(start, i)));
      const row = alu('min', r, sub(rows, index(1)));
      const value = this.attention.biasAt(
        n,
        b,
        () => this.headOf(row),
        () => this.queryOf(row),
        t,
      );
      builder.store(staging, i, value);
    });
    return builder.let(load(staging, index(0), 'f32', this.lanes));
  }

  /** out = out * correction + weights · v for a tile of rows, in vectors where values lie side by side. */
  private addValues(tileRows: readonly Expr[], t0: Expr, keyCount: Expr, corrections: readonly Expr[]): void {
    let lanes = this.lanes;
    while (this.attention.width % lanes !== 0) lanes /= 2;
    try {
      this.emitter.builder.attempt(() => this.addVectors(lanes, tileRows, t0, keyCount, corrections));
    } catch (error) {
      if (!(error instanceof NotVectorisable)) throw error;
      this.addVectors(1, tileRows, t0, keyCount, corrections);
    }
  }

  private addVectors(
    n: number,
    tileRows: readonly Expr[],
    t0: Expr,
    keyCount: Expr,
    corrections: readonly Expr[],
  ): void {
    const { emitter, tile } = this;
    const { builder } = emitter;
    const { v, width } = this.attention;
    const { b, g } = this.chunk;
    const { out, weights } = this.memory;
    const perPass = Math.min(width / n, tile.keys / this.lanes);
    const at = (r: Expr, c: number) => add(mul(r, index(width)), index(c * n));
    for (let c0 = 0; c0 < width / n; c0 += perPass) {
      const cs = Array.from({ length: Math.min(perPass, width / n - c0) }, (_, i) => c0 + i);
      const acc = tileRows.map((r, i) =>
        cs.map((c) => builder.mutable(alu('mul', load(out, at(r, c), 'f32', n), splat(corrections[i], n)))),
      );
      builder.for(index(0), keyCount, 1, (t) => {
        const vs = cs.map((c) =>
          emitter.vector(n, (lane) =>
            builder.let(splat(cast(emitter.element(v, [b, g, add(t0, t), add(index(c * n), lane)]), 'f32'), n)),
          ),
        );
        tileRows.forEach((_, i) => {
          const p = builder.let(splat(load(weights, add(index(i * tile.keys), t), 'f32'), n));
          vs.forEach((vc, j) => builder.assign(acc[i][j], alu('fma', p, vc, acc[i][j])));
        });
      });
      tileRows.forEach((r, i) => cs.forEach((c, j) => builder.store(out, at(r, c), acc[i][j])));
    }
  }

  /** Stores a row, divided by its sum; or, of a split, what it holds with its maximum and sum. */
  private end(r: Expr): void {
    const { emitter, attention } = this;
    const { builder, region } = emitter;
    const { node, width } = attention;
    const { b, split } = this.chunk;
    const { out, maxima, totals } = this.memory;
    const h = builder.let(this.headOf(r));
    const i = builder.let(this.queryOf(r));
    const target = builder.buffer(node.op === 'attention_split' ? node : region.root, 'write');
    const valueAt = (e: Expr) => load(out, add(mul(r, index(width)), e), 'f32');
    const each = (body: (e: Expr) => void) => builder.for(index(0), index(width), 1, body, 'simd');
    if (node.op === 'attention_split') {
      const base = builder.let(attention.partOffset(b, h, i, split, index(0)));
      each((e) => builder.store(target, add(base, e), valueAt(e)));
      builder.store(target, add(base, index(width)), load(maxima, r, 'f32'));
      builder.store(target, add(base, index(width + 1)), load(totals, r, 'f32'));
      return;
    }
    const sum = builder.let(load(totals, r, 'f32'));
    const inverse = builder.let(select(alu('gt', sum, f32(0)), alu('div', f32(1), sum), f32(0)));
    const contiguous = keepsLastAxis(region.root, node);
    const base = builder.let(resultOffset(emitter, node, [b, h, i, index(0)]));
    each((e) => {
      const value = alu('mul', valueAt(e), inverse);
      const at = contiguous ? add(base, e) : resultOffset(emitter, node, [b, h, i, e]);
      builder.store(target, at, cast(value, region.root.type.dtype));
    });
  }
}
