// What elementwise values are computed from: arrays that are read in memory. A value of one large array, however many
// operations lie between, costs as much to compute again as to read.
import { dimEquals, dimProduct } from '../../ir/dim.ts';
import type { Node } from '../../ir/node.ts';
import { isElementwise, keepsOrder } from '../../ir/region.ts';

/**
 * A function that gives the arrays as large as a node that it is computed from, element by element; of more than two, some.
 * `isStored` says of nodes whether they are in memory whatever they are computed from.
 */
export function sourceTable(isStored: (n: Node) => boolean): (n: Node) => ReadonlySet<Node> {
  const table = new Map<Node, ReadonlySet<Node>>();
  const sourcesOf = (n: Node): ReadonlySet<Node> => {
    const known = table.get(n);
    if (known) return known;
    const found = find(n);
    table.set(n, found);
    return found;
  };
  const find = (n: Node): ReadonlySet<Node> => {
    if (isStored(n)) return new Set([n]);
    if (n.op === 'broadcast') {
      const isSpread = !dimEquals(dimProduct(n.type.shape), dimProduct(n.args[0].type.shape));
      return isSpread ? new Set() : sourcesOf(n.args[0]);
    }
    if (isElementwise(n) || keepsOrder(n)) {
      let found: ReadonlySet<Node> = new Set();
      for (const a of n.args) if (found.size <= 1) found = new Set([...found, ...sourcesOf(a)]);
      return found;
    }
    // random bits follow from a key
    return n.args.length === 0 || n.op === 'rng_bits' ? new Set() : new Set([n]);
  };
  return sourcesOf;
}
