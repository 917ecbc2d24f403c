// What the fuser takes a node for. It asks the op's record: what an element costs, whether it has a form per element,
// and whether its axis rule sums over axes; never the op's name, but for ops that have a template of their own.
import { ModelcError } from '../../ir/error.ts';
import type { Node } from '../../ir/node.ts';
import { opOf } from '../../ir/ops/index.ts';
import { isElementwise, isFold, isFree, type RegionKind } from '../../ir/region.ts';

/**
 * 'memory': a param. 'free': costs nothing to compute again. 'map': an element from few elements. 'fold': an element from
 * a loop over elements. 'opaque': has no form per element, only a template.
 */
export type Class = 'memory' | 'free' | 'map' | 'fold' | 'opaque';

export function classOf(n: Node): Class {
  if (n.op === 'param') return 'memory';
  if (isFree(n)) return 'free';
  if (!opOf(n.op).element) return 'opaque';
  return isFold(n) ? 'fold' : 'map';
}

/** Whether an element takes many instructions, its arguments' elements aside. */
export const isCostly = (n: Node): boolean => opOf(n.op).cost === 'costly';

/** Whether an element is computed from the elements at its own place, with few instructions. */
export const isCheapMap = (n: Node): boolean => isElementwise(n) && !isCostly(n);

/** The template of an op that has no form per element. */
export function templateOf(n: Node): RegionKind {
  switch (n.op) {
    case 'attention':
    case 'attention_split':
      return 'attention';
    case 'scatter':
      return 'scatter';
    case 'scan':
      return 'scan';
    case 'sort':
    case 'top_k':
      return 'sort';
    default:
      throw new ModelcError('unsupported', `op ${n.op} has no kernel template; decompose it or run --target reference`);
  }
}
