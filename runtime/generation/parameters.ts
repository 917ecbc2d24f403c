// Generation parameters: every option of transformers (main), its default and its range. The rules that tell impossible
// values from ineffective ones are those of transformers' GenerationConfig.validate.
import { ModelcError } from '../../ir/error.ts';
import type { SequenceBias } from './processors.ts';

/** The fields, all optional; null is unset. */
export interface GenerationParameters {
  /**
   * Tokens of prompt and continuation at most (20, counted as new tokens where nothing is set). `max_new_tokens` wins.
   */
  max_length?: number | null;
  /** Tokens to add at most, more than 0. */
  max_new_tokens?: number | null;
  /** Tokens of prompt and continuation at least: no eos token comes before (0). */
  min_length?: number | null;
  /** Tokens to add at least: no eos token comes before. Wins over `min_length`. */
  min_new_tokens?: number | null;
  /**
   * When beam search ends: true, with `num_beams` finished ones; false, the default, when a better one is unlikely;
   * 'never', when none can come.
   */
  early_stopping?: boolean | 'never' | null;
  /** Seconds after which generation ends with the step under way. */
  max_time?: number | null;
  /**
   * Generation of a row ends when its text holds one of these; the text keeps it. generate() then needs `tokenizer`.
   */
  stop_strings?: string | readonly string[] | null;

  /** true: tokens are drawn by their probabilities; false, the default: the most likely one is taken. */
  do_sample?: boolean | null;
  /** Beams that are followed at once; 1, the default: no beam search. */
  num_beams?: number | null;
  /** Heads that predict several tokens. Not served: true throws 'unsupported'. */
  use_mtp?: boolean | null;

  /** Whether keys and values of earlier tokens are kept (true); false computes them anew, to the same tokens. */
  use_cache?: boolean | null;
  /** How they are kept: 'dynamic' (the default) grows, 'static' has `max_cache_len` positions. */
  cache_implementation?: string | null;
  /** Options of quantized caches. Not served. */
  cache_config?: Readonly<Record<string, unknown>> | null;
  /** Positions of a static cache. */
  max_cache_len?: number | null;
  /** Tokens of the prompt that are read in one run, at most; default: what the model was loaded with as `chunk`. */
  prefill_chunk_size?: number | null;

  /**
   * What scores are divided by before sampling (1): below 1 sharpens, above 1 flattens. Only for sampling, as the next
   * seven.
   */
  temperature?: number | null;
  /** Draw among the k most likely tokens (50); 0: among all. */
  top_k?: number | null;
  /**
   * Draw among the fewest most likely tokens whose probabilities sum to top_p or more, 0 to 1 (1: all). Holtzman et al.
   * 2020.
   */
  top_p?: number | null;
  /** Draw among tokens at least min_p times as likely as the most likely one, 0 to 1. */
  min_p?: number | null;
  /** Draw among the most likely tokens whose entropy is at most top_h times that of all, more than 0 to 1. */
  top_h?: number | null;
  /**
   * Draw among tokens whose information is nearest to the entropy, until their probabilities sum to typical_p (1: all).
   * Meister et al. 2022.
   */
  typical_p?: number | null;
  /** Draw among tokens at least that likely, 0 to 1 (0: all). Hewitt et al. 2022, as the next. */
  epsilon_cutoff?: number | null;
  /** Draw among tokens at least as likely as min(η, √η e^-entropy), 0 to 1 (0: all). */
  eta_cutoff?: number | null;
  /**
   * What scores of tokens in prompt and continuation are divided by where positive and multiplied by where negative
   * (1): above 1 discourages them. Keskar et al. 2019.
   */
  repetition_penalty?: number | null;
  /** Above 1 encourages tokens of the source, as the inverse of repetition_penalty over them (1). */
  encoder_repetition_penalty?: number | null;
  /** No sequence of so many tokens comes twice (0: any may). */
  no_repeat_ngram_size?: number | null;
  /** No sequence of so many tokens of the source comes in the continuation (0: any may). */
  encoder_no_repeat_ngram_size?: number | null;
  /**
   * Beams are compared by the sum of their log-probabilities over length^length_penalty (1): above 0 favours long ones,
   * below 0 short ones.
   */
  length_penalty?: number | null;
  /** Sequences of tokens that do not come. */
  bad_words_ids?: readonly (readonly number[])[] | null;
  /** What is added to the score of a token that would complete a sequence. */
  sequence_bias?: SequenceBias | null;
  /** Tokens that do not come. */
  suppress_tokens?: readonly number[] | null;
  /** Tokens that do not come first. */
  begin_suppress_tokens?: readonly number[] | null;
  /** The token that comes right after the decoder's first one: the language of a translation, for example. */
  forced_bos_token_id?: number | null;
  /** The token that comes where `max_length` is reached. */
  forced_eos_token_id?: number | readonly number[] | null;
  /**
   * [start, factor]: from `start` new tokens on, the eos token's score s grows by |s| (factor^k - 1), k tokens later.
   */
  exponential_decay_length_penalty?: readonly [start: number, factor: number] | null;
  /**
   * Classifier-free guidance: above 1 follows the prompt more closely than `negative_prompt_ids`, or the prompt's last
   * token. Costs a second forward pass.
   */
  guidance_scale?: number | null;
  /** Whether scores are log-probabilities again after all processors (false). */
  renormalize_logits?: boolean | null;
  /** Whether NaN becomes 0 and infinite scores become finite ones, where they else are an error (false). */
  remove_invalid_values?: boolean | null;
  /** Not served: true throws 'unsupported'. */
  token_healing?: boolean | null;
  /** Not served: a value throws 'unsupported'. */
  watermarking_config?: Readonly<Record<string, unknown>> | null;

  /** Continuations of each row of the batch (1). More than 1 needs sampling or as many beams. */
  num_return_sequences?: number | null;
  /** true: generate() gives a GenerateOutput; false, the default: the tensor of ids. */
  return_dict_in_generate?: boolean | null;
  /** Whether a GenerateOutput has the processed scores of each step (false). */
  output_scores?: boolean | null;
  /** Whether a GenerateOutput has the raw logits of each step (false). */
  output_logits?: boolean | null;
  /** Not served: true throws 'unsupported'. */
  output_attentions?: boolean | null;
  /** Not served: true throws 'unsupported'. A model's own call gives hidden states. */
  output_hidden_states?: boolean | null;

  /** What ended rows are filled with; default: the first eos token. */
  pad_token_id?: number | null;
  /** What a text begins with where there is no prompt. */
  bos_token_id?: number | null;
  /** A row ends with one of these tokens. */
  eos_token_id?: number | readonly number[] | null;
  /** What targets of an encoder-decoder begin with; a list has one for each row. */
  decoder_start_token_id?: number | readonly number[] | null;

  /** Of assisted decoding, which is not served: true throws 'unsupported'. */
  is_assistant?: boolean | null;
  /** Has no effect, as there is no assisted decoding. */
  num_assistant_tokens?: number | null;
  /** Has no effect, as there is no assisted decoding. */
  num_assistant_tokens_schedule?: string | null;
  /** Has no effect, as there is no assisted decoding. */
  assistant_confidence_threshold?: number | null;
  /** Not served: a value throws 'unsupported'. */
  prompt_lookup_num_tokens?: number | null;
  /** Has no effect, as there is no prompt lookup. */
  max_matching_ngram_size?: number | null;
  /** Not served: a value throws 'unsupported'. */
  assistant_early_exit?: number | null;
  /** Has no effect, as there is no assisted decoding. */
  assistant_lookbehind?: number | null;
  /** Has no effect, as there is no assisted decoding. */
  target_lookbehind?: number | null;
  /** Not served: a value throws 'unsupported'. */
  assistant_ensemble_weight?: number | null;
  /** Not served: a value throws 'unsupported'. */
  speculation_type?: string | null;

  /** Options of torch.compile. Not served: everything is compiled already. */
  compile_config?: Readonly<Record<string, unknown>> | null;
  /** Not served: true throws 'unsupported'. */
  disable_compile?: boolean | null;

  /** Contrastive search, which transformers has moved out. Not served. */
  penalty_alpha?: number | null;
  /** Decoding by contrasting layers, which transformers has moved out. Not served. */
  dola_layers?: string | readonly number[] | null;
  /** Diverse beam search, which transformers has moved out. Not served: only 1. */
  num_beam_groups?: number | null;
  /** Of diverse beam search. Not served: only 0. */
  diversity_penalty?: number | null;
  /** Constrained beam search, which transformers has moved out. Not served. */
  constraints?: readonly unknown[] | null;
  /** Of constrained beam search. Not served. */
  force_words_ids?: readonly unknown[] | null;
  /** Of contrastive and beam search. Not served: true throws 'unsupported'. */
  low_memory?: boolean | null;
}
export type GenerationField = keyof GenerationParameters;

/** What an unset field means once a call is resolved; null stays unset. */
export const generationDefaults = {
  max_length: 20,
  max_new_tokens: null,
  min_length: 0,
  min_new_tokens: null,
  early_stopping: false,
  max_time: null,
  stop_strings: null,
  do_sample: false,
  num_beams: 1,
  use_mtp: null,
  use_cache: true,
  cache_implementation: null,
  cache_config: null,
  max_cache_len: null,
  prefill_chunk_size: null,
  temperature: 1,
  top_k: 50,
  top_p: 1,
  min_p: null,
  top_h: null,
  typical_p: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  repetition_penalty: 1,
  encoder_repetition_penalty: 1,
  no_repeat_ngram_size: 0,
  encoder_no_repeat_ngram_size: 0,
  length_penalty: 1,
  bad_words_ids: null,
  sequence_bias: null,
  suppress_tokens: null,
  begin_suppress_tokens: null,
  forced_bos_token_id: null,
  forced_eos_token_id: null,
  exponential_decay_length_penalty: null,
  guidance_scale: null,
  renormalize_logits: false,
  remove_invalid_values: false,
  token_healing: false,
  watermarking_config: null,
  num_return_sequences: 1,
  return_dict_in_generate: false,
  output_scores: false,
  output_logits: false,
  output_attentions: false,
  output_hidden_states: false,
  pad_token_id: null,
  bos_token_id: null,
  eos_token_id: null,
  decoder_start_token_id: null,
  is_assistant: false,
  num_assistant_tokens: 20,
  num_assistant_tokens_schedule: 'constant',
  assistant_confidence_threshold: 0.4,
  prompt_lookup_num_tokens: null,
  max_matching_ngram_size: 2,
  assistant_early_exit: null,
  assistant_lookbehind: 10,
  target_lookbehind: 10,
  assistant_ensemble_weight: null,
  speculation_type: null,
  compile_config: null,
  disable_compile: null,
  penalty_alpha: null,
  dola_layers: null,
  num_beam_groups: 1,
  diversity_penalty: 0,
  constraints: null,
  force_words_ids: null,
  low_memory: null,
} as const satisfies { readonly [K in GenerationField]-?: GenerationParameters[K] };

/** Parameters with the defaults filled in: only fields without a default can still be null. */
export type ResolvedParameters = {
  [K in GenerationField]-?: (typeof generationDefaults)[K] extends null
    ? NonNullable<GenerationParameters[K]> | null
    : NonNullable<GenerationParameters[K]>;
};
export const generationFields = Object.keys(generationDefaults) as GenerationField[];
export const isGenerationField = (name: string): name is GenerationField => Object.hasOwn(generationDefaults, name);

/** Cache kinds that transformers knows, for telling a wrong name from one that is not served. */
export const cacheImplementations = [
  'dynamic',
  'static',
  'offloaded',
  'offloaded_static',
  'sliding_window',
  'hybrid',
  'hybrid_chunked',
  'offloaded_hybrid',
  'offloaded_hybrid_chunked',
  'quantized',
  'paged',
];

/** Fields that only matter when sampling, with the values that say nothing. */
const samplingOnly: readonly (readonly [GenerationField, neutral: unknown])[] = [
  ['temperature', 1],
  ['top_p', 1],
  ['min_p', null],
  ['top_h', null],
  ['typical_p', 1],
  ['top_k', 50],
  ['epsilon_cutoff', 0],
  ['eta_cutoff', 0],
];

/** A value as messages show it. */
export function shownValue(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'number' || value === undefined) return String(value);
  const isPlain = typeof value !== 'object' || value === null || Array.isArray(value);
  const name = isPlain ? '' : (value.constructor?.name ?? 'Object');
  if (name !== '' && name !== 'Object') return `a ${name}`;
  try {
    const text =
      JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? `${item}n` : item)) ?? 'nothing';
    return text.length > 80 ? `${text.slice(0, 80)}…` : text;
  } catch {
    return 'an object that holds itself';
  }
}

export const fail = (message: string): never => {
  throw new ModelcError('input', message);
};

/** The documented range of every field that has one: [fields, what they must be, test]. */
const ranges: readonly (readonly [readonly GenerationField[], string, (v: unknown) => boolean])[] = [
  [['max_new_tokens'], 'greater than 0', (v) => Number.isInteger(v) && Number(v) > 0],
  [['max_length', 'min_length', 'min_new_tokens', 'top_k'], 'an integer', (v) => Number.isInteger(v)],
  [
    ['num_beams', 'num_return_sequences', 'max_cache_len', 'prefill_chunk_size'],
    'an integer greater than 0',
    (v) => Number.isInteger(v) && Number(v) > 0,
  ],
  [
    [
      'do_sample',
      'use_cache',
      'renormalize_logits',
      'remove_invalid_values',
      'return_dict_in_generate',
      'output_scores',
      'output_logits',
    ],
    'a boolean',
    (v) => typeof v === 'boolean',
  ],
  [['early_stopping'], "a boolean or 'never'", (v) => typeof v === 'boolean' || v === 'never'],
  [
    [
      'temperature',
      'top_p',
      'min_p',
      'top_h',
      'typical_p',
      'epsilon_cutoff',
      'eta_cutoff',
      'repetition_penalty',
      'encoder_repetition_penalty',
      'no_repeat_ngram_size',
      'encoder_no_repeat_ngram_size',
      'length_penalty',
      'max_time',
      'guidance_scale',
    ],
    'a number',
    (v) => typeof v === 'number' && !Number.isNaN(v),
  ],
  [['pad_token_id', 'bos_token_id', 'forced_bos_token_id'], 'a token id', (v) => Number.isInteger(v)],
  [
    ['eos_token_id', 'forced_eos_token_id', 'decoder_start_token_id'],
    'a token id or a list of them',
    (v) => Number.isInteger(v) || (Array.isArray(v) && v.every(Number.isInteger)),
  ],
  [
    ['suppress_tokens', 'begin_suppress_tokens'],
    'a list of token ids',
    (v) => Array.isArray(v) && v.every(Number.isInteger),
  ],
  [
    ['exponential_decay_length_penalty'],
    'a pair [start, factor]',
    (v) => Array.isArray(v) && v.length === 2 && v.every((x) => typeof x === 'number'),
  ],
  [
    ['stop_strings'],
    'a non-empty string or a list of them',
    (v) => [v].flat().length > 0 && [v].flat().every((s) => typeof s === 'string' && s.length > 0),
  ],
  [
    ['cache_implementation'],
    `one of ${cacheImplementations.join(', ')}`,
    (v) => typeof v === 'string' && cacheImplementations.includes(v),
  ],
];

/**
 * Throws ModelcError 'input' for impossible values; returns complaints about values that have no effect together, by
 * field. The rules are those of transformers' GenerationConfig.validate. `given`: the fields that the caller has set, who
 * hears nothing of a field that the checkpoint has set and the caller has put out of effect; all, where it is left out.
 */
export function validateParameters(p: GenerationParameters, given?: ReadonlySet<string>): Map<string, string> {
  for (const [fields, expected, test] of ranges) {
    for (const field of fields) {
      const value = p[field] ?? null;
      if (value !== null && !test(value)) fail(`\`${field}\` must be ${expected}, but is ${shownValue(value)}`);
    }
  }
  const minor = new Map<string, string>();
  const isPutOut = (field: string, by: string): boolean => given?.has(by) === true && !given.has(field);
  if ((p.pad_token_id ?? 0) < 0)
    minor.set('pad_token_id', `\`pad_token_id\` should be positive but is ${p.pad_token_id}`);
  if (!p.do_sample) {
    for (const [field, neutral] of samplingOnly) {
      const value = p[field] ?? null;
      if (value === null || value === neutral || isPutOut(field, 'do_sample')) continue;
      minor.set(
        field,
        `\`do_sample\` is not set to true, but \`${field}\` is set to ${value}, which only matters in sampling; set \`do_sample: true\` or unset \`${field}\``,
      );
    }
  }
  const beams = p.num_beams ?? 1;
  if (beams === 1) {
    for (const [field, neutral] of [
      ['early_stopping', false],
      ['length_penalty', 1],
    ] as const) {
      const value = p[field] ?? null;
      if (value === null || value === neutral || isPutOut(field, 'num_beams')) continue;
      minor.set(
        field,
        `\`num_beams\` is 1, but \`${field}\` is set to ${value}, which only matters in beam search; set \`num_beams\` above 1 or unset \`${field}\``,
      );
    }
  }
  const sequences = p.num_return_sequences ?? 1;
  if (sequences > 1 && beams === 1 && !p.do_sample) {
    fail(
      `greedy methods (do_sample != true) without beam search do not support \`num_return_sequences\` different than 1 (got ${sequences})`,
    );
  }
  if (sequences > 1 && beams > 1 && sequences > beams) {
    fail(`\`num_return_sequences\` (${sequences}) has to be smaller or equal to \`num_beams\` (${beams})`);
  }
  requireRoomForForced(p);
  if (p.use_cache === false) {
    for (const field of ['cache_implementation', 'cache_config'] as const) {
      if ((p[field] ?? null) !== null) minor.set(field, `\`use_cache\` is false, so \`${field}\` has no effect`);
    }
  }
  if (!p.return_dict_in_generate) {
    for (const field of ['output_scores', 'output_logits', 'output_attentions', 'output_hidden_states'] as const) {
      if (p[field]) minor.set(field, `\`return_dict_in_generate\` is not set to true, so \`${field}\` has no effect`);
    }
  }
  return minor;
}

/** A token that is forced and suppressed leaves none that may follow. */
function requireRoomForForced(p: GenerationParameters): void {
  const suppressed = new Set(p.suppress_tokens ?? []);
  for (const field of ['forced_bos_token_id', 'forced_eos_token_id'] as const) {
    const forced = [p[field] ?? []].flat();
    if (forced.length === 0 || !forced.every((id) => suppressed.has(id))) continue;
    fail(
      `\`${field}\` (${forced.join(', ')}) is also in \`suppress_tokens\`, so no token may follow; take it out of one`,
    );
  }
}
