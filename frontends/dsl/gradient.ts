// Derivatives: what a training step computes its updates from. They are nodes like all others, which the compiler
// replaces by the backward computation.
import { op, type Tensor } from './tensor.ts';

/**
 * The derivatives of `loss`, a float scalar, with respect to `tensors`: parameters, or anything that the loss is computed
 * from. Each has the type of its tensor, and is 0 where the loss does not depend on it. What is computed from them can be
 * differentiated again. Throws ModelcError 'type' when the loss is no scalar or a tensor is not made of floats.
 *
 *     const loss = crossEntropy(logits, labels)
 *     const [slope] = gradients(loss, [logits])
 */
export const gradients = (loss: Tensor, tensors: readonly Tensor[]): Tensor[] =>
  tensors.map((x) => op('gradient', [loss, x], {}));
