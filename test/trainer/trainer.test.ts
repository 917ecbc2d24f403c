// The Trainer beside transformers': recorded runs are repeated from the same model and data.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoTokenizer,
  DataCollatorForLanguageModeling,
  DataCollatorForSeq2Seq,
  DataCollatorWithPadding,
  type EvalPrediction,
  Seq2SeqTrainer,
  Seq2SeqTrainingArguments,
  Trainer,
  TrainingArguments,
} from '../../runtime/index.ts';
import { scratch } from '../support/trainer-model.ts';

process.env.CC ??= 'cc -O1'; // numbers are compared here, not times

const oracle = join(import.meta.dirname, '../../../shared/data/hf-oracle/trainer');
const hasMaterial = existsSync(oracle);
if (!hasMaterial)
  console.warn('trainer.test.ts: the material beside the repository is missing, recorded runs are skipped');

type Log = Readonly<Record<string, number>>;
interface Golden {
  readonly args: Record<string, unknown>;
  readonly log_history: readonly Log[];
  readonly decay_parameters: readonly string[];
  readonly final_checksums: Readonly<Record<string, readonly number[]>>;
  readonly max_steps: number;
  readonly best: { readonly metric: number | null; readonly step: number | null };
  readonly train_metrics: Log;
  readonly final_eval: Log;
}
const read = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));

/** Accuracy and F1 of class 1. */
function classMetrics({ predictions, label_ids }: EvalPrediction): Record<string, number> {
  const rows = (predictions as { tolist(): unknown[] }).tolist() as number[][];
  const labels = (label_ids as { tolist(): unknown[] }).tolist() as number[];
  const chosen = rows.map((row) => row.indexOf(Math.max(...row)));
  const count = (p: number, l: number): number => chosen.filter((c, i) => c === p && labels[i] === l).length;
  const hits = count(1, 1);
  return {
    accuracy: chosen.filter((c, i) => c === labels[i]).length / labels.length,
    f1: hits === 0 ? 0 : (2 * hits) / (2 * hits + count(1, 0) + count(0, 1)),
  };
}

/**
 * Rates, epochs and steps are what they are; gradient norms after some steps of Adam are less certain than losses.
 * `exact`: the same run in f32, from which one in bf16 may differ as far as the recorded one does.
 */
function expectHistory(history: readonly Log[], golden: readonly Log[], loose: number, exact?: readonly Log[]): void {
  expect(history.length).toBe(golden.length);
  const tolerances: Log = {
    grad_norm: Math.max(1e-3, loose),
    learning_rate: 1e-12,
    epoch: 1e-12,
    step: 0,
    total_flos: 0,
  };
  const largest = Math.max(...golden.map((log) => log.grad_norm ?? 0));
  for (const [i, want] of golden.entries()) {
    for (const [name, value] of Object.entries(want)) {
      // What bf16 rounds off a gradient follows from the sizes of its terms, not from what is left when they cancel.
      const size = exact && name === 'grad_norm' ? largest : Math.max(Math.abs(value), 1e-12);
      const error = Math.abs(history[i][name] - value) / size;
      const other = exact?.find((log) => log.step === want.step && name in log)?.[name] ?? value;
      const uncertain = Math.abs(other - value) / size;
      const tolerance = Math.max(tolerances[name] ?? loose, uncertain);
      expect(error, `${name} of entry ${i}: ${history[i][name]}, not ${value}`).toBeLessThanOrEqual(tolerance);
    }
  }
}

const variants = (model: string): string[] =>
  hasMaterial
    ? readdirSync(join(oracle, model)).filter((name) => existsSync(join(oracle, model, name, 'golden.json')))
    : ['none: there is no ../shared/data'];

async function trainerOf(model: 'gpt2' | 'bert', args: Record<string, unknown>, variant = ''): Promise<Trainer> {
  const folder = join(oracle, model, 'checkpoint');
  const data = read(join(oracle, model, 'data.json')) as { train: object[]; eval: object[] };
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const loaded =
    model === 'gpt2'
      ? await AutoModelForCausalLM.from_pretrained(folder)
      : await AutoModelForSequenceClassification.from_pretrained(folder);
  if (variant === 'frozen_base') loaded.requires_grad_(false, (name) => name.startsWith('bert.'));
  return new Trainer({
    model: loaded,
    args: new TrainingArguments({ ...args, output_dir: scratch() }),
    train_dataset: data.train,
    eval_dataset: data.eval,
    processing_class: tokenizer,
    data_collator:
      model === 'gpt2'
        ? new DataCollatorForLanguageModeling({ tokenizer, mlm: false })
        : new DataCollatorWithPadding({ tokenizer }),
    ...(model === 'bert' ? { compute_metrics: classMetrics } : {}),
  });
}

const exactOf = (model: string, variant: string): readonly Log[] | undefined =>
  variant.includes('bf16') ? (read(join(oracle, model, 'base', 'golden.json')) as Golden).log_history : undefined;

/** What of the recorded weights differs: single entries may, where Adam divided by next to nothing. */
async function expectWeights(trainer: Trainer, golden: Golden, loose: number): Promise<void> {
  const { weights } = trainer.model.trainable!;
  for (const [name, [, magnitude, squares]] of Object.entries(golden.final_checksums)) {
    // The gradient of a bias of keys is 0, and optimizers that divide by its size make what rounding leaves of it large.
    if (/key\.bias$|c_attn\.bias$/.test(name)) continue;
    const values = Array.from((await weights.read(name)).data as Float32Array);
    const sum = (f: (v: number) => number): number => values.reduce((n, v) => n + f(v), 0);
    expect(Math.abs(sum(Math.abs) - magnitude) / magnitude, name).toBeLessThan(Math.max(1e-3, loose));
    expect(Math.abs(sum((v) => v * v) - squares) / squares, name).toBeLessThan(Math.max(1e-3, loose));
  }
}

interface Predicted {
  readonly predict: { readonly predictions: unknown; readonly label_ids: unknown };
}

describe('recorded runs of t5', () => {
  test.skipIf(!hasMaterial).each(variants('t5'))('%s', async (variant) => {
    const folder = join(oracle, 't5', 'checkpoint');
    const golden = read(join(oracle, 't5', variant, 'golden.json')) as Golden & Predicted;
    const data = read(join(oracle, 't5', 'data.json')) as { train: object[]; eval: object[] };
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    const output_dir = scratch();
    const trainer = new Seq2SeqTrainer({
      model: await AutoModelForSeq2SeqLM.from_pretrained(folder),
      args: new Seq2SeqTrainingArguments({ ...golden.args, output_dir }),
      train_dataset: data.train,
      eval_dataset: data.eval,
      data_collator: new DataCollatorForSeq2Seq({ tokenizer }),
      compute_metrics: () => ({}),
    });
    await trainer.train();
    await trainer.evaluate();
    const loose = variant.includes('bf16') ? 2e-2 : 1e-4;
    const known = golden.log_history.map((log) =>
      Object.fromEntries(Object.entries(log).filter(([name]) => !/tok_acc|mean_len/.test(name))),
    );
    expectHistory(trainer.state.log_history, known, loose, exactOf('t5', variant));
    const { predictions, label_ids } = await trainer.predict(data.eval);
    expect((label_ids as { tolist(): unknown }).tolist()).toEqual(golden.predict.label_ids);
    expect((predictions as { tolist(): unknown }).tolist()).toEqual(golden.predict.predictions);
    trainer.dispose();
  });
});

for (const model of ['gpt2', 'bert'] as const) {
  describe(`recorded runs of ${model}`, () => {
    test.skipIf(!hasMaterial).each(variants(model))('%s', async (variant) => {
      const golden = read(join(oracle, model, variant, 'golden.json')) as Golden;
      const trainer = await trainerOf(model, golden.args, variant);
      if (/resume_(from4|mid)$/.test(variant)) {
        const broken = await trainerOf(model, golden.args);
        await broken.train();
        const checkpoint = `checkpoint-${golden.args.save_steps}`;
        await trainer.train({ resume_from_checkpoint: join(broken.args.output_dir, checkpoint) });
      } else await trainer.train();
      await trainer.evaluate();
      const loose = variant.includes('bf16') ? 2e-2 : 1e-4;
      expectHistory(trainer.state.log_history, golden.log_history, loose, exactOf(model, variant));
      expect(trainer.state.max_steps).toBe(golden.max_steps);
      expect(trainer.state.best_global_step).toBe(golden.best.step);
      expect(trainer.get_decay_parameter_names().sort()).toEqual(
        golden.decay_parameters.filter((name) => name in golden.final_checksums).sort(),
      );
      if (!golden.args.load_best_model_at_end)
        await expectWeights(trainer, golden, variant.includes('bf16') ? 2e-2 : 1e-3);
      trainer.dispose();
    });
  });
}
