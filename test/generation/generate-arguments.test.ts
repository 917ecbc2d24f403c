// What generate() and its like are given: every name and every value is served or refused by an error that names it, at run
// time and by type; and what a checkpoint says about caches, speed or padding stops nothing.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { writeArtifact } from '../../runtime/artifact/write.ts';
import {
  AutoModelForCausalLM,
  defineModel,
  type GenerateOptions,
  GenerationConfig,
  ModelcError,
  type PreTrainedModel,
  Tensor,
} from '../../runtime/index.ts';
import { hasMaterial, material, readJson } from '../support/golden.ts';

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const load = { target: 'reference', max_cache_len: 64 } as const;
const rowsOf = (t: Tensor): number[][] => t.tolist().map((row) => (row as (number | bigint)[]).map(Number));
const input_ids = [[5, 6, 7]];
let model: PreTrainedModel;
let folder = '';
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(example, load);
  folder = mkdtempSync(join(tmpdir(), 'modelc-arguments-'));
  cpSync(example, folder, { recursive: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const refusal = async (options: object): Promise<ModelcError> => {
  const error = await model.generate({ input_ids, max_new_tokens: 2, ...options }).then(
    () => new Error(`nothing is wrong with ${Object.keys(options).join()}`),
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(ModelcError);
  return error as ModelcError;
};

describe('values that are impossible', () => {
  const notCounts = ['5', -1, 0, Number.NaN, 1.5, [], {}, true, Number.POSITIVE_INFINITY, 5n, () => 5];
  const notNumbers = ['5', Number.NaN, [], {}, true, 1n];
  const notFlags = ['true', 1, [], {}];
  const notIds = ['5', 1.5, Number.NaN, {}, true, [1.5], ['a']];
  const notRows = [
    'text',
    5,
    {},
    [1.5],
    [['a']],
    [[1], [2, 3]],
    [[-1]],
    [[512]],
    [[]],
    [],
    [[[1]]],
    [null],
    Number.NaN,
  ];
  const notFunctions = ['f', 5, {}, []];
  const table: Readonly<Record<string, readonly unknown[]>> = {
    max_new_tokens: notCounts,
    num_beams: notCounts,
    num_return_sequences: [...notCounts, 2],
    max_cache_len: notCounts,
    prefill_chunk_size: notCounts,
    tokens_per_submit: notCounts,
    min_new_tokens: ['5', 1.5, Number.NaN, [], true],
    max_length: ['5', 1.5, Number.NaN, []],
    seed: ['5', 1.5, Number.NaN, [], true],
    temperature: notNumbers,
    top_p: notNumbers,
    repetition_penalty: [...notNumbers, 0, -1],
    no_repeat_ngram_size: notNumbers,
    max_time: notNumbers,
    do_sample: notFlags,
    remove_invalid_values: notFlags,
    return_dict_in_generate: notFlags,
    early_stopping: ['always', 1],
    eos_token_id: notIds,
    pad_token_id: ['5', 1.5, [1]],
    bos_token_id: ['5', 1.5, [1]],
    suppress_tokens: ['5', 5, [1.5]],
    bad_words_ids: ['5', [], [[]], [[1.5]], [5]],
    sequence_bias: ['5', [], [[[], 1]], [[[1], 'a']]],
    stop_strings: ['', [], [''], 5],
    cache_implementation: ['fast', 5, [], 'quantized', 'paged', 'offloaded'],
    attention_mask: ['x', 5, [[1, 1]], [[1, 1, 2]], [[1, 1, -1]], [[1, 1, 0.5]], [[1], [1]]],
    token_type_ids: [[[0, 0, 1]], 'x'],
    generation_config: ['x', 5, []],
    logits_processor: ['x', 5, {}, [5], [{}]],
    stopping_criteria: ['x', 5, {}, [5]],
    prefix_allowed_tokens_fn: notFunctions,
    streamer: ['x', 5, {}, { put: 5 }],
    tokenizer: ['x', 5, {}],
    past_key_values: ['x', 5, {}, [], [[1]]],
    signal: ['x', 5, {}],
    assistant_model: [{}],
    penalty_alpha: [0.6],
    watermarking_config: [{}],
    decoder_input_ids: [[[1]]],
    encoder_outputs: [{}, 5],
  };
  test.each(Object.entries(table))('%s', async (name, values) => {
    for (const value of values) {
      const { message } = await refusal({ do_sample: false, [name]: value });
      expect(message, String(value)).toContain(name);
      expect(message).not.toMatch(/\n|undefined|\[object/);
      expect(message.length).toBeLessThan(400);
    }
  });
  test.each(notRows.map((value) => [JSON.stringify(value), value]))('input_ids: %s', async (_, value) => {
    expect((await refusal({ input_ids: value })).message).toMatch(/input_ids/);
  });
  test('tensors of another rank or type', async () => {
    const cube = new Tensor('int64', new BigInt64Array(3), [1, 1, 3]);
    expect((await refusal({ input_ids: cube })).message).toMatch(/dims \[batch, length\]/);
    const halves = new Tensor('float32', Float32Array.of(0.5), [1, 1]);
    expect((await refusal({ input_ids: halves })).message).toMatch(/integers, but holds 0.5/);
  });
  test('more rows than the model is compiled for, before they are made', async () => {
    expect((await refusal({ num_beams: 1e9 })).message).toMatch(/load it with max_batch: 1000000000/);
  });
  test('two names of one thing', async () => {
    expect((await refusal({ inputs: input_ids })).message).toMatch(/leave out one/);
  });
  test('a prompt that is none of what is served', async () => {
    for (const first of ['Once upon a time', 5, null]) {
      await expect(model.generate(first as never, { max_new_tokens: 2 })).rejects.toMatchObject({ code: 'input' });
    }
  });
});

describe('names that nobody knows', () => {
  test('are refused with the nearest', async () => {
    const near: Readonly<Record<string, string>> = {
      max_tokens: 'max_new_tokens',
      maxNewTokens: 'max_new_tokens',
      max_new_token: 'max_new_tokens',
      beams_num: 'num_beams',
      temprature: 'temperature',
      stop_string: 'stop_strings',
      input_id: 'input_ids',
    };
    for (const [name, known] of Object.entries(near)) {
      expect((await refusal({ [name]: 5 })).message).toBe(
        `generate() does not know the option \`${name}\`; did you mean \`${known}\`?`,
      );
    }
  });

  test('are type errors too', () => {
    // Never called: the compiler reads it.
    const calls = async (): Promise<void> => {
      // @ts-expect-error: max_new_tokens
      await model.generate({ max_tokens: 5 });
      // @ts-expect-error: max_new_tokens
      await model.generate({ input_ids, max_tokens: 5 });
      // @ts-expect-error: max_new_tokens
      await model.generate(input_ids, { max_tokens: 5 });
      // @ts-expect-error: a number
      await model.generate({ input_ids, max_new_tokens: '5' });
      // @ts-expect-error: max_new_tokens
      model.stream({ input_ids, max_tokens: 5 });
      // @ts-expect-error: input_ids
      await model.forward({ input_id: input_ids });
      // @ts-expect-error: temperature
      new GenerationConfig({ temprature: 1 });
      // @ts-expect-error: checkpoint
      defineModel({ checkpont: 'x' });
      // @ts-expect-error: max_new_tokens
      await GenerationConfig.from_pretrained('x', { max_tokens: 5 });
    };
    expect(calls).toBeTypeOf('function');
  });

  test('defineModel and forward refuse them', async () => {
    expect(() => defineModel({ checkpoint: 'x', max_cache_length: 5 } as never)).toThrow(/max_cache_len/);
    await expect(model.forward({ input_ids, output_hidden_state: true } as never)).rejects.toThrow(
      'did you mean `output_hidden_states`?',
    );
  });
});

describe("a checkpoint's own generation_config.json", () => {
  const generate = async (config: object, options: GenerateOptions = {}): Promise<number[][]> => {
    writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(config));
    const own = await AutoModelForCausalLM.from_pretrained(folder, load);
    return rowsOf(await own.generate({ input_ids, max_new_tokens: 5, do_sample: false, ...options }));
  };

  test('says nothing that stops it about caches, speed, padding or other programs', async () => {
    const warn = vi.spyOn(console, 'warn').mockReturnValue();
    const want = await generate({});
    const kinds = ['hybrid', 'sliding_window', 'static', 'dynamic', 'offloaded', 'offloaded_static', 'hybrid_chunked'];
    for (const cache_implementation of [...kinds, 'offloaded_hybrid', 'quantized', 'paged', 'of a later version']) {
      expect(await generate({ cache_implementation }), cache_implementation).toEqual(want);
    }
    expect(await generate({ cache_implementation: 'static', max_cache_len: 1 })).toEqual(want);
    for (const config of [
      { pad_token_id: -1 },
      { pad_token_id: 99_999 },
      { eos_token_id: -1 },
      { eos_token_id: [] },
      { compile_config: { mode: 'max' }, disable_compile: true },
      { prompt_lookup_num_tokens: 3, num_assistant_tokens: 5, is_assistant: true, assistant_early_exit: 4 },
      { use_mtp: true, cache_config: { nbits: 4 }, low_memory: true, use_cache: false },
      { output_attentions: true, output_hidden_states: true },
      { continuous_batching_config: {}, max_tokens: 5, transformers_version: '9.0', of_another: [1] },
    ]) {
      expect(await generate(config), JSON.stringify(config)).toEqual(want);
    }
    expect(warn.mock.calls.flat().join('\n')).toContain('pad_token_id');
    warn.mockRestore();
  });

  test('a caller has the same names for caches that give the same tokens', async () => {
    const want = await generate({});
    for (const cache_implementation of ['hybrid', 'sliding_window', 'hybrid_chunked', 'static', 'dynamic']) {
      expect(await generate({}, { cache_implementation })).toEqual(want);
    }
  });

  test('rows that end before others are padded, whatever the padding token', async () => {
    const want = await generate({});
    const eos_token_id = want[0][4];
    const rows = [...input_ids, [9, 8, 7]];
    const [first] = await generate({ pad_token_id: -1, eos_token_id }, { input_ids: rows });
    expect(first.slice(0, 5)).toEqual(want[0].slice(0, 5));
    expect(first.slice(5)).toEqual(new Array(first.length - 5).fill(eos_token_id));
    const [beyond] = await generate({ pad_token_id: 5000, eos_token_id }, { input_ids: rows });
    expect(beyond.slice(5)).toEqual(new Array(beyond.length - 5).fill(5000));
  });

  test('names what changes the tokens and is not served, and how to go on without', async () => {
    const want = await generate({});
    for (const config of [{ penalty_alpha: 0.6 }, { watermarking_config: { bias: 2 } }, { token_healing: true }]) {
      const [[name]] = Object.entries(config);
      const path = join(folder, 'generation_config.json');
      await expect(generate(config)).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(`^${path} has .${name}. = .*pass ${name}: null to generate`),
      });
      expect(await generate(config, { [name]: null })).toEqual(want);
      const compiling = writeArtifact(folder, join(folder, 'artifact'));
      await expect(compiling).rejects.toThrow(`pass ${name}: null`); // at once: nothing is built
    }
  });

  test('what the caller turns off is no reason to warn', async () => {
    const warn = vi.spyOn(console, 'warn').mockReturnValue();
    await generate({ do_sample: true, temperature: 0.61, top_p: 0.91 });
    expect(warn).not.toHaveBeenCalled();
    await generate({ do_sample: true }, { temperature: 0.62 });
    expect(warn.mock.calls.flat().join()).toContain('`temperature` is set to 0.62');
    warn.mockRestore();
  });

  test.skipIf(!hasMaterial).each(['gemma2-cache-implementation', 'pad-token-minus-one'])('%s', async (name) => {
    const root = join(material, 'field', name);
    const { input_ids: ids, greedy } = readJson<{ input_ids: number[][]; greedy: number[] }>(
      join(root, 'expected.json'),
    );
    const own = await AutoModelForCausalLM.from_pretrained(join(root, 'model'), { target: 'reference' });
    const output = await own.generate({ input_ids: ids, max_new_tokens: 10, do_sample: false });
    expect(rowsOf(output)).toEqual([greedy]);
  });
});
