// Checkpoints: what is resumed goes on as if nothing had been, what is broken is refused, and nothing is half-written.
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { tidyFolder } from '../../runtime/hub/write-folder.ts';
import {
  AutoModelForCausalLM,
  EarlyStoppingCallback,
  get_last_checkpoint,
  get_peft_model,
  LoraConfig,
  PeftModel,
  Trainer,
  TrainingArguments,
} from '../../runtime/index.ts';
import { examples, messageOf, newModel, newTrainer, scratch, weightsOf } from '../support/trainer-model.ts';

process.env.CC ??= 'cc -O1'; // numbers are compared here, not times

const checkpointsIn = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.startsWith('checkpoint-'))
    .sort((a, b) => Number(a.slice(11)) - Number(b.slice(11)));

describe('resuming', () => {
  test.each([
    ['one batch a step', {}],
    [
      'windows of micro-batches, cosine, bf16',
      { gradient_accumulation_steps: 2, lr_scheduler_type: 'cosine', bf16: true, num_train_epochs: 2 } as const,
    ],
  ])('gives the bits of an unbroken run: %s', async (_, more) => {
    const args = { ...more, save_strategy: 'steps', save_steps: 2 } as const;
    const whole = await newTrainer({ args });
    await whole.train();
    const folder = join(whole.args.output_dir, 'checkpoint-4');
    const resumed = await newTrainer({ args });
    await resumed.train({ resume_from_checkpoint: folder });
    expect(await weightsOf(resumed.model)).toEqual(await weightsOf(whole.model));
    const timeless = (trainer: Trainer<never> | typeof whole) => trainer.state.log_history.slice(0, -1);
    expect(timeless(resumed)).toEqual(timeless(whole));
    for (const name of ['model.safetensors', 'optimizer.safetensors', 'scheduler.json', 'training_args.json']) {
      const of = (trainer: typeof whole): string =>
        readFileSync(join(trainer.args.output_dir, 'checkpoint-6', name), 'latin1').replaceAll(
          trainer.args.output_dir,
          '',
        );
      expect(of(resumed), name).toBe(of(whole));
    }
  });

  test('true finds the last checkpoint, and more epochs go on from it', async () => {
    const output_dir = scratch();
    const args = { output_dir, save_strategy: 'epoch' } as const;
    await (await newTrainer({ args })).train();
    expect(await get_last_checkpoint(output_dir)).toBe(join(output_dir, 'checkpoint-6'));
    const longer = await newTrainer({ args: { ...args, num_train_epochs: 2 } });
    await longer.train({ resume_from_checkpoint: true });
    expect(longer.state.global_step).toBe(12);
    expect(longer.state.epoch).toBe(2);
    expect(checkpointsIn(output_dir)).toEqual(['checkpoint-6', 'checkpoint-12']);
  });

  test('a folder without checkpoints, and what is broken or belongs to something else, is said', async () => {
    const output_dir = scratch();
    const saved = { output_dir, save_strategy: 'steps', save_steps: 3 } as const;
    expect(await messageOf((await newTrainer({ args: saved })).train({ resume_from_checkpoint: true }))).toContain(
      `no checkpoint in ${output_dir}`,
    );
    await (await newTrainer({ args: saved })).train();
    const good = join(output_dir, 'checkpoint-3');
    const broken = async (change: (folder: string) => void, more: object = {}): Promise<string> => {
      const folder = join(scratch(), 'checkpoint-3');
      cpSync(good, folder, { recursive: true });
      change(folder);
      const model = await newModel();
      const before = await weightsOf(model);
      const trainer = await newTrainer({ model, args: more });
      const said = await messageOf(trainer.train({ resume_from_checkpoint: folder }));
      expect(await weightsOf(model)).toEqual(before);
      expect(said).toContain(folder);
      return said;
    };
    expect(await broken((f) => truncateSync(join(f, 'optimizer.safetensors'), 5000))).toMatch(/optimizer\.safetensors/);
    expect(await broken((f) => rmSync(join(f, 'model.safetensors')))).toMatch(/model\.safetensors/);
    expect(await broken((f) => rmSync(join(f, 'trainer_state.json')))).toMatch(/trainer_state\.json does not exist/);
    expect(await broken((f) => writeFileSync(join(f, 'trainer_state.json'), '{"global_step": '))).toMatch(
      /not valid JSON/,
    );
    expect(await broken((f) => writeFileSync(join(f, 'scheduler.json'), '{}'))).toMatch(/number of steps/);
    expect(await broken(() => undefined, { optim: 'sgd' })).toMatch(
      /optim: "adamw_torch_fused".*"sgd".*set optim back/,
    );
    expect(await broken(() => undefined, { per_device_train_batch_size: 8 })).toMatch(
      /per_device_train_batch_size: 4.*8/,
    );
    const other = await AutoModelForCausalLM.from_config(
      { model_type: 'gpt2', n_embd: 8, n_layer: 1, n_head: 2, n_positions: 96, vocab_size: 40 },
      { target: 'cpu' },
    );
    expect(await messageOf((await newTrainer({ model: other })).train({ resume_from_checkpoint: good }))).toMatch(
      /belongs to another model/,
    );
  });
});

describe('what is kept', () => {
  test('the newest checkpoints and the best one, which is loaded at the end', async () => {
    const losses = [3, 1, 2, 4];
    const trainer = await newTrainer({
      eval_dataset: examples(4),
      compute_metrics: () => ({ made: losses.shift()! }),
      args: {
        max_steps: 4, eval_strategy: 'steps', eval_steps: 1, save_strategy: 'steps', save_steps: 1, save_total_limit: 2,
        load_best_model_at_end: true, metric_for_best_model: 'made', greater_is_better: false,
      }, // biome-ignore format: one row
    });
    await trainer.train();
    const { output_dir } = trainer.args;
    expect(checkpointsIn(output_dir)).toEqual(['checkpoint-2', 'checkpoint-4']);
    expect(trainer.state.best_model_checkpoint).toBe(join(output_dir, 'checkpoint-2'));
    const best = await AutoModelForCausalLM.from_pretrained(join(output_dir, 'checkpoint-2'));
    expect(await weightsOf(trainer.model)).toEqual(await weightsOf(best));
  });

  test('of save_strategy best, the steps that were', async () => {
    const losses = [3, 4, 2];
    const trainer = await newTrainer({
      eval_dataset: examples(4),
      compute_metrics: () => ({ made: losses.shift()! }),
      args: { max_steps: 3, eval_strategy: 'steps', eval_steps: 1, save_strategy: 'best', metric_for_best_model: 'made', greater_is_better: false },
    }); // biome-ignore format: one row
    await trainer.train();
    expect(checkpointsIn(trainer.args.output_dir)).toEqual(['checkpoint-1', 'checkpoint-3']);
  });

  test('early stopping ends a run whose metric does not become better', async () => {
    const losses = [1, 2, 3, 0];
    const trainer = await newTrainer({
      eval_dataset: examples(4),
      compute_metrics: () => ({ made: losses.shift()! }),
      callbacks: [new EarlyStoppingCallback({ early_stopping_patience: 2 })],
      args: { max_steps: 4, eval_strategy: 'steps', eval_steps: 1, metric_for_best_model: 'made', greater_is_better: false },
    }); // biome-ignore format: one row
    await trainer.train();
    expect(trainer.state.global_step).toBe(3);
  });

  test('a saved model computes the same, and its config says so', async () => {
    const trainer = await newTrainer();
    await trainer.train();
    const folder = scratch();
    await trainer.save_model(folder);
    const loaded = await AutoModelForCausalLM.from_pretrained(folder);
    const input_ids = [[1, 2, 3]];
    expect((await loaded.forward({ input_ids })).logits).toEqual((await trainer.model.forward({ input_ids })).logits);
    const copy = scratch();
    const config = readFileSync(join(folder, 'config.json'), 'utf8');
    const floats = config.replace('"n_embd"', '"a": 1.0, "b": { "c": [2, 3e2, { "1.0": -4.0 }] }, "d": 5, "n_embd"');
    writeFileSync(join(folder, 'config.json'), floats);
    await (await AutoModelForCausalLM.from_pretrained(folder)).save_pretrained(copy);
    // Python tells 1.0 from 1
    expect(readFileSync(join(copy, 'config.json'), 'utf8').replace(/\s+/g, '')).toBe(
      floats.replace(/\s+/g, '').replace('3e2', '300.0'),
    );
    await loaded.save_pretrained(copy);
    expect(readFileSync(join(copy, 'model.safetensors'))).toEqual(readFileSync(join(folder, 'model.safetensors')));
  });

  test('of a model with adapters, the adapters, which belong to their base', async () => {
    const base = await newModel();
    const adapted = await get_peft_model(base, new LoraConfig({ r: 2, target_modules: ['c_attn'] }), 'default', {
      seed: 1,
    });
    const args = { output_dir: scratch(), save_strategy: 'steps', save_steps: 3, logging_steps: 1, per_device_train_batch_size: 4, num_train_epochs: 1, learning_rate: 0.01 } as const; // biome-ignore format: one row
    const before = await weightsOf(base);
    const trainer = new Trainer({ model: adapted, train_dataset: examples(24), args: new TrainingArguments(args) });
    await trainer.train();
    expect(await weightsOf(base)).toEqual(before);
    const folder = join(args.output_dir, 'checkpoint-6');
    expect(existsSync(join(folder, 'adapter_model.safetensors'))).toBe(true);
    expect(existsSync(join(folder, 'model.safetensors'))).toBe(false);
    const again = await PeftModel.from_pretrained(base, folder);
    const input_ids = [[1, 2, 3]];
    expect((await again.forward({ input_ids })).logits).toEqual((await adapted.forward({ input_ids })).logits);

    const fresh = await get_peft_model(base, new LoraConfig({ r: 2, target_modules: ['c_attn'] }), 'default', {
      seed: 1,
    });
    const resumed = new Trainer({ model: fresh, train_dataset: examples(24), args: new TrainingArguments(args) });
    await resumed.train({ resume_from_checkpoint: join(args.output_dir, 'checkpoint-3') });
    expect((await fresh.forward({ input_ids })).logits).toEqual((await adapted.forward({ input_ids })).logits);

    const wider = await get_peft_model(base, new LoraConfig({ r: 4, target_modules: ['c_attn'] }));
    const refused = new Trainer({ model: wider, train_dataset: examples(24), args: new TrainingArguments(args) });
    expect(await messageOf(refused.train({ resume_from_checkpoint: folder }))).toMatch(/belongs to another/);
  });
});

/** Runs a program that imports write-folder.ts; `limit` bounds its files to so many KiB. */
async function writer(body: string, limit?: number) {
  const folder = scratch();
  const entry = join(folder, 'main.ts');
  const module = join(import.meta.dirname, '../../runtime/hub/write-folder.ts');
  writeFileSync(
    entry,
    `import { writeFile } from 'node:fs/promises'; import { writeFolder, writeInto } from ${JSON.stringify(module)};\n${body}`,
  );
  const outfile = join(folder, 'main.mjs');
  await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'esm' });
  const command = `${limit === undefined ? '' : `ulimit -f ${limit}; `}exec "$0" "$1"`;
  return spawn('bash', ['-c', command, process.execPath, outfile], { stdio: ['ignore', 'pipe', 'pipe'] });
}
const output = async (stream: AsyncIterable<unknown>): Promise<string> => {
  let text = '';
  for await (const piece of stream) text += String(piece);
  return text;
};

describe('writing', () => {
  test('a kill at any moment leaves whole folders', async () => {
    const folder = scratch();
    for (const wait of [0, 3, 7, 20, 45]) {
      const child = await writer(`
        for (let i = 0; ; i++) {
          await writeFolder(${JSON.stringify(join(folder, 'checkpoint-1'))}, async (partial) => {
            for (const name of ['a', 'b', 'c']) await writeFile(partial + '/' + name, String(i).repeat(200_000));
          });
          console.log(i);
        }`);
      await new Promise((resolve) => child.stdout.once('data', resolve));
      await setTimeout(wait);
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      await tidyFolder(folder);
      expect(readdirSync(folder)).toEqual(['checkpoint-1']);
      const texts = ['a', 'b', 'c'].map((name) => readFileSync(join(folder, 'checkpoint-1', name), 'utf8'));
      expect(new Set(texts).size).toBe(1);
      expect(texts[0].length).toBeGreaterThanOrEqual(200_000);
    }
  });

  test('a full disk is said, and leaves what was there', async () => {
    const folder = scratch();
    const place = join(folder, 'checkpoint-1');
    mkdirSync(place);
    writeFileSync(join(place, 'a'), 'old');
    for (const call of ['writeFolder', 'writeInto']) {
      const child = await writer(
        `try { await ${call}(${JSON.stringify(place)}, (partial) => writeFile(partial + '/a', Buffer.alloc(2_000_000))); }
         catch (error) { console.log(error.code + ': ' + error.message); }`,
        512,
      );
      expect(await output(child.stdout)).toMatch(new RegExp(`^input: ${place} cannot be written: .*(EFBIG|ENOSPC)`));
      expect(readdirSync(folder)).toEqual(['checkpoint-1']);
      expect(readFileSync(join(place, 'a'), 'utf8')).toBe('old');
      expect(readdirSync(place)).toEqual(['a']);
    }
  });

  test('where no checkpoint can be written, the weights can still be saved', async () => {
    const output_dir = join(scratch(), 'taken');
    const trainer = await newTrainer({ args: { output_dir, save_strategy: 'steps', save_steps: 2 } });
    trainer.add_callback({ on_step_begin: () => writeFileSync(output_dir, 'a file') });
    expect(await messageOf(trainer.train())).toMatch(/checkpoint-2 cannot be written/);
    expect(trainer.state.global_step).toBe(2);
    const folder = scratch();
    await trainer.save_model(folder);
    const saved = await AutoModelForCausalLM.from_pretrained(folder);
    expect(await weightsOf(saved)).not.toEqual(await weightsOf(await newModel()));
  });
});
