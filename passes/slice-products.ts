// Rotations take the halves of a matrix product's columns, or every other column, apart and put them together again:
// concat(f(slice(y)), g(slice(y))). A slice of a product's columns is the product with a slice of the weight, so such a
// product becomes one product a slice. They share the left operand and have one shape, which makes them siblings to the
// fuser, and the concat becomes their common epilogue. Done where tasks are groups of threads and rows are few: there a
// task may own columns that lie apart, and what follows the product costs as much time as a launch takes.
import { type Dim, dim, dimEquals, dimMul, dimProduct, shapeEquals } from '../ir/dim.ts';
import type { Graph } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import { isOp, type Node } from '../ir/node.ts';
import type { Attrs } from '../ir/ops/attrs.ts';
import { hasFewRows, isElementwise, keepsOrder } from '../ir/region.ts';
import { rewrite } from '../ir/rewrite.ts';
import type { Pass } from './pass.ts';

/** Ops between a concat and its slices, or a slice and its product: rotations need 4. Bounds the search. */
const deepest = 8;

type Range = Attrs['slice'];
const isWhole = ({ starts, sizes }: Range, axis: number, size: Dim): boolean =>
  dimEquals(starts[axis], 0) && dimEquals(sizes[axis], size);

/** Axes of a range, in another order or number. */
const select = ({ starts, sizes, strides }: Range, axes: readonly number[]): Range => ({
  starts: axes.map((a) => starts[a]),
  sizes: axes.map((a) => sizes[a]),
  strides: axes.map((a) => strides[a]),
});

/** Products with few rows, of which slices are made. */
const isPlainProduct = (n: Node): n is Node<'dot_general'> =>
  isOp(n, 'dot_general') && n.attrs.batch[0].length === 0 && hasFewRows(n);

/** Whether `n` is made of params by elementwise ops and views alone. */
const isSimple = (n: Node, depth = deepest): boolean =>
  n.op === 'param' ||
  n.op === 'const' ||
  (depth > 0 &&
    (isElementwise(n) || n.op === 'broadcast' || n.op === 'transpose' || n.op === 'reshape') &&
    n.args.every((a) => isSimple(a, depth - 1)));

/** The reshape of `n` to `shape` as a product, which `n` leads to through elementwise ops; its last axis is taken apart. */
function reshaped(n: Node, shape: readonly Dim[], depth: number): Node | undefined {
  if (isPlainProduct(n)) {
    const [lhs, rhs] = n.args;
    const lead = lhs.type.shape.slice(0, -1);
    const last = rhs.type.shape[rhs.type.shape.length - 1];
    const free = shape.slice(lead.length);
    const isSplit = shapeEquals(shape.slice(0, lead.length), lead) && free.length > 0;
    if (!isSplit || !dimEquals(dimMul(dimProduct(free), last), dimProduct(rhs.type.shape))) return undefined;
    const weight = make('reshape', [rhs], { shape: [...free, last] });
    return make('dot_general', [lhs, weight], { ...n.attrs, contract: [n.attrs.contract[0], [free.length]] });
  }
  return throughElementwise(
    n,
    depth,
    (a) => reshaped(a, shape, depth - 1),
    (a) => make('reshape', [a], { shape }),
  );
}

/** The slice of `n` as a product with a slice of the weight, if `n` is a view of a product. */
function sliced(n: Node, range: Range, depth = deepest): Node | undefined {
  const whole = n.type.shape.every((size, axis) => isWhole(range, axis, size));
  if (whole) return n;
  if (isPlainProduct(n)) {
    const [lhs, rhs] = n.args;
    const lead = lhs.type.shape.length - 1;
    if (!lhs.type.shape.slice(0, -1).every((size, axis) => isWhole(range, axis, size))) return;
    const last = rhs.type.shape[rhs.type.shape.length - 1];
    const weight = make('slice', [rhs], {
      starts: [...range.starts.slice(lead), dim(0)],
      sizes: [...range.sizes.slice(lead), last],
      strides: [...range.strides.slice(lead), 1],
    });
    return make('dot_general', [lhs, weight], n.attrs);
  }
  if (isOp(n, 'transpose')) {
    const { perm } = n.attrs;
    const x = sliced(n.args[0], select(range, perm.map((_, axis) => perm.indexOf(axis))), depth); // biome-ignore format: one row
    return x && make('transpose', [x], { perm });
  }
  if (isOp(n, 'reshape')) {
    const y = reshaped(n.args[0], n.attrs.shape, depth);
    return y && sliced(y, range, depth);
  }
  return throughElementwise(
    n,
    depth,
    (a) => sliced(a, range, depth - 1),
    (a) => make('slice', [a], range),
  );
}

/** An elementwise op on what `into` makes of the arguments that lead to a product, and `other` of the rest. */
function throughElementwise(
  n: Node,
  depth: number,
  into: (a: Node) => Node | undefined,
  other: (a: Node) => Node,
): Node | undefined {
  if (!isElementwise(n) || depth === 0) return undefined;
  const products = n.args.map((a) => (isSimple(a) ? undefined : into(a)));
  const isComplete = products.some((p) => p) && n.args.every((a, i) => products[i] || isSimple(a));
  return isComplete ? make(n.op, products.map((p, i) => p ?? other(n.args[i])), n.attrs) : undefined; // biome-ignore format: one row
}

/** The slices below `n`, through elementwise ops and reshapes. */
function slicesBelow(n: Node, found: Set<Node<'slice'>>, depth = deepest): void {
  if (isOp(n, 'slice')) found.add(n);
  else if (depth > 0 && (isElementwise(n) || keepsOrder(n))) {
    for (const a of n.args) slicesBelow(a, found, depth - 1);
  }
}

function replaced(n: Node, images: ReadonlyMap<Node, Node>, depth = deepest): Node {
  const image = images.get(n);
  if (image) return image;
  if (depth === 0 || !(isElementwise(n) || keepsOrder(n))) return n;
  const args = n.args.map((a) => replaced(a, images, depth - 1));
  return args.some((a, i) => a !== n.args[i]) ? make(n.op, args, n.attrs) : n;
}

/** A concat of equal shapes over slices of one shape that together are all of the values they are taken from. */
function overProducts(node: Node<'concat'>): Node | undefined {
  if (!node.args.every((a) => shapeEquals(a.type.shape, node.args[0].type.shape))) return undefined;
  const found = new Set<Node<'slice'>>();
  for (const a of node.args) slicesBelow(a, found);
  const images = new Map<Node, Node>();
  for (const s of found) {
    const [y] = s.args;
    const siblings = [...found].filter((other) => other.args[0] === y);
    const isSameShape = siblings.every((other) => shapeEquals(other.type.shape, s.type.shape));
    const all = dimMul(dimProduct(s.type.shape), siblings.length);
    const image = isSameShape && dimEquals(all, dimProduct(y.type.shape)) ? sliced(y, s.attrs) : undefined;
    if (image) images.set(s, image);
  }
  if (images.size === 0) return undefined;
  return make('concat', node.args.map((a) => replaced(a, images)), node.attrs); // biome-ignore format: one row
}

export const sliceProducts: Pass = {
  name: 'slice-products',
  run: (graph: Graph, target) => (target.groupThreads === 1 ? graph : rewrite(graph, { concat: overProducts })),
};
