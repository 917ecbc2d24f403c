// Expands composite ops (softmax, norm, rope, attention, ...) into simpler ones by the decomposition in their records,
// to a fixpoint. A backend keeps the composites that it has a kernel for.
import type { Node, OpName } from '../ir/node.ts';
import { opNames, opOf } from '../ir/ops/index.ts';
import type { Rules } from '../ir/rewrite.ts';
import { rewrite } from '../ir/rewrite.ts';
import type { Pass } from './pass.ts';

export function decompose(keep: ReadonlySet<OpName>): Pass {
  const composites = opNames.filter((name) => opOf(name).decompose && !keep.has(name));
  const rules: Rules = Object.fromEntries(
    composites.map((name) => [name, (node: Node) => opOf(name).decompose?.(node)]),
  );
  return { name: 'decompose', run: (graph) => rewrite(graph, rules) };
}
