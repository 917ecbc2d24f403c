// Specialises a graph: dim variables become constants everywhere, in the types of params and in attributes. Types are
// inferred anew, so what was symbolic (`past + seq`) folds as far as it can (`past + 1`).
import { dim, dimSubstitute } from '../ir/dim.ts';
import { ModelcError } from '../ir/error.ts';
import type { Graph } from '../ir/graph.ts';
import { dimVars } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import { mapDims, transform } from '../ir/rewrite.ts';
import type { TargetlessPass } from './pass.ts';

/** Throws ModelcError 'input' when a graph has no such dim, or a value is not an integer within its bounds. */
export function bind(values: Readonly<Record<string, number>>): TargetlessPass {
  return { name: 'bind', run: (graph) => bindDims(graph, values) };
}

export function bindDims(graph: Graph, values: Readonly<Record<string, number>>): Graph {
  const entries = Object.entries(values);
  if (entries.length === 0) return graph;
  const vars = dimVars(graph);
  for (const [name, value] of entries) {
    const v = vars.get(name);
    if (!v) {
      const known = [...vars.keys()].join(', ') || 'none';
      throw new ModelcError('input', `graph ${graph.name} has no dimension '${name}' to bind; it has: ${known}`);
    }
    if (!Number.isSafeInteger(value) || value < v.min || value > v.max) {
      throw new ModelcError(
        'input',
        `dimension ${name} cannot be ${value}: it must be an integer in ${v.min}..${v.max}`,
      );
    }
  }
  const constants = new Map(entries.map(([name, value]) => [name, dim(value)]));
  return transform(graph, (node, args) =>
    make(
      node.op,
      args,
      mapDims(node.attrs, (d) => dimSubstitute(d, constants)),
    ),
  );
}
