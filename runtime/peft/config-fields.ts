// The fields of LoraConfig: what values each takes, which fields of Python's PEFT are not served, and which fields of an
// adapter_config.json say nothing of what the adapter computes, so that a file of any version of PEFT is read.
import { isObject, type JsonObject, quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { warnOnce } from '../generation/warnings.ts';
import { type LoraConfigOptions, TaskType } from './config-options.ts';

export const fields = [
  'r', 'lora_alpha', 'lora_dropout', 'target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern',
  'rank_pattern', 'alpha_pattern', 'bias', 'lora_bias', 'modules_to_save', 'fan_in_fan_out', 'init_lora_weights', 'use_rslora',
  'use_dora', 'trainable_token_indices', 'layer_replication', 'ensure_weight_tying', 'task_type', 'base_model_name_or_path',
  'revision', 'inference_mode',
] as const satisfies readonly (keyof LoraConfigOptions)[]; // biome-ignore format: one table

/** Fields that are written with these values, and refused with others that ask for something. */
export const unserved: JsonObject = {
  alora_invocation_tokens: null,
  arrow_config: null,
  auto_mapping: null,
  corda_config: null,
  eva_config: null,
  kasa_config: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: 'megatron.core',
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
};

/** Fields of files that say nothing of what a trained adapter computes: how it was made, stored or spread over machines. */
const passed: ReadonlySet<string> = new Set([
  'peft_type', 'peft_version', 'auto_mapping', 'megatron_config', 'megatron_core', 'qalora_group_size', 'runtime_config',
  'loftq_config', 'eva_config', 'corda_config', 'lora_ga_config', 'merge_weights',
]); // biome-ignore format: one table

/** Fields of old files that change what is computed; PEFT forgot them in 2023. */
const forgotten: ReadonlySet<string> = new Set(['enable_lora']);

const isStrings = (v: unknown): v is readonly string[] => Array.isArray(v) && v.every((x) => typeof x === 'string');
const isIndex = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;
const isIndices = (v: unknown): v is readonly number[] => Array.isArray(v) && v.every(isIndex);
const isRank = (v: unknown): boolean => Number.isSafeInteger(v) && (v as number) > 0;
const isNames = (v: unknown): boolean => typeof v === 'string' || isStrings(v);
const isRecord = (v: unknown, test: (x: unknown) => boolean): boolean => isObject(v) && Object.values(v).every(test);
const isNumber = (v: unknown): boolean => Number.isFinite(v);
const isFlag = (v: unknown): boolean => typeof v === 'boolean';
const isText = (v: unknown): boolean => typeof v === 'string';
const oneOf =
  (...values: readonly unknown[]) =>
  (v: unknown): boolean =>
    values.includes(v);
const isInit = (v: unknown): boolean =>
  isFlag(v) || oneOf('gaussian', 'pissa', 'olora', 'orthogonal')(v) || (isText(v) && /^pissa_niter_\d{1,4}$/.test(v as string)); // biome-ignore format: one row
const isLayerRange = (v: unknown): boolean => isIndices(v) && v.length === 2 && v[0] < v[1];

const checks: Readonly<Record<(typeof fields)[number], readonly [test: (v: unknown) => boolean, what: string]>> = {
  r: [isRank, 'a positive integer'],
  lora_alpha: [isNumber, 'a number'],
  lora_dropout: [(v) => isNumber(v) && (v as number) >= 0 && (v as number) < 1, 'a number from 0 up to, not including, 1'],
  target_modules: [isNames, "a list of module names, a regular expression or 'all-linear'"],
  exclude_modules: [isNames, 'a list of module names or a regular expression'],
  layers_to_transform: [(v) => isIndex(v) || isIndices(v), 'a layer number or a list of them'],
  layers_pattern: [isNames, 'the name of the list of layers, or a list of such names'],
  rank_pattern: [(v) => isRecord(v, isRank), 'an object of positive integers by module name'],
  alpha_pattern: [(v) => isRecord(v, isNumber), 'an object of numbers by module name'],
  bias: [oneOf('none', 'all', 'lora_only'), "'none', 'all' or 'lora_only'"],
  lora_bias: [isFlag, 'a boolean'],
  modules_to_save: [isStrings, 'a list of module names'],
  fan_in_fan_out: [isFlag, 'a boolean'],
  init_lora_weights: [isInit, "true, false, 'gaussian', 'pissa', 'pissa_niter_N', 'olora' or 'orthogonal'"],
  use_rslora: [isFlag, 'a boolean'],
  use_dora: [isFlag, 'a boolean'],
  trainable_token_indices: [(v) => isIndices(v) || isRecord(v, isIndices), 'a list of token ids, or such lists by module name'],
  layer_replication: [(v) => Array.isArray(v) && v.length > 0 && v.every(isLayerRange), 'a list of ranges [from, to)'],
  ensure_weight_tying: [isFlag, 'a boolean'],
  task_type: [oneOf(...Object.values(TaskType)), `one of ${Object.values(TaskType).join(', ')}`],
  base_model_name_or_path: [isText, 'a string'],
  revision: [isText, 'a string'],
  inference_mode: [isFlag, 'a boolean'],
}; // biome-ignore format: one table

/** Whether a value asks for nothing: null, false, empty, or an object of nothing but that. */
const saysNothing = (value: unknown): boolean =>
  isEmpty(value) || (isObject(value) && Object.values(value).every(isEmpty));

const isEmpty = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === false ||
  value === '' ||
  (typeof value === 'object' && Object.keys(value).length === 0);

const isNeutral = (name: string, value: unknown): boolean =>
  saysNothing(value) || (Object.hasOwn(unserved, name) && value === unserved[name]);

const isField = (name: string): name is (typeof fields)[number] => Object.hasOwn(checks, name);

/** The fields that a program gives. Throws ModelcError 'input' for a bad value or name, 'unsupported' for what is not served. */
export function checkFields(given: LoraConfigOptions): LoraConfigOptions {
  const asked = isObject(given)
    ? Object.fromEntries(Object.entries(given).filter(([name, v]) => !(Object.hasOwn(unserved, name) && isNeutral(name, v)))) // biome-ignore format: one row
    : given;
  checkOptions('LoraConfig', asked, fields, unserved);
  for (const name of fields) checkValue(name, given[name]);
  return given;
}

function checkValue(name: (typeof fields)[number], value: unknown): void {
  const [test, what] = checks[name];
  if (value === null || value === undefined || test(value)) return;
  const data = ['eva', 'corda', 'loftq', 'lora_ga', 'mica'].find((kind) => kind === value);
  if (name === 'init_lora_weights' && data) {
    throw new ModelcError('unsupported', `init_lora_weights '${data}' is not served; use ${what}`);
  }
  const shown = Array.isArray(value) ? 'another list' : isObject(value) ? 'another object' : typeof value === 'string' ? quote(value) : String(value); // biome-ignore format: one row
  throw new ModelcError('input', `\`${name}\` must be ${what}, but is ${shown}`);
}

/** Initialisations that leave another base behind, which only the program that made the adapter has. */
const changesBase = /^(corda|loftq|lora_ga)$/;

/**
 * The fields of an adapter_config.json that LoraConfig has. What says nothing is passed over, and so is how the adapter
 * began, for its weights are in the file; a field that no version of PEFT before 0.22 has is passed over with a warning,
 * as in PEFT. Throws ModelcError 'unsupported' for a field that changes what is computed and is not served.
 */
export function readFields(json: JsonObject, where: string): LoraConfigOptions {
  const known: Record<string, unknown> = {};
  const strange: string[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (name === 'init_lora_weights' && isText(value) && !isInit(value)) warnOfBeginning(value as string, where);
    else if (isField(name)) known[name] = value;
    else if (passed.has(name) || isNeutral(name, value)) continue;
    else if (Object.hasOwn(unserved, name) || forgotten.has(name)) {
      throw new ModelcError(
        'unsupported',
        `it sets \`${name}\`, which changes what the adapter computes and is not served`,
      );
    } else strange.push(name);
  }
  if (strange.length > 0) {
    warnOnce(`${where} has fields that LoraConfig does not know, which are passed over: ${strange.map((n) => quote(n)).join(', ')}.`); // biome-ignore format: one row
  }
  return known as LoraConfigOptions;
}

function warnOfBeginning(kind: string, where: string): void {
  const base = changesBase.test(kind)
    ? 'such an adapter belongs to the base that its beginning left behind, so use the base that was saved with it'
    : 'its trained weights are used as they are';
  warnOnce(`${where}: the adapter began with init_lora_weights ${quote(kind)}; ${base}.`);
}
