// Products in the precision of their weights. Where the target has matrix instructions for the type that a weight is kept
// in, a product of f32 rows with that weight, converted, becomes one of rounded rows with the weight itself, summed in f32:
// what a model in that type computes. So does an attention between such products. Products with few rows stay as they are,
// as reading the weight is all their time.
import type { DType } from '../ir/dtype.ts';
import { isOp, make, type Node } from '../ir/graph.ts';
import { rewrite } from '../ir/rewrite.ts';
import { hasFewRows, isMatrixProduct } from './fuse.ts';
import type { Pass } from './pass.ts';

export const precision: Pass = {
  name: 'precision',
  run: (graph, target) =>
    rewrite(graph, {
      dot_general(dot) {
        const [left, right] = dot.args;
        if (!isMatrixProduct(dot) || hasFewRows(dot) || !isOp(right, 'cast')) return undefined;
        const [weight] = right.args;
        const { dtype } = weight.type;
        const hasTile = target.tiles.some((t) => t.operands === dtype && t.accumulator === dot.attrs.acc);
        return hasTile && isWeight(weight) ? make('dot_general', [rounded(left, dtype), weight], dot.attrs) : undefined;
      },
    }),
};

const isView = (n: Node): boolean => isOp(n, 'transpose') || isOp(n, 'reshape');

const isWeight = (n: Node): boolean =>
  isOp(n, 'param') ? n.attrs.kind === 'weight' : isView(n) && isWeight(n.args[0]);

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
