// Resolves the arguments of one generate() call, as transformers (main) does: call arguments, then the passed config, then
// the model's own, then defaults; then lengths and special tokens. An option that is known but not served throws; an
// unknown one throws too. What a checkpoint says about how to compute, and not what, stops nothing.
import { ModelcError } from '../../ir/error.ts';
import { checkArguments, type GenerateOptions } from './arguments.ts';
import { GenerationConfig } from './configuration.ts';
import {
  type GenerationField,
  type GenerationParameters,
  generationDefaults,
  isGenerationField,
  type ResolvedParameters,
  shownValue,
  validateParameters,
} from './parameters.ts';
import { processorsOf } from './processor-list.ts';
import type { ResolvedCall } from './resolved-call.ts';
import { warnOnce } from './warnings.ts';

/** Parameters of which only the listed values are served. */
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

/** Those that change how tokens are computed, and not which: a checkpoint may say them to other programs. */
const hints: readonly GenerationField[] = [
  'use_mtp',
  'cache_config',
  'output_attentions',
  'output_hidden_states',
  'is_assistant',
  'prompt_lookup_num_tokens',
  'assistant_early_exit',
  'assistant_ensemble_weight',
  'speculation_type',
  'compile_config',
  'disable_compile',
  'low_memory',
];

/** Ways to keep keys and values, as transformers names them, and the cache that each is here. */
const cacheKinds: Readonly<Record<string, 'dynamic' | 'static'>> = {
  dynamic: 'dynamic',
  hybrid: 'dynamic',
  static: 'static',
  sliding_window: 'static',
  hybrid_chunked: 'static',
};

/** The parameters of a call, defaults filled in. Throws ModelcError 'input' or 'unsupported'. */
export function resolveParameters(options: GenerateOptions, model: GenerationConfig): ResolvedParameters {
  const call: GenerationParameters = {};
  for (const [name, value] of Object.entries(options)) {
    if (isGenerationField(name) && value !== undefined) Object.assign(call, { [name]: value });
  }
  const passed = passedConfig(options).parameters();
  const explicit = { ...model.parameters(), ...passed };
  // A null in the call resets a field to its default.
  for (const [name, value] of Object.entries(call)) {
    if (value === null) delete explicit[name as GenerationField];
    else Object.assign(explicit, { [name]: value });
  }
  if (explicit.max_new_tokens !== undefined && (call.max_length ?? passed.max_length ?? null) !== null) {
    warnOnce('Both `max_new_tokens` and `max_length` are set; `max_new_tokens` takes precedence.');
  }
  const given = new Set(Object.keys({ ...call, ...passed }));
  for (const text of validateParameters(explicit, given).values()) warnOnce(text);
  const resolved: ResolvedParameters = { ...generationDefaults, ...explicit } as ResolvedParameters;
  const isOwn = (field: GenerationField): boolean => !given.has(field) && model.isFromFile(field);
  for (const [field, neutral] of unserved) {
    if (neutral.includes(resolved[field]) || (hints.includes(field) && isOwn(field))) continue;
    const value = `\`${field}\` = ${shownValue(resolved[field])}`;
    throw new ModelcError(
      'unsupported',
      isOwn(field)
        ? `${model.file} has ${value}, which is not supported and changes what is generated; pass ${field}: null to generate() to go on without it, or take it out of the file`
        : `${value} is not supported; leave it out`,
    );
  }
  return { ...resolved, cache_implementation: cacheKind(resolved.cache_implementation, isOwn('cache_implementation')) };
}

/** The config that a call is given, as one. */
function passedConfig({ generation_config: passed }: GenerateOptions): GenerationConfig {
  return passed instanceof GenerationConfig ? passed : new GenerationConfig(passed ?? {});
}

/** The kind of cache of this name; a checkpoint's own wish for one that there is not is passed over. */
function cacheKind(name: string | null, isOwn: boolean): 'dynamic' | 'static' | null {
  if (name === null) return null;
  if (Object.hasOwn(cacheKinds, name)) return cacheKinds[name];
  if (isOwn) return null;
  throw new ModelcError('unsupported', `cache_implementation '${name}' is not supported; use 'dynamic' or 'static'`);
}

/**
 * Throws what generate() would throw for these options whatever it is given to read, and for those of the config alone
 * without any: a compiler asks before it works.
 */
export function checkGeneration(model: GenerationConfig, options: GenerateOptions = {}): void {
  checkArguments(options);
  const parameters = resolveParameters(options, model);
  processorsOf({ options, parameters, eos: [], pad: undefined, maxLength: 2, minLength: 0 }, [[0n]], [[0n]]);
}

/** Lengths and special tokens of a call whose prompt has `promptLength` tokens. */
export function resolveCall(
  options: GenerateOptions,
  model: GenerationConfig,
  promptLength: number,
  maxPositions: number,
): ResolvedCall {
  const parameters = resolveParameters(options, model);
  // A negative id names no token: so files say that there is none.
  const eos = [parameters.eos_token_id ?? []].flat().filter((id) => id >= 0);
  const pad = parameters.pad_token_id === null || parameters.pad_token_id < 0 ? eos[0] : parameters.pad_token_id;
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
  return { options, parameters, eos, pad, maxLength, minLength };
}

function isSet(options: GenerateOptions, model: GenerationConfig, field: GenerationField): boolean {
  if (options[field] !== undefined) return options[field] !== null;
  return (options.generation_config?.[field] ?? model[field] ?? null) !== null;
}
