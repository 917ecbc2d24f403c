// Options of training: what nobody knows is refused with the nearest name, what is not served by name, and what asks for
// nothing is taken.
import { expect, test } from 'vitest';
import { ModelcError } from '../../ir/error.ts';
import {
  DataCollatorForLanguageModeling,
  DataCollatorWithPadding,
  EarlyStoppingCallback,
  get_scheduler,
  Seq2SeqTrainer,
  Seq2SeqTrainingArguments,
  Trainer,
  TrainingArguments,
} from '../../runtime/index.ts';
import { fields, seq2seqFields } from '../../runtime/trainer/argument-fields.ts';
import { CallbackHandler } from '../../runtime/trainer/callbacks.ts';
import { TrainerState } from '../../runtime/trainer/trainer-state.ts';

const given = <T>(options: unknown): T => options as T;
const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ModelcError);
    return (error as ModelcError).message;
  }
  throw new Error('nothing was refused');
};

test('TrainingArguments names the nearest field', () => {
  const make = (options: object): string => refusal(() => new TrainingArguments(given(options)));
  expect(make({ learning_rte: 1 })).toMatch(/no field learning_rte; did you mean `learning_rate`/);
  expect(make({ learningRate: 1 })).toMatch(/`learning_rate`/);
  expect(make({ zzzzzz: 1 })).toMatch(/check its name/);
  expect(make({ predict_with_generate: true })).toMatch(/Seq2SeqTrainingArguments/);
  expect(make([1])).toMatch(/takes an object/);
  expect(make({ eval_do_concat_batches: false })).toMatch(/does not serve eval_do_concat_batches/);
  expect(make({ fsdp: 'full_shard' })).toMatch(/does not serve fsdp/);
  const nothing = { fsdp: [], fsdp_config: {}, deepspeed: '', ddp_find_unused_parameters: false, tf32: false, neftune_noise_alpha: 0, local_rank: 0, hub_token: '', debug: [] }; // biome-ignore format: one row
  expect(new TrainingArguments(given(nothing)).learning_rate).toBe(5e-5);
});

test('every field takes its own default', () => {
  const defaults = (table: typeof fields | typeof seq2seqFields): object =>
    Object.fromEntries(Object.entries(table).map(([name, { value }]) => [name, value]));
  expect(new TrainingArguments(defaults(fields)).to_dict()).toEqual(new TrainingArguments().to_dict());
  const both = { ...defaults(fields), ...defaults(seq2seqFields) };
  expect(new Seq2SeqTrainingArguments(both).to_dict()).toEqual(new Seq2SeqTrainingArguments().to_dict());
});

test('Trainers, their calls and callbacks refuse what they do not know', async () => {
  const model = given<never>({});
  const make = (options: object): string => refusal(() => new Trainer(given<{ model: never }>({ model, ...options })));
  expect(make({ tokenizer: {} })).toMatch(/processing_class/);
  expect(make({ train_datset: [] })).toMatch(/`train_dataset`/);
  expect(make({ args: { learning_rate: 1 } })).toMatch(/new TrainingArguments/);
  expect(make({ callbacks: {} })).toMatch(/`callbacks` as an array/);
  expect(make({ callbacks: [{ on_epoch_ends: () => undefined }] })).toMatch(/on_epoch_ends.*`on_epoch_end`/);
  class Callback {
    on_steps_end(): void {}
  }
  expect(refusal(() => new CallbackHandler().add(given(new Callback())))).toMatch(/`on_step_end`/);
  expect(refusal(() => new CallbackHandler().add(given(EarlyStoppingCallback)))).toMatch(/new CLASS/);
  expect(refusal(() => new EarlyStoppingCallback(given({ patience: 3 })))).toMatch(/`patience`/);
  const trainer = new Trainer({ model, args: new TrainingArguments({ disable_tqdm: true }) });
  await expect(trainer.train(given({ resume: true }))).rejects.toThrow(/`resume`/);
  await expect(trainer.evaluate(given({ dataset: [] }))).rejects.toThrow(/`dataset`.*eval_dataset/);
  await expect(trainer.evaluate(given({ max_length: 3 }))).rejects.toThrow(/`max_length`/);
  await expect(trainer.predict([], given({ eval_dataset: [] }))).rejects.toThrow(/`eval_dataset`/);
  const writer = new Seq2SeqTrainer({ model, args: new Seq2SeqTrainingArguments({ disable_tqdm: true }) });
  await expect(writer.evaluate(given({ num_beam: 2 }))).rejects.toThrow(/`num_beams`/);
  await expect(writer.evaluate({ num_beams: 2 })).rejects.toThrow(/needs an eval_dataset/);
});

test('collators and schedules refuse what they do not know', () => {
  const tokenizer = given<never>({ pad_token_id: 0, model_max_length: 8, padding_side: 'right' });
  expect(refusal(() => new DataCollatorWithPadding(given({ tokenizer, paddding: true })))).toMatch(/`padding`/);
  expect(refusal(() => new DataCollatorWithPadding(given({})))).toMatch(/needs a tokenizer/);
  expect(refusal(() => new DataCollatorWithPadding(given({ tokenizer, return_tensors: 'np' })))).toMatch(/return_tensors/);
  expect(refusal(() => new DataCollatorForLanguageModeling(given({ tokenizer, mlm_probabilty: 0.1 })))).toMatch(/`mlm_probability`/);
  expect(() => new DataCollatorWithPadding(given({ tokenizer, return_tensors: 'pt' }))).not.toThrow();
  const schedule = given<{ learning_rate: number }>({ learning_rate: 1, warmup_steps: 2 });
  expect(refusal(() => get_scheduler('linear', schedule))).toMatch(/num_warmup_steps/);
}); // biome-ignore format: one table

test('a state with losses that are no numbers is read back as it was', () => {
  const state = new TrainerState();
  state.best_metric = Number.POSITIVE_INFINITY;
  state.log_history = [
    { step: 1, loss: Number.NaN },
    { step: 2, loss: Number.NEGATIVE_INFINITY, eval_loss: 2 },
  ];
  const again = TrainerState.from_json(JSON.parse(state.to_json()), 'trainer_state.json');
  expect(again).toEqual(state);
});
