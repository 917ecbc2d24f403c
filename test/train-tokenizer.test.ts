// Tokenizers that are trained here, beside what Hugging Face's trainer makes of the same text, and saved tokenizers.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AutoTokenizer, createTokenizer, train_tokenizer } from '../runtime/index.ts';
import { example } from './command.ts';

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
