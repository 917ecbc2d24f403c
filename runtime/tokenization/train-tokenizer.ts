// Tokenizers that are learned from texts, as the trainers of Hugging Face's tokenizers do: byte-level BPE, whose tokens are
// made of bytes, and WordPiece, whose tokens are made of characters. What is learned are the pairs of tokens that become
// one (learn-merges.ts); a tokenizer differs in what words are and what they are made of.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { byteCharacters } from './backend/characters.ts';
import { shown } from './backend/fields.ts';
import { learnMerges } from './learn-merges.ts';
import type { TokenizerFiles } from './types.ts';

/** How a tokenizer is learned from texts. */
export interface TrainTokenizerOptions {
  /** 'BPE' (default), as GPT-2's; 'WordPiece': as BERT's, of words in lower case without accents. */
  model?: 'BPE' | 'WordPiece';
  /** Tokens in the end, special ones and all bytes or characters included. */
  vocab_size: number;
  /** The tokens that come first. BPE: the first one ends texts and stands for padding; WordPiece: those of BERT's roles. */
  special_tokens?: readonly string[];
  /** How often a pair must be seen to become a token (2). */
  min_frequency?: number;
  /** Tokens of a text that the model reads at most, for `truncation`. */
  model_max_length?: number;
}

/**
 * The files of a tokenizer for texts like these; createTokenizer makes the tokenizer of them.
 *
 *     const files = train_tokenizer(['Once upon a time', 'there was a hen.'], { vocab_size: 300 })
 *     const made = createTokenizer(files)
 */
export function train_tokenizer(texts: Iterable<string>, options: TrainTokenizerOptions): TokenizerFiles {
  checkTraining(texts, options);
  const { tokenizer, config } =
    options.model === 'WordPiece' ? wordPiece(texts, options) : byteLevelBpe(texts, options);
  const { model_max_length } = options;
  return {
    where: 'the tokenizer that was trained',
    tokenizer: { version: '1.0', truncation: null, padding: null, ...tokenizer },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: false,
      ...config,
      ...(model_max_length !== undefined && { model_max_length }),
    },
    chatTemplates: {},
  };
}

/** Options of the trainers of tokenizers that are not served, with the value that asks for nothing. */
const unserved = {
  show_progress: null,
  limit_alphabet: null,
  initial_alphabet: null,
  continuing_subword_prefix: '##',
  end_of_word_suffix: null,
  max_token_length: null,
};

function checkTraining(texts: unknown, options: TrainTokenizerOptions): void {
  const names = ['model', 'vocab_size', 'special_tokens', 'min_frequency', 'model_max_length'];
  checkOptions('train_tokenizer', options, names, unserved);
  const fail = (name: string, wanted: string, value: unknown): never => {
    throw new ModelcError('input', `${name} of train_tokenizer must be ${wanted}, but is ${shown(value)}`);
  };
  const isList = typeof texts === 'object' && texts !== null && Symbol.iterator in texts;
  if (!isList) fail('the first argument', 'a list of texts', texts);
  const { model, special_tokens, min_frequency, model_max_length } = options ?? fail('options', 'an object', options);
  if (model !== undefined && model !== 'BPE' && model !== 'WordPiece') fail('model', "'BPE' or 'WordPiece'", model);
  const isNames = special_tokens === undefined || (Array.isArray(special_tokens) && special_tokens.every((t) => typeof t === 'string' && t !== '')); // biome-ignore format: one expression
  if (!isNames) fail('special_tokens', 'a list of texts', special_tokens);
  for (const [name, value] of Object.entries({ min_frequency, model_max_length })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 0)) fail(name, 'an integer of at least 0', value);
  }
}

type Parts = Pick<TokenizerFiles, 'tokenizer' | 'config'>;

const specialTokens = (contents: readonly string[]): object[] =>
  contents.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));

/** How often each word is there. */
function count(texts: Iterable<string>, wordsOf: (text: string) => Iterable<string>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) {
    if (typeof text !== 'string') throw new ModelcError('input', `a text must be a string, but is ${shown(text)}`);
    for (const word of wordsOf(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return counts;
}

/** The words of GPT-2: a space belongs to the word that follows it. */
const gptWords = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

function byteLevelBpe(
  texts: Iterable<string>,
  { vocab_size, special_tokens = ['<|endoftext|>'], min_frequency = 2 }: TrainTokenizerOptions,
): Parts {
  const encoder = new TextEncoder();
  const counts = count(texts, (text) => text.match(gptWords) ?? []);
  const { vocab, merges } = learnMerges({
    words: [...counts].map(([word, n]) => [Array.from(encoder.encode(word), (b) => byteCharacters[b]), n]),
    first: [...special_tokens, ...[...byteCharacters].sort()],
    vocab_size,
    min_frequency,
    join: (a, b) => a + b,
  });
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const model = {
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
  };
  const [first] = special_tokens;
  return {
    tokenizer: {
      added_tokens: specialTokens(special_tokens),
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model,
    },
    config: first === undefined ? {} : { bos_token: first, eos_token: first, pad_token: first },
  };
}

/** The roles of BERT's special tokens, in the order in which they are given. */
const bertRoles = ['pad_token', 'unk_token', 'cls_token', 'sep_token', 'mask_token'] as const;
const bertTokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'];

/** The words of BERT: punctuation marks and Chinese characters are words of their own. */
const bertWords = /[\p{P}$+<=>^`|~]|\p{Script=Han}|(?:(?!\p{Script=Han})[^\s\p{P}$+<=>^`|~\p{Cc}])+/gu;
const plain = (text: string): string => text.toLowerCase().normalize('NFD').replace(/\p{Mn}/gu, ''); // biome-ignore format: one expression

/** What tokens begin with that do not begin a word. */
const continuing = '##';

function wordPiece(
  texts: Iterable<string>,
  { vocab_size, special_tokens = bertTokens, min_frequency = 2 }: TrainTokenizerOptions,
): Parts {
  const counts = count(texts, (text) => plain(text).match(bertWords) ?? []);
  const words = [...counts].map(
    ([word, n]) => [Array.from(word, (c, i) => (i === 0 ? c : continuing + c)), n] as const,
  );
  const { vocab } = learnMerges({
    words,
    first: [...special_tokens, ...[...new Set(words.flatMap(([symbols]) => symbols))].sort()],
    vocab_size,
    min_frequency,
    join: (a, b) => a + b.slice(continuing.length),
  });
  const roles = Object.fromEntries(bertRoles.map((role, i) => [role, special_tokens[i] ?? bertTokens[i]]));
  for (const token of Object.values(roles)) requireToken(token, vocab);
  const { unk_token, cls_token, sep_token } = roles;
  const special = (id: string, type_id: number) => ({ SpecialToken: { id, type_id } });
  const sequence = (id: string, type_id: number) => ({ Sequence: { id, type_id } });
  return {
    tokenizer: {
      added_tokens: specialTokens(special_tokens),
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: null,
        lowercase: true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: {
        type: 'TemplateProcessing',
        single: [special(cls_token, 0), sequence('A', 0), special(sep_token, 0)],
        pair: [special(cls_token, 0), sequence('A', 0), special(sep_token, 0), sequence('B', 1), special(sep_token, 1)],
        special_tokens: Object.fromEntries(
          [cls_token, sep_token].map((id) => [id, { id, ids: [vocab[id]], tokens: [id] }]),
        ),
      },
      decoder: { type: 'WordPiece', prefix: continuing, cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token,
        continuing_subword_prefix: continuing,
        max_input_chars_per_word: 100,
        vocab,
      },
    },
    config: { tokenizer_class: 'BertTokenizer', do_lower_case: true, padding_side: 'right', ...roles },
  };
}

function requireToken(token: string, vocab: Readonly<Record<string, number>>): void {
  if (Object.hasOwn(vocab, token)) return;
  throw new ModelcError(
    'input',
    `special_tokens of a WordPiece tokenizer are five, for padding, unknown words, beginning, end and masks; ${token} is missing`,
  );
}
