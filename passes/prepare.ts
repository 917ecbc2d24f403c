// What is computed once, before all runs: values of weights alone that a `mark {prepare: true}` stands over. Each is cut
// out of the graph as a small graph of its own, from stored weights to one result, and the value becomes a derived
// weight: a param that whoever binds weights makes by running that graph. The name of a derived weight comes from its
// graph, so that entries and programs that ask for the same value share it; nobody reads anything out of the name.
import { dimConst } from '../ir/dim.ts';
import { ModelcError } from '../ir/error.ts';
import { type Graph, topologicalOrder } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import { isOp, type Node } from '../ir/node.ts';
import { substitute, transform, withArgs } from '../ir/rewrite.ts';
import { printGraph } from '../ir/text.ts';

/** The only result of a graph that makes a weight. */
export const preparedResult = 'weight';

/** `x`, to be computed before all runs. */
export const prepared = (x: Node): Node => make('mark', [x], { prepare: true });

/** Whether `n` is a value that is to be computed before all runs. */
export const isPrepared = (n: Node): n is Node<'mark'> => isOp(n, 'mark') && n.attrs.prepare === true;

/** Whether runs find the value of `n` in memory, unchanged: a stored weight, or one that is prepared. */
export const isWeight = (n: Node): boolean => (isOp(n, 'param') ? n.attrs.kind === 'weight' : isPrepared(n));

/** What is prepared where `n` is a prepared value, else `n`. */
export const unprepared = (n: Node): Node => (isPrepared(n) ? n.args[0] : n);

/** A graph over weights, stored and derived, and the graphs that make the derived ones, by name. */
export interface Prepared {
  readonly graph: Graph;
  readonly prepare: ReadonlyMap<string, Graph>;
}

/**
 * Cuts a graph at what is to be prepared; `before`: graphs that make weights of it already. A marked value that reads more
 * than weights, such as a parameter that is trained, is computed in every run. Throws ModelcError 'type' where a derived
 * weight has no fixed shape.
 */
export function cutPrepared(graph: Graph, before: Prepared['prepare'] = new Map()): Prepared {
  const prepare = new Map(before);
  const cut = transform(graph, (node, args) => {
    if (!isPrepared(node)) return withArgs(node, args);
    const value = inStored(node, before);
    if (isOp(value, 'param')) return value;
    const params = topologicalOrder([value]).filter((n): n is Node<'param'> => isOp(n, 'param'));
    if (params.length === 0 || params.some((p) => p.attrs.kind !== 'weight')) return args[0];
    const { dtype, shape } = value.type;
    if (shape.some((d) => dimConst(d) === undefined)) {
      throw new ModelcError('type', `the weight made of ${params[0].attrs.name} must have a fixed shape`);
    }
    const making: Graph = { name: 'prepare', params, results: new Map([[preparedResult, value]]), updates: new Map() };
    const name = `${params[0].attrs.name}#${digestOf(printGraph(making))}`;
    prepare.set(name, making);
    return make('param', [], { name, kind: 'weight', dtype, shape });
  });
  const used = new Set(cut.params.map((p) => p.attrs.name));
  return { graph: cut, prepare: new Map([...prepare].filter(([name]) => used.has(name))) };
}

/** The inverse of cutPrepared: what derived weights are made of stands in the graph again. */
export function uncut({ graph, prepare }: Prepared): Graph {
  const derived = graph.params.filter((p) => prepare.has(p.attrs.name));
  return substitute(graph, new Map(derived.map((p) => [p, prepared(inStored(p, prepare))])));
}

/** `n`, made of stored weights: without marks, and with what makes derived weights in their place. */
export function inStored(n: Node, prepare: Prepared['prepare']): Node {
  const image = new Map<Node, Node>();
  for (const node of topologicalOrder([n])) {
    const args = node.args.map((a) => image.get(a)!);
    const making = isOp(node, 'param') ? prepare.get(node.attrs.name) : undefined;
    image.set(node, making?.results.get(preparedResult) ?? (isPrepared(node) ? args[0] : withArgs(node, args)));
  }
  return image.get(n)!;
}

/** 64 bits of a text: tells graphs apart in names. */
function digestOf(text: string): string {
  let [a, b] = [0x9e3779b9, 0x85ebca6b];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 0x01000193);
    b = Math.imul(b ^ c ^ (a >>> 15), 0x5bd1e995);
  }
  const hex = (h: number): string => (Math.imul(h ^ (h >>> 16), 0x45d9f3b) >>> 0).toString(16).padStart(8, '0');
  return `${hex(a)}${hex(b)}`;
}
