// Rematerialisation: the backward pass computes values of the forward pass anew instead of keeping them in memory. Of a
// layer that is treated so, only what enters it is kept. What its backward pass reads is computed a second time from that,
// behind a `fence`, which keeps the two computations apart and makes the second one wait until the backward pass of the
// layers behind it is done. Layers are told from the origins of nodes: a path that begins with a list of modules and a
// place in it ('model.layers.3') is a layer.
import { dimProduct } from '../ir/dim.ts';
import { dtypeInfo } from '../ir/dtype.ts';
import { type Graph, roots, topologicalOrder } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import { type Node, originOf, setOrigin } from '../ir/node.ts';
import { withArgs } from '../ir/rewrite.ts';
import type { TargetlessPass } from './pass.ts';

/**
 * 'none': everything that the backward pass needs is kept. 'layers': of every layer only what enters it is kept. An
 * object: as many layers, from the first one on, are treated so as make what is kept fit into so many bytes.
 */
export type Checkpointing = 'none' | 'layers' | { readonly bytes: number };

/** The result that the forward pass ends in. */
const lossName = 'loss';

export function remat(policy: Checkpointing): TargetlessPass {
  return { name: 'remat', run: (graph) => (policy === 'none' ? graph : rematerialise(graph, policy)) };
}

/** 'model.layers.3' of 'model.layers.3.mlp.up_proj'; undefined outside of layers. */
const layerOf = (n: Node): string | undefined => /^(?:[^.]+\.)*?\d+(?=\.|$)/.exec(originOf(n) ?? '')?.[0];

interface Layer {
  readonly name: string;
  /** Values of its forward pass that only the layer itself and the backward pass read. */
  readonly inner: Set<Node>;
}

function rematerialise(graph: Graph, policy: 'layers' | { readonly bytes: number }): Graph {
  const loss = graph.results.get(lossName);
  if (!loss) return graph;
  const order = topologicalOrder(roots(graph));
  const forward = new Set(topologicalOrder([loss]));
  const layers = layersOf(order, forward);
  const kept = keptBytes(order, forward, layers);
  let total = [...kept.values()].reduce((a, b) => a + b, 0);
  const chosen = [...layers.values()].filter(({ name }) => {
    if (policy !== 'layers' && total <= policy.bytes) return false;
    total -= kept.get(name)!;
    return true;
  });
  return chosen.length === 0 ? graph : recompute(graph, order, forward, chosen);
}

/** The layers in the order of the forward pass. */
function layersOf(order: readonly Node[], forward: ReadonlySet<Node>): Map<string, Layer> {
  const leaving = new Set<Node>(); // read by the forward pass of another layer
  for (const n of order) {
    if (!forward.has(n)) continue;
    for (const a of n.args) if (layerOf(a) !== layerOf(n)) leaving.add(a);
  }
  const layers = new Map<string, Layer>();
  for (const n of order) {
    const name = forward.has(n) && n.args.length > 0 ? layerOf(n) : undefined;
    if (name === undefined) continue;
    const layer = layers.get(name) ?? { name, inner: new Set() };
    layers.set(name, layer);
    if (!leaving.has(n)) layer.inner.add(n);
  }
  return layers;
}

/** Bytes of the inner values that the backward pass reads, by layer. */
function keptBytes(
  order: readonly Node[],
  forward: ReadonlySet<Node>,
  layers: ReadonlyMap<string, Layer>,
): Map<string, number> {
  const read = new Set(order.filter((n) => !forward.has(n)).flatMap((n) => n.args));
  const bytes = (n: Node): number => dimProduct(n.type.shape).max * dtypeInfo[n.type.dtype].bytes;
  return new Map(
    [...layers].map(([name, { inner }]) => [
      name,
      [...inner].filter((n) => read.has(n)).reduce((sum, n) => sum + bytes(n), 0),
    ]),
  );
}

/** The graph whose backward pass computes the inner values of `layers` anew. */
function recompute(graph: Graph, order: readonly Node[], forward: ReadonlySet<Node>, layers: readonly Layer[]): Graph {
  const place = new Map<Node, number>();
  for (const [i, { inner }] of layers.entries()) for (const n of inner) place.set(n, i);
  // the first layer whose values a node of the backward pass waits for, however indirectly
  const first = new Map<Node, number>();
  for (const n of order) {
    if (forward.has(n)) continue;
    const ofArgs = n.args.map((a) => (forward.has(a) ? place.get(a) : first.get(a)) ?? layers.length);
    first.set(n, Math.min(layers.length, ...ofArgs));
  }
  const firstOf = (n: Node): number => first.get(n) ?? layers.length;
  // What the backward pass of a layer starts from: a value that it reads and that waits for the layers behind it alone
  const starts = new Map<number, Node>();
  for (const n of order) {
    const layer = firstOf(n);
    for (const a of layer === layers.length ? [] : n.args) {
      if (forward.has(a) || firstOf(a) <= layer || a.type.shape.length === 0) continue;
      const known = starts.get(layer);
      if (!known || firstOf(a) <= firstOf(known)) starts.set(layer, a);
    }
  }

  const image = new Map<Node, Node>();
  const imageOf = (n: Node): Node => image.get(n) ?? n;
  const rebuilt = (n: Node, args: readonly Node[]): Node => {
    const node = withArgs(n, args);
    const origin = originOf(n);
    if (origin !== undefined) setOrigin(node, origin);
    return node;
  };
  // In topological order, and layer by layer: whoever waits for a layer comes after those that do not
  const backward = order.filter((n) => !forward.has(n)).sort((a, b) => firstOf(b) - firstOf(a));
  const clones = new Map<number, ReadonlyMap<Node, Node>>();
  const clonesOf = (layer: number): ReadonlyMap<Node, Node> => {
    const known = clones.get(layer);
    if (known) return known;
    const after = imageOf(starts.get(layer)!);
    const made = new Map<Node, Node>();
    for (const n of layers[layer].inner) {
      const entering = (a: Node): Node => (a.args.length === 0 ? a : make('fence', [a, after], {}));
      made.set(n, rebuilt(n, n.args.map((a) => made.get(a) ?? entering(a)))); // biome-ignore format: one row
    }
    clones.set(layer, made);
    return made;
  };
  for (const n of backward) {
    const args = n.args.map((a) => {
      const layer = place.get(a);
      return layer !== undefined && starts.has(layer) ? clonesOf(layer).get(a)! : imageOf(a);
    });
    image.set(n, rebuilt(n, args));
  }
  return {
    ...graph,
    results: new Map([...graph.results].map(([name, n]) => [name, imageOf(n)])),
    updates: new Map([...graph.updates].map(([param, n]) => [param, imageOf(n)])),
  };
}
