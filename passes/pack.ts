// Lays weights out for contractions: the contracted axes last, so that a kernel walks memory forwards. A dot whose right
// operand is a view (transposes, casts) of a weight becomes a dot over the weight itself, or over its transpose, which is
// prepared: made once, before all runs (prepare.ts).
// A weight that is also used otherwise (an embedding table) stays as it is: it would be in memory twice.
import { type Graph, roots, topologicalOrder, usersOf } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import type { Node } from '../ir/node.ts';
import { isOp } from '../ir/node.ts';
import { rewrite } from '../ir/rewrite.ts';
import type { Pass } from './pass.ts';
import { isWeight, prepared, unprepared } from './prepare.ts';

const isIdentity = (perm: readonly number[]): boolean => perm.every((p, i) => p === i);

/** A dot's right operand as a weight: the view's axis i is the weight's axis axes[i]; `casts` from inner to outer. */
interface WeightView {
  readonly weight: Node;
  readonly axes: readonly number[];
  readonly casts: readonly Node<'cast'>[];
}

function weightView(operand: Node): WeightView | undefined {
  let node = operand;
  let axes = operand.type.shape.map((_, i) => i);
  const casts: Node<'cast'>[] = [];
  for (;;) {
    if (isOp(node, 'transpose')) {
      const { perm } = node.attrs;
      axes = axes.map((a) => perm[a]);
    } else if (isOp(node, 'cast')) casts.unshift(node);
    else break;
    node = node.args[0];
  }
  return isWeight(node) ? { weight: node, axes, casts } : undefined;
}

/** The permutation of the weight that a dot wants: free and batch axes in the order of the view, contracted axes last. */
function wanted(dot: Node<'dot_general'>, view: WeightView): number[] {
  const contract = dot.attrs.contract[1];
  const rest = view.axes.map((_, i) => i).filter((i) => !contract.includes(i));
  return [...rest, ...contract].map((i) => view.axes[i]);
}

/** Per weight, the one permutation that all its users want, if they do. */
function agreedPermutations(graph: Graph): Map<Node, readonly number[]> {
  const order = topologicalOrder(roots(graph));
  const users = usersOf(order);
  const isRoot = new Set(roots(graph));
  const agreed = new Map<Node, readonly number[]>();
  for (const weight of order.filter(isWeight)) {
    const perms = new Map<string, readonly number[]>();
    let isOnlyContracted = true;
    const views: Node[] = [weight];
    for (let view = views.pop(); view && isOnlyContracted; view = views.pop()) {
      if (isRoot.has(view)) isOnlyContracted = false;
      for (const user of users.get(view) ?? []) {
        const from = isOp(user, 'dot_general') && user.args[0] !== view ? weightView(view) : undefined;
        if (isOp(user, 'transpose') || isOp(user, 'cast')) views.push(user);
        else if (from && isOp(user, 'dot_general')) perms.set(wanted(user, from).join(), wanted(user, from));
        else isOnlyContracted = false;
      }
    }
    if (isOnlyContracted && perms.size === 1) agreed.set(weight, [...perms.values()][0]);
  }
  return agreed;
}

const packed = (weight: Node, perm: readonly number[]): Node =>
  isIdentity(perm) ? weight : prepared(make('transpose', [unprepared(weight)], { perm }));

export const pack: Pass = {
  name: 'pack',
  run: (graph) => {
    const agreed = agreedPermutations(graph);
    return rewrite(graph, {
      dot_general: (dot) => {
        const [lhs, rhs] = dot.args;
        const view = weightView(rhs);
        const perm = view && agreed.get(view.weight);
        if (!view || !perm) return undefined;
        const contract = dot.attrs.contract[1];
        const rest = view.axes.map((_, i) => i).filter((i) => !contract.includes(i));
        const operand = view.casts.reduce<Node>((n, c) => make('cast', [n], c.attrs), packed(view.weight, perm));
        const result = make('dot_general', [lhs, operand], {
          ...dot.attrs,
          batch: [dot.attrs.batch[0], dot.attrs.batch[1].map((axis) => rest.indexOf(axis))],
          contract: [dot.attrs.contract[0], contract.map((_, i) => rest.length + i)],
        });
        return result === dot ? undefined : result;
      },
    });
  },
};
