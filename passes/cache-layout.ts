// Decides how caches live in memory. A model says only `cache_update(state, values, past)` and `cache_read(state)`, and
// roles say which states are caches; a CacheSpec is a row that says how many positions there is room for, and the type
// that is stored. Position p is in slot p. Without a capacity the dim of the positions stays free, and the runtime makes
// more room as they grow. A narrower `store` type puts casts around what is written and read.
import type { DimVar } from '../ir/dim.ts';
import type { DType } from '../ir/dtype.ts';
import { isFloat } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import type { Graph } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import type { Node } from '../ir/node.ts';
import { isOp } from '../ir/node.ts';
import { rewrite } from '../ir/rewrite.ts';
import { bindDims } from './bind.ts';
import type { TargetlessPass } from './pass.ts';

export interface CacheSpec {
  /** Positions that there is room for, always; undefined: the runtime chooses, and may make more room. */
  readonly capacity?: number;
  /** The type that keys and values are stored in. */
  readonly store: DType;
}

/** Throws ModelcError 'input' on a type that caches cannot have, or a capacity outside the bounds of the dim. */
export function cacheLayout(spec: CacheSpec): TargetlessPass {
  if (!isFloat(spec.store)) {
    throw new ModelcError('input', `a cache cannot be stored as ${spec.store}; choose f32, f16 or bf16`);
  }
  return {
    name: 'cache-layout',
    run: (graph) => {
      const placed = place(graph, spec);
      const { capacity } = spec;
      if (capacity === undefined) return placed;
      return bindDims(placed, Object.fromEntries(roomsOf(graph).map(({ name }) => [name, capacity])));
    },
  };
}

/** The state at the bottom of a chain of updates. */
function stateOf(node: Node): Node {
  let n = node;
  while (isOp(n, 'cache_update')) n = n.args[0];
  return n;
}

/** Keys and values of a graph that are updated in place, or not at all. */
function cachesOf(graph: Graph): Set<Node> {
  const isCache = (state: Node<'param'>): boolean => {
    if (state.attrs.role?.kind !== 'kv' || !isFloat(state.type.dtype)) return false;
    const value = graph.updates.get(state);
    return value === undefined || stateOf(value) === state;
  };
  return new Set(graph.params.filter(isCache));
}

/** The dims of positions of a graph's caches and their mask, where they are not numbers yet. */
const roomsOf = (graph: Graph): DimVar[] =>
  graph.params.flatMap(({ attrs: { role, shape } }) =>
    role?.kind === 'kv' || role?.kind === 'mask' ? [...shape[role.positions].vars.values()] : [],
  );

/**
 * Changes the stored type. A cache becomes `cast(stored state)`; the cast then moves up
 * through updates and reads, past which it is a conversion of values alone.
 */
function place(graph: Graph, spec: CacheSpec): Graph {
  const caches = cachesOf(graph);
  const { store } = spec;
  const stored = (n: Node): Node | undefined =>
    isOp(n, 'cast') && stateOf(n.args[0]).op === 'param' && n.args[0].type.dtype === store ? n.args[0] : undefined;
  const castTo = (n: Node, dtype: DType): Node => (n.type.dtype === dtype ? n : make('cast', [n], { dtype }));
  const placed = rewrite(graph, {
    param: (p) => {
      if (!caches.has(p) || p.type.dtype === store) return undefined;
      return castTo(make('param', [], { ...p.attrs, dtype: store }), p.type.dtype);
    },
    cache_update: (n) => {
      const [state, values, past] = n.args;
      const inner = stored(state);
      if (!inner) return undefined;
      const update = make('cache_update', [inner, castTo(values, store), past], n.attrs);
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
