// The arguments of generate(): which there are, in which forms they are given, and what each must be.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { Tensor } from '../tensors/tensor.ts';
import { DynamicCache } from './cache.ts';
import { GenerationConfig } from './configuration.ts';
import type { LogitsProcessor, LogitsProcessorList } from './logits-processor.ts';
import { type GenerationParameters, generationFields, shownValue } from './parameters.ts';
import type { PrefixAllowedTokens } from './processors.ts';
import type { StoppingCriteria, StoppingCriteriaList, StopStringTokenizer } from './stopping-criteria.ts';
import type { BaseStreamer } from './streamers.ts';
import { type TokenRows, tokenRows } from './token-rows.ts';

/** What an encoder gives. */
export interface EncoderOutputs {
  /** [batch, length, hidden] */
  last_hidden_state: Tensor<'float32'>;
}

/** Arguments that only models with an encoder take. */
export const targetArguments = ['decoder_input_ids', 'decoder_attention_mask', 'encoder_outputs'] as const;

/** What a tokenizer gives that generate() takes. */
export interface GenerateInputs {
  /** The prompt: token ids, a row for each text. Default: one row of bos_token_id. */
  input_ids?: TokenRows | null;
  /** 1 for real tokens, 0 for padding; of the shape of input_ids. */
  attention_mask?: TokenRows | null;
  /** All 0: models that generate have one segment. */
  token_type_ids?: TokenRows | null;
}

/** Arguments of generate(): what the model reads, how the loop is steered, and any generation parameter. */
export interface GenerateOptions extends GenerationParameters, GenerateInputs {
  /** Another name for input_ids. */
  inputs?: TokenRows | null;
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
  /** Ends the generation: generate() throws the signal's reason, by default a DOMException named AbortError. */
  signal?: AbortSignal | null;
  /** Makes sampling reproducible. */
  seed?: number | null;
  /**
   * Tokens that are submitted to a GPU together where it chooses them itself (1). More of them spare the host work; then
   * up to twice as many are computed in vain after the last one, and they arrive together.
   */
  tokens_per_submit?: number | null;
}

/** What asks for a GenerateOutput. */
export type DictOptions = GenerateOptions & { return_dict_in_generate: true };

/** The first argument: the tokens, what a tokenizer gave, or all options. */
export type CallInputs = TokenRows | GenerateInputs | GenerateOptions;

/** What an argument must be. */
interface Argument {
  readonly expected: string;
  readonly test: (value: never) => boolean;
}

const hasMethods = (value: unknown, names: readonly string[]): boolean =>
  value !== null &&
  (typeof value === 'object' || typeof value === 'function') &&
  names.every((name) => typeof Reflect.get(value, name) === 'function');
const isIterable = (value: unknown): boolean => typeof value === 'object' && value !== null && Symbol.iterator in value;
const isStep = (item: unknown): boolean => typeof item === 'function' || hasMethods(item, ['_call']);
const areSteps = (value: unknown): boolean => isIterable(value) && [...(value as Iterable<unknown>)].every(isStep);
/** Rows are looked at where they are read. */
const rows: Argument = {
  expected: 'a tensor or an array of token ids',
  test: (v: unknown) => v instanceof Tensor || Array.isArray(v),
};

/** The arguments that are no generation parameters. */
const callArguments: Readonly<Record<Exclude<keyof GenerateOptions, keyof GenerationParameters>, Argument>> = {
  input_ids: rows,
  inputs: rows,
  attention_mask: rows,
  token_type_ids: rows,
  decoder_input_ids: rows,
  decoder_attention_mask: rows,
  negative_prompt_ids: rows,
  negative_prompt_attention_mask: rows,
  encoder_outputs: {
    expected: 'an object with the tensor last_hidden_state',
    test: (v: unknown) =>
      typeof v === 'object' &&
      v !== null &&
      'last_hidden_state' in v &&
      v.last_hidden_state instanceof Tensor &&
      v.last_hidden_state.data instanceof Float32Array,
  },
  generation_config: {
    expected: 'a GenerationConfig or an object with its fields',
    test: (v: unknown) => typeof v === 'object' && !Array.isArray(v) && !(v instanceof Tensor),
  },
  logits_processor: { expected: 'a list of logits processors', test: areSteps },
  stopping_criteria: {
    expected: 'a list of stopping criteria',
    test: (v: unknown) => areSteps(v) || hasMethods(v, ['_call']),
  },
  prefix_allowed_tokens_fn: { expected: 'a function', test: (v: unknown) => typeof v === 'function' },
  streamer: { expected: 'a streamer, with put() and end()', test: (v: unknown) => hasMethods(v, ['put', 'end']) },
  tokenizer: { expected: 'a tokenizer', test: (v: unknown) => hasMethods(v, ['encode', 'decode']) },
  past_key_values: {
    expected: 'a DynamicCache or StaticCache',
    test: (v: unknown) => v instanceof DynamicCache,
  },
  signal: { expected: 'an AbortSignal', test: (v: unknown) => hasMethods(v, ['throwIfAborted', 'addEventListener']) },
  seed: { expected: 'an integer', test: (v: unknown) => Number.isSafeInteger(v) },
  tokens_per_submit: {
    expected: 'a positive integer',
    test: (v: unknown) => Number.isSafeInteger(v) && Number(v) > 0,
  },
};

/** Every name that generate() serves. */
export const generateNames: readonly string[] = [...Object.keys(callArguments), ...generationFields];

/** Arguments of transformers' generate() that are known and not served, with what asks for nothing. */
export const unservedArguments: Readonly<Record<string, unknown>> = {
  assistant_model: null,
  assistant_tokenizer: null,
  custom_generate: null,
  synced_gpus: false,
  inputs_embeds: null,
  position_ids: null,
  trust_remote_code: false,
};

/** The options of a call in one object, however its arguments were given. */
export function callOptions<O extends GenerateOptions>(first: CallInputs | undefined, more: O | undefined): O {
  const isRows = first instanceof Tensor || Array.isArray(first);
  if (!isRows && (typeof first !== 'object' || first === null) && first !== undefined) {
    throw new ModelcError(
      'input',
      `generate() takes token ids or an object such as { input_ids, max_new_tokens: 20 }, not ${shownValue(first)}`,
    );
  }
  const inputs = isRows ? { inputs: first } : first;
  // As in Python, where a config may stand behind the inputs.
  const rest = more instanceof GenerationConfig ? { generation_config: more } : more;
  return { ...inputs, ...rest } as O;
}

/** Throws ModelcError for a name that generate() does not serve, or a value that is of another kind than its argument. */
export function checkArguments(options: GenerateOptions): void {
  checkOptions('generate()', options, generateNames, unservedArguments);
  for (const [name, { expected, test }] of Object.entries(callArguments)) {
    const value: unknown = options[name as keyof typeof callArguments] ?? null;
    if (value !== null && !test(value as never)) {
      throw new ModelcError('input', `\`${name}\` must be ${expected}, but is ${shownValue(value)}`);
    }
  }
  if ((options.input_ids ?? null) !== null && (options.inputs ?? null) !== null) {
    throw new ModelcError('input', 'generate() is given `inputs` and `input_ids`, which mean the same; leave out one');
  }
  const { token_type_ids: types } = options;
  if (types && tokenRows('token_type_ids', types, 2 ** 31).some((row) => row.some((id) => id !== 0n))) {
    throw new ModelcError(
      'unsupported',
      '`token_type_ids` of generate() must be all 0: models that generate have one segment',
    );
  }
}
