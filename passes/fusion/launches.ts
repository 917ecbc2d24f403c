// The order of regions: launches by dependency level. A region runs right after the last region that it reads, and one
// that overwrites a state runs after all others that read its old value; what it reads itself of that value, it must read
// where it writes. Regions of one launch do not depend on each other. What is large and waits for its readers is computed
// right before the first of them instead, if less memory is taken meanwhile by what it is computed from.
import { dimProduct } from '../../ir/dim.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import type { Graph } from '../../ir/graph.ts';
import type { Node } from '../../ir/node.ts';
import { type Region, readsInPlace } from '../../ir/region.ts';

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
  return { launches: postpone(graph, launches, before) };
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

/** Bytes of a value that are worth to be computed later. */
const large = 2 ** 20;

const bytesOf = (n: Node): number => dimProduct(n.type.shape).max * dtypeInfo[n.type.dtype].bytes;

/** The launches with large values computed as late as that saves memory. */
function postpone(
  graph: Graph,
  launches: readonly (readonly Region[])[],
  before: ReadonlyMap<Region, ReadonlySet<Region>>,
): Region[][] {
  const outputs = new Set<Node>([...graph.results.values(), ...graph.updates.values()]);
  const at = new Map(launches.flatMap((regions, i) => regions.map((r) => [r, i] as const)));
  const after = new Map<Region, Region[]>(); // who waits for a region
  for (const [r, earlier] of before) for (const e of earlier) after.set(e, [...(after.get(e) ?? []), r]);
  const readers = new Map<Node, Region[]>();
  for (const r of at.keys()) for (const n of r.inputs) readers.set(n, [...(readers.get(n) ?? []), r]);
  // those who wait were moved before
  for (const r of [...at.keys()].reverse()) {
    const bytes = bytesOf(r.root);
    const latest = Math.min(...(after.get(r) ?? []).map((next) => at.get(next)!)) - 1;
    if (bytes < large || outputs.has(r.root) || latest <= at.get(r)!) continue;
    const isOver = (n: Node): boolean => readers.get(n)!.every((other) => other === r || at.get(other)! < latest);
    const longer = r.inputs.filter((n) => n.op !== 'param' && isOver(n));
    if (longer.reduce((sum, n) => sum + bytesOf(n), 0) <= bytes) at.set(r, latest);
  }
  const moved: Region[][] = launches.map(() => []);
  for (const [r, i] of at) moved[i].push(r);
  // A result that could lie where an array was that is read for the last time waits for the array's other readers
  return moved.flatMap((regions, i) => {
    const isLast = (n: Node): boolean => n.op !== 'param' && readers.get(n)!.every((other) => at.get(other)! <= i);
    const takesPlace = (r: Region, n: Node): boolean =>
      isLast(n) &&
      bytesOf(n) === bytesOf(r.root) &&
      regions.some((o) => o !== r && o.inputs.includes(n)) &&
      readsInPlace(r, n);
    const waits = (r: Region): boolean =>
      r.kind === 'map' && bytesOf(r.root) >= large && !outputs.has(r.root) && r.inputs.some((n) => takesPlace(r, n));
    const late = regions.find(waits);
    return [regions.filter((r) => r !== late), late ? [late] : []].filter((launch) => launch.length > 0);
  });
}
