// Reverse-mode rules of composites. They keep what rows were reduced to (a maximum, a sum, a mean) and compute elements
// anew from the arguments: no softmax, normalised row or probability outlives the forward pass. All is f32, cast last.
import { dimConst } from '../../dim.ts';
import type { Node } from '../../graph.ts';
import { make } from '../../graph.ts';
import type { CompositeAttrs } from '../attrs.ts';
import {
  add,
  along,
  castTo,
  compare,
  exp,
  filled,
  mean,
  mul,
  reduce,
  sliceAxis,
  spread,
  sub,
} from '../composite/build.ts';
import { logSumExp, normalised } from '../composite/row.ts';
import type { Vjp, VjpTable } from './rule.ts';
import { clamped, indicator, neg, scaled, sumBut, sumOver, where } from './rule.ts';

/** y * (c - sum of c * y). */
const softmax: Vjp<'softmax'> = (node, c) => {
  const { axis } = node.attrs;
  const [y, g] = [castTo(node, 'f32'), castTo(c, 'f32')];
  const weighted = reduce('add', mul(g, y), axis);
  return [castTo(mul(y, sub(g, along(weighted, y, axis))), node.type.dtype)];
};

/** With n the normalised row and g the cotangent times the scale: rstd * (g - mean(g) - n * mean(g * n)); rms: without mean(g). */
const norm: Vjp<'norm'> = (node, c) => {
  const [, scale, bias] = node.args;
  const { kind, scaleOffset } = node.attrs;
  const { dtype, shape } = node.type;
  const axis = shape.length - 1;
  const { n, rstd } = normalised(node);
  const cotangent = castTo(c, 'f32');
  let g = cotangent;
  if (scale) {
    const s = castTo(scale, 'f32');
    g = mul(g, spread(scaleOffset === 0 ? s : add(s, filled(scaleOffset, s)), shape, [axis]));
  }
  let inner = sub(g, mul(n, along(mean(mul(g, n), axis), g, axis)));
  if (kind === 'layer') inner = sub(inner, along(mean(g, axis), g, axis));
  const dx = castTo(mul(inner, along(rstd, g, axis)), dtype);
  const dscale = scale && castTo(sumBut(mul(cotangent, n), [axis]), dtype);
  const dbias = bias && castTo(sumBut(cotangent, [axis]), dtype);
  return [dx, ...(dscale ? [dscale] : []), ...(dbias ? [dbias] : [])];
};

/** Turned back. The angles' own cotangents are sums over the heads. */
const rope: Vjp<'rope'> = (node, c) => {
  const [x, cos, sin] = node.args;
  const dx = make('rope', [c, cos, neg(sin)], node.attrs);
  const pairs = dimConst(cos.type.shape[2])!;
  const isHalf = node.attrs.style === 'half';
  const halves = (t: Node): [Node, Node] =>
    isHalf
      ? [sliceAxis(t, 3, 0, pairs), sliceAxis(t, 3, pairs, pairs)]
      : [sliceAxis(t, 3, 0, pairs, 2), sliceAxis(t, 3, 1, pairs, 2)];
  const [[a, b], [ca, cb]] = [halves(x), halves(c)];
  const dcos = sumOver(add(mul(ca, a), mul(cb, b)), [1]);
  const dsin = sumOver(sub(mul(cb, a), mul(ca, b)), [1]);
  return [dx, dcos, dsin];
};

/** exp(x - logsumexp) - (1 - smoothing) * onehot - smoothing / V, times the cotangent of the row. */
const crossEntropy: Vjp<'cross_entropy'> = (node, c) => {
  const { ignore, smoothing } = node.attrs;
  const [logits, labels] = node.args;
  const { shape } = logits.type;
  const axis = shape.length - 1;
  const x = castTo(logits, 'f32');
  const p = exp(sub(x, along(logSumExp(x, axis), x, axis)));
  const position = make('iota', [], { shape, axis, dtype: 'i32' });
  const hit = compare('eq', position, along(clamped(labels, shape[axis]), x, axis));
  let slope = sub(p, smoothing === 0 ? indicator(hit, x) : scaled(indicator(hit, x), 1 - smoothing));
  if (smoothing !== 0) {
    const classes = castTo(make('dim', [], { dim: shape[axis] }), 'f32');
    slope = sub(
      slope,
      spread(make('div', [make('const', [], { value: smoothing, dtype: 'f32' }), classes], {}), shape, []),
    );
  }
  const counted = where(compare('ne', labels, filled(ignore, labels)), c);
  return [castTo(mul(slope, along(counted, x, axis)), logits.type.dtype), null];
};

const splitting = 'only a pass makes it, after gradients were taken';

export const composite: VjpTable<CompositeAttrs> = {
  softmax,
  norm,
  rope,
  attention: 'decompose',
  attention_split: { none: splitting },
  attention_merge: { none: splitting },
  cross_entropy: crossEntropy,
};
