// Grows a region from its root: the root decides what may be the anchor, then every argument of what is inside is either
// computed inside as well or read from memory. Consumers are decided on before producers, so all users of a node that may
// be inside are known when it is asked. Operands of anchors are placed last (place.ts).
import { shapeEquals } from '../../ir/dim.ts';
import type { Node } from '../../ir/node.ts';
import { hasFewRows, isElementwise, isRowReduction, keepsOrder, keepsRows, productOf, type Region } from '../../ir/region.ts'; // biome-ignore format: one row
import { classOf, isCostly, templateOf } from './classify.ts';
import { type Facts, isCheapAgain, isSameSize, permutedAttention } from './facts.ts';
import { Forming } from './forming.ts';
import { placeLeft, placeOperands, placeRight, placeViews } from './place.ts';

/** Ways in which one region may read a computed node: each computes it anew. More than that, and it goes to memory. */
const maxWays = 8;
/** How much deeper in the graph something may lie that a product's epilogue reads than the product itself. */
const nearby = 16;
/** Nodes of one region, so that kernels of endless chains stay of a size that compilers like. */
const maxInterior = 256;

/** The region that computes `root`; what it reads of computed values is added to `needed`. */
export function grow(facts: Facts, root: Node, needed: Set<Node>): Region {
  const forming = new Forming(facts, root, needed);
  begin(forming);
  while (forming.candidates.size > 0) decide(forming, forming.next());
  const products = forming.anchors.filter(productOf);
  if (products.length === 0) return forming.region(forming.kind, forming.anchors);
  placeLeft(forming, products[0]);
  for (const p of products) placeRight(forming, p.args[1]);
  for (const rest of products[0].args.slice(2)) placeViews(forming, rest);
  return forming.region(hasFewRows(products[0]) ? 'matvec' : 'matmul', products);
}

/** What the root makes of the region. */
function begin(forming: Forming): void {
  const { facts, root, anchors } = forming;
  const rootClass = classOf(root);
  if (facts.inPlace.has(root)) {
    forming.kind = 'update';
    anchors.push(root);
    for (const a of root.args.slice(1)) forming.candidates.add(a);
  } else if (root.op === 'mark' && facts.results.has(root)) {
    forming.read(root.args[0]); // a copy: see separateOutputs
  } else if (productOf(root)) anchors.push(root);
  else if (rootClass === 'opaque') {
    forming.kind = templateOf(root);
    anchors.push(root);
    // A scan reads its operands one by one, as a map does.
    if (forming.kind === 'scan') for (const a of root.args) forming.candidates.add(a);
    else placeOperands(forming, root);
  } else {
    if (rootClass === 'fold') {
      if (isRowReduction(root)) forming.kind = 'row';
      anchors.push(root);
    }
    const attention = forming.kind === 'map' ? permutedAttention(facts, root) : undefined;
    if (attention) beginWith(forming, attention);
    else forming.take(root);
  }
}

/** An attention below views that its template stores through. */
function beginWith(forming: Forming, attention: Node): void {
  forming.kind = 'attention';
  forming.anchors.push(attention);
  for (let n = forming.root; n !== attention; n = n.args[0]) forming.interior.add(n.args[0]);
  placeOperands(forming, attention);
}

/** Whether `a` is computed inside, or read. */
function decide(forming: Forming, a: Node): void {
  const { facts, root, kind, anchors } = forming;
  const cls = classOf(a);
  if (cls === 'memory' || !forming.fits(a)) return forming.read(a);
  if (cls === 'free') return forming.take(a);
  const isSmall = forming.interior.size < maxInterior && forming.waysOf(a).size <= maxWays;
  if (cls === 'map' && facts.noParams.has(a) && isSmall) return forming.take(a);
  const sameSize = isSameSize(a, root);
  const isAgain = sameSize && !forming.needed.has(a) && isCheapAgain(facts, a);
  if (!isSmall || !(forming.isOwn(a) || isAgain)) return forming.read(a);
  const isRepeated = !sameSize && kind !== 'row' && kind !== 'update' && isCostly(a);
  if (cls === 'map' && (!isRepeated || (hasRows(forming, a) && facts.isNormPart(a)))) return forming.take(a);
  if ((kind === 'map' || kind === 'update') && isEpilogue(forming, a)) {
    forming.interior.add(a);
    anchors.push(a);
    return;
  }
  if (isRowReduction(a) && (kind === 'map' || kind === 'row') && !anchors.some(productOf) && isPerRow(forming, a)) {
    forming.kind = 'row';
    return forming.take(a);
  }
  forming.read(a);
}

/** Whether the region so far can be the epilogue of the product `a`, beside the products that it already has. */
const isEpilogue = (forming: Forming, a: Node): boolean =>
  productOf(a) !== undefined && isAligned(forming, a) && joins(forming, a) && isDue(forming, a);

/** Whether `a` is computed at the own index of the root, or of its parts: nothing in between moves elements. */
function isAligned(forming: Forming, a: Node): boolean {
  const inParts = hasFewRows(a);
  return forming.isReached(a, (u, arg) => {
    if (isElementwise(u) || keepsOrder(u)) return true;
    const isFrame = inParts && forming.frame.has(u);
    return isFrame && (u.op === 'concat' || u.args.every((b, i) => (b === arg) === (i === 1)));
  });
}

/** Products of one region read the same left operand, in the same way, and give results of one shape. */
function joins({ anchors }: Forming, a: Node): boolean {
  const first = anchors.find(productOf);
  if (first === undefined) return true;
  const [own, other] = [a, first].map((n) => ({ n, ...productOf(n)! }));
  const columnsOf = ({ n, columns }: typeof own) => columns.map((axis) => n.args[1].type.shape[axis]);
  const readsLike = `${[own.batch[0], own.depth[0]]}` === `${[other.batch[0], other.depth[0]]}` && own.group === other.group; // biome-ignore format: one row
  const isShaped = shapeEquals(a.type.shape, first.type.shape) && shapeEquals(columnsOf(own), columnsOf(other));
  return a.args[0] === first.args[0] && a.args[2] === first.args[2] && readsLike && isShaped;
}

/** Whether what else the region reads is there when `a` can be computed, or soon: it is not to wait for that. */
function isDue({ inputs, candidates, facts: { depth } }: Forming, a: Node): boolean {
  const others = [...inputs, ...candidates].filter((n) => n !== a);
  return others.every((n) => depth.get(n)! <= depth.get(a)! + nearby);
}

/** Whether the root needs `a` once for each of its rows: nothing in between moves elements to another row. */
const isPerRow = (forming: Forming, a: Node): boolean => hasRows(forming, a) && forming.isReached(a, keepsRows);

function hasRows({ root }: Forming, a: Node): boolean {
  const rows = a.type.shape;
  const { shape } = root.type;
  const isRow = classOf(root) === 'fold' ? shapeEquals(rows, shape) : shapeEquals(rows, shape.slice(0, -1));
  return isRow || shapeEquals(rows, shape);
}
