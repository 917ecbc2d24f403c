// Fusion: cuts a graph into regions, each of which becomes one kernel.
//
// Regions grow backwards (grow.ts) from nodes that must be in memory: results, state updates, and whatever a formed region
// asks for. Consumers are visited before producers, so when a node is asked whether it may be computed inside a region, all
// its users are known. What a node is, its op's record says (classify.ts). From the root a region takes in
//   - free nodes (views, conversions, constants): always, even if that computes them twice;
//   - elementwise nodes whose users are all inside: the epilogue of the anchor below them;
//   - elementwise nodes of one large array, whoever else uses them: reading the array costs what reading the node would;
//   - contractions reached through elementwise nodes only: the anchors (several, if they share the left operand);
//   - reductions over the last axis whose rows are the root's rows: they stay on chip (row regions).
// Where tasks are groups of threads, a contraction with few rows may also have its results in parts of the root: side by
// side in a concat (the halves of a rotation), or in the part of a state that the root writes (a cache append).
// Then the operands of the anchors are placed (place.ts), and regions are put into launches (launches.ts).
import type { Graph } from '../../ir/graph.ts';
import type { Node } from '../../ir/node.ts';
import type { Region, RegionGraph } from '../../ir/region.ts';
import type { Target } from '../../ir/target.ts';
import { factsOf } from './facts.ts';
import { grow } from './grow.ts';
import { launchesOf } from './launches.ts';
import { separateOutputs } from './outputs.ts';

/** The graph, with its outputs separated, as regions in launches. */
export function fuse(graph: Graph, target: Target): RegionGraph {
  const copied = new Set<Node>(); // states that cannot be updated in place
  for (;;) {
    const separated = separateOutputs(graph, copied);
    const ordered = launchesOf(separated, regionsOf(separated, target));
    if ('launches' in ordered) return { graph: separated, launches: ordered.launches };
    for (const state of ordered.conflicts) copied.add(state);
  }
}

/** The regions that compute what must be in memory, arguments first. */
function regionsOf(graph: Graph, target: Target): Region[] {
  const facts = factsOf(graph, target);
  const needed = new Set<Node>([...facts.results].filter((n) => n.op !== 'param'));
  const regions: Region[] = [];
  for (const n of [...facts.order].reverse()) if (needed.has(n)) regions.push(grow(facts, n, needed));
  return regions.reverse();
}
