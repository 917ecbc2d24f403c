// Composites over one row: softmax, norm and cross entropy. All compute in f32 (the interpreter in doubles) whatever the
// dtype of the argument, and cast back, as the Python library does.
import { roundTo } from '../../dtype.ts';
import {
  fail,
  forEachRow,
  passthroughAxes,
  requireArity,
  requireAxis,
  requireChoice,
  requireClass,
  requireInteger,
  requireType,
  shapeOf,
} from '../common.ts';
import type { Op } from '../op.ts';

/** The softmax of a row in place: exp(x - max) / sum. */
export function softmaxRow(row: Float64Array): void {
  const max = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += row[i] = Math.exp(row[i] - max);
  for (let i = 0; i < row.length; i++) row[i] /= sum;
}

/**
 * exp(x) / sum(exp(x)) along an axis.
 * C1: x is float. C2: axis is an axis of x.
 */
export const softmax: Op<'softmax'> = {
  infer(args, { axis }) {
    requireArity('softmax', args, 1);
    requireClass('softmax', 1, args[0].dtype, 'float');
    requireAxis('softmax', 2, axis, args[0].shape.length);
    return args[0];
  },

  axes: (node) => passthroughAxes(node.type.shape, 1, [node.attrs.axis]),

  eval(node, [x]) {
    const data = new Float64Array(x.data.length);
    const row = new Float64Array(x.shape[node.attrs.axis]);
    forEachRow(x.shape, node.attrs.axis, (offset, step) => {
      for (let i = 0; i < row.length; i++) row[i] = x.data[offset + i * step];
      softmaxRow(row);
      for (let i = 0; i < row.length; i++) data[offset + i * step] = roundTo(x.dtype, row[i]);
    });
    return { dtype: x.dtype, shape: x.shape, data };
  },
};

/**
 * Normalisation over the last axis. With x in f32 and means over the last axis,
 *     rms:   n = x * rsqrt(mean(x^2) + eps)
 *     layer: n = (x - mean(x)) * rsqrt(mean((x - mean(x))^2) + eps)
 * the result is n * (scale + scaleOffset) + bias, where a scale or bias that is not given leaves its step out.
 * When the rounding to the dtype of x happens follows the models: for rms with scaleOffset 0 (Llama and its kin), n is
 * cast first, and product and sum are of that dtype; in all other cases (layer norm, Gemma) they are f32 and the result
 * is cast last.
 * C1: x is float with at least one axis. C2: kind is known; eps is finite and not negative; scaleOffset is finite.
 * C3: scale and bias have the dtype of x and the shape of its last axis.
 */
export const norm: Op<'norm'> = {
  infer(args, attrs) {
    const { eps, scaleOffset } = attrs;
    requireArity('norm', args, 1, 3);
    const [x, ...affine] = args;
    requireClass('norm', 1, x.dtype, 'float');
    if (x.shape.length === 0) fail('norm', 1, 'x must have at least one axis');
    requireChoice('norm', 2, attrs, 'kind');
    if (!(Number.isFinite(eps) && eps >= 0)) fail('norm', 2, `eps must be finite and not negative, got ${String(eps)}`);
    if (!Number.isFinite(scaleOffset)) fail('norm', 2, `scaleOffset must be finite, got ${String(scaleOffset)}`);
    for (const [i, t] of affine.entries()) {
      requireType('norm', 3, i === 0 ? 'scale' : 'bias', t, { dtype: x.dtype, shape: x.shape.slice(-1) });
    }
    return x;
  },

  axes(node) {
    const last = node.type.shape.length - 1;
    const { factors, result } = passthroughAxes(node.type.shape, 1, [last]);
    return { factors, args: node.args.map((_, i) => (i === 0 ? result : [result[last]])), result };
  },

  eval(node, [x, scale, bias]) {
    const { kind, eps, scaleOffset } = node.attrs;
    const { dtype, shape } = x;
    const k = shape[shape.length - 1];
    const early = kind === 'rms' && scaleOffset === 0;
    const step = (v: number): number => (early ? roundTo(dtype, v) : v);
    const data = new Float64Array(x.data.length);
    for (let start = 0; start < data.length; start += k) {
      let center = 0;
      if (kind === 'layer') {
        for (let i = 0; i < k; i++) center += x.data[start + i];
        center /= k;
      }
      let squares = 0;
      for (let i = 0; i < k; i++) squares += (x.data[start + i] - center) ** 2;
      const factor = 1 / Math.sqrt(squares / k + eps);
      for (let i = 0; i < k; i++) {
        let y = step((x.data[start + i] - center) * factor);
        if (scale) y = step(y * (scale.data[i] + scaleOffset));
        if (bias) y = step(y + bias.data[i]);
        data[start + i] = roundTo(dtype, y);
      }
    }
    return { dtype, shape, data };
  },
};

/**
 * Loss of each position: logsumexp(x) - (1 - smoothing) * x[label] - smoothing * mean(x) over the last axis, in f32;
 * 0 where the label is `ignore`. Other labels outside the axis count as its nearest end.
 * C1: logits are float with at least one axis. C2: labels are i32 of the leading axes.
 * C3: ignore is an i32; smoothing is in 0..1.
 */
export const crossEntropy: Op<'cross_entropy'> = {
  infer(args, { ignore, smoothing }) {
    requireArity('cross_entropy', args, 2);
    const [logits, labels] = args;
    requireClass('cross_entropy', 1, logits.dtype, 'float');
    if (logits.shape.length === 0) fail('cross_entropy', 1, 'logits must have at least one axis');
    const shape = logits.shape.slice(0, -1);
    requireType('cross_entropy', 2, 'labels', labels, { dtype: 'i32', shape });
    requireInteger('cross_entropy', 3, 'ignore', ignore, -(2 ** 31), 2 ** 31 - 1);
    if (!(smoothing >= 0 && smoothing <= 1)) {
      fail('cross_entropy', 3, `smoothing must be in 0..1, got ${String(smoothing)}`);
    }
    return { dtype: 'f32', shape };
  },

  axes(node) {
    const { shape } = node.args[0].type;
    const { factors, result } = passthroughAxes(shape, 1, [shape.length - 1]);
    return { factors, args: [result, result.slice(0, -1)], result: result.slice(0, -1) };
  },

  eval(node, [logits, labels], env) {
    const { ignore, smoothing } = node.attrs;
    const v = logits.shape[logits.shape.length - 1];
    const data = labels.data.map((label, i) => {
      if (label === ignore) return 0;
      const row = logits.data.subarray(i * v, (i + 1) * v);
      const max = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      const sum = row.reduce((a, b) => a + Math.exp(b - max), 0);
      const picked = row[Math.min(v - 1, Math.max(0, label))];
      const smooth = smoothing === 0 ? 0 : (smoothing * row.reduce((a, b) => a + b, 0)) / v;
      return roundTo('f32', max + Math.log(sum) - (1 - smoothing) * picked - smooth);
    });
    return { dtype: 'f32', shape: shapeOf(node, env), data };
  },
};
