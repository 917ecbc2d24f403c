// Which processors a call has, in the exact order of transformers' _get_logits_processor.
import { type LogitsProcessor, LogitsProcessorList } from './logits-processor.ts';
import * as p from './processors.ts';
import type { ResolvedCall } from './resolved-call.ts';
import * as w from './warpers.ts';

/**
 * Everything but classifier-free guidance, which needs a second run of the model (guidance.ts). `source`: what the model
 * has read, which for a model without an encoder is the prompt.
 */
export function processorsOf(call: ResolvedCall, prompt: bigint[][], source: bigint[][]): LogitsProcessorList {
  const { parameters: g, eos, options } = call;
  const length = prompt[0].length;
  const list: LogitsProcessor[] = [];
  if (g.sequence_bias) list.push(new p.SequenceBiasLogitsProcessor(g.sequence_bias));
  if (g.encoder_repetition_penalty !== 1) {
    list.push(new p.EncoderRepetitionPenaltyLogitsProcessor(g.encoder_repetition_penalty, source));
  }
  if (g.repetition_penalty !== 1) list.push(new p.RepetitionPenaltyLogitsProcessor(g.repetition_penalty));
  if (g.no_repeat_ngram_size > 0) list.push(new p.NoRepeatNGramLogitsProcessor(g.no_repeat_ngram_size));
  if (g.encoder_no_repeat_ngram_size > 0) {
    list.push(new p.EncoderNoRepeatNGramLogitsProcessor(g.encoder_no_repeat_ngram_size, source));
  }
  if (g.bad_words_ids) list.push(new p.NoBadWordsLogitsProcessor(g.bad_words_ids, eos));
  if (eos.length > 0) {
    if (call.minLength > 0) list.push(new p.MinLengthLogitsProcessor(call.minLength, eos));
    if ((g.min_new_tokens ?? 0) > 0) {
      list.push(new p.MinNewTokensLengthLogitsProcessor(length, g.min_new_tokens ?? 0, eos));
    }
  }
  if (options.prefix_allowed_tokens_fn) {
    list.push(new p.PrefixConstrainedLogitsProcessor(options.prefix_allowed_tokens_fn, g.num_beams));
  }
  if (g.forced_bos_token_id !== null) list.push(new p.ForcedBOSTokenLogitsProcessor(g.forced_bos_token_id));
  if (g.forced_eos_token_id !== null) {
    list.push(new p.ForcedEOSTokenLogitsProcessor(call.maxLength, g.forced_eos_token_id));
  }
  if (g.remove_invalid_values) list.push(new p.InfNanRemoveLogitsProcessor());
  if (g.exponential_decay_length_penalty && eos.length > 0) {
    list.push(new p.ExponentialDecayLengthPenalty(g.exponential_decay_length_penalty, eos, length));
  }
  if (g.suppress_tokens) list.push(new p.SuppressTokensLogitsProcessor(g.suppress_tokens));
  if (g.begin_suppress_tokens) {
    const begin = length > 1 || g.forced_bos_token_id === null ? length : length + 1;
    list.push(new p.SuppressTokensAtBeginLogitsProcessor(g.begin_suppress_tokens, begin));
  }
  // A user's processor takes the place of a built-in one of its own class.
  const custom = new LogitsProcessorList([...(options.logits_processor ?? [])]).processors;
  const merged = list.filter((own) => !custom.some((theirs) => theirs.constructor === own.constructor));
  merged.push(...custom);
  if (g.do_sample) merged.push(...warpersOf(call));
  if (g.renormalize_logits) merged.push(new p.LogitNormalization());
  return new LogitsProcessorList(merged);
}

function warpersOf({ parameters: g, eos }: ResolvedCall): LogitsProcessor[] {
  const keep = g.num_beams > 1 ? Math.max(eos.length, 1) + 1 : 1;
  const list: LogitsProcessor[] = [];
  if (g.temperature !== 1) list.push(new w.TemperatureLogitsWarper(g.temperature));
  if (g.top_h !== null) list.push(new w.TopHLogitsWarper(g.top_h));
  if (g.top_k !== 0) list.push(new w.TopKLogitsWarper(g.top_k, keep));
  if (g.top_p < 1) list.push(new w.TopPLogitsWarper(g.top_p, keep));
  if (g.min_p !== null) list.push(new w.MinPLogitsWarper(g.min_p, keep));
  if (g.typical_p < 1) list.push(new w.TypicalLogitsWarper(g.typical_p, keep));
  if (g.epsilon_cutoff > 0 && g.epsilon_cutoff < 1) list.push(new w.EpsilonLogitsWarper(g.epsilon_cutoff, keep));
  if (g.eta_cutoff > 0 && g.eta_cutoff < 1) list.push(new w.EtaLogitsWarper(g.eta_cutoff, keep));
  return list;
}

/** Rows that each row of the inputs becomes. */
export const expansion = ({ parameters: g }: ResolvedCall): number => Math.max(g.num_beams, g.num_return_sequences);
