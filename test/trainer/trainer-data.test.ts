// What a Trainer makes of its data and options, good and bad.
import { describe, expect, test } from 'vitest';
import { causalLoss, tensorOf } from '../../frontends/dsl/index.ts';
import {
  type ComputeMetrics,
  Dataset,
  IterableDataset,
  type TrainerCallback,
  TrainerControl,
  type TrainingArgumentsOptions,
} from '../../runtime/index.ts';
import { type CallbackEventName, callbackEvents } from '../../runtime/trainer/callbacks.ts';
import { examples, messageOf, newModel, newTrainer, vocab, weightsOf } from '../support/trainer-model.ts';

process.env.CC ??= 'cc -O1'; // numbers are compared here, not times

describe('bad input', () => {
  test('a loss that is no number stops the training before the weights take it', async () => {
    const rows = examples(12);
    rows[9] = { ...rows[9], labels: rows[9].labels.map(() => -100) };
    const model = await newModel();
    const trainer = await newTrainer({
      model,
      train_dataset: rows,
      args: { per_device_train_batch_size: 1, train_sampling_strategy: 'sequential' },
    });
    const reference = await newTrainer({
      train_dataset: rows.slice(0, 9),
      args: { per_device_train_batch_size: 1, train_sampling_strategy: 'sequential', lr_scheduler_type: 'constant' },
    });
    expect(await messageOf(trainer.train())).toMatch(
      /in step 10 the loss is NaN\. That step was not taken.*step 9.*labels that are all ignored/,
    );
    await reference.train();
    for (const values of (await weightsOf(reference.model)).values()) expect(values.every(Number.isFinite)).toBe(true);
    const folder = trainer.args.output_dir;
    await trainer.save_model(folder);
    const { AutoModelForCausalLM } = await import('../../runtime/index.ts');
    for (const values of (await weightsOf(await AutoModelForCausalLM.from_pretrained(folder))).values()) {
      expect(values.every(Number.isFinite)).toBe(true);
    }
  });

  test.each<[string, object[], TrainingArgumentsOptions, RegExp]>([
    ['no examples', [], {}, /train_dataset has no examples/],
    [
      'fewer than a batch',
      examples(2),
      { dataloader_drop_last: true },
      /fewer examples than per_device_train_batch_size \(4\)/,
    ],
    ['a label that is no class', [{ input_ids: [1, 2], labels: [1, vocab] }], {}, /labels has 40 in row 0, position 1/],
    ['no labels', [{ input_ids: [1, 2] }], {}, /needs labels/],
    ['no column of the model', [{ text: 'a' }], {}, /no column of the examples \(text\)/],
    [
      'rows of two lengths',
      [
        { input_ids: [1], labels: [1] },
        { input_ids: [1, 2], labels: [1, 2] },
      ],
      {},
      /use a collator that pads/,
    ],
    ['a row that is too long', examples(4, 97), {}, /97 tokens.*positions for 96/],
    ['a text in place of ids', [{ input_ids: ['a'], labels: [1] }], {}, /no number/],
  ])('%s', async (_, train_dataset, args, wanted) => {
    const trainer = await newTrainer({ train_dataset, args: { train_sampling_strategy: 'sequential', ...args } });
    const before = await weightsOf(trainer.model);
    expect(await messageOf(trainer.train())).toMatch(wanted);
    expect(await weightsOf(trainer.model)).toEqual(before);
  });

  test('what contradicts itself is refused before anything is compiled', async () => {
    expect(await messageOf(newTrainer({ args: { eval_strategy: 'epoch' } }))).toMatch(/got no eval_dataset/);
    const stream = IterableDataset.from_generator(() => examples(8));
    expect(await messageOf((await newTrainer({ train_dataset: stream })).train())).toMatch(/set max_steps/);
    const model = await newModel();
    expect(() => model.requires_grad_(false, (name) => name === 'nothing')).toThrow(/names no parameter/);
    model.requires_grad_(false);
    expect(await messageOf((await newTrainer({ model })).train())).toMatch(/no parameter that is trained/);
    expect(await messageOf((await newTrainer()).evaluate())).toMatch(/needs an eval_dataset/);
  });
});

describe('data', () => {
  test('arrays, datasets and streams train the same, whatever the lengths of a stream', async () => {
    const rows = [...examples(8, 10), ...examples(8, 80, 2)];
    const weights = [];
    for (const train_dataset of [rows, Dataset.from_list(rows), IterableDataset.from_generator(() => rows)]) {
      const trainer = await newTrainer({
        train_dataset,
        args: { max_steps: 6, train_sampling_strategy: 'sequential' },
      });
      await trainer.train();
      expect(trainer.state.global_step).toBe(6);
      weights.push(await weightsOf(trainer.model));
    }
    expect(weights[1]).toEqual(weights[0]);
    // Programs for other bounds may add in another order.
    for (const [name, values] of weights[2]) {
      for (const [i, v] of values.entries()) expect(v).toBeCloseTo(weights[0].get(name)![i], 4);
    }
  });

  test('the parameters that are frozen stay, the others move', async () => {
    const model = await newModel();
    const before = await weightsOf(model);
    model.requires_grad_(false, (name) => !name.includes('mlp'));
    const trainer = await newTrainer({ model });
    await trainer.train();
    for (const [name, values] of await weightsOf(model)) {
      if (name.includes('mlp')) expect(values, name).not.toEqual(before.get(name));
      else expect(values, name).toEqual(before.get(name));
    }
  });

  test('datasets by name are evaluated one by one, and predictions have their labels', async () => {
    const compute_metrics: ComputeMetrics = ({ predictions, label_ids, inputs, losses }) => {
      expect([predictions, label_ids, inputs, losses].map((t) => (t as unknown as { dims: number[] }).dims)).toEqual([
        [6, 12, vocab],
        [6, 12],
        [6, 12],
        [6],
      ]);
      return { shown: 1 };
    };
    const eval_dataset = { near: examples(6), far: examples(6, 12, 5) };
    const trainer = await newTrainer({
      eval_dataset,
      compute_metrics,
      args: { include_for_metrics: ['inputs', 'loss'] },
    });
    const metrics = await trainer.evaluate();
    expect(Object.keys(metrics).filter((name) => /loss|shown/.test(name))).toEqual([
      'eval_near_loss',
      'eval_near_shown',
      'eval_far_loss',
      'eval_far_shown',
    ]);
    const { predictions, label_ids, metrics: tested } = await trainer.predict(eval_dataset.near);
    expect((predictions as { dims: readonly number[] }).dims).toEqual([6, 12, vocab]);
    expect((label_ids as { tolist(): unknown }).tolist()).toEqual(eval_dataset.near.map((row) => row.labels));
    expect(tested.test_loss).toBeCloseTo(metrics.eval_near_loss, 6);
  });

  test('predictions may be made smaller before metrics see them, batch by batch', async () => {
    const sizes: [number, boolean | undefined][] = [];
    const trainer = await newTrainer({
      eval_dataset: examples(6),
      preprocess_logits_for_metrics: (logits) => [logits].flat()[0],
      compute_metrics({ predictions }, last) {
        sizes.push([(predictions as unknown as { dims: number[] }).dims[0], last]);
        return { batches: sizes.length };
      },
      args: { batch_eval_metrics: true, per_device_eval_batch_size: 4 },
    });
    expect((await trainer.evaluate()).eval_batches).toBe(2);
    expect(sizes).toEqual([
      [4, false],
      [2, true],
    ]);
  });
});

describe('the loop', () => {
  test('events come in the order of transformers, and the control is obeyed', async () => {
    const events: string[] = [];
    const log = Object.fromEntries(
      callbackEvents.map((event) => [event, () => void events.push(event.slice(3))]),
    ) as unknown as { [event in CallbackEventName]: NonNullable<TrainerCallback[event]> };
    const stop: TrainerCallback = {
      on_step_end(_args, state) {
        if (state.global_step < 2) return undefined;
        const control = new TrainerControl();
        control.should_epoch_stop = true;
        return control;
      },
    };
    const trainer = await newTrainer({
      eval_dataset: examples(4),
      callbacks: [log, stop],
      args: { gradient_accumulation_steps: 2, num_train_epochs: 1, eval_strategy: 'epoch', logging_strategy: 'no', save_strategy: 'epoch' },
    }); // biome-ignore format: one row
    await trainer.train();
    const step = ['step_begin', 'substep_end', 'pre_optimizer_step', 'optimizer_step', 'step_end'];
    expect(events).toEqual([
      'init_end', 'train_begin', 'epoch_begin', ...step, ...step, 'epoch_end',
      'prediction_step', 'log', 'evaluate', 'save', 'log', 'train_end',
    ]); // biome-ignore format: one row
    expect(trainer.state.global_step).toBe(2);
  });

  test('a loss of ones own is differentiated in place of the model’s', async () => {
    const doubled = await newTrainer({
      compute_loss_func: (outputs, labels, { numItems } = {}) =>
        causalLoss(tensorOf(outputs, 'logits'), tensorOf(labels, 'labels'), { numItems }).mul(2),
      args: { max_steps: 1 },
    });
    const plain = await newTrainer({ args: { max_steps: 1 } });
    await doubled.train();
    await plain.train();
    const [{ loss }] = plain.state.log_history;
    expect(doubled.state.log_history[0].loss).toBeCloseTo(2 * loss, 5);
  });

  test('model_init makes the model, tokens and operations are counted, seeds decide', async () => {
    const args = { max_steps: 2, include_num_input_tokens_seen: 'all' } as const;
    const runs = [];
    for (const seed of [1, 1, 2]) {
      const trainer = await newTrainer({ model_init: newModel, args: { ...args, seed } });
      await trainer.train();
      runs.push(trainer);
    }
    expect(runs[0].state.num_input_tokens_seen).toBe(2 * 4 * 12);
    expect(runs[0].state.total_flos).toBeGreaterThan(0);
    expect(await weightsOf(runs[1].model)).toEqual(await weightsOf(runs[0].model));
    expect(await weightsOf(runs[2].model)).not.toEqual(await weightsOf(runs[0].model));
  });

  test('f16 leaves out steps that overflow and counts them, with no step of the schedule', async () => {
    const trainer = await newTrainer({ args: { fp16: true, max_steps: 4, lr_scheduler_type: 'linear' } });
    const { training_loss } = await trainer.train();
    expect(Number.isFinite(training_loss)).toBe(true);
    for (const values of (await weightsOf(trainer.model)).values()) expect(values.every(Number.isFinite)).toBe(true);
  });
});
