// LoraConfig and TaskType with the fields, defaults and checks of Python's PEFT 0.21, and adapter_config.json as it reads
// and writes it. What is not served is refused when it is set, so that no setting is silently without effect.
import { isObject, type JsonObject, quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { pythonPattern } from './python-pattern.ts';

export const TaskType = {
  SEQ_CLS: 'SEQ_CLS',
  SEQ_2_SEQ_LM: 'SEQ_2_SEQ_LM',
  CAUSAL_LM: 'CAUSAL_LM',
  TOKEN_CLS: 'TOKEN_CLS',
  QUESTION_ANS: 'QUESTION_ANS',
  FEATURE_EXTRACTION: 'FEATURE_EXTRACTION',
} as const;
export type TaskType = (typeof TaskType)[keyof typeof TaskType];

/** The initial values of an adapter; `pissa_niter_N` is PiSSA with N iterations of a randomised decomposition. */
export type InitLoraWeights = boolean | 'gaussian' | 'pissa' | `pissa_niter_${number}` | 'olora' | 'orthogonal';

export interface LoraConfigOptions {
  r?: number;
  lora_alpha?: number;
  lora_dropout?: number;
  /** Names of modules, or a regular expression that matches whole names, or 'all-linear'; null: by model_type. */
  target_modules?: readonly string[] | string | null;
  exclude_modules?: readonly string[] | string | null;
  layers_to_transform?: readonly number[] | number | null;
  layers_pattern?: readonly string[] | string | null;
  /** Ranks and alphas of the modules whose names end in a match. */
  rank_pattern?: Readonly<Record<string, number>>;
  alpha_pattern?: Readonly<Record<string, number>>;
  /** Which biases of the base are trained. */
  bias?: 'none' | 'all' | 'lora_only';
  /** A bias on B. */
  lora_bias?: boolean;
  /** Modules that are trained whole, as copies. */
  modules_to_save?: readonly string[] | null;
  /** Whether weights are stored [in, out]; set by what the model does. */
  fan_in_fan_out?: boolean;
  init_lora_weights?: InitLoraWeights;
  use_rslora?: boolean;
  use_dora?: boolean;
  /** Rows of the token embeddings that are trained, or such rows by the name of the table. */
  trainable_token_indices?: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
  /** Ranges [from, to) of layers that the model consists of, in order; a layer that comes twice has two adapters. */
  layer_replication?: readonly (readonly [number, number])[] | null;
  task_type?: TaskType | null;
  base_model_name_or_path?: string | null;
  revision?: string | null;
  inference_mode?: boolean;
}

/** Fields that are written with these values, and refused with others. */
const unserved: JsonObject = {
  alora_invocation_tokens: null,
  arrow_config: null,
  auto_mapping: null,
  corda_config: null,
  ensure_weight_tying: false,
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

/** Fields of files by other versions that say nothing of what is computed. */
const ignored: ReadonlySet<string> = new Set(['peft_type', 'peft_version', 'auto_mapping', 'megatron_core', 'qalora_group_size', 'runtime_config']); // biome-ignore format: one row

const fields = [
  'r', 'lora_alpha', 'lora_dropout', 'target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern',
  'rank_pattern', 'alpha_pattern', 'bias', 'lora_bias', 'modules_to_save', 'fan_in_fan_out', 'init_lora_weights', 'use_rslora',
  'use_dora', 'trainable_token_indices', 'layer_replication', 'task_type', 'base_model_name_or_path', 'revision', 'inference_mode',
] as const satisfies readonly (keyof LoraConfigOptions)[]; // biome-ignore format: one table

const peftVersion = '0.21.0';

/** How a low-rank adapter is made. The fields are those of Python's LoraConfig. */
export class LoraConfig {
  readonly peft_type = 'LORA';
  readonly r: number;
  readonly lora_alpha: number;
  readonly lora_dropout: number;
  readonly target_modules: readonly string[] | string | null;
  readonly exclude_modules: readonly string[] | string | null;
  readonly layers_to_transform: readonly number[] | number | null;
  readonly layers_pattern: readonly string[] | string | null;
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
  readonly bias: 'none' | 'all' | 'lora_only';
  readonly lora_bias: boolean;
  readonly modules_to_save: readonly string[] | null;
  readonly fan_in_fan_out: boolean;
  readonly init_lora_weights: InitLoraWeights;
  readonly use_rslora: boolean;
  readonly use_dora: boolean;
  readonly trainable_token_indices: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
  readonly layer_replication: readonly (readonly [number, number])[] | null;
  readonly task_type: TaskType | null;
  readonly base_model_name_or_path: string | null;
  readonly revision: string | null;
  readonly inference_mode: boolean;

  /** Throws ModelcError 'input' for a bad value, 'unsupported' for one that is not served. */
  constructor(options: LoraConfigOptions = {}) {
    const checked = checkFields(options as JsonObject, 'LoraConfig');
    this.r = checked.r ?? 8;
    this.lora_alpha = checked.lora_alpha ?? 8;
    this.lora_dropout = checked.lora_dropout ?? 0;
    this.target_modules = checked.target_modules ?? null;
    this.exclude_modules = checked.exclude_modules ?? null;
    this.layers_to_transform = checked.layers_to_transform ?? null;
    this.layers_pattern = checked.layers_pattern ?? null;
    this.rank_pattern = checked.rank_pattern ?? {};
    this.alpha_pattern = checked.alpha_pattern ?? {};
    this.bias = checked.bias ?? 'none';
    this.lora_bias = checked.lora_bias ?? false;
    this.modules_to_save = checked.modules_to_save ?? null;
    this.fan_in_fan_out = checked.fan_in_fan_out ?? false;
    this.init_lora_weights = checked.init_lora_weights ?? true;
    this.use_rslora = checked.use_rslora ?? false;
    this.use_dora = checked.use_dora ?? false;
    this.trainable_token_indices = checked.trainable_token_indices ?? null;
    this.layer_replication = checked.layer_replication ?? null;
    this.task_type = checked.task_type ?? null;
    this.base_model_name_or_path = checked.base_model_name_or_path ?? null;
    this.revision = checked.revision ?? null;
    this.inference_mode = checked.inference_mode ?? false;
    checkTogether(this);
  }

  /** This configuration with other values for some fields. */
  with(changes: LoraConfigOptions): LoraConfig {
    return new LoraConfig({ ...Object.fromEntries(fields.map((f) => [f, this[f]])), ...changes } as LoraConfigOptions);
  }

  /** What adapter_config.json holds, its keys in order. */
  to_dict(): JsonObject {
    const own = Object.fromEntries(fields.map((f) => [f, this[f]]));
    const all = { ...unserved, ...own, peft_type: this.peft_type, peft_version: peftVersion };
    return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** The configuration in an adapter_config.json. Throws ModelcError 'checkpoint' or 'unsupported' that names the file. */
  static from_json(json: JsonObject, where: string): LoraConfig {
    if (json.peft_type !== 'LORA') {
      const type = typeof json.peft_type === 'string' ? quote(json.peft_type) : 'none';
      throw new ModelcError('unsupported', `${where} has the peft_type ${type}; only LORA adapters are served`);
    }
    const known = Object.entries(json).filter(([name]) => !ignored.has(name));
    try {
      return new LoraConfig(Object.fromEntries(known) as LoraConfigOptions);
    } catch (cause) {
      if (!(cause instanceof ModelcError)) throw cause;
      const code = cause.code === 'input' ? 'checkpoint' : cause.code;
      throw new ModelcError(code, `${where}: ${cause.message}`, { cause });
    }
  }
}

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
  task_type: [oneOf(...Object.values(TaskType)), `one of ${Object.values(TaskType).join(', ')}`],
  base_model_name_or_path: [isText, 'a string'],
  revision: [isText, 'a string'],
  inference_mode: [isFlag, 'a boolean'],
}; // biome-ignore format: one table

function checkFields(given: JsonObject, where: string): LoraConfigOptions {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    const check = Object.hasOwn(checks, name) ? checks[name as keyof typeof checks] : undefined;
    if (!check) {
      if (!Object.hasOwn(unserved, name)) {
        throw new ModelcError('input', `${where} has no field \`${name}\`; it has ${fields.join(', ')}`);
      }
      if (JSON.stringify(value) === JSON.stringify(unserved[name]) || value === false) continue;
      throw new ModelcError('unsupported', `${where} does not serve \`${name}\`; leave it out`);
    }
    const [test, what] = check;
    if (test(value)) continue;
    const data = ['eva', 'corda', 'loftq', 'lora_ga', 'mica'].find((kind) => kind === value);
    if (name === 'init_lora_weights' && data) {
      throw new ModelcError('unsupported', `init_lora_weights '${data}' is not served; use ${what}`);
    }
    throw new ModelcError('input', `\`${name}\` must be ${what}, but is ${JSON.stringify(value)}`);
  }
  return given as LoraConfigOptions;
}

function checkTogether(config: LoraConfig): void {
  const { target_modules: targets, layers_to_transform: layers, layers_pattern: pattern } = config;
  const bad = (message: string): never => {
    throw new ModelcError('input', message);
  };
  if (typeof targets === 'string' && layers !== null) {
    bad('`layers_to_transform` cannot be used when `target_modules` is a string; give a list of names');
  }
  if (typeof targets === 'string' && pattern !== null) {
    bad('`layers_pattern` cannot be used when `target_modules` is a string; give a list of names');
  }
  if (pattern !== null && pattern.length > 0 && layers === null) {
    bad('`layers_pattern` needs `layers_to_transform`, the layers that it counts');
  }
  if (config.lora_bias && typeof config.init_lora_weights === 'string') {
    bad(`\`lora_bias\` is served with init_lora_weights true or false, not '${config.init_lora_weights}'`);
  }
  if (config.lora_bias && config.use_dora) bad('`lora_bias` cannot be used with `use_dora`; set one of them');
  const patterns = [targets, config.exclude_modules].filter((v) => typeof v === 'string' && v !== 'all-linear');
  for (const p of [...patterns, ...Object.keys(config.rank_pattern), ...Object.keys(config.alpha_pattern)]) {
    pythonPattern(p as string);
  }
}
