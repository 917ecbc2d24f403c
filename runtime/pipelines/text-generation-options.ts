// The options of the text-generation pipeline: which there are, which of them it keeps for itself, and what its generation
// options are where neither call nor checkpoint says otherwise.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { type GenerateOptions, generateNames, unservedArguments } from '../generation/arguments.ts';
import { GenerationConfig } from '../generation/configuration.ts';
import { type GenerationParameters, generationDefaults, isGenerationField } from '../generation/parameters.ts';
import type { TokenizeOptions } from '../tokenization/types.ts';

/**
 * Options of a call of the text-generation pipeline; what it does not know itself goes to generate(). Where neither the
 * call nor the checkpoint says otherwise, it samples 256 tokens at the temperature 0.7, as in transformers.
 */
export interface TextGenerationOptions
  extends Omit<GenerateOptions, 'input_ids' | 'inputs' | 'attention_mask' | 'token_type_ids' | 'tokenizer'> {
  /** Default true: the prompt (or the messages) and the continuation; false: the continuation alone. */
  return_full_text?: boolean | null;
  /** Ids instead of text. */
  return_tensors?: boolean | null;
  /** Has no effect beside the others being left out, with which it is an error. */
  return_text?: boolean | null;
  /** Whether spaces before punctuation go (true); those of byte-pair tokenizers stay. */
  clean_up_tokenization_spaces?: boolean | null;
  /** Text that the model reads before every prompt, not shown in results. */
  prefix?: string | null;
  /** 'hole': cut the beginning of prompts that leave no room for the new tokens. */
  handle_long_generation?: 'hole' | null;
  /** Generation ends at any token that this text is encoded to. For whole texts: stop_strings. */
  stop_sequence?: string | null;
  /** Default: true where max_length is given and padding is not. */
  truncation?: TokenizeOptions['truncation'];
  /** To what length prompts are padded: see the tokenizer's option. */
  padding?: TokenizeOptions['padding'];
  /** Whether the tokenizer adds special tokens to prompts; default: what it does, and none to a chat. */
  add_special_tokens?: boolean | null;
  /** Default: whether the last message is the assistant's. */
  continue_final_message?: boolean | null;
  /** Default true. */
  skip_special_tokens?: boolean | null;
  /** Further options of the tokenizer. */
  tokenizer_encode_kwargs?: TokenizeOptions | null;
  /** Functions that the chat template tells the model of, as JSON schemas. */
  tools?: readonly unknown[] | null;
  /** Documents that the chat template shows the model. */
  documents?: readonly unknown[] | null;
  /** Prompts that run together; default 1. */
  batch_size?: number;
}

/** Options that are the pipeline's own; all others go to generate(). */
const pipelineFields: readonly string[] = [
  'return_full_text',
  'return_tensors',
  'return_text',
  'clean_up_tokenization_spaces',
  'prefix',
  'handle_long_generation',
  'stop_sequence',
  'truncation',
  'padding',
  'add_special_tokens',
  'continue_final_message',
  'skip_special_tokens',
  'tokenizer_encode_kwargs',
  'tools',
  'documents',
  'batch_size',
];

/** Arguments of generate() that the pipeline makes itself. */
const inputNames = ['input_ids', 'inputs', 'attention_mask', 'token_type_ids', 'tokenizer'];

/** Every option of a call. */
export const callNames: readonly string[] = [
  ...pipelineFields,
  ...generateNames.filter((name) => !inputNames.includes(name)),
];

/** What transformers' pipeline takes besides, with what asks for nothing. */
export const unservedCallNames: Readonly<Record<string, unknown>> = {
  ...unservedArguments,
  return_type: null,
  num_workers: 0,
};

/** Throws ModelcError for an option of a call that is not served, or has no possible value. */
export function checkCall(options: TextGenerationOptions): void {
  checkOptions('the text-generation pipeline', options, callNames, unservedCallNames);
  const { batch_size: size = 1, handle_long_generation: long = null, stop_sequence, prefix } = options;
  const fail = (text: string): never => {
    throw new ModelcError('input', text);
  };
  if (!(Number.isInteger(size) && size > 0)) fail(`batch_size must be a positive integer, but is ${String(size)}`);
  if (long !== null && long !== 'hole') fail(`handle_long_generation must be 'hole' or null, but is ${String(long)}`);
  for (const [name, value] of Object.entries({ stop_sequence, prefix })) {
    if ((value ?? null) !== null && typeof value !== 'string') fail(`${name} must be a text, but is ${typeof value}`);
  }
}

/** Which form results have; contradictory requests are errors, as in transformers. */
export function returnFormat(options: TextGenerationOptions): 'tensors' | 'new' | 'full' {
  const full = options.return_full_text ?? null;
  const text = options.return_text ?? null;
  const tensors = options.return_tensors ?? null;
  const exclusive = (a: string, b: string): never => {
    throw new ModelcError('input', `\`${a}\` is mutually exclusive with \`${b}\`; pass one of them`);
  };
  if (full !== null) {
    if (text !== null) exclusive('return_text', 'return_full_text');
    if (tensors !== null) exclusive('return_full_text', 'return_tensors');
    return full ? 'full' : 'new';
  }
  if (tensors !== null) {
    if (text !== null) exclusive('return_text', 'return_tensors');
    return tensors ? 'tensors' : 'full';
  }
  return 'full';
}

/** What the pipeline uses where neither the call nor the checkpoint says otherwise. */
const pipelineDefaults: GenerationParameters = { max_new_tokens: 256, do_sample: true, temperature: 0.7 };

/**
 * What generate() gets of the options of a call and of the pipeline: the call's over the pipeline's over those of the
 * config that the pipeline was given, of the model's config, and the defaults above. A config of the call's own takes the
 * place of all but the model's.
 */
export function generationOptions(
  call: TextGenerationOptions,
  pipeline: TextGenerationOptions,
  model: { readonly generation_config: GenerationConfig; readonly config: Readonly<Record<string, unknown>> },
): GenerateOptions {
  const own: GenerateOptions = ofGeneration({ ...pipeline, ...call });
  if (call.generation_config) {
    const isField = (name: string): boolean => isGenerationField(name) && !Object.hasOwn(call, name);
    return Object.fromEntries(Object.entries(own).filter(([name]) => !isField(name)));
  }
  const { generation_config: given, ...chosen } = own;
  const passed = given ? new GenerationConfig({ ...given }).parameters() : undefined;
  const base = passed ?? model.generation_config.parameters();
  const length = pipeline.max_length ?? base.max_length ?? model.generation_config.max_length;
  const defaults: GenerateOptions = { ...passed };
  for (const [field, value] of Object.entries(pipelineDefaults)) {
    if (!isGenerationField(field) || (chosen[field] ?? base[field] ?? null) !== null) continue;
    // A length that was chosen before counts; in a call, max_new_tokens wins over max_length.
    if (field === 'max_new_tokens' && (length ?? generationDefaults.max_length) !== generationDefaults.max_length)
      continue;
    // Who wants no sampling has no use for a temperature.
    if (field === 'temperature' && (chosen.do_sample ?? base.do_sample) === false) continue;
    Object.assign(defaults, { [field]: value });
  }
  return { ...defaults, ...taskParameters(model.config), ...chosen };
}

const ofGeneration = (options: TextGenerationOptions): GenerateOptions =>
  Object.fromEntries(Object.entries(options).filter(([name]) => !pipelineFields.includes(name)));

/** The part of config.json that was made for pipelines of this task. */
function ofTask(config: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { task_specific_params: all } = config;
  const own: unknown = typeof all === 'object' && all !== null ? Reflect.get(all, 'text-generation') : undefined;
  return typeof own === 'object' && own !== null ? (own as Readonly<Record<string, unknown>>) : {};
}

const taskParameters = (config: Readonly<Record<string, unknown>>): GenerateOptions =>
  Object.fromEntries(Object.entries(ofTask(config)).filter(([name]) => isGenerationField(name)));

/** The text before every prompt, where config.json has one. */
export function prefixOf(config: Readonly<Record<string, unknown>>): string {
  const prefix = ofTask(config).prefix ?? config.prefix;
  return typeof prefix === 'string' ? prefix : '';
}
