// LoraConfig with the fields, defaults and checks of Python's PEFT 0.21, and adapter_config.json as it reads and writes it.
// What is not served is refused when it is set, so that no setting is silently without effect.
import { type JsonObject, quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkFields, fields, readFields, unserved } from './config-fields.ts';
import type { InitLoraWeights, LoraConfigOptions, TaskType } from './config-options.ts';
import { pythonPattern } from './python-pattern.ts';

const peftVersion = '0.21.0';

/**
 * How a low-rank adapter is made. The fields are those of Python's LoraConfig.
 *
 *     const config = new LoraConfig({ r: 8, lora_alpha: 16, target_modules: ['q_proj', 'v_proj'], use_dora: true })
 */
export class LoraConfig implements Readonly<Required<LoraConfigOptions>> {
  /** The kind of adapter: always 'LORA'. */
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
  readonly ensure_weight_tying: boolean;
  readonly task_type: TaskType | null;
  readonly base_model_name_or_path: string | null;
  readonly revision: string | null;
  readonly inference_mode: boolean;

  /** Throws ModelcError 'input' for a bad value, 'unsupported' for one that is not served. */
  constructor(options: LoraConfigOptions = {}) {
    const checked = checkFields(options);
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
    this.ensure_weight_tying = checked.ensure_weight_tying ?? false;
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
    try {
      return new LoraConfig(readFields(json, where));
    } catch (cause) {
      if (!(cause instanceof ModelcError)) throw cause;
      const code = cause.code === 'input' ? 'checkpoint' : cause.code;
      throw new ModelcError(code, `${where}: ${cause.message}`, { cause });
    }
  }
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

/** Throws ModelcError 'input' for what is no LoraConfig. */
export function checkConfig(call: string, config: unknown): asserts config is LoraConfig {
  if (config instanceof LoraConfig) return;
  throw new ModelcError('input', `${call} needs a LoraConfig; write new LoraConfig({ r: 8 })`);
}
