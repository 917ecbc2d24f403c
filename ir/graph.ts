// Node and Graph: a model as immutable, hash-consed, typed nodes of pure functions. State (caches, moments, RNG keys,
// weights being trained) is a `param` of kind 'state' with an entry in `updates`; whether an update happens in place is
// the planner's decision, never the author's.
import type { Dim, DimVar } from './dim.ts';
import { dimText, shapeText } from './dim.ts';
import type { DType } from './dtype.ts';
import { ModelcError } from './error.ts';
import type { Attrs } from './ops/attrs.ts';
import { ops } from './ops/index.ts';

export type OpName = keyof Attrs;

export interface TensorType {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

export interface Node<O extends OpName = OpName> {
  /** Creation order: unique in the process, used to break ties deterministically, never printed. */
  readonly id: number;
  readonly op: O;
  readonly args: readonly Node[];
  readonly attrs: Attrs[O];
  readonly type: TensorType;
}

export interface Graph {
  readonly name: string;
  /** In declaration order; the calling convention of the graph. */
  readonly params: readonly Node<'param'>[];
  readonly results: ReadonlyMap<string, Node>;
  /** New value of each state param after a run. */
  readonly updates: ReadonlyMap<Node<'param'>, Node>;
}

// Nodes are interned in a process-wide weak table: equal op, args and attrs give the same object, so a common
// subexpression is shared by construction, and a compilation that ends is collected.
const table = new Map<string, WeakRef<Node>>();
const collected = new FinalizationRegistry<string>((key) => {
  if (!table.get(key)?.deref()) table.delete(key);
});
let nextId = 1;

/** The one way to create a node: infers and checks its type, then interns it. Throws ModelcError 'type'. */
export function make<O extends OpName>(op: O, args: readonly Node[], attrs: Attrs[O]): Node<O> {
  const key = `${op}(${args.map((a) => a.id).join()})${attrText(attrs)}`;
  const known = table.get(key)?.deref();
  if (known) return known as Node<O>;
  const type = ops[op].infer(
    args.map((a) => a.type),
    attrs,
  );
  const node: Node<O> = Object.freeze({ id: nextId++, op, args: Object.freeze([...args]), attrs, type });
  table.set(key, new WeakRef(node));
  collected.register(node, key);
  return node;
}

export function isOp<O extends OpName>(node: Node, op: O): node is Node<O> {
  return node.op === (op as OpName);
}

export const isDim = (v: object): v is Dim => 'terms' in v && 'vars' in v;

/** The dims inside attributes. */
export function dimsIn(value: unknown): Dim[] {
  if (typeof value !== 'object' || value === null) return [];
  return isDim(value) ? [value] : Object.values(value).flatMap(dimsIn);
}

/** Canonical text of attributes: equal values give equal text. Dims carry their variables' bounds. */
export function attrText(value: unknown): string {
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'undefined';
  if (Array.isArray(value)) return `[${value.map(attrText).join()}]`;
  if (isDim(value)) return `${dimText(value)}{${[...value.vars.values()].map((v) => `${v.name}:${v.min}:${v.max}`)}}`;
  return `{${Object.entries(value)
    .filter(([, v]) => v !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${k}:${attrText(v)}`)
    .join()}}`;
}

export const typeText = (t: TensorType): string => `${t.dtype}${shapeText(t.shape)}`;

/** The roots of a graph: results, then updates, in order. */
export const roots = (g: Graph): Node[] => [...g.results.values(), ...g.updates.values()];

const noNodes: ReadonlySet<Node> = new Set();

/**
 * All nodes reachable from `from`, arguments before users, in depth-first order of arguments: the order depends on the
 * structure alone, so every process that builds the same graph schedules it alike. What is below `leaves` does not count.
 */
export function topologicalOrder(from: readonly Node[], leaves: ReadonlySet<Node> = noNodes): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const stack: { node: Node; next: number }[] = [];
  for (const root of from) {
    if (seen.has(root)) continue;
    seen.add(root);
    stack.push({ node: root, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.next < top.node.args.length && !leaves.has(top.node)) {
        const arg = top.node.args[top.next++];
        if (!seen.has(arg)) {
          seen.add(arg);
          stack.push({ node: arg, next: 0 });
        }
      } else {
        order.push(top.node);
        stack.pop();
      }
    }
  }
  return order;
}

/** Users of every node among `order` (a user appears once per use). */
export function usersOf(order: readonly Node[]): Map<Node, Node[]> {
  const users = new Map<Node, Node[]>(order.map((n) => [n, []]));
  for (const n of order) for (const a of n.args) users.get(a)?.push(n);
  return users;
}

const variables = new WeakMap<Node, readonly DimVar[]>();
/** The dim variables in the type and attributes of a node. */
export function dimVarsOf(node: Node): readonly DimVar[] {
  let known = variables.get(node);
  if (!known) {
    known = [...new Set([...node.type.shape, ...dimsIn(node.attrs)].flatMap((d) => [...d.vars.values()]))];
    variables.set(node, known);
  }
  return known;
}

/** All dim variables in the types and attributes of a graph, by name. A name with two different bounds is an error. */
export function dimVars(g: Graph): Map<string, DimVar> {
  const vars = new Map<string, DimVar>();
  for (const node of [...g.params, ...topologicalOrder(roots(g))]) {
    for (const v of dimVarsOf(node)) {
      const known = vars.get(v.name);
      if (known && (known.min !== v.min || known.max !== v.max)) {
        throw new ModelcError('type', `graph ${g.name} declares dimension ${v.name} with two different bounds`);
      }
      vars.set(v.name, v);
    }
  }
  return vars;
}

/** Layer names and source locations live beside the nodes, so that they never block sharing. */
const origins = new WeakMap<Node, string>();
export const originOf = (n: Node): string | undefined => origins.get(n);
export function setOrigin(n: Node, origin: string): void {
  if (!origins.has(n)) origins.set(n, origin);
}
