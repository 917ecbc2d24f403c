// Trainer: trains and evaluates a model with the names, defaults and semantics of transformers. A whole step is one program
// on the model's device; the loop around it is train-loop.ts, evaluations are evaluation.ts, checkpoints checkpoint.ts.
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import {
  Embedding,
  LayerNorm,
  type Optimizer,
  RelativePositionBias,
  type SequenceTask,
  type TrainEntry,
  type TrainStepOptions,
  trainStates,
} from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import {
  type Batch,
  type DataCollator,
  DataCollatorWithPadding,
  type DataLoader,
  Dataset,
  default_data_collator,
} from '../data/index.ts';
import type { HostTensor } from '../session.ts';
import type { Tensor } from '../tensor.ts';
import { TextTokenizer } from '../tokenization/tokenizer.ts';
import { TrainingArguments } from './arguments.ts';
import {
  type CallbackClass,
  type CallbackContext,
  type CallbackEventName,
  CallbackHandler,
  DefaultFlowCallback,
  type TrainerCallback,
} from './callbacks.ts';
import { PrinterCallback } from './callbacks/printer.ts';
import { ProgressCallback } from './callbacks/progress.ts';
import { TensorBoardCallback } from './callbacks/tensorboard.ts';
import {
  checkArguments,
  checkpointFolder,
  get_last_checkpoint,
  keepOnly,
  parametersOf,
  readPlace,
  readTrainerState,
  restoreParameters,
  restoreSession,
  rotateCheckpoints,
  type Saveable,
  writeCheckpoint,
  writeModelFiles,
} from './checkpoint.ts';
import {
  type DataSource,
  evalLoader,
  isNamed,
  longestRow,
  type NamedSources,
  openSource,
  trainLoader,
} from './data-sources.ts';
import {
  type BatchOutput,
  type ComputeMetrics,
  type EvaluationOutput,
  evaluationLoop,
  labelsOf,
  numberOf,
  type Predictions,
} from './evaluation.ts';
import { userTensor } from './collect.ts';
import { FittedSession } from './fitted-session.ts';
import { LearningRate } from './learning-rate.ts';
import { type Metrics, requireMetric, speedMetrics } from './metrics.ts';
import { createOptimizer, decays } from './optimizer-names.ts';
import { get_scheduler, type Schedule } from './schedulers.ts';
import { requireTrainable, type Trainable, type TrainableModel } from './trainable.ts';
import { countItems, runLength, TrainLoop } from './train-loop.ts';
import { TrainerControl, TrainerState } from './trainer-state.ts';
import { tidyFolder, writeInto } from './write-folder.ts';

export interface TrainerOptions<M extends Trainable = Trainable> {
  readonly model?: M;
  /** Makes the model when train() begins, in place of `model`. */
  readonly model_init?: () => M | Promise<M>;
  readonly args?: TrainingArguments;
  /** Default: pads with processing_class where that is a tokenizer, else makes tensors of examples of one length. */
  readonly data_collator?: DataCollator;
  readonly train_dataset?: DataSource;
  readonly eval_dataset?: DataSource | NamedSources;
  /** The tokenizer or processor, which is saved with the model. */
  readonly processing_class?: Saveable;
  /** The loss, written in the DSL, in place of the model's own. `num_items` counts the labels of a whole window. */
  readonly compute_loss_func?: SequenceTask['loss'];
  readonly compute_metrics?: ComputeMetrics;
  readonly callbacks?: readonly TrainerCallback[];
  /** In place of what the arguments name. */
  readonly optimizers?: readonly [Optimizer | null, Schedule | null];
  /** What compute_metrics gets in place of a batch's predictions: their argmax, say, which takes less memory. */
  readonly preprocess_logits_for_metrics?: (logits: Predictions, labels: Predictions | undefined) => Predictions;
}

export interface TrainOutput {
  readonly global_step: number;
  readonly training_loss: number;
  readonly metrics: Metrics;
}
export interface PredictionOutput {
  readonly predictions: Predictions;
  readonly label_ids: Predictions | undefined;
  readonly metrics: Metrics;
}
export interface TrainOptions {
  /** A checkpoint folder; true: the last one in output_dir. Default: args.resume_from_checkpoint. */
  readonly resume_from_checkpoint?: string | boolean;
}

/** Outputs that predictions are made of. */
const predictionNames = ['logits', 'start_logits', 'end_logits'];

export class Trainer<M extends Trainable = Trainable> {
  readonly args: TrainingArguments;
  readonly state = new TrainerState();
  control = new TrainerControl();
  readonly callback_handler = new CallbackHandler();
  protected readonly options: TrainerOptions<M>;
  readonly #collator: DataCollator;
  #model: M | undefined;
  #initialized = false;
  #session: FittedSession | undefined;
  #rate: LearningRate | undefined;
  #loaders: { train?: DataLoader; eval?: DataLoader } = {};

  /** Throws ModelcError 'input' for a model that cannot be trained and for arguments that contradict each other. */
  constructor(options: TrainerOptions<M>) {
    const { model, model_init, args = new TrainingArguments(), processing_class, callbacks = [] } = options;
    if (!model && !model_init) throw new ModelcError('input', 'Trainer needs a model, or model_init that makes one');
    if (args.eval_strategy !== 'no' && !options.eval_dataset) {
      throw new ModelcError(
        'input',
        `TrainingArguments have eval_strategy: '${args.eval_strategy}', but Trainer got no eval_dataset: give one, or set 'no'`,
      );
    }
    this.options = options;
    this.args = args;
    this.#model = model;
    this.#collator =
      options.data_collator ??
      (processing_class instanceof TextTokenizer
        ? new DataCollatorWithPadding({ tokenizer: processing_class })
        : default_data_collator);
    this.add_callback(new DefaultFlowCallback());
    const reporters = [args.report_to].flat();
    if (reporters.some((name) => name === 'tensorboard' || name === 'all'))
      this.add_callback(new TensorBoardCallback());
    for (const callback of callbacks) this.add_callback(callback);
    this.add_callback(args.disable_tqdm ? new PrinterCallback() : new ProgressCallback());
  }

  /** The model, which has the weights of the last training once that is done. */
  get model(): M {
    if (this.#model) return this.#model;
    throw new ModelcError('input', 'model_init makes the model when train() begins; there is none yet');
  }

  add_callback(callback: TrainerCallback): void {
    this.callback_handler.add(callback);
  }
  pop_callback(callback: TrainerCallback | CallbackClass): TrainerCallback | undefined {
    return this.callback_handler.pop(callback);
  }
  remove_callback(callback: TrainerCallback | CallbackClass): void {
    this.callback_handler.pop(callback);
  }

  get_train_dataloader(): DataLoader {
    const { train_dataset } = this.options;
    if (!train_dataset) throw new ModelcError('input', 'Trainer: training needs a train_dataset');
    return trainLoader(train_dataset, this.#loaderOptions());
  }
  get_eval_dataloader(eval_dataset?: DataSource): DataLoader {
    return evalLoader('eval_dataset', this.#evalSource(eval_dataset), this.#loaderOptions());
  }

  /** Names of parameters that weight decay applies to. */
  get_decay_parameter_names(): string[] {
    const { task } = this.trainable;
    const isDecayed = decayed(task);
    return [...task.model.named().keys()].filter(isDecayed);
  }
  create_optimizer(): Optimizer {
    return this.options.optimizers?.[0] ?? createOptimizer(this.args, decayed(this.trainable.task));
  }
  create_scheduler(num_training_steps: number): Schedule {
    const { args } = this;
    return (
      this.options.optimizers?.[1] ??
      get_scheduler(args.lr_scheduler_type, {
        learning_rate: args.learning_rate,
        num_warmup_steps: args.get_warmup_steps(num_training_steps),
        num_training_steps,
        scheduler_specific_kwargs: args.lr_scheduler_kwargs ?? {},
      })
    );
  }

  /**
   * Trains; afterwards `model` has the new weights. Throws ModelcError 'input' for data that does not fit the model and
   * where the loss is no number; then the weights are those before that step, and save_model() writes them.
   */
  async train(options: TrainOptions = {}): Promise<TrainOutput> {
    const { args, state } = this;
    await this.#initialize();
    if (this.options.model_init) this.#model = await this.options.model_init();
    const checkpoint = await this.#checkpointOf(options);
    const loader = this.get_train_dataloader();
    this.#loaders.train = loader;
    const source = openSource('train_dataset', this.options.train_dataset ?? []);
    const examples = source instanceof Dataset ? source.length : undefined;
    const length = runLength(loader, examples, args);
    Object.assign(state, checkpoint ? await this.#resumedState(checkpoint) : new TrainerState());
    state.max_steps = length.maxSteps;
    state.num_train_epochs = Number.isFinite(length.epochs) ? length.epochs : 1;
    state.train_batch_size = args.train_batch_size;
    state.compute_steps(args, length.maxSteps);
    await tidyFolder(args.output_dir);

    const rate = new LearningRate(
      this.create_scheduler(length.maxSteps),
      checkpoint ? await readPlace(checkpoint) : undefined,
    );
    this.#rate = rate;
    const session = await this.#openSession(trainEntriesOf(args, this.options.eval_dataset !== undefined));
    if (checkpoint) await restoreSession(checkpoint, this.trainable, session);
    else if (session.states.includes(trainStates.random)) {
      await session.write(trainStates.random, { dtype: 'u32', shape: [2], data: Uint32Array.of(args.seed, 0) });
    }
    const start = performance.now();
    const loop = new TrainLoop({
      host: this.#host,
      session,
      loader,
      rate,
      length,
      labels: this.trainable.task.labels,
      flosPerToken: 6 * parameterCount(this.trainable),
      padding: this.#padding,
    });
    const training_loss = await loop.run();
    if (args.load_best_model_at_end && state.best_model_checkpoint !== null) {
      await restoreParameters(state.best_model_checkpoint, this.trainable, session);
    }
    await this.#adopt();
    const metrics = {
      ...speedMetrics('train', start, { samples: length.examples, steps: length.maxSteps }),
      total_flos: state.total_flos,
      train_loss: training_loss,
    };
    await this.log(metrics);
    if (args.save_total_limit === 1 && state.best_model_checkpoint !== null) {
      await keepOnly(args.output_dir, state.best_model_checkpoint);
    }
    await this.#event('on_train_end');
    return { global_step: state.global_step, training_loss, metrics: { ...metrics, epoch: state.epoch ?? 0 } };
  }

  /**
   * The metrics of a dataset, all names beginning with `metric_key_prefix`; of datasets by name, `eval_NAME`. They are
   * logged, too.
   */
  async evaluate(
    options: { readonly eval_dataset?: DataSource | NamedSources; readonly metric_key_prefix?: string } = {},
  ): Promise<Metrics> {
    const { eval_dataset = this.options.eval_dataset, metric_key_prefix: prefix = 'eval' } = options;
    if (!eval_dataset) throw new ModelcError('input', 'evaluate() needs an eval_dataset');
    if (isNamed(eval_dataset)) {
      const metrics: Metrics = {};
      for (const [name, source] of Object.entries(eval_dataset)) {
        const one = await this.evaluate({ eval_dataset: source, metric_key_prefix: `${prefix}_${name}` });
        Object.assign(metrics, one);
      }
      return metrics;
    }
    await this.#initialize();
    const start = performance.now();
    const output = await this.evaluation_loop(eval_dataset, 'eval_dataset', prefix);
    const speed = { samples: output.num_samples, steps: output.num_batches };
    const metrics: Metrics = { ...output.metrics, ...speedMetrics(prefix, start, speed) };
    await this.log(metrics);
    if (this.state.epoch !== null) metrics.epoch = this.state.epoch;
    await this.#event('on_evaluate', { metrics });
    return metrics;
  }

  /** Predictions for a dataset, its labels and metrics. Rows that are shorter than others end in -100. */
  async predict(
    test_dataset: DataSource,
    { metric_key_prefix: prefix = 'test' }: { readonly metric_key_prefix?: string } = {},
  ): Promise<PredictionOutput> {
    await this.#initialize();
    const start = performance.now();
    const output = await this.evaluation_loop(test_dataset, 'test_dataset', prefix, true);
    const speed = { samples: output.num_samples, steps: output.num_batches };
    const metrics = { ...output.metrics, ...speedMetrics(prefix, start, speed) };
    await this.#event('on_predict', { metrics });
    return { predictions: output.predictions ?? [], label_ids: output.label_ids, metrics };
  }

  /** Writes the model as it is now, its config and its tokenizer, so that from_pretrained loads them. */
  async save_model(output_dir: string = this.args.output_dir): Promise<void> {
    const values = this.#session ? await parametersOf(this.#session) : new Map<string, HostTensor>();
    const contents = { model: this.trainable, args: this.args, processing: this.options.processing_class };
    await writeInto(output_dir, (partial) => writeModelFiles(partial, contents, values));
  }

  /** Writes trainer_state.json. */
  async save_state(): Promise<void> {
    const { writeFile } = await import('node:fs/promises');
    await writeInto(this.args.output_dir, (partial) =>
      writeFile(resolve(partial, 'trainer_state.json'), this.state.to_json()),
    );
  }

  /** Adds to the history and tells the callbacks. */
  async log(logs: Metrics): Promise<void> {
    const { state } = this;
    const entry: Metrics = { ...logs, ...(state.epoch === null ? {} : { epoch: state.epoch }) };
    if (this.args.include_num_input_tokens_seen !== 'no' && this.args.include_num_input_tokens_seen !== false) {
      entry.num_input_tokens_seen = state.num_input_tokens_seen;
    }
    state.log_history.push({ ...entry, step: state.global_step });
    await this.#event('on_log', { logs: entry });
  }

  /** Frees the memory of the training. The model stays. */
  dispose(): void {
    this.#session?.dispose();
    this.#session = undefined;
  }

  // For classes that extend this one.

  /** Whether eval_loss is the mean over batches; it is the mean over examples. */
  protected get equalBatches(): boolean {
    return false;
  }

  protected get trainable(): TrainableModel {
    return requireTrainable(this.model.trainable);
  }

  /** Gives the model the weights of the training as they are now. */
  protected async current_model(): Promise<M> {
    await this.#adopt();
    return this.model;
  }

  protected async evaluation_loop(
    source: DataSource,
    what: string,
    prefix: string,
    isPrediction = false,
  ): Promise<EvaluationOutput> {
    const { args } = this;
    const loader = evalLoader(what, source, this.#loaderOptions());
    this.#loaders.eval = loader;
    const session = await this.#evaluator();
    const lossOnly = !isPrediction && (args.prediction_loss_only || !this.options.compute_metrics);
    return evaluationLoop(loader, {
      prefix,
      run: (batch) => this.prediction_step(session, batch, lossOnly),
      compute_metrics: this.options.compute_metrics,
      batch_eval_metrics: args.batch_eval_metrics,
      include: args.include_for_metrics,
      equalBatches: this.equalBatches,
      onBatch: () => this.#event('on_prediction_step'),
    });
  }

  /** What the model makes of one batch. */
  protected async prediction_step(session: FittedSession, batch: Batch, lossOnly: boolean): Promise<BatchOutput> {
    const num_items = countItems([batch], this.trainable.task.labels);
    const given = await session.run('evaluate', batch, session.training.countsItems ? { num_items } : {});
    const labels = lossOnly ? [] : labelsOf(batch, this.#labelNames);
    const loss = numberOf(given.loss);
    if (lossOnly) return { loss, predictions: undefined, labels };
    const outputs = predictionNames.flatMap((name) => (Object.hasOwn(given, name) ? [userTensor(given[name])] : []));
    const preprocess = this.options.preprocess_logits_for_metrics;
    if (!preprocess) return { loss, predictions: outputs, labels };
    const single = (tensors: Tensor[]): Predictions => (tensors.length === 1 ? tensors[0] : tensors);
    const predictions = preprocess(single(outputs), labels.length > 0 ? single(labels) : undefined);
    return { loss, predictions: [predictions].flat(), labels };
  }

  // The parts that the loop asks for.

  readonly #host = (() => {
    const trainer = this;
    return {
      get args() {
        return trainer.args;
      },
      get state() {
        return trainer.state;
      },
      get control() {
        return trainer.control;
      },
      event: (name: CallbackEventName) => trainer.#event(name),
      log: (logs: Metrics) => trainer.log(logs),
      evaluateInLoop: (rate: LearningRate) => trainer.#evaluateInLoop(rate),
      saveInLoop: (session: FittedSession, rate: LearningRate) => trainer.#saveCheckpoint(session, rate),
    };
  })();

  async #evaluateInLoop(rate: LearningRate): Promise<boolean> {
    const { args, state } = this;
    const metrics = await this.evaluate();
    const { metric_for_best_model: name } = args;
    if (name === null) return false;
    const value = requireMetric(name, metrics);
    rate.observe(value);
    const best = state.best_metric;
    if (best !== null && !(args.greater_is_better ? value > best : value < best)) return false;
    state.best_metric = value;
    state.best_global_step = state.global_step;
    return true;
  }

  async #saveCheckpoint(session: FittedSession, rate: LearningRate): Promise<void> {
    const { args, state } = this;
    const folder = checkpointFolder(args.output_dir, state.global_step);
    if (state.best_global_step !== null && args.save_strategy !== 'no') {
      const best = checkpointFolder(args.output_dir, state.best_global_step);
      if (best === folder || (await exists(best))) state.best_model_checkpoint = best;
    }
    this.#keepCallbackStates();
    const { trainable: model } = this;
    const processing = this.options.processing_class;
    await writeCheckpoint(folder, { model, session, state, args, place: rate.place, processing });
    await rotateCheckpoints(args.output_dir, args.save_total_limit, state.best_model_checkpoint);
  }

  #keepCallbackStates(): void {
    const kept: TrainerState['stateful_callbacks'] = { TrainerControl: this.control.state() };
    for (const callback of this.callback_handler.callbacks) {
      const state = callback.state?.();
      if (state) kept[callback.constructor.name] = state;
    }
    this.state.stateful_callbacks = kept;
  }

  async #checkpointOf({ resume_from_checkpoint: given }: TrainOptions): Promise<string | undefined> {
    const { output_dir, resume_from_checkpoint } = this.args;
    const wanted = given ?? resume_from_checkpoint ?? false;
    if (wanted === false) return undefined;
    if (typeof wanted === 'string') return wanted;
    await tidyFolder(output_dir);
    const last = await get_last_checkpoint(output_dir);
    if (last !== undefined) return last;
    throw new ModelcError(
      'input',
      `resume_from_checkpoint: true finds no checkpoint in ${output_dir}; name its folder`,
    );
  }

  async #resumedState(checkpoint: string): Promise<TrainerState> {
    await checkArguments(checkpoint, this.args);
    const state = await readTrainerState(checkpoint);
    if (this.args.restore_callback_states_from_checkpoint) {
      for (const callback of this.callback_handler.callbacks) {
        const kept = state.stateful_callbacks[callback.constructor.name];
        if (kept && !Array.isArray(kept)) Object.assign(callback, kept.args, kept.attributes);
      }
    }
    return state;
  }

  async #initialize(): Promise<void> {
    if (this.#initialized) return;
    this.#initialized = true;
    await this.#event('on_init_end');
  }

  async #event(name: CallbackEventName, more: Partial<CallbackContext> = {}): Promise<void> {
    const context: CallbackContext = {
      model: this.#model,
      processing_class: this.options.processing_class,
      optimizer: this.options.optimizers?.[0] ?? undefined,
      lr_scheduler: this.#rate?.schedule,
      train_dataloader: this.#loaders.train,
      eval_dataloader: this.#loaders.eval,
      ...more,
    };
    this.control = await this.callback_handler.call(name, this.args, this.state, this.control, context);
  }

  get #labelNames(): readonly string[] {
    return this.args.label_names ?? this.trainable.task.labels.map(({ name }) => name);
  }

  get #padding(): number | undefined {
    const { processing_class: processing } = this.options;
    return processing instanceof TextTokenizer ? (processing.pad_token_id ?? undefined) : undefined;
  }

  #evalSource(given?: DataSource): DataSource {
    const source = given ?? this.options.eval_dataset;
    if (source && !isNamed(source)) return source;
    throw new ModelcError(
      'input',
      source ? 'name one of the eval_datasets' : 'Trainer: evaluation needs an eval_dataset',
    );
  }

  #loaderOptions() {
    return { args: this.args, model: this.trainable, collator: this.#collator };
  }

  /** The session of this training, or one that only evaluates. */
  async #evaluator(): Promise<FittedSession> {
    if (this.#session?.training.entries.evaluate) return this.#session;
    return this.#openSession(['evaluate']);
  }

  async #openSession(entries: readonly TrainEntry[]): Promise<FittedSession> {
    await this.#adopt();
    this.dispose();
    const { args, options } = this;
    const { eval_dataset: evaluated, train_dataset } = options;
    const sources = !evaluated ? [] : isNamed(evaluated) ? Object.values(evaluated) : [evaluated];
    const step: Omit<TrainStepOptions, 'dims'> = {
      optimizer: this.create_optimizer(),
      maxGradNorm: args.max_grad_norm,
      outputs: predictionNames,
      compute: args.bf16 ? 'bf16' : args.fp16 ? 'f16' : 'f32',
      labelSmoothing: args.label_smoothing_factor,
      ...(options.compute_loss_func ? { loss: options.compute_loss_func } : {}),
    };
    const model = args.use_cpu ? { ...this.trainable, target: 'cpu' as const, device: undefined } : this.trainable;
    this.#session = await FittedSession.open({
      model,
      entries,
      step,
      checkpointing: args.gradient_checkpointing ? 'layers' : 'none',
      rows: Math.max(args.train_batch_size, args.eval_batch_size),
      length: longestRow([train_dataset, ...sources]),
    });
    return this.#session;
  }

  /** Gives the model the weights of the session. */
  async #adopt(): Promise<void> {
    const session = this.#session;
    if (!session?.training.entries.train && !session?.training.entries.train_accumulated) return;
    await this.trainable.adopt(await parametersOf(session));
  }
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

function trainEntriesOf({ gradient_accumulation_steps }: TrainingArguments, isEvaluated: boolean): TrainEntry[] {
  const training: TrainEntry[] = gradient_accumulation_steps > 1 ? ['accumulate', 'train_accumulated'] : ['train'];
  return isEvaluated ? [...training, 'evaluate'] : training;
}

/** Whether weight decay applies to a parameter of a task. */
function decayed({ model }: SequenceTask): (name: string) => boolean {
  const norms = new Set([...model.modules()].flatMap(([path, module]) => (module instanceof LayerNorm ? [path] : [])));
  return (name) => decays(name, norms);
}

/** Numbers of parameters, those of embeddings not counted, as transformers estimates operations by. */
function parameterCount({ weights, task }: TrainableModel): number {
  const embeddings = [...task.model.modules()].flatMap(([path, module]) =>
    module instanceof Embedding || module instanceof RelativePositionBias ? [path] : [],
  );
  const isEmbedding = (name: string): boolean => embeddings.some((path) => name === `${path}.weight`);
  return weights.tensors
    .filter(([name]) => !isEmbedding(name))
    .reduce((n, [, , shape]) => n + shape.reduce((a, b) => a * b, 1), 0);
}
