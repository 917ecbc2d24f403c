// Collators whose labels are the tokens themselves: the next ones (causal), hidden ones (masked: BERT's 80/10/10, by token
// or by whole word), or spans in a random order of prediction (permutation, XLNet).
import { ignoredLabel } from '../../../frontends/dsl/index.ts';
import { ModelcError } from '../../../ir/error.ts';
import type { TextTokenizer } from '../../tokenization/tokenizer.ts';
import { Generator } from '../generator.ts';
import {
  type Batch,
  type BatchPlace,
  collatorClass,
  type Feature,
  isList,
  listOf,
  requireFeatures,
  tensor,
} from './collator.ts';
import { type PadTokenizer, pad } from './padding.ts';

export type MaskTokenizer = PadTokenizer &
  Pick<TextTokenizer, 'mask_token_id' | 'all_special_ids' | 'get_vocab' | 'id_to_token'>;

interface LanguageModelingBase {
  /** Lengths become multiples of this. */
  pad_to_multiple_of?: number;
  /** Of the random numbers; without it, the seed of the run. */
  seed?: number;
}
interface MaskingProbabilities {
  /** How likely a token is to be asked for (0.15). */
  mlm_probability?: number;
  /** How likely a token that is asked for is replaced by the mask (0.8). */
  mask_replace_prob?: number;
  /** How likely it is replaced by a random token (0.1). */
  random_replace_prob?: number;
}
/**
 * Options of DataCollatorForLanguageModeling: names and defaults are those of transformers. With `mlm: false` labels
 * are the tokens themselves, for decoders; else masked tokens are asked for.
 */
export type LanguageModelingOptions =
  | (LanguageModelingBase & { tokenizer: PadTokenizer; mlm: false })
  | (LanguageModelingBase &
      MaskingProbabilities & {
        tokenizer: MaskTokenizer;
        mlm?: true;
        /** true: all tokens of a word are masked or none, and all by the mask. */
        whole_word_mask?: boolean;
      });

const maskingOptions = ['tokenizer', 'pad_to_multiple_of', 'seed', 'mlm_probability', 'mask_replace_prob', 'random_replace_prob'] as const; // biome-ignore format: one row

/** Examples are objects with input_ids, or rows of ids. */
export const DataCollatorForLanguageModeling = collatorClass(
  'DataCollatorForLanguageModeling',
  [...maskingOptions, 'mlm', 'whole_word_mask'],
  (options: LanguageModelingOptions) => {
    if (options.mlm === false) return (features) => causal(pad(rowsOf(features), options), options.tokenizer);
    const mask = masker(options);
    return (features, place) => mask(rowsOf(features), place);
  },
);

/** Masks whole words: their tokens are told apart by offset_mapping, or by how tokens are written. */
export const DataCollatorForWholeWordMask = collatorClass(
  'DataCollatorForWholeWordMask',
  maskingOptions,
  (options: LanguageModelingBase & MaskingProbabilities & { tokenizer: MaskTokenizer }) => {
    const mask = masker({ ...options, whole_word_mask: true });
    return (features, place) => mask(rowsOf(features), place);
  },
);

function causal(batch: Batch, { pad_token_id }: PadTokenizer): Batch {
  const { special_tokens_mask: _, offset_mapping: __, ...columns } = batch;
  const { shape, data } = batch.input_ids;
  const labels = Int32Array.from(data as Int32Array, (id) => (id === pad_token_id ? ignoredLabel : id));
  return { ...columns, labels: { dtype: 'i32', shape, data: labels } };
}

type Masker = (rows: readonly Feature[], place?: BatchPlace) => Batch;

function masker(options: Exclude<LanguageModelingOptions, { mlm: false }>): Masker {
  const { tokenizer, whole_word_mask = false, mlm_probability = 0.15 } = options;
  const { mask_replace_prob = whole_word_mask ? 1 : 0.8, random_replace_prob = whole_word_mask ? 0 : 0.1 } = options;
  requirePart('mlm_probability', mlm_probability);
  requirePart('mask_replace_prob', mask_replace_prob);
  requirePart('random_replace_prob', random_replace_prob);
  requirePart('mask_replace_prob and random_replace_prob together', mask_replace_prob + random_replace_prob);
  const mask = maskIdOf(tokenizer, 'masked language modelling', '; pass mlm: false for causal language modelling');
  const special = new Set(tokenizer.all_special_ids);
  const size = tokenizer.get_vocab().size;
  const startsOf = whole_word_mask ? wordStarts(tokenizer, special) : undefined;
  const randomOf = randomness(options.seed);
  return (rows, place) => {
    const random = randomOf(place);
    const starts = startsOf && rows.map(startsOf);
    const { special_tokens_mask, ...batch } = pad(
      rows.map(({ offset_mapping: _, ...row }) => row),
      options,
    );
    const { shape } = batch.input_ids;
    const [count, length] = shape;
    const ids = Int32Array.from(batch.input_ids.data as Int32Array);
    const labels = new Int32Array(ids.length).fill(ignoredLabel);
    const isPadding = (i: number): boolean => Number(batch.attention_mask.data[i]) === 0;
    const isSpecial = (i: number): boolean =>
      isPadding(i) || (special_tokens_mask ? Number(special_tokens_mask.data[i]) !== 0 : special.has(ids[i]));
    for (let row = 0; row < count; row++) {
      // Padding may be on the left; the words of a row count from its first token.
      const first = tokenizer.padding_side === 'left' ? length - listOf(rows[row].input_ids, 'input_ids').length : 0;
      let chosen = false;
      for (let i = row * length; i < (row + 1) * length; i++) {
        const draw = random.uniform() < mlm_probability;
        if (!starts || starts[row][i - row * length - first]) chosen = draw;
        if (isSpecial(i)) chosen = false;
        if (!chosen) continue;
        labels[i] = ids[i];
        const kind = random.uniform();
        if (kind < mask_replace_prob) ids[i] = mask;
        else if (kind < mask_replace_prob + random_replace_prob) ids[i] = random.below(size);
      }
    }
    return {
      ...batch,
      input_ids: { dtype: 'i32', shape, data: ids },
      labels: { dtype: 'i32', shape, data: labels },
    };
  };
}

/** Tells which tokens of a row start a word. */
function wordStarts(tokenizer: MaskTokenizer, special: ReadonlySet<number>): (row: Feature) => boolean[] {
  const continues = [...tokenizer.get_vocab().keys()].some((token) => token.startsWith('##'))
    ? (token: string): boolean => token.startsWith('##')
    : (token: string): boolean => !/^[\u0120\u2581]/.test(token); // byte-level and SentencePiece vocabularies mark starts
  return ({ input_ids, offset_mapping }) => {
    const ids = listOf(input_ids, 'input_ids');
    const offsets = isList(offset_mapping) ? Array.from(offset_mapping as ArrayLike<ArrayLike<number>>) : undefined;
    return ids.map((id, i) => {
      if (i === 0 || special.has(id) || special.has(ids[i - 1])) return true;
      return offsets ? offsets[i][0] !== offsets[i - 1][1] : !continues(tokenizer.id_to_token(id) ?? '');
    });
  };
}

/** Options of DataCollatorForPermutationLanguageModeling: names and defaults are those of transformers. */
export interface PermutationOptions {
  /** What names the mask and the special tokens. */
  tokenizer: MaskTokenizer;
  /** The part of the tokens that is asked for (1/6). */
  plm_probability?: number;
  /** The longest span of tokens that is asked for (5). */
  max_span_length?: number;
  /** Of the random numbers; without it, the seed of the run. */
  seed?: number;
}

/** Also gives perm_mask (1: may not attend) and target_mapping, both [batch, length, length]. */
export const DataCollatorForPermutationLanguageModeling = collatorClass(
  'DataCollatorForPermutationLanguageModeling',
  ['tokenizer', 'plm_probability', 'max_span_length', 'seed'],
  (options: PermutationOptions) => {
    const { tokenizer, plm_probability = 1 / 6, max_span_length = 5 } = options;
    requirePart('plm_probability', plm_probability);
    const mask = maskIdOf(tokenizer, 'permutation language modelling', '');
    const special = new Set(tokenizer.all_special_ids);
    const randomOf = randomness(options.seed);
    return (features, place) => {
      const random = randomOf(place);
      const { input_ids } = pad(rowsOf(features), { tokenizer });
      const [count, length] = input_ids.shape;
      if (length % 2 !== 0) {
        throw new ModelcError(
          'input',
          `permutation language modelling needs rows of an even length, but they have ${length}; cut them, or pad to one`,
        );
      }
      const ids = Int32Array.from(input_ids.data as Int32Array);
      const labels = new Int32Array(ids.length).fill(ignoredLabel);
      const mayAttend = new Float32Array(count * length * length);
      const targets = new Float32Array(count * length * length);
      for (let row = 0; row < count; row++) {
        const at = row * length;
        const isSpecial = Array.from(
          { length },
          (_, i) => special.has(ids[at + i]) || ids[at + i] === tokenizer.pad_token_id,
        );
        const masked = spans(length, plm_probability, max_span_length, random).map((is, i) => is && !isSpecial[i]);
        const order = halves(length, random).map((place, i) => (!masked[i] && !isSpecial[i] ? -1 : place));
        for (let i = 0; i < length; i++) {
          targets[(at + i) * length + i] = 1;
          for (let j = 0; j < length; j++) if (masked[j] && order[i] <= order[j]) mayAttend[(at + i) * length + j] = 1;
          if (!masked[i]) continue;
          labels[at + i] = ids[at + i];
          ids[at + i] = mask;
        }
      }
      const square = [count, length, length];
      return {
        input_ids: { dtype: 'i32', shape: input_ids.shape, data: ids },
        perm_mask: { dtype: 'f32', shape: square, data: mayAttend },
        target_mapping: { dtype: 'f32', shape: square, data: targets },
        labels: { dtype: 'i32', shape: input_ids.shape, data: labels },
      };
    };
  },
);

/** Spans that are asked for, each amid a context of span / probability tokens. */
function spans(length: number, probability: number, longest: number, random: Generator): boolean[] {
  const chosen = new Array<boolean>(length).fill(false);
  for (let at = 0; at < length; ) {
    const span = 1 + random.below(longest);
    const context = Math.floor(span / probability);
    const start = at + random.below(context - span + 1);
    chosen.fill(true, start, Math.min(length, start + span));
    at += context;
  }
  return chosen;
}

/** A random order of the places in each half of a row, the same one in both: half of a sequence is used again as memory. */
function halves(length: number, random: Generator): number[] {
  const half = random.randperm(length / 2);
  return [...half, ...half.map((place) => place + length / 2)];
}

/** Random numbers for a batch: of its place in the run, or where that is not told, of those that were drawn before. */
function randomness(seed: number | undefined): (place?: BatchPlace) => Generator {
  let following: Generator | undefined;
  return (place) => {
    if (!place) return (following ??= new Generator(seed));
    const mixed = Math.imul((seed ?? place.seed) ^ Math.imul(place.epoch + 1, 0x9e3779b1), 0x85ebca6b) + place.batch;
    return new Generator(mixed);
  };
}

function maskIdOf(tokenizer: MaskTokenizer, what: string, wayOut: string): number {
  if (tokenizer.mask_token_id !== null) return tokenizer.mask_token_id;
  throw new ModelcError('input', `${what} needs a mask token, which this tokenizer does not have${wayOut}`);
}

function requirePart(name: string, value: number): void {
  if (value >= 0 && value <= 1) return;
  throw new ModelcError('input', `${name} must be between 0 and 1, but is ${value}`);
}

/** Rows of ids as examples. */
const rowsOf = (features: readonly object[]): readonly Feature[] =>
  requireFeatures(features).map((row) => (isList(row) ? { input_ids: row } : row));

/** Options of DataCollatorWithFlattening: names and defaults are those of transformers. */
export interface FlatteningOptions {
  /** Adds position_ids, which start anew at each example (true). */
  return_position_ids?: boolean;
  /** Adds seq_idx: which example a token comes from. */
  return_seq_idx?: boolean;
  /** The label of the first token of each example (-100). */
  separator_id?: number;
  /** The position of the first token of each example (0). */
  position_ids_start?: number;
}

/** All examples as one row without padding: [1, tokens]; positions start anew at each. */
export const DataCollatorWithFlattening = collatorClass(
  'DataCollatorWithFlattening',
  ['return_position_ids', 'return_seq_idx', 'separator_id', 'position_ids_start'],
  (options: FlatteningOptions | undefined) => (features) => {
    const { return_position_ids = true, return_seq_idx = false, position_ids_start = 0 } = options ?? {};
    const separator = options?.separator_id ?? ignoredLabel;
    const columns: Record<string, number[]> = { input_ids: [], labels: [], position_ids: [], seq_idx: [] };
    for (const [example, row] of requireFeatures(features).entries()) {
      const ids = listOf(row.input_ids, 'input_ids');
      const labels = row.labels === undefined ? ids : listOf(row.labels, 'labels');
      columns.input_ids.push(...ids);
      columns.labels.push(separator, ...labels.slice(1));
      columns.position_ids.push(...ids.map((_, i) => position_ids_start + i));
      columns.seq_idx.push(...ids.map(() => example));
    }
    if (!return_position_ids) delete columns.position_ids;
    if (!return_seq_idx) delete columns.seq_idx;
    return Object.fromEntries(
      Object.entries(columns).map(([name, numbers]) => [name, tensor(name, numbers, [1, numbers.length])]),
    );
  },
);
