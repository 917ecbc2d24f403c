// Low-rank adapters as a rewrite of the uses of weights. A use is a product with a matrix, or a lookup of its rows; a weight
// that is tied serves both, and each can be adapted by itself. With A [rank, in] and B [out, rank]:
//   product  x W   becomes  x W + s (x Aᵀ) Bᵀ      (LoRA, Hu et al. 2021)
//   lookup   W[i]  becomes  W[i] + s Aᵀ[i] Bᵀ
//   with a magnitude m [out], the sum is scaled by m / ‖W + s B A‖, the norm of each output (DoRA, Liu et al. 2024)
// The norm passes no gradient. Rows of a table can be replaced by trained ones, and a use can read another param in place of
// its weight. Runs before every other pass, for weights are recognised as models write them: as they are stored, cast or
// transposed. Contributions are added in the order of the terms.
import { add, castTo, compare, div, filled, mul, reduce, select, sliceAxis, spread } from '../ir/build.ts';
import { dim, dimConst } from '../ir/dim.ts';
import type { DType } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import type { Graph } from '../ir/graph.ts';
import { make } from '../ir/make.ts';
import { isOp, type Node } from '../ir/node.ts';
import { transform, withArgs } from '../ir/rewrite.ts';
import { isPrepared } from './prepare.ts';

export type WeightUse = 'product' | 'lookup';

/** What one adapter adds to a use. Names are of params: a [rank, in], b [out, rank], bias and magnitude [out]. */
export interface LoraTerm {
  readonly a: string;
  readonly b: string;
  readonly bias?: string;
  readonly magnitude?: string;
  readonly rank: number;
  readonly scaling: number;
  /** The share of x that is dropped in x Aᵀ in training; see LoraOptions. */
  readonly dropout?: number;
  /** The column of the input `adapter_rows` that holds the term's factor for each row of the batch; without it 1. */
  readonly column?: number;
}

/** Rows `indices` i32 [count] of a table are those of `values` [count, size]. */
export interface ReplacedRows {
  readonly indices: string;
  readonly values: string;
  readonly count: number;
}

export interface LoraUse {
  readonly weight: string;
  readonly use: WeightUse;
  readonly terms: readonly LoraTerm[];
  readonly rows?: readonly ReplacedRows[];
}

/** Reads the param `by` in place of `weight`: everywhere, or in one use. */
export interface Replacement {
  readonly weight: string;
  readonly by: string;
  readonly use?: WeightUse;
}

export interface LoraOptions {
  readonly uses: readonly LoraUse[];
  readonly replacements?: readonly Replacement[];
  /** Columns of the input `adapter_rows`, f32 [batch, columns]. */
  readonly columns?: number;
  /** The param of a name; without it, a weight. */
  readonly param?: (name: string, dtype: DType, shape: readonly number[]) => Node;
  /** x with a share of it dropped, in training; without it x. */
  readonly drop?: (x: Node, rate: number) => Node;
}

/** The input that says which rows of the batch a term applies to. */
export const adapterRows = 'adapter_rows';

/** Throws ModelcError 'unsupported' when a weight is used, but not in the way that was to be adapted. */
export const adapt = (graph: Graph, options: LoraOptions): Graph => new Adapting(options).run(graph);

/** A matrix that a node uses, and the axis of the stored matrix that is looked up or summed over. */
export interface FoundUse {
  readonly use: WeightUse;
  readonly operand: number;
  readonly param: Node<'param'>;
  /** Of the stored matrix: the axis of inputs. */
  readonly inputs: 0 | 1;
}

/** The param below casts and transposes, and the axis of it that is `axis` of `node`. */
function storedBelow(node: Node, axis: number): { param: Node<'param'>; axis: number } | undefined {
  if (isOp(node, 'param')) return { param: node, axis };
  if (isOp(node, 'cast') || isPrepared(node)) return storedBelow(node.args[0], axis);
  return isOp(node, 'transpose') ? storedBelow(node.args[0], node.attrs.perm[axis]) : undefined;
}

/** How a node uses a matrix, if it does. */
export function useOf(node: Node): FoundUse | undefined {
  const found = (use: WeightUse, operand: number, axis: number): FoundUse | undefined => {
    const stored = storedBelow(node.args[operand], axis);
    if (stored?.param.type.shape.length !== 2) return undefined;
    return { use, operand, param: stored.param, inputs: stored.axis === 0 ? 0 : 1 };
  };
  if (isOp(node, 'gather')) return node.attrs.batch === 0 ? found('lookup', 0, node.attrs.axis) : undefined;
  if (!isOp(node, 'dot_general')) return undefined;
  const { batch, contract } = node.attrs;
  return batch[0].length === 0 && contract[1].length === 1 ? found('product', 1, contract[1][0]) : undefined;
}

/** `node`, which leads to a weight through casts and transposes, over another param. */
const over = (node: Node, param: Node): Node =>
  isOp(node, 'param') || isPrepared(node) ? param : make(node.op, [over(node.args[0], param)], node.attrs);

const key = (weight: string, use: WeightUse): string => `${use} ${weight}`;

class Adapting {
  readonly #options: LoraOptions;
  readonly #uses: ReadonlyMap<string, LoraUse>;
  readonly #replacements: ReadonlyMap<string, string>;

  constructor(options: LoraOptions) {
    this.#options = options;
    this.#uses = new Map(options.uses.map((u) => [key(u.weight, u.use), u]));
    this.#replacements = new Map(
      (options.replacements ?? []).map(({ weight, use, by }) => [use ? key(weight, use) : weight, by]),
    );
  }

  run(graph: Graph): Graph {
    const done = new Set<string>();
    const adapted = transform(graph, (node, args) => {
      if (isOp(node, 'param')) return this.#replaced(node, node.attrs.name);
      const found = useOf(node);
      if (!found) return withArgs(node, args);
      const { name } = found.param.attrs;
      done.add(key(name, found.use));
      return this.#adapt(node, args, found);
    });
    const names = new Set(graph.params.map((p) => p.attrs.name));
    for (const { weight, use } of this.#uses.values()) {
      if (!names.has(weight) || done.has(key(weight, use))) continue;
      throw new ModelcError(
        'unsupported',
        `the adapter changes ${use === 'product' ? 'products with' : 'lookups in'} ${weight}, but graph ${graph.name} uses it in another way; leave its module out of target_modules`,
      );
    }
    return adapted;
  }

  #param(name: string, shape: readonly number[], dtype: DType = 'f32'): Node {
    if (this.#options.param) return this.#options.param(name, dtype, shape);
    return make('param', [], { name, kind: 'weight', dtype, shape: shape.map((d) => dim(d)) });
  }

  /** What is read in place of a param under a key: another param of its shape, or itself. */
  #replaced(param: Node<'param'>, name: string): Node {
    const by = this.#replacements.get(name);
    return by === undefined ? param : this.#param(by, sizesOf(param));
  }

  #adapt(node: Node, given: readonly Node[], { use, operand, param, inputs }: FoundUse): Node {
    const name = key(param.attrs.name, use);
    const swapped = this.#replacements.has(name) ? over(node.args[operand], this.#replaced(param, name)) : undefined;
    const args = swapped ? given.map((a, i) => (i === operand ? swapped : a)) : given;
    const base = withArgs(node, args);
    const spec = this.#uses.get(name);
    if (!spec) return base;
    const sizes = sizesOf(param);
    const stored = storedBelow(args[operand], 0)!.param;
    const matrix: Matrix = { read: args[operand], stored, in: sizes[inputs], out: sizes[1 - inputs], inputs };
    let result = castTo(base, 'f32');
    for (const rows of spec.rows ?? []) result = this.#withRows(result, args[1 - operand], rows, matrix, use, node);
    for (const term of spec.terms) result = this.#withTerm(result, args[1 - operand], term, matrix, use, node);
    return castTo(result, base.type.dtype);
  }

  #withTerm(base: Node, x: Node, term: LoraTerm, matrix: Matrix, use: WeightUse, node: Node): Node {
    const a = this.#param(term.a, [term.rank, matrix.in]);
    const b = this.#param(term.b, [matrix.out, term.rank]);
    const { drop } = this.#options;
    const dropped = use === 'product' && drop && term.dropout ? drop(castTo(x, 'f32'), term.dropout) : x;
    const low =
      use === 'lookup'
        ? make('gather', [make('transpose', [a], { perm: [1, 0] }), x], { axis: 0, batch: 0 })
        : product(castTo(dropped, 'f32'), a, [contractAxis(node), 1]);
    let y = product(low, b, [low.type.shape.length - 1, 1]);
    if (term.bias !== undefined) y = add(y, lastAxis(this.#param(term.bias, [matrix.out]), y));
    if (term.scaling !== 1) y = mul(y, filled(term.scaling, y));
    if (term.column !== undefined) y = mul(y, this.#rowFactor(term.column, y));
    const sum = add(base, y);
    if (term.magnitude === undefined) return sum;
    const magnitude = this.#param(term.magnitude, [matrix.out]);
    const scale = div(magnitude, detached(normOf(matrix, a, b, term.scaling)));
    if (dropped === x) return mul(sum, lastAxis(scale, sum));
    // What the scale adds to the product is seen through dropout, the product itself is not.
    const seen = product(castTo(dropped, 'f32'), castTo(matrix.read, 'f32'), [contractAxis(node), matrixAxis(node)]);
    const change = add(mul(seen, lastAxis(add(scale, filled(-1, scale)), seen)), mul(y, lastAxis(scale, y)));
    return add(base, change);
  }

  /** The factors of the rows of a batch, spread over `y`, whose first axis is the batch. */
  #rowFactor(column: number, y: Node): Node {
    const [batch] = y.type.shape;
    const columns = dim(this.#options.columns ?? 1);
    const table = make('param', [], { name: adapterRows, kind: 'input', dtype: 'f32', shape: [batch, columns] });
    const factors = make('reshape', [sliceAxis(table, 1, column, 1)], { shape: [batch] });
    return spread(factors, y.type.shape, [0]);
  }

  /** A lookup gives, and a product compares with, the replaced rows. */
  #withRows(base: Node, x: Node, rows: ReplacedRows, matrix: Matrix, use: WeightUse, node: Node): Node {
    const count = dim(rows.count);
    const [table, size] = use === 'lookup' ? [matrix.in, matrix.out] : [matrix.out, matrix.in];
    const indices = this.#param(rows.indices, [rows.count], 'i32');
    const values = this.#param(rows.values, [rows.count, size]);
    const ids = use === 'lookup' ? castTo(x, 'i32') : make('iota', [], { shape: [dim(table)], axis: 0, dtype: 'i32' });
    const shape = [...ids.type.shape, count];
    const last = shape.length - 1;
    const axes = ids.type.shape.map((_, i) => i);
    const isRow = castTo(compare('eq', spread(ids, shape, axes), spread(indices, shape, [last])), 'f32');
    const isAny = reduce('max', isRow, last);
    const own =
      use === 'lookup'
        ? product(isRow, values, [last, 0])
        : product(product(castTo(x, 'f32'), values, [contractAxis(node), 1]), isRow, [-1, 1]);
    const rank = base.type.shape.length;
    const picked = spread(isAny, base.type.shape, use === 'lookup' ? axes : [rank - 1]);
    return select(compare('ne', picked, filled(0, picked)), own, base);
  }
}

/** A matrix as it is stored, and as a use reads it: cast or transposed. */
interface Matrix {
  readonly stored: Node;
  readonly read: Node;
  readonly in: number;
  readonly out: number;
  readonly inputs: 0 | 1;
}

const sizesOf = (param: Node<'param'>): number[] =>
  param.type.shape.map((d) => {
    const size = dimConst(d);
    if (size !== undefined) return size;
    throw new ModelcError('unsupported', `the weight ${param.attrs.name} has a shape that is not fixed`);
  });

const contractAxis = (node: Node): number => (isOp(node, 'dot_general') ? node.attrs.contract[0][0] : 0);
const matrixAxis = (node: Node): number => (isOp(node, 'dot_general') ? node.attrs.contract[1][0] : 0);

/** The product of two arrays over one axis of each; the axis -1 is the last. */
function product(x: Node, y: Node, [i, j]: readonly [number, number]): Node {
  const left = i < 0 ? x.type.shape.length + i : i;
  return make('dot_general', [x, y], { batch: [[], []], contract: [[left], [j]], acc: 'f32' });
}

/** A vector along the last axis of `like`. */
const lastAxis = (v: Node, like: Node): Node => spread(v, like.type.shape, [like.type.shape.length - 1]);

const detached = (x: Node): Node => make('stop_gradient', [x], {});

/** ‖W + s B A‖ over the inputs of every output, [out]. */
function normOf({ stored, inputs }: Matrix, a: Node, b: Node, scaling: number): Node {
  const wide = castTo(stored, 'f32');
  const weight = inputs === 1 ? wide : make('transpose', [wide], { perm: [1, 0] });
  const delta = product(b, a, [1, 0]);
  const sum = add(weight, mul(delta, filled(scaling, delta)));
  return make('sqrt', [reduce('add', mul(sum, sum), 1)], {});
}
