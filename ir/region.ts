// Regions: a graph cut into kernels-to-be. A region computes one node (`root`) from nodes that are in memory
// (`inputs`), with everything between them inlined; its `anchors` are the nodes inside that decide its template.
import { type Dim, dim, dimConst, dimProduct, shapeEquals } from './dim.ts';
import { isFloat } from './dtype.ts';
import type { Graph } from './graph.ts';
import { isOp, type Node } from './node.ts';
import { opOf } from './ops/index.ts';
import type { AxisRule } from './ops/op.ts';

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
  /** Graphs that make those of its weights that are derived, by name. */
  readonly prepare?: ReadonlyMap<string, Graph>;
}

type Dims = AxisRule['result'];

/** What `find` gives for a node, found once. */
function perNode<T>(find: (n: Node, rule: AxisRule) => T): (n: Node) => T {
  const known = new WeakMap<Node, { readonly value: T }>();
  return (n) => {
    let entry = known.get(n);
    if (!entry) known.set(n, (entry = { value: find(n, opOf(n.op).axes(n)) }));
    return entry.value;
  };
}

/** Whether element i of `n` is computed from element i of each argument. */
export const isElementwise: (n: Node) => boolean = perNode((n, { factors, args, result }) => {
  const isSame = (dims: Dims): boolean => dims.length === result.length && dims.every((d, i) => `${d}` === `${result[i]}`); // biome-ignore format: one row
  return n.args.length > 0 && factors.every((f) => f.kind === 'map') && args.every(isSame);
});

/** Whether an element takes a loop over elements of an argument. */
export const isFold: (n: Node) => boolean = perNode(
  (n, { factors }) => opOf(n.op).cost === 'loop' || factors.some((f) => f.kind === 'reduce'),
);

/** Whether an element costs nothing beside its arguments': views, conversions, constants. */
export const isFree = (n: Node): boolean => opOf(n.op).cost === 'free';

/** A list of axes of the left operand, and one of the right operand. */
export type AxisPair = readonly [lhs: readonly number[], rhs: readonly number[]];

/**
 * A contraction of two arrays as a product of matrices y[g, m, n] = sum over k of x[g, m, k] * w[g, n, k]: the axes of the
 * operands that are batch entries g, rows m or columns n, and depth k. Axes of size 1 count as rows or columns.
 */
export interface Product {
  readonly batch: AxisPair;
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly depth: AxisPair;
  /** Of each axis of the result, where it stands in the batch, the rows or the columns; nowhere, if its size is 1. */
  readonly result: readonly (readonly ['batch' | 'rows' | 'columns', number] | undefined)[];
  /** The axis of the right operand along which each group of rows has a matrix of its own; argument 2 counts rows. */
  readonly group: number | undefined;
}

/**
 * How the matrix product templates compute a node, if they can: it sums over axes that both operands have, every other
 * axis of an operand is one of the result, and floats are accumulated in f32.
 */
export const productOf: (n: Node) => Product | undefined = perNode((n, { factors, args, result }) => {
  const isTyped = n.type.dtype === 'f32' && n.args.slice(0, 2).every((a) => isFloat(a.type.dtype));
  if (args.length < 2 || !isTyped) return undefined;
  const [lhs, rhs] = args;
  const axisOf = (dims: Dims, f: number): number => dims.findIndex((d) => d.length === 1 && d[0] === f);
  const axesOf = (dims: Dims, accepts: (f: number | undefined) => boolean): number[] =>
    dims.flatMap((d, axis) => (d.length <= 1 && accepts(d[0]) ? [axis] : []));
  const pairOf = (accepts: (f: number) => boolean): AxisPair => {
    const common = factors.map((_, f) => f).filter((f) => accepts(f) && axisOf(lhs, f) >= 0 && axisOf(rhs, f) >= 0);
    return [common.map((f) => axisOf(lhs, f)), common.map((f) => axisOf(rhs, f))];
  };
  const isKept = (f: number | undefined): boolean => f === undefined || axisOf(result, f) >= 0;
  const batch = pairOf(isKept);
  const depth = pairOf((f) => factors[f].kind === 'reduce');
  const rows = axesOf(lhs, isKept).filter((axis) => !batch[0].includes(axis));
  const columns = axesOf(rhs, isKept).filter((axis) => !batch[1].includes(axis));
  const [group, ...others] = axesOf(rhs, (f) => !isKept(f) && factors[f!].kind === 'opaque');
  const isGrouped =
    group !== undefined && args.length === 3 && n.args[1].type.shape[group].min > 0 && `${args[2]}` === `${rhs[group]}`;
  const isAll = [batch[0], rows, depth[0]].flat().length === lhs.length && [batch[1], columns, depth[1]].flat().length + (isGrouped ? 1 : 0) === rhs.length; // biome-ignore format: one row
  const placeOf = ([f]: readonly number[]): Product['result'][number] => {
    if (f === undefined) return undefined;
    const places = { batch: batch[0].indexOf(axisOf(lhs, f)), rows: rows.indexOf(axisOf(lhs, f)), columns: columns.indexOf(axisOf(rhs, f)) }; // biome-ignore format: one row
    const [part] = (['batch', 'rows', 'columns'] as const).filter((name) => places[name] >= 0);
    return [part, places[part]];
  };
  const ordered = [...batch[0].map((axis) => lhs[axis]), ...rows.map((axis) => lhs[axis]), ...columns.map((axis) => rhs[axis])]; // biome-ignore format: one row
  const isOrdered = `${ordered.flat()}` === `${result.flat()}`;
  if (depth[0].length === 0 || columns.length === 0 || !isAll || !isOrdered || others.length > 0) return undefined;
  if (args.length !== (isGrouped ? 3 : 2)) return undefined;
  return { batch, rows, columns, depth, result: result.map(placeOf), group };
});

/** Rows on the left of a product, in one entry of its batch. */
export const productRows = (n: Node, { rows }: Product): Dim =>
  dimProduct(rows.map((axis) => n.args[0].type.shape[axis]));

/** A contraction with at most this many rows on the left streams its weights once: a matvec. */
const maxMatvecRows = 64;

/** Whether a product has few rows, and the layout of the matvec template: x [.., K] times w [.., K]. */
export function hasFewRows(n: Node): boolean {
  const product = productOf(n);
  if (!product || product.group !== undefined) return false;
  const { batch, depth } = product;
  const isLast = (side: 0 | 1) => depth[side][0] === n.args[side].type.shape.length - 1;
  const isPlain = batch[0].length === 0 && depth[0].length === 1 && isLast(0) && isLast(1);
  return isPlain && productRows(n, product).max <= maxMatvecRows;
}

/** A reduction over the last axis: one value per row. */
export const isRowReduction = (n: Node): n is Node<'reduce'> =>
  isOp(n, 'reduce') && n.attrs.axes.length === 1 && n.attrs.axes[0] === n.args[0].type.shape.length - 1;

/** Whether a row of `n` (an index of all axes but the last) comes from the same row of its arguments. */
export const keepsRows = (n: Node): boolean =>
  isElementwise(n) ||
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
    const keeps = isOwn && (isElementwise(n) || keepsOrder(n));
    for (const a of n.args) stack.push({ n: a, isOwn: keeps });
  }
  return true;
}

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
