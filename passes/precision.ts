// Products in narrow types. Training in bf16 or f16 rounds the operands of every product, forward and backward, and sums
// in f32; everything else stays as it is: the parameters, norms, softmax, losses and the optimizer.
//
// Elsewhere products are computed in the precision of their weights. Where the target has matrix instructions for the type that a weight is kept
// in, a product of f32 rows with that weight, converted, becomes one of rounded rows with the weight itself, summed in f32:
// what a model in that type computes. So does an attention between such products. Products with few rows stay as they are,
// as reading the weight is all their time.
import type { DType } from '../ir/dtype.ts';
import { make } from '../ir/make.ts';
import { isOp, type Node } from '../ir/node.ts';
import { hasFewRows, productOf } from '../ir/region.ts';
import { type Rules, rewrite } from '../ir/rewrite.ts';
import type { Pass, TargetlessPass } from './pass.ts';
import { isWeight } from './prepare.ts';

export const precision: Pass = {
  name: 'precision',
  run: (graph, target) =>
    rewrite(graph, {
      dot_general(dot) {
        const [left, right] = dot.args;
        if (!productOf(dot) || hasFewRows(dot) || !isOp(right, 'cast')) return undefined;
        const [weight] = right.args;
        const { dtype } = weight.type;
        const hasTile = target.tiles.some(
          (t) => t.threads > 1 && t.operands === dtype && t.accumulator === dot.attrs.acc,
        );
        return hasTile && isViewOfWeight(weight)
          ? make('dot_general', [rounded(left, dtype), weight], dot.attrs)
          : undefined;
      },
    }),
};

/** Every contraction of f32 operands, in `dtype` instead. */
export function computeIn(dtype: DType): TargetlessPass {
  const narrow = (n: Node): Node => make('cast', [n], { dtype });
  /** The contraction over narrow arguments at `places`; a result that is narrow then becomes f32 again. */
  const over = (n: Node, places: readonly number[]): Node | undefined => {
    if (n.args[0].type.dtype !== 'f32') return undefined;
    const args = n.args.map((a, i) => (places.includes(i) ? narrow(a) : a));
    const made: Node = make(n.op, args, n.attrs);
    return made.type.dtype === n.type.dtype ? made : make('cast', [made], { dtype: n.type.dtype });
  };
  const product = (n: Node): Node | undefined => over(n, [0, 1]);
  const attention = (n: Node): Node | undefined => over(n, [0, 1, 2]);
  /** The cotangent stands behind the operands. */
  const backward = (n: Node<'attention_backward_q' | 'attention_backward_kv' | 'attention_backward_bias'>) =>
    over(n, [0, 1, 2, 3 + n.attrs.operands.length]);
  const rules: Rules = {
    dot_general: product,
    conv: product,
    ragged_dot: product,
    attention,
    attention_lse: attention,
    attention_backward_q: backward,
    attention_backward_kv: backward,
    attention_backward_bias: backward,
  };
  return { name: 'compute', run: (graph) => (dtype === 'f32' ? graph : rewrite(graph, rules)) };
}

const isView = (n: Node): boolean => isOp(n, 'transpose') || isOp(n, 'reshape');

const isViewOfWeight = (n: Node): boolean => isWeight(n) || (isView(n) && isViewOfWeight(n.args[0]));

/**
 * `x` in another type; an attention takes its operands in that type, and so gives its result. Below views: the kernel
 * that computes a value rounds what it stores.
 */
function rounded(x: Node, dtype: DType): Node {
  if (isOp(x, 'transpose')) return make('transpose', [rounded(x.args[0], dtype)], x.attrs);
  if (isOp(x, 'reshape')) return make('reshape', [rounded(x.args[0], dtype)], x.attrs);
  if (!isOp(x, 'attention')) return make('cast', [x], { dtype });
  const [q, k, v, ...rest] = x.args;
  return make('attention', [...[q, k, v].map((n) => make('cast', [n], { dtype })), ...rest], x.attrs);
}
