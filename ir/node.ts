// Node: what graphs are made of. Immutable, typed, and equal when it is the same object, for make.ts interns nodes.
import type { Dim, DimVar } from './dim.ts';
import { dimText, shapeText } from './dim.ts';
import type { DType } from './dtype.ts';
import type { Attrs } from './ops/attrs.ts';

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

export function isOp<O extends OpName>(node: Node, op: O): node is Node<O> {
  return node.op === (op as OpName);
}

export const isDim = (v: unknown): v is Dim => typeof v === 'object' && v !== null && 'terms' in v && 'vars' in v;

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

/** Layer names and source locations live beside the nodes, so that they never block sharing. */
const origins = new WeakMap<Node, string>();
export const originOf = (n: Node): string | undefined => origins.get(n);
export function setOrigin(n: Node, origin: string): void {
  if (!origins.has(n)) origins.set(n, origin);
}
