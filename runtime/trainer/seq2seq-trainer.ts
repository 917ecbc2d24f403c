// Seq2SeqTrainer: a Trainer that evaluates encoder-decoder models on what they generate, as transformers' class does.
import { ModelcError } from '../../ir/error.ts';
import type { Batch } from '../data/index.ts';
import type { GenerateOptions } from '../generation/arguments.ts';
import type { GenerationConfig } from '../generation/configuration.ts';
import { Tensor } from '../tensors/tensor.ts';
import { Seq2SeqTrainingArguments } from './arguments.ts';
import { concatRows, userTensor } from './collect.ts';
import type { DataSource, NamedSources } from './data-sources.ts';
import type { BatchOutput, EvaluationOutput, Metrics } from './evaluation.ts';
import type { FittedSession } from './fitted-session.ts';
import type { Trainable } from './trainable.ts';
import { Trainer } from './trainer.ts';
import type { PredictionOutput, TrainerOptions } from './trainer-options.ts';

/** A model that can be trained and generates. */
export interface TrainableGenerator extends Trainable {
  /** How it generates. */
  readonly generation_config: GenerationConfig;
  /** Generates ids, [rows, length]. */
  generate(options: GenerateOptions): Promise<Tensor<'int64'>>;
}

/** How to generate in an evaluation; what is left out is as the arguments, or else the model, have it. */
export interface EvaluationGeneration {
  /** Tokens of a target at most. */
  readonly max_length?: number;
  /** Tokens that are added at most. */
  readonly max_new_tokens?: number;
  /** Beams that are followed at once. */
  readonly num_beams?: number;
}

const generationOptions = [
  'max_length',
  'max_new_tokens',
  'num_beams',
] as const satisfies readonly (keyof EvaluationGeneration)[];

/** What a Seq2SeqTrainer is made of. */
export interface Seq2SeqTrainerOptions<M extends TrainableGenerator> extends TrainerOptions<M> {
  /** How to train and to generate (new Seq2SeqTrainingArguments()). */
  readonly args?: Seq2SeqTrainingArguments;
}

/** What transformers generates at most where nobody says. */
const defaultLength = 20;

/** A Trainer of encoder-decoders, which with `predict_with_generate` evaluates what they generate. */
export class Seq2SeqTrainer<M extends TrainableGenerator = TrainableGenerator> extends Trainer<M> {
  readonly #arguments: Seq2SeqTrainingArguments;
  #generation: EvaluationGeneration = {};
  #generator: M | undefined;

  constructor(options: Seq2SeqTrainerOptions<M>) {
    const args = options.args ?? new Seq2SeqTrainingArguments();
    super({ ...options, args });
    this.#arguments = args;
  }

  override evaluate(
    options: {
      readonly eval_dataset?: DataSource | NamedSources;
      readonly metric_key_prefix?: string;
    } & EvaluationGeneration = {},
  ): Promise<Metrics> {
    this.#generation = generationOf(options);
    return super.evaluate(options);
  }

  override predict(
    test_dataset: DataSource,
    options: { readonly metric_key_prefix?: string } & EvaluationGeneration = {},
  ): Promise<PredictionOutput> {
    this.#generation = generationOf(options);
    return super.predict(test_dataset, options);
  }

  protected override get evaluationOptions(): readonly string[] {
    return [...super.evaluationOptions, ...generationOptions];
  }

  /** transformers gathers the results of this Trainer without cutting off what fills up the last batch. */
  protected override get equalBatches(): boolean {
    return true;
  }

  /** Runs the model over a dataset, and lets it generate where the arguments say so. */
  protected override async evaluation_loop(
    source: DataSource,
    what: string,
    prefix: string,
    isPrediction = false,
  ): Promise<EvaluationOutput> {
    this.#generator = this.#arguments.predict_with_generate ? await this.current_model() : undefined;
    return super.evaluation_loop(source, what, prefix, isPrediction);
  }

  protected override async prediction_step(
    session: FittedSession,
    batch: Batch,
    lossOnly: boolean,
  ): Promise<BatchOutput> {
    const generator = this.#generator;
    if (!generator || lossOnly) return super.prediction_step(session, batch, lossOnly);
    const { loss } = Object.hasOwn(batch, 'labels') ? await super.prediction_step(session, batch, true) : {};
    const { generation_max_length, generation_num_beams, generation_config } = this.#arguments;
    const { max_new_tokens, max_length = max_new_tokens === undefined ? generation_max_length : null, num_beams = generation_num_beams } = this.#generation; // biome-ignore format: one row
    const options: GenerateOptions = {
      ...generation_config,
      input_ids: userTensor(requireColumn(batch, 'input_ids')).tolist() as number[][],
      ...(batch.attention_mask ? { attention_mask: userTensor(batch.attention_mask).tolist() as number[][] } : {}),
      ...(max_length === null ? {} : { max_length }),
      ...(max_new_tokens === undefined ? {} : { max_new_tokens }),
      ...(num_beams === null ? {} : { num_beams }),
    };
    const generated = await generator.generate(options);
    const config = generator.generation_config;
    const length = config.max_new_tokens ? config.max_new_tokens + 1 : (config.max_length ?? defaultLength);
    const pad = Number([config.pad_token_id ?? config.eos_token_id ?? 0].flat()[0]);
    const filled = (tensor: Tensor): Tensor => padded(tensor, length, pad);
    const ids = new Tensor('int32', Int32Array.from(generated.data, Number), generated.dims);
    const labels = Object.hasOwn(batch, 'labels') ? [filled(userTensor(batch.labels))] : [];
    return { loss, predictions: [filled(ids)], labels };
  }
}

const generationOf = ({ max_length, max_new_tokens, num_beams }: EvaluationGeneration): EvaluationGeneration => ({
  ...(max_length === undefined ? {} : { max_length }),
  ...(max_new_tokens === undefined ? {} : { max_new_tokens }),
  ...(num_beams === undefined ? {} : { num_beams }),
});

function requireColumn(batch: Batch, name: string): Batch[string] {
  if (Object.hasOwn(batch, name)) return batch[name];
  throw new ModelcError(
    'input',
    `predict_with_generate needs ${name}, but batches have ${Object.keys(batch).join(', ')}`,
  );
}

/** Rows of ids that are at least `length` long, filled up with `pad`. */
function padded(tensor: Tensor, length: number, pad: number): Tensor {
  if (tensor.dims[1] >= length) return tensor;
  const empty = new Tensor('int32', new Int32Array(0), [0, length]);
  return concatRows([tensor, empty], pad);
}
