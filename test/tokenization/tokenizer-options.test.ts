// Options of tokenizers' calls: each takes effect as in Python, or is refused by name; so are values of a wrong kind.
import { describe, expect, test } from 'vitest';
import { createTokenizer, StopStringCriteria, type TokenizeOptions, train_tokenizer } from '../../runtime/index.ts';

const vocab = ['[PAD]', '[CLS]', '[SEP]', '[UNK]', 'a', 'b', 'c', 'd', 'e'];
const tokenizer = createTokenizer({
  where: 'FOLDER',
  tokenizer: {
    model: { type: 'WordPiece', vocab: Object.fromEntries(vocab.map((t, i) => [t, i])), unk_token: '[UNK]' },
    pre_tokenizer: { type: 'Whitespace' },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
  },
  config: { tokenizer_class: 'BertTokenizer', mask_token: '[UNK]', model_max_length: 8 },
  chatTemplates: { default: '{% for m in messages %}{{ m.content }}{% endfor %}' },
});
const lists = (text: string | string[], options: TokenizeOptions): Record<string, unknown> => ({
  ...tokenizer(text, { ...options, return_tensor: false }),
});
const ids = (text: string | string[], options: TokenizeOptions): unknown => lists(text, options).input_ids;

describe('served as in Python', () => {
  const texts = ['a b', 'a b c d'];
  test("padding: right by default, 'do_not_pad' is none, a side for one call, a multiple", () => {
    expect(lists(texts, { padding: true })).toEqual({
      input_ids: [
        [1, 4, 5, 2, 0, 0],
        [1, 4, 5, 6, 7, 2],
      ],
      token_type_ids: [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
      ],
      attention_mask: [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1],
      ],
    });
    expect(ids(texts, { padding: 'do_not_pad' })).toEqual(ids(texts, {}));
    expect(() => tokenizer(texts, { padding: 'do_not_pad' })).toThrow(/different lengths/);
    expect(ids(texts, { padding: 'longest', padding_side: 'left' })).toEqual([
      [0, 0, 1, 4, 5, 2],
      [1, 4, 5, 6, 7, 2],
    ]);
    expect(ids('a', { padding: true, pad_to_multiple_of: 4 })).toEqual([1, 4, 2, 0]);
    expect(ids('a', { padding: 'max_length' })).toEqual([1, 4, 2, 0, 0, 0, 0, 0]);
    expect(ids(['a', 'a b c'], { padding: 'max_length', max_length: 4, truncation: false })).toEqual([
      [1, 4, 2, 0],
      [1, 4, 5, 6, 2],
    ]);
    expect(tokenizer.padding_side).toBe('right');
  });

  test("truncation: 'do_not_truncate' is none, a length alone asks for it", () => {
    expect(ids('a b c', { truncation: 'do_not_truncate', max_length: 4 })).toEqual([1, 4, 5, 6, 2]);
    expect(ids('a b c', { truncation: false, max_length: 4 })).toEqual([1, 4, 5, 6, 2]);
    expect(ids('a b c', { max_length: 4 })).toEqual([1, 4, 5, 2]);
    expect(ids('a b c', { padding: true, max_length: 4 })).toEqual([1, 4, 5, 6, 2]);
    expect(ids('a b c d e a b c', { truncation: true })).toEqual([1, 4, 5, 6, 7, 8, 4, 2]);
    const pair = { text_pair: 'd e', max_length: 6 };
    expect(ids('a b c', { ...pair, truncation: 'longest_first' })).toEqual([1, 4, 5, 2, 7, 2]);
    expect(ids('a b c', { ...pair, truncation: 'only_first' })).toEqual([1, 4, 2, 7, 8, 2]);
    expect(ids('a b c', { ...pair, max_length: 7, truncation: 'only_second' })).toEqual([1, 4, 5, 6, 2, 7, 2]);
    expect(() => ids('a b c', { ...pair, max_length: 4, truncation: 'only_second' })).toThrow(/only_second/);
    expect(() => ids('a', { truncation: true, max_length: 1 })).toThrow(/special tokens alone/);
    expect(tokenizer.encode('a b c', { truncation: true, max_length: 3 })).toEqual([1, 4, 2]);
  });

  test('columns', () => {
    const options = { return_special_tokens_mask: true, return_length: true, padding: 'max_length', max_length: 5 } as const; // biome-ignore format: one row
    expect(lists('a', { ...options, return_attention_mask: false, return_token_type_ids: false })).toEqual({
      input_ids: [1, 4, 2, 0, 0],
      special_tokens_mask: [1, 0, 1, 1, 1],
      length: [5],
    });
    expect(lists('a', { text_pair: 'b c' }).token_type_ids).toEqual([0, 0, 0, 1, 1, 1]);
    expect(tokenizer(['a'], { return_length: true }).length?.tolist()).toEqual([3n]);
    expect(ids('a', { text_pair: '' })).toEqual([1, 4, 2]);
  });

  test('decode', () => {
    expect(tokenizer.decode(4)).toBe('a');
    expect(tokenizer.decode([1, 4, 2], { skip_special_tokens: true })).toBe('a');
    expect(tokenizer.batch_decode([[4], [5, 6]])).toEqual(['a', 'b c']);
    expect(tokenizer.tokenize('a x', { add_special_tokens: true })).toEqual(['[CLS]', 'a', '[UNK]', '[SEP]']);
  });
});

describe('refused by name', () => {
  const refuse = (call: () => unknown, pattern: RegExp, code = 'input'): void =>
    expect(call).toThrow(expect.objectContaining({ code, message: expect.stringMatching(pattern) }));

  test('options', () => {
    const call = (options: object) => (): unknown => tokenizer(['a'], options);
    refuse(call({ paddding: true }), /paddding.*did you mean `padding`/);
    refuse(call({ stride: 2, return_overflowing_tokens: true }), /stride/, 'unsupported');
    refuse(call({ return_offsets_mapping: true }), /return_offsets_mapping/, 'unsupported');
    refuse(call({ is_split_into_words: true }), /is_split_into_words/, 'unsupported');
    refuse(call({ return_tensors: 'pt' }), /return_tensors/, 'unsupported');
    expect(call({ stride: 0, is_split_into_words: false, verbose: true })).not.toThrow();
    refuse(() => tokenizer.encode('a', { maxlength: 4 } as object), /max_length/);
    refuse(() => tokenizer.decode([4], { skip_special_token: true } as object), /skip_special_tokens/);
    refuse(() => tokenizer.batch_decode([[4]], { skip: true } as object), /skip/);
    refuse(() => tokenizer.tokenize('a', { padding: true } as object), /padding/);
    const chat = [{ role: 'user', content: 'a' }];
    refuse(() => tokenizer.apply_chat_template(chat, { tokenizer_kwargs: { strid: 1 } as object }), /stride/);
    refuse(
      () => tokenizer.apply_chat_template(chat, { return_assistant_tokens_mask: true }),
      /assistant/,
      'unsupported',
    );
  });

  test('of learning and saving', async () => {
    const learn =
      (options: object, texts: unknown = ['a b']) =>
      (): unknown =>
        train_tokenizer(texts as string[], { vocab_size: 300, ...options });
    refuse(learn({ vocabsize: 5 }), /vocab_size/);
    refuse(learn({ limit_alphabet: 5 }), /limit_alphabet/, 'unsupported');
    refuse(learn({ model: 'Unigram' }), /model.*"Unigram"/);
    refuse(learn({ min_frequency: 'a' }), /min_frequency.*"a"/);
    refuse(learn({ special_tokens: 'a' }), /special_tokens.*"a"/);
    refuse(learn({}, 'one text'), /list of texts/);
    refuse(learn({}, [5]), /5/);
    await expect(
      tokenizer.save_pretrained('FOLDER', { push_to_hub: true } as unknown as Record<string, never>),
    ).rejects.toThrow(/push_to_hub/);
    await expect(tokenizer.save_pretrained(5 as unknown as string)).rejects.toThrow(/path of a folder/);
  });

  test('the compiler knows them, too', () => {
    // @ts-expect-error: no such option
    const wrong: TokenizeOptions = { paddding: true };
    expect(wrong).toBeDefined();
  });

  test('values', () => {
    const call = (options: object) => (): unknown => tokenizer(['a'], options);
    refuse(call({ padding: 'yes' }), /padding.*"yes"/);
    refuse(call({ truncation: 'first' }), /truncation.*"first"/);
    refuse(call({ max_length: -1 }), /max_length.*-1/);
    refuse(call({ max_length: 1.5 }), /max_length.*1.5/);
    refuse(call({ pad_to_multiple_of: 0 }), /pad_to_multiple_of.*0/);
    refuse(call({ padding: true, pad_to_multiple_of: 2 ** 40 }), /too many/);
    refuse(call({ padding: true, truncation: true, max_length: 6, pad_to_multiple_of: 4 }), /no multiple/);
    refuse(call({ padding_side: 'top' }), /padding_side.*"top"/);
    refuse(call({ add_special_tokens: 'no' }), /add_special_tokens.*"no"/);
    refuse(call({ text_pair: 5 }), /text_pair/);
    refuse(call({ text_pair: ['a', 'b'] }), /2 texts/);
    refuse(() => tokenizer([['a']] as unknown as string[]), /a list of 1/);
    refuse(() => tokenizer('\ud800a'), /surrogate/);
    refuse(() => tokenizer.encode(null as unknown as string), /null/);
    refuse(() => tokenizer.decode([[4]] as unknown as number[]), /batch_decode/);
    refuse(() => tokenizer.decode(['4'] as unknown as number[]), /not a token id/);
    refuse(() => tokenizer.decode('4' as unknown as number[]), /ids of tokens/);
  });
});

describe('stop strings', () => {
  const bytes = ['<0xF0>', '<0x9F>', '<0x99>', '<0x82>'];
  const words = ['<unk>', '▁x', '▁', 'EN', 'D', 'end', 'é', ...bytes];
  const byteFallback = createTokenizer({
    where: 'FOLDER',
    tokenizer: {
      model: { type: 'BPE', vocab: Object.fromEntries([...words, 'a', 'b', 'c', 'd', 'e', 'f'].map((t, i) => [t, i])), merges: [], byte_fallback: true }, // biome-ignore format: one row
      decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }] }, // biome-ignore format: one row
    },
    config: {},
    chatTemplates: {},
  });
  const stopsAfter = (stop: string | string[], row: number[]): number => {
    const criterion = new StopStringCriteria(byteFallback, stop);
    return row.findIndex((_, i) => criterion._call([row.slice(0, i + 1).map(BigInt)])[0]);
  };

  test('see characters that are spread over tokens', () => {
    expect(stopsAfter('🙂', [1, 7, 8, 9, 10, 1])).toBe(4);
    expect(stopsAfter('x🙂', [1, 7, 8, 9, 10, 1])).toBe(4);
    expect(stopsAfter('🙂', [1, 7, 8, 1, 9, 10])).toBe(-1);
    expect(stopsAfter(['é', 'END'], [2, 3, 4, 5])).toBe(2);
    expect(stopsAfter('é', [2, 6, 4])).toBe(1);
  });
  test('do not go on over an id that is no token', () => {
    expect(stopsAfter('END', [3, 999, 4])).toBe(-1);
    expect(() => new StopStringCriteria(byteFallback, '')).toThrow(/empty/);
    expect(() => new StopStringCriteria(byteFallback, [5] as unknown as string[])).toThrow(/texts/);
  });
});
