// The verifier of the graph level: what every pass and frontend must hand on. Types are inferred again from the ops'
// own rules and compared, so a node that was not built by `make`, or outlived a change of the rules, is found.
import type { DimVar } from './dim.ts';
import { shapeEquals } from './dim.ts';
import { ModelcError } from './error.ts';
import { type Graph, roots, topologicalOrder, usersOf } from './graph.ts';
import { dimVarsOf, isOp, type Node, typeText } from './node.ts';
import { opNames, opOf } from './ops/index.ts';

/** Nodes whose types were found right: they are immutable, so once is enough. */
const sound = new WeakSet<Node>();

/** Throws ModelcError 'type' with the first thing that is wrong with a graph. */
export function verify(graph: Graph): void {
  const fail = (why: string): never => {
    throw new ModelcError('type', `graph ${graph.name}: ${why}`);
  };
  const order = topologicalOrder(roots(graph));
  const bounds = new Map<string, DimVar>();

  for (const node of [...graph.params, ...order]) {
    if (!sound.has(node)) {
      if (!opNames.includes(node.op)) fail(`there is no op '${node.op}'`);
      const type = opOf(node.op).infer(
        node.args.map((a) => a.type),
        node.attrs,
      );
      if (type.dtype !== node.type.dtype || !shapeEquals(type.shape, node.type.shape)) {
        fail(`${node.op} is declared ${typeText(node.type)}, but its arguments give ${typeText(type)}`);
      }
      sound.add(node);
    }
    for (const v of dimVarsOf(node)) {
      const known = bounds.get(v.name);
      if (known && (known.min !== v.min || known.max !== v.max)) {
        fail(`dimension ${v.name} is declared in ${known.min}..${known.max} and in ${v.min}..${v.max}`);
      }
      bounds.set(v.name, v);
    }
  }

  const params = new Set<Node>(graph.params);
  const names = new Set<string>();
  for (const param of graph.params) {
    if (names.has(param.attrs.name)) fail(`two params are named '${param.attrs.name}'`);
    names.add(param.attrs.name);
  }
  for (const node of order) {
    if (isOp(node, 'param') && !params.has(node)) fail(`param '${node.attrs.name}' is used but not declared`);
  }

  if (roots(graph).length === 0) fail('there is neither a result nor an update');
  for (const [param, value] of graph.updates) {
    const { name, kind } = param.attrs;
    if (!params.has(param)) fail(`the update of param '${name}' is of a param that is not declared`);
    if (kind !== 'state') fail(`param '${name}' has an update, but it is of kind ${kind}`);
    if (value.type.dtype !== param.type.dtype || !shapeEquals(value.type.shape, param.type.shape)) {
      fail(`param '${name}' is ${typeText(param.type)}, but its update is ${typeText(value.type)}`);
    }
  }
}

/**
 * Whether the update of a state param may overwrite it: from the param to its update runs one chain of ops that
 * replace a part of their first argument, and nothing else reads the param or the chain before its end.
 */
export function updateIsInPlace(graph: Graph, param: Node<'param'>): boolean {
  const end = graph.updates.get(param);
  if (!end) return false;
  const results = new Set(graph.results.values());
  const users = usersOf(topologicalOrder(roots(graph)));
  let at: Node = param;
  while (at !== end) {
    const readers: readonly Node[] = users.get(at) ?? [];
    if (readers.length !== 1 || results.has(at)) return false;
    const [next] = readers;
    if ((!isOp(next, 'cache_update') && !isOp(next, 'dynamic_update_slice')) || next.args[0] !== at) return false;
    at = next;
  }
  return true;
}
