// Reverse-mode rules of composites. They keep what rows were reduced to (a maximum, a sum, a mean) and compute elements
// anew from the arguments: no softmax, normalised row or probability outlives the forward pass. All is f32, cast last.
import {
  add,
  along,
  castTo,
  clamped,
  compare,
  constant,
  exp,
  filled,
  indicator,
  mean,
  mul,
  neg,
  reduce,
  scaled,
  sliceAxis,
  spread,
  sub,
  sumBut,
  sumOver,
  where,
} from '../../build.ts';
import { dimConst } from '../../dim.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { CompositeAttrs } from '../attrs.ts';
import { logSumExp, normalised } from '../decompose/row.ts';
import type { Vjp, VjpTable } from './rule.ts';

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
    slope = sub(slope, spread(make('div', [constant(smoothing, 'f32'), classes], {}), shape, []));
  }
  const counted = where(compare('ne', labels, filled(ignore, labels)), c);
  return [castTo(mul(slope, along(counted, x, axis)), logits.type.dtype), null];
};

/**
 * The cotangents of the arguments of attention and of attention_lse, from a cotangent of the result and, for every query,
 * delta: what its ds, as attrs.ts has it, are lowered by.
 */
function attentionArgs(node: Node<'attention' | 'attention_lse'>, cotangent: Node, delta: Node): (Node | null)[] {
  const { attrs } = node;
  const [, k, v] = node.args;
  const lse = make('attention_lse', node.args, attrs);
  const args = [...node.args, cotangent, lse, delta];
  const both = make('attention_backward_kv', args, attrs);
  const [width, outer] = [k.type.shape[3], v.type.shape[3]];
  const operands = attrs.operands.map((name, i): Node | null => {
    switch (name) {
      case 'mask':
      case 'lengths':
        return null;
      case 'bias':
        return make('attention_backward_bias', args, attrs);
      case 'sinks': {
        const sinks = node.args[3 + i];
        const p = exp(sub(spread(castTo(sinks, 'f32'), lse.type.shape, [1]), lse));
        return castTo(neg(sumBut(mul(p, delta), [1])), sinks.type.dtype);
      }
      default:
        return name satisfies never;
    }
  });
  const dq = make('attention_backward_q', args, attrs);
  return [dq, sliceAxis(both, 3, 0, width), sliceAxis(both, 3, width, outer), ...operands];
}

const attention: Vjp<'attention'> = (node, c) =>
  attentionArgs(node, c, sumOver(mul(castTo(c, 'f32'), castTo(node, 'f32')), [3]));

/** The probabilities are its derivatives: no values, and a delta that is the cotangent. */
const attentionLse: Vjp<'attention_lse'> = (node, c) => {
  const [q, , v] = node.args;
  const zero = constant(0, q.type.dtype);
  const shape = [...c.type.shape, v.type.shape[3]];
  return attentionArgs(node, spread(zero, shape, []), neg(c));
};

const splitting = 'only a pass makes it, after gradients were taken';

export const composite: VjpTable<CompositeAttrs> = {
  softmax,
  norm,
  rope,
  attention,
  attention_split: { none: splitting },
  attention_merge: { none: splitting },
  attention_lse: attentionLse,
  attention_backward_q: 'decompose',
  attention_backward_kv: 'decompose',
  attention_backward_bias: 'decompose',
  cross_entropy: crossEntropy,
};
