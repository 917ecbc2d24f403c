// What the templates of attention share: its sizes, scores as the softmax takes them, and where results go. Which keys a
// query sees is in visibility.ts.
import { type Dim, type DimLike, dimConst } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { alu, cast, constant, type Expr, index, select } from '../../ir/loop.ts';
import { isOp, type Node } from '../../ir/node.ts';
import { linear } from './builder.ts';
import type { Emitter } from './emit.ts';
import { Visibility } from './visibility.ts';

export type AttentionNode = Node<'attention'> | Node<'attention_split'>;

export const f32 = (value: number): Expr => constant(value, 'f32');
/** The score of a key that does not count, and the maximum of a row that has seen none. */
export const lowest: Expr = f32(Number.NEGATIVE_INFINITY);

export class Attention {
  readonly node: AttentionNode;
  readonly q: Node;
  readonly k: Node;
  readonly v: Node;
  readonly mask: Node | undefined;
  readonly bias: Node | undefined;
  readonly sinks: Node | undefined;
  readonly lengths: Node | undefined;
  readonly batch: Dim;
  /** Query positions. */
  readonly seq: Dim;
  /** Key heads; query heads that share one; sizes of a head and of a value. */
  readonly groups: number;
  readonly perGroup: number;
  readonly depth: number;
  readonly width: number;
  /** Runs of keys that are attended to apart; 1 where all are one run. */
  readonly splits: number;
  /** Query positions of this run. */
  readonly queries: Expr;

  constructor(readonly emitter: Emitter) {
    const { builder, region } = emitter;
    this.node = region.anchors[0] as AttentionNode;
    const { args, attrs } = this.node;
    const extra = (name: (typeof attrs.operands)[number]): Node | undefined =>
      attrs.operands.includes(name) ? args[3 + attrs.operands.indexOf(name)] : undefined;
    [this.q, this.k, this.v] = args;
    [this.mask, this.bias] = [extra('mask'), extra('bias')];
    [this.sinks, this.lengths] = [extra('sinks'), extra('lengths')];
    const [batch, heads, seq, depth] = this.q.type.shape;
    [this.batch, this.seq] = [batch, seq];
    this.groups = fixed(this.k.type.shape[1], 'key heads');
    this.perGroup = fixed(heads, 'heads') / this.groups;
    this.depth = fixed(depth, 'head size');
    this.width = fixed(this.v.type.shape[3], 'value size');
    this.splits = isOp(this.node, 'attention_split') ? this.node.attrs.splits : 1;
    this.queries = builder.size(seq);
  }

  /** What the queries of row `b` of the batch see. Lengths come from outside: no row holds more keys than there are. */
  visibilityOf(b: Expr): Visibility {
    const { builder } = this.emitter;
    const total = builder.size(this.k.type.shape[2]);
    const length = this.lengths && cast(this.emitter.element(this.lengths, [b]), 'index');
    const held = length ? builder.let(alu('max', alu('min', length, total), index(0))) : total;
    return new Visibility(builder, this.node.attrs, this.queries, held, this.splits);
  }

  /** A product of query and key, scaled, as the softmax takes it. `bias` gives what is added, where something is. */
  scoreOf(product: Expr, bias: (n: Node) => Expr): Expr {
    const { softcap } = this.node.attrs;
    let score = product;
    if (softcap > 0) {
      const cap = constant(softcap, 'f32', product.lanes);
      score = alu('mul', cap, alu('tanh', alu('div', score, cap)));
    }
    return this.bias ? alu('add', score, bias(this.bias)) : score;
  }

  /** An element of the bias `n`, which may be the same for all rows of a batch or all heads. */
  biasAt(n: Node, b: Expr, head: () => Expr, query: () => Expr, t: Expr): Expr {
    const isOne = (axis: number) => dimConst(n.type.shape[axis]) === 1;
    const at = [isOne(0) ? index(0) : b, isOne(1) ? index(0) : head(), query(), t];
    return cast(this.emitter.element(n, at), 'f32');
  }

  /** The sink of a head, as a score. */
  sinkOf(head: Expr): Expr | undefined {
    return this.sinks && cast(this.emitter.element(this.sinks, [head]), 'f32');
  }

  /** Maximum and sum of a row before its first key: the sink alone, which only `isFirst` of several parts takes. */
  startOf(head: () => Expr, isFirst: Expr | undefined): { readonly maximum: Expr; readonly sum: Expr } {
    const once = (value: Expr, other: Expr): Expr => (isFirst ? select(isFirst, value, other) : value);
    const sink = this.sinks && this.sinkOf(head());
    return sink ? { maximum: once(sink, lowest), sum: once(f32(1), f32(0)) } : { maximum: lowest, sum: f32(0) };
  }

  /** Whether a split takes the sinks. */
  isFirst(split: Expr): Expr | undefined {
    return this.splits === 1 ? undefined : alu('eq', split, index(0));
  }

  /** Stores an element of the result at [batch, head, query, column]. */
  store(at: readonly Expr[], value: Expr): void {
    const { builder, region } = this.emitter;
    const place = resultOffset(this.emitter, this.node, at);
    builder.store(builder.buffer(region.root, 'write'), place, cast(value, region.root.type.dtype));
  }

  /** Where a part of a row lies, and, behind it, its maximum and its sum. */
  partOffset(b: Expr, head: Expr, query: Expr, split: Expr, column: Expr): Expr {
    return linear(this.emitter.builder, this.node.type.shape, [b, head, query, split, column]);
  }
}

/** What exponents are taken relative to. A row that has seen no key yet has maximum -inf; 0 keeps differences finite. */
export const referenceOf = (maximum: Expr): Expr => select(alu('eq', maximum, lowest), f32(0), maximum);

/** A sum of weighted values over the sum of weights; 0 where there are none. */
export const quotient = (value: Expr, sum: Expr): Expr =>
  select(alu('gt', sum, f32(0)), alu('div', value, sum), f32(0));

/** The node whose row-major order the root has: the attention, or the transpose right above it. */
function storedOrder(root: Node, attention: Node): Node {
  let n = root;
  while (n !== attention && n.op !== 'transpose') n = n.args[0];
  return n;
}

/** Whether the columns of a result lie side by side. */
export function keepsLastAxis(root: Node, attention: Node): boolean {
  const n = storedOrder(root, attention);
  return !isOp(n, 'transpose') || n.attrs.perm[n.attrs.perm.length - 1] === n.attrs.perm.length - 1;
}

/** Offset of an element of the attention in the region's root: views above the attention permute and merge axes. */
export function resultOffset(emitter: Emitter, attention: Node, at: readonly Expr[]): Expr {
  const n = storedOrder(emitter.region.root, attention);
  const order = isOp(n, 'transpose') ? n.attrs.perm.map((p) => at[p]) : at;
  return linear(emitter.builder, n.type.shape, order);
}

function fixed(d: DimLike, what: string): number {
  const value = dimConst(d);
  if (value === undefined) throw new ModelcError('unsupported', `attention needs a constant number of ${what}`);
  return value;
}
