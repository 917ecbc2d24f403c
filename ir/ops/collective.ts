// Collectives: ops over the ranks along one axis of the device mesh. An op's `eval` sees one rank, so here it is defined
// for a mesh axis of size 1 only; the meaning for many ranks is `evalRanks`, which ir/eval.ts calls with the arguments
// of all ranks of a group.
//
// C1 of every collective: mesh is the name of an axis and size is its extent, at least 1. C2: axes exist.
import type { Dim } from '../dim.ts';
import { dimDivExact, dimMul, dimText } from '../dim.ts';
import type { DType } from '../dtype.ts';
import { roundTo } from '../dtype.ts';
import { ModelcError } from '../error.ts';
import type { NdArray } from '../ndarray.ts';
import { sizeOf } from '../ndarray.ts';
import type { Node, OpName } from '../node.ts';
import type { Attrs, CollectiveAttrs } from './attrs.ts';
import {
  Factors,
  fail,
  mapAxes,
  requireArity,
  requireAxis,
  requireChoice,
  requireClass,
  requireInteger,
  requireShape,
} from './common.ts';
import type { AxisRule, Op, OpTable } from './op.ts';

type Collective = keyof CollectiveAttrs & OpName;

/** Axes that a collective moves data along are seen whole, on both sides; the others pass through. */
function movesAlong(node: Node, axes: readonly number[]): AxisRule {
  const factors = new Factors();
  const from = node.args[0].type.shape.map((d, i) => factors.add(d, axes.includes(i) ? 'opaque' : 'map'));
  const result = node.type.shape.map((d, i) => (axes.includes(i) ? factors.add(d, 'opaque') : from[i]));
  return { factors: factors.list, args: [from], result };
}

function requireMesh(op: Collective, { mesh, size }: { readonly mesh: string; readonly size: number }): void {
  if (typeof mesh !== 'string' || mesh === '') fail(op, 1, `mesh must name an axis, got '${String(mesh)}'`);
  requireInteger(op, 1, 'size', size, 1, 2 ** 20);
}

const replaced = (shape: readonly Dim[], axis: number, d: Dim): Dim[] => shape.map((old, i) => (i === axis ? d : old));

/** C3: the ranks divide the axis. */
function divided(op: Collective, shape: readonly Dim[], axis: number, size: number): Dim {
  const part = dimDivExact(shape[axis], size);
  return part ?? fail(op, 3, `${size} ranks do not divide ${dimText(shape[axis])}`);
}

function singleRank<O extends Collective>(node: Node<O>, args: readonly NdArray[]): NdArray {
  const { mesh, size } = node.attrs;
  if (size !== 1) {
    throw new ModelcError(
      'unsupported',
      `${node.op} over the ${size} ranks of mesh axis '${mesh}' needs evaluateRanks`,
    );
  }
  return args[0];
}

// ---- the meaning over many ranks ----

/** An array as [outer, size of axis, inner]. */
function around(shape: readonly number[], axis: number): { outer: number; size: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), size: shape[axis], inner: sizeOf(shape.slice(axis + 1)) };
}

function concatenated(parts: readonly NdArray[], axis: number): NdArray {
  const { outer, size, inner } = around(parts[0].shape, axis);
  const run = size * inner;
  const data = new Float64Array(parts.length * outer * run);
  for (const [rank, part] of parts.entries()) {
    for (let o = 0; o < outer; o++) {
      data.set(part.data.subarray(o * run, (o + 1) * run), (o * parts.length + rank) * run);
    }
  }
  const shape = parts[0].shape.map((d, i) => (i === axis ? d * parts.length : d));
  return { dtype: parts[0].dtype, shape, data };
}

function split(x: NdArray, axis: number, count: number): NdArray[] {
  const { outer, size, inner } = around(x.shape, axis);
  const run = (size / count) * inner;
  const shape = x.shape.map((d, i) => (i === axis ? d / count : d));
  return Array.from({ length: count }, (_, rank) => {
    const data = new Float64Array(outer * run);
    for (let o = 0; o < outer; o++) {
      const from = (o * count + rank) * run;
      data.set(x.data.subarray(from, from + run), o * run);
    }
    return { dtype: x.dtype, shape, data };
  });
}

/** Combines in rank order, in doubles, and rounds once. */
function combined(parts: readonly NdArray[], op: 'add' | 'max' | 'min'): NdArray {
  const { dtype, shape } = parts[0];
  const data = parts[0].data.map((first, i) => {
    let value = first;
    for (const { data: other } of parts.slice(1)) {
      value = op === 'add' ? value + other[i] : op === 'max' ? Math.max(value, other[i]) : Math.min(value, other[i]);
    }
    return roundTo(dtype, value);
  });
  return { dtype, shape, data };
}

type RankEval<O extends Collective> = (node: Node<O>, args: readonly NdArray[], ranks: number) => NdArray[];

/** args: the argument of every rank of one group, in order; the results likewise. */
const overRanks: { readonly [O in Collective]: RankEval<O> } = {
  all_gather: (node, args) => args.map(() => concatenated(args, node.attrs.axis)),
  all_reduce: (node, args) => args.map(() => combined(args, node.attrs.op)),
  reduce_scatter: (node, args) => split(combined(args, node.attrs.op), node.attrs.axis, args.length),
  all_to_all(node, args) {
    const parts = args.map((x) => split(x, node.attrs.split, args.length));
    return args.map((_, to) =>
      concatenated(
        parts.map((sent) => sent[to]),
        node.attrs.concat,
      ),
    );
  },
  permute: (node, args) => args.map((_, to) => args[modulo(to - node.attrs.shift, args.length)]),
  axis_index: (_node, _args, ranks) => Array.from({ length: ranks }, (_, rank) => scalar(rank)),
};

const modulo = (x: number, n: number): number => ((x % n) + n) % n;
const scalar = (value: number): NdArray => ({ dtype: 'i32' satisfies DType, shape: [], data: Float64Array.of(value) });

export const isCollective = (node: Node): node is Node<Collective> => node.op in overRanks;

/** Evaluates a collective on all ranks of one group. `args[rank]` are the arguments on that rank. */
export function evalRanks<O extends Collective>(node: Node<O>, args: readonly (readonly NdArray[])[]): NdArray[] {
  return overRanks[node.op](
    node,
    args.map((own) => own[0]),
    args.length,
  );
}

// ---- the records ----

/** Concatenates the ranks' arguments along `axis`. */
const allGather: Op<'all_gather'> = {
  infer(args, attrs) {
    requireArity('all_gather', args, 1);
    requireMesh('all_gather', attrs);
    const [{ dtype, shape }] = args;
    requireAxis('all_gather', 2, attrs.axis, shape.length);
    const result = replaced(shape, attrs.axis, dimMul(shape[attrs.axis], attrs.size));
    requireShape('all_gather', 2, result, 'the result');
    return { dtype, shape: result };
  },
  axes: (node) => movesAlong(node, [node.attrs.axis]),
  eval: singleRank,
};

/** Every rank gets the elementwise sum, maximum or minimum. C3: op is known. C4: values are numbers. */
const allReduce: Op<'all_reduce'> = {
  infer(args, attrs) {
    requireArity('all_reduce', args, 1);
    requireMesh('all_reduce', attrs);
    requireChoice('all_reduce', 3, attrs, 'op');
    requireClass('all_reduce', 4, args[0].dtype, 'numeric');
    return args[0];
  },
  axes: (node) => mapAxes(node.type.shape, 1),
  eval: singleRank,
};

/** The sum over ranks, of which rank i keeps slice i of `axis`. C3: the ranks divide it. C4: a sum of numbers. */
const reduceScatter: Op<'reduce_scatter'> = {
  infer(args, attrs) {
    requireArity('reduce_scatter', args, 1);
    requireMesh('reduce_scatter', attrs);
    const [{ dtype, shape }] = args;
    requireAxis('reduce_scatter', 2, attrs.axis, shape.length);
    requireChoice('reduce_scatter', 4, attrs, 'op');
    requireClass('reduce_scatter', 4, dtype, 'numeric');
    return { dtype, shape: replaced(shape, attrs.axis, divided('reduce_scatter', shape, attrs.axis, attrs.size)) };
  },
  axes: (node) => movesAlong(node, [node.attrs.axis]),
  eval: singleRank,
};

/** Part i of axis `split` goes to rank i, which concatenates along axis `concat`. C3: the ranks divide `split`. */
const allToAll: Op<'all_to_all'> = {
  infer(args, attrs) {
    requireArity('all_to_all', args, 1);
    requireMesh('all_to_all', attrs);
    const [{ dtype, shape }] = args;
    requireAxis('all_to_all', 2, attrs.split, shape.length, 'split');
    requireAxis('all_to_all', 2, attrs.concat, shape.length, 'concat');
    const parts = replaced(shape, attrs.split, divided('all_to_all', shape, attrs.split, attrs.size));
    const result = replaced(parts, attrs.concat, dimMul(parts[attrs.concat], attrs.size));
    requireShape('all_to_all', 2, result, 'the result');
    return { dtype, shape: result };
  },
  axes: (node) => movesAlong(node, [node.attrs.split, node.attrs.concat]),
  eval: singleRank,
};

/** Rank i's argument becomes the value of rank (i + shift) mod size. C2: shift is an integer. */
const permute: Op<'permute'> = {
  infer(args, attrs) {
    requireArity('permute', args, 1);
    requireMesh('permute', attrs);
    requireInteger('permute', 2, 'shift', attrs.shift, -(2 ** 20), 2 ** 20);
    return args[0];
  },
  axes: (node) => mapAxes(node.type.shape, 1),
  eval: singleRank,
};

/** This rank's position along the mesh axis, i32 scalar. */
const axisIndex: Op<'axis_index'> = {
  infer(args, attrs: Attrs['axis_index']) {
    requireArity('axis_index', args, 0);
    requireMesh('axis_index', attrs);
    return { dtype: 'i32', shape: [] };
  },
  axes: () => ({ factors: [], args: [], result: [] }),
  eval(node) {
    singleRank(node, []);
    return scalar(0);
  },
};

export const collective: OpTable<CollectiveAttrs> = {
  all_gather: allGather,
  all_reduce: allReduce,
  reduce_scatter: reduceScatter,
  all_to_all: allToAll,
  permute,
  axis_index: axisIndex,
};
