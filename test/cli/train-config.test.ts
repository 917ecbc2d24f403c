// The config of `modelc train`: what it says, and one sentence for each way in which it can be wrong.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readTrainConfig } from '../../runtime/cli/train-config.ts';
import { exampleConfig } from '../../runtime/cli/train-example.ts';
import { createTokenizer, Dataset, text_blocks, train_tokenizer } from '../../runtime/index.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-train-config-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const read = (text: string, name = 'train.yaml') => {
  writeFileSync(join(folder, name), text);
  return readTrainConfig(join(folder, name));
};
const whole = { model: 'base', data: { train: 'a.jsonl' }, training: { output_dir: 'out' } };

describe('a config', () => {
  test('is YAML or JSON, with paths relative to its folder', () => {
    const config = read(JSON.stringify(whole), 'train.json');
    expect(config).toEqual({
      model: join(folder, 'base'),
      tokenizer: join(folder, 'base'),
      data: {
        format: 'json',
        train: [join(folder, 'a.jsonl')],
        eval: [],
        eval_part: 0,
        text_column: 'text',
        block_size: 256,
        sample_by: 'document',
      },
      training: { output_dir: join(folder, 'out') },
      lora: undefined,
    });
    const yaml = `
model: { model_type: llama, hidden_size: 64 }
tokenizer: { vocab_size: 512 }
data:
  train: [a.txt, b.txt]
  eval: c.txt
  block_size: 32
training: { output_dir: out, learning_rate: 1e-3 }
lora: { r: 4 }
`;
    const fresh = read(yaml);
    expect(fresh.model).toEqual({ model_type: 'llama', hidden_size: 64 });
    expect(fresh.tokenizer).toEqual({ vocab_size: 512 });
    expect(fresh.data.format).toBe('text');
    expect(fresh.data.eval).toEqual([join(folder, 'c.txt')]);
    expect(fresh.training.learning_rate).toBe(1e-3);
    expect(fresh.lora).toEqual({ r: 4 });
  });
  test('the example of the help is one', () => {
    expect(read(exampleConfig).data.train).toEqual([join(folder, 'stories/*.jsonl')]);
  });
  test('what is wrong is said in one sentence with the file and the key', () => {
    const fails = (change: object): string => {
      try {
        read(JSON.stringify({ ...whole, ...change }), 'bad.json');
      } catch (error) {
        const { message } = error as Error;
        expect(message.startsWith(`${join(folder, 'bad.json')}: `)).toBe(true);
        return message;
      }
      return 'nothing';
    };
    expect(fails({ modle: 1 })).toContain('has no key "modle"; it takes model, tokenizer, data, training, lora');
    expect(fails({ model: 3 })).toContain('model must name a checkpoint folder');
    expect(fails({ model: { model_type: 'llama' } })).toContain('tokenizer must name a folder');
    expect(fails({ tokenizer: { vocab_size: 512 } })).toContain('a checkpoint has its own tokenizer');
    expect(fails({ training: {} })).toContain('training needs output_dir');
    expect(fails({ training: 'fast' })).toContain('training must hold keys and values');
    expect(fails({ data: {} })).toContain('data needs train');
    expect(fails({ data: { train: 'a.bin' } })).toContain(
      'must be json, csv, text or parquet, which a.bin does not tell',
    );
    expect(fails({ data: { train: 'a.txt', block_size: 1 } })).toContain('data.block_size must be an integer');
    expect(fails({ data: { train: 'a.txt', eval_part: 1 } })).toContain('data.eval_part must be from 0');
    expect(fails({ data: { train: 'a.txt', eval: 'b.txt', eval_part: 0.5 } })).toContain('eval or eval_part, not both');
    expect(fails({ data: { train: 'a.txt', sample_by: 'page' } })).toContain('data.sample_by must be line');
    expect(() => read('model: [1\ndata: 3\n')).toThrow(/train\.yaml line \d+ column \d+: /);
    expect(() => readTrainConfig(join(folder, 'none.yaml'))).toThrow('none.yaml cannot be read');
  });
});

describe('text_blocks', () => {
  const tokenizer = createTokenizer(train_tokenizer([''], { vocab_size: 257 }));
  const texts = Dataset.from_list([{ text: 'abc' }, { text: 'de' }, { text: 'fghij' }]);

  test('cuts the texts, each with its end, into blocks of one length', () => {
    const blocks = text_blocks(texts, { tokenizer, block_size: 4 });
    const decoded = blocks.column('input_ids').map((ids) => ids.map((id) => tokenizer.decode([id])).join(''));
    expect(decoded).toEqual(['abc<|endoftext|>', 'de<|endoftext|>f', 'ghij']);
    expect(blocks.at(1).labels).toEqual(blocks.at(1).input_ids);
  });
  test('says what it cannot cut', () => {
    expect(() => text_blocks(texts, { tokenizer, block_size: 99 })).toThrow('13 tokens, which fill no block of 99');
    expect(() => text_blocks(texts, { tokenizer, block_size: 4, column: 'story' })).toThrow('no column "story"');
    const numbers = Dataset.from_list([{ text: 1 }]);
    expect(() => text_blocks(numbers, { tokenizer, block_size: 4 })).toThrow('holds no text in example 0, but 1');
  });
});

describe('a config that wants to exhaust its reader is refused at once:', () => {
  const letters = [...'bcdefghij'];
  const bomb = letters.map((c, i) => `${c}: &${c} [${Array(9).fill(`*${'abcdefghij'[i]}`).join()}]\n`).join('');
  test.each([
    ['aliases of aliases', `a: &a [x]\n${bomb}`, /Excessive alias count/],
    ['an alias of nothing', 'model: *nothing\n', /Unresolved alias/],
    ['an alias of itself', 'model: &a\n  b: *a\n', /training needs output_dir|cannot be|Unresolved/],
    ['lists in lists', '['.repeat(50_000), /nested more than \d+ levels deep/],
    ['maps in maps', '{a: '.repeat(15_000), /nested more than \d+ levels deep/],
    ['many keys', Array.from({ length: 5000 }, (_, i) => `k${i}: 1`).join('\n'), /has no key "k0"/],
    ['a large file', `model: ${'a'.repeat(2e6)}`, /has 2000007 bytes; a config has at most 65536/],
    ['a key twice', 'model: a\nmodel: b\n', /line 2 column 1: Map keys must be unique/],
    ['a key that is a map', '? {a: b}\n: c\n', /all keys must be strings/],
    ['a tag', 'model: !!js/function "x"\n', /line 1 column \d+: Unresolved tag/],
    ['a prototype', '__proto__: {x: 1}\n', /has no key "__proto__"/],
    ['text', 'hello', /the config must hold keys and values/],
  ])(
    '%s',
    (_, text, message) => {
      expect(() => read(text)).toThrow(
        expect.objectContaining({ name: 'ModelcError', message: expect.stringMatching(message) }),
      );
    },
    5000,
  );
  test('a folder, or a pipe', () => {
    expect(() => readTrainConfig(folder)).toThrow(/cannot be read; name a YAML or JSON file/);
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    expect(() => readTrainConfig(join(folder, 'pipe'))).toThrow(/cannot be read; name a YAML or JSON file/);
  });
});
