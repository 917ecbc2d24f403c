// Activation functions under the names that Hugging Face configs use (`hidden_act`), with the same formulas. They are written
// so that their derivatives, too, are finite for all finite x: no intermediate value overflows, as 0 times infinity would
// come out of its derivative.
import { ModelcError } from '../../ir/error.ts';
import type { Tensor } from './tensor.ts';
import { scalar, where } from './tensor.ts';

/** e^88 is the largest power of e with an integer exponent that f32 and bf16 hold. */
const largestExponent = 88;
/** 1 + e^-x, at most 1 + e^88: its reciprocal is 0 as far as f32 can tell. */
const onePlusExp = (x: Tensor): Tensor => x.neg().minimum(largestExponent).exp().add(1);
/** 1 / (1 + e^-x) */
export const sigmoid = (x: Tensor): Tensor => scalar(1, x.dtype).div(onePlusExp(x));
/** x * sigmoid(x), also called swish. */
export const silu = (x: Tensor): Tensor => x.div(onePlusExp(x));
/** Its derivative at 0 is 0, as in PyTorch; that of a maximum would be 1/2. */
export const relu = (x: Tensor): Tensor => where(x.le(0), 0, x);
/** log(1 + u) for u from 0 to 1; where u is small 1 + u has lost its digits, and a series takes over. */
function logOnePlus(u: Tensor): Tensor {
  let series = scalar(1 / 6, u.dtype).broadcastTo(u.shape);
  for (let k = 5; k > 0; k--)
    series = u
      .mul(series)
      .neg()
      .add(1 / k);
  return where(u.lt(0.05), u.mul(series), u.add(1).log());
}
/** log(1 + e^x), computed so that it does not overflow, and with all its digits where it is small. */
export const softplus = (x: Tensor): Tensor => x.maximum(0).add(logOnePlus(x.abs().neg().exp()));
/** Exact: x/2 * (1 + erf(x/√2)). */
export const gelu = (x: Tensor): Tensor => x.mul(0.5).mul(x.mul(Math.SQRT1_2).erf().add(1));
/** x/2 * (1 + tanh(√(2/π) * (x + 0.044715 x³))) */
export const geluTanh = (x: Tensor): Tensor => {
  const inner = x
    .square()
    .mul(x)
    .mul(0.044715)
    .add(x)
    .mul(Math.sqrt(2 / Math.PI));
  return x.mul(0.5).mul(inner.tanh().add(1));
};
/** x * sigmoid(1.702 x), CLIP's approximation of gelu. */
export const quickGelu = (x: Tensor): Tensor => x.mul(sigmoid(x.mul(1.702)));
const hardSwish = (x: Tensor): Tensor => x.mul(x.add(3).clamp(0, 6)).div(6);
const laplace = (x: Tensor): Tensor =>
  x
    .sub(Math.SQRT1_2)
    .div(0.282095 * Math.SQRT2)
    .erf()
    .add(1)
    .mul(0.5);

const activations = {
  gelu,
  gelu_10: (x) => gelu(x).clamp(-10, 10),
  gelu_accurate: geluTanh,
  gelu_fast: geluTanh,
  gelu_new: geluTanh,
  gelu_python: gelu,
  gelu_python_tanh: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  hardswish: hardSwish,
  laplace,
  leaky_relu: (x) => where(x.gt(0), x, x.mul(0.01)),
  linear: (x) => x,
  mish: (x) => x.mul(softplus(x).tanh()),
  quick_gelu: quickGelu,
  relu,
  relu2: (x) => relu(x).square(),
  relu6: (x) => relu(x).minimum(6),
  sigmoid,
  silu,
  sqrtsoftplus: (x) => softplus(x).sqrt(),
  swish: silu,
  tanh: (x) => x.tanh(),
} satisfies Record<string, (x: Tensor) => Tensor>;

/** A name that `activation` knows: those of transformers' ACT2FN. */
export type ActivationName = keyof typeof activations;
/** All names that `activation` knows. */
export const activationNames = Object.keys(activations) as ActivationName[];
/** Whether `activation` knows a name. */
export const isActivation = (name: string): name is ActivationName => Object.hasOwn(activations, name);

/** The activation of that name. Throws ModelcError 'input' for an unknown one. */
export function activation(name: string): (x: Tensor) => Tensor {
  if (!isActivation(name)) {
    throw new ModelcError('input', `unknown activation '${name}'; known: ${activationNames.join(', ')}`);
  }
  return activations[name];
}
