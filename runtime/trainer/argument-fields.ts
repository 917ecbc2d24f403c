// The fields of TrainingArguments: what each takes, and its default, as in transformers 5. A field that nothing here can
// obey takes its default alone and says why; one that cannot change a result (how data reaches a GPU, say) takes any value
// that Python takes, so that arguments written for Python are read.
import { SchedulerType } from './schedulers.ts';
import type { OptimizerName } from './optimizer-names.ts';
import { optimizerNames, refusedOptimizers } from './optimizer-names.ts';

export interface Field<T> {
  readonly value: T;
  /** What the field takes, for messages. */
  readonly takes: string;
  accepts(value: unknown): boolean;
  /** Why values that Python takes are refused. */
  readonly refuses?: (value: unknown) => string | undefined;
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
const isText = (value: unknown): value is string => typeof value === 'string';
const isTexts = (value: unknown): value is readonly string[] => Array.isArray(value) && value.every(isText);

interface Range {
  readonly least?: number;
  readonly most?: number;
  readonly whole?: boolean;
}
const number = (value: number, { least = -Infinity, most = Infinity, whole = false }: Range = {}): Field<number> => ({
  value,
  takes: `${whole ? 'an integer' : 'a number'}${least > -Infinity ? ` of at least ${least}` : ''}${most < Infinity ? ` and at most ${most}` : ''}`,
  accepts: (v) => isNumber(v) && v >= least && v <= most && (!whole || Number.isInteger(v)),
});
const flag = (value: boolean): Field<boolean> => ({
  value,
  takes: 'true or false',
  accepts: (v) => typeof v === 'boolean',
});
const text = (value: string): Field<string> => ({ value, takes: 'a string', accepts: isText });
const texts = (value: readonly string[]): Field<readonly string[]> => ({
  value,
  takes: 'an array of strings',
  accepts: isTexts,
});
const choice = <const C extends string>(value: NoInfer<C>, choices: readonly C[]): Field<C> => ({
  value,
  takes: choices.map((c) => `'${c}'`).join(', '),
  accepts: (v) => choices.some((c) => c === v),
});
const object: Field<Readonly<Record<string, unknown>>> = {
  value: {},
  takes: 'an object',
  accepts: (v) => typeof v === 'object' && v !== null && !Array.isArray(v),
};
const optional = <T>(field: Field<T>): Field<T | null> => ({
  ...field,
  value: null,
  takes: `${field.takes} or null`,
  accepts: (v) => v === null || field.accepts(v),
});

/** Takes its default alone. */
const unserved = <T>(value: T, why: string): Field<T> => ({
  value,
  takes: JSON.stringify(value),
  accepts: () => true,
  refuses: (v) => (JSON.stringify(v) === JSON.stringify(value) ? undefined : why),
});

const oneProcess = 'training runs in one process on one device';
const noHub = 'nothing is uploaded; push the folder with a tool of the Hub';

/** 'no', or after so many steps, or after each epoch. */
const intervals = ['no', 'steps', 'epoch'] as const;
const reporters = ['none', 'all', 'tensorboard'] as const;

const optim: Field<OptimizerName> = {
  ...choice('adamw_torch_fused', optimizerNames),
  refuses: (v) => (refusedOptimizers.some((name) => name === v) ? 'this optimizer is not there' : undefined),
};

export const fields = {
  output_dir: {
    ...text('trainer_output'),
    takes: 'the path of a folder',
    accepts: (v: unknown) => isText(v) && v !== '',
  },
  do_train: flag(false),
  do_eval: flag(false),
  do_predict: flag(false),
  resume_from_checkpoint: optional(text('')),
  seed: number(42, { least: 0, whole: true }),
  data_seed: optional(number(0, { least: 0, whole: true })),
  full_determinism: flag(false),
  use_cpu: flag(false),

  num_train_epochs: number(3, { least: 0 }),
  max_steps: number(-1, { least: -1, whole: true }),
  per_device_train_batch_size: number(8, { least: 1, whole: true }),
  per_device_eval_batch_size: number(8, { least: 1, whole: true }),
  gradient_accumulation_steps: number(1, { least: 1, whole: true }),
  auto_find_batch_size: unserved(
    false,
    'memory is planned before the first step; choose a smaller per_device_train_batch_size',
  ),

  optim,
  optim_args: optional(text('')),
  optim_target_modules: unserved<string | readonly string[] | null>(null, 'no low-rank optimizer is served'),
  learning_rate: number(5e-5, { least: 0 }),
  weight_decay: number(0, { least: 0 }),
  adam_beta1: number(0.9, { least: 0, most: 1 }),
  adam_beta2: number(0.999, { least: 0, most: 1 }),
  adam_epsilon: number(1e-8, { least: 0 }),
  max_grad_norm: number(1, { least: 0 }),
  lr_scheduler_type: choice('linear', Object.values(SchedulerType)),
  lr_scheduler_kwargs: optional(object),
  warmup_steps: number(0, { least: 0 }),

  bf16: flag(false),
  fp16: flag(false),
  bf16_full_eval: unserved(false, 'evaluation computes as training does; use bf16'),
  fp16_full_eval: unserved(false, 'evaluation computes as training does; use fp16'),
  tf32: unserved<boolean | null>(null, 'products of f32 are computed in f32'),
  gradient_checkpointing: flag(false),
  gradient_checkpointing_kwargs: optional(object),
  torch_compile: flag(false),
  torch_compile_backend: optional(text('')),
  torch_compile_mode: optional(text('')),
  torch_empty_cache_steps: optional(number(1, { least: 1, whole: true })),
  use_liger_kernel: flag(false),
  liger_kernel_config: optional(object),
  use_cache: flag(false),

  label_smoothing_factor: number(0, { least: 0, most: 1 }),
  average_tokens_across_devices: flag(true),
  neftune_noise_alpha: unserved<number | null>(null, 'noise on embeddings is not served'),

  logging_strategy: choice('steps', intervals),
  logging_steps: number(500, { least: 0 }),
  logging_first_step: flag(false),
  logging_nan_inf_filter: flag(true),
  log_level: choice('passive', ['debug', 'info', 'warning', 'error', 'critical', 'passive']),
  log_level_replica: choice('warning', ['debug', 'info', 'warning', 'error', 'critical', 'passive']),
  log_on_each_node: flag(true),
  disable_tqdm: optional(flag(false)),
  report_to: {
    value: 'none',
    takes: "'none', 'all', 'tensorboard' or an array of them",
    accepts: (v) => isText(v) || isTexts(v),
    refuses: (v) =>
      [v].flat().every((name) => reporters.some((r) => r === name))
        ? undefined
        : 'there is only tensorboard to report to',
  } as Field<string | readonly string[]>,
  run_name: optional(text('')),
  project: text('huggingface'),
  trackio_space_id: unserved<string | null>(null, 'there is only tensorboard to report to'),
  trackio_bucket_id: unserved<string | null>(null, 'there is only tensorboard to report to'),
  trackio_static_space_id: unserved<string | null>(null, 'there is only tensorboard to report to'),
  include_num_input_tokens_seen: {
    value: 'no',
    takes: "'no', 'all', 'non_padding', true or false",
    accepts: (v) => typeof v === 'boolean' || v === 'no' || v === 'all' || v === 'non_padding',
  } as Field<'no' | 'all' | 'non_padding' | boolean>,

  eval_strategy: choice('no', intervals),
  eval_steps: optional(number(0, { least: 0 })),
  eval_delay: number(0, { least: 0 }),
  eval_on_start: flag(false),
  prediction_loss_only: flag(false),
  eval_accumulation_steps: optional(number(1, { least: 1, whole: true })),
  include_for_metrics: {
    ...texts([]),
    takes: "an array of 'inputs' and 'loss'",
    accepts: (v: unknown) => isTexts(v) && v.every((name) => name === 'inputs' || name === 'loss'),
  },
  batch_eval_metrics: flag(false),
  eval_do_concat_batches: flag(true),
  eval_use_gather_object: flag(false),

  save_strategy: choice('steps', ['no', 'steps', 'epoch', 'best']),
  save_steps: number(500, { least: 0 }),
  save_total_limit: optional(number(0, { whole: true })),
  save_only_model: flag(false),
  save_on_each_node: flag(false),
  enable_jit_checkpoint: unserved(false, 'a checkpoint is written at the steps of save_strategy'),
  load_best_model_at_end: flag(false),
  metric_for_best_model: optional(text('')),
  greater_is_better: optional(flag(false)),
  restore_callback_states_from_checkpoint: flag(false),
  ignore_data_skip: flag(false),

  dataloader_num_workers: number(0, { least: 0, whole: true }),
  dataloader_drop_last: flag(false),
  dataloader_pin_memory: flag(true),
  dataloader_persistent_workers: flag(false),
  dataloader_prefetch_factor: optional(number(1, { least: 1, whole: true })),
  dataloader_multiprocessing_context: unserved<string | null>(null, 'no processes are started for data'),
  dataloader_in_order: flag(true),
  remove_unused_columns: flag(true),
  label_names: optional(texts([])),
  train_sampling_strategy: {
    ...choice('random', ['random', 'sequential', 'group_by_length']),
    refuses: (v: unknown) => (v === 'batch_rebalance' ? oneProcess : undefined),
  },
  length_column_name: text('length'),

  fsdp: unserved<string | null>(null, oneProcess),
  fsdp_config: unserved<string | null>(null, oneProcess),
  deepspeed: unserved<string | null>(null, oneProcess),
  accelerator_config: unserved<string | null>(null, oneProcess),
  parallelism_config: unserved<string | null>(null, oneProcess),
  ddp_find_unused_parameters: unserved<boolean | null>(null, oneProcess),
  ddp_bucket_cap_mb: unserved<number | null>(null, oneProcess),
  ddp_broadcast_buffers: unserved<boolean | null>(null, oneProcess),
  ddp_static_graph: unserved<boolean | null>(null, oneProcess),
  ddp_backend: unserved<string | null>(null, oneProcess),
  ddp_timeout: number(1800, { least: 1, whole: true }),
  local_rank: unserved(-1, oneProcess),

  push_to_hub: unserved(false, noHub),
  hub_model_id: unserved<string | null>(null, noHub),
  hub_strategy: choice('every_save', ['end', 'every_save', 'checkpoint', 'all_checkpoints']),
  hub_private_repo: unserved<boolean | null>(null, noHub),
  hub_always_push: unserved(false, noHub),
  hub_revision: unserved<string | null>(null, noHub),
  hub_token: unserved<string | null>(null, noHub),
  debug: unserved('', 'nothing is traced; MODELC_DEBUG=1 shows the stack behind an error'),
  skip_memory_metrics: unserved(true, 'memory is not measured in training'),
};

export const seq2seqFields = {
  sortish_sampler: unserved(false, "use train_sampling_strategy: 'group_by_length'"),
  predict_with_generate: flag(false),
  generation_max_length: optional(number(1, { least: 1, whole: true })),
  generation_num_beams: optional(number(1, { least: 1, whole: true })),
  generation_config: optional(object),
};

/** What to write instead of a field that transformers 5 has no more. */
export const removedFields: Readonly<Record<string, string>> = {
  adafactor: "use optim: 'adafactor'",
  evaluation_strategy: 'use eval_strategy',
  fp16_backend: 'leave it out',
  fp16_opt_level: 'leave it out',
  fsdp_min_num_params: 'leave it out',
  fsdp_transformer_layer_cls_to_wrap: 'leave it out',
  group_by_length: "use train_sampling_strategy: 'group_by_length'",
  half_precision_backend: 'leave it out',
  include_inputs_for_metrics: "use include_for_metrics: ['inputs']",
  include_tokens_per_second: 'use include_num_input_tokens_seen',
  jit_mode_eval: 'leave it out',
  logging_dir: 'use TensorBoardCallback({ logging_dir }), or the environment variable TENSORBOARD_LOGGING_DIR',
  mp_parameters: 'leave it out',
  no_cuda: 'use use_cpu',
  overwrite_output_dir: 'leave it out: training starts anew unless it is told to resume',
  past_index: 'leave it out',
  per_gpu_eval_batch_size: 'use per_device_eval_batch_size',
  per_gpu_train_batch_size: 'use per_device_train_batch_size',
  push_to_hub_model_id: 'leave it out',
  push_to_hub_organization: 'leave it out',
  push_to_hub_token: 'leave it out',
  ray_scope: 'leave it out',
  save_safetensors: 'leave it out: weights are always saved so',
  torchdynamo: 'leave it out',
  tpu_metrics_debug: 'leave it out',
  tpu_num_cores: 'leave it out',
  use_ipex: 'leave it out',
  use_mps_device: 'leave it out',
  warmup_ratio: 'use warmup_steps, which below 1 is a ratio',
  xpu_backend: 'leave it out',
};

/** The values of all fields of a table. */
export type ValuesOf<F> = { readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };
