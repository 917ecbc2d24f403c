// Splits weights that are larger than what one binding of the target can show. Such a weight becomes the concatenation
// of parts along its first axis, each a prepared slice (prepare.ts), and the concatenation moves from the weight to
// what is computed from it: an op that treats the axis as independent positions is applied to every part and the results
// are joined; a contraction over the axis becomes a sum of products; a gather along it reads every part and selects.
// Parts are of one size where that divides, so that they share kernels. Users of one weight share its parts.
import { type Dim, dim, dimAdd, dimConst } from '../ir/dim.ts';
import { dtypeInfo } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import { make } from '../ir/make.ts';
import { isOp, type Node, type OpName } from '../ir/node.ts';
import { opOf } from '../ir/ops/index.ts';
import { rewrite, substitute } from '../ir/rewrite.ts';
import type { Target } from '../ir/target.ts';
import type { Pass } from './pass.ts';
import { cutPrepared, inStored, prepared, uncut } from './prepare.ts';

/** Ops through which a split moves: their attributes name axes, not sizes. */
const passable: readonly OpName[] = ['cast', 'transpose', 'dot_general', 'gather'];

type Parts = Node<'concat'>;

export const splitWeights: Pass = {
  name: 'split-weights',
  run: (graph, target) => {
    const cut = cutPrepared(graph);
    if (!cut.graph.params.some((p) => isTooLarge(p, target))) return graph;
    const split = new Set<Node>(); // concatenations of parts of weights
    const parts = new Map<Node, Node>(); // params that stand for parts, and how they are made
    const joined = (whole: Node<'param'>): Parts => {
      const made = partsOf(whole, target);
      const value = inStored(whole, cut.prepare);
      const params = made.map(({ starts, sizes }, i) => {
        const name = `${whole.attrs.name}#${i}`;
        const param = make('param', [], { ...whole.attrs, name, shape: sizes });
        parts.set(param, prepared(make('slice', [value], { starts, sizes, strides: sizes.map(() => 1) })));
        return param;
      });
      const node = make('concat', params, { axis: 0 });
      split.add(node);
      return node;
    };
    const isSplit = (n: Node): n is Parts => split.has(n);
    const move = (node: Node): Node | undefined => {
      const at = node.args.findIndex(isSplit);
      if (at < 0) return undefined;
      const whole = node.args[at] as Parts;
      if (isOp(node, 'gather') && at === 0 && node.attrs.axis === whole.attrs.axis) return selected(node, whole);
      const moved = pushed(node, at, whole);
      if (moved && isOp(moved, 'concat') && node.args.length === 1) split.add(moved);
      return moved;
    };
    const moved = rewrite(cut.graph, {
      param: (p) => (isTooLarge(p, target) ? joined(p) : undefined),
      ...Object.fromEntries(passable.map((op) => [op, move])),
    });
    return uncut({ graph: substitute(moved, parts), prepare: cut.prepare });
  },
};

const bytesOf = (p: Node<'param'>): number =>
  p.type.shape.reduce((n, d) => n * (dimConst(d) ?? 0), dtypeInfo[p.type.dtype].bytes);

const isTooLarge = (p: Node<'param'>, target: Target): boolean =>
  p.attrs.kind === 'weight' && bytesOf(p) > target.bindingBytes;

/** Ranges along the first axis that together are `p`, in order. */
function partsOf(p: Node<'param'>, { bindingBytes }: Target): { readonly starts: Dim[]; readonly sizes: Dim[] }[] {
  const [first, ...rest] = p.type.shape;
  const rows = dimConst(first) ?? 0;
  const rowBytes = bytesOf(p) / rows;
  const most = Math.floor(bindingBytes / rowBytes);
  if (most < 1) {
    throw new ModelcError(
      'unsupported',
      `weight ${p.attrs.name} has rows of ${rowBytes} bytes, and the target binds arrays of at most ${bindingBytes}; use another target`,
    );
  }
  const size = Math.ceil(rows / Math.ceil(rows / most));
  return Array.from({ length: Math.ceil(rows / size) }, (_, i) => ({
    starts: [dim(i * size), ...rest.map(() => dim(0))],
    sizes: [dim(Math.min(size, rows - i * size)), ...rest],
  }));
}

/** `node` applied to each part of its argument `at`; undefined where it needs the argument whole. */
function pushed(node: Node, at: number, whole: Parts): Node | undefined {
  const rule = opOf(node.op).axes(node);
  const [factor, ...others] = rule.args[at][whole.attrs.axis];
  if (factor === undefined || others.length > 0) return undefined;
  let start = dim(0);
  const results = whole.args.map((part) => {
    const size = part.type.shape[whole.attrs.axis];
    const args = node.args.map((arg, i) => {
      const axis = rule.args[i].findIndex((factors) => factors.length === 1 && factors[0] === factor);
      return i === at ? part : axis < 0 ? arg : cut(arg, axis, start, size);
    });
    start = dimAdd(start, size);
    return make(node.op, args, node.attrs);
  });
  const axis = rule.result.findIndex((factors) => factors.length === 1 && factors[0] === factor);
  switch (rule.factors[factor].kind) {
    case 'map':
      return axis < 0 ? undefined : make('concat', results, { axis });
    case 'reduce':
      return results.reduce((sum, product) => make('add', [sum, product], {}));
    case 'opaque':
      return undefined;
    default:
      return rule.factors[factor].kind satisfies never;
  }
}

/** `size` positions of `node` along `axis`, from `start`. */
const cut = (node: Node, axis: number, start: Dim, size: Dim): Node =>
  make('slice', [node], {
    starts: node.type.shape.map((_, i) => (i === axis ? start : dim(0))),
    sizes: node.type.shape.map((d, i) => (i === axis ? size : d)),
    strides: node.type.shape.map(() => 1),
  });

/**
 * A gather along the axis of the parts: every part is read at the position within it, clamped as gather does, and the
 * part that has the position is selected.
 */
function selected({ args: [, idx], attrs, type }: Node<'gather'>, whole: Parts): Node {
  const spread = (n: Node): Node =>
    make('broadcast', [n], {
      shape: type.shape,
      axes: idx.type.shape.map((_, i) => (i < attrs.batch ? i : attrs.axis + i - attrs.batch)),
    });
  const constant = (value: number): Node =>
    make('broadcast', [make('const', [], { value, dtype: 'i32' })], { shape: idx.type.shape, axes: [] });
  let start = 0;
  return whole.args.reduce<Node | undefined>((before, part) => {
    const local = start === 0 ? idx : make('add', [idx, constant(-start)], {});
    const own = make('gather', [part, local], attrs);
    const isOwn = make('compare', [idx, constant(start)], { direction: 'ge' });
    start += dimConst(part.type.shape[whole.attrs.axis])!;
    return before ? make('select', [spread(isOwn), own, before], {}) : own;
  }, undefined)!;
}
