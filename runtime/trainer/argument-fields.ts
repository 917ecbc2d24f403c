// The fields of TrainingArguments: what each takes, and its default, as in transformers 5. A field that nothing here can
// obey takes its default alone and says why; one that cannot change a result (how data reaches a GPU, say) takes any value
// that Python takes, so that arguments written for Python are read.
import type { OptimizerName } from './optimizer-names.ts';
import { optimizerNames, refusedOptimizers } from './optimizer-names.ts';
import { SchedulerType } from './schedulers.ts';

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

/** Takes its default alone, and what asks for as little. */
const unserved = <T>(value: T, why: string): Field<T> => ({
  value,
  takes: JSON.stringify(value),
  accepts: () => true,
  refuses: (v) => (v === value || (!value && asksForNothing(v)) ? undefined : why),
});

const asksForNothing = (value: unknown): boolean =>
  !value || (typeof value === 'object' && Object.keys(value).length === 0);

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
  /** The folder that checkpoints, the model and the state of the training are written to; 'trainer_output'. */
  output_dir: {
    ...text('trainer_output'),
    takes: 'the path of a folder',
    accepts: (v: unknown) => isText(v) && v !== '',
  },
  /** A note for programs that ask for it; Trainers do what they are told. */
  do_train: flag(false),
  /** A note as well; true where there is an eval_strategy. */
  do_eval: flag(false),
  /** A note as well. */
  do_predict: flag(false),
  /** The folder of the checkpoint that train() goes on from, where it is not told one; null. */
  resume_from_checkpoint: optional(text('')),
  /** The seed of all that a training draws: the order of examples, dropout, new weights; 42. */
  seed: number(42, { least: 0, whole: true }),
  /** The seed of the order of examples; null: `seed`. */
  data_seed: optional(number(0, { least: 0, whole: true })),
  /** Runs are deterministic in any case; false. */
  full_determinism: flag(false),
  /** Trains on the CPU whatever the model was loaded for; false. */
  use_cpu: flag(false),

  /** How often the examples are gone through; a fraction ends within an epoch; 3. */
  num_train_epochs: number(3, { least: 0 }),
  /** Optimizer steps, in place of num_train_epochs; -1: as many as the epochs have. */
  max_steps: number(-1, { least: -1, whole: true }),
  /** Examples of a batch; 8. */
  per_device_train_batch_size: number(8, { least: 1, whole: true }),
  /** Examples of a batch of evaluation; 8. */
  per_device_eval_batch_size: number(8, { least: 1, whole: true }),
  /** Batches whose gradients are summed before an optimizer step; 1. */
  gradient_accumulation_steps: number(1, { least: 1, whole: true }),
  /** Not served: memory is planned before the first step. */
  auto_find_batch_size: unserved(
    false,
    'memory is planned before the first step; choose a smaller per_device_train_batch_size',
  ),

  /** The optimizer; 'adamw_torch_fused', which is AdamW, as is 'adamw_torch'. */
  optim,
  /** What the optimizer takes besides, as 'name=value, name=value'; null. */
  optim_args: optional(text('')),
  /** Not served: modules whose gradients a low-rank optimizer projects. */
  optim_target_modules: unserved<string | readonly string[] | null>(null, 'no low-rank optimizer is served'),
  /** The learning rate that the schedule scales; 5e-5. */
  learning_rate: number(5e-5, { least: 0 }),
  /** The share of a weight that is taken off in each step times the rate; biases and norms have none; 0. */
  weight_decay: number(0, { least: 0 }),
  /** How much of its mean of gradients Adam keeps; 0.9. */
  adam_beta1: number(0.9, { least: 0, most: 1 }),
  /** How much of its mean of squared gradients Adam keeps; 0.999. */
  adam_beta2: number(0.999, { least: 0, most: 1 }),
  /** What Adam adds to the root that it divides by; 1e-8. */
  adam_epsilon: number(1e-8, { least: 0 }),
  /** Gradients are scaled down to this norm of them all together; 0: never; 1. */
  max_grad_norm: number(1, { least: 0 }),
  /** How the learning rate goes over the steps; 'linear': down to 0. */
  lr_scheduler_type: choice('linear', Object.values(SchedulerType)),
  /** What that schedule takes besides, such as { num_cycles: 2 }; null. */
  lr_scheduler_kwargs: optional(object),
  /** Steps in which the rate rises from 0; below 1 a share of all steps; 0. */
  warmup_steps: number(0, { least: 0 }),

  /** Computes products in bfloat16, weights and moments in f32; false. */
  bf16: flag(false),
  /** Computes products in float16, with a scaled loss; false. */
  fp16: flag(false),
  /** Not served: evaluation computes as training does. */
  bf16_full_eval: unserved(false, 'evaluation computes as training does; use bf16'),
  /** Not served: evaluation computes as training does. */
  fp16_full_eval: unserved(false, 'evaluation computes as training does; use fp16'),
  /** Not served: products of f32 are computed in f32. */
  tf32: unserved<boolean | null>(null, 'products of f32 are computed in f32'),
  /** Computes activations again in place of keeping them; the results are the same; false. */
  gradient_checkpointing: flag(false),
  /** Read and without effect, as results are the same; null. */
  gradient_checkpointing_kwargs: optional(object),
  /** Read and without effect: training is compiled in any case; false. */
  torch_compile: flag(false),
  /** Read and without effect, as torch_compile; null. */
  torch_compile_backend: optional(text('')),
  /** Read and without effect, as torch_compile; null. */
  torch_compile_mode: optional(text('')),
  /** Read and without effect: memory is planned once; null. */
  torch_empty_cache_steps: optional(number(1, { least: 1, whole: true })),
  /** Read and without effect: kernels are made for the model in any case; false. */
  use_liger_kernel: flag(false),
  /** Read and without effect, as use_liger_kernel; null. */
  liger_kernel_config: optional(object),
  /** Read and without effect: training keeps no cache; false. */
  use_cache: flag(false),

  /** The share of the target that is spread over all classes, from 0 to 1; 0. */
  label_smoothing_factor: number(0, { least: 0, most: 1 }),
  /** Read and without effect on one device; true. */
  average_tokens_across_devices: flag(true),
  /** Not served: noise on embeddings. */
  neftune_noise_alpha: unserved<number | null>(null, 'noise on embeddings is not served'),

  /** When losses are logged: 'steps', every logging_steps; 'epoch'; 'no'; 'steps'. */
  logging_strategy: choice('steps', intervals),
  /** Optimizer steps between logs; below 1 a share of all steps; 500. */
  logging_steps: number(500, { least: 0 }),
  /** Whether the first step is logged as well; false. */
  logging_first_step: flag(false),
  /** Leaves losses that are no numbers out of the mean that is logged; true. */
  logging_nan_inf_filter: flag(true),
  /** Read and without effect: what is printed is what the callbacks print; 'passive'. */
  log_level: choice('passive', ['debug', 'info', 'warning', 'error', 'critical', 'passive']),
  /** Read and without effect in one process; 'warning'. */
  log_level_replica: choice('warning', ['debug', 'info', 'warning', 'error', 'critical', 'passive']),
  /** Read and without effect in one process; true. */
  log_on_each_node: flag(true),
  /** Prints logs as lines in place of a bar of progress; null: a bar. */
  disable_tqdm: optional(flag(false)),
  /** Where logs go besides: 'tensorboard', 'none' (default), 'all', or an array. */
  report_to: {
    value: 'none',
    takes: "'none', 'all', 'tensorboard' or an array of them",
    accepts: (v) => isText(v) || isTexts(v),
    refuses: (v) =>
      [v].flat().every((name) => reporters.some((r) => r === name))
        ? undefined
        : 'there is only tensorboard to report to',
  } as Field<string | readonly string[]>,
  /** The name of the run, which the page of curves shows; null. */
  run_name: optional(text('')),
  /** A note for trackers that are not served; 'huggingface'. */
  project: text('huggingface'),
  /** Not served: there is only TensorBoard to report to. */
  trackio_space_id: unserved<string | null>(null, 'there is only tensorboard to report to'),
  /** Not served: there is only TensorBoard to report to. */
  trackio_bucket_id: unserved<string | null>(null, 'there is only tensorboard to report to'),
  /** Not served: there is only TensorBoard to report to. */
  trackio_static_space_id: unserved<string | null>(null, 'there is only tensorboard to report to'),
  /** Counts the tokens that were read: 'all' (or true), 'non_padding', or 'no' (false, default). */
  include_num_input_tokens_seen: {
    value: 'no',
    takes: "'no', 'all', 'non_padding', true or false",
    accepts: (v) => typeof v === 'boolean' || v === 'no' || v === 'all' || v === 'non_padding',
  } as Field<'no' | 'all' | 'non_padding' | boolean>,

  /** When evaluations are made: 'no' (default), 'steps', every eval_steps, or 'epoch'. */
  eval_strategy: choice('no', intervals),
  /** Optimizer steps between evaluations; below 1 a share of all steps; null: logging_steps. */
  eval_steps: optional(number(0, { least: 0 })),
  /** Steps, or epochs with eval_strategy 'epoch', before the first evaluation; 0. */
  eval_delay: number(0, { least: 0 }),
  /** Evaluates before the first step; false. */
  eval_on_start: flag(false),
  /** Evaluations give losses alone, no predictions and metrics of them; false. */
  prediction_loss_only: flag(false),
  /** Read and without effect: predictions are kept in host memory in any case; null. */
  eval_accumulation_steps: optional(number(1, { least: 1, whole: true })),
  /** What compute_metrics gets besides: 'inputs', 'loss'; none. */
  include_for_metrics: {
    ...texts([]),
    takes: "an array of 'inputs' and 'loss'",
    accepts: (v: unknown) => isTexts(v) && v.every((name) => name === 'inputs' || name === 'loss'),
  },
  /** Calls compute_metrics for each batch, and with `compute_result` for the last; false. */
  batch_eval_metrics: flag(false),
  /** Not served but true, the default: predictions of all batches are joined. */
  eval_do_concat_batches: unserved(true, 'predictions of all batches are joined'),
  /** Read and without effect in one process; false. */
  eval_use_gather_object: flag(false),

  /** When checkpoints are written: 'steps' (default), every save_steps; 'epoch'; 'best', when the metric is; 'no'. */
  save_strategy: choice('steps', ['no', 'steps', 'epoch', 'best']),
  /** Optimizer steps between checkpoints; below 1 a share of all steps; 500. */
  save_steps: number(500, { least: 0 }),
  /** Checkpoints that are kept, the newest and the best; null (default): all. */
  save_total_limit: optional(number(0, { whole: true })),
  /** Writes the model alone, from which no training goes on; false. */
  save_only_model: flag(false),
  /** Read and without effect in one process; false. */
  save_on_each_node: flag(false),
  /** Not served: checkpoints are written at the steps of save_strategy. */
  enable_jit_checkpoint: unserved(false, 'a checkpoint is written at the steps of save_strategy'),
  /** The model has at the end the weights of the checkpoint whose metric was the best; false. */
  load_best_model_at_end: flag(false),
  /** The metric that tells the best, with or without 'eval_'; null: 'loss' where one is needed. */
  metric_for_best_model: optional(text('')),
  /** Whether larger is better; null: unless the metric's name ends in 'loss'. */
  greater_is_better: optional(flag(false)),
  /** Gives callbacks back what a checkpoint kept of them; false. */
  restore_callback_states_from_checkpoint: flag(false),
  /** A resumed training begins its epoch anew in place of skipping what it has read; false. */
  ignore_data_skip: flag(false),

  /** Threads that read examples and make batches; 0: none. */
  dataloader_num_workers: number(0, { least: 0, whole: true }),
  /** Leaves the last batch out where it is not full; false. */
  dataloader_drop_last: flag(false),
  /** Read and without effect: how data reaches a device changes no result; true. */
  dataloader_pin_memory: flag(true),
  /** Read and without effect, as threads are kept; false. */
  dataloader_persistent_workers: flag(false),
  /** Batches that each thread makes ahead; null: 2. */
  dataloader_prefetch_factor: optional(number(1, { least: 1, whole: true })),
  /** Not served: no processes are started for data. */
  dataloader_multiprocessing_context: unserved<string | null>(null, 'no processes are started for data'),
  /** Batches come in order in any case; true. */
  dataloader_in_order: flag(true),
  /** Leaves columns out that the model does not take; true. */
  remove_unused_columns: flag(true),
  /** The columns that are labels; null: those that the model takes as such. */
  label_names: optional(texts([])),
  /** The order of examples: 'random' (default), 'sequential', or 'group_by_length'. */
  train_sampling_strategy: {
    ...choice('random', ['random', 'sequential', 'group_by_length']),
    refuses: (v: unknown) => (v === 'batch_rebalance' ? oneProcess : undefined),
  },
  /** The column with lengths, for 'group_by_length'; 'length'. */
  length_column_name: text('length'),

  /** Not served: training runs in one process on one device. */
  fsdp: unserved<string | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  fsdp_config: unserved<string | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  deepspeed: unserved<string | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  accelerator_config: unserved<string | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  parallelism_config: unserved<string | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  ddp_find_unused_parameters: unserved<boolean | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  ddp_bucket_cap_mb: unserved<number | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  ddp_broadcast_buffers: unserved<boolean | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  ddp_static_graph: unserved<boolean | null>(null, oneProcess),
  /** Not served: training runs in one process on one device. */
  ddp_backend: unserved<string | null>(null, oneProcess),
  /** Read and without effect in one process; 1800. */
  ddp_timeout: number(1800, { least: 1, whole: true }),
  /** Not served but -1, the default, and 0: training runs in one process. */
  local_rank: { ...unserved(-1, oneProcess), refuses: (v: unknown) => (v === -1 || v === 0 ? undefined : oneProcess) },

  /** Not served: nothing is uploaded. */
  push_to_hub: unserved(false, noHub),
  /** Not served: nothing is uploaded. */
  hub_model_id: unserved<string | null>(null, noHub),
  /** Read and without effect, as nothing is uploaded; 'every_save'. */
  hub_strategy: choice('every_save', ['end', 'every_save', 'checkpoint', 'all_checkpoints']),
  /** Not served: nothing is uploaded. */
  hub_private_repo: unserved<boolean | null>(null, noHub),
  /** Not served: nothing is uploaded. */
  hub_always_push: unserved(false, noHub),
  /** Not served: nothing is uploaded. */
  hub_revision: unserved<string | null>(null, noHub),
  /** Not served: nothing is uploaded. */
  hub_token: unserved<string | null>(null, noHub),
  /** Not served: MODELC_DEBUG=1 shows the stack behind an error. */
  debug: unserved('', 'nothing is traced; MODELC_DEBUG=1 shows the stack behind an error'),
  /** Not served but true, the default: memory is not measured. */
  skip_memory_metrics: unserved(true, 'memory is not measured in training'),
};

export const seq2seqFields = {
  /** Not served: use train_sampling_strategy 'group_by_length'. */
  sortish_sampler: unserved(false, "use train_sampling_strategy: 'group_by_length'"),
  /** Evaluates what the model generates, not what it scores; false. */
  predict_with_generate: flag(false),
  /** Tokens of a target at most in evaluations; null: what the model's generation_config says. */
  generation_max_length: optional(number(1, { least: 1, whole: true })),
  /** Beams in evaluations; null: what the model's generation_config says. */
  generation_num_beams: optional(number(1, { least: 1, whole: true })),
  /** Options of generate() in evaluations; null: the model's own. */
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
