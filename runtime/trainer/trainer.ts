// Trainer: trains and evaluates a model with the names, defaults and semantics of transformers. A whole step is one program
// on the model's device; the loop around it is train-loop.ts, evaluations are evaluation.ts, checkpoints checkpoint.ts.
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Optimizer, type TrainEntry, trainStates } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import {
  type Batch,
  type DataCollator,
  DataCollatorWithPadding,
  type DataLoader,
  Dataset,
  default_data_collator,
} from '../data/index.ts';
import { tidyFolder, writeInto } from '../hub/write-folder.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { Tensor } from '../tensors/tensor.ts';
import { TextTokenizer } from '../tokenization/tokenizer.ts';
import type { CallbackEventName } from './callbacks.ts';
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
  writeCheckpoint,
  writeModelFiles,
} from './checkpoint.ts';
import { userTensor } from './collect.ts';
import { type DataSource, evalLoader, isNamed, type NamedSources, openSource, trainLoader } from './data-sources.ts';
import {
  type BatchOutput,
  type EvaluationOutput,
  evaluationLoop,
  labelsOf,
  numberOf,
  type Predictions,
} from './evaluation.ts';
import type { FittedSession } from './fitted-session.ts';
import { LearningRate } from './learning-rate.ts';
import { type Metrics, requireMetric, speedMetrics } from './metrics.ts';
import { decayed, openSession, parameterCount, predictionNames, trainEntriesOf } from './open-session.ts';
import { createOptimizer } from './optimizer-names.ts';
import { get_scheduler, type Schedule } from './schedulers.ts';
import { countItems, runLength, TrainLoop } from './train-loop.ts';
import { requireTrainable, type Trainable, type TrainableModel } from './trainable.ts';
import { TrainerEvents } from './trainer-events.ts';
import type { PredictionOutput, TrainerOptions, TrainOptions, TrainOutput } from './trainer-options.ts';
import { TrainerState } from './trainer-state.ts';

/**
 * Trains a model: names, defaults and semantics are those of transformers. A whole step, forward, backward and
 * optimizer, is one compiled program.
 *
 *     const trainer = new Trainer({ model, args: new TrainingArguments({ output_dir: 'out' }), train_dataset })
 *     await trainer.train()
 *     await trainer.save_model()
 */
export class Trainer<M extends Trainable = Trainable> extends TrainerEvents<M> {
  readonly #collator: DataCollator;
  #model: M | undefined;
  #session: FittedSession | undefined;

  /** Throws ModelcError 'input' for a model that cannot be trained and for arguments that contradict each other. */
  constructor(options: TrainerOptions<M>) {
    super(options);
    const { model, model_init, processing_class } = options;
    if (!model && !model_init) throw new ModelcError('input', 'Trainer needs a model, or model_init that makes one');
    const { eval_strategy } = this.args;
    if (eval_strategy !== 'no' && !options.eval_dataset) {
      throw new ModelcError(
        'input',
        `TrainingArguments have eval_strategy: '${eval_strategy}', but Trainer got no eval_dataset: give one, or set 'no'`,
      );
    }
    this.#model = model;
    this.#collator =
      options.data_collator ??
      (processing_class instanceof TextTokenizer
        ? new DataCollatorWithPadding({ tokenizer: processing_class })
        : default_data_collator);
  }

  /** The model, where there is one already. */
  protected override get knownModel(): M | undefined {
    return this.#model;
  }

  /** The model, which has the weights of the last training once that is done. */
  get model(): M {
    if (this.#model) return this.#model;
    throw new ModelcError('input', 'model_init makes the model when train() begins; there is none yet');
  }

  /** The batches of a training. Throws ModelcError 'input' where there is no train_dataset. */
  get_train_dataloader(): DataLoader {
    const { train_dataset } = this.options;
    if (!train_dataset) throw new ModelcError('input', 'Trainer: training needs a train_dataset');
    return trainLoader(train_dataset, this.#loaderOptions());
  }
  /** The batches of an evaluation, of the Trainer's eval_dataset or another. */
  get_eval_dataloader(eval_dataset?: DataSource): DataLoader {
    return evalLoader('eval_dataset', this.#evalSource(eval_dataset), this.#loaderOptions());
  }

  /** Names of parameters that weight decay applies to. */
  get_decay_parameter_names(): string[] {
    const { task } = this.trainable;
    const isDecayed = decayed(task);
    return [...task.model.named().keys()].filter(isDecayed);
  }
  /** What updates parameters: that of the options, or of the arguments. */
  create_optimizer(): Optimizer {
    return this.options.optimizers?.[0] ?? createOptimizer(this.args, decayed(this.trainable.task));
  }
  /** The learning rate of each step: that of the options, or of the arguments. */
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
    checkOptions('train()', options, ['resume_from_checkpoint'], { trial: null, ignore_keys_for_eval: null });
    await this.initialize();
    if (this.options.model_init) this.#model = await this.options.model_init();
    const checkpoint = await this.#checkpointOf(options);
    const loader = this.get_train_dataloader();
    this.running.train = loader;
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
    this.running.rate = rate;
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
    await this.event('on_train_end');
    return { global_step: state.global_step, training_loss, metrics: { ...metrics, epoch: state.epoch ?? 0 } };
  }

  /**
   * The metrics of a dataset, all names beginning with `metric_key_prefix`; of datasets by name, `eval_NAME`. They are
   * logged, too.
   */
  async evaluate(
    options: { readonly eval_dataset?: DataSource | NamedSources; readonly metric_key_prefix?: string } = {},
  ): Promise<Metrics> {
    checkOptions('evaluate()', options, this.evaluationOptions, { ignore_keys: null });
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
    await this.initialize();
    const start = performance.now();
    const output = await this.evaluation_loop(eval_dataset, 'eval_dataset', prefix);
    const speed = { samples: output.num_samples, steps: output.num_batches };
    const metrics: Metrics = { ...output.metrics, ...speedMetrics(prefix, start, speed) };
    await this.log(metrics);
    if (this.state.epoch !== null) metrics.epoch = this.state.epoch;
    await this.event('on_evaluate', { metrics });
    return metrics;
  }

  /** Predictions for a dataset, its labels and metrics. Rows that are shorter than others end in -100. */
  async predict(
    test_dataset: DataSource,
    options: { readonly metric_key_prefix?: string } = {},
  ): Promise<PredictionOutput> {
    const served = this.evaluationOptions.filter((name) => name !== 'eval_dataset');
    checkOptions('predict()', options, served, { ignore_keys: null });
    const { metric_key_prefix: prefix = 'test' } = options;
    await this.initialize();
    const start = performance.now();
    const output = await this.evaluation_loop(test_dataset, 'test_dataset', prefix, true);
    const speed = { samples: output.num_samples, steps: output.num_batches };
    const metrics = { ...output.metrics, ...speedMetrics(prefix, start, speed) };
    await this.event('on_predict', { metrics });
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

  /** Not served: throws ModelcError 'unsupported'. */
  hyperparameter_search(): never {
    throw new ModelcError(
      'unsupported',
      'hyperparameter_search() is not served; make a Trainer with model_init for each trial',
    );
  }
  /** Not served: throws ModelcError 'unsupported'. */
  push_to_hub(): never {
    throw new ModelcError(
      'unsupported',
      'push_to_hub() is not served; save_model() and push the folder with a tool of the Hub',
    );
  }

  /** Frees the memory of the training. The model stays. */
  dispose(): void {
    this.#session?.dispose();
    this.#session = undefined;
  }

  // For classes that extend this one.

  /** Names of the options of evaluate(). */
  protected get evaluationOptions(): readonly string[] {
    return ['eval_dataset', 'metric_key_prefix'];
  }

  /** Whether eval_loss is the mean over batches; it is the mean over examples. */
  protected get equalBatches(): boolean {
    return false;
  }

  /** What is trained of the model. Throws ModelcError 'unsupported' for a model that cannot be trained. */
  protected get trainable(): TrainableModel {
    return requireTrainable(this.model.trainable);
  }

  /** Gives the model the weights of the training as they are now. */
  protected async current_model(): Promise<M> {
    await this.#adopt();
    return this.model;
  }

  /** Runs the model over a dataset; evaluate() and predict() are made of it. */
  protected async evaluation_loop(
    source: DataSource,
    what: string,
    prefix: string,
    isPrediction = false,
  ): Promise<EvaluationOutput> {
    const { args } = this;
    const loader = evalLoader(what, source, this.#loaderOptions());
    this.running.eval = loader;
    const session = await this.#evaluator();
    const lossOnly = !isPrediction && (args.prediction_loss_only || !this.options.compute_metrics);
    return evaluationLoop(loader, {
      prefix,
      run: (batch) => this.prediction_step(session, batch, lossOnly),
      compute_metrics: this.options.compute_metrics,
      batch_eval_metrics: args.batch_eval_metrics,
      include: args.include_for_metrics,
      equalBatches: this.equalBatches,
      onBatch: () => this.event('on_prediction_step'),
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
      event: (name: CallbackEventName) => trainer.event(name),
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
    // A value that is no number is never the best.
    state.best_metric ??= args.greater_is_better ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
    if (!(args.greater_is_better ? value > state.best_metric : value < state.best_metric)) return false;
    state.best_metric = value;
    if (args.save_strategy !== 'no') state.best_global_step = state.global_step;
    return true;
  }

  async #saveCheckpoint(session: FittedSession, rate: LearningRate): Promise<void> {
    const { args, state } = this;
    const folder = checkpointFolder(args.output_dir, state.global_step);
    if (state.best_global_step !== null) {
      const best = checkpointFolder(args.output_dir, state.best_global_step);
      if (best === folder || (await exists(best))) state.best_model_checkpoint = best;
    }
    this.keepCallbackStates();
    const { trainable: model } = this;
    const processing = this.options.processing_class;
    await writeCheckpoint(folder, { model, session, state, args, place: rate.place, processing });
    await rotateCheckpoints(args.output_dir, args.save_total_limit, state.best_model_checkpoint);
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
    if (this.args.restore_callback_states_from_checkpoint) this.restoreCallbacks(state);
    return state;
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
    this.#session = await openSession({
      ...this.#loaderOptions(),
      entries,
      options: this.options,
      optimizer: this.create_optimizer(),
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
