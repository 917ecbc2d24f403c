// What a model of a tokenizer.json does.
import type { Vocabulary } from './vocabulary.ts';

export interface Model {
  readonly type: 'BPE' | 'Unigram' | 'WordLevel' | 'WordPiece';
  readonly vocabulary: Vocabulary;
  /** Adds the ids of a word's tokens. `names`, if given: the texts of tokens that have another than their vocabulary's. */
  encode(word: string, ids: number[], names?: Map<number, string>): void;
}
