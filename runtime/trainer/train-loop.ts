// The loop of a training: epochs, windows of micro-batches that make one optimizer step, and what is done between steps.
// Semantics are those of transformers' Trainer._inner_training_loop.
import { ignoredLabel, type SequenceTask, type TrainEntry } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Batch, DataLoader } from '../data/index.ts';
import type { TrainingArguments } from './arguments.ts';
import type { CallbackEventName } from './callbacks.ts';
import { windows } from './data-sources.ts';
import { numberOf, rowsOf } from './evaluation.ts';
import type { FittedSession } from './fitted-session.ts';
import type { LearningRate } from './learning-rate.ts';
import type { Metrics, TrainerControl, TrainerState } from './trainer-state.ts';

/** How many steps and epochs a run has. */
export interface RunLength {
  /** Micro-batches of an epoch; undefined for a stream. */
  readonly batches: number | undefined;
  readonly stepsPerEpoch: number;
  readonly maxSteps: number;
  readonly epochs: number;
  /** Examples of the whole run. */
  readonly examples: number;
}

/** Throws ModelcError 'input' where a stream has no max_steps. */
export function runLength(loader: DataLoader, examples: number | undefined, args: TrainingArguments): RunLength {
  const { gradient_accumulation_steps: window, max_steps, num_train_epochs, train_batch_size } = args;
  const batches = loader.length;
  if (batches === undefined) {
    if (max_steps <= 0) {
      throw new ModelcError('input', 'a stream does not tell its length: set max_steps in TrainingArguments');
    }
    const perEpoch = max_steps;
    return {
      batches,
      stepsPerEpoch: perEpoch,
      maxSteps: max_steps,
      epochs: Number.POSITIVE_INFINITY,
      examples: max_steps * train_batch_size * window,
    };
  }
  if (batches === 0) {
    throw new ModelcError(
      'input',
      `train_dataset has fewer examples than per_device_train_batch_size (${train_batch_size}), and dataloader_drop_last leaves them out`,
    );
  }
  const stepsPerEpoch = Math.max(1, Math.ceil(batches / window));
  const maxSteps = max_steps > 0 ? max_steps : Math.ceil(num_train_epochs * stepsPerEpoch);
  const epochs = max_steps > 0 ? Math.ceil(maxSteps / stepsPerEpoch) : Math.ceil(num_train_epochs);
  const all = (examples ?? 0) * num_train_epochs;
  return {
    batches,
    stepsPerEpoch,
    maxSteps,
    epochs,
    examples: max_steps > 0 ? max_steps * train_batch_size * window : all,
  };
}

/** What the loop asks of its Trainer. */
export interface LoopHost {
  readonly args: TrainingArguments;
  readonly state: TrainerState;
  control: TrainerControl;
  event(name: CallbackEventName): Promise<void>;
  log(logs: Metrics): Promise<void>;
  /** Evaluates; tells whether the metric that counts is the best so far. */
  evaluateInLoop(rate: LearningRate): Promise<boolean>;
  saveInLoop(session: FittedSession, rate: LearningRate): Promise<void>;
}

export interface LoopOptions {
  readonly host: LoopHost;
  readonly session: FittedSession;
  readonly loader: DataLoader;
  readonly rate: LearningRate;
  readonly length: RunLength;
  /** Columns of labels. */
  readonly labels: SequenceTask['labels'];
  /** Floating point operations of a token, forward and backward. */
  readonly flosPerToken: number;
  /** The id of padding, which num_input_tokens_seen: 'non_padding' does not count. */
  readonly padding: number | undefined;
}

export class TrainLoop {
  readonly #o: LoopOptions;
  /** Sum of the losses since the last log, and before that. */
  #recent = 0;
  #total = 0;
  #lastLogged: number;
  #gradNorm: number | undefined;
  #lastRate: number;

  constructor(options: LoopOptions) {
    this.#o = options;
    this.#lastLogged = options.host.state.global_step;
    this.#lastRate = options.rate.current;
  }

  /** The mean loss of all steps. */
  async run(): Promise<number> {
    const { host, length } = this.#o;
    const { state, args } = host;
    const firstEpoch = Math.floor(state.global_step / length.stepsPerEpoch);
    const skipped = (state.global_step % length.stepsPerEpoch) * args.gradient_accumulation_steps;
    await host.event('on_train_begin');
    if (args.eval_on_start) await host.evaluateInLoop(this.#o.rate);
    for (let epoch = firstEpoch; epoch < length.epochs && !host.control.should_training_stop; epoch++) {
      await this.#epoch(epoch, epoch === firstEpoch && !args.ignore_data_skip ? skipped : 0);
    }
    return (this.#total + this.#recent) / Math.max(state.global_step, 0.001);
  }

  async #epoch(epoch: number, skip: number): Promise<void> {
    const { host, loader, length } = this.#o;
    const { state, args } = host;
    const window = args.gradient_accumulation_steps;
    const inEpoch = length.batches ?? length.maxSteps * window;
    await host.event('on_epoch_begin');
    let done = skip;
    let isEmpty = true;
    for await (const batches of windows(loader.batches(epoch, skip), window)) {
      isEmpty = false;
      await host.event('on_step_begin');
      await this.#step(batches);
      done += batches.length;
      state.global_step++;
      state.epoch = epoch + done / inEpoch;
      await host.event('on_step_end');
      await this.#between();
      if (host.control.should_epoch_stop || host.control.should_training_stop) break;
    }
    if (isEmpty && skip === 0) {
      throw new ModelcError('input', `train_dataset gave no examples in epoch ${epoch}; give at least one`);
    }
    await host.event('on_epoch_end');
    await this.#between();
  }

  /** One optimizer step. */
  async #step(batches: readonly Batch[]): Promise<void> {
    const { host, session, rate, labels } = this.#o;
    const scalars = {
      learning_rate: rate.current,
      ...(session.training.countsItems ? { num_items: countItems(batches, labels) } : {}),
    };
    let loss = 0;
    for (const [i, batch] of batches.entries()) {
      this.#count(batch);
      const isLast = i === batches.length - 1;
      const entry: TrainEntry = !isLast
        ? 'accumulate'
        : host.args.gradient_accumulation_steps > 1
          ? 'train_accumulated'
          : 'train';
      if (isLast) await host.event('on_pre_optimizer_step');
      const given = await session.run(entry, batch, scalars);
      loss += numberOf(given.loss) ?? Number.NaN;
      if (!Number.isFinite(loss) && !host.args.fp16) this.#failNonFinite(loss);
      if (!isLast) {
        await host.event('on_substep_end');
        continue;
      }
      this.#gradNorm = numberOf(given.grad_norm);
      this.#lastRate = rate.current;
      if (numberOf(given.skipped) === 0) rate.step();
      else if (!host.args.fp16) this.#failNonFinite(loss);
    }
    await host.event('on_optimizer_step');
    const filtered = host.args.logging_nan_inf_filter && !Number.isFinite(loss);
    this.#recent += filtered ? this.#recent / (1 + host.state.global_step - this.#lastLogged) : loss;
  }

  #failNonFinite(loss: number): never {
    const { state, args } = this.#o.host;
    const what = Number.isFinite(loss) ? 'gradients are not finite' : `loss is ${loss}`;
    throw new ModelcError(
      'input',
      `training stopped: in step ${state.global_step + 1} the ${what}. That step was not taken: the weights are those of step ${state.global_step}, ` +
        `and save_model() writes them. Look for labels that are all ignored or inputs that are not finite, lower learning_rate (${args.learning_rate})` +
        `${args.max_grad_norm > 0 ? '' : ', set max_grad_norm'}, or add warmup_steps.`,
    );
  }

  #count(batch: Batch): void {
    const { host, flosPerToken, padding } = this.#o;
    const ids = Object.hasOwn(batch, 'input_ids') ? batch.input_ids.data : undefined;
    const tokens = ids?.length ?? rowsOf(batch);
    host.state.total_flos += tokens * flosPerToken;
    const kind = host.args.include_num_input_tokens_seen;
    if (kind === 'no' || kind === false) return;
    const isCounted = (id: number): boolean => kind !== 'non_padding' || id !== padding;
    host.state.num_input_tokens_seen += Array.from(ids ?? [], Number).filter(isCounted).length;
  }

  /** Logs, evaluates and saves where the control says so. */
  async #between(): Promise<void> {
    const { host, session, rate } = this.#o;
    const { state, args } = host;
    const steps = state.global_step - this.#lastLogged;
    if (host.control.should_log && steps > 0) {
      await host.log({
        loss: this.#recent / steps,
        ...(this.#gradNorm === undefined ? {} : { grad_norm: this.#gradNorm }),
        learning_rate: this.#lastRate,
      });
      this.#total += this.#recent;
      this.#recent = 0;
      this.#lastLogged = state.global_step;
    }
    if (host.control.should_evaluate) {
      const isBest = await host.evaluateInLoop(rate);
      if (args.save_strategy === 'best') host.control.should_save = isBest;
    }
    if (host.control.should_save) {
      await host.saveInLoop(session, rate);
      await host.event('on_save');
    }
  }
}

/** Labels that count in a window. */
export function countItems(batches: readonly Batch[], labels: SequenceTask['labels']): number {
  let count = 0;
  for (const batch of batches) {
    for (const { name } of labels) {
      if (!Object.hasOwn(batch, name)) continue;
      for (const label of batch[name].data) if (Number(label) !== ignoredLabel) count++;
    }
  }
  return count;
}
