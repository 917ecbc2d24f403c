// Composites: ops that models are written in and that have fast kernels of their own, each equivalent to a graph of
// simpler ops (decompose/), but for the two halves of a split attention, which only a pass makes. Their `eval` is written
// directly, not through the decomposition, so that the two can be checked against each other.
import type { CompositeAttrs } from './attrs.ts';
import { attention } from './composite/attention.ts';
import {
  attentionBackwardBias,
  attentionBackwardKV,
  attentionBackwardQ,
  attentionLse,
} from './composite/attention-backward.ts';
import { attentionMerge, attentionSplit } from './composite/attention-split.ts';
import { rope } from './composite/rope.ts';
import { crossEntropy, norm, softmax } from './composite/row.ts';
import type { OpTable } from './op.ts';

export const composite: OpTable<CompositeAttrs> = {
  softmax,
  norm,
  rope,
  attention,
  attention_split: attentionSplit,
  attention_merge: attentionMerge,
  attention_lse: attentionLse,
  attention_backward_q: attentionBackwardQ,
  attention_backward_kv: attentionBackwardKV,
  attention_backward_bias: attentionBackwardBias,
  cross_entropy: crossEntropy,
};
