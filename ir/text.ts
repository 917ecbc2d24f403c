// Text of every level. A graph prints one node a line in topological order, with every attribute and type, and
// frontends/text reads it back to the same interned nodes; kernels, regions and programs print for people only.
// Numbering follows the structure alone, so equal graphs print equal text.
import type { Graph } from './graph.ts';
import { dimVars, roots, topologicalOrder } from './graph.ts';
import type { Node } from './node.ts';
import { originOf, typeText } from './node.ts';
import { kindsOf } from './ops/attrs.ts';
import { fieldsText, roleText } from './text/attributes.ts';
import { nameText, nodeNames, quote } from './text/names.ts';

export { printKernel } from './text/loop.ts';
export { printProgram, printRegions } from './text/plan.ts';

export interface PrintOptions {
  /** Ends each line with the layer that the node came from, as a comment. */
  readonly origins?: boolean;
}

/** The canonical text of a graph. */
export function printGraph(graph: Graph, options: PrintOptions = {}): string {
  const order = topologicalOrder(roots(graph));
  const names = nodeNames(graph);
  const nameOf = (node: Node): string => names.get(node) ?? '%?'; // only an ill-formed graph prints '%?'
  const params = graph.params.map((p) => {
    const label = nameOf(p) === `%${p.attrs.name}` ? '' : ` ${quote(p.attrs.name)}`;
    const role = p.attrs.role ? `${roleText(p.attrs.role)} ` : '';
    return `  ${nameOf(p)}${label}: ${p.attrs.kind} ${role}${typeText(p.type)}`;
  });
  const dims = [...dimVars(graph).values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((v) => `${v.name} in ${v.min}..${v.max}`);
  const listed = new Set<Node>(graph.params);
  const body = order
    .filter((n) => !listed.has(n))
    .map((n) => {
      const attrs = fieldsText(kindsOf(n.op), n.attrs as Readonly<Record<string, unknown>>);
      const origin = options.origins ? originOf(n) : undefined;
      const comment = origin === undefined ? '' : ` // ${quote(origin).slice(1, -1)}`;
      const args = n.args.map(nameOf).join(', ');
      return `  ${nameOf(n)} = ${n.op}(${args})${attrs && ` ${attrs}`} : ${typeText(n.type)}${comment}`;
    });
  const results = [...graph.results].map(([name, n]) => `${nameText(name)} = ${nameOf(n)}`);
  const updates = [...graph.updates].map(([p, n]) => `  update ${nameOf(p)} = ${nameOf(n)}`);
  return [
    `graph ${nameText(graph.name)}(${params.length > 0 ? `\n${params.join(',\n')}\n` : ''})${
      dims.length > 0 ? ` where ${dims.join(', ')}` : ''
    } {`,
    ...body,
    `  return${results.length > 0 ? ` ${results.join(', ')}` : ''}`,
    ...updates,
    '}',
    '',
  ].join('\n');
}
