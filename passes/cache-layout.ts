// Decides how caches live in memory. A model says only `cache_update(state, values, past)` and `cache_read(state)`; a
// CacheSpec says how many positions there is room for, which slot holds a position, and the type that is stored.
// dynamic: the dim `capacity` stays free and the runtime grows the state. static: `capacity` is a constant.
// In both, position p is in slot p. A narrower `store` type puts casts around what is written and read.
import type { DType } from '../ir/dtype.ts';
import { isFloat } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import type { Graph } from '../ir/graph.ts';
import { dimVars } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import type { Node } from '../ir/node.ts';
import { isOp } from '../ir/node.ts';
import { rewrite } from '../ir/rewrite.ts';
import { bindDims } from './bind.ts';
import type { TargetlessPass } from './pass.ts';

export interface CacheSpec {
  readonly kind: 'dynamic' | 'static';
  /** Positions that a static cache has room for. */
  readonly capacity?: number;
  /** The type that keys and values are stored in. */
  readonly store: DType;
}

/** The slot, an i32 scalar, in which `position` is stored. */
export function slot(spec: CacheSpec, position: Node): Node {
  switch (spec.kind) {
    case 'dynamic':
    case 'static':
      return position;
    default:
      return spec.kind satisfies never;
  }
}

/** Throws ModelcError 'input' on a spec that contradicts itself or a capacity outside the bounds of the dim. */
export function cacheLayout(spec: CacheSpec): TargetlessPass {
  if (!isFloat(spec.store)) {
    throw new ModelcError('input', `a cache cannot be stored as ${spec.store}; choose f32, f16 or bf16`);
  }
  if ((spec.kind === 'static') !== (spec.capacity !== undefined)) {
    throw new ModelcError('input', 'a static cache needs a capacity, and only a static cache takes one');
  }
  return {
    name: 'cache-layout',
    run: (graph) => {
      const placed = place(graph, spec);
      const { capacity } = spec;
      return capacity !== undefined && dimVars(placed).has('capacity') ? bindDims(placed, { capacity }) : placed;
    },
  };
}

/** The state at the bottom of a chain of updates. */
function stateOf(node: Node): Node {
  let n = node;
  while (isOp(n, 'cache_update')) n = n.args[0];
  return n;
}

/** The caches of a graph: states of a float type whose new value is the old one after cache updates. */
function cachesOf(graph: Graph): Set<Node> {
  const caches = [...graph.updates].filter(
    ([state, value]) => isFloat(state.type.dtype) && isOp(value, 'cache_update') && stateOf(value) === state,
  );
  return new Set(caches.map(([state]) => state));
}

/**
 * Maps positions to slots and changes the stored type. A cache becomes `cast(stored state)`; the cast then moves up
 * through updates and reads, past which it is a conversion of values alone.
 */
function place(graph: Graph, spec: CacheSpec): Graph {
  const caches = cachesOf(graph);
  const { store } = spec;
  const stored = (n: Node): Node | undefined =>
    isOp(n, 'cast') && stateOf(n.args[0]).op === 'param' && n.args[0].type.dtype === store ? n.args[0] : undefined;
  const castTo = (n: Node, dtype: DType): Node => (n.type.dtype === dtype ? n : make('cast', [n], { dtype }));
  const done = new Set<Node>(); // updates that speak of slots, no longer of positions
  const placed = rewrite(graph, {
    param: (p) => {
      if (!caches.has(p) || p.type.dtype === store) return undefined;
      return castTo(make('param', [], { ...p.attrs, dtype: store }), p.type.dtype);
    },
    cache_update: (n) => {
      if (done.has(n)) return undefined;
      const [state, values, past] = n.args;
      const inner = stored(state);
      const update = make(
        'cache_update',
        [inner ?? state, inner ? castTo(values, store) : values, slot(spec, past)],
        n.attrs,
      );
      done.add(update);
      return castTo(update, n.type.dtype);
    },
    cache_read: (n) => {
      const inner = stored(n.args[0]);
      return inner && castTo(make('cache_read', [inner], n.attrs), n.type.dtype);
    },
  });
  const updates = [...placed.updates].map(([state, value]): [Node<'param'>, Node] => [
    state,
    value.type.dtype === state.type.dtype ? value : (stored(value) ?? castTo(value, state.type.dtype)),
  ]);
  return { ...placed, updates: new Map(updates) };
}
