// Plans: regions of every entry become launches over slots of memory, and a Program that a backend can print.
import { type Dim, dimProduct } from '../../ir/dim.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { dimVars, type Graph } from '../../ir/graph.ts';
import type { Kernel } from '../../ir/loop.ts';
import { type Node, originOf, typeText } from '../../ir/node.ts';
import type { Plan, PlanDim, PlanState, PlanTensor, PlanWeight, Program, Slot, Step } from '../../ir/program.ts';
import { type Region, type RegionGraph, readsInPlace } from '../../ir/region.ts';
import type { Target } from '../../ir/target.ts';
import { printGraph } from '../../ir/text.ts';
import { KernelTable } from './lower.ts';
import { type Lifetime, planArena } from './memory.ts';
import { joinParts } from './side-by-side.ts';

const planDim = (d: Dim): PlanDim => Object.fromEntries(d.terms);
export const planTensor = (name: string, n: Node): PlanTensor => ({
  name,
  dtype: n.type.dtype,
  shape: n.type.shape.map(planDim),
});

/** What a param binds. */
export const planParam = (param: Node<'param'>): PlanState => {
  const { name, role } = param.attrs;
  return { ...planTensor(name, param), ...(role && { role }) };
};

/** Bindings that all entries of a program share. */
class Bindings {
  readonly weights = new Map<string, PlanWeight>();
  readonly constants = new Map<string, PlanTensor>();
  readonly states = new Map<string, PlanState>();

  /** Texts of the graphs that make derived weights, each once. */
  readonly prepare: string[] = [];

  weight(param: Node<'param'>, making: Graph | undefined): number {
    const { name } = param.attrs;
    const text = making && printGraph(making);
    const known = this.weights.get(name);
    if (known && text !== (known.prepare === undefined ? undefined : this.prepare[known.prepare])) {
      throw new ModelcError('type', `entries make the weight ${name} in two ways`);
    }
    const at = this.add(this.weights, param);
    if (!known && text !== undefined) {
      this.weights.set(name, { ...planTensor(name, param), prepare: this.prepare.push(text) - 1 });
    }
    return at;
  }

  add(table: Map<string, PlanState>, param: Node<'param'>): number {
    const { name } = param.attrs;
    const tensor = planParam(param);
    const known = table.get(name);
    if (known && JSON.stringify({ ...known, ...tensor }) !== JSON.stringify(known)) {
      throw new ModelcError(
        'type',
        `entries disagree about ${param.attrs.kind} ${name}: ${typeText(param.type)} in one`,
      );
    }
    if (!known) table.set(name, tensor);
    return [...table.keys()].indexOf(name);
  }
}

/** Lowers the fused entries of a model. `constants` holds the data of its constant params. */
export function plan(
  name: string,
  entries: ReadonlyMap<string, RegionGraph>,
  constants: ReadonlyMap<string, Float32Array>,
  target: Target,
): Program {
  const table = new KernelTable(target);
  const bindings = new Bindings();
  const plans = new Map([...entries].map(([entry, regions]) => [entry, planEntry(regions, table, bindings, target)]));
  const { kernels, entries: numbered } = withoutUnused(table.kernels, plans);
  return {
    version: 1,
    name,
    target: { language: target.language, features: target.features },
    entries: numbered,
    kernels,
    prepare: bindings.prepare,
    weights: [...bindings.weights.values()],
    constants: [...bindings.constants.values()].map((t) => {
      const data = constants.get(t.name);
      if (!data) throw new ModelcError('type', `constant ${t.name} has no data`);
      return { ...t, data: Array.from(data) };
    }),
    states: [...bindings.states.values()],
  };
}

/** The kernels that launches name, renumbered: some were joined, and run on their own nowhere. */
function withoutUnused(all: readonly Kernel[], plans: ReadonlyMap<string, Plan>): Pick<Program, 'kernels' | 'entries'> {
  const used = new Set<number>();
  for (const { steps } of plans.values()) for (const { parts } of steps) for (const p of parts) used.add(p.kernel);
  const order = [...used].sort((a, b) => a - b);
  const number = new Map(order.map((kernel, i) => [kernel, i]));
  const renumbered = ({ steps, ...plan }: Plan): Plan => ({
    ...plan,
    steps: steps.map((s) => ({ ...s, parts: s.parts.map((p) => ({ ...p, kernel: number.get(p.kernel)! })) })),
  });
  return {
    kernels: order.map((kernel) => all[kernel]),
    entries: Object.fromEntries([...plans].map(([name, p]) => [name, renumbered(p)])),
  };
}

function planEntry(
  { graph, launches, prepare }: RegionGraph,
  table: KernelTable,
  bindings: Bindings,
  target: Target,
): Plan {
  const inputs = graph.params.filter((p) => p.attrs.kind === 'input');
  const slots = new Map<Node, Slot>();
  for (const p of graph.params) {
    switch (p.attrs.kind) {
      case 'input':
        slots.set(p, { space: 'input', index: inputs.indexOf(p) });
        break;
      case 'weight':
        slots.set(p, { space: 'weight', index: bindings.weight(p, prepare?.get(p.attrs.name)) });
        break;
      case 'constant':
        slots.set(p, { space: 'constant', index: bindings.add(bindings.constants, p) });
        break;
      case 'state':
        slots.set(p, { space: 'state', index: bindings.add(bindings.states, p) });
        break;
      default:
        p.attrs.kind satisfies never;
    }
  }
  for (const [param, value] of graph.updates) slots.set(value, slots.get(param)!);
  [...graph.results.values()].forEach((n, index) => slots.set(n, { space: 'result', index }));

  // What has no place yet goes to the arena.
  const lifetimes = new Map<Node, Lifetime>();
  const readers = new Map<Node, Region[]>(); // in the launch that reads the node last
  launches.forEach((regions, at) => {
    for (const r of regions) {
      for (const n of r.inputs) {
        const life = lifetimes.get(n);
        if (!life) continue;
        readers.set(n, life.last === at ? [...(readers.get(n) ?? []), r] : [r]);
        life.last = at;
      }
    }
    for (const { root } of regions) {
      if (!slots.has(root)) lifetimes.set(root, { bytes: bytesOf(root, target), first: at, last: at });
    }
  });
  const places = sharePlaces(lifetimes, launches, readers);
  const arena = planArena(new Map([...lifetimes].filter(([n]) => !places.has(n))));
  for (const [n, { bytes }] of lifetimes) {
    slots.set(n, { space: 'arena', offset: arena.offsets.get(places.get(n) ?? n)!, bytes });
  }

  const steps = launches.map((regions): Step => {
    const own = regions.map((r) => {
      const { kernel, buffers } = table.lower(r);
      return { kernel, args: buffers.map((n) => slotOf(slots, n, r)), kind: r.kind };
    });
    const parts = joinParts(own, table.kernels, target, (numbers, places) => table.join(numbers, places));
    return { do: 'launch', parts, origin: originOf(regions[0].root) ?? regions[0].root.op };
  });
  return {
    inputs: inputs.map((p) => planTensor(p.attrs.name, p)),
    results: [...graph.results].map(([result, n]) => planTensor(result, n)),
    dims: [...dimVars(graph).values()],
    steps,
    arenaBytes: arena.bytes,
  };
}

/**
 * Results of elementwise kernels that take the place of an array that nobody reads any more: by node, the array whose
 * place it is, which then lives as long as they all do.
 */
function sharePlaces(
  lifetimes: ReadonlyMap<Node, Lifetime>,
  launches: readonly (readonly Region[])[],
  readers: ReadonlyMap<Node, readonly Region[]>,
): Map<Node, Node> {
  const places = new Map<Node, Node>();
  for (const [at, regions] of launches.entries()) {
    for (const r of regions) {
      const own = lifetimes.get(r.root);
      if (!own || r.kind !== 'map') continue;
      const free = r.inputs.find((n) => {
        const life = lifetimes.get(n);
        const isLast = life?.last === at && readers.get(n)!.every((reader) => reader === r);
        return isLast && life.bytes === own.bytes && n.type.dtype === r.root.type.dtype && readsInPlace(r, n);
      });
      if (!free) continue;
      const place = places.get(free) ?? free;
      places.set(r.root, place);
      lifetimes.get(place)!.last = own.last;
    }
  }
  return places;
}

function slotOf(slots: ReadonlyMap<Node, Slot>, n: Node, region: Region): Slot {
  const slot = slots.get(n);
  if (!slot) throw new ModelcError('type', `no memory for ${n.op} ${typeText(n.type)} read by a ${region.kind} kernel`);
  return slot;
}

/** Bytes on the device at the maxima of the dims. */
function bytesOf(n: Node, { storeBytes = 1 }: Target): number {
  const bytes = dimProduct(n.type.shape).max * Math.max(storeBytes, dtypeInfo[n.type.dtype].bytes);
  if (!Number.isSafeInteger(bytes)) throw new ModelcError('unsupported', `${typeText(n.type)} is too large to plan`);
  return bytes;
}
