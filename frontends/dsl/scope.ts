// Where in a model a computation stands: the path of the module whose method runs. Nodes remember it, and errors name it, with
// the weights and inputs that they are about.
import { ModelcError } from '../../ir/error.ts';
import { isOp, type Node, type OpName, setOrigin, typeText } from '../../ir/node.ts';

/** Path of the module whose method is running; nodes made meanwhile remember it as their origin. */
let scope = '';

/** Remembers where a node was made. */
export function mark(node: Node): void {
  if (scope !== '') setOrigin(node, scope);
}

/** Errors whose message names a module already. */
const located = new WeakSet<ModelcError>();

/**
 * Runs `body` with `path` as the origin of the nodes that it makes; '' leaves that of the caller. Errors of typing and of
 * arguments name the innermost path, or where there is none `name`.
 */
export function withScope<T>(path: string, name: string, body: () => T): T {
  const outer = scope;
  scope = path === '' ? outer : path;
  try {
    return body();
  } catch (error) {
    const isOurs = error instanceof ModelcError && (error.code === 'type' || error.code === 'input');
    if (!isOurs || located.has(error)) throw error;
    const placed = new ModelcError(error.code, `${scope || name}: ${error.message}`, { cause: error });
    located.add(placed);
    throw placed;
  } finally {
    scope = outer;
  }
}

/** The param that a tensor shows in another form: cast, moved or cut. */
export function paramOf(node: Node): Node<'param'> | undefined {
  if (isOp(node, 'param')) return node;
  return node.args.length === 1 ? paramOf(node.args[0]) : undefined;
}

/** A tensor as a message names it: its type, and the weight or input that it shows. */
export function described({ node }: { readonly node: Node }): string {
  const param = paramOf(node);
  const { kind, name } = param?.attrs ?? {};
  return name === undefined ? typeText(node.type) : `the ${kind} ${name} ${typeText(node.type)}`;
}

/** Names of ops as authors of models know them. */
const opWords: Readonly<Partial<Record<OpName, string>>> = {
  dot_general: 'a product',
  select: 'where()',
  transpose: 'permute()',
  broadcast: 'broadcastTo()',
  top_k: 'topK()',
};

export const wordOf = (name: OpName): string => opWords[name] ?? name;

/** A violated constraint of an op, with what it was applied to and the numbered constraint behind it. */
export function explained(error: unknown, name: OpName, args: readonly { readonly node: Node }[]): unknown {
  const rule = error instanceof ModelcError ? /^\w+ \((C\d+)\): ([\s\S]*)$/.exec(error.message) : null;
  if (!rule) return error;
  const [, constraint, sentence] = rule;
  const operands = args.length > 0 ? ` of ${args.map(described).join(', ')}` : '';
  return new ModelcError('type', `${sentence}, in ${wordOf(name)}${operands} (${name} ${constraint})`, {
    cause: error,
  });
}
