// Decompositions of composites over one row, and what their reverse-mode rules have in common with them.
import { add, along, castTo, compare, div, exp, filled, mean, mul, reduce, select, spread, sub } from '../../build.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { Decomposition } from '../op.ts';

export const softmax: Decomposition<'softmax'> = (node) => {
  const { axis } = node.attrs;
  const x = castTo(node.args[0], 'f32');
  const e = exp(sub(x, along(reduce('max', x, axis), x, axis)));
  return castTo(div(e, along(reduce('add', e, axis), e, axis)), node.type.dtype);
};

export const norm: Decomposition<'norm'> = (node) => {
  const { kind, scaleOffset } = node.attrs;
  const [, scale, bias] = node.args;
  const { dtype, shape } = node.type;
  const axis = shape.length - 1;
  const { n } = normalised(node);
  const inner = kind === 'rms' && scaleOffset === 0 ? dtype : 'f32';
  let y = castTo(n, inner);
  if (scale) {
    const s = castTo(scale, inner);
    y = mul(y, spread(scaleOffset === 0 ? s : add(s, filled(scaleOffset, s)), shape, [axis]));
  }
  if (bias) y = add(y, spread(castTo(bias, inner), shape, [axis]));
  return castTo(y, dtype);
};

/** The rows of a norm before scale and bias, and 1 over the standard deviation (rms: the root mean square) of each; f32. */
export function normalised(node: Node<'norm'>): { n: Node; rstd: Node } {
  const { kind, eps } = node.attrs;
  const x = castTo(node.args[0], 'f32');
  const axis = x.type.shape.length - 1;
  const centered = kind === 'layer' ? sub(x, along(mean(x, axis), x, axis)) : x;
  const variance = mean(mul(centered, centered), axis);
  const rstd = make('rsqrt', [add(variance, filled(eps, variance))], {});
  return { n: mul(centered, along(rstd, x, axis)), rstd };
}

export const crossEntropy: Decomposition<'cross_entropy'> = (node) => {
  const { ignore, smoothing } = node.attrs;
  const [logits, labels] = node.args;
  const axis = logits.type.shape.length - 1;
  const x = castTo(logits, 'f32');
  const total = logSumExp(x, axis);
  const picked = make('gather', [x, labels], { axis, batch: axis });
  let loss = sub(total, smoothing === 0 ? picked : mul(picked, filled(1 - smoothing, picked)));
  if (smoothing !== 0) loss = sub(loss, mul(mean(x, axis), filled(smoothing, loss)));
  return select(compare('eq', labels, filled(ignore, labels)), filled(0, loss), loss);
};

/** log(sum(exp(x))) along `axis`, which goes away. */
export function logSumExp(x: Node, axis: number): Node {
  const max = reduce('max', x, axis);
  return add(max, make('log', [reduce('add', exp(sub(x, along(max, x, axis))), axis)], {}));
}
