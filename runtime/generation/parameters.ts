// Generation parameters: every option of transformers (main), its default and its range. The rules that tell impossible
// values from ineffective ones are those of transformers' GenerationConfig.validate.
import { ModelcError } from '../../ir/error.ts';
import type { SequenceBias } from './processors.ts';

/** The fields, all optional; null is unset. */
export interface GenerationParameters {
  max_length?: number | null;
  max_new_tokens?: number | null;
  min_length?: number | null;
  min_new_tokens?: number | null;
  early_stopping?: boolean | 'never' | null;
  /** Seconds. */
  max_time?: number | null;
  stop_strings?: string | readonly string[] | null;

  do_sample?: boolean | null;
  num_beams?: number | null;
  use_mtp?: boolean | null;

  use_cache?: boolean | null;
  cache_implementation?: string | null;
  cache_config?: Readonly<Record<string, unknown>> | null;
  max_cache_len?: number | null;
  prefill_chunk_size?: number | null;

  temperature?: number | null;
  top_k?: number | null;
  top_p?: number | null;
  min_p?: number | null;
  top_h?: number | null;
  typical_p?: number | null;
  epsilon_cutoff?: number | null;
  eta_cutoff?: number | null;
  repetition_penalty?: number | null;
  encoder_repetition_penalty?: number | null;
  no_repeat_ngram_size?: number | null;
  encoder_no_repeat_ngram_size?: number | null;
  length_penalty?: number | null;
  bad_words_ids?: readonly (readonly number[])[] | null;
  sequence_bias?: SequenceBias | null;
  suppress_tokens?: readonly number[] | null;
  begin_suppress_tokens?: readonly number[] | null;
  forced_bos_token_id?: number | null;
  forced_eos_token_id?: number | readonly number[] | null;
  exponential_decay_length_penalty?: readonly [start: number, factor: number] | null;
  guidance_scale?: number | null;
  renormalize_logits?: boolean | null;
  remove_invalid_values?: boolean | null;
  token_healing?: boolean | null;
  watermarking_config?: Readonly<Record<string, unknown>> | null;

  num_return_sequences?: number | null;
  return_dict_in_generate?: boolean | null;
  output_scores?: boolean | null;
  output_logits?: boolean | null;
  output_attentions?: boolean | null;
  output_hidden_states?: boolean | null;

  pad_token_id?: number | null;
  bos_token_id?: number | null;
  eos_token_id?: number | readonly number[] | null;
  decoder_start_token_id?: number | readonly number[] | null;

  is_assistant?: boolean | null;
  num_assistant_tokens?: number | null;
  num_assistant_tokens_schedule?: string | null;
  assistant_confidence_threshold?: number | null;
  prompt_lookup_num_tokens?: number | null;
  max_matching_ngram_size?: number | null;
  assistant_early_exit?: number | null;
  assistant_lookbehind?: number | null;
  target_lookbehind?: number | null;
  assistant_ensemble_weight?: number | null;
  speculation_type?: string | null;

  compile_config?: Readonly<Record<string, unknown>> | null;
  disable_compile?: boolean | null;

  penalty_alpha?: number | null;
  dola_layers?: string | readonly number[] | null;
  num_beam_groups?: number | null;
  diversity_penalty?: number | null;
  constraints?: readonly unknown[] | null;
  force_words_ids?: readonly unknown[] | null;
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
    ['eos_token_id', 'forced_eos_token_id'],
    'a token id or a list of them',
    (v) => Number.isInteger(v) || (Array.isArray(v) && v.length > 0 && v.every(Number.isInteger)),
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
 * field. The rules are those of transformers' GenerationConfig.validate.
 */
export function validateParameters(p: GenerationParameters): Map<string, string> {
  for (const [fields, expected, test] of ranges) {
    for (const field of fields) {
      const value = p[field] ?? null;
      if (value !== null && !test(value)) fail(`\`${field}\` must be ${expected}, but is ${JSON.stringify(value)}`);
    }
  }
  const minor = new Map<string, string>();
  if ((p.pad_token_id ?? 0) < 0)
    minor.set('pad_token_id', `\`pad_token_id\` should be positive but is ${p.pad_token_id}`);
  if (!p.do_sample) {
    for (const [field, neutral] of samplingOnly) {
      const value = p[field] ?? null;
      if (value === null || value === neutral) continue;
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
      if (value === null || value === neutral) continue;
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
