// Seq2SeqLanguageModel: an encoder-decoder model bound to its weights. The encoder runs once a call; what the decoder's
// layers take from it is kept with the cache of the target, for every row and beam.
import { ModelcError } from '../../ir/error.ts';
import type { States } from '../execution/executor.ts';
import { callable } from '../models/callable.ts';
import {
  type Seq2SeqLMOutput,
  type SequenceInputs,
  type SequenceModelInfo,
  SequenceToTensors,
} from '../models/sequence-model.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { Tensor } from '../tensors/tensor.ts';
import type { EncoderOutputs, GenerateOptions } from './arguments.ts';
import { type Beginning, GenerationModel, type ModelInfo, repeatRows } from './generation-model.ts';
import { resolveParameters } from './resolve.ts';
import type { ResolvedCall } from './resolved-call.ts';
import { attentionMask, type TokenRows, tokenRows } from './token-rows.ts';

/** What generation must know of a model with an encoder. */
export interface Seq2SeqInfo extends ModelInfo, SequenceModelInfo {
  /** The token that targets begin with, where nobody says another; undefined where somebody has to. */
  readonly start?: number;
  /** Tokens of a source at most. */
  readonly maxSource: number;
}

/** What `encode` takes. */
export interface EncodeOptions {
  /** Token ids of the sources [batch, length]. */
  input_ids: TokenRows;
  /** 1 for real tokens, 0 for padding, [batch, length] (all 1). */
  attention_mask?: TokenRows | null;
}

export class Seq2SeqLanguageModel extends GenerationModel<Seq2SeqInfo> {
  /**
   * Runs the model on whole pairs. A target that is not given is made of the labels; given labels, the output has a
   * `loss`. Throws ModelcError 'input' for a column that is missing, unknown or of another shape.
   */
  _call(inputs: SequenceInputs): Promise<Seq2SeqLMOutput> {
    return new SequenceToTensors<Seq2SeqLMOutput>(this.executor, this.info, this.config)._call(inputs);
  }

  /** The forward pass over whole pairs, as calling the model does. */
  forward(inputs: SequenceInputs): Promise<Seq2SeqLMOutput> {
    return this._call(inputs);
  }

  /** What the encoder makes of a source: `last_hidden_state` [batch, length, hidden], which generate() takes too. */
  async encode({ input_ids, attention_mask }: EncodeOptions): Promise<EncoderOutputs> {
    const ids = this.source(input_ids);
    const { shape, data } = await this.hiddenStates(ids, attentionMask(attention_mask, ids, null, []));
    return { last_hidden_state: new Tensor('float32', (data as Float32Array).slice(), shape) };
  }

  /** `source`: tokens of the longest source; default what the model was loaded for. */
  override planned_bytes(batch: number, length: number, source = this.info.maxSource): number | undefined {
    return this.executor.plannedBytes?.({ batch, capacity: length, source });
  }

  protected override promptOf(options: GenerateOptions): bigint[][] {
    const { decoder_input_ids: target, encoder_outputs: encoded } = options;
    const sources = encoded ? encoded.last_hidden_state.dims[0] : this.source(sourceOf(options)).length;
    const starts = this.startsOf(options, sources);
    if (!target) return starts.map((id) => [id]);
    const rows = tokenRows('decoder_input_ids', target, this.info.vocabSize);
    if (rows.length !== sources) {
      throw new ModelcError('input', `decoder_input_ids has ${rows.length} rows, but the inputs have ${sources}`);
    }
    return hasNoStart(rows, starts) ? rows.map((row, r) => [starts[r], ...row]) : rows;
  }

  protected override begin(call: ResolvedCall, prompt: bigint[][]): Beginning {
    const { options, parameters: g, eos } = call;
    if (g.guidance_scale !== null && g.guidance_scale !== 1) {
      throw new ModelcError('unsupported', '`guidance_scale` is not supported for models with an encoder');
    }
    const { encoder_outputs: encoded, decoder_input_ids, decoder_attention_mask } = options;
    const given = options.input_ids ?? options.inputs;
    const ids = given ? this.source(given) : undefined;
    const hidden = encoded && hiddenOf(encoded);
    const [rows, length] = hidden ? hidden.shape : [ids!.length, ids![0].length];
    if (!ids && (g.encoder_repetition_penalty !== 1 || g.encoder_no_repeat_ngram_size > 0)) {
      throw new ModelcError('input', 'processors that look at the source need input_ids beside encoder_outputs');
    }
    const like = ids ?? Array.from({ length: rows }, () => new Array<bigint>(length).fill(0n));
    const mask = attentionMask(options.attention_mask, like, ids ? g.pad_token_id : null, eos);
    const targets = decoder_attention_mask && this.targetMask(decoder_attention_mask, decoder_input_ids, prompt);
    return {
      mask: targets ?? undefined,
      source: ids ?? [],
      prepare: async (cache, repeat) => {
        // A cache that was filled by an earlier call holds what the layers took from the encoder.
        if (cache.get_seq_length() > 0) return;
        cache.source = { length, rows: repeat };
        const states = cache.bind(this.executor, rows * repeat, prompt[0].length, call.maxLength - 1);
        const encoded = hidden ?? (await this.hiddenStates(ids!, mask));
        await this.remember(states, encoded, mask, repeat);
      },
    };
  }

  /** The ids of a source, whose length is what the model serves. */
  private source(given: TokenRows): bigint[][] {
    const { vocabSize, maxSource } = this.info;
    const ids = tokenRows('input_ids', given, vocabSize);
    const [{ length }] = ids;
    if (length <= maxSource) return ids;
    throw new ModelcError(
      'input',
      `the source has ${length} tokens, but the model is compiled for ${maxSource}; shorten it or load the model with max_length: ${length}`,
    );
  }

  /** The token that each row begins with. */
  private startsOf(options: GenerateOptions, rows: number): bigint[] {
    const { decoder_start_token_id: given, bos_token_id: bos } = resolveParameters(options, this.generation_config);
    const start = given ?? this.info.start ?? bos;
    if (start === null) {
      throw new ModelcError(
        'input',
        'generate() needs decoder_start_token_id: the model does not say what begins a target',
      );
    }
    const starts = [start].flat();
    if (starts.length !== 1 && starts.length !== rows) {
      throw new ModelcError(
        'input',
        `decoder_start_token_id has ${starts.length} tokens, but the inputs have ${rows} rows; give one, or one per row`,
      );
    }
    const all = Array.from({ length: rows }, (_, r) => [starts[starts.length === 1 ? 0 : r]]);
    return tokenRows('decoder_start_token_id', all, this.info.vocabSize).map(([id]) => id);
  }

  /** The mask of the prompt, whose first token may have been put before what was given. */
  private targetMask(
    given: TokenRows,
    target: TokenRows | null | undefined,
    prompt: bigint[][],
  ): Uint8Array | undefined {
    const rows = target ? tokenRows('decoder_input_ids', target, this.info.vocabSize) : prompt;
    const mask = attentionMask(given, rows, null, [], 'decoder_attention_mask');
    const [length, whole] = [rows[0].length, prompt[0].length];
    if (!mask || length === whole) return mask;
    return Uint8Array.from(rows.flatMap((_, r) => [1, ...mask.subarray(r * length, (r + 1) * length)]));
  }

  /** The encoder's last hidden state. */
  private async hiddenStates(ids: readonly (readonly bigint[])[], mask: Uint8Array | undefined): Promise<HostTensor> {
    const shape = [ids.length, ids[0].length];
    const input_ids: HostTensor = { dtype: 'i32', shape, data: Int32Array.from(ids.flat(), Number) };
    const attention_mask = maskOf(shape, mask);
    const { encoder_last_hidden_state: hidden } = await this.executor.run('encode', { input_ids, attention_mask });
    return hidden;
  }

  /** Computes what the decoder's layers take from hidden states, every row `repeat` times, and keeps it. */
  private async remember(
    states: States,
    { shape: [rows, source, size], data }: HostTensor,
    mask: Uint8Array | undefined,
    repeat: number,
  ): Promise<void> {
    const shape = [rows * repeat, source];
    const repeated = repeatRows(data as Float32Array, rows, repeat);
    const encoder_hidden_states: HostTensor = { dtype: 'f32', shape: [...shape, size], data: repeated };
    const attention_mask = maskOf(shape, mask && repeatRows(mask, rows, repeat));
    await this.executor.run('memory', { encoder_hidden_states, attention_mask }, states);
  }
}

function sourceOf({ input_ids, inputs }: GenerateOptions): TokenRows {
  const given = input_ids ?? inputs;
  if (given) return given;
  throw new ModelcError('input', 'generate() needs input_ids, or encoder_outputs: there is nothing to read');
}

/** Whether no row begins with its token, so that it has to be put before them. */
const hasNoStart = (rows: readonly (readonly bigint[])[], starts: readonly bigint[]): boolean =>
  rows.every((row, r) => row[0] !== starts[r]);

function hiddenOf({ last_hidden_state: { dims, data } }: EncoderOutputs): HostTensor {
  if (dims.length === 3) return { dtype: 'f32', shape: dims, data };
  throw new ModelcError('input', `encoder_outputs must have dims [batch, length, hidden], but has [${dims}]`);
}

const maskOf = (shape: readonly number[], mask: Uint8Array | undefined): HostTensor => ({
  dtype: 'bool',
  shape,
  data: mask ?? new Uint8Array(shape[0] * shape[1]).fill(1),
});

/** A model is called like a function: `await model({ input_ids, labels })` is `model.forward`. */
export type Seq2SeqModel = Seq2SeqLanguageModel & ((inputs: SequenceInputs) => Promise<Seq2SeqLMOutput>);

export function createSeq2SeqModel(...args: ConstructorParameters<typeof Seq2SeqLanguageModel>): Seq2SeqModel {
  return callable<[SequenceInputs], Promise<Seq2SeqLMOutput>, Seq2SeqLanguageModel>(new Seq2SeqLanguageModel(...args));
}
