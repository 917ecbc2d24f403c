// Expands composite ops (softmax, norm, rope, attention, ...) into simpler ones by their decompositions (ir/ops/decompose/),
// to a fixpoint. A backend keeps the composites that it has a kernel for.
import type { OpName } from '../ir/node.ts';
import { decomposable, decompositionOf } from '../ir/ops/decompose/index.ts';
import type { Rules } from '../ir/rewrite.ts';
import { rewrite } from '../ir/rewrite.ts';
import type { Pass } from './pass.ts';

export function decompose(keep: ReadonlySet<OpName>): Pass {
  const composites = decomposable.filter((name) => !keep.has(name));
  const rules: Rules = Object.fromEntries(composites.map((name) => [name, decompositionOf(name)]));
  return { name: 'decompose', run: (graph) => rewrite(graph, rules) };
}
