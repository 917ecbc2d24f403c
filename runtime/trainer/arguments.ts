// TrainingArguments: the names and defaults of transformers 5, checked when they are made. What cannot be obeyed is
// refused, never passed over. The fields are in argument-fields.ts; what they derive from one another is here.
import { ModelcError } from '../../ir/error.ts';
import { suggestion } from '../../ir/options.ts';
import { type Field, fields, removedFields, seq2seqFields, type ValuesOf } from './argument-fields.ts';

type Values = ValuesOf<typeof fields>;
type Seq2SeqValues = ValuesOf<typeof fields & typeof seq2seqFields>;

/** Options of TrainingArguments: all its fields. */
export type TrainingArgumentsOptions = { readonly [K in keyof Values]?: Values[K] | undefined };
/** Options of Seq2SeqTrainingArguments: all its fields. */
export type Seq2SeqTrainingArgumentsOptions = { readonly [K in keyof Seq2SeqValues]?: Seq2SeqValues[K] | undefined };

const fail = (what: string): never => {
  throw new ModelcError('input', what);
};

/** The values of all fields of a table, those that were not given at their defaults. */
function valuesOf(table: Readonly<Record<string, Field<unknown>>>, given: object): Record<string, unknown> {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    fail("TrainingArguments takes an object such as { output_dir: 'out' }");
  }
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(table, name)) continue;
    if (Object.hasOwn(removedFields, name)) {
      fail(`TrainingArguments has no field ${name} since transformers 5: ${removedFields[name]}`);
    }
    if (Object.hasOwn(seq2seqFields, name)) {
      fail(`TrainingArguments has no field ${name}: it is a field of Seq2SeqTrainingArguments`);
    }
    fail(
      `TrainingArguments has no field ${name.slice(0, 100)}${suggestion(name, Object.keys(table)) || '; check its name'}`,
    );
  }
  const options: Readonly<Record<string, unknown>> = { ...given };
  return Object.fromEntries(
    Object.entries(table).map(([name, field]) => {
      const value = options[name];
      if (value === undefined) return [name, field.value];
      const why = field.refuses?.(value);
      if (why) throw new ModelcError('unsupported', `TrainingArguments does not serve ${name}: ${show(value)}: ${why}`);
      if (!field.accepts(value)) fail(`TrainingArguments takes ${field.takes} as ${name}, got ${show(value)}`);
      return [name, value];
    }),
  );
}

const show = (value: unknown): string => {
  if (typeof value === 'string') return `'${value.slice(0, 100)}'`;
  return typeof value === 'number' ? String(value) : (JSON.stringify(value)?.slice(0, 100) ?? typeof value);
};

/** What fields that were left open follow from others, as transformers derives it. */
function derived(values: Values): Values {
  const { eval_strategy, lr_scheduler_type, load_best_model_at_end, logging_steps } = values;
  const followsMetric = lr_scheduler_type === 'reduce_lr_on_plateau' || lr_scheduler_type === 'greedy';
  const metric = values.metric_for_best_model ?? (load_best_model_at_end || followsMetric ? 'loss' : null);
  return {
    ...values,
    do_eval: values.do_eval || eval_strategy !== 'no',
    eval_steps: eval_strategy === 'steps' ? values.eval_steps || logging_steps : values.eval_steps,
    metric_for_best_model: metric,
    greater_is_better: values.greater_is_better ?? (metric === null ? null : !metric.endsWith('loss')),
  };
}

/** Steps count if they are 1 or more, and are a share of all steps below that. */
function checkSteps(strategy: string, name: string, steps: number): void {
  if (strategy !== 'steps') return;
  if (steps === 0) fail(`TrainingArguments with ${name.replace('steps', 'strategy')}: 'steps' needs ${name} above 0`);
  if (steps > 1 && !Number.isInteger(steps)) {
    fail(`TrainingArguments takes an integer as ${name}, or a share of all steps below 1, got ${steps}`);
  }
}

function checkTogether(values: Values): void {
  const { eval_strategy, save_strategy, lr_scheduler_type } = values;
  const [evalSteps, saveSteps] = [values.eval_steps ?? 0, values.save_steps];
  checkSteps(values.logging_strategy, 'logging_steps', values.logging_steps);
  checkSteps(eval_strategy, 'eval_steps', evalSteps);
  checkSteps(save_strategy, 'save_steps', saveSteps);
  if (values.max_steps === 0) fail('TrainingArguments takes -1 or a positive integer as max_steps, got 0');
  if (values.fp16 && values.bf16) fail('TrainingArguments takes fp16 or bf16, not both');
  if ((lr_scheduler_type === 'reduce_lr_on_plateau' || lr_scheduler_type === 'greedy') && eval_strategy === 'no') {
    fail(
      `TrainingArguments with lr_scheduler_type: '${lr_scheduler_type}' needs an eval_strategy, whose metric it follows`,
    );
  }
  if (save_strategy === 'best' && values.metric_for_best_model === null) {
    fail("TrainingArguments with save_strategy: 'best' needs metric_for_best_model");
  }
  if (values.dataloader_prefetch_factor !== null && values.dataloader_num_workers === 0) {
    fail('TrainingArguments takes dataloader_prefetch_factor only with dataloader_num_workers above 0');
  }
  if (!values.load_best_model_at_end || save_strategy === 'best') return;
  if (eval_strategy !== save_strategy) {
    fail(
      `TrainingArguments with load_best_model_at_end needs one strategy for both, got eval_strategy: '${eval_strategy}' and save_strategy: '${save_strategy}'`,
    );
  }
  // Shares are compared as millionths, exactly.
  const [every, often] =
    saveSteps < 1 && evalSteps < 1 ? [saveSteps * 1e6, evalSteps * 1e6].map(Math.round) : [saveSteps, evalSteps];
  if (eval_strategy === 'steps' && every % often !== 0) {
    fail(
      `TrainingArguments with load_best_model_at_end needs save_steps to be a multiple of eval_steps, got ${saveSteps} and ${evalSteps}`,
    );
  }
}

interface Methods {
  /** Rows of a batch of training: per_device_train_batch_size. */
  readonly train_batch_size: number;
  /** Rows of a batch of evaluation: per_device_eval_batch_size. */
  readonly eval_batch_size: number;
  /** Optimizer steps of the warm-up, where there are so many in all. */
  get_warmup_steps(num_training_steps: number): number;
  /** The fields as plain data. */
  to_dict(): Record<string, unknown>;
}

/** A class whose instances have the fields of a table. */
function withFields<V extends Values>(
  table: Readonly<Record<string, Field<unknown>>>,
): new (
  given?: object,
) => V & Methods {
  class WithFields implements Methods {
    readonly #values: Values;

    constructor(given: object = {}) {
      this.#values = derived(valuesOf(table, given) as Values);
      checkTogether(this.#values);
      Object.assign(this, this.#values);
    }
    get train_batch_size(): number {
      return this.#values.per_device_train_batch_size;
    }
    get eval_batch_size(): number {
      return this.#values.per_device_eval_batch_size;
    }
    get_warmup_steps(num_training_steps: number): number {
      const { warmup_steps } = this.#values;
      return warmup_steps >= 1 ? Math.trunc(warmup_steps) : Math.ceil(num_training_steps * warmup_steps);
    }
    to_dict(): Record<string, unknown> {
      return { ...this.#values };
    }
  }
  return WithFields as new (
    given?: object,
  ) => WithFields & V;
}

/**
 * How to train. Throws ModelcError 'input' for a field that there is not and for a value that a field does not take,
 * 'unsupported' for one that is not served.
 *
 *     const args = new TrainingArguments({ output_dir: 'out', num_train_epochs: 3, learning_rate: 5e-5, eval_strategy: 'epoch' })
 */
export class TrainingArguments extends withFields<Values>(fields) {
  constructor(options: TrainingArgumentsOptions = {}) {
    super(options);
  }
}

/** How to train a model from sequence to sequence. */
export class Seq2SeqTrainingArguments extends withFields<Seq2SeqValues>({ ...fields, ...seq2seqFields }) {
  constructor(options: Seq2SeqTrainingArgumentsOptions = {}) {
    super(options);
  }
}
