// Decompositions of the backward pass of attention, which compute the scores anew.
import { add, along, castTo, exp, filled, mul, select, sub } from '../../build.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import { isOne } from '../common.ts';
import { type BackwardOp, given } from '../composite/attention-backward.ts';
import type { Decomposition } from '../op.ts';
import { exponentials, groupHeads, pairs, scoresOf } from './attention.ts';

export const attentionLse: Decomposition<'attention_lse'> = (node) => {
  const { max, sum, isEmpty } = exponentials(node);
  const lse = select(isEmpty, filled(0, sum), add(max, make('log', [sum], {})));
  return make('reshape', [lse], { shape: node.type.shape });
};

/** p, ds and dr as nodes f32 [B, G, H/G, S, T], and the cotangent f32 [B, G, H/G, S, E]. */
function scoreCotangents(node: Node<BackwardOp>): { p: Node; ds: Node; dr: Node; cotangent: Node } {
  const { scale } = node.attrs;
  const { scores, tanh } = scoresOf(node);
  const { lse, delta, cotangent: c } = given(node.attrs, node.args);
  const cotangent = castTo(groupHeads(c, node), 'f32');
  // a score that does not count is the lowest number, and its exponential 0 whatever lse is
  const p = exp(sub(scores, along(groupHeads(lse, node), scores, 4)));
  const v = castTo(node.args[2], 'f32');
  const dp = make('dot_general', [cotangent, v], { batch: pairs, contract: [[4], [3]], acc: 'f32' });
  const ds = mul(p, sub(dp, along(groupHeads(delta, node), dp, 4)));
  const scaled = mul(ds, filled(scale, ds));
  const dr = tanh ? mul(scaled, sub(filled(1, tanh), mul(tanh, tanh))) : scaled;
  return { p, ds, dr, cotangent };
}

export const attentionBackwardQ: Decomposition<'attention_backward_q'> = (node) => {
  const { dr } = scoreCotangents(node);
  const k = castTo(node.args[1], 'f32');
  const sum = make('dot_general', [dr, k], { batch: pairs, contract: [[4], [2]], acc: 'f32' });
  return make('reshape', [castTo(sum, node.type.dtype)], { shape: node.type.shape });
};

export const attentionBackwardKV: Decomposition<'attention_backward_kv'> = (node) => {
  const { p, dr, cotangent } = scoreCotangents(node);
  const q = castTo(groupHeads(node.args[0], node), 'f32');
  const overQueries = (weights: Node, x: Node): Node =>
    make('dot_general', [weights, x], { batch: pairs, contract: [[2, 3], [2, 3]], acc: 'f32' }); // biome-ignore format: one row
  return castTo(make('concat', [overQueries(dr, q), overQueries(p, cotangent)], { axis: 3 }), node.type.dtype);
};

export const attentionBackwardBias: Decomposition<'attention_backward_bias'> = (node) => {
  const { ds } = scoreCotangents(node);
  const [batches, heads] = node.type.shape;
  const axes = [...(isOne(batches) ? [0] : []), ...(isOne(heads) ? [1, 2] : [])];
  const sum = axes.length === 0 ? ds : make('reduce', [ds], { op: 'add', axes, acc: 'f32' });
  return make('reshape', [castTo(sum, node.type.dtype)], { shape: node.type.shape });
};
