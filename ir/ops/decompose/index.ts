// The decomposition of every composite, and of conv: an equivalent graph of simpler ops. The type asks for each.
import type { OpName } from '../../node.ts';
import type { CompositeAttrs } from '../attrs.ts';
import type { Decomposition } from '../op.ts';
import { attentionOver } from './attention.ts';
import { attentionBackwardBias, attentionBackwardKV, attentionBackwardQ, attentionLse } from './attention-backward.ts';
import { conv } from './conv.ts';
import { rope } from './rope.ts';
import { crossEntropy, norm, softmax } from './row.ts';

/** null: only a pass makes the op, for kernels that are there. */
const decompositions: { readonly [O in keyof CompositeAttrs | 'conv']: Decomposition<O> | null } = {
  softmax,
  norm,
  rope,
  attention: (node) => attentionOver(node, (p) => p),
  attention_split: null,
  attention_merge: null,
  attention_lse: attentionLse,
  attention_backward_q: attentionBackwardQ,
  attention_backward_kv: attentionBackwardKV,
  attention_backward_bias: attentionBackwardBias,
  cross_entropy: crossEntropy,
  conv,
};

/** The decomposition of an op, for callers that hold a node of unknown op; undefined where there is none. */
export const decompositionOf = (name: OpName): Decomposition<OpName> | undefined =>
  ((decompositions as Partial<Record<OpName, unknown>>)[name] as Decomposition<OpName> | null | undefined) ?? undefined;

/** The ops that have one. */
export const decomposable = (Object.keys(decompositions) as OpName[]).filter(decompositionOf);
