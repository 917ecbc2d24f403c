// Decomposition of attention: dot_general, masks made from iota, and an f32 softmax.
import {
  add,
  along,
  castTo,
  compare,
  div,
  exp,
  filled,
  maximum,
  mul,
  reduce,
  select,
  spread,
  sub,
} from '../../build.ts';
import { dim, dimDivExact } from '../../dim.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import { isOne } from '../common.ts';
import { type AttentionOp, lowest, operandsOf } from '../composite/attention.ts';
import { visibleKeys } from './visibility.ts';

/** An attention in simpler ops, its probabilities f32 [B, G, H/G, S, T] seen by `change`. */
export function attentionOver(node: Node<'attention'>, change: (probabilities: Node) => Node): Node {
  const { e, sum } = exponentials(node);
  const p = change(div(e, along(sum, e, 4)));
  const v = castTo(node.args[2], 'f32');
  const values = make('dot_general', [p, v], { batch: pairs, contract: [[4], [2]], acc: 'f32' });
  return make('reshape', [castTo(values, node.type.dtype)], { shape: node.type.shape });
}

/** The batch axes of scores [B, G, H/G, S, T] and of keys and values [B, G, T, ..]. */
export const pairs = [[0, 1], [0, 1]] as const; // biome-ignore format: one row

/** A tensor [B, H, S, ..] as [B, G, H/G, S, ..]. */
export function groupHeads(x: Node, node: Node<AttentionOp>): Node {
  const g = node.args[1].type.shape[1];
  const [b, h, ...rest] = x.type.shape;
  return make('reshape', [x], { shape: [b, g, dimDivExact(h, g)!, ...rest] });
}

/** The scores f32 [B, G, H/G, S, T], `lowest` where a key may not be attended to, and the tanh of soft capping. */
export function scoresOf(node: Node<AttentionOp>): { scores: Node; tanh: Node | undefined } {
  const { scale, softcap } = node.attrs;
  const [q, k] = node.args;
  const operands = operandsOf(node.attrs, node.args);
  const { bias } = operands;
  const [, g, t] = k.type.shape;
  const product = make('dot_general', [groupHeads(q, node), k], { batch: pairs, contract: [[4], [3]], acc: 'f32' });
  const { shape } = product.type;
  let x: Node = mul(product, filled(scale, product));
  const tanh = softcap > 0 ? make('tanh', [div(x, filled(softcap, x))], {}) : undefined;
  if (tanh) x = mul(tanh, filled(softcap, x));
  if (bias) {
    const [bb, bh] = bias.type.shape;
    const [members, s] = shape.slice(2);
    const split = isOne(bh) ? [bb, dim(1), dim(1), s, t] : [bb, g, members, s, t];
    const parts = make('reshape', [castTo(bias, 'f32')], { shape: split });
    x = add(x, spread(parts, shape, [0, 1, 2, 3, 4]));
  }
  const allowed = visibleKeys(node.attrs, operands, shape);
  return { scores: allowed ? select(allowed, x, filled(lowest, x)) : x, tanh };
}

/**
 * exp(score - max) of every key, with max over the keys and the sink, and their sum, at least that of no key: 1. All f32,
 * [B, G, H/G, S, T] and [B, G, H/G, S].
 */
export function exponentials(node: Node<AttentionOp>): { e: Node; max: Node; sum: Node; isEmpty: Node } {
  const { scores } = scoresOf(node);
  const operands = operandsOf(node.attrs, node.args);
  const { sinks } = operands;
  const { shape } = scores.type;
  let max = reduce('max', scores, 4);
  max = maximum(max, filled(lowest, max));
  const sink =
    sinks && spread(make('reshape', [castTo(sinks, 'f32')], { shape: shape.slice(1, 3) }), max.type.shape, [1, 2]);
  if (sink) max = maximum(max, sink);
  let e = exp(sub(scores, along(max, scores, 4)));
  const allowed = visibleKeys(node.attrs, operands, shape);
  if (allowed) e = select(allowed, e, filled(0, e));
  let sum = reduce('add', e, 4);
  if (sink) sum = add(sum, exp(sub(sink, max)));
  const isEmpty = compare('eq', sum, filled(0, sum));
  return { e, max, sum: select(isEmpty, filled(1, sum), sum), isEmpty };
}
