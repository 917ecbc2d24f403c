// TrainingArguments: defaults of transformers 5.18, what is refused and with which sentence; optim names and optim_args.
import { expect, test } from 'vitest';
import { Seq2SeqTrainingArguments, TrainingArguments } from '../../runtime/trainer/arguments.ts';
import { createOptimizer, decays } from '../../runtime/trainer/optimizer-names.ts';

const made = (options: object) => () => new TrainingArguments(options);

test('defaults', () => {
  const args = new TrainingArguments();
  expect(args).toMatchObject({
    output_dir: 'trainer_output',
    num_train_epochs: 3,
    max_steps: -1,
    per_device_train_batch_size: 8,
    learning_rate: 5e-5,
    lr_scheduler_type: 'linear',
    optim: 'adamw_torch_fused',
    max_grad_norm: 1,
    logging_steps: 500,
    eval_strategy: 'no',
    eval_steps: null,
    save_strategy: 'steps',
    metric_for_best_model: null,
    greater_is_better: null,
    train_sampling_strategy: 'random',
    seed: 42,
  });
  expect(Object.keys(args.to_dict()).length).toBe(Object.keys(args).length);
  expect(new Seq2SeqTrainingArguments()).toMatchObject({ predict_with_generate: false, generation_max_length: null });
});

test('fields follow from others', () => {
  const args = new TrainingArguments({
    eval_strategy: 'steps',
    logging_steps: 7,
    load_best_model_at_end: true,
    save_steps: 14,
  });
  expect(args).toMatchObject({ do_eval: true, eval_steps: 7, metric_for_best_model: 'loss', greater_is_better: false });
  expect(new TrainingArguments({ metric_for_best_model: 'accuracy' }).greater_is_better).toBe(true);
  expect(new TrainingArguments({ warmup_steps: 0.15 }).get_warmup_steps(11)).toBe(2);
  expect(new TrainingArguments({ warmup_steps: 4 }).get_warmup_steps(11)).toBe(4);
});

test.each<[object, string]>([
  [{ learning_rat: 1 }, 'TrainingArguments has no field learning_rat; did you mean `learning_rate`?'],
  [{ toString: 1 }, 'TrainingArguments has no field toString'],
  [{ warmup_ratio: 0.1 }, 'TrainingArguments has no field warmup_ratio since transformers 5: use warmup_steps'],
  [{ predict_with_generate: true }, 'it is a field of Seq2SeqTrainingArguments'],
  [{ learning_rate: '5e-5' }, "TrainingArguments takes a number of at least 0 as learning_rate, got '5e-5'"],
  [{ learning_rate: Number.NaN }, 'learning_rate, got NaN'],
  [{ gradient_accumulation_steps: 1.5 }, 'takes an integer of at least 1 as gradient_accumulation_steps, got 1.5'],
  [{ lr_scheduler_type: 'step' }, "takes 'linear', 'cosine'"],
  [{ eval_strategy: 'epochs' }, "takes 'no', 'steps', 'epoch' as eval_strategy, got 'epochs'"],
  [{ fsdp: 'full_shard' }, "does not serve fsdp: 'full_shard': training runs in one process"],
  [{ deepspeed: { stage: 2 } }, 'does not serve deepspeed'],
  [{ optim: 'lomo' }, "does not serve optim: 'lomo': this optimizer is not there"],
  [{ optim: 'adam' }, "as optim, got 'adam'"],
  [{ push_to_hub: true }, 'does not serve push_to_hub: true: nothing is uploaded'],
  [{ report_to: ['tensorboard', 'wandb'] }, 'there is only tensorboard to report to'],
  [{ fp16: true, bf16: true }, 'fp16 or bf16, not both'],
  [{ logging_steps: 0 }, "logging_strategy: 'steps' needs logging_steps above 0"],
  [{ save_steps: 10.5 }, 'takes an integer as save_steps'],
  [{ load_best_model_at_end: true }, "got eval_strategy: 'no' and save_strategy: 'steps'"],
  [
    { load_best_model_at_end: true, eval_strategy: 'steps', eval_steps: 3, save_steps: 10 },
    'multiple of eval_steps, got 10 and 3',
  ],
  [{ lr_scheduler_type: 'reduce_lr_on_plateau' }, 'needs an eval_strategy'],
  [{ dataloader_prefetch_factor: 2 }, 'only with dataloader_num_workers above 0'],
  [{ max_steps: 0 }, 'takes -1 or a positive integer as max_steps'],
])('%o is refused', (options, message) => {
  expect(made(options)).toThrow(message);
});

test('shares of all steps are compared exactly', () => {
  const shares = { load_best_model_at_end: true, eval_strategy: 'steps', eval_steps: 0.1, save_steps: 0.3 };
  expect(made(shares)).not.toThrow();
  expect(made({ ...shares, save_steps: 0.25 })).toThrow('multiple of eval_steps');
});

test('optim_args are read, and those that an optimizer lacks are refused', () => {
  const made = (optim: 'sgd' | 'rmsprop' | 'adamw_torch', optim_args: string | null) => () =>
    createOptimizer(
      { optim, optim_args, weight_decay: 0.1, adam_beta1: 0.9, adam_beta2: 0.999, adam_epsilon: 1e-8 },
      () => true,
    );
  const parameter = { name: 'weight', shape: [] };
  expect(Object.keys(made('sgd', null)().state(parameter))).toEqual([]);
  expect(Object.keys(made('sgd', 'momentum=0.9, nesterov=True')().state(parameter))).toEqual(['momentum_buffer']);
  expect(Object.keys(made('rmsprop', 'centered=true')().state(parameter))).toEqual(['square_avg', 'grad_avg']);
  expect(made('sgd', 'alpha=1')).toThrow('optim_args names alpha, which the optimizer sgd does not have');
  expect(made('sgd', 'momentum')).toThrow('must read "name=value,name=value", but has "momentum"');
  expect(made('sgd', 'momentum=much')).toThrow("gives 'much' as momentum");
  expect(made('sgd', 'nesterov=maybe')).toThrow("gives 'maybe' as nesterov");
});

test('biases and norms are not decayed', () => {
  const norms = new Set(['transformer.ln_f']);
  const names = [
    'transformer.h.0.attn.c_attn.weight',
    'transformer.h.0.attn.c_attn.bias',
    'transformer.ln_f.weight',
    'model.norm.weight',
    'model.layers.0.input_layernorm.weight',
    'block.0.layer.0.layer_norm.weight',
    'model.normal.weight',
  ];
  expect(names.filter((name) => decays(name, norms))).toEqual([names[0], names[6]]);
});
