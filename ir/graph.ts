// Graph: a model as immutable, hash-consed, typed nodes of pure functions. State (caches, moments, RNG keys,
// weights being trained) is a `param` of kind 'state' with an entry in `updates`; whether an update happens in place is
// the planner's decision, never the author's.
import type { DimVar } from './dim.ts';
import { ModelcError } from './error.ts';
import { dimVarsOf, type Node } from './node.ts';

export interface Graph {
  readonly name: string;
  /** In declaration order; the calling convention of the graph. */
  readonly params: readonly Node<'param'>[];
  readonly results: ReadonlyMap<string, Node>;
  /** New value of each state param after a run. */
  readonly updates: ReadonlyMap<Node<'param'>, Node>;
}

/** The roots of a graph: results, then updates, in order. */
export const roots = (g: Graph): Node[] => [...g.results.values(), ...g.updates.values()];

const noNodes: ReadonlySet<Node> = new Set();

/**
 * All nodes reachable from `from`, arguments before users, in depth-first order of arguments: the order depends on the
 * structure alone, so every process that builds the same graph schedules it alike. What is below `leaves` does not count.
 */
export function topologicalOrder(from: readonly Node[], leaves: ReadonlySet<Node> = noNodes): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { node: Node; next: number }[] = [];
  for (const root of from) {
    if (seen.has(root)) continue;
    seen.add(root);
    stack.push({ node: root, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next < top.node.args.length && !leaves.has(top.node)) {
        const arg = top.node.args[top.next++];
        if (!seen.has(arg)) {
          seen.add(arg);
          stack.push({ node: arg, next: 0 });
        }
      } else {
        order.push(top.node);
        stack.pop();
      }
    }
  }
  return order;
}

/** Users of every node among `order` (a user appears once per use). */
export function usersOf(order: readonly Node[]): Map<Node, Node[]> {
  const users = new Map<Node, Node[]>(order.map((n) => [n, []]));
  for (const n of order) for (const a of n.args) users.get(a)?.push(n);
  return users;
}

/** All dim variables in the types and attributes of a graph, by name. A name with two different bounds is an error. */
export function dimVars(g: Graph): Map<string, DimVar> {
  const vars = new Map<string, DimVar>();
  for (const node of [...g.params, ...topologicalOrder(roots(g))]) {
    for (const v of dimVarsOf(node)) {
      const known = vars.get(v.name);
      if (known && (known.min !== v.min || known.max !== v.max)) {
        throw new ModelcError('type', `graph ${g.name} declares dimension ${v.name} with two different bounds`);
      }
      vars.set(v.name, v);
    }
  }
  return vars;
}
