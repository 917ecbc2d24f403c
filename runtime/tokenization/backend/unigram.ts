// Unigram (Kudo, "Subword regularization", 2018): of all ways to write a text in tokens, the one whose scores sum to most.
import { ModelcError } from '../../../ir/error.ts';
import { utf8 } from './characters.ts';
import type { Fields } from './fields.ts';
import type { Model } from './model.ts';
import { Vocabulary } from './vocabulary.ts';
import { WordCache } from './word-cache.ts';

/** What an unknown character scores below the worst token. */
const penalty = 10;

/** How long a token may be. */
const longest = 512;

/** Tokens as a trie of code points, in which a node's children are found by node and code point as one number. */
class Trie {
  private readonly children = new Map<number, number>();
  /** Ids by node, -1 where no token ends. */
  private readonly leaves: number[] = [-1];

  add(token: string, id: number): void {
    let node = 0;
    for (const c of token) {
      const key = node * 2 ** 21 + c.codePointAt(0)!;
      let child = this.children.get(key);
      if (child === undefined) {
        child = this.leaves.push(-1) - 1;
        this.children.set(key, child);
      }
      node = child;
    }
    this.leaves[node] = id;
  }

  child(node: number, point: number): number | undefined {
    return this.children.get(node * 2 ** 21 + point);
  }
  leaf(node: number): number {
    return this.leaves[node];
  }
}

interface Lattice {
  readonly trie: Trie;
  readonly scores: Float64Array;
  readonly unknown: number | undefined;
  readonly unknownScore: number;
}

export function unigram(fields: Fields): Model {
  const tokens = fields.list('vocab').map((entry, i) => {
    const isEntry = Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && Number.isFinite(entry[1]); // biome-ignore format: one expression
    return isEntry ? (entry as [string, number]) : fields.fail(`vocab[${i}]`, 'a token and its score', entry);
  });
  const unknown = fields.has('unk_id') ? fields.integer('unk_id') : undefined;
  if (unknown !== undefined && unknown >= tokens.length) fields.fail('unk_id', `an id below ${tokens.length}`);
  const long = tokens.find(([token]) => token.length > longest);
  // Every place of a text is compared with all of a token.
  if (long) fields.unsupported(`a token of ${long[0].length} characters in a Unigram model`);
  const vocabulary = new Vocabulary(new Map(tokens.map(([token], id) => [token, id])));
  const trie = new Trie();
  for (const [token, id] of vocabulary.entries()) if (token !== '') trie.add(token, id);
  const scores = Float64Array.from(tokens, ([, score]) => score);
  const worst = scores.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const lattice: Lattice = { trie, scores, unknown, unknownScore: worst - penalty };
  const hasBytes = fields.has('byte_fallback') && fields.boolean('byte_fallback');
  const bytes = hasBytes ? Array.from({ length: 256 }, (_, b) => vocabulary.idOf(byteToken(b))) : undefined;
  const cache = new WordCache();
  const encode = (word: string, ids: number[], names?: Map<number, string>): void => {
    if (cache.add(word, ids)) return;
    const first = ids.length;
    const named = names?.size;
    for (const piece of bestPieces(word, lattice, fields)) {
      const id = vocabulary.idOf(piece);
      if (id !== undefined) {
        ids.push(id);
        continue;
      }
      const fallback = bytes && Array.from(utf8(piece), (byte) => bytes[byte]);
      if (fallback?.every((byte) => byte !== undefined)) ids.push(...fallback);
      else if (unknown !== undefined) {
        names?.set(ids.length, piece);
        ids.push(unknown);
      }
    }
    if (names?.size === named) cache.keep(word, ids.slice(first));
  };
  return { type: 'Unigram', vocabulary, encode };
}

const byteToken = (b: number): string => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`;

function bestPieces(word: string, { trie, scores, unknown, unknownScore }: Lattice, fields: Fields): string[] {
  const n = word.length;
  const best = new Float64Array(n + 1);
  const from = new Int32Array(n + 1).fill(-1);
  const isUnknown = new Uint8Array(n + 1);
  const offer = (begin: number, end: number, score: number, unk: 0 | 1): void => {
    if (from[end] >= 0 && score <= best[end]) return;
    best[end] = score;
    from[end] = begin;
    isUnknown[end] = unk;
  };
  for (let begin = 0; begin < n; ) {
    const first = begin + lengthAt(word, begin);
    let hasFirst = false;
    let node: number | undefined = 0;
    for (let end = begin; end < n; ) {
      node = trie.child(node, word.codePointAt(end)!);
      if (node === undefined) break;
      end += lengthAt(word, end);
      const id = trie.leaf(node);
      if (id < 0) continue;
      offer(begin, end, best[begin] + scores[id], id === unknown ? 1 : 0);
      hasFirst ||= end === first;
    }
    if (!hasFirst) {
      if (unknown === undefined) {
        throw new ModelcError('parse', `${fields.file} names no model.unk_id, and a text has characters that no token has`); // biome-ignore format: one expression
      }
      offer(begin, first, best[begin] + unknownScore, 1);
    }
    begin = first;
  }
  return piecesOf(word, from, isUnknown);
}

/** From the end to the beginning; unknown neighbours are one piece. */
function piecesOf(word: string, from: Int32Array, isUnknown: Uint8Array): string[] {
  const pieces: string[] = [];
  for (let end = word.length; end > 0; ) {
    let begin = from[end];
    if (isUnknown[end]) while (begin > 0 && isUnknown[begin]) begin = from[begin];
    pieces.push(word.slice(begin, end));
    end = begin;
  }
  return pieces.reverse();
}

const lengthAt = (text: string, i: number): number => (text.codePointAt(i)! > 0xffff ? 2 : 1);
