// What a graph writes: makes every result and every new value of a state a node of its own that a kernel can write. All
// reads of a run see the states from before it. A new value is computed in the state's own memory; where that cannot be,
// which launches.ts says, it is computed elsewhere and then copied, by a `mark` that no other node reads.
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import { isOp, type Node } from '../../ir/node.ts';
import { isUpdate } from '../../ir/region.ts';

/** Whether the new value of a state is its old value with a part replaced. */
export const isPartialUpdate = (param: Node, value: Node): boolean =>
  param.type.shape.length > 0 && isUpdate(value) && value.args[0] === param;

/** The graph with copies where outputs need them. The states in `copied` are not updated in place. */
export function separateOutputs(graph: Graph, copied: ReadonlySet<Node>): Graph {
  const taken = new Set<Node>();
  const copy = (n: Node, name: string): Node => make('mark', [n], { name });
  const updates = new Map<Node<'param'>, Node>();
  for (const [param, value] of graph.updates) {
    const isParam = isOp(value, 'param');
    const isDone = value === param || !(isParam || taken.has(value) || copied.has(param));
    // Another state's old value goes through memory of its own: the two may be swapped.
    const source = isParam && value.attrs.kind === 'state' ? copy(value, `old ${value.attrs.name}`) : value;
    const own = isDone ? value : copy(source, `update ${param.attrs.name}`);
    updates.set(param, own);
    taken.add(own);
  }
  const results = new Map<string, Node>();
  for (const [name, value] of graph.results) {
    const own = isOp(value, 'param') || taken.has(value) ? copy(value, `result ${name}`) : value;
    results.set(name, own);
    taken.add(own);
  }
  return { ...graph, results, updates };
}
