// The logits processors that apply in every mode: biases, penalties, bans and forced tokens. Names, arguments and
// arithmetic follow transformers' generation/logits_process.py; the order of application is in processor-list.ts.
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { eachRow, idList, LogitsProcessor, requireNatural, requirePositive, type Scores } from './logits-processor.ts';
import { logSoftmaxInPlace } from './scores.ts';

const banned = Number.NEGATIVE_INFINITY;

/** Token sequences and the bias that their last token gets once the tokens before it stand at the end of the row. */
export type SequenceBias = readonly (readonly [tokens: readonly number[], bias: number])[];

/** Adds a bias to tokens that would complete a sequence: `sequence_bias`. */
export class SequenceBiasLogitsProcessor extends LogitsProcessor {
  private readonly biases: { prefix: bigint[]; last: number; bias: number }[];

  constructor(sequence_bias: SequenceBias) {
    super();
    if (!Array.isArray(sequence_bias) || sequence_bias.length === 0) {
      throw new ModelcError('input', '`sequence_bias` has to be a non-empty list of [token ids, bias] pairs');
    }
    const unique = new Map<string, { prefix: bigint[]; last: number; bias: number }>();
    for (const entry of sequence_bias) {
      const [tokens, bias] = Array.isArray(entry) ? entry : [];
      if (!Array.isArray(tokens) || tokens.length === 0 || !tokens.every(isTokenId) || typeof bias !== 'number') {
        throw new ModelcError(
          'input',
          `\`sequence_bias\` has the entry ${JSON.stringify(entry)}, not [token ids, bias]`,
        );
      }
      unique.set(tokens.join(), { prefix: tokens.slice(0, -1).map(BigInt), last: tokens[tokens.length - 1], bias });
    }
    this.biases = [...unique.values()];
  }

  _call(input_ids: bigint[][], logits: Scores): Scores {
    const vocab = logits.dims[1];
    const beyond = this.biases.filter((b) => b.last >= vocab).map((b) => b.last);
    if (beyond.length > 0) {
      throw new ModelcError('input', `the vocabulary has ${vocab} tokens, but these were to be biased: ${beyond}`);
    }
    return eachRow(input_ids, logits, (row, ids) => {
      for (const { prefix, last, bias } of this.biases) {
        const start = ids.length - prefix.length;
        if (prefix.length > 0 && prefix.length + 1 > ids.length) continue;
        if (prefix.every((token, i) => token === ids[start + i])) row[last] += bias;
      }
    });
  }
}

const isTokenId = (id: unknown): id is number => Number.isInteger(id) && Number(id) >= 0;

/** Ids that a processor is made with, as a list. */
function requireIds(name: string, ids: number | readonly number[]): number[] {
  const list: unknown[] = [ids].flat();
  if (list.every(Number.isInteger)) return list as number[];
  throw new ModelcError('input', `\`${name}\` has to be a token id or a list of them, but is ${JSON.stringify(ids)}`);
}

/** Bans the last token of each listed word where the rest of it has just been written. Words equal to eos are dropped. */
export class NoBadWordsLogitsProcessor extends LogitsProcessor {
  private readonly bias: SequenceBiasLogitsProcessor | undefined;

  constructor(bad_words_ids: readonly (readonly number[])[], eos_token_id?: number | readonly number[] | null) {
    super();
    if (!Array.isArray(bad_words_ids) || bad_words_ids.length === 0) {
      throw new ModelcError('input', '`bad_words_ids` has to be a non-empty list of lists of token ids');
    }
    const wrong: unknown = bad_words_ids.find(
      (word: unknown) => !Array.isArray(word) || word.length === 0 || !word.every(isTokenId),
    );
    if (wrong !== undefined) {
      throw new ModelcError(
        'input',
        `\`bad_words_ids\` has the entry ${JSON.stringify(wrong)}, not a list of token ids`,
      );
    }
    const eos = new Set(idList(eos_token_id ?? []));
    const words = bad_words_ids.filter((word) => !(word.length === 1 && eos.has(word[0])));
    this.bias =
      words.length > 0
        ? new SequenceBiasLogitsProcessor(words.map((word): [number[], number] => [word, banned]))
        : undefined;
  }

  _call(input_ids: bigint[][], logits: Scores): Scores {
    return this.bias ? this.bias._call(input_ids, logits) : logits;
  }
}

/** Divides positive and multiplies negative scores of `seen` by the penalty, once per distinct id. */
function penalise(row: Float32Array, seen: Iterable<bigint>, penalty: number): void {
  for (const id of new Set(seen)) {
    const i = Number(id);
    row[i] = row[i] < 0 ? row[i] * penalty : row[i] / penalty;
  }
}

/** CTRL's repetition penalty (Keskar et al., 2019) over the prompt and what was generated. */
export class RepetitionPenaltyLogitsProcessor extends LogitsProcessor {
  constructor(
    private readonly penalty: number,
    private readonly prompt_ignore_length: number = 0,
  ) {
    super();
    requirePositive('repetition_penalty', penalty);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids) => {
      penalise(row, this.prompt_ignore_length > 0 ? ids.slice(this.prompt_ignore_length) : ids, this.penalty);
    });
  }
}

/** The row of the encoder's input that row `index` belongs to, when each has been expanded into several. */
const encoderRow = (encoder: readonly bigint[][], rows: number, index: number): bigint[] =>
  encoder[Math.floor((index * encoder.length) / rows)];

/**
 * Above 1, favours tokens of the encoder's input (or of the prompt). As in transformers, row i of the scores goes by row i
 * of that input: where the rows are expanded for beams or sequences, those behind the first ones are left alone.
 */
export class EncoderRepetitionPenaltyLogitsProcessor extends LogitsProcessor {
  constructor(
    private readonly penalty: number,
    private readonly encoder_input_ids: bigint[][],
  ) {
    super();
    requirePositive('encoder_repetition_penalty', penalty);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, _, i) => {
      if (i < this.encoder_input_ids.length) penalise(row, this.encoder_input_ids[i], 1 / this.penalty);
    });
  }
}

/** Bans the tokens that followed, anywhere in `history`, the n-1 tokens that `ids` ends with. */
function banRepeats(row: Float32Array, history: readonly bigint[], ids: readonly bigint[], n: number): void {
  const tail = ids.length - (n - 1);
  if (tail < 0) return;
  for (let start = 0; start + n <= history.length; start++) {
    let i = 0;
    while (i < n - 1 && history[start + i] === ids[tail + i]) i++;
    if (i === n - 1) row[Number(history[start + i])] = banned;
  }
}

/** Bans tokens that would repeat a sequence of `ngram_size` tokens: `no_repeat_ngram_size`. */
export class NoRepeatNGramLogitsProcessor extends LogitsProcessor {
  constructor(private readonly ngram_size: number) {
    super();
    requireNatural('no_repeat_ngram_size', ngram_size);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids) => banRepeats(row, ids, ids, this.ngram_size));
  }
}

/** Bans tokens that would repeat a sequence of the source: `encoder_no_repeat_ngram_size`. */
export class EncoderNoRepeatNGramLogitsProcessor extends LogitsProcessor {
  constructor(
    private readonly encoder_ngram_size: number,
    private readonly encoder_input_ids: bigint[][],
  ) {
    super();
    requireNatural('encoder_no_repeat_ngram_size', encoder_ngram_size);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids, i) => {
      banRepeats(row, encoderRow(this.encoder_input_ids, input_ids.length, i), ids, this.encoder_ngram_size);
    });
  }
}

function fillAt(row: Float32Array, ids: readonly number[], value: number): void {
  for (const id of ids) if (id < row.length) row[id] = value;
}

/** No eos before the sequence, prompt included, has `min_length` tokens. */
export class MinLengthLogitsProcessor extends LogitsProcessor {
  private readonly eos: number[];
  constructor(
    private readonly min_length: number,
    eos_token_id: number | readonly number[],
  ) {
    super();
    this.eos = requireIds('eos_token_id', eos_token_id);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids) => {
      if (ids.length < this.min_length) fillAt(row, this.eos, banned);
    });
  }
}

/** No eos before `min_new_tokens` tokens follow the prompt. */
export class MinNewTokensLengthLogitsProcessor extends MinLengthLogitsProcessor {
  constructor(prompt_length_to_skip: number, min_new_tokens: number, eos_token_id: number | readonly number[]) {
    super(prompt_length_to_skip + min_new_tokens, eos_token_id);
  }
}

/** Which tokens may follow: called with the row of the batch and the ids so far. */
export type PrefixAllowedTokens = (batch_id: number, input_ids: number[]) => readonly number[];

/** Bans all tokens but those that a function allows: `prefix_allowed_tokens_fn`. */
export class PrefixConstrainedLogitsProcessor extends LogitsProcessor {
  constructor(
    private readonly prefix_allowed_tokens_fn: PrefixAllowedTokens,
    private readonly num_beams: number,
  ) {
    super();
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids, i) => {
      const allowed = this.prefix_allowed_tokens_fn(Math.floor(i / this.num_beams), ids.map(Number));
      if (!Array.isArray(allowed) || allowed.length === 0 || !allowed.every(isTokenId)) {
        const what = Array.isArray(allowed) && allowed.length === 0 ? 'an empty list: no token may follow' : 'no list of token ids'; // biome-ignore format: one expression
        throw new ModelcError('input', `\`prefix_allowed_tokens_fn\` returned ${what}`);
      }
      const kept = [...allowed].filter((id) => id < row.length).map((id): [number, number] => [id, row[id]]);
      row.fill(banned);
      for (const [id, score] of kept) row[id] = score;
    });
  }
}

function force(row: Float32Array, ids: readonly number[]): void {
  row.fill(banned);
  fillAt(row, ids, 0);
}

/** Forces the second token of a row: `forced_bos_token_id`. */
export class ForcedBOSTokenLogitsProcessor extends LogitsProcessor {
  constructor(private readonly bos_token_id: number) {
    super();
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids) => {
      if (ids.length === 1) force(row, [this.bos_token_id]);
    });
  }
}

/** Forces the last token of a row: `forced_eos_token_id`. */
export class ForcedEOSTokenLogitsProcessor extends LogitsProcessor {
  private readonly eos: number[];
  constructor(
    private readonly max_length: number,
    eos_token_id: number | readonly number[],
  ) {
    super();
    this.eos = requireIds('eos_token_id', eos_token_id);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids) => {
      if (ids.length === this.max_length - 1) force(row, this.eos);
    });
  }
}

/** Makes NaN 0, and infinite scores the largest and least finite ones: `remove_invalid_values`. */
export class InfNanRemoveLogitsProcessor extends LogitsProcessor {
  _call(input_ids: bigint[][], logits: Scores): Scores {
    const { min, max } = dtypeInfo.f32;
    return eachRow(input_ids, logits, (row) => {
      for (let i = 0; i < row.length; i++) {
        if (Number.isNaN(row[i])) row[i] = 0;
        else if (row[i] === Number.POSITIVE_INFINITY) row[i] = max;
        else if (row[i] === banned) row[i] = min;
      }
    });
  }
}

/** Raises the score of eos by |score| * (factor^k - 1), k tokens after `start` new ones. */
export class ExponentialDecayLengthPenalty extends LogitsProcessor {
  private readonly start: number;
  private readonly factor: number;
  private readonly eos: number[];
  constructor(
    exponential_decay_length_penalty: readonly [start: number, factor: number],
    eos_token_id: number | readonly number[],
    input_ids_seq_length: number,
  ) {
    super();
    this.start = exponential_decay_length_penalty[0] + input_ids_seq_length;
    this.factor = exponential_decay_length_penalty[1];
    this.eos = requireIds('eos_token_id', eos_token_id);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids) => {
      const beyond = ids.length - this.start;
      if (beyond <= 0) return;
      for (const id of this.eos) row[id] += Math.abs(row[id]) * (this.factor ** beyond - 1);
    });
  }
}

/** Bans tokens: `suppress_tokens`. */
export class SuppressTokensLogitsProcessor extends LogitsProcessor {
  private readonly tokens: number[];
  constructor(suppress_tokens: readonly number[]) {
    super();
    this.tokens = requireIds('suppress_tokens', suppress_tokens);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => fillAt(row, this.tokens, banned));
  }
}

/** Bans tokens as the first one after `begin_index` tokens. */
export class SuppressTokensAtBeginLogitsProcessor extends LogitsProcessor {
  private readonly tokens: number[];
  constructor(
    begin_suppress_tokens: readonly number[],
    private readonly begin_index: number,
  ) {
    super();
    this.tokens = requireIds('begin_suppress_tokens', begin_suppress_tokens);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row, ids) => {
      if (ids.length === this.begin_index) fillAt(row, this.tokens, banned);
    });
  }
}

/** Log-softmax: scores that sum to one again after other processors. */
export class LogitNormalization extends LogitsProcessor {
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => logSoftmaxInPlace(row));
  }
}
