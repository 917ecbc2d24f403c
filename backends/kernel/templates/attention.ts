// Attention with online softmax. A task owns one group of heads that share keys, and a chunk of query positions: its rows
// are (head, position) pairs. Keys go by in blocks; a block is transposed into private memory once and serves all rows.
// For a register tile of rows: scores = q · kᵀ (broadcast q, vectors of keys), masking, running maximum and sum, then
// out = out * correction + p · v (broadcast p, vectors of v). The score matrix never exists. The same code decodes: then
// the rows are the heads of a group. A split attention has a task per run of keys as well, and stores out, maximum and
// sum of each row as they are.
import { type DimLike, dimConst } from '../../../ir/dim.ts';
import { ModelcError } from '../../../ir/error.ts';
import {
  across,
  add,
  alu,
  cast,
  ceilDiv,
  constant,
  type Expr,
  floorDiv,
  index,
  lessThan,
  load,
  modulo,
  mul,
  ramp,
  select,
  splat,
  sub,
} from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { linear } from '../builder.ts';
import { type Emitter, NotVectorisable } from '../emit.ts';
import { attentionTile, lanesOf } from '../schedule.ts';
import { taskIndex } from './map.ts';
import { packColumns } from './pack.ts';

export function attentionKernel(emitter: Emitter, target: Target): Expr {
  const { builder, region } = emitter;
  const node = region.anchors[0] as Node<'attention'> | Node<'attention_split'>;
  const { scale, causal, window, softcap, operands } = node.attrs;
  const [q, k, v] = node.args;
  const extra = (name: (typeof operands)[number]): Node | undefined =>
    operands.includes(name) ? node.args[3 + operands.indexOf(name)] : undefined;
  const mask = extra('mask');
  const bias = extra('bias');
  const sinks = extra('sinks');

  const [batch, heads, seq, depthDim] = q.type.shape;
  const groups = fixed(k.type.shape[1], 'key heads');
  const perGroup = fixed(heads, 'heads') / groups;
  const depth = fixed(depthDim, 'head size');
  const width = fixed(v.type.shape[3], 'value size');
  const lanes = lanesOf(target);
  const tile = attentionTile(target, seq, perGroup);
  const s = builder.size(seq);
  const total = builder.size(k.type.shape[2]);

  const splits = isOp(node, 'attention_split') ? node.attrs.splits : 1;
  const chunks = ceilDiv(s, tile.queries);
  const grid = mul(mul(mul(builder.size(batch), index(groups)), chunks), index(splits));
  const task = taskIndex(grid);
  const split = builder.let(modulo(task, index(splits)));
  const piece = builder.let(floorDiv(task, index(splits)));
  const chunk = builder.let(modulo(piece, chunks));
  const pair = builder.let(floorDiv(piece, chunks));
  const b = builder.let(floorDiv(pair, index(groups)));
  const g = builder.let(modulo(pair, index(groups)));
  const q0 = builder.let(mul(chunk, index(tile.queries)));
  const queries = builder.let(alu('min', index(tile.queries), sub(s, q0)));
  const rows = builder.let(mul(queries, index(perGroup)));
  // The last register tile may reach beyond the rows: it computes on padding that nobody reads.
  const maxRows = Math.ceil((tile.queries * perGroup) / tile.rows) * tile.rows;
  const first = builder.let(add(sub(total, s), q0)); // position of the chunk's first query
  // The task's keys: all, or those of its split.
  const splitSize = splits === 1 ? total : builder.let(ceilDiv(total, splits));
  const firstKey = builder.let(mul(split, splitSize));
  const keysEnd = splits === 1 ? total : builder.let(alu('min', total, add(firstKey, splitSize)));

  const scaled = builder.alloc('f32', maxRows * depth);
  const keys = builder.alloc('f32', depth * tile.keys);
  const shown = mask && builder.alloc('bool', tile.keys);
  const weights = builder.alloc('f32', tile.rows * tile.keys);
  const out = builder.alloc('f32', maxRows * width);
  const maxima = builder.alloc('f32', maxRows);
  const totals = builder.alloc('f32', maxRows);
  const headOf = (r: Expr) => add(mul(g, index(perGroup)), floorDiv(r, queries));
  const queryOf = (r: Expr) => add(q0, modulo(r, queries));

  builder.for(index(0), rows, 1, (r) => {
    const h = builder.let(headOf(r));
    const i = builder.let(queryOf(r));
    builder.for(index(0), index(depth), 1, (d) => {
      const value = alu('mul', cast(emitter.element(q, [b, h, i, d]), 'f32'), constant(scale, 'f32'));
      builder.store(scaled, add(mul(r, index(depth)), d), value);
    });
    builder.for(index(0), index(width), 1, (e) => {
      builder.store(out, add(mul(r, index(width)), e), constant(0, 'f32'));
    });
    const [maximum, sum] = [constant(Number.NEGATIVE_INFINITY, 'f32'), constant(0, 'f32')];
    const once = (value: Expr, other: Expr) =>
      splits === 1 ? value : select(alu('eq', split, index(0)), value, other);
    builder.store(maxima, r, sinks ? once(cast(emitter.element(sinks, [h]), 'f32'), maximum) : maximum);
    builder.store(totals, r, sinks ? once(constant(1, 'f32'), sum) : sum);
  });

  const end = causal ? builder.let(alu('min', keysEnd, add(first, queries))) : keysEnd;
  const oldest = alu('max', index(0), sub(first, index(window - 1)));
  const block = mul(floorDiv(oldest, index(tile.keys)), index(tile.keys));
  const begin = window > 0 ? builder.let(alu('max', firstKey, block)) : firstKey;
  builder.for(begin, end, tile.keys, (t0) => {
    const element = (t: Expr, d: Expr) => emitter.element(k, [b, g, t, d]);
    const places = Array.from({ length: tile.keys / lanes }, (_, i) => index(i * lanes));
    const panel = { buffer: keys, dtype: 'f32', lanes, places, pitch: tile.keys, word: 1 } as const;
    const lines = { element, first: t0, limit: total, k0: index(0), depth: index(depth), multiple: 1 };
    packColumns(emitter, lines, panel);
    if (mask && shown) {
      builder.for(index(0), index(tile.keys), 1, (i) => {
        const t = builder.let(alu('min', add(t0, i), sub(total, index(1))));
        builder.store(shown, i, emitter.element(mask, [b, t]));
      });
    }
    const keyCount = builder.let(alu('min', index(tile.keys), sub(end, t0)));
    builder.for(index(0), rows, tile.rows, (r0) => {
      const tileRows = Array.from({ length: tile.rows }, (_, i) => builder.let(add(r0, index(i))));
      const corrections = scores(tileRows, t0);
      values(tileRows, t0, keyCount, corrections);
    });
  });
  builder.for(index(0), rows, 1, (r) => {
    const h = builder.let(headOf(r));
    const i = builder.let(queryOf(r));
    if (isOp(node, 'attention_split')) return storePart(r, [b, h, i, split]);
    const sum = builder.let(load(totals, r, 'f32'));
    const inverse = builder.let(
      select(alu('gt', sum, constant(0, 'f32')), alu('div', constant(1, 'f32'), sum), constant(0, 'f32')),
    );
    const target = builder.buffer(region.root, 'write');
    const contiguous = keepsLastAxis(region.root, node);
    const base = builder.let(resultOffset(emitter, node, [b, h, i, index(0)]));
    builder.for(
      index(0),
      index(width),
      1,
      (e) => {
        const value = alu('mul', load(out, add(mul(r, index(width)), e), 'f32'), inverse);
        const at = contiguous ? add(base, e) : resultOffset(emitter, node, [b, h, i, e]);
        builder.store(target, at, cast(value, region.root.type.dtype));
      },
      'simd',
    );
  });
  return grid;

  /** Stores a row of a split: what `out` holds, the maximum and the sum. */
  function storePart(r: Expr, at: readonly Expr[]): void {
    const target = builder.buffer(node, 'write');
    const base = builder.let(linear(builder, node.type.shape, [...at, index(0)]));
    const copy = (e: Expr) => builder.store(target, add(base, e), load(out, add(mul(r, index(width)), e), 'f32'));
    builder.for(index(0), index(width), 1, copy, 'simd');
    builder.store(target, add(base, index(width)), load(maxima, r, 'f32'));
    builder.store(target, add(base, index(width + 1)), load(totals, r, 'f32'));
  }

  /** Masked softmax numerators of a tile of rows go to `weights`; returns how much each row's past must shrink. */
  function scores(tileRows: readonly Expr[], t0: Expr): Expr[] {
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
    return tileRows.map((r, i) => {
      const position = builder.let(add(first, modulo(r, queries)));
      const masked = acc[i].map((sum, c) => {
        const inBlock = index(c * lanes);
        const start = builder.let(add(t0, inBlock));
        let score: Expr = sum;
        if (softcap > 0) {
          const cap = constant(softcap, 'f32', lanes);
          score = alu('mul', cap, alu('tanh', alu('div', score, cap)));
        }
        if (bias) score = alu('add', score, biasVector(bias, r, start));
        return builder.let(
          select(visible(start, inBlock, position), score, constant(Number.NEGATIVE_INFINITY, 'f32', lanes)),
        );
      });
      const before = builder.let(load(maxima, r, 'f32'));
      const top = masked.reduce((x, y) => alu('max', x, y));
      const after = builder.let(alu('max', before, across('max', top)));
      // A row that has seen no key yet has maximum -inf; 0 keeps the differences below finite.
      const none = alu('eq', after, constant(Number.NEGATIVE_INFINITY, 'f32'));
      const reference = builder.let(select(none, constant(0, 'f32'), after));
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

  /** out = out * correction + weights · v for a tile of rows. */
  function values(tileRows: readonly Expr[], t0: Expr, keyCount: Expr, corrections: readonly Expr[]): void {
    let n = lanes;
    while (width % n !== 0) n /= 2;
    const emit = (n: number): void => {
      const perPass = Math.min(width / n, tile.keys / lanes);
      for (let c0 = 0; c0 < width / n; c0 += perPass) {
        const cs = Array.from({ length: Math.min(perPass, width / n - c0) }, (_, i) => c0 + i);
        const at = (r: Expr, c: number) => add(mul(r, index(width)), index(c * n));
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
    };
    try {
      builder.attempt(() => emit(n));
    } catch (error) {
      if (!(error instanceof NotVectorisable)) throw error;
      emit(1);
    }
  }

  /** Which keys of the vector that begins at `start` a query at `position` may attend to. */
  function visible(start: Expr, inBlock: Expr, position: Expr): Expr {
    const t = builder.let(ramp(start, lanes));
    const all = (e: Expr) => splat(cast(e, 'i32'), lanes);
    let ok = lessThan(t, all(keysEnd));
    if (causal) ok = alu('and', ok, alu('le', t, all(position)));
    if (window > 0) ok = alu('and', ok, alu('gt', t, all(sub(position, index(window)))));
    return shown ? alu('and', ok, load(shown, inBlock, 'bool', lanes)) : ok;
  }

  function biasAt(n: Node, r: Expr, t: Expr): Expr {
    const one = (d: number) => dimConst(n.type.shape[d]) === 1;
    const row = alu('min', r, sub(rows, index(1)));
    return cast(emitter.element(n, [one(0) ? index(0) : b, one(1) ? index(0) : headOf(row), queryOf(row), t]), 'f32');
  }

  /** The biases of a row for a vector of keys. The last vector may reach beyond the keys: it repeats the last one. */
  function biasVector(n: Node, r: Expr, start: Expr): Expr {
    const staging = builder.alloc('f32', lanes);
    builder.for(index(0), index(lanes), 1, (i) => {
      builder.store(staging, i, biasAt(n, r, builder.let(alu('min', add(start, i), sub(total, index(1))))));
    });
    return builder.let(load(staging, index(0), 'f32', lanes));
  }
}

/** The node whose row-major order the root has: the attention, or the transpose right above it. */
function storedOrder(root: Node, attention: Node): Node {
  let n = root;
  while (n !== attention && n.op !== 'transpose') n = n.args[0];
  return n;
}

function keepsLastAxis(root: Node, attention: Node): boolean {
  const n = storedOrder(root, attention);
  return !isOp(n, 'transpose') || n.attrs.perm[n.attrs.perm.length - 1] === n.attrs.perm.length - 1;
}

/** Offset of an element of the attention in the region's root: views above the attention permute and merge axes. */
export function resultOffset(emitter: Emitter, attention: Node, at: readonly Expr[]): Expr {
  const n = storedOrder(emitter.region.root, attention);
  const order = isOp(n, 'transpose') ? n.attrs.perm.map((p) => at[p]) : at;
  return linear(emitter.builder, n.type.shape, order);
}

export function fixed(d: DimLike, what: string): number {
  const value = dimConst(d);
  if (value === undefined) throw new ModelcError('unsupported', `attention needs a constant number of ${what}`);
  return value;
}
