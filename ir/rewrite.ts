// The one rewrite driver. `rewrite` walks a graph bottom-up: a node's arguments are rewritten first, the node is rebuilt
// over them, and the rule of its op is applied; a replacement is rewritten in turn, until no rule matches. Results are
// memoised per node, the walk keeps its own stack (graphs are deep), and a rule set that never comes to rest is an error.
import type { Dim } from './dim.ts';
import { shapeEquals } from './dim.ts';
import { ModelcError } from './error.ts';
import type { Graph } from './graph.ts';
import { roots, topologicalOrder } from './graph.ts';
import { make } from './make.ts';
import type { Node, OpName } from './node.ts';
import { isDim, isOp, originOf, setOrigin, typeText } from './node.ts';
import type { Attrs } from './ops/attrs.ts';

/** Per op, a function that returns an equivalent node of the same type, or undefined to leave the node alone. */
export type Rules = { readonly [O in OpName]?: (node: Node<O>) => Node | undefined };

/** Replacements within replacements; a rule set that needs more does not converge. */
const maxFirings = 10_000;

interface Frame {
  readonly node: Node;
  /** Rule applications that led to this node. */
  readonly firings: number;
  /** Origin of the node that a rule replaced; new nodes inherit it. */
  readonly origin: string | undefined;
  nextArg: number;
  /** The node over rewritten arguments, and what a rule made of it: set once the arguments are done. */
  rebuilt?: Node;
  replacement?: Node;
}

/**
 * Applies `rules` everywhere until none matches. Params stay in order; those that only new nodes name are appended, and
 * weights and constants that the rewrite left without a user are dropped. A rule may replace a state param by an
 * expression over one new param, which then receives the update.
 * Throws ModelcError 'type' when a rule changes a type or when rewriting does not end.
 */
export function rewrite(graph: Graph, rules: Rules): Graph {
  const ruleOf = rules as { readonly [op: string]: ((node: Node) => Node | undefined) | undefined };
  const image = new Map<Node, Node>();
  const open = new Set<Node>(); // being rewritten: meeting one again means going in circles
  const stack: Frame[] = [];

  const enter = (node: Node, firings: number, origin: string | undefined): void => {
    if (open.has(node)) throw endless(node);
    open.add(node);
    stack.push({ node, firings, origin, nextArg: 0 });
  };
  const leave = (frame: Frame, result: Node): void => {
    for (const n of [frame.node, frame.rebuilt ?? frame.node]) {
      image.set(n, result);
      open.delete(n);
    }
    stack.pop();
  };
  /** Enters the next argument that is not rewritten yet; false when there is none. */
  const enterArg = (frame: Frame): boolean => {
    const { args } = frame.node;
    while (frame.nextArg < args.length && image.has(args[frame.nextArg])) frame.nextArg++;
    if (frame.nextArg === args.length) return false;
    enter(args[frame.nextArg], frame.firings, frame.origin);
    return true;
  };
  /** Rebuilds a node over its rewritten arguments and applies its rule; undefined when a replacement was entered. */
  const apply = (frame: Frame): Node | undefined => {
    const { node, firings, origin } = frame;
    const args = node.args.map((a) => image.get(a)!);
    const rebuilt = withArgs(node, args);
    const from = originOf(node) ?? origin;
    if (from !== undefined) setOrigin(rebuilt, from);
    if (rebuilt !== node) {
      const known = image.get(rebuilt);
      if (known) return known;
      if (open.has(rebuilt)) throw endless(rebuilt);
      open.add(rebuilt);
    }
    frame.rebuilt = rebuilt;
    const replacement = ruleOf[rebuilt.op]?.(rebuilt);
    if (!replacement || replacement === rebuilt) return rebuilt;
    if (replacement.type.dtype !== rebuilt.type.dtype || !shapeEquals(replacement.type.shape, rebuilt.type.shape)) {
      throw new ModelcError(
        'type',
        `the rule for ${rebuilt.op} replaces a value of type ${typeText(rebuilt.type)} by ${typeText(replacement.type)}`,
      );
    }
    const known = image.get(replacement);
    if (known) return known;
    if (firings === maxFirings) throw endless(rebuilt);
    frame.replacement = replacement;
    enter(replacement, firings + 1, from);
    return undefined;
  };

  for (const root of [...graph.params, ...roots(graph)]) {
    if (!image.has(root)) enter(root, 0, undefined);
    while (stack.length > 0) {
      const frame = stack[stack.length - 1];
      if (enterArg(frame)) continue;
      const result = frame.replacement ? image.get(frame.replacement) : apply(frame);
      if (result) leave(frame, result);
    }
  }
  return rebuild(graph, image);
}

const endless = (node: Node): ModelcError =>
  new ModelcError('type', `rewriting does not end: the rule for ${node.op} matches what it leads to`);

/** `graph` with every node of `map` replaced by what it maps to, which is taken as it is. Types may change. */
export function substitute(graph: Graph, map: ReadonlyMap<Node, Node>): Graph {
  return transform(graph, (node, args) => map.get(node) ?? withArgs(node, args));
}

/** Rebuilds a graph node by node, arguments first: `build` gets each old node and its new arguments. */
export function transform(graph: Graph, build: (node: Node, args: readonly Node[]) => Node): Graph {
  const image = new Map<Node, Node>();
  for (const node of topologicalOrder([...graph.params, ...roots(graph)])) {
    const built = build(
      node,
      node.args.map((a) => image.get(a)!),
    );
    const origin = originOf(node);
    if (origin !== undefined) setOrigin(built, origin);
    image.set(node, built);
  }
  return rebuild(graph, image);
}

/** The same operation over other arguments. */
export function withArgs(node: Node, args: readonly Node[]): Node {
  return args.every((a, i) => a === node.args[i]) ? node : make(node.op, args, node.attrs);
}

/** Attributes with every dim in them replaced. */
export function mapDims<O extends OpName>(attrs: Attrs[O], f: (d: Dim) => Dim): Attrs[O] {
  const walk = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    if (isDim(value)) return f(value);
    if (Array.isArray(value)) return value.map(walk);
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, walk(v)]));
  };
  return walk(attrs) as Attrs[O];
}

/** The graph over the images of its roots. */
function rebuild(graph: Graph, image: ReadonlyMap<Node, Node>): Graph {
  const results = new Map([...graph.results].map(([name, n]) => [name, image.get(n)!]));
  const updates = new Map<Node<'param'>, Node>();
  for (const [param, value] of graph.updates) {
    const states = paramsOf([image.get(param)!]);
    if (states.length !== 1 || updates.has(states[0])) {
      throw new ModelcError('type', `state ${param.attrs.name} must be replaced by an expression over one new state`);
    }
    updates.set(states[0], image.get(value)!);
  }
  const before = new Set(paramsOf(roots(graph)));
  const after = paramsOf([...results.values(), ...updates.values()]);
  const used = new Set(after);
  const params = new Set<Node<'param'>>();
  for (const p of graph.params) {
    for (const q of paramsOf([image.get(p)!])) {
      const isData = q.attrs.kind === 'weight' || q.attrs.kind === 'constant';
      if (used.has(q) || !isData || !before.has(p)) params.add(q);
    }
  }
  for (const q of after) params.add(q);
  return { name: graph.name, params: [...params], results, updates };
}

const paramsOf = (from: readonly Node[]): Node<'param'>[] =>
  topologicalOrder(from).filter((n): n is Node<'param'> => isOp(n, 'param'));
