// Parts of tokenizers against what Python's tokenizers 0.23 makes of the same texts, recorded in tokenizers/parts.json: every
// normalizer, pre-tokenizer and decoder with its options, models, post-processors, and added tokens of all properties.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { makeDecoder } from '../../runtime/tokenization/backend/decoders.ts';
import { Engine } from '../../runtime/tokenization/backend/engine.ts';
import { Fields, type JsonObject } from '../../runtime/tokenization/backend/fields.ts';
import { makeNormalizer } from '../../runtime/tokenization/backend/normalizers.ts';
import { makePreTokenizer, preTokenize } from '../../runtime/tokenization/backend/pre-tokenizers.ts';

interface Recorded {
  readonly normalizers: readonly { part: JsonObject; cases: readonly [text: string, normalized: string][] }[];
  readonly pre_tokenizers: readonly { part: JsonObject; cases: readonly [text: string, words: string[]][] }[];
  readonly decoders: readonly { part: JsonObject; cases: readonly [tokens: string[], text: string][] }[];
  readonly tokenizers: readonly {
    readonly tokenizer: JsonObject;
    readonly rows: readonly {
      readonly text: string;
      readonly ids: number[];
      readonly tokens: string[];
      readonly types: number[];
      readonly special: number[];
      readonly decoded: string;
    }[];
    readonly pairs: readonly {
      readonly a: string;
      readonly b: string;
      readonly ids: number[];
      readonly types: number[];
      readonly plain: number[];
      readonly plain_types: number[];
    }[];
  }[];
}

const recorded = JSON.parse(readFileSync(new URL('parts.json', import.meta.url), 'utf8')) as Recorded;
const fields = (part: JsonObject): Fields => new Fields(part, 'tokenizer.json');

describe('parts as in Python', () => {
  test('normalizers', () => {
    for (const { part, cases } of recorded.normalizers) {
      const normalize = makeNormalizer(fields(part));
      for (const [text, normalized] of cases)
        expect(normalize(text), `${JSON.stringify(part)} ${text}`).toBe(normalized);
    }
  });

  test('pre-tokenizers', () => {
    for (const { part, cases } of recorded.pre_tokenizers) {
      const steps = makePreTokenizer(fields(part));
      for (const [text, words] of cases) {
        const got = text === '' ? [] : preTokenize(steps, text, true);
        expect(got, `${JSON.stringify(part)} ${text}`).toEqual(words);
      }
    }
  });

  test('decoders', () => {
    for (const { part, cases } of recorded.decoders) {
      const decode = makeDecoder(fields(part));
      for (const [tokens, text] of cases)
        expect(decode(tokens).join(''), `${JSON.stringify(part)} ${tokens}`).toBe(text);
    }
  });

  test('models, post-processors and added tokens', () => {
    for (const { tokenizer, rows, pairs } of recorded.tokenizers) {
      const engine = new Engine(tokenizer, 'tokenizer.json');
      const about = JSON.stringify({ ...tokenizer, model: undefined }).slice(0, 300);
      for (const row of rows) {
        const { ids, types, special, names } = engine.encode(row.text, null, true, null);
        const tokens = ids.map((id, i) => names.get(i) ?? engine.tokenOf(id));
        const got = { ids, types, special, tokens, decoded: engine.decode(row.ids, true) };
        const { text, ...wanted } = row;
        expect(got, `${about} ${text}`).toEqual(wanted);
      }
      for (const { a, b, ids, types, plain, plain_types } of pairs) {
        const whole = engine.encode(a, b, true, null);
        const bare = engine.encode(a, b, false, null);
        expect([whole.ids, whole.types, bare.ids, bare.types], `${about} ${a}`).toEqual([
          ids,
          types,
          plain,
          plain_types,
        ]);
      }
    }
  });
});

describe('long texts', () => {
  const model = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2, abab: 3 }, merges: ['a b', 'ab ab'] };

  test('a word of many symbols merges as short ones do', () => {
    const engine = new Engine({ model }, 'tokenizer.json');
    expect(engine.encode('abab'.repeat(50), null, true, null).ids).toEqual(new Array(50).fill(3));
    expect(engine.encode(`${'ab'.repeat(51)}b`, null, true, null).ids).toEqual([...new Array(25).fill(3), 2, 1]);
  });
});
