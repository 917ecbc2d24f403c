// Losses of transformers (loss/loss_utils.py, and LabelSmoother of trainer_pt_utils.py), in f32. Labels are i32, and those
// that are -100 do not count.
import { dim } from '../../ir/dim.ts';
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
  const losses = op('cross_entropy', [logits, labels], { ignore: ignoredLabel, smoothing });
  const count = numItems ?? labels.ne(ignoredLabel).cast('f32').sum();
  return losses.sum().div(count);
}

/** Cross entropy of position i beside label i + 1: logits [batch, seq, vocab], labels [batch, seq]. */
export function causalLoss(logits: Tensor, labels: Tensor, options: LossOptions = {}): Tensor {
  const [batch, seq] = labels.shape;
  const next = concat([labels.slice(1, 1), full([batch, dim(1)], ignoredLabel, 'i32')], 1).reshape([batch, seq]);
  return crossEntropy(logits, next, options);
}

/** Mean of (x - y)². */
export const meanSquaredError = (x: Tensor, y: Tensor): Tensor => x.sub(y).square().mean();

/** Mean binary cross entropy of logits beside targets of 0 to 1, one decision each, in a form that does not overflow. */
export const binaryCrossEntropy = (logits: Tensor, targets: Tensor): Tensor =>
  logits.maximum(0).sub(logits.mul(targets)).add(logits.abs().neg().exp().add(1).log()).mean();

/**
 * Cross entropy of where an answer starts and where it ends, halved: logits [batch, seq], positions [batch]. Positions
 * behind the sequence do not count.
 */
export function spanLoss(logits: readonly [Tensor, Tensor], positions: readonly [Tensor, Tensor]): Tensor {
  const [start, end] = logits.map((logit, i) => {
    const seq = sizeOf(logit.shape[1]);
    const label = where(positions[i].ge(seq), ignoredLabel, positions[i].maximum(0));
    return crossEntropy(logit, label);
  });
  return start.add(end).div(2);
}
