// What is known of a graph before its regions are formed: who uses a node, what it is computed from, and what must be in
// memory. One table for each question, made once for the graph.
import { dimEquals, dimProduct } from '../../ir/dim.ts';
import { type Graph, roots, topologicalOrder, usersOf } from '../../ir/graph.ts';
import { isOp, type Node } from '../../ir/node.ts';
import { isElementwise, isFree, productOf } from '../../ir/region.ts';
import type { Target } from '../../ir/target.ts';
import { normParts } from './norm-parts.ts';
import { isPartialUpdate } from './outputs.ts';
import { sourceTable } from './sources.ts';

export interface Facts {
  readonly target: Target;
  /** All nodes, arguments first, and each one's place among them. */
  readonly order: readonly Node[];
  readonly position: ReadonlyMap<Node, number>;
  /** Computed nodes on the longest way from a param. */
  readonly depth: ReadonlyMap<Node, number>;
  readonly users: ReadonlyMap<Node, readonly Node[]>;
  /** What the graph gives: its results and the new values of states. */
  readonly results: ReadonlySet<Node>;
  /** New values of states that replace a part of them. */
  readonly inPlace: ReadonlySet<Node>;
  /** What follows from weights and constants alone, and what from no param at all. */
  readonly onlyWeights: ReadonlySet<Node>;
  readonly noParams: ReadonlySet<Node>;
  isNormPart(n: Node): boolean;
  /** The arrays in memory of its own size that a node is computed from, element by element; of more than two, some. */
  sourcesOf(n: Node): ReadonlySet<Node>;
}

export function factsOf(graph: Graph, target: Target): Facts {
  const order = topologicalOrder(roots(graph));
  const results = new Set([...graph.results.values(), ...graph.updates.values()]);
  const inPlace = new Set<Node>();
  for (const [param, value] of graph.updates) if (isPartialUpdate(param, value)) inPlace.add(value);
  const onlyWeights = following(order, (p) => p.attrs.kind === 'weight' || p.attrs.kind === 'constant');
  const isStored = (n: Node): boolean => n.op === 'param' || results.has(n);
  const depth = new Map<Node, number>();
  for (const n of order) {
    depth.set(n, Math.max(0, ...n.args.map((a) => depth.get(a)!)) + (isFree(n) || n.op === 'param' ? 0 : 1));
  }
  return {
    target,
    order,
    position: new Map(order.map((n, i) => [n, i])),
    depth,
    users: usersOf(order),
    results,
    inPlace,
    onlyWeights,
    noParams: following(order, () => false),
    isNormPart: normParts({ isStored, isFixed: (n) => onlyWeights.has(n) }),
    sourcesOf: sourceTable(isStored),
  };
}

/** Nodes whose params all satisfy `accepts`. */
function following(order: readonly Node[], accepts: (p: Node<'param'>) => boolean): Set<Node> {
  const set = new Set<Node>();
  for (const n of order) {
    if (isOp(n, 'param') ? accepts(n) : n.args.every((a) => set.has(a))) set.add(n);
  }
  return set;
}

/** Whether `n` can be computed from one array of its size, and smaller ones: no more is read than if it were kept. */
export const isCheapAgain = ({ results, sourcesOf }: Facts, n: Node): boolean =>
  isElementwise(n) && !results.has(n) && sourcesOf(n).size <= 1;

/** Memory arrays of a kernel. Where the target binds the arena, all intermediate arrays together are one. */
export function bindingsOf({ target, results }: Facts, root: Node, nodes: readonly Node[]): number {
  const bound = new Set<Node | 'arena'>();
  const bind = (n: Node) => bound.add(target.bindsArena && n.op !== 'param' && !results.has(n) ? 'arena' : n);
  const visit = (n: Node): void => {
    if (isFree(n) && !results.has(n)) n.args.forEach(visit);
    else bind(n);
  };
  bind(root);
  nodes.forEach(visit);
  return bound.size;
}

/** Whether `n` is a matrix product or a view of one. */
export const leadsToProduct = (n: Node): boolean =>
  productOf(n) !== undefined || (isFree(n) && n.args.some(leadsToProduct));

/** The attention under a transpose and reshapes that nobody else reads: it stores in that order. */
export function permutedAttention({ users, results }: Facts, root: Node): Node | undefined {
  let n = root;
  let transposed = false;
  while (n.op === 'reshape' || (n.op === 'transpose' && !transposed)) {
    transposed ||= n.op === 'transpose';
    n = n.args[0];
    if (users.get(n)!.length !== 1 || results.has(n)) return undefined;
  }
  return n !== root && n.op === 'attention' && transposed ? n : undefined;
}

/** Whether two values have equally many elements. */
export const isSameSize = (a: Node, b: Node): boolean => dimEquals(dimProduct(a.type.shape), dimProduct(b.type.shape));
