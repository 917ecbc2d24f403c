// Attention of one query, for groups: what counts is that keys and values stream in. A run of threads side by side takes a
// key at a time, several of them under way: every thread has a part of the head size, of the queries of all heads that
// share the key, of the key and of the value. Scores are sums over the run; maximum, sum and output of each head stay in
// registers and are corrected as the maximum grows (online softmax), so the threads of a group meet only at the end, when
// the runs are put together in group memory. A split attention has a group for each part of the keys.
import { dimConst } from '../../../ir/dim.ts';
import { across, add, alu, cast, ceilDiv, constant, type Expr, floorDiv, index, modulo, mul, select, splat, sub } from '../../../ir/loop.ts'; // biome-ignore format: one row
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { linear } from '../builder.ts';
import type { Emitter } from '../emit.ts';
import type { DecodingAttention } from '../schedule.ts';
import { fixed, resultOffset } from '../templates/attention.ts';
import { taskIndex } from '../templates/map.ts';
import { threadIndex } from './map.ts';

const f32 = (value: number): Expr => constant(value, 'f32');
const lowest = f32(Number.NEGATIVE_INFINITY);
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Throws NotVectorisable where keys or values do not lie side by side in memory. */
export function decodeAttentionKernel(
  emitter: Emitter,
  target: Target,
  node: Node<'attention'> | Node<'attention_split'>,
  { lanes, run, heads, keys: ahead }: DecodingAttention,
): Expr {
  const { builder, region } = emitter;
  const { scale, window, softcap, operands } = node.attrs;
  const [q, k, v] = node.args;
  const extra = (name: (typeof operands)[number]): Node | undefined =>
    operands.includes(name) ? node.args[3 + operands.indexOf(name)] : undefined;
  const [mask, bias, sinks] = [extra('mask'), extra('bias'), extra('sinks')];
  const [batch, allHeads, , depth] = q.type.shape;
  const groups = fixed(k.type.shape[1], 'key heads');
  const perGroup = fixed(allHeads, 'heads') / groups;
  const width = fixed(v.type.shape[3], 'value size');
  const total = builder.size(k.type.shape[2]);
  const rows = range(heads);

  const splits = isOp(node, 'attention_split') ? node.attrs.splits : 1;
  const chunks = groups * (perGroup / heads);
  const grid = mul(mul(builder.size(batch), index(chunks)), index(splits));
  const task = taskIndex(grid);
  const split = builder.let(modulo(task, index(splits)));
  const piece = builder.let(floorDiv(task, index(splits)));
  const b = builder.let(floorDiv(piece, index(chunks)));
  const head0 = builder.let(mul(modulo(piece, index(chunks)), index(heads)));
  const g = builder.let(floorDiv(head0, index(perGroup)));
  const headOf = (r: Expr): Expr => add(head0, r);
  const thread = threadIndex(target);
  const part = builder.let(modulo(thread, index(run)));
  const own = builder.let(floorDiv(thread, index(run)));
  const runs = target.groupThreads / run;

  // Key positions: all that the query sees, or those of the split among them.
  const size = splits === 1 ? total : builder.let(ceilDiv(total, splits));
  const first = builder.let(mul(split, size));
  const end = splits === 1 ? total : builder.let(alu('min', total, add(first, size)));
  const oldest = alu('max', index(0), sub(total, index(window)));
  const begin = window > 0 ? builder.let(alu('max', first, oldest)) : first;

  /** The thread's vectors of `node` at `at`, along the last axis. */
  const vectorsOf = (n: Node, at: readonly Expr[], count: number): Expr[] =>
    range(count / (run * lanes)).map((i) => {
      const start = builder.let(mul(add(part, index(i * run)), index(lanes)));
      return emitter.vector(lanes, (lane) =>
        builder.let(emitter.full(cast(emitter.element(n, [...at, add(start, lane)]), 'f32'))),
      );
    });
  const depthSize = fixed(depth, 'head size');
  const queries = rows.map((r) => {
    const at = [b, builder.let(headOf(index(r))), index(0)];
    return vectorsOf(q, at, depthSize).map((x) => builder.let(alu('mul', x, f32(scale))));
  });
  const startsWithSink = alu('and', alu('eq', split, index(0)), alu('eq', own, index(0)));
  const once = (value: Expr, other: Expr): Expr => (sinks ? select(startsWithSink, value, other) : other);
  const sinkOf = (r: number): Expr =>
    sinks ? cast(emitter.element(sinks, [builder.let(headOf(index(r)))]), 'f32') : lowest;
  const maxima = rows.map((r) => builder.mutable(once(sinkOf(r), lowest)));
  const sums = rows.map(() => builder.mutable(once(f32(1), f32(0))));
  const outs = rows.map(() => range(width / (run * lanes)).map(() => builder.mutable(constant(0, 'f32', lanes))));

  const scoreOf = (dot: Expr, r: number, t: Expr): Expr => {
    let score = dot;
    if (softcap > 0) score = alu('mul', f32(softcap), alu('tanh', alu('div', score, f32(softcap))));
    if (bias) {
      const one = (axis: number) => dimConst(bias.type.shape[axis]) === 1;
      const at = [one(0) ? index(0) : b, one(1) ? index(0) : builder.let(headOf(index(r))), index(0), t];
      score = alu('add', score, cast(emitter.element(bias, at), 'f32'));
    }
    return score;
  };

  // All threads go around equally often, as they exchange scores.
  builder.for(begin, end, runs * ahead, (t0) => {
    const positions = range(ahead).map((u) => builder.let(add(add(t0, index(u * runs)), own)));
    const clamped = positions.map((t) => builder.let(alu('min', t, sub(end, index(1)))));
    const key = clamped.map((t) => vectorsOf(k, [b, g, t], depthSize));
    const value = clamped.map((t) => vectorsOf(v, [b, g, t], width));
    const dots = key.flatMap((parts) =>
      rows.map((r) =>
        parts.map((x, i) => across('add', alu('mul', queries[r][i], x))).reduce((x, y) => alu('add', x, y)),
      ),
    );
    const scores = builder.reduce('add', run, dots.map((dot) => builder.let(dot))); // biome-ignore format: one row
    const visible = positions.map((t, u) => {
      const inside = alu('lt', t, end);
      return builder.let(mask ? alu('and', inside, emitter.element(mask, [b, clamped[u]])) : inside);
    });
    for (const r of rows) {
      const own = visible.map((sees, u) =>
        builder.let(select(sees, scoreOf(scores[u * heads + r], r, clamped[u]), lowest)),
      );
      const after = builder.let(own.reduce((x, y) => alu('max', x, y), maxima[r]));
      // A head that has seen no key yet has maximum -inf; 0 keeps the differences below finite.
      const reference = builder.let(select(alu('eq', after, lowest), f32(0), after));
      const correction = builder.let(alu('exp', alu('sub', maxima[r], reference)));
      const weights = own.map((score) => builder.let(alu('exp', alu('sub', score, reference))));
      builder.assign(sums[r], weights.reduce((x, y) => alu('add', x, y), alu('mul', sums[r], correction))); // biome-ignore format: one row
      builder.assign(maxima[r], after);
      outs[r].forEach((out, i) => {
        const start = alu('mul', out, splat(correction, lanes));
        const next = weights.reduce((sum, w, u) => alu('fma', splat(w, lanes), value[u][i], sum), start);
        builder.assign(out, next);
      });
    }
  });

  // The runs put together.
  const [allMaxima, allSums] = [0, 1].map(() => builder.alloc('f32', runs * heads, 'group'));
  const allOuts = builder.alloc('f32', runs * heads * width, 'group');
  const rowOf = (run_: Expr, r: Expr): Expr => add(mul(run_, index(heads)), r);
  for (const r of rows) {
    const row = builder.let(rowOf(own, index(r)));
    outs[r].forEach((out, i) => {
      const start = builder.let(mul(add(part, index(i * run)), index(lanes)));
      builder.store(allOuts, add(mul(row, index(width)), start), out);
    });
    builder.if(alu('eq', part, index(0)), () => {
      builder.store(allMaxima, row, maxima[r]);
      builder.store(allSums, row, sums[r]);
    });
  }
  builder.barrier();
  builder.for(
    index(0),
    index(heads * width),
    1,
    (e) => {
      const r = builder.let(floorDiv(e, index(width)));
      const c = builder.let(modulo(e, index(width)));
      const maximum = builder.mutable(lowest);
      const each = (body: (row: Expr) => void) =>
        builder.for(index(0), index(runs), 1, (other) => body(builder.let(rowOf(other, r))));
      each((row) => builder.assign(maximum, alu('max', maximum, builder.load(allMaxima, row, 'f32'))));
      const reference = builder.let(select(alu('eq', maximum, lowest), f32(0), maximum));
      const [sum, out] = [0, 1].map(() => builder.mutable(f32(0)));
      each((row) => {
        const weight = builder.let(alu('exp', alu('sub', builder.load(allMaxima, row, 'f32'), reference)));
        builder.assign(sum, alu('fma', weight, builder.load(allSums, row, 'f32'), sum));
        const value = builder.load(allOuts, add(mul(row, index(width)), c), 'f32');
        builder.assign(out, alu('fma', weight, value, out));
      });
      const h = builder.let(headOf(r));
      if (isOp(node, 'attention_split')) {
        const parts = builder.buffer(node, 'write');
        const place = builder.let(linear(builder, node.type.shape, [b, h, index(0), split, index(0)]));
        builder.store(parts, add(place, c), out);
        builder.if(alu('eq', c, index(0)), () => {
          builder.store(parts, add(place, index(width)), maximum);
          builder.store(parts, add(place, index(width + 1)), sum);
        });
        return;
      }
      const result = select(alu('gt', sum, f32(0)), alu('div', out, sum), f32(0));
      const place = resultOffset(emitter, node, [b, h, index(0), c]);
      builder.store(builder.buffer(region.root, 'write'), place, cast(result, region.root.type.dtype));
    },
    'group',
  );
  return grid;
}
