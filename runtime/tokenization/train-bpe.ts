// Learns a byte-level BPE tokenizer from texts, as Hugging Face's trainer does: texts are cut into words, words into bytes,
// and the pair of neighbours that is most frequent becomes a token, again and again (Sennrich et al., "Neural machine
// translation of rare words with subword units", 2016). Of pairs that are equally frequent, the one of older tokens wins.
// A heap holds the pairs by their counts; counts only fall after a pair is pushed, so a stale entry is pushed back lower.
import { ModelcError } from '../../ir/error.ts';
import type { TokenizerFiles } from './types.ts';

export interface TrainTokenizerOptions {
  /** Tokens in the end, special ones and all 256 bytes included. */
  vocab_size: number;
  /** The tokens that come first. The first one ends texts and stands for padding. */
  special_tokens?: readonly string[];
  /** How often a pair must be seen to become a token (2). */
  min_frequency?: number;
  model_max_length?: number;
}

/** The files of a tokenizer for texts like these; createTokenizer makes the tokenizer of them. */
export function train_tokenizer(texts: Iterable<string>, options: TrainTokenizerOptions): TokenizerFiles {
  const { special_tokens = ['<|endoftext|>'], model_max_length } = options;
  const { vocab, merges } = trainBpe(wordCounts(texts), options);
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special_tokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  };
  const [first] = special_tokens;
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    clean_up_tokenization_spaces: false,
    ...(first !== undefined && { bos_token: first, eos_token: first, pad_token: first }),
    ...(model_max_length !== undefined && { model_max_length }),
  };
  return { where: 'the tokenizer that was trained', tokenizer, config, chatTemplates: {} };
}

/** The words of GPT-2: a space belongs to the word that follows it. */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable stand-in for every byte. */
const byteCharacters = ((): readonly string[] => {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
})();

/** How often each word is there, in printable bytes. */
function wordCounts(texts: Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const word of text.match(words) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const encoder = new TextEncoder();
  return new Map(
    [...counts].map(([word, count]) => [Array.from(encoder.encode(word), (b) => byteCharacters[b]).join(''), count]),
  );
}

interface Word {
  /** Ids of tokens. */
  ids: number[];
  readonly count: number;
}

/** Two ids as one number. */
const pairOf = (a: number, b: number): number => a * 2 ** 21 + b;
const partsOf = (pair: number): [number, number] => [Math.floor(pair / 2 ** 21), pair % 2 ** 21];

function trainBpe(
  counts: ReadonlyMap<string, number>,
  { vocab_size, special_tokens = ['<|endoftext|>'], min_frequency = 2 }: TrainTokenizerOptions,
): { vocab: Record<string, number>; merges: [string, string][] } {
  const tokens = [...special_tokens, ...[...byteCharacters].sort()];
  if (!Number.isInteger(vocab_size) || vocab_size < tokens.length || vocab_size > 2 ** 21) {
    throw new ModelcError(
      'input',
      `vocab_size must be an integer from ${tokens.length} (special tokens and bytes) to ${2 ** 21}, but is ${vocab_size}`,
    );
  }
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const list = [...counts].map(([word, count]): Word => ({ ids: [...word].map((c) => ids.get(c)!), count }));
  const pairs = new PairCounts();
  for (const [i, word] of list.entries()) pairs.add(word, i);
  pairs.pushAll();
  const merges: [string, string][] = [];
  while (tokens.length < vocab_size) {
    const pair = pairs.pop(Math.max(1, min_frequency));
    if (pair === undefined) break;
    const [a, b] = partsOf(pair);
    const token = tokens[a] + tokens[b];
    merges.push([tokens[a], tokens[b]]);
    const id = ids.get(token) ?? tokens.push(token) - 1;
    ids.set(token, id);
    for (const i of pairs.wordsOf(pair)) {
      pairs.remove(list[i]);
      list[i].ids = merged(list[i].ids, a, b, id);
      pairs.add(list[i], i);
    }
    pairs.forget(pair);
    pairs.pushAll();
  }
  return { vocab: Object.fromEntries(ids), merges };
}

function merged(ids: readonly number[], a: number, b: number, id: number): number[] {
  const out: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    if (ids[i] === a && ids[i + 1] === b) {
      out.push(id);
      i++;
    } else out.push(ids[i]);
  }
  return out;
}

/** How often pairs of neighbours are there, in which words, and which is the most frequent. */
class PairCounts {
  private readonly counts = new Map<number, number>();
  private readonly places = new Map<number, Set<number>>();
  private readonly heap: { pair: number; count: number }[] = [];
  /** Pairs that became more frequent since they were pushed. */
  private readonly raised = new Set<number>();

  add({ ids, count }: Word, place: number): void {
    for (let i = 0; i + 1 < ids.length; i++) {
      const pair = pairOf(ids[i], ids[i + 1]);
      this.counts.set(pair, (this.counts.get(pair) ?? 0) + count);
      const places = this.places.get(pair);
      if (places) places.add(place);
      else this.places.set(pair, new Set([place]));
      this.raised.add(pair);
    }
  }

  remove({ ids, count }: Word): void {
    for (let i = 0; i + 1 < ids.length; i++) {
      const pair = pairOf(ids[i], ids[i + 1]);
      this.counts.set(pair, this.counts.get(pair)! - count);
    }
  }

  wordsOf(pair: number): readonly number[] {
    return [...(this.places.get(pair) ?? [])];
  }

  forget(pair: number): void {
    this.counts.delete(pair);
    this.places.delete(pair);
  }

  pushAll(): void {
    for (const pair of this.raised) this.push(pair);
    this.raised.clear();
  }

  /** The most frequent pair, if it is there `least` times. */
  pop(least: number): number | undefined {
    for (let top = this.popTop(); top; top = this.popTop()) {
      const count = this.counts.get(top.pair) ?? 0;
      if (count === top.count) return count >= least ? top.pair : undefined;
      if (count > 0 && count < top.count) this.push(top.pair);
    }
    return undefined;
  }

  private push(pair: number): void {
    const entry = { pair, count: this.counts.get(pair) ?? 0 };
    const { heap } = this;
    let i = heap.length;
    heap.push(entry);
    for (let up = (i - 1) >> 1; i > 0 && before(entry, heap[up]); up = (i - 1) >> 1) {
      heap[i] = heap[up];
      i = up;
    }
    heap[i] = entry;
  }

  private popTop(): { pair: number; count: number } | undefined {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop();
    if (!last || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], last)) break;
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

/** More frequent first, then of older tokens. */
const before = (a: { pair: number; count: number }, b: { pair: number; count: number }): boolean =>
  a.count !== b.count ? a.count > b.count : a.pair < b.pair;
