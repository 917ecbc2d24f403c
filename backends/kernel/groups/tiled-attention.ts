// Attention with many queries by matrix instructions, with online softmax (Dao et al. 2022). A group owns rows, which are
// pairs of a query head (of those that share keys) and a query position, and each team of its threads those of one tile.
// Queries are a panel; keys and values go by in blocks. Scores are sums of tiles, which pass through group memory: there
// they are masked, maxima found, and weights written as a panel, each row by a few threads, which keep its maximum and
// sum. Outputs stay in the sums of tiles; their rows shrink as maxima grow. Weights are rounded to the operands' type.
import { dimConst } from '../../../ir/dim.ts';
import { across, add, alu, cast, ceilDiv, constant, type Expr, floorDiv, index, modulo, mul, select, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import type { Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { panelPlace } from '../../../ir/tile.ts';
import type { Emitter } from '../emit.ts';
import type { TiledAttention } from '../schedule.ts';
import { fixed, resultOffset } from '../templates/attention.ts';
import { taskIndex } from '../templates/map.ts';
import { threadIndex } from './map.ts';
import { bringRows, type PanelRows } from './panels.ts';

const f32 = (value: number): Expr => constant(value, 'f32');
const lowest = Number.NEGATIVE_INFINITY;
/** Between rows of scores, so that threads that read side by side in a column meet different banks of memory. */
const padding = 4;

export function tiledAttentionKernel(
  emitter: Emitter,
  target: Target,
  node: Node<'attention'>,
  plan: TiledAttention,
): Expr {
  const { builder, region } = emitter;
  const { scale, causal, window, softcap, operands } = node.attrs;
  const [q, k, v] = node.args;
  const extra = (name: (typeof operands)[number]): Node | undefined =>
    operands.includes(name) ? node.args[3 + operands.indexOf(name)] : undefined;
  const [mask, bias, sinks] = [extra('mask'), extra('bias'), extra('sinks')];
  const { tile, rows, keys, pitch } = plan;

  const [batch, heads, seq, depthDim] = q.type.shape;
  const groups = fixed(k.type.shape[1], 'key heads');
  const perGroup = fixed(heads, 'heads') / groups;
  const depth = fixed(depthDim, 'head size');
  const width = fixed(v.type.shape[3], 'value size');
  const s = builder.size(seq);
  const total = builder.size(k.type.shape[2]);

  const headChunks = Math.ceil(perGroup / plan.heads);
  const chunks = ceilDiv(s, plan.queries);
  const grid = mul(mul(builder.size(batch), index(groups * headChunks)), chunks);
  const task = taskIndex(grid);
  const chunk = builder.let(modulo(task, chunks));
  const pair = builder.let(floorDiv(task, chunks));
  const b = builder.let(floorDiv(pair, index(groups * headChunks)));
  const g = builder.let(floorDiv(modulo(pair, index(groups * headChunks)), index(headChunks)));
  const head0 = builder.let(mul(modulo(pair, index(headChunks)), index(plan.heads)));
  const q0 = builder.let(mul(chunk, index(plan.queries)));
  const queries = builder.let(alu('min', index(plan.queries), sub(s, q0)));
  const first = builder.let(add(sub(total, s), q0)); // position of the chunk's first query
  const headOf = (r: Expr): Expr => floorDiv(r, index(plan.queries));
  const queryOf = (r: Expr): Expr => modulo(r, index(plan.queries));
  const headsHere = sub(index(perGroup), head0);
  const isRow = (r: Expr): Expr => alu('and', alu('lt', queryOf(r), queries), alu('lt', headOf(r), headsHere));
  // Rows beyond the last repeat it, and are not stored
  const head = (r: Expr): Expr =>
    builder.let(add(add(mul(g, index(perGroup)), head0), alu('min', headOf(r), sub(headsHere, index(1)))));
  const query = (r: Expr): Expr => builder.let(alu('min', add(q0, queryOf(r)), sub(s, index(1))));

  const thread = threadIndex(target);
  const parts = target.groupThreads / rows; // threads that share a row of scores
  const own = builder.let(modulo(thread, index(rows)));
  const part = builder.let(floorDiv(thread, index(rows)));
  const row0 = builder.let(mul(floorDiv(thread, index(tile.threads)), index(tile.m)));

  // Operands of `depth` columns are panels of `pitch` columns, one after another
  const [depthPanels, widthPanels] = [depth / pitch, width / pitch];
  const keyLine = depthPanels * rows;
  const valueLine = keyLine + depthPanels * keys;
  const panels = builder.alloc(tile.operands, (valueLine + widthPanels * keys) * pitch, 'group');
  const weights = builder.alloc(tile.operands, rows * keys, 'group');
  const scorePitch = keys + padding;
  const scores = builder.alloc('f32', rows * scorePitch, 'group');
  const maxima = builder.alloc('f32', target.groupThreads, 'group');
  const corrections = builder.alloc('f32', rows, 'group');
  const rowsOf = (operand: Node, count: number, size: number, at: (i: Expr) => Expr[]): PanelRows => ({
    dtype: operand.type.dtype,
    count,
    size: index(size),
    element: (i, along) => emitter.element(operand, [...at(i), along]),
  });
  const bring = (source: PanelRows, line: number, count: number): void => {
    for (let p = 0; p < count; p++) {
      bringRows(emitter, source, index(p * pitch), panels, index(line + p * source.count), pitch);
    }
  };
  const arrive = (): void => {
    builder.emit({ kind: 'copy_batch' });
    builder.emit({ kind: 'copy_wait', pending: 0 });
    builder.barrier();
  };
  const load = (
    role: 'left' | 'right',
    panel: string,
    pitch: number,
    row: Expr,
    column: Expr,
    transposed = false,
  ): string => {
    const fragment = builder.fragment(tile.name, role);
    builder.emit({ kind: 'tile_load', fragment, panel, pitch, row, column, transposed });
    return fragment;
  };

  bring(
    rowsOf(q, rows, depth, (i) => [b, head(i), query(i)]),
    0,
    depthPanels,
  );
  const sink = sinks && builder.let(cast(emitter.element(sinks, [head(own)]), 'f32'));
  const maximum = builder.mutable(sink ?? f32(lowest));
  const sum = builder.mutable(sink ? select(alu('eq', part, index(0)), f32(1), f32(0)) : f32(0));
  const outputs = Array.from({ length: width / tile.n }, () => builder.fragment(tile.name, 'sum'));

  const end = causal ? builder.let(alu('min', total, add(first, queries))) : total;
  const oldest = alu('max', index(0), sub(first, index(window - 1)));
  const begin = window > 0 ? builder.let(oldest) : index(0);
  builder.for(begin, end, keys, (t0) => {
    const at = (i: Expr): Expr[] => [b, g, builder.let(alu('min', add(t0, i), sub(total, index(1))))];
    bring(rowsOf(k, keys, depth, at), keyLine, depthPanels);
    bring(rowsOf(v, keys, width, at), valueLine, widthPanels);
    arrive();
    multiplyKeys();
    builder.barrier();
    maskScores(t0);
    builder.barrier();
    weigh();
    builder.barrier();
    multiplyValues();
    builder.barrier(); // before the next keys and values come
  });
  storeOutputs();
  return grid;

  /** scores = queries * keys, the team's rows. */
  function multiplyKeys(): void {
    const sums = Array.from({ length: keys / tile.n }, () => builder.fragment(tile.name, 'sum'));
    builder.for(index(0), index(depth), tile.k, (d) => {
      const panel = builder.let(floorDiv(d, index(pitch)));
      const column = builder.let(modulo(d, index(pitch)));
      const left = load('left', panels, pitch, add(mul(panel, index(rows)), row0), column);
      const line = builder.let(add(mul(panel, index(keys)), index(keyLine)));
      sums.forEach((name, j) => {
        const right = load('right', panels, pitch, add(line, index(j * tile.n)), column);
        builder.emit({ kind: 'tile_multiply', sum: name, left, right });
      });
    });
    sums.forEach((fragment, j) => {
      const at = add(mul(row0, index(scorePitch)), index(j * tile.n));
      builder.emit({ kind: 'tile_store', fragment, buffer: scores, index: at, pitch: scorePitch });
    });
  }

  /** The thread's part of its row: scores as the softmax takes them, and their maximum. */
  function maskScores(t0: Expr): void {
    const position = builder.let(add(first, queryOf(own)));
    const greatest = builder.mutable(f32(lowest));
    builder.for(index(0), index(keys / parts), 1, (i) => {
      const column = builder.let(add(mul(part, index(keys / parts)), i));
      const t = builder.let(add(t0, column));
      const place = builder.let(add(mul(own, index(scorePitch)), column));
      let visible = alu('lt', t, end);
      if (causal) visible = alu('and', visible, alu('le', t, position));
      if (window > 0) visible = alu('and', visible, alu('gt', t, sub(position, index(window))));
      const score = builder.mutable(f32(lowest));
      const take = (): void => builder.assign(score, scoreOf(builder.load(scores, place, 'f32'), t));
      builder.if(visible, () => (mask ? builder.if(emitter.element(mask, [b, t]), take) : take()));
      builder.store(scores, place, score);
      builder.assign(greatest, alu('max', greatest, score));
    });
    builder.store(maxima, thread, greatest);
  }

  function scoreOf(product: Expr, t: Expr): Expr {
    let score: Expr = alu('mul', product, f32(scale));
    if (softcap > 0) score = alu('mul', f32(softcap), alu('tanh', alu('div', score, f32(softcap))));
    if (!bias) return score;
    const one = (axis: number) => dimConst(bias.type.shape[axis]) === 1;
    const at = [one(0) ? index(0) : b, one(1) ? index(0) : head(own), query(own), t];
    return alu('add', score, cast(emitter.element(bias, at), 'f32'));
  }

  /** Scores become weights, by a maximum that grows. */
  function weigh(): void {
    let all: Expr = maximum;
    for (let p = 0; p < parts; p++) {
      all = alu('max', all, builder.load(maxima, add(own, index(p * rows)), 'f32'));
    }
    const after = builder.let(all);
    // A row that has seen no key yet has maximum -inf; 0 keeps the differences below finite.
    const reference = builder.let(select(alu('eq', after, f32(lowest)), f32(0), after));
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
  function multiplyValues(): void {
    for (const name of outputs) builder.emit({ kind: 'tile_scale', sum: name, buffer: corrections, index: row0 });
    builder.for(index(0), index(keys), tile.k, (t) => {
      const left = load('left', weights, keys, row0, t);
      outputs.forEach((name, j) => {
        const at = j * tile.n;
        const line = add(t, index(valueLine + Math.floor(at / pitch) * keys));
        const right = load('right', panels, pitch, line, index(at % pitch), true);
        builder.emit({ kind: 'tile_multiply', sum: name, left, right });
      });
    });
  }

  /** Outputs, divided by the sums of weights, go through the panels' memory. */
  function storeOutputs(): void {
    arrive(); // queries that no key came for
    builder.store(maxima, thread, sum);
    const { staged } = plan;
    const stagedPitch = staged + padding;
    const staging = builder.alloc('f32', rows * stagedPitch, 'group', panels);
    for (let from = 0; from < width; from += staged) {
      if (from > 0) builder.barrier();
      outputs.slice(from / tile.n, (from + staged) / tile.n).forEach((fragment, j) => {
        const at = add(mul(row0, index(stagedPitch)), index(j * tile.n));
        builder.emit({ kind: 'tile_store', fragment, buffer: staging, index: at, pitch: stagedPitch });
      });
      builder.barrier();
      builder.for(
        index(0),
        index(rows * staged),
        1,
        (e) => {
          const r = builder.let(floorDiv(e, index(staged)));
          const c = builder.let(modulo(e, index(staged)));
          builder.if(isRow(r), () => {
            let all = builder.load(maxima, r, 'f32');
            for (let p = 1; p < parts; p++) all = alu('add', all, builder.load(maxima, add(r, index(p * rows)), 'f32'));
            const weight = builder.let(all);
            const value = builder.load(staging, add(mul(r, index(stagedPitch)), c), 'f32');
            const result = select(alu('gt', weight, f32(0)), alu('div', value, weight), f32(0));
            const place = resultOffset(emitter, node, [b, head(r), query(r), builder.let(add(c, index(from)))]);
            builder.store(builder.buffer(region.root, 'write'), place, cast(result, region.root.type.dtype));
          });
        },
        'group',
      );
    }
  }
}
