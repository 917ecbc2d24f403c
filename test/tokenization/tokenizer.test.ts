// Tokenizers against the ids, texts and chat prompts that Python's tokenizers and transformers give.
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AutoTokenizer, type ListEncoding, type PreTrainedTokenizer, Tensor } from '../../runtime/index.ts';
import { Engine } from '../../runtime/tokenization/backend/engine.ts';
import { hasMaterial, material, readJson } from '../support/golden.ts';

if (!hasMaterial)
  console.warn('tokenizer.test.ts: the material beside the repository is missing, golden cases are skipped');

/** Cases of the material that are known to be wrong: a regression shows as a larger number. */
const knownGaps: Readonly<Record<string, number>> = {
  // A float of the conversations, 1.0, is 1 in JavaScript.
  chat: 15,
};

describe.skipIf(!hasMaterial)('tokenizer-golden', () => {
  interface Golden {
    readonly items: readonly { readonly id: number; readonly ids: number[]; readonly decoded: string }[];
    /** Of texts by number. */
    readonly pairs?: readonly {
      readonly a: number;
      readonly b: number;
      readonly ids: number[];
      readonly type_ids: number[];
    }[];
  }
  const names =
    'llama2 llama3 qwen2 gpt2 gpt-neox phi-3-vision t5-small bert-base-uncased bert-base-cased clip-vit-base roberta-base whisper-tiny';
  for (const name of names.split(' ')) {
    test(name, async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(join(material, 'tokenizers/hf', name));
      const golden = JSON.parse(
        gunzipSync(readFileSync(join(material, 'tokenizer-golden', `${name}.json.gz`))).toString(),
      ) as Golden;
      const texts = new Map(
        readJson<{ id: number; text: string }[]>(join(material, 'tokenizer-golden/texts.json')).map((t) => [
          t.id,
          t.text,
        ]),
      );
      const wrong: string[] = [];
      for (const item of golden.items) {
        const text = texts.get(item.id);
        if (text === undefined) continue;
        const ids = tokenizer.encode(text);
        if (ids.join() !== item.ids.join()) wrong.push(`encode ${item.id} ${JSON.stringify(text).slice(0, 60)}`);
        if (
          tokenizer.decode(item.ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false }) !==
          item.decoded
        )
          wrong.push(`decode ${item.id} ${JSON.stringify(item.decoded).slice(0, 60)}`);
      }
      for (const { a, b, ids, type_ids } of golden.pairs ?? []) {
        const [text, text_pair] = [texts.get(a), texts.get(b)];
        if (text === undefined || text_pair === undefined) continue;
        const got = tokenizer(text, { text_pair, return_tensor: false, return_token_type_ids: true });
        if (got.input_ids.join() !== ids.join()) wrong.push(`pair ${a} ${b}`);
        if (got.token_type_ids?.join() !== type_ids.join()) wrong.push(`types of pair ${a} ${b}`);
      }
      if (wrong.length > (knownGaps[name] ?? 0))
        throw new Error(`${wrong.length} wrong of ${golden.items.length}:\n${wrong.slice(0, 12).join('\n')}`);
    });
  }
});

interface OracleStrings {
  readonly strings: readonly {
    readonly text: string;
    readonly ids: number[];
    readonly ids_no_special: number[];
    readonly decode: string;
    readonly decode_skip: string;
  }[];
}
interface OracleCalls {
  readonly padding_side: string;
  readonly all_special_ids: number[];
  readonly pad_batch_texts: readonly string[];
  readonly padding: readonly {
    readonly padding_side: 'left' | 'right';
    readonly truncation_side: 'left' | 'right';
    readonly kwargs: Readonly<Record<string, unknown>>;
    readonly out: { readonly input_ids: number[][]; readonly attention_mask: number[][] };
  }[];
  readonly pairs: readonly {
    readonly a: string;
    readonly b: string;
    readonly kwargs: Readonly<Record<string, unknown>>;
    /** Missing where Python refuses. */
    readonly out?: Readonly<Record<'input_ids' | 'token_type_ids' | 'attention_mask', number[]>>;
  }[];
  readonly added_tokens_dir: string;
  readonly added: readonly { text: string; ids: number[]; decode: string; decode_skip: string }[];
  readonly random_decode: readonly { ids: number[]; text: string; text_skip: string; tokens: string[] }[];
}

describe.skipIf(!hasMaterial)('hf-oracle tokenizers', () => {
  for (const name of ['spbpe', 'bpe', 'wordpiece', 'unigram']) {
    const folder = join(material, 'hf-oracle/tokenizers', name);
    const golden: OracleStrings = hasMaterial ? readJson<OracleStrings>(join(folder, 'golden.json')) : { strings: [] };
    test(`${name}: strings`, async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      const wrong: string[] = [];
      const check = (what: string, text: string, got: unknown, want: unknown): void => {
        if (JSON.stringify(got) !== JSON.stringify(want))
          wrong.push(
            `${what} ${JSON.stringify(text).slice(0, 50)}: ${JSON.stringify(got)?.slice(0, 80)} not ${JSON.stringify(want)?.slice(0, 80)}`,
          );
      };
      for (const s of golden.strings) {
        check('encode', s.text, tokenizer.encode(s.text), s.ids);
        check('no special', s.text, tokenizer.encode(s.text, { add_special_tokens: false }), s.ids_no_special);
        check('decode', s.text, tokenizer.decode(s.ids), s.decode);
        check('decode skip', s.text, tokenizer.decode(s.ids, { skip_special_tokens: true }), s.decode_skip);
      }
      if (wrong.length > (knownGaps[name] ?? 0))
        throw new Error(`${wrong.length} wrong of ${4 * golden.strings.length}:\n${wrong.slice(0, 12).join('\n')}`);
    });
  }

  test('a part that the library lacks is refused by name', () => {
    const json = readJson<Record<string, unknown>>(join(material, 'hf-oracle/tokenizers/unigram/tokenizer.json'));
    const open = (): unknown => new Engine({ ...json, normalizer: { type: 'Nonsense' } }, 'folder/tokenizer.json');
    expect(open).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringContaining('Nonsense') }),
    );
  });

  for (const name of ['spbpe', 'bpe', 'wordpiece', 'unigram']) {
    const folder = join(material, 'hf-oracle/tokenizers', name);
    const read = (): OracleCalls => readJson<OracleCalls>(join(folder, 'golden.json'));

    test(`${name}: padding and truncation`, async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      const golden = read();
      expect(tokenizer.padding_side).toBe(golden.padding_side);
      for (const { padding_side, truncation_side, kwargs, out } of golden.padding) {
        tokenizer.padding_side = padding_side;
        tokenizer.truncation_side = truncation_side;
        const got = tokenizer(golden.pad_batch_texts, { ...kwargs, return_tensor: false });
        expect(got.input_ids, JSON.stringify(kwargs)).toEqual(out.input_ids);
        expect(got.attention_mask).toEqual(out.attention_mask);
      }
    });

    test(`${name}: pairs`, async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      for (const { a, b, kwargs, out } of read().pairs) {
        const options = { ...kwargs, text_pair: b, return_token_type_ids: true, return_tensor: false } as const;
        const call = (): ListEncoding => tokenizer(a, options);
        if (!out) {
          expect(call).toThrow();
          continue;
        }
        const { input_ids, token_type_ids, attention_mask } = out;
        expect(call(), `${a} ${b} ${JSON.stringify(kwargs)}`).toEqual({ input_ids, token_type_ids, attention_mask });
      }
    });

    test(`${name}: added tokens, and ids as they come`, async () => {
      const golden = read();
      const added = await AutoTokenizer.from_pretrained(join(folder, golden.added_tokens_dir));
      for (const { text, ids, decode, decode_skip } of golden.added) {
        expect(added.encode(text), text).toEqual(ids);
        expect(added.decode(ids)).toBe(decode);
        expect(added.decode(ids, { skip_special_tokens: true })).toBe(decode_skip);
      }
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      expect(tokenizer.all_special_ids).toEqual(golden.all_special_ids);
      for (const { ids, text, text_skip, tokens } of golden.random_decode) {
        expect(tokenizer.decode(ids)).toBe(text);
        expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe(text_skip);
        expect(ids.map((id) => tokenizer.id_to_token(id))).toEqual(tokens);
      }
    });
  }

  test('chat templates', async () => {
    interface Chats {
      readonly templates: Readonly<Record<string, string>>;
      readonly chats: Readonly<Record<string, { role: string; content: string }[]>>;
      readonly kwargs_list: readonly Readonly<Record<string, unknown>>[];
      readonly cases: readonly {
        readonly template: string;
        readonly chat: string;
        readonly kw: number;
        readonly rendered?: string;
        readonly error?: string;
      }[];
      readonly bos_token: string;
      readonly eos_token: string;
    }
    const golden = readJson<Chats>(join(material, 'hf-oracle/tokenizers/chat/golden.json'));
    const tokenizer = await AutoTokenizer.from_pretrained(join(material, 'hf-oracle/tokenizers/bpe'));
    const wrong: string[] = [];
    for (const c of golden.cases) {
      let got: string | undefined;
      let error = '';
      try {
        got = tokenizer.apply_chat_template(golden.chats[c.chat], {
          ...golden.kwargs_list[c.kw],
          chat_template: golden.templates[c.template],
          bos_token: golden.bos_token,
          eos_token: golden.eos_token,
          tokenize: false,
        });
      } catch (e) {
        error = String(e);
      }
      if (got !== c.rendered)
        wrong.push(
          `${c.template} ${c.chat} ${c.kw}: ${error} ${JSON.stringify(got)} not ${JSON.stringify(c.rendered)}`,
        );
    }
    if (wrong.length > (knownGaps.chat ?? 0))
      throw new Error(
        `${wrong.length} wrong of ${golden.cases.length}:\n${wrong.map((w) => w.slice(0, 200)).join('\n')}`,
      );
  });
});

describe('calls', () => {
  let folder = '';
  let tokenizer: PreTrainedTokenizer;
  /** A word-level tokenizer with a beginning-of-sequence token. */
  const file = {
    model: { type: 'WordLevel', vocab: { '<s>': 0, '<pad>': 1, '<unk>': 2, a: 3, b: 4, c: 5 }, unk_token: '<unk>' },
    added_tokens: [0, 1, 2].map((id) => ({ id, content: ['<s>', '<pad>', '<unk>'][id], special: true })),
    normalizer: null,
    pre_tokenizer: { type: 'Whitespace' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
    },
    decoder: null,
  };
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'modelc-tokenizer-'));
    writeFileSync(
      join(folder, 'tokenizer.json'),
      JSON.stringify({ ...file, model: { ...file.model, type: 'BPE', merges: [] } }),
    );
    writeFileSync(
      join(folder, 'tokenizer_config.json'),
      JSON.stringify({ bos_token: '<s>', pad_token: { content: '<pad>' }, unk_token: '<unk>' }),
    );
    tokenizer = await AutoTokenizer.from_pretrained(folder);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('a text gives tensors [1, n], several need padding, lists come on demand', () => {
    const one = tokenizer('a b');
    expect(one.input_ids).toBeInstanceOf(Tensor);
    expect(one.input_ids.dims).toEqual([1, 3]);
    expect([...one.input_ids.data]).toEqual([0n, 3n, 4n]);
    expect(() => tokenizer(['a', 'a b'])).toThrow(/padding/);
    const two = tokenizer(['a', 'a b'], { padding: true });
    expect(two.input_ids.tolist()).toEqual([
      [0n, 3n, 1n],
      [0n, 3n, 4n],
    ]);
    expect(two.attention_mask.tolist()).toEqual([
      [1n, 1n, 0n],
      [1n, 1n, 1n],
    ]);
    expect(tokenizer('a b c', { truncation: true, max_length: 2, return_tensor: false }).input_ids).toEqual([0, 3]);
    expect(tokenizer.pad_token_id).toBe(1);
    expect(tokenizer.all_special_ids).toEqual([0, 2, 1]);
    expect(tokenizer.encode('')).toEqual([0]);
    expect(tokenizer.decode([])).toBe('');
  });

  test('wrong arguments and malformed files are named', async () => {
    expect(() => tokenizer(5 as unknown as string)).toThrow(/string/);
    expect(() => tokenizer([])).toThrow(/empty/);
    expect(() => tokenizer.decode([-1])).toThrow(/not a token id/);
    expect(() => tokenizer.apply_chat_template([{ role: 'user', content: 'a' }])).toThrow(/no chat template/);
    const broken = mkdtempSync(join(tmpdir(), 'modelc-tokenizer-'));
    try {
      await expect(AutoTokenizer.from_pretrained(broken)).rejects.toMatchObject({ code: 'checkpoint' });
      copyFileSync(join(folder, 'tokenizer_config.json'), join(broken, 'tokenizer_config.json'));
      for (const text of [
        '{',
        '[]',
        '{}',
        '{"model":{"vocab":{"a":-1}}}',
        '{"model":{"vocab":{"a":1e12}}}',
        '{"model":{"vocab":{}},"added_tokens":[null]}',
      ]) {
        writeFileSync(join(broken, 'tokenizer.json'), text);
        await expect(AutoTokenizer.from_pretrained(broken), text).rejects.toMatchObject({
          code: 'parse',
          message: expect.stringContaining('tokenizer.json'),
        });
      }
    } finally {
      rmSync(broken, { recursive: true, force: true });
    }
  });
});
