// The constructor of nodes.
import { attrText, type Node, type OpName } from './node.ts';
import type { Attrs } from './ops/attrs.ts';
import { ops } from './ops/index.ts';

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
