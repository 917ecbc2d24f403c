// Regions: a graph cut into kernels-to-be. A region computes one node (`root`) from nodes that are in memory
// (`inputs`), with everything between them inlined; its `anchors` are the nodes inside that decide its template.
import { dim, dimConst, shapeEquals } from './dim.ts';
import type { Graph } from './graph.ts';
import { isOp, type Node } from './node.ts';
import { elementwise } from './ops/elementwise.ts';

export type RegionKind =
  | 'map' // elementwise, views, gathers; other reductions and contractions as loops inside an element
  | 'row' // reductions and maps over one row
  | 'matmul'
  | 'matvec'
  | 'attention'
  | 'update' // writes a part of a state or of a copy
  | 'scatter'
  | 'scan'
  | 'sort'; // sort and top_k

export interface Region {
  readonly kind: RegionKind;
  readonly root: Node;
  readonly anchors: readonly Node[];
  /** Materialised nodes that the region reads, in first-use order. */
  readonly inputs: readonly Node[];
  /** Nodes computed inside the region, root included. */
  readonly interior: ReadonlySet<Node>;
}

export interface RegionGraph {
  readonly graph: Graph;
  /** In execution order; the regions of one launch are independent of each other. */
  readonly launches: readonly (readonly Region[])[];
}

/** A reduction over the last axis: one value per row. */
export const isRowReduction = (n: Node): n is Node<'reduce'> =>
  isOp(n, 'reduce') && n.attrs.axes.length === 1 && n.attrs.axes[0] === n.args[0].type.shape.length - 1;

/** Whether a row of `n` (an index of all axes but the last) comes from the same row of its arguments. */
export const keepsRows = (n: Node): boolean =>
  n.op in elementwise ||
  n.op === 'mark' ||
  isRowReduction(n) ||
  (isOp(n, 'reshape') && shapeEquals(n.type.shape, [...n.args[0].type.shape, dim(1)])) ||
  (isOp(n, 'broadcast') &&
    n.attrs.axes.every((axis, i) => axis === i) &&
    n.type.shape.length <= n.attrs.axes.length + 1);

/**
 * Whether a region computes every element of its root from elements of `input` at the same place in memory alone, so that
 * the root may be written where the input is. Kernels store an element once, after all that it is computed from was read.
 */
export function readsInPlace({ root, interior }: Region, input: Node): boolean {
  const seen = new Set<Node>();
  const moved = new Set<Node>(); // reached by a way that leads elsewhere
  const stack: { readonly n: Node; readonly isOwn: boolean }[] = [{ n: root, isOwn: true }];
  for (let top = stack.pop(); top; top = stack.pop()) {
    const { n, isOwn } = top;
    if (n === input && !isOwn) return false;
    if (!interior.has(n) || (isOwn ? seen : moved).has(n)) continue;
    (isOwn ? seen : moved).add(n);
    const keeps = isOwn && (n.op in elementwise || n.op === 'mark' || keepsOrder(n));
    for (const a of n.args) stack.push({ n: a, isOwn: keeps });
  }
  return true;
}

/** Axes of an operand of a contraction that are neither batch axes nor contracted. */
export const freeAxes = ({ attrs, args }: Node<'dot_general'>, side: 0 | 1): number[] =>
  args[side].type.shape
    .map((_, axis) => axis)
    .filter((axis) => !attrs.batch[side].includes(axis) && !attrs.contract[side].includes(axis));

/** Whether the node is a state with a part replaced: its argument 1. */
export const isUpdate = (n: Node): n is Node<'cache_update'> | Node<'dynamic_update_slice'> =>
  isOp(n, 'cache_update') || isOp(n, 'dynamic_update_slice');

/** Whether elements stand in the same row-major order in `n` as in its argument. */
export const keepsOrder = (n: Node): boolean =>
  n.op === 'reshape' || (isOp(n, 'transpose') && movesOnlyUnits(n.attrs.perm, n.args[0].type.shape.map(dimConst)));

const movesOnlyUnits = (perm: readonly number[], sizes: readonly (number | undefined)[]): boolean => {
  const moved = perm.filter((axis) => sizes[axis] !== 1);
  return moved.every((axis, i) => i === 0 || moved[i - 1] < axis);
};

/**
 * How the root of a region lies in memory, seen from its parts: a root that writes a part of a state lies in that state,
 * and a concat of equal shapes has each argument at its own place. `frame` holds the nodes above the parts, root first.
 */
export function partsOf(root: Node): { readonly frame: readonly Node[]; readonly parts: readonly Node[] } {
  const frame: Node[] = [];
  let n = root;
  if (isUpdate(n)) {
    frame.push(n);
    n = n.args[1];
  }
  const values = n;
  const views: Node[] = [];
  for (; keepsOrder(n); n = n.args[0]) views.push(n);
  const isSplit = isOp(n, 'concat') && n.args.every((a) => shapeEquals(a.type.shape, n.args[0].type.shape));
  if (isSplit) return { frame: [...frame, ...views, n], parts: n.args };
  return { frame, parts: [values] };
}
