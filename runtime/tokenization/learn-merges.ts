// Learns tokens from words as Hugging Face's trainers do: words begin as sequences of symbols, and the pair of neighbours that
// is most frequent becomes a token, again and again (Sennrich et al., "Neural machine translation of rare words with subword
// units", 2016). Of pairs that are equally frequent, the one of older tokens wins. A heap holds the pairs by their counts;
// counts only fall after a pair is pushed, so a stale entry is pushed back lower.
import { ModelcError } from '../../ir/error.ts';

export interface LearnOptions {
  /** Words as their first tokens, and how often each is there. */
  readonly words: Iterable<readonly [symbols: readonly string[], count: number]>;
  /** The tokens that come first; the symbols of all words are among them. */
  readonly first: readonly string[];
  /** Tokens in the end. */
  readonly vocab_size: number;
  /** How often a pair must be seen to become a token. */
  readonly min_frequency: number;
  /** The token that two tokens become. */
  readonly join: (a: string, b: string) => string;
}

export interface Learned {
  /** Ids by token. */
  readonly vocab: Record<string, number>;
  /** Pairs that became tokens, in order. */
  readonly merges: readonly (readonly [string, string])[];
}

interface Word {
  /** Ids of tokens. */
  ids: number[];
  readonly count: number;
}

/** Two ids as one number. */
const pairOf = (a: number, b: number): number => a * 2 ** 21 + b;
const partsOf = (pair: number): [number, number] => [Math.floor(pair / 2 ** 21), pair % 2 ** 21];

/** Throws ModelcError 'input' for a vocab_size that does not hold the first tokens. */
export function learnMerges({ words, first, vocab_size, min_frequency, join }: LearnOptions): Learned {
  const tokens = [...first];
  if (!Number.isInteger(vocab_size) || vocab_size < tokens.length || vocab_size > 2 ** 21) {
    throw new ModelcError(
      'input',
      `vocab_size must be an integer from ${tokens.length} (special tokens and single symbols) to ${2 ** 21}, but is ${vocab_size}`,
    );
  }
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const list = Array.from(words, ([symbols, count]): Word => ({ ids: symbols.map((s) => ids.get(s)!), count }));
  const pairs = new PairCounts();
  for (const [i, word] of list.entries()) pairs.add(word, i);
  pairs.pushAll();
  const merges: [string, string][] = [];
  while (tokens.length < vocab_size) {
    const pair = pairs.pop(Math.max(1, min_frequency));
    if (pair === undefined) break;
    const [a, b] = partsOf(pair);
    const token = join(tokens[a], tokens[b]);
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
