// Resolves the arguments of one generate() call, as transformers (main) does: call arguments, then the passed config, then
// the model's own, then defaults; then lengths and special tokens. An option that is known but not served throws; an
// unknown one throws too.
import { ModelcError } from '../../ir/error.ts';
import { Tensor } from '../tensor.ts';
import type { DynamicCache } from './cache.ts';
import { GenerationConfig } from './configuration.ts';
import type { LogitsProcessor, LogitsProcessorList } from './logits-processor.ts';
import {
  type GenerationField,
  type GenerationParameters,
  generationDefaults,
  isGenerationField,
  type ResolvedParameters,
  validateParameters,
} from './parameters.ts';
import type { PrefixAllowedTokens } from './processors.ts';
import type { StoppingCriteria, StoppingCriteriaList, StopStringTokenizer } from './stopping-criteria.ts';
import type { BaseStreamer } from './streamers.ts';
import { warnOnce } from './warnings.ts';

/** Rows of token ids in any of the usual forms. */
export type TokenRows = Tensor | readonly (readonly (number | bigint)[])[] | readonly number[] | readonly bigint[];

/** What an encoder gives. */
export interface EncoderOutputs {
  /** [batch, length, hidden] */
  last_hidden_state: Tensor<'float32'>;
}

/** Arguments that only models with an encoder take. */
export const targetArguments = ['decoder_input_ids', 'decoder_attention_mask', 'encoder_outputs'] as const;

/** Arguments of generate(): what the model reads, how the loop is steered, and any generation parameter. */
export interface GenerateOptions extends GenerationParameters {
  /** The prompt: token ids, a row for each text. Default: one row of bos_token_id. */
  input_ids?: TokenRows | null;
  /** Another name for input_ids. */
  inputs?: TokenRows | null;
  /** 1 for real tokens, 0 for padding; of the shape of input_ids. */
  attention_mask?: TokenRows | null;
  /** Of models with an encoder: what the target begins with, in place of the token that targets begin with. */
  decoder_input_ids?: TokenRows | null;
  /** 1 for real tokens, 0 for padding; of the shape of decoder_input_ids. */
  decoder_attention_mask?: TokenRows | null;
  /** Of models with an encoder: what `encode` gave, in place of input_ids. */
  encoder_outputs?: EncoderOutputs | null;
  /** Parameters in place of the model's own; those of the call come before them. */
  generation_config?: GenerationParameters | null;
  /**
   * Processors of your own, after the built-in ones; one of a built-in class takes its place. A function counts as one.
   */
  logits_processor?: LogitsProcessorList | readonly (LogitsProcessor | LogitsProcessor['_call'])[] | null;
  /** Criteria of your own, beside the built-in ones. A function counts as one. */
  stopping_criteria?:
    | StoppingCriteriaList
    | StoppingCriteria
    | readonly (StoppingCriteria | StoppingCriteria['_call'])[]
    | null;
  /** Says which tokens may come next. */
  prefix_allowed_tokens_fn?: PrefixAllowedTokens | null;
  /** With `guidance_scale`: what generation moves away from, a row for each text. */
  negative_prompt_ids?: TokenRows | null;
  /** 1 for real tokens, 0 for padding; of the shape of negative_prompt_ids. */
  negative_prompt_attention_mask?: TokenRows | null;
  /** Gets tokens as they come: new TextStreamer(tokenizer). One row, no beams. */
  streamer?: BaseStreamer | null;
  /** Needed for stop_strings. */
  tokenizer?: StopStringTokenizer | null;
  /** A cache to go on with: what it holds is not computed anew, and it holds this call's tokens afterwards. */
  past_key_values?: DynamicCache | null;
  /** Ends the generation with ModelcError 'aborted'. */
  signal?: AbortSignal | null;
  /** Makes sampling reproducible. */
  seed?: number | null;
  /**
   * Tokens that are submitted to a GPU together where it chooses them itself (1). More of them spare the host work; then
   * up to twice as many are computed in vain after the last one, and they arrive together.
   */
  tokens_per_submit?: number | null;
}

const callArguments: readonly string[] = [
  'input_ids',
  'inputs',
  'attention_mask',
  ...targetArguments,
  'generation_config',
  'logits_processor',
  'stopping_criteria',
  'prefix_allowed_tokens_fn',
  'negative_prompt_ids',
  'negative_prompt_attention_mask',
  'streamer',
  'tokenizer',
  'past_key_values',
  'signal',
  'seed',
  'tokens_per_submit',
];

/** Whether generate() takes an argument of this name, even if only to refuse its value. */
export const isGenerateArgument = (name: string): boolean =>
  callArguments.includes(name) || isGenerationField(name) || unservedArguments.includes(name);

/** Parameters that other values than the listed ones of would change what is generated, in ways that are not built. */
const unserved: readonly (readonly [GenerationField, neutral: readonly unknown[]])[] = [
  ['use_mtp', [null, false]],
  ['cache_config', [null]],
  ['token_healing', [false]],
  ['watermarking_config', [null]],
  ['output_attentions', [false]],
  ['output_hidden_states', [false]],
  ['is_assistant', [false]],
  ['prompt_lookup_num_tokens', [null]],
  ['assistant_early_exit', [null]],
  ['assistant_ensemble_weight', [null]],
  ['speculation_type', [null]],
  ['compile_config', [null]],
  ['disable_compile', [null, false]],
  ['penalty_alpha', [null, 0]],
  ['dola_layers', [null]],
  ['num_beam_groups', [1]],
  ['diversity_penalty', [0]],
  ['constraints', [null]],
  ['force_words_ids', [null]],
  ['low_memory', [null, false]],
];

/** Arguments of transformers' generate() that this build knows but does not serve. */
const unservedArguments = ['assistant_model', 'assistant_tokenizer', 'custom_generate', 'synced_gpus', 'inputs_embeds'];

export interface ResolvedCall {
  readonly options: GenerateOptions;
  readonly parameters: ResolvedParameters;
  /** End-of-sequence ids; empty if there is none. */
  readonly eos: readonly number[];
  readonly pad: number | undefined;
  /** Length, prompt included, at which a row ends. */
  readonly maxLength: number;
  readonly minLength: number;
}

/** The parameters of a call, defaults filled in. Throws ModelcError 'input' or 'unsupported'. */
export function resolveParameters(options: GenerateOptions, model: GenerationConfig): ResolvedParameters {
  const call: GenerationParameters = {};
  const unknown: string[] = [];
  for (const [name, value] of Object.entries(options)) {
    if (callArguments.includes(name) || value === undefined) continue;
    if (isGenerationField(name)) Object.assign(call, { [name]: value });
    else if (unservedArguments.includes(name)) {
      if (value !== null)
        throw new ModelcError('unsupported', `the argument \`${name}\` of generate() is not supported`);
    } else unknown.push(name);
  }
  if (unknown.length > 0) {
    throw new ModelcError(
      'input',
      `generate() does not know the arguments ${unknown.map((n) => `\`${n}\``).join(', ')}; check their spelling`,
    );
  }
  const passed = options.generation_config ? new GenerationConfig({ ...options.generation_config }).parameters() : {};
  const explicit = { ...model.parameters(), ...passed };
  // A null in the call resets a field to its default.
  for (const [name, value] of Object.entries(call)) {
    if (value === null) delete explicit[name as GenerationField];
    else Object.assign(explicit, { [name]: value });
  }
  if (explicit.max_new_tokens !== undefined && (call.max_length ?? passed.max_length ?? null) !== null) {
    warnOnce('Both `max_new_tokens` and `max_length` are set; `max_new_tokens` takes precedence.');
  }
  for (const text of validateParameters(explicit).values()) warnOnce(text);
  const resolved: ResolvedParameters = { ...generationDefaults, ...explicit } as ResolvedParameters;
  for (const [field, neutral] of unserved) {
    if (!neutral.includes(resolved[field])) {
      throw new ModelcError(
        'unsupported',
        `\`${field}\` = ${JSON.stringify(resolved[field])} is not supported; leave it out`,
      );
    }
  }
  const cache = resolved.cache_implementation;
  if (cache !== null && cache !== 'dynamic' && cache !== 'static') {
    throw new ModelcError('unsupported', `cache_implementation '${cache}' is not supported; use 'dynamic' or 'static'`);
  }
  return resolved;
}

/** Lengths and special tokens of a call whose prompt has `promptLength` tokens. */
export function resolveCall(
  options: GenerateOptions,
  model: GenerationConfig,
  promptLength: number,
  maxPositions: number,
): ResolvedCall {
  const parameters = resolveParameters(options, model);
  const eos = parameters.eos_token_id === null ? [] : [parameters.eos_token_id].flat();
  const hasMaxLength = isSet(options, model, 'max_length');
  let maxLength: number;
  if (parameters.max_new_tokens !== null) maxLength = promptLength + parameters.max_new_tokens;
  else if (!hasMaxLength) maxLength = Math.min(promptLength + generationDefaults.max_length, maxPositions);
  else maxLength = parameters.max_length;
  if (promptLength >= maxLength) {
    throw new ModelcError(
      'input',
      `the prompt has ${promptLength} tokens, but max_length is ${maxLength}; raise max_length or, better, set max_new_tokens`,
    );
  }
  const minLength =
    parameters.min_new_tokens === null ? parameters.min_length : promptLength + parameters.min_new_tokens;
  if (minLength > maxLength) {
    warnOnce(
      `The minimum length (${minLength}) is above the maximum length (${maxLength}), which ends the generation first.`,
    );
  }
  return { options, parameters, eos, pad: parameters.pad_token_id ?? eos[0], maxLength, minLength };
}

function isSet(options: GenerateOptions, model: GenerationConfig, field: GenerationField): boolean {
  if (options[field] !== undefined) return options[field] !== null;
  return (options.generation_config?.[field] ?? model[field] ?? null) !== null;
}

/** Token ids as one bigint array per row, all of one length. Throws ModelcError 'input' for anything else. */
export function tokenRows(name: string, value: TokenRows, vocabSize: number): bigint[][] {
  const rows = value instanceof Tensor ? tensorRows(name, value) : listRows(name, value);
  if (rows.length === 0 || rows[0].length === 0) {
    throw new ModelcError('input', `${name} is empty; give at least one token, e.g. the beginning-of-sequence token`);
  }
  for (const [i, row] of rows.entries()) {
    if (row.length !== rows[0].length) {
      throw new ModelcError(
        'input',
        `${name} has rows of ${rows[0].length} and ${row.length} tokens; pad them to one length (row ${i})`,
      );
    }
    for (const id of row) {
      if (id < 0n || id >= BigInt(vocabSize)) {
        throw new ModelcError('input', `${name} holds the token id ${id}, but the vocabulary has ${vocabSize} tokens`);
      }
    }
  }
  return rows;
}

function tensorRows(name: string, tensor: Tensor): bigint[][] {
  if (tensor.dims.length !== 2) {
    throw new ModelcError('input', `${name} must have dims [batch, length], but has [${tensor.dims}]`);
  }
  const [rows, length] = tensor.dims;
  return Array.from({ length: rows }, (_, r) =>
    Array.from({ length }, (_, i) => toId(name, tensor.data[r * length + i])),
  );
}

function listRows(name: string, list: Exclude<TokenRows, Tensor>): bigint[][] {
  if (!Array.isArray(list)) {
    throw new ModelcError('input', `${name} must be a Tensor or an array of token ids, but is ${typeof list}`);
  }
  const rows: readonly unknown[] = list.length > 0 && !Array.isArray(list[0]) ? [list] : list;
  return rows.map((row) => {
    if (!Array.isArray(row)) throw new ModelcError('input', `${name} mixes token ids and rows of token ids`);
    return row.map((id: unknown) => toId(name, id));
  });
}

function toId(name: string, id: unknown): bigint {
  if (typeof id === 'bigint') return id;
  if (typeof id === 'number' && Number.isInteger(id)) return BigInt(id);
  throw new ModelcError('input', `${name} must hold integers, but holds ${String(id)}`);
}

/** The mask of a call, row-major; undefined when every token is real. */
export function attentionMask(
  value: TokenRows | null | undefined,
  ids: readonly (readonly bigint[])[],
  pad: number | null,
  eos: readonly number[],
  name = 'attention_mask',
): Uint8Array | undefined {
  const length = ids[0].length;
  let mask: Uint8Array;
  if (value) {
    const rows = tokenRows(name, value, 2);
    if (rows.length !== ids.length || rows[0].length !== length) {
      throw new ModelcError(
        'input',
        `${name} has shape [${rows.length}, ${rows[0].length}], but the ids have [${ids.length}, ${length}]`,
      );
    }
    mask = Uint8Array.from(rows.flat(), Number);
  } else {
    // Padding can be told from text only where the pad token means nothing else.
    if (pad === null || eos.includes(pad)) return undefined;
    mask = Uint8Array.from(ids.flat(), (id) => (id === BigInt(pad) ? 0 : 1));
  }
  return mask.includes(0) ? mask : undefined;
}
