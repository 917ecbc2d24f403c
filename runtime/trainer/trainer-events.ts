// What a Trainer tells of its run: its state and history, and the callbacks that see them and steer it.
import type { DataLoader } from '../data/index.ts';
import { TrainingArguments } from './arguments.ts';
import { PrinterCallback } from './callbacks/printer.ts';
import { ProgressCallback } from './callbacks/progress.ts';
import { TensorBoardCallback } from './callbacks/tensorboard.ts';
import {
  type CallbackClass,
  type CallbackContext,
  type CallbackEventName,
  CallbackHandler,
  DefaultFlowCallback,
  type TrainerCallback,
} from './callbacks.ts';
import type { LearningRate } from './learning-rate.ts';
import type { Metrics } from './metrics.ts';
import type { Trainable } from './trainable.ts';
import { checkTrainerOptions, type TrainerOptions } from './trainer-options.ts';
import { TrainerControl, TrainerState } from './trainer-state.ts';

export abstract class TrainerEvents<M extends Trainable> {
  /** How it trains. */
  readonly args: TrainingArguments;
  /** How far the training is. */
  readonly state = new TrainerState();
  /** What callbacks have asked for. */
  control = new TrainerControl();
  /** Its callbacks. */
  readonly callback_handler = new CallbackHandler();
  /** What it was made of. */
  protected readonly options: TrainerOptions<M>;
  /** What callbacks are told of the run under way. */
  protected readonly running: { rate?: LearningRate; train?: DataLoader; eval?: DataLoader } = {};
  #initialized = false;

  constructor(options: TrainerOptions<M>) {
    checkTrainerOptions(options);
    const { args = new TrainingArguments(), callbacks = [] } = options;
    this.options = options;
    this.args = args;
    this.add_callback(new DefaultFlowCallback());
    const reporters = [args.report_to].flat();
    if (reporters.some((name) => name === 'tensorboard' || name === 'all'))
      this.add_callback(new TensorBoardCallback());
    for (const callback of callbacks) this.add_callback(callback);
    this.add_callback(args.disable_tqdm ? new PrinterCallback() : new ProgressCallback());
  }

  /** Adds a callback: an object, or a class that is made without options. */
  add_callback(callback: TrainerCallback): void {
    this.callback_handler.add(callback);
  }
  /** Removes a callback, or the first of a class, and gives it. */
  pop_callback(callback: TrainerCallback | CallbackClass): TrainerCallback | undefined {
    return this.callback_handler.pop(callback);
  }
  /** Removes a callback, or the first of a class. */
  remove_callback(callback: TrainerCallback | CallbackClass): void {
    this.callback_handler.pop(callback);
  }

  /** Adds to the history and tells the callbacks. */
  async log(logs: Metrics): Promise<void> {
    const { state } = this;
    const entry: Metrics = { ...logs, ...(state.epoch === null ? {} : { epoch: state.epoch }) };
    if (this.args.include_num_input_tokens_seen !== 'no' && this.args.include_num_input_tokens_seen !== false) {
      entry.num_input_tokens_seen = state.num_input_tokens_seen;
    }
    state.log_history.push({ ...entry, step: state.global_step });
    await this.event('on_log', { logs: entry });
  }

  protected abstract get knownModel(): M | undefined;

  /** Tells callbacks once that the Trainer is made. */
  protected async initialize(): Promise<void> {
    if (this.#initialized) return;
    this.#initialized = true;
    await this.event('on_init_end');
  }

  /** Tells callbacks of an event. */
  protected async event(name: CallbackEventName, more: Partial<CallbackContext> = {}): Promise<void> {
    const context: CallbackContext = {
      model: this.knownModel,
      processing_class: this.options.processing_class,
      optimizer: this.options.optimizers?.[0] ?? undefined,
      lr_scheduler: this.running.rate?.schedule,
      train_dataloader: this.running.train,
      eval_dataloader: this.running.eval,
      ...more,
    };
    this.control = await this.callback_handler.call(name, this.args, this.state, this.control, context);
  }

  /** Puts what callbacks keep into the state. */
  protected keepCallbackStates(): void {
    const kept: TrainerState['stateful_callbacks'] = { TrainerControl: this.control.state() };
    for (const callback of this.callback_handler.callbacks) {
      const state = callback.state?.();
      if (state) kept[callback.constructor.name] = state;
    }
    this.state.stateful_callbacks = kept;
  }

  /** Gives the callbacks what a checkpoint kept of them. */
  protected restoreCallbacks({ stateful_callbacks: all }: TrainerState): void {
    for (const callback of this.callback_handler.callbacks) {
      const kept = all[callback.constructor.name];
      if (kept && !Array.isArray(kept)) Object.assign(callback, kept.args, kept.attributes);
    }
  }
}
