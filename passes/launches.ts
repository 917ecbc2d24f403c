// The order of regions: launches by dependency level. A region runs right after the last region that it reads, and one
// that overwrites a state runs after all others that read its old value; what it reads itself of that value, it must read
// where it writes. Regions of one launch do not depend on each other.
import type { Graph, Node } from '../ir/graph.ts';
import { readsInPlace, type Region } from '../ir/region.ts';

/** The launches; or states that cannot be updated in place, because no order allows it. */
export function launchesOf(
  graph: Graph,
  regions: readonly Region[],
): { readonly launches: Region[][] } | { readonly conflicts: readonly Node[] } {
  const producer = new Map<Node, Region>(regions.map((r) => [r.root, r]));
  const overwrites = new Map<Node, Region>();
  for (const [param, value] of graph.updates) {
    const writer = producer.get(value);
    if (writer) overwrites.set(param, writer);
  }
  const before = new Map<Region, Set<Region>>(regions.map((r) => [r, new Set()]));
  const conflicts: Node[] = [];
  for (const r of regions) {
    for (const input of r.inputs) {
      const source = producer.get(input);
      if (source) before.get(r)!.add(source);
      const writer = overwrites.get(input);
      if (writer === r) {
        if (!readsInPlace(r, input)) conflicts.push(input);
      } else if (writer) before.get(writer)!.add(r);
    }
  }
  if (conflicts.length > 0) return { conflicts };
  const launches: Region[][] = [];
  const placed = new Set<Region>();
  let open = regions;
  while (open.length > 0) {
    const ready = open.filter((r) => [...before.get(r)!].every((b) => placed.has(b)));
    if (ready.length === 0) return { conflicts: [conflict(overwrites, before)] };
    for (const r of ready) placed.add(r);
    launches.push(ready);
    open = open.filter((r) => !placed.has(r));
  }
  return { launches };
}

/** A state whose writer waits for itself. */
function conflict(overwrites: ReadonlyMap<Node, Region>, before: ReadonlyMap<Region, ReadonlySet<Region>>): Node {
  for (const [state, writer] of overwrites) {
    const seen = new Set<Region>();
    const stack = [...before.get(writer)!];
    for (let r = stack.pop(); r; r = stack.pop()) {
      if (r === writer) return state;
      if (seen.has(r)) continue;
      seen.add(r);
      stack.push(...before.get(r)!);
    }
  }
  throw new Error('regions depend on each other');
}
