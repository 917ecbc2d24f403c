// Attention with online softmax, for groups. A group of threads owns some of the query heads that share keys, and a chunk
// of query positions: its rows are (head, position) pairs, whose queries and outputs are in group memory. Keys go by in
// blocks: scores of all rows and keys of a block, a pair a thread; new maxima, weights and sums, a row a thread; outputs,
// an element a thread. The score matrix never exists. A split attention has a group per run of keys as well, and stores
// out, maximum and sum of each row as they are. Many queries of a type that the target has a tile for take another way
// (tiled-attention.ts), and so does one query (decode-attention.ts).
import { dimConst } from '../../../ir/dim.ts';
import { add, alu, cast, ceilDiv, constant, type Expr, floorDiv, index, modulo, mul, select, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { linear } from '../builder.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { decodingAttention, groupAttentionTile, tiledAttention } from '../schedule.ts';
import { fixed, resultOffset } from '../templates/attention.ts';
import { taskIndex } from '../templates/map.ts';
import { storedBytes } from '../templates/product.ts';
import { decodeAttentionKernel } from './decode-attention.ts';
import { tiledAttentionKernel } from './tiled-attention.ts';

const f32 = (value: number): Expr => constant(value, 'f32');

export function attentionKernel(emitter: Emitter, target: Target): Expr {
  const { builder, region } = emitter;
  const node = region.anchors[0] as Node<'attention'> | Node<'attention_split'>;
  const { scale, causal, window, softcap, operands } = node.attrs;
  const [q, k, v] = node.args;
  const extra = (name: (typeof operands)[number]): Node | undefined =>
    operands.includes(name) ? node.args[3 + operands.indexOf(name)] : undefined;
  const [mask, bias, sinks] = [extra('mask'), extra('bias'), extra('sinks')];

  const [batch, heads, seq, depthDim] = q.type.shape;
  const groups = fixed(k.type.shape[1], 'key heads');
  const perGroup = fixed(heads, 'heads') / groups;
  const depth = fixed(depthDim, 'head size');
  const width = fixed(v.type.shape[3], 'value size');
  const tiled = tiledAttention(target, q.type.dtype, seq.max, perGroup, depth, width);
  if (tiled && isOp(node, 'attention')) return tiledAttentionKernel(emitter, target, node, tiled);
  const decoding = dimConst(seq) === 1 && decodingAttention(target, perGroup, depth, width, storedBytes([k, v]));
  if (decoding) {
    try {
      return builder.attempt(() => decodeAttentionKernel(emitter, target, node, decoding));
    } catch (error) {
      if (!(error instanceof NotVectorisable)) throw error;
    }
  }
  const tile = groupAttentionTile(target, seq, perGroup, depth, width);
  const s = builder.size(seq);
  const total = builder.size(k.type.shape[2]);

  const splits = isOp(node, 'attention_split') ? node.attrs.splits : 1;
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
  const first = builder.let(add(sub(total, s), q0)); // position of the chunk's first query
  // The task's keys: all, or those of its split.
  const splitSize = splits === 1 ? total : builder.let(ceilDiv(total, splits));
  const firstKey = builder.let(mul(split, splitSize));
  const keysEnd = splits === 1 ? total : builder.let(alu('min', total, add(firstKey, splitSize)));

  const maxRows = tile.heads * tile.queries;
  const scaled = builder.alloc('f32', maxRows * depth, 'group');
  const weights = builder.alloc('f32', maxRows * tile.keys, 'group');
  const out = builder.alloc('f32', maxRows * width, 'group');
  const maxima = builder.alloc('f32', maxRows, 'group');
  const totals = builder.alloc('f32', maxRows, 'group');
  const corrections = builder.alloc('f32', maxRows, 'group');
  const headOf = (r: Expr) => add(add(mul(g, index(perGroup)), head0), floorDiv(r, queries));
  const queryOf = (r: Expr) => add(q0, modulo(r, queries));
  const each = (count: Expr, body: (e: Expr) => void) => builder.for(index(0), count, 1, body, 'group', count);
  /** Runs over rows x `inner` elements. */
  const eachOf = (inner: number, body: (r: Expr, c: Expr, e: Expr) => void) =>
    each(builder.let(mul(rows, index(inner))), (e) =>
      body(builder.let(floorDiv(e, index(inner))), builder.let(modulo(e, index(inner))), e),
    );

  eachOf(depth, (r, d, e) => {
    const value = cast(emitter.element(q, [b, builder.let(headOf(r)), builder.let(queryOf(r)), d]), 'f32');
    builder.store(scaled, e, alu('mul', value, f32(scale)));
  });
  eachOf(width, (_r, _c, e) => builder.store(out, e, f32(0)));
  each(rows, (r) => {
    const [maximum, sum] = [f32(Number.NEGATIVE_INFINITY), f32(0)];
    const once = (value: Expr, other: Expr) =>
      splits === 1 ? value : select(alu('eq', split, index(0)), value, other);
    const sink = sinks && cast(emitter.element(sinks, [builder.let(headOf(r))]), 'f32');
    builder.store(maxima, r, sink ? once(sink, maximum) : maximum);
    builder.store(totals, r, sink ? once(f32(1), sum) : sum);
  });
  builder.barrier();

  const end = causal ? builder.let(alu('min', keysEnd, add(first, queries))) : keysEnd;
  const oldest = alu('max', index(0), sub(first, index(window - 1)));
  const begin = window > 0 ? builder.let(alu('max', firstKey, oldest)) : firstKey;
  builder.for(begin, end, tile.keys, (t0) => {
    const count = builder.let(alu('min', index(tile.keys), sub(end, t0)));
    eachOf(tile.keys, (r, i, e) => {
      const t = builder.let(add(t0, i));
      const position = builder.let(add(first, modulo(r, queries)));
      let visible = alu('lt', t, end);
      if (causal) visible = alu('and', visible, alu('le', t, position));
      if (window > 0) visible = alu('and', visible, alu('gt', t, sub(position, index(window))));
      const score = builder.mutable(f32(Number.NEGATIVE_INFINITY));
      builder.if(visible, () => {
        if (mask) builder.if(emitter.element(mask, [b, t]), () => builder.assign(score, scoreOf(r, t)));
        else builder.assign(score, scoreOf(r, t));
      });
      builder.store(weights, e, score);
    });
    builder.barrier();
    each(rows, (r) => {
      const base = builder.let(mul(r, index(tile.keys)));
      const before = builder.let(builder.load(maxima, r, 'f32'));
      const after = builder.mutable(before);
      builder.for(index(0), count, 1, (i) => {
        builder.assign(after, alu('max', after, builder.load(weights, add(base, i), 'f32')));
      });
      // A row that has seen no key yet has maximum -inf; 0 keeps the differences below finite.
      const none = alu('eq', after, f32(Number.NEGATIVE_INFINITY));
      const reference = builder.let(select(none, f32(0), after));
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
    builder.barrier();
    eachOf(width, (r, c, e) => {
      const base = builder.let(mul(r, index(tile.keys)));
      const sum = builder.mutable(alu('mul', builder.load(out, e, 'f32'), builder.load(corrections, r, 'f32')));
      builder.for(index(0), count, 1, (i) => {
        const value = cast(emitter.element(v, [b, g, builder.let(add(t0, i)), c]), 'f32');
        builder.assign(sum, alu('fma', builder.load(weights, add(base, i), 'f32'), value, sum));
      });
      builder.store(out, e, sum);
    });
    builder.barrier();
  });

  eachOf(width, (r, c, e) => {
    const h = builder.let(headOf(r));
    const i = builder.let(queryOf(r));
    const value = builder.load(out, e, 'f32');
    if (isOp(node, 'attention_split')) {
      builder.store(builder.buffer(node, 'write'), linear(builder, node.type.shape, [b, h, i, split, c]), value);
      return;
    }
    const sum = builder.let(builder.load(totals, r, 'f32'));
    const result = select(alu('gt', sum, f32(0)), alu('div', value, sum), f32(0));
    const place = resultOffset(emitter, node, [b, h, i, c]);
    builder.store(builder.buffer(region.root, 'write'), place, cast(result, region.root.type.dtype));
  });
  if (isOp(node, 'attention_split')) {
    each(rows, (r) => {
      const at = [b, builder.let(headOf(r)), builder.let(queryOf(r)), split, index(width)];
      const place = builder.let(linear(builder, node.type.shape, at));
      const parts = builder.buffer(node, 'write');
      builder.store(parts, place, builder.load(maxima, r, 'f32'));
      builder.store(parts, add(place, index(1)), builder.load(totals, r, 'f32'));
    });
  }
  return grid;

  /** The score of row r and key t, as the softmax takes it. */
  function scoreOf(r: Expr, t: Expr): Expr {
    const dot = builder.mutable(f32(0));
    const base = builder.let(mul(r, index(depth)));
    builder.for(index(0), index(depth), 1, (d) => {
      const key = cast(emitter.element(k, [b, g, t, d]), 'f32');
      builder.assign(dot, alu('fma', builder.load(scaled, add(base, d), 'f32'), key, dot));
    });
    let score: Expr = dot;
    if (softcap > 0) score = alu('mul', f32(softcap), alu('tanh', alu('div', score, f32(softcap))));
    if (bias) {
      const one = (axis: number) => dimConst(bias.type.shape[axis]) === 1;
      const at = [one(0) ? index(0) : b, one(1) ? index(0) : builder.let(headOf(r)), builder.let(queryOf(r)), t];
      score = alu('add', score, cast(emitter.element(bias, at), 'f32'));
    }
    return score;
  }
}
