// PreTrainedModel: a causal language model bound to its weights, with the methods that users of transformers know.
// It knows sessions, not compilers, so it is the same class in a program that compiles and in a compiled artifact.
import { ModelcError } from '../../ir/error.ts';
import { callable } from '../callable.ts';
import type { Session } from '../session.ts';
import { Tensor } from '../tensor.ts';
import type { TrainableModel } from '../trainer/trainable.ts';
import { beamSearch } from './beam-search.ts';
import { DynamicCache, StaticCache } from './cache.ts';
import type { GenerationConfig } from './configuration.ts';
import { Decoder, throwIfAborted } from './decoder.ts';
import { type CausalLMOutput, type ForwardOptions, forward } from './forward.ts';
import { guidance } from './guidance.ts';
import type { GenerationParameters } from './parameters.ts';
import { expansion, processorsOf } from './processor-list.ts';
import { RandomStream } from './random.ts';
import { attentionMask, type GenerateOptions, type ResolvedCall, resolveCall, tokenRows } from './resolve.ts';
import type { Decoded, Run } from './run.ts';
import { sample } from './sample.ts';
import { logSumExp } from './scores.ts';
import {
  EosTokenCriteria,
  MaxLengthCriteria,
  MaxTimeCriteria,
  StoppingCriteria,
  StoppingCriteriaList,
  StopStringCriteria,
} from './stopping-criteria.ts';
import { AsyncQueue, type BaseStreamer, TextIteratorStreamer } from './streamers.ts';
import { warnOnce } from './warnings.ts';

/** What generation must know of a model. */
export interface ModelInfo {
  readonly vocabSize: number;
  readonly maxPositionEmbeddings: number;
  readonly bosTokenId?: number;
}

/** What generate() returns with `return_dict_in_generate: true`. */
export interface GenerateOutput {
  sequences: Tensor<'int64'>;
  /** Processed scores of each step, [rows, vocab]. */
  scores?: Tensor<'float32'>[];
  /** Raw logits of each step, [rows, vocab]. */
  logits?: Tensor<'float32'>[];
  /** Of beam search: final scores, and for each generated token the beam it continued. */
  sequences_scores?: Tensor<'float32'>;
  beam_indices?: Tensor<'int32'>;
  past_key_values: DynamicCache | null;
}

export type GenerateResult<O extends GenerateOptions> = O extends { return_dict_in_generate: true }
  ? GenerateOutput
  : Tensor<'int64'>;

export class CausalLanguageModel {
  /** What a Trainer trains; absent where the model came compiled. */
  trainable: TrainableModel | undefined;

  constructor(
    private session: Session,
    private readonly info: ModelInfo,
    /** config.json of the checkpoint. */
    readonly config: Readonly<Record<string, unknown>>,
    public generation_config: GenerationConfig,
    /** What the model was loaded with; a call's own options win. */
    private readonly loadDefaults: Pick<GenerationParameters, 'cache_implementation' | 'max_cache_len'> = {},
  ) {}

  /**
   * Bytes that generation plans for: weights, caches of `batch` rows and `length` positions, and intermediate values.
   * undefined on the interpreter.
   */
  planned_bytes(batch: number, length: number): number | undefined {
    return this.session.plannedBytes?.(batch, length);
  }

  /** The forward pass over all positions. Without past_key_values, nothing is kept. */
  _call(options: ForwardOptions): Promise<CausalLMOutput> {
    return this.forward(options);
  }

  forward(options: ForwardOptions): Promise<CausalLMOutput> {
    return forward(this.session, this.info.vocabSize, options);
  }

  /**
   * Continues the rows of `input_ids`. Gives the ids of prompt and continuation, int64 [rows, length], or a
   * GenerateOutput with `return_dict_in_generate: true`. Options, defaults and precedence are those of transformers.
   */
  async generate<const O extends GenerateOptions>(options: O): Promise<GenerateResult<O>> {
    const { parameters, decoded, cache } = await this.decode(options);
    const sequences = int64Rows(decoded.sequences);
    const output: GenerateOutput = {
      sequences,
      ...(decoded.scores ? { scores: decoded.scores } : {}),
      ...(decoded.logits ? { logits: decoded.logits } : {}),
      ...(decoded.sequences_scores
        ? {
            sequences_scores: new Tensor('float32', Float32Array.from(decoded.sequences_scores), [
              decoded.sequences_scores.length,
            ]),
          }
        : {}),
      ...(decoded.beam_indices
        ? {
            beam_indices: new Tensor('int32', Int32Array.from(decoded.beam_indices.flat()), [
              decoded.beam_indices.length,
              decoded.beam_indices[0].length,
            ]),
          }
        : {}),
      past_key_values: cache,
    };
    return (parameters.return_dict_in_generate ? output : sequences) as GenerateResult<O>;
  }

  /** The new ids of each step, one per row, as they are decoded. Leaving the loop ends the generation. */
  async *stream(options: GenerateOptions): AsyncGenerator<bigint[], void, undefined> {
    const controller = new AbortController();
    const queue = new AsyncQueue<bigint[]>(() => controller.abort());
    let isPrompt = true;
    const streamer: BaseStreamer = {
      put(value) {
        options.streamer?.put(value);
        if (!isPrompt) queue.push(value.map(([id]) => id));
        isPrompt = false;
      },
      end() {
        options.streamer?.end();
        queue.end();
      },
    };
    const signal = options.signal ? AbortSignal.any([options.signal, controller.signal]) : controller.signal;
    const finished = this.decode({ ...options, streamer, signal }).catch((error: unknown) => queue.fail(error));
    try {
      yield* queue;
    } finally {
      await finished;
    }
  }

  /**
   * The scores of the chosen tokens, [rows, steps]: log-probabilities with `normalize_logits`. `scores` and
   * `beam_indices` are what generate() returned.
   */
  compute_transition_scores(
    sequences: Tensor<'int64'>,
    scores: readonly Tensor<'float32'>[],
    beam_indices?: Tensor<'int32'> | null,
    normalize_logits = false,
  ): Tensor<'float32'> {
    const [rows, total] = sequences.dims;
    const steps = beam_indices ? Math.max(1, beam_indices.dims[1]) : scores.length;
    const cut = total - steps;
    const out = new Float32Array(rows * steps);
    for (let r = 0; r < rows; r++) {
      for (let s = 0; s < steps; s++) {
        const beam = beam_indices ? beam_indices.data[r * steps + s] : r;
        if (beam < 0) continue;
        const vocab = scores[s].dims[1];
        const row = scores[s].data.subarray(beam * vocab, (beam + 1) * vocab);
        const id = Number(sequences.data[r * total + cut + s]);
        out[r * steps + s] = row[id] - (normalize_logits ? logSumExp(row) : 0);
      }
    }
    return new Tensor('float32', out, [rows, steps]);
  }

  /** Goes on with another session, of the same model with other weights. */
  replaceSession(session: Session): void {
    this.session.dispose();
    this.session = session;
  }

  /** Frees code, weights and memory. */
  dispose(): void {
    this.session.dispose();
  }

  private async decode(options: GenerateOptions): Promise<{
    readonly parameters: ResolvedCall['parameters'];
    readonly decoded: Decoded;
    readonly cache: DynamicCache | null;
  }> {
    try {
      return await this.decodeNow(options);
    } catch (error) {
      if (options.streamer instanceof TextIteratorStreamer) options.streamer.fail(error);
      throw error;
    }
  }

  private async decodeNow(options: GenerateOptions): ReturnType<CausalLanguageModel['decode']> {
    const signal = options.signal ?? undefined;
    throwIfAborted(signal);
    const ids = this.promptOf(options);
    const call = this.resolve(options, ids[0].length);
    const { parameters: g } = call;
    const repeat = expansion(call);
    if (options.streamer && g.num_beams > 1) {
      throw new ModelcError('input', '`streamer` cannot be used with beam search; set `num_beams` to 1');
    }
    const prompt = ids.flatMap((row) => new Array<bigint[]>(repeat).fill(row));
    const rowMask = attentionMask(options.attention_mask, ids, g.pad_token_id, call.eos);
    const mask = rowMask && repeatRows(rowMask, ids.length, repeat);
    if (rowMask && ids.some((row, r) => rowMask[(r + 1) * row.length - 1] === 0)) {
      warnOnce(
        'The inputs are padded on the right, but generation continues from the last column; pad them on the left.',
      );
    }
    const cache = options.past_key_values ?? this.newCache(call);
    if (cache.get_seq_length() >= prompt[0].length) {
      throw new ModelcError(
        'input',
        `past_key_values holds ${cache.get_seq_length()} positions, so input_ids must be longer; it has ${prompt[0].length} tokens`,
      );
    }
    const decoderOptions = {
      session: this.session,
      signal,
      ...(g.prefill_chunk_size ? { chunk: g.prefill_chunk_size } : {}),
    };
    const guided = this.guide(call, prompt, decoderOptions);
    const run: Run = {
      call,
      decoder: new Decoder({ ...decoderOptions, cache, positions: call.maxLength - 1, together: togetherOf(options) }),
      cache,
      prompt,
      mask,
      vocabSize: this.info.vocabSize,
      processors: processorsOf(call, ids),
      stopping: stoppingOf(call),
      random: new RandomStream(options.seed ?? undefined),
      streamer: options.streamer ?? undefined,
      guide: guided?.guide,
    };
    // Kept for the caller when it can be handed out: in a dictionary, or because it is the caller's own.
    const isKept = Boolean(options.past_key_values) || g.return_dict_in_generate;
    try {
      const decoded = g.num_beams > 1 ? await beamSearch(run) : await sample(run);
      return { parameters: g, decoded, cache: isKept ? cache : null };
    } catch (error) {
      if (!options.past_key_values) cache.dispose();
      throw error;
    } finally {
      guided?.cache.dispose();
      if (!isKept) cache.dispose();
    }
  }

  private promptOf(options: GenerateOptions): bigint[][] {
    const given = options.input_ids ?? options.inputs ?? null;
    if (given !== null) return tokenRows('input_ids', given, this.info.vocabSize);
    const bos = options.bos_token_id ?? this.generation_config.bos_token_id ?? this.info.bosTokenId;
    if (bos === undefined || bos === null) {
      throw new ModelcError(
        'input',
        'generate() needs input_ids: the model has no beginning-of-sequence token to start from',
      );
    }
    return tokenRows('bos_token_id', [[bos]], this.info.vocabSize);
  }

  /** The resolved call, its length kept within what the model is compiled for. */
  private resolve(options: GenerateOptions, promptLength: number): ResolvedCall {
    const defaults = { ...this.loadDefaults, ...options };
    const { length: room, fixedLength } = this.session.limits;
    if (promptLength > room) {
      throw new ModelcError(
        'input',
        `the prompt has ${promptLength} tokens, but the model is compiled for ${room}; shorten it or load the model with max_cache_len: ${promptLength}`,
      );
    }
    const call = resolveCall(defaults, this.generation_config, promptLength, this.info.maxPositionEmbeddings);
    const { cache_implementation, max_cache_len } = call.parameters;
    if (fixedLength && options.cache_implementation === 'dynamic') {
      throw new ModelcError(
        'unsupported',
        "the model is compiled for a static cache; load it with cache_implementation: 'dynamic'",
      );
    }
    // The last token is never read back, so a cache of n positions serves n + 1 tokens.
    const needed = call.maxLength - 1;
    const isStatic = fixedLength || cache_implementation === 'static';
    const limit = isStatic && max_cache_len !== null ? Math.min(room, max_cache_len) : room;
    if (needed <= limit) return call;
    if (isStatic && max_cache_len !== null) {
      throw new ModelcError(
        'input',
        `prompt and new tokens need ${needed} cache positions, but max_cache_len is ${limit}; raise it or lower max_new_tokens`,
      );
    }
    warnOnce(
      `Prompt and new tokens would be ${call.maxLength} tokens, but the model is compiled for ${room} positions; generation ends there. Load it with max_cache_len: ${needed} for more.`,
    );
    return { ...call, maxLength: limit + 1 };
  }

  private newCache({ parameters: g, maxLength }: ResolvedCall): DynamicCache {
    const { fixedLength, length } = this.session.limits;
    if (fixedLength) return new StaticCache(length);
    return g.cache_implementation === 'static' ? new StaticCache(g.max_cache_len ?? maxLength - 1) : new DynamicCache();
  }

  private guide(
    call: ResolvedCall,
    prompt: readonly (readonly bigint[])[],
    decoderOptions: { readonly session: Session; readonly signal: AbortSignal | undefined },
  ): { readonly guide: Run['guide']; readonly cache: DynamicCache } | undefined {
    const { parameters: g, options } = call;
    if (g.guidance_scale === null || g.guidance_scale === 1) return undefined;
    if (g.num_beams > 1) {
      throw new ModelcError('unsupported', '`guidance_scale` is not supported in beam search; set `num_beams` to 1');
    }
    const negative = options.negative_prompt_ids
      ? tokenRows('negative_prompt_ids', options.negative_prompt_ids, this.info.vocabSize)
      : prompt.map((row) => [row[row.length - 1]]);
    const mask = attentionMask(
      options.negative_prompt_attention_mask,
      negative,
      null,
      [],
      'negative_prompt_attention_mask',
    );
    const cache = new DynamicCache();
    return { guide: guidance(g.guidance_scale, new Decoder({ ...decoderOptions, cache }), negative, mask), cache };
  }
}

function togetherOf({ tokens_per_submit: together }: GenerateOptions): number {
  if (together === undefined || together === null) return 1;
  if (Number.isInteger(together) && together > 0) return together;
  throw new ModelcError('input', `\`tokens_per_submit\` must be a positive integer, but is ${together}`);
}

function stoppingOf(call: ResolvedCall): StoppingCriteriaList {
  const { parameters: g, options, eos } = call;
  const list = new StoppingCriteriaList([new MaxLengthCriteria(call.maxLength)]);
  if (g.max_time !== null) list.push(new MaxTimeCriteria(g.max_time));
  if (g.stop_strings !== null) {
    if (!options.tokenizer) {
      throw new ModelcError(
        'input',
        "`stop_strings` needs the model's tokenizer: pass it as `tokenizer` to generate()",
      );
    }
    list.push(new StopStringCriteria(options.tokenizer, g.stop_strings));
  }
  if (eos.length > 0) list.push(new EosTokenCriteria(eos));
  const own = options.stopping_criteria;
  if (own instanceof StoppingCriteriaList) list.extend(own);
  else if (own instanceof StoppingCriteria) list.push(own);
  else if (own) list.extend(own);
  return list;
}

function repeatRows(mask: Uint8Array, rows: number, times: number): Uint8Array {
  const length = mask.length / rows;
  const out = new Uint8Array(mask.length * times);
  for (let r = 0; r < rows * times; r++) {
    const from = Math.floor(r / times) * length;
    out.set(mask.subarray(from, from + length), r * length);
  }
  return out;
}

const int64Rows = (rows: readonly (readonly bigint[])[]): Tensor<'int64'> =>
  new Tensor('int64', BigInt64Array.from(rows.flat()), [rows.length, rows[0].length]);

/** A model is called like a function: `await model({ input_ids })` is `model.forward`. */
export type PreTrainedModel = CausalLanguageModel & ((options: ForwardOptions) => Promise<CausalLMOutput>);

export function createModel(...args: ConstructorParameters<typeof CausalLanguageModel>): PreTrainedModel {
  return callable<[ForwardOptions], Promise<CausalLMOutput>, CausalLanguageModel>(new CausalLanguageModel(...args));
}
