// A seeded generator of random well-typed graphs, for differential tests: the same seed gives the same graph and inputs
// on every machine. A pool of values grows by random productions, each of which applies an op or a small idiom to values
// of the pool or to fresh inputs.
//
// Two things are tracked so that two correct implementations agree closely on every graph:
// - `bound`, an upper bound of absolute values: large values are squashed, so nothing overflows, f16 included;
// - `exact`, whether every implementation computes the very same bits (inputs, views, integers): only exact values meet
//   discontinuous ops (floor, compare, sort, casts to integers), which would turn a rounding difference into a jump.
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import type { Node } from '../../ir/node.ts';
import type { DimEnv } from '../../ir/ops/op.ts';
import { Builder } from './random-builder.ts';
import { modelProductions } from './random-model-productions.ts';
import { basicProductions } from './random-productions.ts';

export interface RandomGraph {
  readonly seed: number;
  readonly graph: Graph;
  /** In order of graph.params. */
  readonly inputs: readonly NdArray[];
  readonly dims: DimEnv;
}

/** The graph of a seed. */
export function randomGraph(seed: number): RandomGraph {
  const b = new Builder(seed);
  b.keep(b.fresh(b.float(), b.shape()));
  const steps = b.integer(3, 30);
  for (let made = 0, tries = 0; made < steps && tries < 20 * steps; tries++) {
    const value = b.pick([...basicProductions, ...modelProductions])(b);
    if (!value || !b.fits(value.node.type.shape)) continue;
    b.keep(b.tame(value));
    made++;
  }
  const computed = b.pool.filter((v) => v.node.op !== 'param');
  const chosen = new Set<Node>();
  if (computed.length > 0) chosen.add(computed[computed.length - 1].node);
  for (let i = b.integer(0, 3); i > 0 && computed.length > 0; i--) chosen.add(b.pick(computed).node);
  if (chosen.size === 0) chosen.add(make('neg', [b.chooseFloat().node], {}));
  const results = new Map([...chosen].map((node, i) => [`y${i}`, node]));
  return {
    seed,
    graph: { name: `random${seed}`, params: b.params, results, updates: new Map() },
    inputs: b.inputs,
    dims: b.env,
  };
}
