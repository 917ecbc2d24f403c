// Attention of one query, for groups: what counts is that keys and values stream in. A run of threads side by side takes a
// key at a time, several of them under way: every thread has a part of the head size, of the queries of all heads that
// share the key, of the key and of the value. Scores are sums over the run; maximum, sum and output of each head stay in
// registers and are corrected as the maximum grows (online softmax), so the threads of a group meet only at the end, when
// the runs are put together in group memory. A split attention has a group for each part of the keys.
import { across, add, alu, cast, constant, type Expr, floorDiv, index, modulo, mul, select, splat, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { type Attention, f32, lowest, quotient, referenceOf } from '../attention.ts';
import type { Emitter } from '../emit.ts';
import type { DecodingAttention } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import type { KeyRange } from '../visibility.ts';
import { threadIndex } from './map.ts';

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
type Mutable = Expr & { kind: 'var' };

/** Throws NotVectorisable where keys or values do not lie side by side in memory. */
export function decodeAttentionKernel(
  emitter: Emitter,
  target: Target,
  attention: Attention,
  plan: DecodingAttention,
): Expr {
  return new DecodeAttention(emitter, attention, plan, target).kernel();
}

/** What a group computes: some heads that share a key, of one row of the batch, over a run of keys. */
interface Piece {
  readonly b: Expr;
  readonly g: Expr;
  readonly head0: Expr;
  readonly split: Expr;
  readonly keys: KeyRange;
}

/** What a thread keeps of a head. */
interface Row {
  readonly query: readonly Expr[];
  readonly maximum: Mutable;
  readonly sum: Mutable;
  readonly out: readonly Mutable[];
}

class DecodeAttention {
  private readonly thread: Expr;
  /** Which part of a head the thread has in its run, and which run it is in. */
  private readonly part: Expr;
  private readonly own: Expr;
  private readonly runs: number;
  private readonly grid: Expr;
  private readonly piece: Piece;

  constructor(
    private readonly emitter: Emitter,
    private readonly attention: Attention,
    private readonly plan: DecodingAttention,
    target: Target,
  ) {
    const { builder } = emitter;
    const { batch, groups, perGroup, splits } = attention;
    const { heads, run } = plan;
    const chunks = groups * (perGroup / heads);
    this.grid = mul(mul(builder.size(batch), index(chunks)), index(splits));
    const task = taskIndex(this.grid);
    const split = builder.let(modulo(task, index(splits)));
    const piece = builder.let(floorDiv(task, index(splits)));
    const b = builder.let(floorDiv(piece, index(chunks)));
    const head0 = builder.let(mul(modulo(piece, index(chunks)), index(heads)));
    const g = builder.let(floorDiv(head0, index(perGroup)));
    this.thread = threadIndex(target);
    this.part = builder.let(modulo(this.thread, index(run)));
    this.own = builder.let(floorDiv(this.thread, index(run)));
    this.runs = target.groupThreads / run;
    const visibility = attention.visibilityOf(b);
    const keys = visibility.seenOf(visibility.keysOf(split), visibility.placeOf(index(0)), undefined);
    this.piece = { b, g, head0, split, keys };
  }

  kernel(): Expr {
    const { builder } = this.emitter;
    const { begin, end } = this.piece.keys;
    const rows = this.begin();
    // All threads go around equally often, as they exchange scores.
    builder.for(begin, end, this.runs * this.plan.keys, (t0) => this.addKeys(rows, t0));
    this.putTogether(rows);
    return this.grid;
  }

  private headOf(r: Expr): Expr {
    return add(this.piece.head0, r);
  }

  /** The thread's vectors of `node` at `at`, along the last axis. */
  private vectorsOf(n: Node, at: readonly Expr[], count: number): Expr[] {
    const { emitter, plan } = this;
    return range(count / (plan.run * plan.lanes)).map((i) => {
      const start = this.columnOf(i);
      return emitter.vector(plan.lanes, (lane) =>
        emitter.builder.let(emitter.full(cast(emitter.element(n, [...at, add(start, lane)]), 'f32'))),
      );
    });
  }

  /** The first column of the thread's vector `i`. */
  private columnOf(i: number): Expr {
    const { run, lanes } = this.plan;
    return this.emitter.builder.let(mul(add(this.part, index(i * run)), index(lanes)));
  }

  /** The heads before their first key: scaled queries, and nothing summed. */
  private begin(): Row[] {
    const { builder } = this.emitter;
    const { q, node, depth, width, sinks } = this.attention;
    const { heads, run, lanes } = this.plan;
    const rows = range(heads);
    const queries = rows.map((r) => {
      const at = [this.piece.b, builder.let(this.headOf(index(r))), index(0)];
      return this.vectorsOf(q, at, depth).map((x) => builder.let(alu('mul', x, f32(node.attrs.scale))));
    });
    const isFirst = alu('and', alu('eq', this.piece.split, index(0)), alu('eq', this.own, index(0)));
    const once = (value: Expr, other: Expr): Expr => (sinks ? select(isFirst, value, other) : other);
    const sinkOf = (r: number) => sinks && this.attention.sinkOf(builder.let(this.headOf(index(r))));
    const maxima = rows.map((r) => builder.mutable(once(sinkOf(r) ?? lowest, lowest)));
    const sums = rows.map(() => builder.mutable(once(f32(1), f32(0))));
    return rows.map((r) => ({
      query: queries[r],
      maximum: maxima[r],
      sum: sums[r],
      out: range(width / (run * lanes)).map(() => builder.mutable(constant(0, 'f32', lanes))),
    }));
  }

  /** Adds the keys and values that are under way, one a run and turn. */
  private addKeys(rows: readonly Row[], t0: Expr): void {
    const { builder } = this.emitter;
    const { k, v, mask, depth, width } = this.attention;
    const { run, keys: ahead } = this.plan;
    const { b, g, keys } = this.piece;
    const positions = range(ahead).map((u) => builder.let(add(add(t0, index(u * this.runs)), this.own)));
    const clamped = positions.map((t) => builder.let(alu('min', t, sub(keys.end, index(1)))));
    const key = clamped.map((t) => this.vectorsOf(k, [b, g, t], depth));
    const value = clamped.map((t) => this.vectorsOf(v, [b, g, t], width));
    const dots = key.flatMap((parts) =>
      rows.map(({ query }) =>
        parts.map((x, i) => across('add', alu('mul', query[i], x))).reduce((x, y) => alu('add', x, y)),
      ),
    );
    const products = builder.reduce('add', run, dots.map((dot) => builder.let(dot))); // biome-ignore format: one row
    const counts = positions.map((t, u) => {
      const inside = alu('lt', t, keys.end);
      return builder.let(mask ? alu('and', inside, this.emitter.element(mask, [b, clamped[u]])) : inside);
    });
    rows.forEach((row, r) => {
      const scores = counts.map((isSeen, u) => {
        const score = this.scoreOf(products[u * rows.length + r], r, clamped[u]);
        return builder.let(select(isSeen, score, lowest));
      });
      this.addScores(row, scores, value);
    });
  }

  private scoreOf(product: Expr, r: number, t: Expr): Expr {
    const head = () => this.emitter.builder.let(this.headOf(index(r)));
    return this.attention.scoreOf(product, (n) => this.attention.biasAt(n, this.piece.b, head, () => index(0), t));
  }

  /** Maximum, sum and output of a head with some more scores and their values. */
  private addScores({ maximum, sum, out }: Row, scores: readonly Expr[], values: readonly Expr[][]): void {
    const { builder } = this.emitter;
    const { lanes } = this.plan;
    const after = builder.let(scores.reduce((x, y) => alu('max', x, y), maximum as Expr));
    const reference = builder.let(referenceOf(after));
    const correction = builder.let(alu('exp', alu('sub', maximum, reference)));
    const weights = scores.map((score) => builder.let(alu('exp', alu('sub', score, reference))));
    builder.assign(sum, weights.reduce((x, y) => alu('add', x, y), alu('mul', sum, correction))); // biome-ignore format: one row
    builder.assign(maximum, after);
    out.forEach((own, i) => {
      const start = alu('mul', own, splat(correction, lanes));
      const next = weights.reduce((total, w, u) => alu('fma', splat(w, lanes), values[u][i], total), start);
      builder.assign(own, next);
    });
  }

  /** Puts what the runs have together, and stores it. */
  private putTogether(rows: readonly Row[]): void {
    const { builder } = this.emitter;
    const { width } = this.attention;
    const heads = rows.length;
    const [maxima, sums] = [0, 1].map(() => builder.alloc('f32', this.runs * heads, 'group'));
    const outs = builder.alloc('f32', this.runs * heads * width, 'group');
    const rowOf = (run: Expr, r: Expr): Expr => add(mul(run, index(heads)), r);
    rows.forEach(({ maximum, sum, out }, r) => {
      const row = builder.let(rowOf(this.own, index(r)));
      out.forEach((own, i) => {
        const start = this.columnOf(i);
        builder.store(outs, add(mul(row, index(width)), start), own);
      });
      builder.if(alu('eq', this.part, index(0)), () => {
        builder.store(maxima, row, maximum);
        builder.store(sums, row, sum);
      });
    });
    builder.barrier();
    const store = (e: Expr): void => {
      const r = builder.let(floorDiv(e, index(width)));
      const c = builder.let(modulo(e, index(width)));
      const maximum = builder.mutable(lowest);
      const each = (body: (row: Expr) => void) =>
        builder.for(index(0), index(this.runs), 1, (other) => body(builder.let(rowOf(other, r))));
      each((row) => builder.assign(maximum, alu('max', maximum, builder.load(maxima, row, 'f32'))));
      const reference = builder.let(referenceOf(maximum));
      const [sum, out] = [0, 1].map(() => builder.mutable(f32(0)));
      each((row) => {
        const weight = builder.let(alu('exp', alu('sub', builder.load(maxima, row, 'f32'), reference)));
        builder.assign(sum, alu('fma', weight, builder.load(sums, row, 'f32'), sum));
        const value = builder.load(outs, add(mul(row, index(width)), c), 'f32');
        builder.assign(out, alu('fma', weight, value, out));
      });
      this.store(builder.let(this.headOf(r)), c, { maximum, sum, out });
    };
    builder.for(index(0), index(heads * width), 1, store, 'group');
  }

  private store(h: Expr, c: Expr, { maximum, sum, out }: Readonly<Record<'maximum' | 'sum' | 'out', Expr>>): void {
    const { builder } = this.emitter;
    const { node, width } = this.attention;
    const { b, split } = this.piece;
    if (node.op === 'attention') return this.attention.store([b, h, index(0), c], quotient(out, sum));
    const parts = builder.buffer(node, 'write');
    const place = builder.let(this.attention.partOffset(b, h, index(0), split, index(0)));
    builder.store(parts, add(place, c), out);
    builder.if(alu('eq', c, index(0)), () => {
      builder.store(parts, add(place, index(width)), maximum);
      builder.store(parts, add(place, index(width + 1)), sum);
    });
  }
}
