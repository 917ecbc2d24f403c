// Callbacks: what is done at the events of a training run besides training. A callback sees the arguments, the state and
// the control of the run, and may change the control. The Trainer's own habits, when it logs, evaluates and saves, are
// one of them, the first. Events, names and semantics are those of transformers.
import type { Optimizer } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { suggestion } from '../../ir/options.ts';
import type { TrainingArguments } from './arguments.ts';
import type { Schedule } from './schedulers.ts';
import { type CallbackState, type Metrics, TrainerControl, type TrainerState } from './trainer-state.ts';

/** Something that tells how many batches it has, where it knows. */
export interface Batches {
  readonly length: number | undefined;
}

/** What else an event tells. */
export interface CallbackContext {
  /** The model that is trained. */
  readonly model: unknown;
  /** The Trainer's processing_class: its tokenizer. */
  readonly processing_class: unknown;
  /** What updates parameters; undefined before the training. */
  readonly optimizer: Optimizer | undefined;
  /** The learning rate of each step; undefined before the training. */
  readonly lr_scheduler: Schedule | undefined;
  /** The batches of the training; undefined outside of it. */
  readonly train_dataloader: Batches | undefined;
  /** The batches of the evaluation; undefined outside of it. */
  readonly eval_dataloader: Batches | undefined;
  /** Of on_evaluate and on_predict. */
  readonly metrics?: Metrics;
  /** Of on_log. */
  readonly logs?: Metrics;
}

/** A TrainerControl that it gives takes the place of the one it got; anything else it gives is passed over. */
export type CallbackEvent = (
  args: TrainingArguments,
  state: TrainerState,
  control: TrainerControl,
  context: CallbackContext,
) => unknown;

export const callbackEvents = [
  'on_init_end',
  'on_train_begin',
  'on_train_end',
  'on_epoch_begin',
  'on_epoch_end',
  'on_step_begin',
  'on_substep_end',
  'on_pre_optimizer_step',
  'on_optimizer_step',
  'on_step_end',
  'on_evaluate',
  'on_predict',
  'on_prediction_step',
  'on_save',
  'on_log',
] as const;
export type CallbackEventName = (typeof callbackEvents)[number];

/** A class or an object with some of the events. */
export type TrainerCallback = { readonly [event in CallbackEventName]?: CallbackEvent } & {
  /** What the callback keeps in checkpoints, which are to restore it. */
  state?(): CallbackState;
};

type Flag = 'should_training_stop' | 'should_epoch_stop' | 'should_save' | 'should_evaluate' | 'should_log';

/** What an event puts back before its callbacks are asked. */
const cleared: { readonly [event in CallbackEventName]?: readonly Flag[] } = {
  on_train_begin: ['should_training_stop'],
  on_epoch_begin: ['should_epoch_stop'],
  on_step_begin: ['should_save', 'should_evaluate', 'should_log'],
  on_evaluate: ['should_evaluate'],
  on_save: ['should_save'],
  on_log: ['should_log'],
};

/** Those that Trainers here call, and that of uploads, which there are none of. */
const known: ReadonlySet<string> = new Set([...callbackEvents, 'on_push_begin']);

/** Names of an object's methods and of those that its classes give it. */
function methodsOf(object: object): string[] {
  const below = Object.getPrototypeOf(object) as object | null;
  const inherited = below && below !== Object.prototype ? methodsOf(below) : [];
  return [...Object.getOwnPropertyNames(object), ...inherited];
}

/** Calls the callbacks in order. */
export class CallbackHandler {
  readonly callbacks: TrainerCallback[] = [];

  /** Throws ModelcError 'input' for a callback of an event that there is not: it would never be called. */
  add(callback: TrainerCallback): void {
    if (typeof callback !== 'object' || callback === null) {
      throw new ModelcError('input', 'a callback is an object with events such as on_log, or new CLASS()');
    }
    const unknown = methodsOf(callback).find((name) => name.startsWith('on_') && !known.has(name));
    if (unknown !== undefined) {
      const hint = suggestion(unknown, callbackEvents) || `; there are ${callbackEvents.join(', ')}`;
      throw new ModelcError('input', `a callback has ${unknown}, which is no event${hint}`);
    }
    this.callbacks.push(callback);
  }

  /** Takes a callback out: this one, or the first of a class. */
  pop(callback: TrainerCallback | CallbackClass): TrainerCallback | undefined {
    const i = this.callbacks.findIndex(
      (c) => c === callback || (typeof callback === 'function' && c instanceof callback),
    );
    return i < 0 ? undefined : this.callbacks.splice(i, 1)[0];
  }

  async call(
    event: CallbackEventName,
    args: TrainingArguments,
    state: TrainerState,
    control: TrainerControl,
    context: CallbackContext,
  ): Promise<TrainerControl> {
    for (const flag of cleared[event] ?? []) control[flag] = false;
    let current = control;
    for (const callback of this.callbacks) {
      const given = await callback[event]?.(args, state, current, context);
      if (given instanceof TrainerControl) current = given;
    }
    return current;
  }
}

export type CallbackClass = new (...options: never[]) => TrainerCallback;

/** When the Trainer logs, evaluates, saves and stops. */
export class DefaultFlowCallback implements TrainerCallback {
  /** Asks for what is due every so many steps, and for the end. */
  on_step_end(args: TrainingArguments, state: TrainerState, control: TrainerControl): void {
    const step = state.global_step;
    const due = (interval: number): boolean => interval > 0 && step % interval === 0;
    if (step === 1 && args.logging_first_step) control.should_log = true;
    if (args.logging_strategy === 'steps' && due(state.logging_steps)) control.should_log = true;
    const evaluates = args.eval_strategy === 'steps' && args.eval_delay <= step;
    if (evaluates && due(state.eval_steps)) control.should_evaluate = true;
    if (args.save_strategy === 'steps' && due(state.save_steps)) control.should_save = true;
    if (step < state.max_steps) return;
    control.should_training_stop = true;
    if (evaluates) control.should_evaluate = true;
    if (args.save_strategy === 'steps') control.should_save = true;
  }

  /** Asks for what is due every epoch. */
  on_epoch_end(args: TrainingArguments, state: TrainerState, control: TrainerControl): void {
    if (args.logging_strategy === 'epoch') control.should_log = true;
    if (args.eval_strategy === 'epoch' && args.eval_delay <= (state.epoch ?? 0)) control.should_evaluate = true;
    if (args.save_strategy === 'epoch') control.should_save = true;
  }
}
