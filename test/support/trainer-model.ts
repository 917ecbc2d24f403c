// A small model and data for tests of the Trainer.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { Generator } from '../../runtime/data/index.ts';
import {
  AutoModelForCausalLM,
  type PreTrainedModel,
  Trainer,
  type TrainerOptions,
  TrainingArguments,
  type TrainingArgumentsOptions,
} from '../../runtime/index.ts';

export const vocab = 40;
const config = {
  model_type: 'gpt2', n_embd: 16, n_layer: 1, n_head: 2, n_positions: 96, vocab_size: vocab, architectures: ['GPT2LMHeadModel'],
  embd_pdrop: 0.1, attn_pdrop: 0.1, resid_pdrop: 0.1,
}; // biome-ignore format: one row

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A new folder, which goes with the test file. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-trainer-'));
  folders.push(folder);
  return folder;
}

export interface Example {
  readonly input_ids: readonly number[];
  readonly labels: readonly number[];
}

/** Rows of tokens that count up, each from a place of its own. */
export function examples(count: number, length = 12, seed = 1): Example[] {
  const random = new Generator(seed);
  return Array.from({ length: count }, () => {
    const start = random.below(vocab);
    const input_ids = Array.from({ length }, (_, i) => (start + i) % vocab);
    return { input_ids, labels: input_ids };
  });
}

export const newModel = (): Promise<PreTrainedModel> => AutoModelForCausalLM.from_config(config, { target: 'cpu' });

type Options = Omit<TrainerOptions<PreTrainedModel>, 'args'> & { readonly args?: TrainingArgumentsOptions };

/** A Trainer that keeps silent, of six steps unless the options say otherwise. */
export async function newTrainer({ args = {}, ...options }: Options = {}): Promise<Trainer<PreTrainedModel>> {
  return new Trainer({
    train_dataset: examples(24),
    ...options,
    ...(options.model || options.model_init ? {} : { model: await newModel() }),
    args: new TrainingArguments({
      output_dir: scratch(), per_device_train_batch_size: 4, num_train_epochs: 1, learning_rate: 0.01,
      logging_steps: 1, save_strategy: 'no', ...args,
    }), // biome-ignore format: one row
  });
}

/** All weights of a model, by name. */
export async function weightsOf(model: PreTrainedModel): Promise<Map<string, Float32Array>> {
  const { weights } = model.trainable!;
  const read = weights.tensors.map(async ([name]) => [name, (await weights.read(name)).data as Float32Array] as const);
  return new Map(await Promise.all(read));
}

/** What an attempt that must fail says. */
export async function messageOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}
