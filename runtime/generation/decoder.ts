// Feeds token ids to a session: splits prompts into chunks, derives position ids from the mask, grows the cache. What a
// decoding method sees is `feed(ids) -> logits or the most likely token of the last position`.
import { ModelcError } from '../../ir/error.ts';
import type { HostTensor, Session } from '../session.ts';
import type { DynamicCache } from './cache.ts';

export interface DecoderOptions {
  readonly session: Session;
  readonly cache: DynamicCache;
  /** New positions per run at most; the session's own limit holds too. */
  readonly chunk?: number;
  readonly signal?: AbortSignal;
}

export type DecoderResult = 'logits' | 'next_token';

export function throwIfAborted(signal: AbortSignal | undefined, what = 'generation'): void {
  if (signal?.aborted) throw new ModelcError('aborted', `${what} was aborted by its signal`, { cause: signal.reason });
}

export class Decoder {
  private readonly chunk: number;

  constructor(private readonly options: DecoderOptions) {
    this.chunk = Math.min(options.chunk ?? Number.POSITIVE_INFINITY, options.session.limits.chunk);
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
    const length = ids[0].length;
    for (let start = 0; ; start += this.chunk) {
      throwIfAborted(this.options.signal);
      const end = Math.min(length, start + this.chunk);
      const isLast = end === length;
      const part = ids.map((row) => row.slice(start, end));
      const partMask = mask && maskPart(mask, ids.length, length, start, end);
      const result = await this.run(part, partMask, isLast ? [wanted] : []);
      if (isLast) return resultData(result, wanted);
    }
  }

  private run(
    ids: readonly (readonly bigint[])[],
    mask: Uint8Array | undefined,
    wanted: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    const { session, cache } = this.options;
    const seq = ids[0].length;
    const state = cache.bind(session, ids.length, cache.get_seq_length() + seq);
    return session.run(seq === 1 ? 'decode' : 'prefill', modelInputs(ids, mask, cache), state, wanted);
  }
}

function resultData(result: Record<string, HostTensor>, wanted: DecoderResult): Float32Array | Int32Array {
  const data = result[wanted]?.data;
  if (!(data instanceof Float32Array || data instanceof Int32Array)) {
    throw new ModelcError('unsupported', `the program gives no ${wanted}; compile it again`);
  }
  return data;
}

function maskPart(mask: Uint8Array, rows: number, length: number, start: number, end: number): Uint8Array {
  const part = new Uint8Array(rows * (end - start));
  for (let r = 0; r < rows; r++) part.set(mask.subarray(r * length + start, r * length + end), r * (end - start));
  return part;
}

/**
 * The inputs of an entry for new tokens. A token's position is the number of real tokens before it, as transformers
 * derives it (cumsum of the mask, minus one); `cache.positions` is advanced. The position of padding does not matter.
 */
export function modelInputs(
  ids: readonly (readonly bigint[])[],
  mask: Uint8Array | undefined,
  cache: DynamicCache,
  position_ids?: Int32Array,
): Record<string, HostTensor> {
  const rows = ids.length;
  const seq = ids[0].length;
  const shape = [rows, seq];
  const inputIds = new Int32Array(rows * seq);
  const attention = mask ?? new Uint8Array(rows * seq).fill(1);
  const positions = new Int32Array(rows * seq);
  for (let r = 0; r < rows; r++) {
    for (let s = 0; s < seq; s++) {
      const i = r * seq + s;
      inputIds[i] = Number(ids[r][s]);
      positions[i] = cache.positions[r];
      if (attention[i]) cache.positions[r]++;
    }
  }
  return {
    input_ids: { dtype: 'i32', shape, data: inputIds },
    attention_mask: { dtype: 'bool', shape, data: attention },
    position_ids: { dtype: 'i32', shape, data: position_ids ?? positions },
  };
}
