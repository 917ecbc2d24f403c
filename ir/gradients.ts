// Reverse-mode differentiation: `gradient` nodes are replaced by the computation that they ask for. One loss is done in
// one walk, users before arguments, for all its gradients together: when the walk meets a node, the cotangents of all its
// uses have arrived; they are added up in the order of the walk, and its rule (ir/ops/vjp/) passes the sum on to those
// arguments that lead to something asked for. A loss that is computed from gradients waits until those are in place, so
// gradients of gradients need nothing more.
import { add, filled } from './build.ts';
import { shapeText } from './dim.ts';
import { isFloat } from './dtype.ts';
import { ModelcError } from './error.ts';
import type { Graph } from './graph.ts';
import { roots, topologicalOrder } from './graph.ts';
import type { Node } from './node.ts';
import { isOp, originOf } from './node.ts';
import { decompositionOf } from './ops/decompose/index.ts';
import { vjpOf } from './ops/vjp/index.ts';
import { substitute } from './rewrite.ts';

/** The graph with every `gradient` node replaced. Throws ModelcError 'unsupported' where an op has no derivative. */
export function expandGradients(graph: Graph): Graph {
  let expanded = graph;
  for (;;) {
    const order = topologicalOrder(roots(expanded));
    const waiting = order.filter((n): n is Node<'gradient'> => isOp(n, 'gradient'));
    if (waiting.length === 0) return expanded;
    // nodes that are computed from a gradient: their own come in a later round
    const dependent = new Set<Node>();
    for (const n of order) if (isOp(n, 'gradient') || n.args.some((a) => dependent.has(a))) dependent.add(n);
    const ready = waiting.filter((n) => !n.args.some((a) => dependent.has(a)));

    const wanted = new Map<Node, Set<Node>>();
    for (const { args: [loss, x] } of ready) wanted.set(loss, (wanted.get(loss) ?? new Set()).add(x)); // biome-ignore format: one row
    const found = new Map([...wanted].map(([loss, xs]) => [loss, cotangents(loss, filled(1, loss), xs)]));
    expanded = substitute(
      expanded,
      new Map(ready.map((n) => [n as Node, found.get(n.args[0])!.get(n.args[1]) ?? filled(0, n.args[1])])),
    );
  }
}

const none: ReadonlySet<Node> = new Set();

/**
 * The cotangents of `wanted` when `root` has the cotangent `seed`; nodes that root does not depend on have none. What is
 * below `leaves` is not looked at.
 */
function cotangents(
  root: Node,
  seed: Node,
  wanted: ReadonlySet<Node>,
  leaves: ReadonlySet<Node> = none,
): Map<Node, Node> {
  const order = topologicalOrder([root], leaves);
  // nodes from which something wanted can be reached
  const leading = new Set<Node>();
  for (const n of order) {
    if (wanted.has(n) || (!leaves.has(n) && n.args.some((a) => leading.has(a)))) leading.add(n);
  }
  const sums = new Map<Node, Node>();
  if (leading.has(root)) sums.set(root, seed);
  for (const node of order.reverse()) {
    const cotangent = sums.get(node);
    if (!cotangent || leaves.has(node) || !node.args.some((a) => leading.has(a))) continue;
    for (const [i, share] of passedOn(node, cotangent).entries()) {
      const arg = node.args[i];
      if (!share || !leading.has(arg) || !isFloat(arg.type.dtype)) continue;
      const known = sums.get(arg);
      sums.set(arg, known ? add(known, share) : share);
    }
  }
  return new Map([...wanted].flatMap((x) => (sums.has(x) ? [[x, sums.get(x)!]] : [])));
}

/** The cotangents of a node's arguments. */
function passedOn(node: Node, cotangent: Node): readonly (Node | null | undefined)[] {
  const rule = vjpOf(node.op);
  if (rule === 'decompose') {
    const args = new Set(node.args);
    const found = cotangents(decompositionOf(node.op)!(node), cotangent, args, args);
    // an argument that is given twice has its whole cotangent at its first place
    return node.args.map((a, i) => (node.args.indexOf(a) === i ? found.get(a) : null));
  }
  if (typeof rule === 'function') return rule(node, cotangent);
  const origin = originOf(node);
  throw new ModelcError(
    'unsupported',
    `${node.op} ${shapeText(node.type.shape)}${origin === undefined ? '' : ` in ${origin}`} has no derivative: ${rule.none}; ` +
      'where it is to count as constant, put stop_gradient behind it',
  );
}
