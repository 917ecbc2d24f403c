// JSON from outside: what is too deep or too long for what reads it is refused, or read, and never ends a process.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeModel, readSafetensors } from '../../frontends/huggingface/index.ts';
import { parseJson, readJsonIfPresent } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { readTrainConfig } from '../../runtime/cli/train-config.ts';
import { GenerationConfig, load_dataset } from '../../runtime/index.ts';

test('arrays and objects that lie deep in each other are refused by the name of the file', () => {
  for (const [open, close] of [
    ['[', ']'],
    ['{"a":', '}'],
  ]) {
    const deep = (n: number): string => open.repeat(n) + (close === '}' ? '1' : '') + close.repeat(n);
    expect(() => parseJson(deep(100_000), 'a.json', 'parse')).toThrow(/^a\.json is nested more than 200 levels deep/);
    expect(() => parseJson(deep(200), 'a.json', 'parse')).not.toThrow();
  }
  expect(parseJson(`{"a": "${'['.repeat(1000)}", "b": "\\"[["}`, 'a.json', 'parse')).toHaveProperty('b', '"[[');
});

test('a string of megabytes beside floats and names of Python is read', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-json-'));
  try {
    const path = join(folder, 'a.json');
    writeFileSync(path, `{"long": "${'a'.repeat(20e6)}", "one": 1.0, "none": NaN}`);
    expect(await readJsonIfPresent(path)).toMatchObject({ one: 1, none: Number.NaN });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a message of control characters is as short as any other', () => {
  const { message } = new ModelcError('input', `it says ${'\u001b'.repeat(100_000)}; leave it out`);
  expect(message.length).toBeLessThan(700);
  expect(message).toMatch(/^it says \\u001b.*; leave it out$/);
});

test('rows of a data set and the config of a training are no deeper, and aliases of YAML end', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-json-'));
  try {
    const rows = join(folder, 'rows.jsonl');
    writeFileSync(rows, `{"a": 1}\n{"a": ${'['.repeat(5000)}${']'.repeat(5000)}}\n`);
    const read = load_dataset('json', { data_files: rows, split: 'train' });
    await expect(read).rejects.toThrow(/rows\.jsonl line 2 is nested more than 200 levels deep/);
    const bomb = Array.from(
      { length: 20 },
      (_, i) => `a${i}: &a${i} [${i === 0 ? 'x' : Array(9).fill(`*a${i - 1}`)}]\n`,
    );
    const yaml = join(folder, 'train.yaml');
    for (const text of ['model: *nowhere\n', bomb.join(''), `a: ${'['.repeat(20_000)}`, '- '.repeat(20_000)]) {
      writeFileSync(yaml, text);
      expect(() => readTrainConfig(yaml)).toThrow(expect.objectContaining({ name: 'ModelcError', code: 'parse' }));
      expect(() => readTrainConfig(yaml)).toThrow(/train\.yaml/);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('what a header or an index says is shown, whatever it is', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-json-'));
  try {
    const header = Buffer.from(JSON.stringify({ a: { dtype: { toString: 1 }, shape: [], data_offsets: [0, 0] } }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    const path = join(folder, 'model.safetensors');
    writeFileSync(path, Buffer.concat([length, header]));
    await expect(readSafetensors(path)).rejects.toThrow(
      /model\.safetensors: tensor 'a' has the unknown dtype .*toString/,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('sines are computed for so many positions as a model has, not for as many as a file says', () => {
  const config = {
    model_type: 'marian',
    vocab_size: 16,
    d_model: 8,
    encoder_attention_heads: 2,
    decoder_attention_heads: 2,
  };
  const describe = (fields: object) =>
    describeModel({ ...config, ...fields, pad_token_id: 0, ...fields }, 'config.json', 'seq2seq-lm');
  expect(() => describe({ max_position_embeddings: 2 ** 31 - 1 })).toThrow(
    /max_position_embeddings must be at most 16384, found 2147483647/,
  );
  expect(() => describe({ pad_token_id: 2 ** 31 - 1 })).toThrow(/pad_token_id must be below vocab_size, which is 16/);
});

test('layers of a config that do not fit together are refused by the name of the file', () => {
  const config = { vocab_size: 1, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 8 };
  const describe = () =>
    describeModel({ ...config, model_type: 'roberta', pad_token_id: 1 }, 'here/config.json', 'masked-lm');
  const deepseek = () =>
    describeModel({ model_type: 'deepseek_v3', n_group: 2, topk_group: 3 }, 'here/config.json', 'causal-lm');
  expect(deepseek).toThrow(/^here\/config\.json: topk_group must be at most n_group 2, found 3/);
  expect(describe).toThrow(/^here\/config\.json describes layers that do not fit together: .*row 1 as padding/);
});

test('a generation config is no deeper, and Infinity in it is a number', () => {
  const deep = `{"eos_token_id": ${'['.repeat(5000)}${']'.repeat(5000)}}`;
  expect(() => GenerationConfig.parse(deep, 'generation_config.json')).toThrow(
    /^generation_config\.json is nested more/,
  );
  expect(GenerationConfig.parse('{"max_time": Infinity}', 'generation_config.json').max_time).toBe(
    Number.POSITIVE_INFINITY,
  );
});
