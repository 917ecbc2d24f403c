// The textual IR: text to Graph. grammar.ts finds the structure; this file gives it meaning, node by node: names are
// looked up, attributes are read as their kinds say, and `make` infers each type, which a written type must match.
import type { IToken } from 'chevrotain';
import type { Dim } from '../../ir/dim.ts';
import { dimVar, shapeEquals } from '../../ir/dim.ts';
import { dtypes, isDType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Graph } from '../../ir/graph.ts';
import { make } from '../../ir/make.ts';
import type { Node, OpName, TensorType } from '../../ir/node.ts';
import { isOp, typeText } from '../../ir/node.ts';
import type { Attrs } from '../../ir/ops/attrs.ts';
import { attrKinds } from '../../ir/ops/attrs.ts';
import { AttrReader } from './attributes.ts';
import type { GraphSyntax, TypeSyntax } from './grammar.ts';
import { parseSyntax } from './grammar.ts';
import { excerpt, parseError, positionOf, Text } from './lexer.ts';

const paramKinds = ['input', 'weight', 'state', 'constant'] as const;
type ParamKind = (typeof paramKinds)[number];
const isParamKind = (text: string): text is ParamKind => (paramKinds as readonly string[]).includes(text);

/**
 * Reads a graph. Throws ModelcError 'parse', with file, line and column, when the text does not follow the grammar, names
 * something unknown or twice, or when a node is ill-typed or its written type is not the inferred one.
 */
export function parseGraph(text: string, file = 'text'): Graph {
  const syntax = parseSyntax(text, file);
  const fail = (at: IToken, message: string): never => {
    throw parseError(file, positionOf(at), message);
  };
  /** Runs a check of the IR; its complaint gets a place. */
  const located = <T>(at: IToken, run: () => T): T => {
    try {
      return run();
    } catch (error) {
      if (error instanceof ModelcError && error.code !== 'parse') return fail(at, error.message);
      throw error;
    }
  };

  const dims = readDims(syntax, fail, located);
  const reader = new AttrReader(file, dims);
  const nameOf = (at: IToken): string => (at.tokenType === Text ? reader.text(at) : at.image);
  const readType = (type: TypeSyntax): TensorType => ({
    dtype: isDType(type.dtype.image)
      ? type.dtype.image
      : fail(type.dtype, `expected a type (${dtypes.join(', ')}), found '${excerpt(type.dtype.image)}'`),
    shape: type.shape.map((d) => reader.dim(d)),
  });

  const values = new Map<string, Node>();
  const define = (at: IToken, node: Node): void => {
    if (values.has(at.image)) fail(at, `${excerpt(at.image)} is defined twice`);
    values.set(at.image, node);
  };
  const lookUp = (at: IToken): Node => values.get(at.image) ?? fail(at, `${excerpt(at.image)} is not defined above`);

  const params = syntax.params.map((p) => readParam(p));
  const names = new Set<string>();
  params.forEach((p, i) => {
    const { label, value } = syntax.params[i];
    if (names.has(p.attrs.name)) fail(label ?? value, `a param called '${excerpt(p.attrs.name)}' exists already`);
    names.add(p.attrs.name);
    define(value, p);
  });
  for (const statement of syntax.statements) define(statement.value, readNode(statement));

  const results = new Map<string, Node>();
  for (const r of syntax.results) {
    const name = nameOf(r.name);
    if (results.has(name)) fail(r.name, `result '${excerpt(name)}' is returned twice`);
    results.set(name, lookUp(r.value));
  }
  const updates = new Map<Node<'param'>, Node>();
  for (const u of syntax.updates) {
    const state = lookUp(u.state);
    if (!isOp(state, 'param') || state.attrs.kind !== 'state') return fail(u.state, `${u.state.image} is not a state`);
    if (updates.has(state)) fail(u.state, `${u.state.image} is updated twice`);
    const value = lookUp(u.value);
    requireType(u.value, value, state.type, `state ${u.state.image}`);
    updates.set(state, value);
  }
  return { name: nameOf(syntax.name), params, results, updates };

  function readParam(p: GraphSyntax['params'][number]): Node<'param'> {
    const kind = isParamKind(p.kind.image)
      ? p.kind.image
      : fail(p.kind, `expected a kind of param (${paramKinds.join(', ')}), found '${excerpt(p.kind.image)}'`);
    const name = p.label ? reader.text(p.label) : p.value.image.slice(1);
    const { dtype, shape } = readType(p.type);
    const role = p.role && reader.role(p.role);
    return located(p.value, () => make('param', [], { name, kind, dtype, shape, ...(role && { role }) }));
  }

  function readNode(s: GraphSyntax['statements'][number]): Node {
    const op = s.op.image;
    if (!isOpName(op)) return fail(s.op, `there is no op called '${excerpt(op)}'`);
    if (op === 'param') return fail(s.op, 'params are declared in the parentheses after the name of the graph');
    const args = s.args.map(lookUp);
    const attrs = reader.attrs(op, s.attrs, s.op) as Attrs[OpName];
    const node = located(s.op, () => make(op, args, attrs));
    if (s.type) requireType(s.type.dtype, node, readType(s.type), 'the text');
    return node;
  }

  function requireType(at: IToken, node: Node, wanted: TensorType, whose: string): void {
    if (node.type.dtype !== wanted.dtype || !shapeEquals(node.type.shape, wanted.shape)) {
      fail(at, `the value has type ${typeText(node.type)} but ${whose} says ${typeText(wanted)}`);
    }
  }
}

const isOpName = (name: string): name is OpName => Object.hasOwn(attrKinds, name);

/** The declared dim variables. */
function readDims(
  syntax: GraphSyntax,
  fail: (at: IToken, message: string) => never,
  located: <T>(at: IToken, run: () => T) => T,
): Map<string, Dim> {
  const dims = new Map<string, Dim>();
  for (const d of syntax.dims) {
    if (dims.has(d.name.image)) fail(d.name, `dimension ${excerpt(d.name.image)} is declared twice`);
    dims.set(
      d.name.image,
      located(d.name, () => dimVar(d.name.image, Number(d.min.image), Number(d.max.image))),
    );
  }
  return dims;
}
