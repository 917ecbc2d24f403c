// Attention in simpler ops, with something done to its probabilities. A file of its own, which reads the table of ops first
// (make.ts does): the record of attention, read before the table, would not be in it.
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import { exponentials, pairs } from './attention.ts';
import { along, castTo, div } from './build.ts';

/** An attention in simpler ops, its probabilities f32 [B, G, H/G, S, T] seen by `change`. */
export function attentionOver(node: Node<'attention'>, change: (probabilities: Node) => Node): Node {
  const { e, sum } = exponentials(node);
  const p = change(div(e, along(sum, e, 4)));
  const v = castTo(node.args[2], 'f32');
  const values = make('dot_general', [p, v], { batch: pairs, contract: [[4], [2]], acc: 'f32' });
  return make('reshape', [castTo(values, node.type.dtype)], { shape: node.type.shape });
}
