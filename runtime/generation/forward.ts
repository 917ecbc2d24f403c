// The forward pass of a model over whole sequences, in chunks: logits and hidden states of every position. Programs that
// hold no padding are given the tokens of every row from the left on, and results go back to the columns that these had.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { checkRoom } from '../execution/cache-errors.ts';
import type { Executor } from '../execution/executor.ts';
import { unservedInputs } from '../models/forward-options.ts';
import { Tensor } from '../tensors/tensor.ts';
import { DynamicCache } from './cache.ts';
import { modelInputs, paddedRight, paddingOf, part, placesOf } from './padding.ts';
import { attentionMask, type TokenRows, tokenRows } from './token-rows.ts';

/** What a decoder's forward pass takes. */
export interface ForwardOptions {
  /** Token ids [batch, length]. */
  input_ids: TokenRows;
  /** 1 for real tokens, 0 for padding, [batch, length] (all 1). */
  attention_mask?: TokenRows | null;
  /**
   * The position of each token, [batch, length]; default: counted over real tokens from 0, or from what the cache
   * holds.
   */
  position_ids?: TokenRows | null;
  /** A cache that holds earlier tokens, and these afterwards. */
  past_key_values?: DynamicCache | null;
  /** Whether the result has hidden states (false). */
  output_hidden_states?: boolean;
}

/** What a decoder's forward pass gives. */
export interface CausalLMOutput {
  /** [batch, length, vocab]; of padding, anything. */
  logits: Tensor<'float32'>;
  /** The cache that the call was given. */
  past_key_values: DynamicCache | null;
  /** The embeddings, then each layer's output, the last after the final norm: [batch, length, hidden]. */
  hidden_states?: Tensor<'float32'>[];
}

/** The forward pass over all positions. Without past_key_values, nothing is kept. */
export async function forward(executor: Executor, vocabSize: number, options: ForwardOptions): Promise<CausalLMOutput> {
  checkForward(options);
  const ids = tokenRows('input_ids', options.input_ids, vocabSize);
  const [rows, length] = [ids.length, ids[0].length];
  const mask = attentionMask(options.attention_mask, ids, null, []);
  const cache = options.past_key_values ?? new DynamicCache();
  const positions = options.position_ids && tokenRows('position_ids', options.position_ids, Number.MAX_SAFE_INTEGER);
  if (positions && (positions.length !== rows || positions[0].length !== length)) {
    throw new ModelcError('input', `position_ids must have shape [${rows}, ${length}], as input_ids has`);
  }
  // Where the tokens of each row stand, if they are moved.
  const places = mask && executor.takes('padding') ? placesOf(ids, mask) : undefined;
  const columns = places ? paddedRight(ids, places) : { ids, mask };
  const width = columns.ids[0].length;
  const given = positions && (places ? paddedRight(positions, places).ids : positions);
  const parts: Record<string, { readonly start: number; readonly length: number; readonly data: Float32Array }[]> = {};
  const past = cache.get_seq_length();
  try {
    const states = cache.bind(executor, rows, past + length);
    checkRoom(past, length, states.dims.capacity);
    const padding = paddingOf({ ids: columns.ids, mask: undefined }, cache);
    for (let start = 0; start < width; start += executor.limits.chunk) {
      const end = Math.min(width, start + executor.limits.chunk);
      const partPositions = given
        ? Int32Array.from(
            given.flatMap((row) => row.slice(start, end)),
            Number,
          )
        : undefined;
      const results = await executor.run(
        'forward',
        modelInputs(part(columns, start, end), padding, cache, partPositions),
        states,
        options.output_hidden_states ? undefined : ['logits'],
      );
      for (const [name, { data }] of Object.entries(results)) {
        if (!(data instanceof Float32Array)) continue;
        (parts[name] ??= []).push({ start, length: end - start, data: data.slice() });
      }
    }
    states.length = past + length;
  } finally {
    if (!options.past_key_values) cache.dispose();
  }
  const whole = (name: string): Tensor<'float32'> => {
    const joined = joinChunks(parts[name], rows, width);
    return places ? inColumns(joined, places, length) : joined;
  };
  const hidden = Object.keys(parts).filter((name) => name.startsWith('hidden_states.')).length;
  return {
    logits: whole('logits'),
    past_key_values: options.past_key_values ?? null,
    ...(options.output_hidden_states
      ? { hidden_states: Array.from({ length: hidden }, (_, i) => whole(`hidden_states.${i}`)) }
      : {}),
  };
}

function checkForward(options: ForwardOptions): void {
  const served = ['input_ids', 'attention_mask', 'position_ids', 'past_key_values', 'output_hidden_states'];
  checkOptions('forward()', options, served, unservedInputs);
  const cache: unknown = options?.past_key_values ?? null;
  if (cache !== null && !(cache instanceof DynamicCache)) {
    throw new ModelcError('input', '`past_key_values` of forward() must be a DynamicCache or StaticCache');
  }
  if (!options?.input_ids) {
    throw new ModelcError('input', 'forward() needs input_ids, as in forward({ input_ids: [[1, 2, 3]] })');
  }
}

/** Chunks [rows, part, width] along the middle axis. */
function joinChunks(
  parts: readonly { readonly start: number; readonly length: number; readonly data: Float32Array }[],
  rows: number,
  length: number,
): Tensor<'float32'> {
  const width = parts[0].data.length / rows / parts[0].length;
  if (parts.length === 1) return new Tensor('float32', parts[0].data, [rows, length, width]);
  const out = new Float32Array(rows * length * width);
  for (const { start, length: n, data } of parts) {
    for (let r = 0; r < rows; r++) {
      out.set(data.subarray(r * n * width, (r + 1) * n * width), (r * length + start) * width);
    }
  }
  return new Tensor('float32', out, [rows, length, width]);
}

/** Rows [rows, width, size] of tokens, of which the k-th one stands in column places[r][k] of `length`; 0 for the others. */
function inColumns(
  { data, dims: [rows, width, size] }: Tensor<'float32'>,
  places: readonly (readonly number[])[],
  length: number,
): Tensor<'float32'> {
  const out = new Float32Array(rows * length * size);
  for (const [r, row] of places.entries()) {
    for (const [k, column] of row.entries()) {
      const from = (r * width + k) * size;
      out.set(data.subarray(from, from + size), (r * length + column) * size);
    }
  }
  return new Tensor('float32', out, [rows, length, size]);
}
