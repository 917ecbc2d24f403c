// Feeds token ids to an executor: splits prompts into chunks, derives position ids from the mask, grows the cache, and
// keeps padding out of it (padding.ts). What a decoding method sees is `feed(ids) -> logits or the most likely token of the last position`, and `follow(ids)`, the
// tokens that follow one another, which a GPU feeds to itself.
import { ModelcError } from '../../ir/error.ts';
import { checkRoom } from '../execution/cache-errors.ts';
import type { Executor, States } from '../execution/executor.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { DynamicCache } from './cache.ts';
import { type Columns, modelInputs, paddedLeft, paddingOf, part, withLastApart } from './padding.ts';

export interface DecodeLoopOptions {
  readonly executor: Executor;
  readonly cache: DynamicCache;
  /** New positions per run at most; the executor's own limit holds too. */
  readonly chunk?: number;
  readonly signal?: AbortSignal;
  /** Positions that the cache will need in the end, where that is known. */
  readonly positions?: number;
  /** Whether the cache is used after this generation (false). */
  readonly keepsCache?: boolean;
  /** Tokens of a row that are submitted to a device together (1). */
  readonly together?: number;
}

/** How tokens are drawn at random on the device. */
export interface Draws {
  /** The input `sampling` of the entry decode_sample. */
  readonly sampling: Float32Array;
  /** Uniform numbers of a step, one a row; steps count from the first one that follows. */
  uniform(step: number): Float32Array;
}

export type DecoderResult = 'logits' | 'next_token';

export class DecodeLoop {
  private readonly chunk: number;

  constructor(private readonly options: DecodeLoopOptions) {
    this.chunk = Math.min(options.chunk ?? Number.POSITIVE_INFINITY, options.executor.limits.chunk);
  }

  /**
   * Appends `ids` (rows of one length) to the sequences. `mask` says which are real, row-major; all, if absent.
   * Gives the wanted result of the last position: logits [rows * vocab], maybe a view that the next feed overwrites, or
   * the most likely token of every row.
   */
  async feed(
    ids: readonly (readonly bigint[])[],
    mask: Uint8Array | undefined,
    wanted: 'logits',
  ): Promise<Float32Array>;
  async feed(
    ids: readonly (readonly bigint[])[],
    mask: Uint8Array | undefined,
    wanted: 'next_token',
  ): Promise<Int32Array>;
  async feed(
    ids: readonly (readonly bigint[])[],
    mask: Uint8Array | undefined,
    wanted: DecoderResult,
  ): Promise<Float32Array | Int32Array> {
    const { executor, cache } = this.options;
    if (!(mask && executor.takes('padding'))) return resultData(await this.read({ ids, mask }, [wanted]), wanted);
    if (!cache.positions.some((held) => held > 0)) {
      return resultData(await this.read(paddedLeft({ ids, mask }), [wanted]), wanted);
    }
    const past = cache.get_seq_length();
    const states = this.room(ids.length, ids[0].length);
    checkRoom(past, ids[0].length, states.dims.capacity);
    const { body, last } = withLastApart({ ids, mask });
    if (body) await this.read(body, []);
    const result = await this.read(last, [wanted]);
    states.length = past + ids[0].length;
    return resultData(result, wanted);
  }

  /** Runs the columns in chunks; gives the results of the last one. */
  private async read(columns: Columns, wanted: readonly DecoderResult[]): Promise<Record<string, HostTensor>> {
    const { executor, cache, signal } = this.options;
    const [rows, length] = [columns.ids.length, columns.ids[0].length];
    let padding: Int32Array | undefined;
    for (let start = 0; ; start += this.chunk) {
      signal?.throwIfAborted();
      const end = Math.min(length, start + this.chunk);
      const isLast = end === length;
      const states = this.room(rows, end - start);
      padding ??= paddingOf(columns, cache);
      const inputs = modelInputs(part(columns, start, end), padding, cache);
      const entry = end - start === 1 ? 'decode' : 'prefill';
      const result = await executor.run(entry, inputs, states, isLast ? wanted : []);
      if (isLast) return result;
    }
  }

  /** The states, with room for `seq` more positions. */
  private room(rows: number, seq: number): States {
    const { executor, cache, positions } = this.options;
    return cache.bind(executor, rows, cache.get_seq_length() + seq, positions);
  }

  /** Whether a device can draw tokens and feed them to itself. */
  get drawsAhead(): boolean {
    return this.options.executor.queues('decode_sample');
  }

  /**
   * The tokens after `ids` (one of each row), `count` of them at most: the most likely ones, or what is drawn. Each is
   * read in turn; a row that is not `live` reads its id again and again. Leaving the loop forgets what was computed ahead.
   */
  async *follow(
    ids: readonly bigint[],
    live: readonly boolean[],
    count: number,
    draws?: Draws,
  ): AsyncGenerator<Int32Array, void, undefined> {
    const { executor, cache, signal, keepsCache = false, together } = this.options;
    const rows = ids.length;
    const column = (data: Int32Array): HostTensor => ({ dtype: 'i32', shape: [rows, 1], data });
    const input_ids = column(Int32Array.from(ids, Number));
    const attention_mask: HostTensor = { dtype: 'bool', shape: [rows, 1], data: new Uint8Array(rows).fill(1) };
    const notHeld = (): Int32Array => Int32Array.from(cache.positions, (held) => cache.get_seq_length() - held);
    const drawn = (step: number): Record<string, HostTensor> =>
      draws ? { uniform: { dtype: 'f32', shape: [rows], data: draws.uniform(step) } } : {};
    signal?.throwIfAborted();
    for (let step = 0; step < count; ) {
      const first = step;
      const states = this.room(rows, 1);
      const start = cache.positions;
      const after = (run: number): number[] => start.map((position) => position + run);
      const position_ids = (run: number): HostTensor => column(Int32Array.from(after(run)));
      const inputs = {
        input_ids,
        attention_mask,
        padding: { dtype: 'i32', shape: [rows], data: notHeld() } as const,
        position_ids: position_ids(0),
        ...(draws ? { sampling: { dtype: 'f32', shape: [draws.sampling.length], data: draws.sampling } as const } : {}),
        ...drawn(first),
      };
      const given = executor.repeat(draws ? 'decode_sample' : 'decode', inputs, states, {
        count: Math.max(1, Math.min(count - first, states.dims.capacity - states.length)),
        result: 'next_token',
        feed: { input: 'input_ids', live },
        inputs: (run) => ({ position_ids: position_ids(run), ...drawn(first + run) }),
        keepsState: keepsCache,
        ...(together ? { together } : {}),
      });
      for await (const token of given) {
        const tokens = resultData({ next_token: token }, 'next_token') as Int32Array;
        cache.positions = after(++step - first);
        for (const [r, isLive] of live.entries()) if (isLive) (input_ids.data as Int32Array)[r] = tokens[r];
        yield tokens;
        signal?.throwIfAborted();
      }
    }
  }
}

function resultData(result: Record<string, HostTensor>, wanted: DecoderResult): Float32Array | Int32Array {
  const data = result[wanted]?.data;
  if (!(data instanceof Float32Array || data instanceof Int32Array)) {
    throw new ModelcError('unsupported', `the program gives no ${wanted}; compile it again`);
  }
  return data;
}
