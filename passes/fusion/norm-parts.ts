// Which nodes are parts of a norm: what every reader of a norm computes anew, instead of reading it from memory. A norm
// goes down to a reduction over its rows through views, and through elementwise nodes that compute with one array: with
// the array itself and what is spread over it, a row's mean or a scale. A sum of two arrays is none, whatever norms lie
// below: the residual of norms behind a layer goes on from layer to layer, and would be computed from all of them.
import { dimEquals, dimProduct } from '../../ir/dim.ts';
import type { Node } from '../../ir/node.ts';
import { isElementwise, isFree, isRowReduction } from '../../ir/region.ts';

export interface NormParts {
  /** Whether a node is in memory whatever it is computed from. */
  readonly isStored: (n: Node) => boolean;
  /** Whether a node follows from weights and constants alone. */
  readonly isFixed: (n: Node) => boolean;
}

/** A function that says of nodes whether they are parts of a norm. */
export function normParts({ isStored, isFixed }: NormParts): (n: Node) => boolean {
  const table = new Map<Node, boolean>();
  const isSpread = (n: Node): boolean => {
    if (isFixed(n)) return true;
    if (n.op === 'broadcast') return !dimEquals(dimProduct(n.type.shape), dimProduct(n.args[0].type.shape));
    return isElementwise(n) && n.args.every(isSpread);
  };
  const isPart = (n: Node): boolean => {
    let known = table.get(n);
    if (known === undefined) {
      const leads = (b: Node): boolean => isRowReduction(b) || ((isFree(b) || isElementwise(b)) && isPart(b));
      const arrays = isElementwise(n) ? new Set(n.args.filter((b) => !isSpread(b))).size : 1;
      known = arrays <= 1 && n.args.some((b) => !isStored(b) && leads(b));
      table.set(n, known);
    }
    return known;
  };
  return isPart;
}
