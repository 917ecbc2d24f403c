// Losses of transformers (loss/loss_utils.py, and LabelSmoother of trainer_pt_utils.py), in f32. Labels are i32, and those
// that are -100 do not count.
import { dim, shapeEquals, shapeText } from '../../ir/dim.ts';
import { isInteger } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { concat, full, op, sizeOf, type Tensor, where } from './tensor.ts';

/** Labels with this value are not looked at. */
export const ignoredLabel = -100;

/** Options of losses over classes. */
export interface LossOptions {
  /** f32 scalar: what the sum is divided by; without it, the number of labels that count. */
  readonly numItems?: Tensor | undefined;
  /** The share of the target that is spread evenly over all classes (0): label smoothing. */
  readonly smoothing?: number;
}

/** Cross entropy of logits [.., classes] beside labels [..], summed and divided. NaN where no label counts, as in PyTorch. */
export function crossEntropy(logits: Tensor, labels: Tensor, { numItems, smoothing = 0 }: LossOptions = {}): Tensor {
  labels.require('crossEntropy()', 'integers as labels', isInteger);
  const losses = op('cross_entropy', [logits, labels.cast('i32')], { ignore: ignoredLabel, smoothing });
  const count = numItems ?? labels.ne(ignoredLabel).cast('f32').sum();
  return losses.sum().div(count);
}

/** Cross entropy of position i beside label i + 1: logits [batch, seq, vocab], labels [batch, seq]. */
export function causalLoss(logits: Tensor, labels: Tensor, options: LossOptions = {}): Tensor {
  labels.requireRank('causalLoss()', '[batch, seq] as labels', 2);
  labels.require('causalLoss()', 'integers as labels', isInteger);
  const [batch, seq] = labels.shape;
  const next = concat([labels.cast('i32').slice(1, 1), full([batch, dim(1)], ignoredLabel, 'i32')], 1).reshape([
    batch,
    seq,
  ]);
  return crossEntropy(logits, next, options);
}

/** Throws ModelcError 'type' unless two tensors have one shape: broadcasting would count some values more than once. */
function requireSameShape(call: string, x: Tensor, y: Tensor): void {
  if (shapeEquals(x.shape, y.shape)) return;
  throw new ModelcError('type', `${call} takes two tensors of one shape, but got ${shapeText(x.shape)} and ${shapeText(y.shape)}`); // biome-ignore format: one row
}

/** Mean of (x - y)² of two tensors of one shape. */
export function meanSquaredError(x: Tensor, y: Tensor): Tensor {
  requireSameShape('meanSquaredError()', x, y);
  return x.sub(y).square().mean();
}

/**
 * Mean binary cross entropy of logits beside targets of 0 to 1, one decision each and of one shape, in a form that does not
 * overflow.
 */
export function binaryCrossEntropy(logits: Tensor, targets: Tensor): Tensor {
  requireSameShape('binaryCrossEntropy()', logits, targets);
  return logits.maximum(0).sub(logits.mul(targets)).add(logits.abs().neg().exp().add(1).log()).mean();
}

/**
 * Cross entropy of where an answer starts and where it ends, halved: logits [batch, seq], positions [batch]. Positions
 * behind the sequence do not count.
 */
export function spanLoss(logits: readonly [Tensor, Tensor], positions: readonly [Tensor, Tensor]): Tensor {
  const [start, end] = logits.map((logit, i) => {
    logit.requireRank('spanLoss()', '[batch, seq] as logits', 2);
    positions[i].requireRank('spanLoss()', '[batch] as positions', 1);
    const seq = sizeOf(logit.shape[1]);
    const label = where(positions[i].ge(seq), ignoredLabel, positions[i].maximum(0));
    return crossEntropy(logit, label);
  });
  return start.add(end).div(2);
}
