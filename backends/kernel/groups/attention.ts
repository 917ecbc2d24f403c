// Attention with online softmax, for groups. A group of threads owns some of the query heads that share keys, and a chunk
// of query positions: its rows are (head, position) pairs, whose queries and outputs are in group memory. Keys go by in
// blocks: scores of all rows and keys of a block, a pair a thread; new maxima, weights and sums, a row a thread; outputs,
// an element a thread. The score matrix never exists. A split attention has a group per run of keys as well, and stores
// out, maximum and sum of each row as they are. Many queries of a type that the target has a tile for take another way
// (tiled-attention.ts), and so does one query (decode-attention.ts).
import { dimConst } from '../../../ir/dim.ts';
import { add, alu, cast, ceilDiv, type Expr, floorDiv, index, modulo, mul, sub } from '../../../ir/loop.ts';
import type { Target } from '../../../ir/target.ts';
import { Attention, f32, lowest, quotient, referenceOf } from '../attention.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { decodingAttention, type GroupAttentionTile, groupAttentionTile, tiledAttention } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import { storedBytes } from '../templates/product.ts';
import type { KeyRange, Visibility } from '../visibility.ts';
import { decodeAttentionKernel } from './decode-attention.ts';
import { tiledAttentionKernel } from './tiled-attention.ts';

export function attentionKernel(emitter: Emitter, target: Target): Expr {
  const attention = new Attention(emitter);
  const { q, k, v, seq, perGroup, depth, width, node } = attention;
  const tiled = tiledAttention(target, q.type.dtype, seq.max, perGroup, depth, width);
  if (tiled && node.op === 'attention') return tiledAttentionKernel(emitter, target, attention, tiled);
  const decoding = dimConst(seq) === 1 && decodingAttention(target, perGroup, depth, width, storedBytes([k, v]));
  if (decoding) {
    try {
      return emitter.builder.attempt(() => decodeAttentionKernel(emitter, target, attention, decoding));
    } catch (error) {
      if (!(error instanceof NotVectorisable)) throw error;
    }
  }
  return new GroupAttention(emitter, attention, groupAttentionTile(target, seq, perGroup, depth, width)).kernel();
}

/** What a group computes: a chunk of query positions of some heads that share keys, and a run of keys. */
interface Chunk {
  readonly b: Expr;
  readonly g: Expr;
  readonly split: Expr;
  readonly head0: Expr;
  /** First query position, their number, and the first one's place among the keys. */
  readonly q0: Expr;
  readonly queries: Expr;
  readonly first: Expr;
  readonly rows: Expr;
  readonly keys: KeyRange;
}

/** Memory of the group, by row. */
type Memory = Readonly<Record<'scaled' | 'weights' | 'out' | 'maxima' | 'totals' | 'corrections', string>>;

class GroupAttention {
  private chunk!: Chunk;
  private visibility!: Visibility;
  private memory!: Memory;

  constructor(
    private readonly emitter: Emitter,
    private readonly attention: Attention,
    private readonly tile: GroupAttentionTile,
  ) {}

  kernel(): Expr {
    const { builder } = this.emitter;
    const grid = this.divide();
    this.memory = this.allocate();
    this.begin();
    builder.barrier();
    const { keys, first, queries } = this.chunk;
    const { begin, end } = this.visibility.seenOf(keys, first, queries);
    builder.for(begin, end, this.tile.keys, (t0) => {
      const count = builder.let(alu('min', index(this.tile.keys), sub(end, t0)));
      this.score(t0, end);
      builder.barrier();
      this.weigh(count);
      builder.barrier();
      this.addValues(t0, count);
      builder.barrier();
    });
    this.end();
    return grid;
  }

  /** Which chunk the group has; returns the grid. */
  private divide(): Expr {
    const { builder } = this.emitter;
    const { batch, groups, perGroup, queries: s, splits } = this.attention;
    const { tile } = this;
    const headChunks = Math.ceil(perGroup / tile.heads);
    const chunks = ceilDiv(s, tile.queries);
    const grid = mul(mul(mul(builder.size(batch), index(groups * headChunks)), chunks), index(splits));
    const task = taskIndex(grid);
    const split = builder.let(modulo(task, index(splits)));
    const piece = builder.let(floorDiv(task, index(splits)));
    const chunk = builder.let(modulo(piece, chunks));
    const pair = builder.let(floorDiv(piece, chunks));
    const b = builder.let(floorDiv(pair, index(groups * headChunks)));
    const g = builder.let(floorDiv(modulo(pair, index(groups * headChunks)), index(headChunks)));
    const head0 = builder.let(mul(modulo(pair, index(headChunks)), index(tile.heads)));
    const q0 = builder.let(mul(chunk, index(tile.queries)));
    const queries = builder.let(alu('min', index(tile.queries), sub(s, q0)));
    const rows = builder.let(mul(queries, alu('min', index(tile.heads), sub(index(perGroup), head0))));
    const visibility = this.attention.visibilityOf(b);
    const first = builder.let(visibility.placeOf(q0));
    this.visibility = visibility;
    this.chunk = { b, g, split, head0, q0, queries, first, rows, keys: visibility.keysOf(split) };
    return grid;
  }

  private allocate(): Memory {
    const { depth, width } = this.attention;
    const { heads, queries, keys } = this.tile;
    const rows = heads * queries;
    const alloc = (size: number) => this.emitter.builder.alloc('f32', size, 'group');
    return {
      scaled: alloc(rows * depth),
      weights: alloc(rows * keys),
      out: alloc(rows * width),
      maxima: alloc(rows),
      totals: alloc(rows),
      corrections: alloc(rows),
    };
  }

  private headOf(r: Expr): Expr {
    const { g, head0, queries } = this.chunk;
    return add(add(mul(g, index(this.attention.perGroup)), head0), floorDiv(r, queries));
  }
  private queryOf(r: Expr): Expr {
    return add(this.chunk.q0, modulo(r, this.chunk.queries));
  }

  private each(count: Expr, body: (e: Expr) => void): void {
    this.emitter.builder.for(index(0), count, 1, body, 'group', count);
  }
  /** Runs over rows x `inner` elements. */
  private eachOf(inner: number, body: (r: Expr, c: Expr, e: Expr) => void): void {
    const { builder } = this.emitter;
    this.each(builder.let(mul(this.chunk.rows, index(inner))), (e) =>
      body(builder.let(floorDiv(e, index(inner))), builder.let(modulo(e, index(inner))), e),
    );
  }

  /** Rows before their first key: scaled queries, and nothing summed. */
  private begin(): void {
    const { builder } = this.emitter;
    const { q, node, depth, width } = this.attention;
    const { b, rows, split } = this.chunk;
    const { scaled, out, maxima, totals } = this.memory;
    this.eachOf(depth, (r, d, e) => {
      const at = [b, builder.let(this.headOf(r)), builder.let(this.queryOf(r)), d];
      builder.store(scaled, e, alu('mul', cast(this.emitter.element(q, at), 'f32'), f32(node.attrs.scale)));
    });
    this.eachOf(width, (_r, _c, e) => builder.store(out, e, f32(0)));
    this.each(rows, (r) => {
      const start = this.attention.startOf(() => builder.let(this.headOf(r)), this.attention.isFirst(split));
      builder.store(maxima, r, start.maximum);
      builder.store(totals, r, start.sum);
    });
  }

  /** The scores of a block of keys, those that do not count the lowest number. */
  private score(t0: Expr, end: Expr): void {
    const { builder } = this.emitter;
    const { visibility } = this;
    const { mask } = this.attention;
    const { b, first, queries } = this.chunk;
    this.eachOf(this.tile.keys, (r, i, e) => {
      const t = builder.let(add(t0, i));
      const place = builder.let(add(first, modulo(r, queries)));
      const score = builder.mutable(lowest);
      const take = () => builder.assign(score, this.scoreOf(r, t));
      builder.if(visibility.sees(t, place, end), () => {
        if (mask) builder.if(this.emitter.element(mask, [b, t]), take);
        else take();
      });
      builder.store(this.memory.weights, e, score);
    });
  }

  /** The score of row r and key t, as the softmax takes it. */
  private scoreOf(r: Expr, t: Expr): Expr {
    const { builder } = this.emitter;
    const { k, depth } = this.attention;
    const { b, g } = this.chunk;
    const dot = builder.mutable(f32(0));
    const base = builder.let(mul(r, index(depth)));
    builder.for(index(0), index(depth), 1, (d) => {
      const key = cast(this.emitter.element(k, [b, g, t, d]), 'f32');
      builder.assign(dot, alu('fma', builder.load(this.memory.scaled, add(base, d), 'f32'), key, dot));
    });
    const head = () => builder.let(this.headOf(r));
    const query = () => builder.let(this.queryOf(r));
    return this.attention.scoreOf(dot, (n) => this.attention.biasAt(n, b, head, query, t));
  }

  /** Scores become weights, by maxima that grow. */
  private weigh(count: Expr): void {
    const { builder } = this.emitter;
    const { weights, maxima, totals, corrections } = this.memory;
    this.each(this.chunk.rows, (r) => {
      const base = builder.let(mul(r, index(this.tile.keys)));
      const before = builder.let(builder.load(maxima, r, 'f32'));
      const after = builder.mutable(before);
      builder.for(index(0), count, 1, (i) => {
        builder.assign(after, alu('max', after, builder.load(weights, add(base, i), 'f32')));
      });
      const reference = builder.let(referenceOf(after));
      const correction = builder.let(alu('exp', alu('sub', before, reference)));
      const sum = builder.mutable(alu('mul', builder.load(totals, r, 'f32'), correction));
      builder.for(index(0), count, 1, (i) => {
        const p = builder.let(alu('exp', alu('sub', builder.load(weights, add(base, i), 'f32'), reference)));
        builder.store(weights, add(base, i), p);
        builder.assign(sum, alu('add', sum, p));
      });
      builder.store(maxima, r, after);
      builder.store(totals, r, sum);
      builder.store(corrections, r, correction);
    });
  }

  /** out = out * corrections + weights · values. */
  private addValues(t0: Expr, count: Expr): void {
    const { builder } = this.emitter;
    const { v, width } = this.attention;
    const { b, g } = this.chunk;
    const { weights, out, corrections } = this.memory;
    this.eachOf(width, (r, c, e) => {
      const base = builder.let(mul(r, index(this.tile.keys)));
      const sum = builder.mutable(alu('mul', builder.load(out, e, 'f32'), builder.load(corrections, r, 'f32')));
      builder.for(index(0), count, 1, (i) => {
        const value = cast(this.emitter.element(v, [b, g, builder.let(add(t0, i)), c]), 'f32');
        builder.assign(sum, alu('fma', builder.load(weights, add(base, i), 'f32'), value, sum));
      });
      builder.store(out, e, sum);
    });
  }

  /** Stores the rows, divided by their sums; or, of a split, what they hold with their maxima and sums. */
  private end(): void {
    const { builder } = this.emitter;
    const { node, width } = this.attention;
    const { b, split, rows } = this.chunk;
    const { out, maxima, totals } = this.memory;
    const isSplit = node.op === 'attention_split';
    this.eachOf(width, (r, c, e) => {
      const h = builder.let(this.headOf(r));
      const i = builder.let(this.queryOf(r));
      const value = builder.load(out, e, 'f32');
      if (isSplit) builder.store(builder.buffer(node, 'write'), this.attention.partOffset(b, h, i, split, c), value);
      else this.attention.store([b, h, i, c], quotient(value, builder.let(builder.load(totals, r, 'f32'))));
    });
    if (!isSplit) return;
    this.each(rows, (r) => {
      const [h, i] = [builder.let(this.headOf(r)), builder.let(this.queryOf(r))];
      const place = builder.let(this.attention.partOffset(b, h, i, split, index(width)));
      const parts = builder.buffer(node, 'write');
      builder.store(parts, place, builder.load(maxima, r, 'f32'));
      builder.store(parts, add(place, index(1)), builder.load(totals, r, 'f32'));
    });
  }
}
