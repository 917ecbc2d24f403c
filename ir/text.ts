// Text of every level. A graph prints one node a line in topological order, with every attribute and type, and
// frontends/text reads it back to the same interned nodes; kernels, regions and programs print for people only.
// Numbering follows the structure alone, so equal graphs print equal text.
import type { Dim } from './dim.ts';
import { dimText } from './dim.ts';
import { ModelcError } from './error.ts';
import type { Graph } from './graph.ts';
import { dimVars, roots, topologicalOrder } from './graph.ts';
import type { Node } from './node.ts';
import { originOf, typeText } from './node.ts';
import { nameText, nodeNames, numberText, quote, roleText } from './text/names.ts';
import type { AttrKind } from './text/schema.ts';
import { attrKinds } from './text/schema.ts';

export { printKernel } from './text/loop.ts';
export { printProgram, printRegions } from './text/plan.ts';

/** One attribute as its kind is written. */
function attrText(kind: AttrKind, value: unknown): string {
  if (typeof kind === 'string') {
    switch (kind) {
      case 'number':
      case 'integer':
        return numberText(value as number);
      case 'boolean':
      case 'dtype':
        return String(value);
      case 'string':
        return quote(value as string);
      case 'dim':
        return dimText(value as Dim);
      default:
        return kind satisfies never;
    }
  }
  if ('oneOf' in kind) return String(value);
  if ('list' in kind) return `[${(value as unknown[]).map((v) => attrText(kind.list, v)).join(', ')}]`;
  if ('fields' in kind) return fieldsText(kind.fields, value as Record<string, unknown>);
  if ('optional' in kind) return attrText(kind.optional, value);
  const fitting = kind.either.find((k) => fits(k, value));
  if (!fitting) throw new ModelcError('type', `attribute value ${String(value)} has no written form`);
  return attrText(fitting, value);
}

/** Which alternative of an `either` a value takes. */
function fits(kind: AttrKind, value: unknown): boolean {
  if (kind === 'number' || kind === 'integer') return typeof value === 'number';
  if (typeof kind === 'object' && 'oneOf' in kind) return kind.oneOf.includes(value as string | number);
  return typeof kind === 'object' && 'list' in kind && Array.isArray(value);
}

function fieldsText(kinds: Readonly<Record<string, AttrKind>>, value: Readonly<Record<string, unknown>>): string {
  const parts = Object.entries(kinds)
    .filter(([key]) => value[key] !== undefined)
    .map(([key, kind]) => `${key}: ${attrText(kind, value[key])}`);
  return parts.length > 0 ? `{${parts.join(', ')}}` : '';
}

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
      const attrs = fieldsText(attrKinds(n.op), n.attrs as Readonly<Record<string, unknown>>);
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
