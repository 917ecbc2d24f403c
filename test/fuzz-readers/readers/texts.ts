// Tokenizers and chat templates.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { AutoTokenizer, createTokenizer, ModelcError, train_tokenizer } from '../../../runtime/index.ts';
import { mutateJson, mutateText } from '../json.ts';
import type { Random } from '../random.ts';
import type { Prepare } from '../reader.ts';
import { randomTemplate, templateSeeds } from '../template.ts';

interface Seed {
  readonly tokenizer: Readonly<Record<string, unknown>>;
  readonly config: Readonly<Record<string, unknown>>;
}

const words = ['the cat sat on the mat', 'a dog, and an old dog', 'Über 12 naïve cafés'];

/** Parts of tokenizer.json in the forms that they have in the field, for seeds that have others. */
const parts: Readonly<Record<string, readonly unknown[]>> = {
  normalizer: [
    null,
    { type: 'Lowercase' },
    { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }, { type: 'Prepend', prepend: '▁' }] },
    { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
    { type: 'Strip', strip_left: true, strip_right: false },
    { type: 'Precompiled', precompiled_charsmap: 'AAAA' },
    { type: 'Nmt' },
  ],
  pre_tokenizer: [
    null,
    { type: 'Whitespace' },
    { type: 'WhitespaceSplit' },
    { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    { type: 'Digits', individual_digits: true },
    { type: 'Punctuation', behavior: 'Isolated' },
    { type: 'Split', pattern: { Regex: "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+" }, behavior: 'Isolated', invert: false },
    { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithNext', invert: true }, { type: 'ByteLevel', add_prefix_space: false, use_regex: false }] },
  ],
  post_processor: [
    null,
    { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false },
    { type: 'BertProcessing', sep: ['[SEP]', 2], cls: ['[CLS]', 1] },
    { type: 'RobertaProcessing', sep: ['</s>', 2], cls: ['<s>', 1], trim_offsets: true, add_prefix_space: false },
    { type: 'TemplateProcessing', single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }], pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }], special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } } },
  ],
  decoder: [
    null,
    { type: 'ByteLevel' },
    { type: 'WordPiece', prefix: '##', cleanup: true },
    { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }] },
    { type: 'CTC', pad_token: '<pad>', word_delimiter_token: '|', cleanup: true },
    { type: 'BPEDecoder', suffix: '</w>' },
  ],
}; // biome-ignore format: one table

const token = (id: number, content: string, special = true) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }); // biome-ignore format: one row

function seeds(): Seed[] {
  const learned = (['BPE', 'WordPiece'] as const).map((model) => train_tokenizer(words, { model, vocab_size: model === 'BPE' ? 300 : 70 })); // biome-ignore format: one row
  const plain = { version: '1.0', truncation: null, padding: null, normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null }; // biome-ignore format: one row
  const pieces = ['<unk>', '<s>', '</s>', '▁', '▁the', '▁cat', 't', 'h', 'e', 'a', 'c'].map((piece, i) => [
    piece,
    -i / 2,
  ]);
  return [
    ...learned,
    {
      tokenizer: {
        ...plain,
        added_tokens: [token(0, '<unk>'), token(1, '<s>'), token(2, '</s>'), token(11, '<extra>', false)],
        normalizer: parts.normalizer[3],
        decoder: parts.decoder[3],
        model: { type: 'Unigram', unk_id: 0, vocab: pieces, byte_fallback: false },
      },
      config: { unk_token: '<unk>', bos_token: token(1, '<s>'), eos_token: '</s>', tokenizer_class: 'T5Tokenizer' },
    },
    {
      tokenizer: {
        ...plain,
        added_tokens: [token(0, '[UNK]')],
        pre_tokenizer: { type: 'Whitespace' },
        model: { type: 'WordLevel', vocab: { '[UNK]': 0, the: 1, cat: 2 }, unk_token: '[UNK]' },
      },
      config: {
        added_tokens_decoder: { 3: token(3, '<x>') },
        additional_special_tokens: ['<y>'],
        unk_token: '[UNK]',
        model_max_length: 8,
      },
    },
    ...sharedSeeds(),
  ];
}

/** Tokenizers that lie beside the repository, where they do. */
function sharedSeeds(): Seed[] {
  const folder = resolve('../shared/data/field');
  if (!existsSync(folder)) return [];
  const json = (path: string): Record<string, unknown> =>
    JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .filter((path) => existsSync(join(path, 'tokenizer.json')))
    .map((path) => ({
      tokenizer: json(join(path, 'tokenizer.json')),
      config: json(join(path, 'tokenizer_config.json')),
    }));
}

/** A seed with other parts, so that they meet; what changes it then is small beside a vocabulary. */
function mixed({ tokenizer, config }: Seed, random: Random): Seed {
  const others = Object.entries(parts).flatMap(([name, forms]) =>
    random.chance(0.2) ? [[name, random.pick(forms)]] : [],
  );
  return { tokenizer: { ...tokenizer, ...Object.fromEntries(others) }, config };
}

export const tokenizer: Prepare = async () => {
  const all = seeds();
  const donors = [...Object.values(parts).flat(), ...all.map(({ config }) => config)];
  return {
    make(random) {
      const { tokenizer: json, config } = mixed(random.pick(all), random);
      const { model, ...rest } = json;
      const isConfig = random.chance(0.3);
      const { vocab, merges, ...small } = model as Record<string, unknown>;
      // the vocabulary is most of the file, and the least of what is read of it: it is changed now and then
      const whole = random.chance(0.2);
      const changed = isConfig
        ? JSON.stringify(json)
        : mutateJson(whole ? json : { ...rest, model: small }, random, donors);
      const text = isConfig || whole ? changed : withVocabulary(changed, vocab, merges);
      return {
        'tokenizer.json': text,
        'tokenizer_config.json': isConfig ? mutateJson(config, random, donors) : JSON.stringify(config),
        ...(random.chance(0.1) && { 'special_tokens_map.json': mutateJson(config, random, donors) }),
        ...(random.chance(0.1) && { 'added_tokens.json': mutateJson({ '<x>': 400, '<y>': 401 }, random) }),
        ...(random.chance(0.05) && { 'chat_template.jinja': random.pick(templateSeeds) }),
      };
    },
    async use(folder) {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      for (const text of ['the cat  sat', 'Ünï 🙂 <s>', ''])
        tokenizer.decode(tokenizer.encode(text), { skip_special_tokens: true });
      try {
        tokenizer(['the cat', 'a'], { padding: true, truncation: true, max_length: 6 });
      } catch (error) {
        // without a padding token a batch is refused, which is no fault of the files
        if (!(error instanceof ModelcError && error.code === 'input')) throw error;
      }
    },
  };
};

/** Puts vocabulary and merges back into the text of a file without them. */
function withVocabulary(text: string, vocab: unknown, merges: unknown): string {
  const at = text.indexOf('"model":{');
  if (at < 0) return text;
  const fields = JSON.stringify({ vocab, merges }).slice(1, -1);
  const start = at + '"model":{'.length;
  return `${text.slice(0, start)}${fields}${text[start] === '}' ? '' : ','}${text.slice(start)}`;
}

export const template: Prepare = async () => {
  const files = train_tokenizer(words, { vocab_size: 300 });
  const chat = [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Hi' },
    { role: 'assistant', content: 'Yo' },
  ];
  const tools = [
    {
      type: 'function',
      function: { name: 'f', parameters: { type: 'object', properties: { a: { type: 'string' } } } },
    },
  ];
  return {
    make: (random) => ({
      'chat_template.jinja': random.chance(0.5)
        ? mutateText(random.pick(templateSeeds), random, templateSeeds)
        : randomTemplate(random),
    }),
    async use(folder) {
      const source = readFileSync(join(folder, 'chat_template.jinja'), 'utf8');
      const tokenizer = createTokenizer({ ...files, where: folder, chatTemplates: { default: source } });
      tokenizer.apply_chat_template(chat, { tokenize: false, add_generation_prompt: true });
      tokenizer.apply_chat_template(chat, { tokenize: false, tools });
    },
  };
};
