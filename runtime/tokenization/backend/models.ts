// Models of a tokenizer.json: a word to ids of tokens. BPE and Unigram stand in files of their own.
import { ModelcError } from '../../../ir/error.ts';
import { bpe } from './bpe.ts';
import { type Fields, shown } from './fields.ts';
import type { Model } from './model.ts';
import { unigram } from './unigram.ts';
import { Vocabulary } from './vocabulary.ts';

const makers = { BPE: bpe, Unigram: unigram, WordLevel: wordLevel, WordPiece: wordPiece };
const types = Object.keys(makers) as readonly (keyof typeof makers)[];

export function makeModel(fields: Fields): Model {
  const type = fields.has('type') ? fields.type('model', types) : typeOf(fields);
  return makers[type](fields);
}

/** The type of a model of an old file, which does not name it. */
function typeOf(fields: Fields): keyof typeof makers {
  if (fields.has('merges')) return 'BPE';
  if (fields.has('continuing_subword_prefix')) return 'WordPiece';
  if (Array.isArray(fields.value.vocab)) return 'Unigram';
  if (fields.has('unk_token') && fields.has('vocab')) return 'WordLevel';
  return fields.fail('type', `one of ${types.join(', ')}`);
}

/** The id of the token for unknown words, which throws where a word needs it and there is none. */
function unknownOf(fields: Fields, vocabulary: Vocabulary): () => number {
  const token = fields.string('unk_token', fields.path === '' ? undefined : '[UNK]');
  const id = vocabulary.idOf(token);
  return () => {
    if (id !== undefined) return id;
    throw new ModelcError(
      'parse',
      `${fields.file} names ${shown(token)} as model.unk_token, which model.vocab lacks, and a word needs it`,
    );
  };
}

function wordLevel(fields: Fields): Model {
  const vocabulary = Vocabulary.of(fields);
  const unknown = unknownOf(fields, vocabulary);
  return { type: 'WordLevel', vocabulary, encode: (word, ids) => ids.push(vocabulary.idOf(word) ?? unknown()) };
}

function wordPiece(fields: Fields): Model {
  const vocabulary = Vocabulary.of(fields);
  const unknown = unknownOf(fields, vocabulary);
  const prefix = fields.string('continuing_subword_prefix', '##');
  const longest = fields.integer('max_input_chars_per_word', 100);
  let longestToken = 0;
  for (const [token] of vocabulary.entries()) longestToken = Math.max(longestToken, token.length);
  const encode = (word: string, ids: number[]): void => {
    const characters = Array.from(word);
    if (characters.length > longest) {
      ids.push(unknown());
      return;
    }
    const before = ids.length;
    for (let begin = 0; begin < characters.length; ) {
      let end = Math.min(characters.length, begin + longestToken);
      let id: number | undefined;
      for (; end > begin; end--) {
        const piece = characters.slice(begin, end).join('');
        id = vocabulary.idOf(begin > 0 ? prefix + piece : piece);
        if (id !== undefined) break;
      }
      if (id === undefined) {
        ids.length = before;
        ids.push(unknown());
        return;
      }
      ids.push(id);
      begin = end;
    }
  };
  return { type: 'WordPiece', vocabulary, encode };
}
