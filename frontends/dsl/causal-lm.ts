// The entry points of a decoder-only language model, from its forward pass: `prefill` reads a chunk of prompt, `decode`
// one token, both giving the next token, the most likely one; `decode_sample` reads one token and draws the next at random;
// `forward` gives logits and hidden states of every position, for evaluation.
// Inputs are input_ids and position_ids i32 [batch, seq], of the new tokens, and padding i32 [batch]: how many of the
// columns so far are no token of the row. Such columns stand before the row's first token, or behind its last, where the
// next run writes over them; they take no place in the cache. Models whose layers carry something from run to run take
// attention_mask bool [batch, seq] in its place.
import type { Dim } from '../../ir/dim.ts';
import { dimSub } from '../../ir/dim.ts';
import { type Cache, KVCache } from './cache.ts';
import type { Module, WeightResolver } from './module.ts';
import type { KeyMask } from './nn.ts';
import { mostLikely, sampleTokens } from './sampling.ts';
import { samplingParameters } from './sampling-inputs.ts';
import type { Tensor } from './tensor.ts';
import { type Traced, trace } from './trace.ts';

/** What a decoder is given in a run. */
export interface CausalInputs {
  /** Token ids, i32 [batch, seq]. */
  readonly inputIds: Tensor;
  /** The position of each token in its row, i32 [batch, seq]: 0 is the first that is no padding. */
  readonly positionIds: Tensor;
  /** Which of the new tokens are no padding, bool [batch, seq]; of a row that has ended, padding counts as tokens. */
  readonly attentionMask: Tensor;
  /** Keys that may be attended to, of this run, and of the cache: what `attention` takes. */
  readonly mask: KeyMask;
  /** Keys, values and states of earlier tokens. */
  readonly cache: Cache;
}

/** What a model implements to get all entries. */
export interface CausalModel extends Module {
  /** What positions of whole sequences count: all places of a row (undefined), or those that its mask lets be seen. */
  readonly positions?: 'mask' | undefined;
  /**
   * What becomes of padding in the cache: it has no place there (undefined), or is read as tokens are, and masked, which
   * layers need that carry something from run to run.
   */
  readonly padding?: 'mask' | undefined;
  /**
   * Hidden states as transformers numbers them, the last one before the final norm: as a rule the embeddings, then the
   * output of every layer, each [batch, seq, hidden].
   */
  forward(inputs: CausalInputs): Tensor[];
  /** The norm after the last layer. */
  finalNorm(hidden: Tensor): Tensor;
  /** Normed hidden states [.., hidden] to logits [.., vocab]. */
  logits(hidden: Tensor): Tensor;
}

/** The entry points that traceCausalLM makes. */
export const causalEntries = ['prefill', 'decode', 'decode_sample', 'forward'] as const;
/** One of causalEntries. */
export type CausalEntry = (typeof causalEntries)[number];

/** Upper bounds of the dims: rows, positions in the cache, and new positions per run. */
export interface CausalLimits {
  /** Rows that run together, at most. */
  readonly maxBatch: number;
  /** Positions that a row has in the cache, at most: prompt and continuation. */
  readonly maxLength: number;
  /** New positions of a row in one run, at most: longer prompts are read in several. */
  readonly chunk: number;
}

/**
 * Graph of an entry. Results: prefill and decode `logits` f32 [batch, vocab] of the last position and `next_token`
 * i32 [batch], the most likely one, -1 where scores are not finite; decode_sample `next_token`, drawn as sampling.ts says
 * by its inputs `sampling` f32 [4] and `uniform` f32 [batch]; forward `logits` f32 [batch, seq, vocab] and
 * `hidden_states.{i}`, those of the model, the last one after the final norm.
 */
export function traceCausalLM(
  model: CausalModel,
  entry: CausalEntry,
  limits: CausalLimits,
  weights: WeightResolver,
): Traced {
  return trace(entry, model, weights, (t) => {
    const batch = t.dim('batch', 1, limits.maxBatch);
    const seq: Dim | 1 = entry === 'decode' || entry === 'decode_sample' ? 1 : t.dim('seq', 1, limits.chunk);
    const past = t.dim('past', 0, limits.maxLength);
    const capacity = t.dim('capacity', 1, limits.maxLength);
    const inputIds = t.input('input_ids', 'i32', [batch, seq]);
    const isMasked = model.padding === 'mask';
    const given = isMasked ? t.input('attention_mask', 'bool', [batch, seq]) : t.input('padding', 'i32', [batch]);
    const positionIds = t.input('position_ids', 'i32', [batch, seq]);

    const cache = new KVCache(t, { capacity, past, seq }, isMasked ? undefined : given);
    const attentionMask = isMasked ? given : cache.isHeld();
    const mask = isMasked ? cache.mask(given) : cache.lengths();
    const states = model.forward({ inputIds, positionIds, attentionMask, mask, cache });
    const last = states[states.length - 1];
    // The last position is cut out before the norm and the head, whose cost is that of the vocabulary.
    const nextLogits = (): Tensor => model.logits(model.finalNorm(last.slice(1, dimSub(seq, 1)).squeeze(1)));
    switch (entry) {
      case 'prefill':
      case 'decode': {
        const logits = nextLogits();
        t.result('logits', logits);
        t.result('next_token', mostLikely(logits));
        return;
      }
      case 'decode_sample': {
        const sampling = t.input('sampling', 'f32', [samplingParameters.length]);
        t.result('next_token', sampleTokens(nextLogits(), sampling, t.input('uniform', 'f32', [batch])));
        return;
      }
      case 'forward': {
        const normed = model.finalNorm(last);
        t.result('logits', model.logits(normed));
        states.forEach((state, i) => {
          t.result(`hidden_states.${i}`, i === states.length - 1 ? normed : state);
        });
        return;
      }
      default:
        entry satisfies never;
    }
  });
}
