// `modelc train`: a config to a trained model. It reads the config (train-config.ts) and the texts, makes the tokenizer
// and the model, lets a Trainer do its work, and saves what `modelc generate` opens. An interrupt ends the training after
// the step under way, with a checkpoint that --resume goes on from.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type DeviceName, defaultBackend } from '../../backends/index.ts';
import { describeModel } from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type Block,
  CurveCallback,
  createTokenizer,
  type Dataset,
  get_last_checkpoint,
  get_peft_model,
  LoraConfig,
  load_dataset,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  Trainer,
  type TrainerCallback,
  type TrainerControl,
  type TrainerState,
  TrainingArguments,
  text_blocks,
  text_blocks_in_workers,
  train_tokenizer,
} from '../index.ts';
import { duration } from '../trainer/callbacks/progress.ts';
import type { Trainable } from '../trainer/trainable.ts';
import { exitCodes, interruptSignal, note, showBuilds, status } from './output.ts';
import { type DataConfig, readTrainConfig, type TrainConfig } from './train-config.ts';

export interface TrainCommandOptions {
  /** A checkpoint; true: the last one in output_dir. */
  readonly resume?: string | true;
  readonly target?: DeviceName;
}

/** Fewer characters are tokenized faster than threads start. */
const charactersForWorkers = 200_000;

export async function train(path: string, options: TrainCommandOptions): Promise<void> {
  const start = performance.now();
  const signal = interruptSignal();
  showBuilds();
  const config = readTrainConfig(path);
  const args = checked(path, 'training', () => new TrainingArguments(trainingOf(config)));
  const lora = config.lora && checked(path, 'lora', () => loraOf(config));
  if (typeof config.model !== 'string') {
    describeModel({ vocab_size: 1, ...config.model }, `${path}: model`, 'causal-lm');
  }
  const checkpoint = await checkpointOf(options.resume, args.output_dir);

  const texts = await readTexts(config.data);
  const tokenizer = await openTokenizer(config, checkpoint, texts.train);
  signal.throwIfAborted();
  const blocks = await readBlocks(config.data, texts, tokenizer, config.tokenizer, checkpoint);
  signal.throwIfAborted();
  const { model, trained } = await openModel(path, config, {
    tokenizer,
    lora,
    seed: args.seed,
    target: options.target,
  });
  signal.throwIfAborted();

  const stop = new StopCallback(signal);
  const trainer = new Trainer<Trainable>({
    model: trained,
    args,
    train_dataset: blocks.train,
    ...(blocks.eval ? { eval_dataset: blocks.eval } : {}),
    processing_class: tokenizer,
    callbacks: [new CurveCallback({ title: shown(args.output_dir) }), stop],
  });
  if (checkpoint !== undefined) field('resumed', `from ${shown(checkpoint)}`);
  status('compiling the training');
  try {
    await trainer.train({ resume_from_checkpoint: checkpoint ?? false });
    if (signal.aborted) return interrupted(path, stop.saved);
    await trainer.save_model();
    await trainer.save_state();
  } catch (error) {
    // What went wrong with a checkpoint is not to be hidden by the interrupt that asked for it.
    if (signal.aborted && error instanceof ModelcError && error.code !== 'toolchain') note(`modelc: ${error.message}`);
    throw error;
  } finally {
    trainer.dispose();
    model.dispose();
  }
  field('saved', `${shown(args.output_dir)}, with curve.html, after ${duration((performance.now() - start) / 1000)}`);
  const prompt = beginning(texts.train, config.data.text_column);
  field('try', `modelc generate ${quoted(shown(args.output_dir))} -p ${quoted(prompt)}`);
}

/** Says what to do with a training that an interrupt ended. */
function interrupted(path: string, saved: string | undefined): void {
  note(
    saved === undefined
      ? 'modelc: interrupted before the first step'
      : `modelc: interrupted; ${shown(saved)} is saved, and \`modelc train ${quoted(path)} --resume\` goes on from it`,
  );
  process.exitCode = exitCodes.interrupted;
}

/** Ends a training after an interrupt, with a checkpoint. */
class StopCallback implements TrainerCallback {
  readonly #signal: AbortSignal;
  /** The last checkpoint of this run. */
  saved: string | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  on_train_begin(_: TrainingArguments, __: TrainerState, control: TrainerControl): void {
    if (this.#signal.aborted) control.should_training_stop = true;
    this.#signal.addEventListener('abort', () => {
      note('stopping after this step; a second interrupt ends at once');
    });
  }
  on_step_end(_: TrainingArguments, state: TrainerState, control: TrainerControl): void {
    this.#stop(state, control);
  }
  on_evaluate(_: TrainingArguments, state: TrainerState, control: TrainerControl): void {
    this.#stop(state, control);
  }
  on_epoch_end(_: TrainingArguments, state: TrainerState, control: TrainerControl): void {
    this.#stop(state, control);
  }
  on_save({ output_dir }: TrainingArguments, state: TrainerState): void {
    this.saved = join(output_dir, `checkpoint-${state.global_step}`);
  }

  #stop({ global_step }: TrainerState, control: TrainerControl): void {
    if (!this.#signal.aborted) return;
    control.should_training_stop = true;
    control.should_evaluate = false;
    control.should_save = !this.saved?.endsWith(`-${global_step}`);
  }
}

/** What the config says of TrainingArguments, with logs and evaluations often enough for a curve. */
function trainingOf({ training, data }: TrainConfig): Record<string, unknown> {
  const isEvaluated = data.eval.length > 0 || data.eval_part > 0;
  return {
    logging_steps: 0.02,
    ...(isEvaluated && !Object.hasOwn(training, 'eval_strategy') ? { eval_strategy: 'steps', eval_steps: 0.1 } : {}),
    ...training,
  };
}

function loraOf({ lora, model }: TrainConfig): LoraConfig {
  if (typeof model !== 'string') {
    throw new ModelcError(
      'input',
      'an adapter needs a checkpoint that it adapts; name a folder as model, or leave it out',
    );
  }
  return new LoraConfig({ task_type: 'CAUSAL_LM', ...lora });
}

/** Names the config and the key in errors of what reads that key. */
function checked<T>(path: string, key: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof ModelcError)) throw error;
    throw new ModelcError(error.code, `${path}: ${key}: ${error.message}`, { cause: error });
  }
}

/** The checkpoint to go on from. A folder with checkpoints of an earlier run takes no new one: they would be mixed. */
async function checkpointOf(resume: string | true | undefined, output_dir: string): Promise<string | undefined> {
  if (typeof resume === 'string') return resume;
  const last = await get_last_checkpoint(output_dir);
  if (resume) {
    if (last !== undefined) return last;
    throw new ModelcError('input', `${output_dir} has no checkpoint to resume from; leave --resume out to start anew`);
  }
  if (last === undefined) return undefined;
  throw new ModelcError(
    'input',
    `${output_dir} has checkpoints of an earlier training; go on from the last one with --resume, remove the folder, or name another output_dir`,
  );
}

interface Texts {
  readonly train: Dataset;
  readonly eval: Dataset | undefined;
}

async function readTexts({ format, train, eval: held, sample_by }: DataConfig): Promise<Texts> {
  const read = async (files: readonly string[]): Promise<Dataset> => {
    const dataset =
      format === 'text'
        ? await load_dataset('text', { data_files: files, split: 'train', sample_by })
        : await load_dataset(format, { data_files: files, split: 'train' });
    if (dataset.length > 0) return dataset;
    throw new ModelcError('input', `${files.join(', ')}: there are no texts`);
  };
  status('reading texts');
  return { train: await read(train), eval: held.length > 0 ? await read(held) : undefined };
}

/** The config's tokenizer; where one is learned from the texts, a run that is resumed has it in its checkpoint. */
async function openTokenizer(
  { tokenizer, data }: TrainConfig,
  checkpoint: string | undefined,
  texts: Dataset,
): Promise<PreTrainedTokenizer> {
  if (typeof tokenizer === 'string') return AutoTokenizer.from_pretrained(tokenizer);
  if (checkpoint !== undefined) return AutoTokenizer.from_pretrained(checkpoint);
  status('learning a tokenizer');
  const column = texts.column(data.text_column).filter((text) => typeof text === 'string');
  const learned = createTokenizer(train_tokenizer(column, tokenizer));
  field('tokenizer', `${thousands(learned.get_vocab().size)} tokens, learned from the texts`);
  return learned;
}

interface Blocks {
  readonly train: Dataset<Block>;
  readonly eval: Dataset<Block> | undefined;
}

async function readBlocks(
  data: DataConfig,
  texts: Texts,
  tokenizer: PreTrainedTokenizer,
  source: TrainConfig['tokenizer'],
  checkpoint: string | undefined,
): Promise<Blocks> {
  const folder = typeof source === 'string' ? source : checkpoint;
  const scratch = folder === undefined ? await mkdtemp(join(tmpdir(), 'modelc-tokenizer-')) : undefined;
  try {
    if (scratch !== undefined) await tokenizer.save_pretrained(scratch);
    const cut = (dataset: Dataset): Promise<Dataset<Block>> => cutBlocks(dataset, data, tokenizer, folder ?? scratch!);
    let blocks: Blocks = { train: await cut(texts.train), eval: texts.eval && (await cut(texts.eval)) };
    if (data.eval_part > 0) {
      const { train, test } = blocks.train.train_test_split({ test_size: data.eval_part, shuffle: false });
      blocks = { train, eval: test };
    }
    const of = `${thousands(texts.train.length)} ${texts.train.length === 1 ? 'text' : 'texts'}`;
    const held = blocks.eval ? `, ${thousands(blocks.eval.length)} for evaluation` : '';
    field('data', `${of}: ${thousands(blocks.train.length)} blocks of ${data.block_size} tokens${held}`);
    return blocks;
  } finally {
    if (scratch !== undefined) await rm(scratch, { recursive: true, force: true });
  }
}

async function cutBlocks(
  dataset: Dataset,
  { text_column: column, block_size }: DataConfig,
  tokenizer: PreTrainedTokenizer,
  folder: string,
): Promise<Dataset<Block>> {
  const characters = dataset.length > 0 ? lengthOf(dataset, column) : 0;
  if (characters < charactersForWorkers) return text_blocks(dataset, { tokenizer, block_size, column });
  status('tokenizing');
  return text_blocks_in_workers(dataset, {
    tokenizer,
    folder,
    block_size,
    column,
    progress_callback: (done) => {
      if (done % 64 === 0) status(`tokenizing: ${thousands(done)} of ${thousands(dataset.length)} texts`);
    },
  });
}

const lengthOf = (dataset: Dataset, column: string): number => {
  let sum = 0;
  for (const row of dataset) if (typeof row[column] === 'string') sum += row[column].length;
  return sum;
};

interface ModelOptions {
  readonly tokenizer: PreTrainedTokenizer;
  readonly lora: LoraConfig | undefined;
  readonly seed: number;
  readonly target: DeviceName | undefined;
}

/** The model, and what is trained: the model itself, or an adapter on it. */
async function openModel(
  path: string,
  { model: source, data }: TrainConfig,
  { tokenizer, lora, seed, target = defaultBackend }: ModelOptions,
): Promise<{ model: PreTrainedModel; trained: Trainable }> {
  status('opening the model');
  const model =
    typeof source === 'string'
      ? await AutoModelForCausalLM.from_pretrained(source, { target })
      : await AutoModelForCausalLM.from_config(newConfig(source, tokenizer), { target, seed });
  const { maxPositions = Number.POSITIVE_INFINITY, weights, config } = model.trainable!;
  const fail = (what: string): never => {
    model.dispose();
    throw new ModelcError('input', `${path}: ${what}`);
  };
  if (data.block_size > maxPositions) {
    fail(`data.block_size is ${data.block_size}, but the model has positions for ${maxPositions}; make blocks smaller`);
  }
  const tokens = tokenCount(tokenizer);
  if (typeof config.vocab_size === 'number' && tokens > config.vocab_size) {
    fail(
      `the tokenizer has ${tokens} tokens, but the model has a vocab_size of ${config.vocab_size}; raise it, or leave it out`,
    );
  }
  const size = weights.tensors.reduce((n, [, , shape]) => n + shape.reduce((a, b) => a * b, 1), 0);
  const origin = typeof source === 'string' ? shown(source) : `a new ${String(config.model_type)}`;
  field('model', `${origin}, ${thousands(size)} parameters`);
  if (!lora) return { model, trained: model };
  const adapted = await get_peft_model(model, lora, 'default', { seed });
  const [own] = adapted.get_nb_trainable_parameters();
  field('adapter', `rank ${lora.r}, ${thousands(own)} parameters`);
  return { model, trained: adapted };
}

/** Rows that an embedding needs for all tokens. */
function tokenCount(tokenizer: PreTrainedTokenizer): number {
  let last = -1;
  for (const id of tokenizer.get_vocab().values()) last = Math.max(last, id);
  return last + 1;
}

/** config.json of a new model: what the tokenizer knows is taken from it. */
function newConfig(config: Readonly<Record<string, unknown>>, tokenizer: PreTrainedTokenizer): Record<string, unknown> {
  const { bos_token_id, eos_token_id, pad_token_id } = tokenizer;
  return {
    vocab_size: tokenCount(tokenizer),
    bos_token_id,
    eos_token_id,
    pad_token_id,
    ...config,
  };
}

// What is shown.

/** A line about the run: a name and what there is to say. */
const field = (name: string, text: string): void => note(`${name.padEnd(10)} ${text}`);

const thousands = (n: number): string => n.toLocaleString('en-US');

/** A path as short as it can be said from here. */
const shown = (path: string): string => {
  const short = relative(process.cwd(), path);
  return short !== '' && short.length < path.length ? short : path;
};

/** As a shell takes it. */
const quoted = (text: string): string => (/^[\w./@:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The first words of the texts: a prompt that a trained model can continue. */
function beginning(texts: Dataset, column: string): string {
  const text = Array.from(texts, (row) => String(row[column]).trim()).find((t) => t !== '') ?? 'The';
  return text.split(/\s+/).slice(0, 4).join(' ').slice(0, 60);
}
