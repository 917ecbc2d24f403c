// Places the operands of anchors: what a template computes on the way as it reads an operand, and what it finds in memory.
// The right operand of a product takes in whatever is made of weights alone (conversion, dequantisation), and the left
// operand takes in free nodes; with few rows it also takes in row reductions such as norms, computed once per task.
import { dimEquals, dimProduct } from '../../ir/dim.ts';
import { isOp, type Node } from '../../ir/node.ts';
import { hasFewRows, isRowReduction, productOf, productRows } from '../../ir/region.ts';
import { classOf, isCheapMap } from './classify.ts';
import { leadsToProduct, permutedAttention } from './facts.ts';
import type { Forming } from './forming.ts';

/** Operands of templates that read memory themselves: views only. */
export function placeViews(forming: Forming, a: Node): void {
  if (forming.interior.has(a)) return;
  if (classOf(a) !== 'free') return forming.read(a);
  forming.interior.add(a);
  for (const b of forming.operandsOf(a)) placeViews(forming, b);
}

/**
 * The operands of an attention. The lengths of rows, which its loops end at, are computed inside: that all threads of a
 * group see the same, as barriers in loops need on WebGPU, holds of inputs, but not of memory that kernels write.
 */
export function placeOperands(forming: Forming, attention: Node): void {
  const lengths = lengthsOf(attention);
  for (const a of attention.args) {
    if (a === lengths) placeLengths(forming, a);
    else placeViews(forming, a);
  }
}

/** The argument of an attention that says how many keys each row holds. */
function lengthsOf({ attrs, args }: Node): Node | undefined {
  const at = 'operands' in attrs ? attrs.operands.findIndex((name) => name === 'lengths') : -1;
  return at < 0 ? undefined : args[3 + at];
}

function placeLengths(forming: Forming, a: Node): void {
  if (forming.interior.has(a)) return;
  if (!(classOf(a) === 'free' || isCheapMap(a))) return forming.read(a);
  forming.interior.add(a);
  for (const b of forming.operandsOf(a)) placeLengths(forming, b);
}

/** The right operand of a product. */
export function placeRight(forming: Forming, a: Node): void {
  if (forming.interior.has(a)) return;
  const cls = classOf(a);
  const isComputed = cls === 'free' || (cls === 'map' && forming.facts.onlyWeights.has(a));
  if (!isComputed || !forming.fits(a)) return forming.read(a);
  forming.interior.add(a);
  for (const b of forming.operandsOf(a)) placeRight(forming, b);
}

/**
 * The left operand of a product. With few rows, what leads to a row reduction or follows from one is computed by every
 * task for itself; a node that has to be in memory anyway, or that can be the epilogue of another product, is read.
 */
export function placeLeft(forming: Forming, product: Node): void {
  const few = hasFewRows(product);
  const rows = productRows(product, productOf(product)!);
  const place = (a: Node, belowReduction: boolean): void => {
    if (forming.interior.has(a)) return;
    const isFree = classOf(a) === 'free' && (few || !isLeftInMemory(forming, a));
    const isComputed = isFree || (few && isOnChip(a, belowReduction) && forming.fits(a));
    if (!isComputed) return forming.read(a);
    forming.interior.add(a);
    const operands = forming.operandsOf(a);
    forming.below.push(...operands);
    for (const b of operands) place(b, belowReduction || isRowReduction(a));
  };
  /** Whether tasks of few rows compute `a` for themselves. */
  const isOnChip = (a: Node, belowReduction: boolean): boolean => {
    if (forming.needed.has(a) || a.args.some(leadsToProduct)) return false;
    const isPerRow = dimEquals(dimProduct(a.type.shape), rows) && (classOf(a) === 'map' || isRowReduction(a));
    return isPerRow || (isCheapMap(a) && (belowReduction ? forming.isOwn(a) : forming.facts.isNormPart(a)));
  };
  place(product.args[0], false);
}

/**
 * Whether many rows are better read from memory in the form `a`. Tiles of groups want rows in their own type: what computes
 * them converts them too. And an attention can store its result in the order in which they are read.
 */
function isLeftInMemory({ facts }: Forming, a: Node): boolean {
  const { tiles } = facts.target;
  const isOperand = isOp(a, 'cast') && tiles.some((t) => t.threads > 1 && t.operands === a.type.dtype);
  return isOperand || permutedAttention(facts, a) !== undefined;
}
