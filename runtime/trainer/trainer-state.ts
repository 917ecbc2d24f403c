// What a run of the Trainer knows of itself, as trainer_state.json keeps it, and what callbacks ask of the loop. Names are
// those of transformers.
import { isObject, type JsonObject } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import type { TrainingArguments } from './arguments.ts';

/** What was logged at a step. */
export type LogEntry = Readonly<Record<string, number>>;
/** Metrics by name. */
export type Metrics = Record<string, number>;

/** How far a training is: what trainer_state.json holds, with the names of transformers. */
export class TrainerState {
  /** Epochs done, with the share of the current one; null before the first step. */
  epoch: number | null = null;
  /** Optimizer steps done. */
  global_step = 0;
  /** Optimizer steps of the whole run. */
  max_steps = 0;
  /** Epochs of the whole training. */
  num_train_epochs = 0;
  /** Steps between logs. */
  logging_steps = 500;
  /** Steps between evaluations. */
  eval_steps = 500;
  /** Steps between checkpoints. */
  save_steps = 500;
  /** Rows of a batch of training. */
  train_batch_size: number | null = null;
  /** Tokens that were trained on, where the arguments ask for the count. */
  num_input_tokens_seen = 0;
  /** Floating-point operations so far, estimated as transformers does. */
  total_flos = 0;
  /** All logs, each with its step. */
  log_history: LogEntry[] = [];
  /** The best value of metric_for_best_model; null before the first. */
  best_metric: number | null = null;
  /** The step of that value. */
  best_global_step: number | null = null;
  /** The folder of the checkpoint of that step. */
  best_model_checkpoint: string | null = null;
  /** Whether this is the only process of this machine, or the first: always. */
  is_local_process_zero = true;
  /** Whether this is the only process, or the first: always. */
  is_world_process_zero = true;
  /** Whether a search of hyperparameters runs: never. */
  is_hyper_param_search = false;
  /** Of a search of hyperparameters: null. */
  trial_name: string | null = null;
  /** Of a search of hyperparameters: null. */
  trial_params: JsonObject | null = null;
  /** What callbacks keep, by the name of their class. */
  stateful_callbacks: Record<string, CallbackState | CallbackState[]> = {};

  /** Takes the intervals of the arguments; those below 1 are shares of all steps. */
  compute_steps(args: TrainingArguments, max_steps: number): void {
    const absolute = (steps: number): number => (steps < 1 ? Math.ceil(max_steps * steps) : steps);
    this.logging_steps = absolute(args.logging_steps);
    if (args.eval_steps !== null) this.eval_steps = absolute(args.eval_steps);
    this.save_steps = absolute(args.save_steps);
  }

  /** The text of trainer_state.json. */
  to_json(): string {
    const sorted = Object.entries(this).sort(([a], [b]) => (a < b ? -1 : 1));
    return `${JSON.stringify(Object.fromEntries(sorted), plainNumbers, 2)}\n`;
  }

  /** Reads trainer_state.json. Throws ModelcError 'checkpoint' for a field that has another type than it should. */
  static from_json(json: unknown, path: string): TrainerState {
    if (!isObject(json)) throw new ModelcError('checkpoint', `${path} holds no object; take another checkpoint`);
    const state = new TrainerState();
    const known: Readonly<Record<string, unknown>> = { ...state };
    for (const [name, given] of Object.entries(json)) {
      if (!Object.hasOwn(known, name)) continue;
      const value = name === 'best_metric' ? numberOf(given) : name === 'log_history' ? historyOf(given) : given;
      if (value !== null && typeOf(value) !== (nullable[name] ?? typeOf(known[name]))) {
        throw new ModelcError('checkpoint', `${path} has ${JSON.stringify(value)} as ${name}; take another checkpoint`);
      }
      Object.assign(state, { [name]: value });
    }
    if (!Number.isInteger(state.global_step) || state.global_step < 0) {
      throw new ModelcError('checkpoint', `${path} has ${state.global_step} as global_step; take another checkpoint`);
    }
    return state;
  }
}

/** The types of fields that are null at first. */
const nullable: Readonly<Record<string, string>> = {
  epoch: 'number',
  train_batch_size: 'number',
  best_metric: 'number',
  best_global_step: 'number',
  best_model_checkpoint: 'string',
  trial_name: 'string',
  trial_params: 'object',
};

const typeOf = (value: unknown): string => (Array.isArray(value) ? 'array' : typeof value);

/** JSON has no word for numbers that are not finite. */
const plainNumbers = (_: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;

const numberOf = (value: unknown): unknown =>
  value === 'NaN' || value === 'Infinity' || value === '-Infinity' ? Number(value) : value;

/** Logs as they were before `plainNumbers`. */
const historyOf = (logs: unknown): unknown =>
  Array.isArray(logs)
    ? logs.map(
        (entry: unknown) =>
        isObject(entry) ? Object.fromEntries(Object.entries(entry).map(([name, value]) => [name, numberOf(value)])) : entry, // biome-ignore format: one row
      )
    : logs;

/** What a callback, or the control, keeps in a checkpoint. */
export interface CallbackState {
  /** What the class is made with. */
  readonly args: JsonObject;
  /** Fields that are set afterwards. */
  readonly attributes: JsonObject;
}

/** What the loop is to do next; callbacks change it. */
export class TrainerControl {
  /** Ends the training after this step. */
  should_training_stop = false;
  /** Ends the epoch after this step. */
  should_epoch_stop = false;
  /** Asks for a checkpoint. */
  should_save = false;
  /** Asks for an evaluation. */
  should_evaluate = false;
  /** Asks for a log. */
  should_log = false;

  /** What checkpoints keep of it. */
  state(): CallbackState {
    const { should_training_stop, should_epoch_stop, should_save, should_evaluate, should_log } = this;
    const args = { should_training_stop, should_epoch_stop, should_save, should_evaluate, should_log };
    return { args, attributes: {} };
  }
}
