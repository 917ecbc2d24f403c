// GenerationConfig: every generation option of transformers (main), unset until somebody sets it. Defaults enter only
// when a call is resolved (resolve.ts), so that a checkpoint's own values and a call's can be told from defaults.
import { ModelcError } from '../../ir/error.ts';
import type { SequenceBias } from './processors.ts';
import { warnOnce } from './warnings.ts';

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

const fail = (message: string): never => {
  throw new ModelcError('input', message);
};

/** The documented range of every field that has one: [fields, what they must be, test]. */
const ranges: readonly (readonly [readonly GenerationField[], string, (v: unknown) => boolean])[] = [
  [['max_new_tokens'], 'greater than 0', (v) => Number.isInteger(v) && Number(v) > 0],
  [['max_length', 'min_length', 'min_new_tokens', 'top_k'], 'an integer', (v) => Number.isInteger(v)],
  [['num_beams', 'num_return_sequences', 'max_cache_len', 'prefill_chunk_size'], 'an integer greater than 0', (v) => Number.isInteger(v) && Number(v) > 0],
  [
    ['do_sample', 'use_cache', 'renormalize_logits', 'remove_invalid_values', 'return_dict_in_generate', 'output_scores', 'output_logits'],
    'a boolean',
    (v) => typeof v === 'boolean',
  ],
  [['early_stopping'], "a boolean or 'never'", (v) => typeof v === 'boolean' || v === 'never'],
  [
    ['temperature', 'top_p', 'min_p', 'top_h', 'typical_p', 'epsilon_cutoff', 'eta_cutoff', 'repetition_penalty', 'encoder_repetition_penalty', 'no_repeat_ngram_size', 'encoder_no_repeat_ngram_size', 'length_penalty', 'max_time', 'guidance_scale'],
    'a number',
    (v) => typeof v === 'number' && !Number.isNaN(v),
  ],
  [['pad_token_id', 'bos_token_id', 'forced_bos_token_id'], 'a token id', (v) => Number.isInteger(v)],
  [
    ['eos_token_id', 'forced_eos_token_id'],
    'a token id or a list of them',
    (v) => Number.isInteger(v) || (Array.isArray(v) && v.length > 0 && v.every(Number.isInteger)),
  ],
  [['suppress_tokens', 'begin_suppress_tokens'], 'a list of token ids', (v) => Array.isArray(v) && v.every(Number.isInteger)],
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
  if ((p.pad_token_id ?? 0) < 0) minor.set('pad_token_id', `\`pad_token_id\` should be positive but is ${p.pad_token_id}`);
  if (!p.do_sample) {
    for (const [field, neutral] of samplingOnly) {
      const value = p[field] ?? null;
      if (value === null || value === neutral) continue;
      minor.set(field, `\`do_sample\` is not set to true, but \`${field}\` is set to ${value}, which only matters in sampling; set \`do_sample: true\` or unset \`${field}\``);
    }
  }
  const beams = p.num_beams ?? 1;
  if (beams === 1) {
    for (const [field, neutral] of [['early_stopping', false], ['length_penalty', 1]] as const) {
      const value = p[field] ?? null;
      if (value === null || value === neutral) continue;
      minor.set(field, `\`num_beams\` is 1, but \`${field}\` is set to ${value}, which only matters in beam search; set \`num_beams\` above 1 or unset \`${field}\``);
    }
  }
  const sequences = p.num_return_sequences ?? 1;
  if (sequences > 1 && beams === 1 && !p.do_sample) {
    fail(`greedy methods (do_sample != true) without beam search do not support \`num_return_sequences\` different than 1 (got ${sequences})`);
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

/** Arguments of a call that have no place in a configuration. */
const callArguments = ['logits_processor', 'stopping_criteria', 'prefix_allowed_tokens_fn', 'assistant_model', 'streamer', 'negative_prompt_ids', 'signal', 'seed', 'tokenizer'];

// The constructor assigns the fields it is given, so the interface describes them.
export interface GenerationConfigFields extends GenerationParameters {}
class GenerationConfigBase {}
const Fields = GenerationConfigBase as new () => GenerationConfigFields;

export class GenerationConfig extends Fields {
  /** Entries of a file that are no generation option; written back as they came. */
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(values: GenerationParameters & Readonly<Record<string, unknown>> = {}) {
    super();
    const extra: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(values)) {
      if (callArguments.includes(name)) {
        fail(`\`${name}\` is an argument of generate(), not a field of GenerationConfig; pass it to the call`);
      }
      if (name === 'transformers_version' || name === '_from_model_config') continue;
      if (isGenerationField(name)) Object.assign(this, { [name]: value });
      else extra[name] = value;
    }
    this.extra = extra;
    validateParameters(this);
  }

  /** The fields that are set. */
  parameters(): GenerationParameters {
    const set: GenerationParameters = {};
    for (const field of generationFields) {
      if ((this[field] ?? null) !== null) Object.assign(set, { [field]: this[field] });
    }
    return set;
  }

  /** Throws for impossible values; warns of ineffective ones, or with `strict` throws for them too. */
  validate({ strict = false }: { strict?: boolean } = {}): void {
    const minor = [...validateParameters(this).values()];
    if (minor.length === 0) return;
    if (strict) fail(`the generation config is invalid: ${minor.join('; ')}`);
    for (const text of minor) warnOnce(text);
  }

  /** What save_pretrained writes: set fields that differ from the defaults, by name. */
  to_diff_dict(): Record<string, unknown> {
    const entries = Object.entries({ ...this.extra, ...this.parameters() }).filter(
      ([name, value]) =>
        name !== 'compile_config' &&
        !(isGenerationField(name) && JSON.stringify(generationDefaults[name]) === JSON.stringify(value)),
    );
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Reads `generation_config.json` of a checkpoint folder. `overrides` win over the file. */
  static async from_pretrained(
    directory: string,
    { config_file_name = 'generation_config.json', ...overrides }: GenerationParameters & { config_file_name?: string } = {},
  ): Promise<GenerationConfig> {
    const { readFile } = await import('node:fs/promises');
    const path = `${directory}/${config_file_name}`;
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (cause) {
      throw new ModelcError('checkpoint', `cannot read ${path}; pass a folder that holds a generation config`, { cause });
    }
    return GenerationConfig.parse(text, path, overrides);
  }

  /** A config from the text of a JSON file; `path` is for messages. */
  static parse(text: string, path: string, overrides: GenerationParameters = {}): GenerationConfig {
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw new ModelcError('parse', `${path} is not valid JSON; fix or delete the file`, { cause });
    }
    if (typeof json !== 'object' || json === null || Array.isArray(json)) {
      throw new ModelcError('parse', `${path} must hold a JSON object; fix or delete the file`);
    }
    try {
      return new GenerationConfig({ ...json, ...overrides });
    } catch (cause) {
      if (!(cause instanceof ModelcError)) throw cause;
      throw new ModelcError('checkpoint', `${path}: ${cause.message}`, { cause });
    }
  }

  /** The generation fields of a config.json: what a checkpoint without generation_config.json says. */
  static from_model_config(config: Readonly<Record<string, unknown>>): GenerationConfig {
    const entries = Object.entries(config).filter(([name, value]) => isGenerationField(name) && value !== null);
    return new GenerationConfig(Object.fromEntries(entries));
  }

  /** Writes the differences from the defaults. Throws instead of writing a config that would warn. */
  async save_pretrained(
    directory: string,
    { config_file_name = 'generation_config.json' }: { config_file_name?: string } = {},
  ): Promise<void> {
    this.validate({ strict: true });
    const { mkdir, writeFile } = await import('node:fs/promises');
    await mkdir(directory, { recursive: true });
    await writeFile(`${directory}/${config_file_name}`, `${JSON.stringify(this.to_diff_dict(), null, 2)}\n`);
  }
}
