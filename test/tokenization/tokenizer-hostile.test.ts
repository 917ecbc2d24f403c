// Files of tokenizers come from anywhere: what is wrong is refused in a sentence that names file, field and value, patterns
// end in time, and names of JavaScript's own are tokens like others.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AutoTokenizer, ModelcError, type PreTrainedTokenizer } from '../../runtime/index.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-hostile-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const model = { type: 'WordLevel', vocab: { a: 0, b: 1, '[UNK]': 2 }, unk_token: '[UNK]' };

function open(json: object, files: Readonly<Record<string, unknown>> = {}): Promise<PreTrainedTokenizer> {
  for (const [name, value] of Object.entries({ 'tokenizer.json': { model, ...json }, ...files })) {
    writeFileSync(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));
  }
  return AutoTokenizer.from_pretrained(folder);
}

async function refusal(json: object, files?: Readonly<Record<string, unknown>>): Promise<string> {
  const error = await open(json, files).then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof ModelcError)) throw new Error(`not refused: ${JSON.stringify(json)} ${String(error)}`);
  return `${error.code}: ${error.message}`;
}

const split = (Regex: string): object => ({
  pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
});

describe('patterns', () => {
  test('that backtrack without end are ended', async () => {
    const long = `${'a'.repeat(40)}b`;
    for (const [pattern, text] of [
      ['(a+)+$', long],
      ['(a|aa)+$', long],
      ['(\\w+\\s?)*$', `${long}!`],
      ['(?=(a+)+c)', long],
      ['a*a*a*a*a*c', 'a'.repeat(3000)],
    ]) {
      const tokenizer = await open(split(pattern));
      expect(() => tokenizer.encode(text), pattern).toThrow(
        expect.objectContaining({
          code: 'unsupported',
          message: expect.stringMatching(/tokenizer\.json.*takes too long/),
        }),
      );
      expect(tokenizer.encode('a')).toEqual([0]);
    }
  });
  test('in normalizers and decoders, too', async () => {
    const replace = { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: '' };
    const text = `${'a'.repeat(40)}b`;
    const normalized = await open({ normalizer: replace });
    expect(() => normalized.encode(text)).toThrow(/takes too long/);
    const decoded = await open({ model: { ...model, vocab: { ...model.vocab, [text]: 3 } }, decoder: replace });
    expect(() => decoded.decode([3])).toThrow(/takes too long/);
  });
  test('of real tokenizers take long texts', async () => {
    const gpt4 =
      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    const tokenizer = await open(split(gpt4));
    expect(tokenizer.encode(`${' '.repeat(20000)}${'a b'.repeat(20000)}`).length).toBe(20002);
  });
  test('that are none are refused with the reason', async () => {
    expect(await refusal(split('(a'))).toMatch(/^unsupported: .*tokenizer\.json.*"\(a".*pre_tokenizer\.pattern/);
  });
});

describe('wrong values', () => {
  const token = { id: 3, content: 'x', special: true };
  const cases: readonly (readonly [string, object, RegExp])[] = [
    ['a text for a number', { pre_tokenizer: { type: 'FixedLength', length: '5' } }, /pre_tokenizer\.length is "5"/],
    ['no pattern', { pre_tokenizer: { type: 'Split', behavior: 'Removed' } }, /pre_tokenizer\.pattern is missing/],
    ['a list for a part', { normalizer: [] }, /normalizer is a list of 0/],
    ['a part in a list that is none', { decoder: { type: 'Sequence', decoders: [5] } }, /decoder\.decoders\[0\] is 5/],
    ['an unknown part', { normalizer: { type: '__proto__' } }, /^unsupported: .*normalizer "__proto__"/],
    ['two characters', { pre_tokenizer: { type: 'Metaspace', replacement: 'ab' } }, /replacement is "ab"/],
    ['an id too large', { added_tokens: [{ ...token, id: 1e12 }] }, /added_tokens\[0\]\.id is 1000000000000/],
    ['an id below zero', { added_tokens: [{ ...token, id: -1 }] }, /added_tokens\[0\]\.id is -1/],
    ['a flag that is none', { added_tokens: [{ ...token, lstrip: 'yes' }] }, /added_tokens\[0\]\.lstrip is "yes"/],
    ['an id that is none', { model: { ...model, vocab: { a: 0.5 } } }, /model\.vocab\.a is 0\.5/],
    [
      'a merge of unknown tokens',
      { model: { type: 'BPE', vocab: { a: 0 }, merges: ['a z'] } },
      /model\.merges\[0\] is "z"/,
    ],
    ['a score that is none', { model: { type: 'Unigram', vocab: [['a', null]] } }, /model\.vocab\[0\]/],
    ['an unknown that is not there', { model: { type: 'Unigram', vocab: [['a', 0]], unk_id: 7 } }, /unk_id is 7/],
    ['a token of a template', { post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'constructor', type_id: 0 } }], pair: [], special_tokens: {} } }, /constructor/], // biome-ignore format: one row
    ['dropout', { model: { type: 'BPE', vocab: { a: 0 }, merges: [], dropout: 0.1 } }, /^unsupported: .*dropout/],
    [
      'a map of characters',
      { normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAA' } },
      /precompiled_charsmap/,
    ],
  ];
  for (const [name, json, message] of cases) {
    test(name, async () => expect(await refusal(json)).toMatch(message));
  }
  const config = (value: object) => ({ 'tokenizer_config.json': value });
  const files: readonly (readonly [string, Readonly<Record<string, unknown>>, RegExp])[] = [
    ['a side', config({ padding_side: 'top' }), /tokenizer_config\.json.*padding_side is "top"/],
    ['a limit', config({ model_max_length: -5 }), /tokenizer_config\.json.*model_max_length is -5/],
    ['a token', config({ eos_token: 5 }), /tokenizer_config\.json.*eos_token is 5/],
    ['a list of tokens', config({ extra_special_tokens: 5 }), /extra_special_tokens is 5/],
    [
      'an id of added_tokens_decoder',
      config({ added_tokens_decoder: { '-3': { content: 'x' } } }),
      /added_tokens_decoder\.-3/,
    ],
    ['a token of added_tokens_decoder', config({ added_tokens_decoder: { 3: 'x' } }), /added_tokens_decoder\.3 is "x"/],
    ['names of inputs', config({ model_input_names: 'input_ids' }), /model_input_names is "input_ids"/],
    ['an id of added_tokens.json', { 'added_tokens.json': { x: 1e12 } }, /added_tokens\.json.*"x".*1000000000000/],
    ['special_tokens_map.json', { 'special_tokens_map.json': { eos_token: [] } }, /eos_token is a list of 0/],
    ['no JSON', { 'tokenizer_config.json': '{' }, /tokenizer_config\.json is not valid JSON/],
    ['a config.json that is a list', { 'config.json': [] }, /config\.json must hold a JSON object/],
  ];
  for (const [name, given, message] of files) {
    test(name, async () => expect(await refusal({}, given)).toMatch(message));
  }
});

describe('shapes', () => {
  test('parts in parts are refused at a depth, however deep', async () => {
    const deep = (n: number): string =>
      `{"model":${JSON.stringify(model)},"normalizer":${'{"type":"Sequence","normalizers":['.repeat(n)}{"type":"NFC"}${']}'.repeat(n)}}`; // biome-ignore format: one row
    expect((await open({}, { 'tokenizer.json': deep(10) })).encode('a')).toEqual([0]);
    for (const n of [100, 100_000]) expect(await refusal({}, { 'tokenizer.json': deep(n) })).toMatch(/tokenizer\.json/);
  });
  test("names of JavaScript's own are tokens", async () => {
    const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty'];
    const tokenizer = await open(
      { pre_tokenizer: { type: 'WhitespaceSplit' } },
      { 'tokenizer.json': `{"model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0,${names.map((n, i) => `"${n}":${i + 1}`)}}},"pre_tokenizer":{"type":"WhitespaceSplit"}}`, 'tokenizer_config.json': '{"eos_token":"__proto__","tokenizer_class":"constructor"}' }, // biome-ignore format: one row
    );
    expect(tokenizer.encode(`${names.join(' ')} valueOf`)).toEqual([1, 2, 3, 4, 0]);
    expect(tokenizer.decode([1, 2], { skip_special_tokens: true })).toBe('constructor');
    expect(tokenizer.eos_token_id).toBe(1);
  });
  test('long tokens do not make long work', async () => {
    const long = 'a'.repeat(100_000);
    expect(await refusal({ added_tokens: [{ id: 3, content: long }] })).toMatch(/^unsupported/);
    expect(await refusal({ model: { type: 'Unigram', vocab: [[long, 0]] } })).toMatch(/^unsupported/);
  });
  test('a token file with NaN and Infinity, as Python writes them', async () => {
    const tokenizer = await open({}, { 'tokenizer_config.json': '{"model_max_length": Infinity}' });
    expect(tokenizer.model_max_length).toBe(Number.POSITIVE_INFINITY);
  });
});
