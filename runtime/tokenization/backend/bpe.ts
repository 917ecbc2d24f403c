// Byte-pair encoding (Sennrich et al., "Neural machine translation of rare words with subword units", 2016): the pair of
// neighbours that was learned first becomes one token, again and again, from left to right.
import { utf8 } from './characters.ts';
import type { Fields } from './fields.ts';
import type { Model } from './model.ts';
import { Vocabulary } from './vocabulary.ts';
import { WordCache } from './word-cache.ts';

/** Two ids as one number. */
const pairOf = (a: number, b: number): number => a * 2 ** 24 + b;

const byteTokens = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);

/** The ids of words of so many symbols are merged by looking at all pairs; of longer ones, with a heap. */
const short = 48;

/** Ranks of pairs, and what a pair becomes by its rank. */
interface Merges {
  readonly ranks: ReadonlyMap<number, number>;
  readonly results: readonly number[];
}

export function bpe(fields: Fields): Model {
  if (fields.has('dropout') && fields.value.dropout !== 0) fields.unsupported('a BPE model with dropout');
  const vocabulary = Vocabulary.of(fields);
  const prefix = fields.optionalString('continuing_subword_prefix') ?? '';
  const suffix = fields.optionalString('end_of_word_suffix') ?? '';
  const merges = readMerges(fields, vocabulary, prefix);
  const symbols = symbolsOf(fields, vocabulary, prefix, suffix);
  const takesWholeWords = fields.boolean('ignore_merges', false);
  const cache = new WordCache();
  const encode = (word: string, ids: number[]): void => {
    if (word === '' || cache.add(word, ids)) return;
    const whole = takesWholeWords ? vocabulary.idOf(word) : undefined;
    const tokens = whole === undefined ? merged(symbols(word), merges) : [whole];
    cache.keep(word, tokens);
    for (const id of tokens) ids.push(id);
  };
  return { type: 'BPE', vocabulary, encode };
}

function readMerges(fields: Fields, vocabulary: Vocabulary, prefix: string): Merges {
  const ranks = new Map<number, number>();
  const results: number[] = [];
  const list = fields.list('merges', []);
  if (list.length > 2 ** 24) fields.fail('merges', `a list of at most ${2 ** 24}`);
  for (const [rank, merge] of list.entries()) {
    const parts: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    const at = `merges[${rank}]`;
    if (!Array.isArray(parts) || parts.length !== 2) fields.fail(at, 'a pair of tokens', merge);
    const id = (token: unknown): number =>
      (typeof token === 'string' ? vocabulary.idOf(token) : undefined) ?? fields.fail(at, 'a pair of tokens of model.vocab that make one of its tokens', token); // biome-ignore format: one expression
    const [a, b] = [id(parts[0]), id(parts[1])];
    ranks.set(pairOf(a, b), rank);
    results.push(id(String(parts[0]) + String(parts[1]).slice(prefix.length)));
  }
  return { ranks, results };
}

/** The ids of a word's characters. */
function symbolsOf(fields: Fields, vocabulary: Vocabulary, prefix: string, suffix: string): (word: string) => number[] {
  const unk = fields.optionalString('unk_token');
  const fuses = fields.boolean('fuse_unk', false);
  const bytes = fields.boolean('byte_fallback', false) ? byteTokens.map((token) => vocabulary.idOf(token)) : undefined;
  const unknown = (): number => vocabulary.idOf(unk ?? '') ?? fields.fail('unk_token', 'a token of model.vocab', unk);
  return (word) => {
    const ids: number[] = [];
    let pending: number | undefined;
    const end = word.length;
    let at = 0;
    for (const c of word) {
      let symbol = at > 0 ? prefix + c : c;
      at += c.length;
      if (at === end) symbol += suffix;
      const id = vocabulary.idOf(symbol);
      if (id === undefined) {
        const fallback = bytes && Array.from(utf8(symbol), (byte) => bytes[byte]);
        if (fallback?.every((byte) => byte !== undefined)) ids.push(...fallback);
        else if (unk !== undefined) {
          if (pending !== undefined && !fuses) ids.push(pending);
          pending = unknown();
        }
        continue;
      }
      if (pending !== undefined) ids.push(pending);
      pending = undefined;
      ids.push(id);
    }
    if (pending !== undefined) ids.push(pending);
    return ids;
  };
}

function merged(ids: number[], merges: Merges): readonly number[] {
  if (ids.length > short) return mergedByHeap(ids, merges);
  const { ranks, results } = merges;
  const rankAt = (i: number): number => ranks.get(pairOf(ids[i], ids[i + 1])) ?? Number.POSITIVE_INFINITY;
  const found = Array.from({ length: Math.max(0, ids.length - 1) }, (_, i) => rankAt(i));
  while (found.length > 0) {
    let best = 0;
    for (let i = 1; i < found.length; i++) if (found[i] < found[best]) best = i;
    if (found[best] === Number.POSITIVE_INFINITY) break;
    ids[best] = results[found[best]];
    ids.splice(best + 1, 1);
    found.splice(best, 1);
    if (best > 0) found[best - 1] = rankAt(best - 1);
    if (best < found.length) found[best] = rankAt(best);
  }
  return ids;
}

/** The same with a heap of pairs, whose entries are ranks and places as one number; what is outdated is passed over. */
function mergedByHeap(ids: number[], { ranks, results }: Merges): readonly number[] {
  const next = Int32Array.from(ids, (_, i) => (i + 1 < ids.length ? i + 1 : -1));
  const previous = Int32Array.from(ids, (_, i) => i - 1);
  const heap = new Heap();
  const push = (i: number): void => {
    const rank = i < 0 || next[i] < 0 ? undefined : ranks.get(pairOf(ids[i], ids[next[i]]));
    if (rank !== undefined) heap.push(rank * 2 ** 28 + i);
  };
  for (let i = 0; i + 1 < ids.length; i++) push(i);
  for (let top = heap.pop(); top !== undefined; top = heap.pop()) {
    const rank = Math.floor(top / 2 ** 28);
    const i = top % 2 ** 28;
    const other = next[i];
    if (ids[i] < 0 || other < 0 || ranks.get(pairOf(ids[i], ids[other])) !== rank) continue;
    ids[i] = results[rank];
    ids[other] = -1;
    next[i] = next[other];
    if (next[i] >= 0) previous[next[i]] = i;
    push(previous[i]);
    push(i);
  }
  return ids.filter((id) => id >= 0);
}

/** Numbers, the least first. */
class Heap {
  private readonly values: number[] = [];

  push(value: number): void {
    const { values } = this;
    let i = values.push(value) - 1;
    for (let up = (i - 1) >> 1; i > 0 && value < values[up]; up = (i - 1) >> 1) {
      values[i] = values[up];
      i = up;
    }
    values[i] = value;
  }

  pop(): number | undefined {
    const { values } = this;
    const top = values[0];
    const last = values.pop();
    if (last === undefined || values.length === 0) return last;
    let i = 0;
    for (let child = 1; child < values.length; child = 2 * i + 1) {
      if (child + 1 < values.length && values[child + 1] < values[child]) child++;
      if (values[child] >= last) break;
      values[i] = values[child];
      i = child;
    }
    values[i] = last;
    return top;
  }
}
