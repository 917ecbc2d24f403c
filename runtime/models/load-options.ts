// The options of from_pretrained and from_config: those of all models, those of a kind, and what Python's users may give
// them besides.
import type { BackendName, DeviceName } from '../../backends/index.ts';
import type { ProblemType } from '../../frontends/dsl/index.ts';
import type { Architecture, TaskName } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { deviceOf } from '../execution/devices.ts';

export interface CommonLoadOptions {
  /** 'cpu' (default): native code; 'cuda' and 'webgpu': this machine's GPU; 'reference': the interpreter, slow and exact. */
  target?: DeviceName;
  /** The target, under its name in transformers.js. */
  device?: BackendName | null;
  /** The type to compute in. Weights are used as they are stored, so only 'auto' (default) and that type are served. */
  dtype?: 'auto' | 'float32' | 'fp32' | 'bfloat16' | 'bf16' | 'float16' | 'fp16' | null;
  /** The older name of `dtype`. */
  torch_dtype?: CommonLoadOptions['dtype'];
  /** Rows that can run together at most, beams included; default 8. */
  max_batch?: number;
  /** Weights that have another shape than the config asks for are made new (false), and a warning names them. */
  ignore_mismatched_sizes?: boolean | null;
  /** How attention is computed; compiled kernels give what these two give. */
  attn_implementation?: 'eager' | 'sdpa' | null;
  /** Nothing is ever downloaded. */
  local_files_only?: boolean | null;
  /** Weights are mapped, so that memory holds them once in any case. */
  low_cpu_mem_usage?: boolean | null;
}

/** Options of AutoModelForCausalLM.from_pretrained. */
export interface LoadOptions extends CommonLoadOptions {
  /** 'dynamic' (default): the cache grows by doubling; 'static': it has max_cache_len positions from the start. */
  cache_implementation?: 'dynamic' | 'static' | null;
  /** Positions that a cache can have at most; default max_position_embeddings. */
  max_cache_len?: number | null;
  /** Prompt tokens per run at most; longer prompts are read in chunks. Default 512, or what the target has memory for. */
  chunk?: number;
  /** Makes the model from config.json, in place of the architecture that its model_type names. */
  architecture?: Architecture;
}

/** Options of from_pretrained for models with an encoder. */
export interface Seq2SeqLoadOptions extends Omit<LoadOptions, 'architecture'> {
  /** Tokens of a source at most; default what the model has positions for, or 512. */
  max_length?: number | null;
}

/** What a model of a task is, whatever its config.json says. */
export interface LabelOptions {
  /** Classes of a classifier; it is made new where the checkpoint has another number of them. */
  num_labels?: number | null;
  /** Names of classes by number. */
  id2label?: Readonly<Record<string, string>> | null;
  /** Numbers of classes by name. */
  label2id?: Readonly<Record<string, number>> | null;
  /** Which loss a classifier of sequences has. */
  problem_type?: ProblemType | null;
}

/** Options of from_pretrained for models that read whole sequences. */
export interface TaskLoadOptions extends CommonLoadOptions, LabelOptions {
  /** Tokens of a row at most; default what the model has positions for. */
  max_length?: number | null;
}

/** Says which weights from_config draws. */
export interface SeedOption {
  /** Default: 42. */
  readonly seed?: number;
}

/** Options of from_config for models that read whole sequences. */
export type NewTaskOptions = TaskLoadOptions & SeedOption;

/** Options of openModel: those of all kinds. A kind refuses those that it does not have. */
export interface OpenOptions extends LoadOptions, Seq2SeqLoadOptions, TaskLoadOptions {
  /** What the model is for; default: what its config.json says. */
  task?: TaskName;
}

const commonNames: Readonly<Record<keyof CommonLoadOptions, true>> = {
  target: true,
  device: true,
  dtype: true,
  torch_dtype: true,
  max_batch: true,
  ignore_mismatched_sizes: true,
  attn_implementation: true,
  local_files_only: true,
  low_cpu_mem_usage: true,
};
/** The names of the options that all models have. */
export const commonLoadFields = Object.keys(commonNames);

/** What users of the Python or the JavaScript library know besides, with the value that asks for nothing. */
const unserved: Readonly<Record<string, unknown>> = {
  cache_dir: null,
  code_revision: 'main',
  config: null,
  device_map: 'cpu',
  experts_implementation: 'eager',
  force_download: false,
  from_flax: false,
  from_tf: false,
  key_mapping: null,
  max_memory: null,
  model_file_name: null,
  offload_folder: null,
  offload_state_dict: false,
  output_attentions: false,
  output_hidden_states: false,
  output_loading_info: false,
  progress_callback: null,
  proxies: null,
  quantization_config: null,
  load_in_4bit: false,
  load_in_8bit: false,
  resume_download: false,
  return_dict: true,
  revision: 'main',
  session_options: null,
  state_dict: null,
  subfolder: '',
  token: null,
  tp_plan: null,
  trust_remote_code: false,
  use_auth_token: null,
  use_cache: true,
  use_external_data_format: false,
  use_kernels: false,
  use_safetensors: true,
  variant: null,
  weights_only: true,
};

/** Checks the options of a call: `own` are the names of those that only some models have. */
export function checkLoadOptions(call: string, options: OpenOptions | undefined, own: readonly string[]): void {
  checkOptions(call, options, [...commonLoadFields, ...own], unserved);
  const { target, device, attn_implementation: attention, cache_implementation, architecture } = options ?? {};
  deviceOf(target, device);
  checkCache(cache_implementation);
  if (architecture !== undefined && typeof architecture !== 'function') {
    throw new ModelcError('input', '`architecture` must be a function from config.json to a model');
  }
  if (attention != null && attention !== 'eager' && attention !== 'sdpa') {
    throw new ModelcError(
      'unsupported',
      `attn_implementation '${String(attention)}' is not supported; leave it out, or use 'eager' or 'sdpa'`,
    );
  }
  for (const name of ['ignore_mismatched_sizes', 'local_files_only', 'low_cpu_mem_usage'] as const) {
    const value: unknown = options?.[name];
    if (value == null || typeof value === 'boolean') continue;
    throw new ModelcError('input', `\`${name}\` must be true or false, but is ${String(value)}`);
  }
}

/** The cache of a model that generates. */
function checkCache(cache: unknown): void {
  if (cache == null || cache === 'dynamic' || cache === 'static') return;
  throw new ModelcError(
    'unsupported',
    `cache_implementation '${String(cache)}' is not supported; use 'dynamic' or 'static'`,
  );
}
