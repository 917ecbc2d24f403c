// What all models that generate have in common: the call is resolved, the cache made, a decoding method chosen and its
// result put into the shape that users of transformers know. A kind of model says what the decoder begins with. It knows
// executors, not compilers, so it is the same class in a program that compiles and in a compiled artifact.
import { ModelcError } from '../../ir/error.ts';
import { checkBatch } from '../execution/cache-errors.ts';
import type { Executor } from '../execution/executor.ts';
import { BoundModel } from '../models/bound-model.ts';
import { Tensor } from '../tensors/tensor.ts';
import {
  type CallInputs,
  callOptions,
  checkArguments,
  type DictOptions,
  type GenerateInputs,
  type GenerateOptions,
} from './arguments.ts';
import { DynamicCache, StaticCache } from './cache.ts';
import type { GenerationConfig } from './configuration.ts';
import { DecodeLoop, type DecodeLoopOptions } from './decode-loop.ts';
import type { GenerationParameters } from './parameters.ts';
import { expansion, processorsOf } from './processor-list.ts';
import { RandomStream } from './random.ts';
import { resolveCall } from './resolve.ts';
import type { ResolvedCall } from './resolved-call.ts';
import type { Decoded, Run } from './run.ts';
import { logSumExp } from './scores.ts';
import { stoppingOf } from './stopping-list.ts';
import { runStrategy } from './strategies.ts';
import { AsyncQueue, type BaseStreamer, TextIteratorStreamer } from './streamers.ts';
import type { TokenRows } from './token-rows.ts';
import { warnOnce } from './warnings.ts';

/** What generation must know of a model. */
export interface ModelInfo {
  /** Tokens that the model scores. */
  readonly vocabSize: number;
  /** Undefined where a model has no bound. */
  readonly maxPositionEmbeddings?: number;
  /** What a text begins with where there is no prompt. */
  readonly bosTokenId?: number;
}

/** What generate() returns with `return_dict_in_generate: true`. */
export interface GenerateOutput {
  /** Ids of prompt and continuation, [rows, length]; ended rows are padded. */
  sequences: Tensor<'int64'>;
  /** Processed scores of each step, [rows, vocab]. */
  scores?: Tensor<'float32'>[];
  /** Raw logits of each step, [rows, vocab]. */
  logits?: Tensor<'float32'>[];
  /** Of beam search: final scores, and for each generated token the beam it continued. */
  sequences_scores?: Tensor<'float32'>;
  /** For each generated token the beam that it continued, [rows, length]; -1 behind the end. */
  beam_indices?: Tensor<'int32'>;
  /** The cache that the call was given. */
  past_key_values: DynamicCache | null;
}

/** What a decoder begins with. */
export interface Beginning {
  /** Which tokens of the prompt are real, row-major; undefined when all are. */
  readonly mask: Uint8Array | undefined;
  /** The rows that the processors of encoders look at. */
  readonly source: bigint[][];
  /** Fills a cache that is made for this call with what the decoder looks at besides the prompt; every row `repeat` times. */
  prepare?(cache: DynamicCache, repeat: number): Promise<void>;
  /** Guidance, where the model serves it and the call asks for it. */
  readonly guided?: Guided | undefined;
}

/** Turns scores into guided ones, and the cache that it needs to. */
export interface Guided {
  readonly guide: Run['guide'];
  readonly cache: DynamicCache;
}

export type FeedOptions = Pick<DecodeLoopOptions, 'executor' | 'signal' | 'chunk'>;

export abstract class GenerationModel<I extends ModelInfo = ModelInfo> extends BoundModel<I> {
  constructor(
    executor: Executor,
    info: I,
    config: Readonly<Record<string, unknown>>,
    /** What a call of generate() takes where it says nothing itself. */
    public generation_config: GenerationConfig,
    /** What the model was loaded with; a call's own options win. */
    private readonly loadDefaults: Pick<GenerationParameters, 'cache_implementation' | 'max_cache_len'> = {},
  ) {
    super(executor, info, config);
  }

  /** The ids that the decoder begins with, one row for each of the inputs. */
  protected abstract promptOf(options: GenerateOptions): bigint[][];

  /** What there is besides them. */
  protected abstract begin(call: ResolvedCall, prompt: bigint[][], feed: FeedOptions): Beginning;

  /**
   * Bytes that generation plans for: weights, caches of `batch` rows and `length` positions, and intermediate values.
   * undefined on the interpreter.
   */
  planned_bytes(batch: number, length: number): number | undefined {
    return this.executor.plannedBytes?.({ batch, capacity: length });
  }

  /**
   * Continues the rows of `input_ids`. Gives the ids of prompt and continuation, int64 [rows, length], or a
   * GenerateOutput with `return_dict_in_generate: true`. Options, defaults and precedence are those of transformers. The
   * inputs may stand in front of the options: `generate(ids, { max_new_tokens: 20 })`.
   */
  generate(options: DictOptions): Promise<GenerateOutput>;
  generate(options?: GenerateOptions): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows | GenerateInputs, options: DictOptions): Promise<GenerateOutput>;
  generate(inputs: TokenRows | GenerateInputs, options: GenerateOptions): Promise<Tensor<'int64'>>;
  generate(inputs: TokenRows): Promise<Tensor<'int64'>>;
  async generate(first?: CallInputs, more?: GenerateOptions): Promise<GenerateOutput | Tensor<'int64'>> {
    const { parameters, decoded, cache } = await this.decode(callOptions(first, more));
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
    return parameters.return_dict_in_generate ? output : sequences;
  }

  /** The new ids of each step, one per row, as they are decoded. Leaving the loop ends the generation. */
  stream(options?: GenerateOptions): AsyncGenerator<bigint[], void, undefined>;
  stream(inputs: TokenRows | GenerateInputs, options: GenerateOptions): AsyncGenerator<bigint[], void, undefined>;
  stream(inputs: TokenRows): AsyncGenerator<bigint[], void, undefined>;
  async *stream(first?: CallInputs, more?: GenerateOptions): AsyncGenerator<bigint[], void, undefined> {
    const options = callOptions(first, more);
    checkArguments(options);
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

  private async decodeNow(options: GenerateOptions): ReturnType<GenerationModel<I>['decode']> {
    checkArguments(options);
    const signal = options.signal ?? undefined;
    signal?.throwIfAborted();
    const ids = this.promptOf(options);
    const call = this.resolve(options, ids[0].length);
    const { parameters: g } = call;
    const repeat = expansion(call);
    checkBatch(ids.length * repeat, this.executor.limits.batch);
    if (options.streamer && g.num_beams > 1) {
      throw new ModelcError('input', '`streamer` cannot be used with beam search; set `num_beams` to 1');
    }
    const prompt = ids.flatMap((row) => new Array<bigint[]>(repeat).fill(row));
    const feed: FeedOptions = {
      executor: this.executor,
      ...(signal ? { signal } : {}),
      ...(g.prefill_chunk_size ? { chunk: g.prefill_chunk_size } : {}),
    };
    const { mask: rowMask, source, prepare, guided } = this.begin(call, ids, feed);
    const mask = rowMask && repeatRows(rowMask, ids.length, repeat);
    const cache = options.past_key_values ?? this.newCache(call);
    if (cache.get_seq_length() >= prompt[0].length) {
      throw new ModelcError(
        'input',
        `past_key_values holds ${cache.get_seq_length()} positions, so input_ids must be longer; it has ${prompt[0].length} tokens`,
      );
    }
    // Kept for the caller when it can be handed out: in a dictionary, or because it is the caller's own.
    const isKept = Boolean(options.past_key_values) || g.return_dict_in_generate;
    const positions = call.maxLength - 1;
    const run: Run = {
      call,
      decoder: new DecodeLoop({
        ...feed,
        cache,
        positions,
        keepsCache: isKept,
        together: options.tokens_per_submit ?? 1,
      }),
      cache,
      prompt,
      mask,
      vocabSize: this.info.vocabSize,
      processors: processorsOf(call, ids, source),
      stopping: stoppingOf(call),
      random: new RandomStream(options.seed ?? undefined),
      streamer: options.streamer ?? undefined,
      guide: guided?.guide,
    };
    try {
      await prepare?.(cache, repeat);
      const decoded = await runStrategy(run);
      return { parameters: g, decoded, cache: isKept ? cache : null };
    } catch (error) {
      if (!options.past_key_values) cache.dispose();
      throw error;
    } finally {
      guided?.cache.dispose();
      if (!isKept) cache.dispose();
    }
  }

  /** The resolved call, its length kept within what the model is compiled for. */
  private resolve(options: GenerateOptions, promptLength: number): ResolvedCall {
    const defaults = { ...this.loadDefaults, ...options };
    const { length: room, fixedLength } = this.executor.limits;
    if (promptLength > room) {
      throw new ModelcError(
        'input',
        `the prompt has ${promptLength} tokens, but the model is compiled for ${room}; shorten it or load the model with max_cache_len: ${promptLength}`,
      );
    }
    const { maxPositionEmbeddings = Number.POSITIVE_INFINITY } = this.info;
    const call = resolveCall(defaults, this.generation_config, promptLength, maxPositionEmbeddings);
    checkCache(options);
    if (fixedLength && options.cache_implementation === 'dynamic') {
      throw new ModelcError(
        'unsupported',
        "the model is compiled for a static cache; load it with cache_implementation: 'dynamic'",
      );
    }
    // The last token is never read back, so a cache of n positions serves n + 1 tokens.
    const needed = call.maxLength - 1;
    if (needed <= room) return call;
    warnOnce(
      `Prompt and new tokens would be ${call.maxLength} tokens, but the model is compiled for ${room} positions; generation ends there. Load it with max_cache_len: ${needed} for more.`,
    );
    return { ...call, maxLength: room + 1 };
  }

  private newCache({ parameters: g, maxLength }: ResolvedCall): DynamicCache {
    const { fixedLength, length } = this.executor.limits;
    if (fixedLength) return new StaticCache(length);
    if (g.cache_implementation !== 'static') return new DynamicCache();
    // As in transformers, a max_cache_len is room for later calls, and no bound.
    return new StaticCache(Math.min(length, Math.max(g.max_cache_len ?? 1, maxLength - 1)));
  }
}

/** A cache of the caller's own has its kind. */
function checkCache({ past_key_values: cache, cache_implementation: kind }: GenerateOptions): void {
  if (!cache) return;
  if ((kind ?? null) !== null) {
    throw new ModelcError('input', 'cache_implementation has no effect beside past_key_values; pass one of the two');
  }
}

/** Every row of a matrix, row-major, `times` times. */
export function repeatRows<T extends Uint8Array | Float32Array>(data: T, rows: number, times: number): T {
  if (times === 1) return data;
  const length = data.length / rows;
  const out = new (data.constructor as new (size: number) => T)(data.length * times);
  for (let r = 0; r < rows * times; r++) {
    const from = Math.floor(r / times) * length;
    out.set(data.subarray(from, from + length), r * length);
  }
  return out;
}

const int64Rows = (rows: readonly (readonly bigint[])[]): Tensor<'int64'> =>
  new Tensor('int64', BigInt64Array.from(rows.flat()), [rows.length, rows[0].length]);
