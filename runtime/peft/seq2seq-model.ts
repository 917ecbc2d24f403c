// Encoder-decoder models with adapters: they run on whole pairs, and generate.
import { seq2seqLM } from '../../frontends/huggingface/index.ts';
import {
  type CallInputs,
  callOptions,
  type DictOptions,
  type EncoderOutputs,
  type GenerateInputs,
  type GenerateOptions,
} from '../generation/arguments.ts';
import type { GenerateOutput } from '../generation/generation-model.ts';
import type { EncodeOptions, Seq2SeqModel } from '../generation/seq2seq-model.ts';
import type { TokenRows } from '../generation/token-rows.ts';
import { graphOf, type OpenedSeq2Seq, openSeq2Seq, rewrittenSeq2Seq } from '../models/seq2seq-models.ts';
import type { Seq2SeqLMOutput, SequenceInputs } from '../models/sequence-model.ts';
import type { Tensor } from '../tensors/tensor.ts';
import { checkpointWeights } from '../tensors/weight-store.ts';
import { type AdaptableModel, AdaptedModel, type FirstAdapter } from './adapted-model.ts';
import type { CheckpointChange } from './resize.ts';

function adaptable(opened: OpenedSeq2Seq): AdaptableModel<Seq2SeqModel> {
  const { checkpoint, model, weights, limits, target } = opened;
  const { modelType, vocabSize, loraTargets, task } = model;
  return {
    checkpoint,
    modelType,
    vocabSize,
    loraTargets,
    head: 'lm_head',
    bypassed: 'shared', // encoder and decoder hold its table as their embed_tokens
    weights,
    task,
    target,
    maxPositions: Math.min(limits.source, limits.length),
    graph: () => graphOf(opened, 'forward').graph,
    open: (tensors, rewrite) => openSeq2Seq(rewrittenSeq2Seq(opened, tensors, rewrite)),
  };
}

/** An opened model, its checkpoint changed. */
function changed(opened: OpenedSeq2Seq, change: CheckpointChange): OpenedSeq2Seq {
  const { checkpoint, ...model } = seq2seqLM(change(opened.checkpoint));
  return { ...opened, checkpoint, model, weights: checkpointWeights(checkpoint) };
}

/** An encoder-decoder with adapters, which generates and is trained as the model is. */
export class PeftModelForSeq2SeqLM extends AdaptedModel<Seq2SeqModel> {
  /** How the model generates. */
  generation_config: Seq2SeqModel['generation_config'];

  constructor(model: Seq2SeqModel, made: OpenedSeq2Seq, first: FirstAdapter) {
    super(model, (change) => adaptable(change ? changed(made, change) : made), first);
    this.generation_config = model.generation_config;
  }

  /** Runs the model on whole pairs, as without adapters. */
  async forward(inputs: SequenceInputs): Promise<Seq2SeqLMOutput> {
    return (await this.#model()).forward(inputs);
  }

  /** What the encoder makes of a source. */
  async encode(options: EncodeOptions): Promise<EncoderOutputs> {
    return (await this.#model()).encode(options);
  }

  /** Writes targets beside the rows of input_ids, as a model without adapters does. */
  generate(options: DictOptions): Promise<GenerateOutput>;
  generate(options?: GenerateOptions): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows | GenerateInputs, options: DictOptions): Promise<GenerateOutput>;
  generate(inputs: TokenRows | GenerateInputs, options: GenerateOptions): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows): Promise<Tensor<'int64'>>;
  async generate(first?: CallInputs, more?: GenerateOptions): Promise<GenerateOutput | Tensor<'int64'>> {
    return (await this.#model()).generate(callOptions(first, more));
  }

  /** The new ids of each step, one per row, as they are decoded. */
  async *stream(options: GenerateOptions): AsyncGenerator<bigint[], void, undefined> {
    yield* (await this.#model()).stream(options);
  }

  async #model(): Promise<Seq2SeqModel> {
    const model = await this.current();
    model.generation_config = this.generation_config;
    return model;
  }
}
