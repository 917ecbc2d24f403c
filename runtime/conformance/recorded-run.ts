// Trainings that PyTorch recorded, repeated by the Trainer: from the same weights, on the same rows in the same order, each
// step has the loss and the gradient norm that it had there, and the validation loss ends where it did. After a hundred
// steps or so rounding has driven any two runs apart, so that only the first steps are compared one by one.
//   init/: a checkpoint of GPT-2 that reads tinyshakespeare by characters, or an adapter on a model that reads tokens
//   batch_offsets.safetensors: where in the text the rows of each step begin
//   final/: the weights after the last step
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { crossEntropy } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import {
  AutoModelForCausalLM,
  PeftModel,
  type PeftModelForCausalLM,
  Trainer,
  TrainingArguments,
  type TrainingArgumentsOptions,
} from '../index.ts';
import { ProgressCallback } from '../trainer/callbacks/progress.ts';
import type { StepSchedule } from '../trainer/schedulers.ts';
import type { Trainable } from '../trainer/trainable.ts';
import type { LogEntry } from '../trainer/trainer-state.ts';
import { readJson } from './cases.ts';
import { type CaseReport, relativeError } from './compare.ts';
import { type CaseOptions, readIntegers, readTensors, rowsOf, tolerance } from './golden.ts';

/** Steps that are compared one by one, and how many a run has that is not full. */
const firstSteps = 100;
const lossMargin = 1e-3;
/** Relative. */
const normMargin = 1e-3;
const validationMargin = 0.01;
/** Of the share of the text that comes first, which is for training. */
const trainShare = 0.9;

interface Golden {
  readonly train_loss: readonly number[];
  readonly grad_norm?: readonly number[];
  /** By the number of steps before it. */
  readonly val_loss: Readonly<Record<string, number>>;
}

/** What a run trains, and with what. */
interface Recipe {
  open(weights: 'init' | 'final'): Promise<Trainable & { dispose(): void }>;
  readonly ids: readonly number[];
  /** Tokens of a row. */
  readonly length: number;
  readonly args: TrainingArgumentsOptions;
  /** In place of what the arguments name. */
  readonly schedule?: StepSchedule;
}

/** nanoGPT's schedule: its first step has a rate already, and the one after its warmup has the whole. */
const characterSchedule: StepSchedule = {
  kind: 'step',
  rate(step) {
    const [most, least, warmup, steps] = [1e-3, 1e-4, 100, 2000];
    if (step < warmup) return (most * (step + 1)) / warmup;
    return least + ((most - least) * (1 + Math.cos((Math.PI * (step - warmup)) / (steps - warmup)))) / 2;
  },
};

/** nanoGPT's recipe for CPUs: a GPT of four layers that reads characters. */
async function characterRecipe(folder: string, { target }: CaseOptions): Promise<Recipe> {
  const path = resolve(folder, '../../text/tinyshakespeare/input.txt');
  if (!existsSync(path)) throw new ModelcError('input', `the case reads ${path}, which does not exist`);
  const ids = new Map(Object.entries(readJson<Record<string, number>>(join(folder, 'vocab.json'))));
  return {
    open: (weights) => AutoModelForCausalLM.from_pretrained(join(folder, weights), { target }),
    ids: Array.from(readFileSync(path, 'utf8'), (character) => ids.get(character) ?? -1),
    length: readJson<{ n_positions: number }>(join(folder, 'init', 'config.json')).n_positions,
    args: {
      per_device_train_batch_size: 12,
      adam_beta2: 0.99,
      weight_decay: 0.1,
    },
    schedule: characterSchedule,
  };
}

const adapterTokens = 128;

/** The base of an adapter; its path is relative to the adapter's. */
async function openAdapter(folder: string, { target }: CaseOptions): Promise<PeftModelForCausalLM> {
  const { base_model_name_or_path: base } = readJson<{ base_model_name_or_path: string }>(
    join(folder, 'adapter_config.json'),
  );
  const model = await AutoModelForCausalLM.from_pretrained(resolve(folder, base), { target });
  return PeftModel.from_pretrained(model, folder, { is_trainable: true });
}

/** Adapters on all linear modules of a Llama that reads a tokenizer's tokens. */
async function adapterRecipe(folder: string, options: CaseOptions): Promise<Recipe> {
  return {
    open: (weights) => openAdapter(join(folder, weights), options),
    ids: await readIntegers(join(folder, 'tokens.safetensors'), 'data'),
    length: adapterTokens,
    args: {
      per_device_train_batch_size: 8,
      learning_rate: 2e-3,
      lr_scheduler_type: 'constant',
      max_grad_norm: 0,
    },
  };
}

interface Row {
  readonly input_ids: readonly number[];
  /** The token after each. */
  readonly labels: readonly number[];
}

export async function checkRecordedRun(report: CaseReport, folder: string, options: CaseOptions): Promise<void> {
  const golden = readJson<Golden>(join(folder, 'golden.json'));
  const isAdapter = existsSync(join(folder, 'init', 'adapter_config.json'));
  const recipe = await (isAdapter ? adapterRecipe : characterRecipe)(folder, options);
  const steps = options.full ? golden.train_loss.length : Math.min(firstSteps, golden.train_loss.length);
  if (steps < golden.train_loss.length) report.leaveOut(`steps ${steps + 1} to ${golden.train_loss.length} (--full)`);
  await checkSteps(
    report,
    recipe,
    golden,
    await readIntegers(join(folder, 'batch_offsets.safetensors'), 'data'),
    steps,
  );
  if (isAdapter) await checkTrainedAdapter(report, folder, options);
}

async function checkSteps(
  report: CaseReport,
  { open, ids, length, args, schedule }: Recipe,
  golden: Golden,
  offsets: readonly number[],
  steps: number,
): Promise<void> {
  const row = (from: number): Row => ({
    input_ids: ids.slice(from, from + length),
    labels: ids.slice(from + 1, from + length + 1),
  });
  const validation: Row[] = [];
  for (let at = Math.floor(ids.length * trainShare); at + length < ids.length; at += length) validation.push(row(at));
  const counts = Object.keys(golden.val_loss).map(Number).filter((count) => count > 0); // biome-ignore format: short
  const model = await open('init');
  const output_dir = mkdtempSync(join(tmpdir(), 'modelc-recorded-run-'));
  const trainer = new Trainer({
    model,
    args: new TrainingArguments({
      ...args,
      output_dir,
      max_steps: steps,
      per_device_eval_batch_size: 16,
      train_sampling_strategy: 'sequential',
      eval_on_start: true,
      eval_strategy: 'steps',
      eval_steps: Math.min(...counts),
      logging_steps: 1,
      save_strategy: 'no',
    }),
    train_dataset: offsets.map(row),
    eval_dataset: validation,
    optimizers: [null, schedule ?? null],
    compute_loss_func: ({ logits }, { labels }, given) => crossEntropy(logits, labels, given),
  });
  trainer.remove_callback(ProgressCallback);
  try {
    const start = performance.now();
    await trainer.train();
    const seconds = (performance.now() - start) / 1000;
    compareLogs(report, trainer.state.log_history, golden);
    report.lines.push(`${steps} steps and their validations took ${seconds.toFixed(0)} s`);
  } finally {
    trainer.dispose();
    model.dispose();
    rmSync(output_dir, { recursive: true, force: true });
  }
}

function compareLogs(report: CaseReport, history: readonly LogEntry[], golden: Golden): void {
  const worst = { loss: 0, norm: 0, later: 0 };
  for (const { step, loss, grad_norm, eval_loss } of history) {
    if (eval_loss !== undefined && Object.hasOwn(golden.val_loss, step)) {
      report.figure(`validation loss after ${step} steps`, eval_loss, golden.val_loss[step], validationMargin);
    }
    if (loss === undefined) continue;
    const difference = Math.abs(loss - golden.train_loss[step - 1]);
    if (step > firstSteps) {
      worst.later = Math.max(worst.later, difference);
      continue;
    }
    report.error(`loss of step ${step}`, difference, lossMargin);
    worst.loss = Math.max(worst.loss, difference);
    if (!golden.grad_norm) continue;
    const norm = Math.abs(grad_norm / golden.grad_norm[step - 1] - 1);
    report.error(`gradient norm of step ${step}`, norm, normMargin);
    worst.norm = Math.max(worst.norm, norm);
  }
  const said = (error: number): string => error.toExponential(1);
  report.lines.push(
    `losses of the first ${firstSteps} steps: off by at most ${said(worst.loss)}, margin ${lossMargin}`,
  );
  if (golden.grad_norm)
    report.lines.push(`their gradient norms: off by at most ${said(worst.norm)} of each, margin ${normMargin}`);
  if (worst.later > 0)
    report.lines.push(`losses of the steps after that: off by at most ${said(worst.later)}, no margin`);
}

/** The adapter that came out: its logits, and those of the model that it is merged into. */
async function checkTrainedAdapter(report: CaseReport, folder: string, options: CaseOptions): Promise<void> {
  const tensors = await readTensors(join(folder, 'golden_logits.safetensors'));
  const input = tensors.get('input_ids');
  if (!input) throw new ModelcError('parse', 'the case has no tensor input_ids: is it complete?');
  const adapted = await openAdapter(join(folder, 'final'), options);
  const merged = await adapted.merge_and_unload();
  for (const [name, model] of [
    ['logits_adapter', await openAdapter(join(folder, 'final'), options)],
    ['logits_merged', merged],
  ] as const) {
    const { logits } = await model.forward({ input_ids: rowsOf(input) });
    report.error(name, relativeError(logits.data, tensors.get(name)?.data ?? new Float32Array(0)), tolerance);
    model.dispose();
  }
  adapted.dispose();
}
