// Tokenizers that are trained here, beside what Hugging Face's trainer makes of the same text, and saved tokenizers.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AutoTokenizer, createTokenizer, train_tokenizer } from '../../runtime/index.ts';
import { example } from '../support/command.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-train-tokenizer-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const text = "The cat sat on the mat. The cat's hat sat on the cat, and the café's cat sat too: 10, 100, 1000!\n";
const special_tokens = ['<|endoftext|>', '<pad>'];

describe('a byte-level BPE tokenizer', () => {
  test('has the merges and ids that the tokenizers library learns', () => {
    const { tokenizer } = train_tokenizer([text], { vocab_size: 300, special_tokens });
    const model = tokenizer.model as { merges: [string, string][]; vocab: Record<string, number> };
    expect(model.merges.map((pair) => pair.join(' '))).toEqual([
      'a t',
      'h e',
      'Ġ c',
      'Ġ t',
      'Ġc at',
      '0 0',
      's at',
      'Ġ 1',
      'Ġ sat',
      'Ġt he',
      "' s",
      'T he',
      'o n',
      'Ġ on',
      'Ġ1 00',
    ]);
    expect(model.vocab['<pad>']).toBe(1);
    expect(model.vocab['Ġcat']).toBe(262);
  });
  test('says any text in fewer tokens than bytes, and gives it back', () => {
    const tokenizer = createTokenizer(train_tokenizer([text, text], { vocab_size: 280, special_tokens }));
    const ids = tokenizer.encode(text);
    expect(ids.length).toBeLessThan(Buffer.byteLength(text) / 2);
    for (const any of [text, 'naïve 日本語 🙂 \t\n  two  spaces ', '']) {
      expect(tokenizer.decode(tokenizer.encode(any))).toBe(any);
    }
    expect(tokenizer.encode('a<|endoftext|>')).toEqual([...tokenizer.encode('a'), 0]);
    expect([tokenizer.eos_token_id, tokenizer.pad_token_id]).toEqual([0, 0]);
    expect(tokenizer.get_vocab().size).toBe(280);
  });
  test('is saved and loaded, as any tokenizer', async () => {
    const trained = createTokenizer(train_tokenizer([text], { vocab_size: 280, model_max_length: 64 }));
    trained.padding_side = 'right';
    await trained.save_pretrained(folder);
    const loaded = await AutoTokenizer.from_pretrained(folder);
    expect(loaded.encode(text)).toEqual(trained.encode(text));
    expect([loaded.padding_side, loaded.model_max_length, loaded.eos_token]).toEqual(['right', 64, '<|endoftext|>']);
    const other = await AutoTokenizer.from_pretrained(example);
    await other.save_pretrained(join(folder, 'other'));
    expect((await AutoTokenizer.from_pretrained(join(folder, 'other'))).encode(text)).toEqual(other.encode(text));
  });
  test('a vocabulary without room for all bytes is refused', () => {
    expect(() => train_tokenizer([text], { vocab_size: 256 })).toThrow('vocab_size must be an integer from 257');
  });
});

describe('a WordPiece tokenizer', () => {
  // counts of the tokenizers course's example: hug 10, pug 5, pun 12, bun 4, hugs 5
  const words = Object.entries({ Hug: 10, pug: 5, pun: 12, bun: 4, hugs: 5 });
  const texts = words.map(([word, n]) => `${word} `.repeat(n));
  const files = train_tokenizer(texts, { model: 'WordPiece', vocab_size: 16 });

  test('joins the pairs that are most frequent; what does not begin a word is marked', () => {
    const { vocab } = files.tokenizer.model as { vocab: Record<string, number> };
    const byId = Object.entries(vocab).sort(([, a], [, b]) => a - b);
    expect(byId.map(([token]) => token)).toEqual([
      ...['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'],
      ...['##g', '##n', '##s', '##u', 'b', 'h', 'p'],
      // 20, 16, 15 and 12 times
      ...['##ug', '##un', 'hug', 'pun'],
    ]);
  });
  test('cuts texts as BERT does, and says what it does not know', async () => {
    const tokenizer = createTokenizer(files);
    const words = (text: string): string[] => tokenizer.encode(text).map((id) => tokenizer.decode([id]));
    expect(words('Hugs, BÚN')).toEqual(['[CLS]', 'hug', '##s', '[UNK]', 'b', '##un', '[SEP]']);
    const { input_ids, attention_mask } = tokenizer(['pun', 'hugs'], { padding: true });
    expect(input_ids.tolist()).toEqual([
      [2n, 15n, 3n, 0n],
      [2n, 14n, 7n, 3n],
    ]);
    expect(attention_mask.tolist()[0]).toEqual([1n, 1n, 1n, 0n]);
    await tokenizer.save_pretrained(folder);
    const loaded = await AutoTokenizer.from_pretrained(folder);
    expect(loaded.encode('hugs', { text_pair: 'pun' })).toEqual(tokenizer.encode('hugs', { text_pair: 'pun' }));
    expect([loaded.padding_side, loaded.pad_token, loaded.mask_token_id]).toEqual(['right', '[PAD]', 4]);
  });
  test('has its five special tokens, and room for all characters', () => {
    const make = (options: object) => () => train_tokenizer(texts, { model: 'WordPiece', vocab_size: 16, ...options });
    expect(make({ special_tokens: ['[PAD]', '[UNK]'] })).toThrow(/special_tokens of a WordPiece .* \[CLS\] is missing/);
    expect(make({ vocab_size: 11 })).toThrow(/vocab_size must be an integer from 12 .* but is 11/);
  });
});
