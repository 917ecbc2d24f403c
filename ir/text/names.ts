// What every printer shares: numbers that read back to the same bits, strings that cannot break out, names of nodes.
import type { Graph } from '../graph.ts';
import { roots, topologicalOrder } from '../graph.ts';
import type { Node } from '../node.ts';

/** A number that reads back exactly: NaN, Infinity and -0 included. */
export const numberText = (x: number): string => (Object.is(x, -0) ? '-0' : String(x));

/** A JSON string in printable ASCII: names come from outside and must not hide or end anything. */
export const quote = (text: string): string =>
  JSON.stringify(text).replace(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** Words of the grammar; names that equal one of them are quoted. */
export const keywords = ['graph', 'where', 'in', 'return', 'update'] as const;

/** A name as it is when it is an identifier, otherwise quoted. */
export const nameText = (name: string): string =>
  /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && !(keywords as readonly string[]).includes(name) ? name : quote(name);

/**
 * What each node is called: params by their own name with anything unusual replaced by '_', the others by number.
 * Names of the first kind start with a letter or '_' so the two never meet.
 */
export function nodeNames(graph: Graph): Map<Node, string> {
  const names = new Map<Node, string>();
  const taken = new Set<string>();
  for (const p of graph.params) {
    const base = p.attrs.name
      .slice(0, 80)
      .replace(/[^a-zA-Z0-9_]/g, '_')
      .replace(/^(?![a-zA-Z_])/, '_');
    let name = base;
    for (let i = 2; taken.has(name); i++) name = `${base}_${i}`;
    taken.add(name);
    names.set(p, `%${name}`);
  }
  let next = 0;
  for (const node of topologicalOrder(roots(graph))) if (!names.has(node)) names.set(node, `%${next++}`);
  return names;
}
