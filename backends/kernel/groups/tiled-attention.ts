// Attention with many queries by matrix instructions, with online softmax (Dao et al. 2022). A group owns rows, which are
// pairs of a query head (of those that share keys) and a query position, and each team of its threads those of one tile.
// Queries are a panel; keys and values go by in blocks. Scores are sums of tiles, which pass through group memory: there
// they are masked, maxima found, and weights written as a panel, each row by a few threads, which keep its maximum and
// sum. Outputs stay in the sums of tiles; their rows shrink as maxima grow. Weights are rounded to the operands' type.
import { across, add, alu, cast, ceilDiv, type Expr, floorDiv, index, modulo, mul, select, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Node } from '../../../ir/node.ts';
import { panelPlace } from '../../../ir/panel.ts';
import type { Target } from '../../../ir/target.ts';
import { type Attention, f32, lowest, quotient, referenceOf } from '../attention.ts';
import type { Emitter } from '../emit.ts';
import type { TiledAttention as Plan } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import type { Visibility } from '../visibility.ts';
import { threadIndex } from './map.ts';
import { bringRows, type PanelRows } from './panels.ts';

/** Between rows of scores, so that threads that read side by side in a column meet different banks of memory. */
const padding = 4;

export function tiledAttentionKernel(emitter: Emitter, target: Target, attention: Attention, plan: Plan): Expr {
  return new TiledAttention(emitter, attention, plan, target).kernel();
}

/** What a group computes: a chunk of query positions of some heads that share keys. */
interface Chunk {
  readonly b: Expr;
  readonly g: Expr;
  readonly head0: Expr;
  /** Heads from there on. */
  readonly heads: Expr;
  /** First query position, their number, and the first one's place among the keys. */
  readonly q0: Expr;
  readonly queries: Expr;
  readonly first: Expr;
}

/** Where the threads of the group work. */
interface Place {
  readonly thread: Expr;
  /** Threads that share a row of scores; the thread's row, and which part of it is its own. */
  readonly parts: number;
  readonly own: Expr;
  readonly part: Expr;
  /** The first row of the thread's team. */
  readonly row0: Expr;
}

/** Memory of the group. Operands of many columns are panels of `pitch` columns, one after another. */
interface Memory {
  readonly panels: string;
  /** Lines of the panels at which keys and values begin. */
  readonly keyLine: number;
  readonly valueLine: number;
  readonly weights: string;
  readonly scores: string;
  readonly scorePitch: number;
  readonly maxima: string;
  readonly corrections: string;
}

/** What stays in the thread's registers from block to block: of its row, and of its team's tiles. */
interface Running {
  readonly maximum: Expr & { kind: 'var' };
  readonly sum: Expr & { kind: 'var' };
  readonly outputs: readonly string[];
}

class TiledAttention {
  private readonly grid: Expr;
  private readonly chunk: Chunk;
  private readonly place: Place;
  private readonly memory: Memory;
  private readonly visibility: Visibility;

  constructor(
    private readonly emitter: Emitter,
    private readonly attention: Attention,
    private readonly plan: Plan,
    private readonly target: Target,
  ) {
    const { builder } = emitter;
    const { batch, groups, perGroup, queries: s } = attention;
    const headChunks = Math.ceil(perGroup / plan.heads);
    const chunks = ceilDiv(s, plan.queries);
    this.grid = mul(mul(builder.size(batch), index(groups * headChunks)), chunks);
    const task = taskIndex(this.grid);
    const chunk = builder.let(modulo(task, chunks));
    const pair = builder.let(floorDiv(task, chunks));
    const b = builder.let(floorDiv(pair, index(groups * headChunks)));
    const g = builder.let(floorDiv(modulo(pair, index(groups * headChunks)), index(headChunks)));
    const head0 = builder.let(mul(modulo(pair, index(headChunks)), index(plan.heads)));
    const q0 = builder.let(mul(chunk, index(plan.queries)));
    const queries = builder.let(alu('min', index(plan.queries), sub(s, q0)));
    this.visibility = attention.visibilityOf(b);
    const first = builder.let(this.visibility.placeOf(q0));
    this.chunk = { b, g, head0, heads: sub(index(perGroup), head0), q0, queries, first };
    this.place = this.divideThreads();
    this.memory = this.allocate();
  }

  kernel(): Expr {
    const { builder } = this.emitter;
    const { visibility } = this;
    const { q, k, v, depth, width } = this.attention;
    const { rows, keys, pitch } = this.plan;
    const { b, g, first, queries } = this.chunk;
    const { keyLine, valueLine } = this.memory;
    const depthPanels = depth / pitch;
    this.bring(
      this.rowsOf(q, rows, depth, (i) => [b, this.head(i), this.query(i)]),
      0,
      depthPanels,
    );
    const running = this.begin();
    const { begin, end } = visibility.seenOf({ begin: index(0), end: visibility.held }, first, queries);
    builder.for(begin, end, keys, (t0) => {
      const at = (i: Expr): Expr[] => [b, g, builder.let(visibility.clamped(add(t0, i)))];
      this.bring(this.rowsOf(k, keys, depth, at), keyLine, depthPanels);
      this.bring(this.rowsOf(v, keys, width, at), valueLine, width / pitch);
      this.arrive();
      this.multiplyKeys();
      builder.barrier();
      this.maskScores(t0, end);
      builder.barrier();
      this.weigh(running);
      builder.barrier();
      this.multiplyValues(running);
      builder.barrier(); // before the next keys and values come
    });
    this.store(running);
    return this.grid;
  }

  private divideThreads(): Place {
    const { builder } = this.emitter;
    const { tile, rows } = this.plan;
    const thread = threadIndex(this.target);
    const own = builder.let(modulo(thread, index(rows)));
    const part = builder.let(floorDiv(thread, index(rows)));
    const row0 = builder.let(mul(floorDiv(thread, index(tile.threads)), index(tile.m)));
    return { thread, parts: this.target.groupThreads / rows, own, part, row0 };
  }

  private allocate(): Memory {
    const { builder } = this.emitter;
    const { depth, width } = this.attention;
    const { tile, rows, keys, pitch } = this.plan;
    const keyLine = (depth / pitch) * rows;
    const valueLine = keyLine + (depth / pitch) * keys;
    const panels = builder.alloc(tile.operands, (valueLine + (width / pitch) * keys) * pitch, 'group');
    const weights = builder.alloc(tile.operands, rows * keys, 'group');
    const scorePitch = keys + padding;
    const scores = builder.alloc('f32', rows * scorePitch, 'group');
    const maxima = builder.alloc('f32', this.target.groupThreads, 'group');
    const corrections = builder.alloc('f32', rows, 'group');
    return { panels, keyLine, valueLine, weights, scores, scorePitch, maxima, corrections };
  }

  private headOf(r: Expr): Expr {
    return floorDiv(r, index(this.plan.queries));
  }
  private queryOf(r: Expr): Expr {
    return modulo(r, index(this.plan.queries));
  }
  private isRow(r: Expr): Expr {
    const { queries, heads } = this.chunk;
    return alu('and', alu('lt', this.queryOf(r), queries), alu('lt', this.headOf(r), heads));
  }
  /** Rows beyond the last repeat it, and are not stored. */
  private head(r: Expr): Expr {
    const { g, head0, heads } = this.chunk;
    const last = sub(heads, index(1));
    const group = mul(g, index(this.attention.perGroup));
    return this.emitter.builder.let(add(add(group, head0), alu('min', this.headOf(r), last)));
  }
  private query(r: Expr): Expr {
    const last = sub(this.attention.queries, index(1));
    return this.emitter.builder.let(alu('min', add(this.chunk.q0, this.queryOf(r)), last));
  }

  private rowsOf(operand: Node, count: number, size: number, at: (i: Expr) => Expr[]): PanelRows {
    return {
      dtype: operand.type.dtype,
      count,
      size: index(size),
      element: (i, along) => this.emitter.element(operand, [...at(i), along]),
    };
  }

  private bring(source: PanelRows, line: number, count: number): void {
    const { pitch } = this.plan;
    for (let p = 0; p < count; p++) {
      bringRows(this.emitter, source, index(p * pitch), this.memory.panels, index(line + p * source.count), pitch);
    }
  }

  private arrive(): void {
    const { builder } = this.emitter;
    builder.emit({ kind: 'copy_batch' });
    builder.emit({ kind: 'copy_wait', pending: 0 });
    builder.barrier();
  }

  private load(
    role: 'left' | 'right',
    panel: string,
    pitch: number,
    row: Expr,
    column: Expr,
    transposed = false,
  ): string {
    const { builder } = this.emitter;
    const fragment = builder.fragment(this.plan.tile.name, role);
    builder.emit({ kind: 'tile_load', fragment, panel, pitch, row, column, transposed });
    return fragment;
  }

  private begin(): Running {
    const { builder } = this.emitter;
    const { sinks, width } = this.attention;
    const { tile } = this.plan;
    const { own, part } = this.place;
    const sink = sinks && builder.let(this.attention.sinkOf(this.head(own))!);
    return {
      maximum: builder.mutable(sink ?? lowest),
      sum: builder.mutable(sink ? select(alu('eq', part, index(0)), f32(1), f32(0)) : f32(0)),
      outputs: Array.from({ length: width / tile.n }, () => builder.fragment(tile.name, 'sum')),
    };
  }

  /** scores = queries * keys, the team's rows. */
  private multiplyKeys(): void {
    const { builder } = this.emitter;
    const { tile, rows, keys, pitch } = this.plan;
    const { panels, keyLine, scores, scorePitch } = this.memory;
    const { row0 } = this.place;
    const sums = Array.from({ length: keys / tile.n }, () => builder.fragment(tile.name, 'sum'));
    builder.for(index(0), index(this.attention.depth), tile.k, (d) => {
      const panel = builder.let(floorDiv(d, index(pitch)));
      const column = builder.let(modulo(d, index(pitch)));
      const left = this.load('left', panels, pitch, add(mul(panel, index(rows)), row0), column);
      const line = builder.let(add(mul(panel, index(keys)), index(keyLine)));
      sums.forEach((name, j) => {
        const right = this.load('right', panels, pitch, add(line, index(j * tile.n)), column);
        builder.emit({ kind: 'tile_multiply', sum: name, left, right });
      });
    });
    sums.forEach((fragment, j) => {
      const at = add(mul(row0, index(scorePitch)), index(j * tile.n));
      builder.emit({ kind: 'tile_store', fragment, buffer: scores, index: at, pitch: scorePitch });
    });
  }

  /** The thread's part of its row: scores as the softmax takes them, and their maximum. */
  private maskScores(t0: Expr, end: Expr): void {
    const { builder } = this.emitter;
    const { visibility } = this;
    const { mask } = this.attention;
    const { keys } = this.plan;
    const { thread, own, part, parts } = this.place;
    const { scores, scorePitch, maxima } = this.memory;
    const place = builder.let(add(this.chunk.first, this.queryOf(own)));
    const greatest = builder.mutable(lowest);
    builder.for(index(0), index(keys / parts), 1, (i) => {
      const column = builder.let(add(mul(part, index(keys / parts)), i));
      const t = builder.let(add(t0, column));
      const at = builder.let(add(mul(own, index(scorePitch)), column));
      const score = builder.mutable(lowest);
      const take = (): void => builder.assign(score, this.scoreOf(builder.load(scores, at, 'f32'), t));
      builder.if(visibility.sees(t, place, end), () => {
        if (mask) builder.if(this.emitter.element(mask, [this.chunk.b, t]), take);
        else take();
      });
      builder.store(scores, at, score);
      builder.assign(greatest, alu('max', greatest, score));
    });
    builder.store(maxima, thread, greatest);
  }

  private scoreOf(product: Expr, t: Expr): Expr {
    const { own } = this.place;
    const head = () => this.head(own);
    const query = () => this.query(own);
    const scaled = alu('mul', product, f32(this.attention.node.attrs.scale));
    return this.attention.scoreOf(scaled, (n) => this.attention.biasAt(n, this.chunk.b, head, query, t));
  }

  /** Scores become weights, by a maximum that grows. */
  private weigh({ maximum, sum }: Running): void {
    const { builder } = this.emitter;
    const { tile, rows, keys } = this.plan;
    const { own, part, parts } = this.place;
    const { weights, scores, scorePitch, maxima, corrections } = this.memory;
    let all: Expr = maximum;
    for (let p = 0; p < parts; p++) {
      all = alu('max', all, builder.load(maxima, add(own, index(p * rows)), 'f32'));
    }
    const after = builder.let(all);
    const reference = builder.let(referenceOf(after));
    const correction = builder.let(alu('exp', alu('sub', maximum, reference)));
    builder.assign(maximum, after);
    builder.assign(sum, alu('mul', sum, correction));
    builder.if(alu('eq', part, index(0)), () => builder.store(corrections, own, correction));
    const lanes = 4;
    builder.for(index(0), index(keys / parts), lanes, (i) => {
      const column = builder.let(add(mul(part, index(keys / parts)), i));
      const place = builder.let(add(mul(own, index(scorePitch)), column));
      const weight = builder.let(alu('exp', alu('sub', builder.load(scores, place, 'f32', lanes), reference)));
      builder.assign(sum, alu('add', sum, across('add', weight)));
      builder.store(weights, builder.let(panelPlace(keys, 2, own, column)), cast(weight, tile.operands));
    });
  }

  /** outputs = outputs * corrections + weights * values. */
  private multiplyValues({ outputs }: Running): void {
    const { builder } = this.emitter;
    const { tile, keys, pitch } = this.plan;
    const { row0 } = this.place;
    const { panels, valueLine, weights, corrections } = this.memory;
    for (const name of outputs) builder.emit({ kind: 'tile_scale', sum: name, buffer: corrections, index: row0 });
    builder.for(index(0), index(keys), tile.k, (t) => {
      const left = this.load('left', weights, keys, row0, t);
      outputs.forEach((name, j) => {
        const at = j * tile.n;
        const line = add(t, index(valueLine + Math.floor(at / pitch) * keys));
        const right = this.load('right', panels, pitch, line, index(at % pitch), true);
        builder.emit({ kind: 'tile_multiply', sum: name, left, right });
      });
    });
  }

  /** Outputs, divided by the sums of weights, go through the panels' memory. */
  private store({ sum, outputs }: Running): void {
    const { builder } = this.emitter;
    const { width } = this.attention;
    const { tile, rows, staged } = this.plan;
    const { row0, thread } = this.place;
    const { panels, maxima } = this.memory;
    this.arrive(); // queries that no key came for
    builder.store(maxima, thread, sum);
    const pitch = staged + padding;
    const staging = builder.alloc('f32', rows * pitch, 'group', panels);
    for (let from = 0; from < width; from += staged) {
      if (from > 0) builder.barrier();
      outputs.slice(from / tile.n, (from + staged) / tile.n).forEach((fragment, j) => {
        const at = add(mul(row0, index(pitch)), index(j * tile.n));
        builder.emit({ kind: 'tile_store', fragment, buffer: staging, index: at, pitch });
      });
      builder.barrier();
      const storeElement = (e: Expr): void => {
        const r = builder.let(floorDiv(e, index(staged)));
        const c = builder.let(modulo(e, index(staged)));
        builder.if(this.isRow(r), () =>
          this.storeAt(r, c, builder.load(staging, add(mul(r, index(pitch)), c), 'f32'), from),
        );
      };
      builder.for(index(0), index(rows * staged), 1, storeElement, 'group');
    }
  }

  /** Stores column `from + c` of a row, over the sum of its weights, which its threads have in parts. */
  private storeAt(r: Expr, c: Expr, value: Expr, from: number): void {
    const { builder } = this.emitter;
    const { maxima } = this.memory;
    let all = builder.load(maxima, r, 'f32');
    for (let p = 1; p < this.place.parts; p++) {
      all = alu('add', all, builder.load(maxima, add(r, index(p * this.plan.rows)), 'f32'));
    }
    const weight = builder.let(all);
    const at = [this.chunk.b, this.head(r), this.query(r), builder.let(add(c, index(from)))];
    this.attention.store(at, quotient(value, weight));
  }
}
