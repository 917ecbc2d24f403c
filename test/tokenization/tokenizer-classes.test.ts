// What tokenizer classes know and what the files beside tokenizer.json say, against AutoTokenizer of transformers 5.18:
// tokenizers/classes.json has the files of small tokenizers, and what Python makes of them.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AutoTokenizer, type PreTrainedTokenizer } from '../../runtime/index.ts';

interface Row {
  readonly text: string;
  readonly ids: number[];
  readonly types: number[] | null;
  /** With the second text 'hello'. */
  readonly pair: number[];
  readonly tokens: string[];
  readonly decoded: string;
  readonly skipped: string;
}
interface Case {
  readonly name: string;
  readonly tokenizer: number;
  readonly files: Readonly<Record<string, object>>;
  readonly side: string;
  readonly tside: string;
  readonly inputs: string[];
  readonly map: Readonly<Record<string, string>>;
  readonly specials: string[];
  readonly special_ids: number[];
  readonly max: number | null;
  readonly vocab: number;
  readonly rows: readonly Row[];
}

const { tokenizers, cases } = JSON.parse(readFileSync(new URL('classes.json', import.meta.url), 'utf8')) as {
  tokenizers: object[];
  cases: Case[];
};

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-classes-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, files: Readonly<Record<string, unknown>>): string {
  const directory = join(folder, name);
  mkdirSync(directory, { recursive: true });
  for (const [file, json] of Object.entries(files)) writeFileSync(join(directory, file), JSON.stringify(json));
  return directory;
}

const sorted = <T>(list: readonly T[]): T[] => [...list].sort();

function check(tokenizer: PreTrainedTokenizer, c: Case): void {
  const { model_max_length: max } = tokenizer;
  expect({
    side: tokenizer.padding_side,
    tside: tokenizer.truncation_side,
    inputs: [...tokenizer.model_input_names],
    map: tokenizer.special_tokens_map,
    specials: sorted(tokenizer.all_special_tokens),
    ids: sorted(tokenizer.all_special_ids),
    max: Number.isFinite(max) ? max : null,
    vocab: tokenizer.get_vocab().size,
  }).toEqual({
    side: c.side,
    tside: c.tside,
    inputs: c.inputs,
    map: c.map,
    specials: sorted(c.specials),
    ids: sorted(c.special_ids),
    max: c.max,
    vocab: c.vocab,
  });
  for (const row of c.rows) {
    const one = tokenizer(row.text, { return_tensor: false });
    const pair = tokenizer(row.text, { text_pair: 'hello', return_tensor: false });
    expect({
      text: row.text,
      ids: one.input_ids,
      types: one.token_type_ids ?? null,
      pair: pair.input_ids,
      tokens: tokenizer.tokenize(row.text),
      decoded: tokenizer.decode(row.ids),
      skipped: tokenizer.decode(row.ids, { skip_special_tokens: true }),
    }).toEqual(row);
  }
}

describe('as AutoTokenizer of transformers 5.18', () => {
  for (const [i, c] of cases.entries()) {
    test(c.name, async () => {
      const directory = write(String(i), { 'tokenizer.json': tokenizers[c.tokenizer], ...c.files });
      const tokenizer = await AutoTokenizer.from_pretrained(directory);
      check(tokenizer, c);
      const saved = join(folder, `${i}-saved`);
      await tokenizer.save_pretrained(saved);
      check(await AutoTokenizer.from_pretrained(saved), c);
    });
  }
});

describe('options of from_pretrained', () => {
  test('count as fields of tokenizer_config.json; others are refused by name', async () => {
    const directory = write('options', {
      'tokenizer.json': tokenizers[0],
      'tokenizer_config.json': { padding_side: 'left' },
    });
    const tokenizer = await AutoTokenizer.from_pretrained(directory, { pad_token: '<pad>', padding_side: 'right' });
    expect([tokenizer.pad_token, tokenizer.padding_side]).toEqual(['<pad>', 'right']);
    const wrong = { padding_sid: 'left' } as object;
    await expect(AutoTokenizer.from_pretrained(directory, wrong)).rejects.toThrow(/padding_side/);
    await expect(AutoTokenizer.from_pretrained(directory, { revision: 'x' } as object)).rejects.toThrow(/revision/);
  });
});

describe('special tokens are properties', () => {
  test('a role is given to another token, by text or id, and kept by saving', async () => {
    const directory = write('roles', {
      'tokenizer.json': tokenizers[0],
      'tokenizer_config.json': { tokenizer_class: 'GPT2Tokenizer' },
    });
    const tokenizer = await AutoTokenizer.from_pretrained(directory);
    expect(tokenizer.pad_token).toBeNull();
    expect(() => tokenizer(['h', 'he'], { padding: true })).toThrow(/pad_token = tokenizer.eos_token/);
    tokenizer.pad_token = tokenizer.eos_token;
    expect([tokenizer.pad_token, tokenizer.pad_token_id]).toEqual(['<|endoftext|>', tokenizer.eos_token_id]);
    tokenizer.cls_token_id = 0;
    expect(tokenizer.cls_token).toBe('<s>');
    tokenizer.sep_token = '</s>';
    tokenizer.bos_token = null;
    expect(() => {
      tokenizer.mask_token = '<nowhere>';
    }).toThrow(/"<nowhere>" is not a token of/);
    expect(() => {
      tokenizer.mask_token_id = 1e6;
    }).toThrow(/1000000 is not the id/);
    const roles = { bos_token: null, pad_token: '<|endoftext|>', cls_token: '<s>', sep_token: '</s>' };
    const given = (from: PreTrainedTokenizer): object => ({
      bos_token: from.bos_token,
      pad_token: from.pad_token,
      cls_token: from.cls_token,
      sep_token: from.sep_token,
    });
    expect(given(tokenizer)).toEqual(roles);
    expect(tokenizer.all_special_tokens).toEqual(['<|endoftext|>', '</s>', '<s>']);
    await tokenizer.save_pretrained(join(folder, 'roles-saved'));
    expect(given(await AutoTokenizer.from_pretrained(join(folder, 'roles-saved')))).toEqual(roles);
  });
});
