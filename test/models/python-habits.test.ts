// What people who come from Python type: each line does here what it does there. On the example models.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  DynamicCache,
  EncoderDecoderCache,
  GenerationConfig,
  get_peft_model,
  LoraConfig,
  ModelcError,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  pipeline,
  QuantizedCache,
  StaticCache,
  type Tensor,
  TextStreamer,
} from '../../runtime/index.ts';

const example = fileURLToPath(new URL('../../examples/tiny-llama', import.meta.url));
const load = { target: 'reference', max_cache_len: 128 } as const;
const greedy = { max_new_tokens: 6, do_sample: false } as const;
const rowsOf = (t: Tensor): number[][] => t.tolist().map((row) => (row as (number | bigint)[]).map(Number));

let model: PreTrainedModel;
let tokenizer: PreTrainedTokenizer;
let inputs: ReturnType<PreTrainedTokenizer>;
let want: number[][];
let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'modelc-habits-'));
  model = await AutoModelForCausalLM.from_pretrained(example, load);
  tokenizer = await AutoTokenizer.from_pretrained(example);
  inputs = tokenizer('Once upon a time');
  want = rowsOf(await model.generate({ ...inputs, ...greedy }));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('generate()', () => {
  test('takes the inputs in front: a tensor, an array, what a tokenizer gave', async () => {
    const { input_ids, attention_mask } = inputs;
    expect(want[0].length).toBe(input_ids.dims[1] + 6);
    for (const output of [
      await model.generate(input_ids, { ...greedy }),
      await model.generate(input_ids, { attention_mask, ...greedy }),
      await model.generate(rowsOf(input_ids), { ...greedy }),
      await model.generate(rowsOf(input_ids)[0], { ...greedy }),
      await model.generate(inputs, greedy),
      await model.generate({ inputs: input_ids, ...greedy }),
      await model.generate(input_ids, new GenerationConfig(greedy)),
      await model.generate({ input_ids, generation_config: new GenerationConfig(greedy) }),
    ]) {
      expect(rowsOf(output)).toEqual(want);
    }
    const { sequences } = await model.generate(input_ids, { ...greedy, return_dict_in_generate: true });
    expect(rowsOf(sequences)).toEqual(want);
    expect((await model.generate(input_ids)).dims[1]).toBeGreaterThan(input_ids.dims[1]); // 20 tokens, or up to the end
    const ids: number[] = [];
    for await (const [id] of model.stream(input_ids, greedy)) ids.push(Number(id));
    expect(ids).toEqual(want[0].slice(-6));
  });

  test('so do models with adapters', async () => {
    const tuned = await get_peft_model(model, new LoraConfig({ r: 2, target_modules: ['q_proj'] }));
    expect(rowsOf(await tuned.generate(inputs.input_ids, greedy))).toEqual(want); // a new adapter changes nothing
    await expect(tuned.generate(inputs.input_ids, { max_tokens: 3 } as object)).rejects.toThrow(/max_new_tokens/);
  });

  test('settings of model.generation_config hold for later calls', async () => {
    const own = model.generation_config;
    expect(own.max_new_tokens).toBeUndefined();
    own.max_new_tokens = 2;
    own.do_sample = false;
    expect(rowsOf(await model.generate(inputs))).toEqual([want[0].slice(0, -4)]);
    expect(rowsOf(await model.generate({ ...inputs, max_new_tokens: 3 }))).toEqual([want[0].slice(0, -3)]);
    own.max_new_tokens = null;
    own.do_sample = null;
    expect(model.config.vocab_size).toBe(512);
  });

  test('a batch that is padded on the left continues each text as alone', async () => {
    const texts = ['Once upon a time', 'The'];
    const pad = tokenizer.eos_token_id!;
    const rows = texts.map((text) => tokenizer.encode(text));
    const length = Math.max(...rows.map((row) => row.length));
    const fill = (row: number[], value: number): number[] => [
      ...new Array<number>(length - row.length).fill(value),
      ...row,
    ];
    const output = await model.generate({
      input_ids: rows.map((row) => fill(row, pad)),
      attention_mask: rows.map((row) =>
        fill(
          row.map(() => 1),
          0,
        ),
      ),
      pad_token_id: pad,
      ...greedy,
      eos_token_id: null,
    });
    const whole = rowsOf(output);
    for (const [i, row] of rows.entries()) {
      const alone = await model.generate([row], { ...greedy, eos_token_id: null });
      expect(whole[i].slice(length - row.length)).toEqual(rowsOf(alone)[0]);
    }
    const read = tokenizer.batch_decode(output, { skip_special_tokens: true });
    expect(read[0].startsWith(texts[0])).toBe(true);
  });

  test('with a pad token that is the end token, a tokenizer makes such a batch', async () => {
    const own = await AutoTokenizer.from_pretrained(example);
    own.pad_token = own.eos_token;
    own.padding_side = 'left';
    const texts = ['Once upon a time', 'The'];
    const batch = own(texts, { padding: true });
    const output = await model.generate({ ...batch, pad_token_id: own.pad_token_id, ...greedy, eos_token_id: null });
    const read = own.batch_decode(output, { skip_special_tokens: true });
    for (const [i, text] of texts.entries()) {
      const alone = await model.generate({ ...own(text), ...greedy, eos_token_id: null });
      expect(read[i]).toBe(own.batch_decode(alone, { skip_special_tokens: true })[0]);
    }
    const pipe = await pipeline('text-generation', model, { tokenizer: own });
    own.padding_side = 'right'; // the pipeline pads on the left all the same
    const options = { ...greedy, eos_token_id: null, batch_size: 2 };
    expect((await pipe(texts, options)).map(([{ generated_text }]) => generated_text)).toEqual(read);
    const wide = { ...options, padding: 'max_length', tokenizer_encode_kwargs: { max_length: 12 } } as const;
    expect((await pipe(texts, wide)).map(([{ generated_text }]) => generated_text)).toEqual(read);
  });

  test('a streamer prints as the tokens come', async () => {
    let text = '';
    const streamer = new TextStreamer(tokenizer, { skip_prompt: true, callback_function: (piece) => (text += piece) });
    await model.generate({ ...inputs, ...greedy, streamer });
    expect(text).toBe(tokenizer.decode(want[0].slice(-6), { skip_special_tokens: true }));
    expect(() => new TextStreamer(tokenizer, { skip_prompts: true } as object)).toThrow('did you mean `skip_prompt`?');
    expect(() => new TextStreamer(undefined as never)).toThrow(/new TextStreamer\(tokenizer\)/);
  });

  test('an abort throws what the platform throws', async () => {
    const call = { ...inputs, ...greedy };
    const failure = (signal: AbortSignal): Promise<unknown> =>
      model.generate({ ...call, signal }).catch((e: unknown) => e);
    expect(await failure(AbortSignal.abort())).toMatchObject({ name: 'AbortError' });
    const reason = new Error('the user went away');
    expect(await failure(AbortSignal.abort(reason))).toBe(reason);
    expect(await failure(AbortSignal.abort('a word'))).toBe('a word');
    const timeout = AbortSignal.timeout(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await failure(timeout)).toMatchObject({ name: 'TimeoutError' });
    const controller = new AbortController();
    const ids: bigint[][] = [];
    const read = async (): Promise<void> => {
      for await (const step of model.stream({
        ...call,
        max_new_tokens: 50,
        eos_token_id: null,
        signal: controller.signal,
      })) {
        ids.push(step);
        controller.abort();
      }
    };
    const error = await read().catch((e: unknown) => e);
    expect(error).toMatchObject({ name: 'AbortError' });
    expect(error).toBe(controller.signal.reason);
    expect(ids.length).toBeLessThan(4);
  });
});

describe('caches', () => {
  test('are made with a config, and give the same tokens', async () => {
    const room = inputs.input_ids.dims[1] + 6;
    for (const cache of [
      new DynamicCache(),
      new DynamicCache({ config: model.config }),
      new StaticCache({ config: model.config, max_cache_len: room }),
      new StaticCache(model.config, room),
      new StaticCache({ max_cache_len: room }),
    ]) {
      expect(rowsOf(await model.generate({ ...inputs, ...greedy, past_key_values: cache }))).toEqual(want);
      cache.dispose();
      cache.dispose();
    }
  });

  test('that cannot be made or used are refused by name', async () => {
    const refused = (make: () => unknown, code: string, message: RegExp): void => {
      let error: unknown;
      try {
        make();
      } catch (caught) {
        error = caught;
      }
      expect(error).toBeInstanceOf(ModelcError);
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    };
    for (const size of [0, -1, 1.5, Number.NaN, '8', null]) {
      refused(() => new StaticCache({ max_cache_len: size as number }), 'input', /max_cache_len must be a positive/);
    }
    refused(() => new StaticCache({ max_cache_length: 8 } as never), 'input', /did you mean `max_cache_len`/);
    refused(() => new DynamicCache({ offloading: true } as object), 'unsupported', /offloading/);
    refused(() => new DynamicCache({ config: 5 } as never), 'input', /config of a model/);
    refused(() => new QuantizedCache(), 'unsupported', /QuantizedCache is not supported; use DynamicCache/);
    refused(() => new EncoderDecoderCache(), 'unsupported', /DynamicCache/);

    const cache = new DynamicCache();
    await model.generate({ ...inputs, ...greedy, past_key_values: cache });
    const other = await AutoModelForCausalLM.from_pretrained(example, load);
    const longer = [[...want[0], 5]];
    await expect(other.generate(longer, { ...greedy, past_key_values: cache })).rejects.toThrow(/another model/);
    await expect(model.generate([...longer, ...longer], { ...greedy, past_key_values: cache })).rejects.toThrow(
      /1 rows/,
    );
    const both = { ...greedy, past_key_values: new DynamicCache(), cache_implementation: 'static' };
    await expect(model.generate(longer, both)).rejects.toThrow(/pass one of the two/);
    const small = new StaticCache({ max_cache_len: inputs.input_ids.dims[1] + 2 });
    const full = model.generate({ ...inputs, ...greedy, eos_token_id: null, past_key_values: small });
    await expect(full).rejects.toThrow(/room for \d+ positions/);
  });
});

describe('a config of generation', () => {
  test('is read with overrides, and refuses what it does not know', async () => {
    writeFileSync(join(folder, 'generation_config.json'), '{"temperature": 0.6, "do_sample": true, "of_another": 1}');
    const config = await GenerationConfig.from_pretrained(folder, { max_new_tokens: 7, temperature: null });
    expect({ ...config }).toEqual({ do_sample: true, max_new_tokens: 7, temperature: null });
    expect(config.extra).toEqual({ of_another: 1 });
    const call = GenerationConfig.from_pretrained(folder, { max_tokens: 7 } as object);
    await expect(call).rejects.toThrow('did you mean `max_new_tokens`?');
    expect(() => new GenerationConfig({ max_tokens: 7 } as object)).toThrow('did you mean `max_new_tokens`?');
  });
});

describe('pipelines', () => {
  test('take a chat, a batch, a model and its tokenizer, and free the model', async () => {
    cpSync(example, folder, { recursive: true });
    writeFileSync(join(folder, 'chat_template.jinja'), '{% for m in messages %}{{ m.content }}{% endfor %}');
    const pipe = await pipeline('text-generation', folder, load);
    const messages = [{ role: 'user', content: 'Once upon a time' }];
    const [{ generated_text: chat }] = await pipe(messages, greedy);
    expect(chat.slice(0, -1)).toEqual(messages);
    expect(chat.at(-1)).toMatchObject({ role: 'assistant', content: expect.stringMatching(/\w/) });
    const [[{ generated_text: first }], [{ generated_text: empty }]] = await pipe(['Once upon a time', ''], {
      ...greedy,
      batch_size: 2,
      pad_token_id: 0,
    });
    expect(first).toBe(tokenizer.decode(want[0], { skip_special_tokens: true }));
    expect(typeof empty).toBe('string');
    await pipe.dispose();
    await pipe.dispose();
    await expect(pipe('Once', greedy)).rejects.toThrow(/disposed/);

    const second = await AutoModelForCausalLM.from_pretrained(example, load);
    const own = await pipeline('text-generation', second, { tokenizer });
    expect((await own('Once upon a time', greedy))[0].generated_text).toBe(first);
    await expect(pipeline('text-generation', second)).rejects.toThrow(/tokenizer/);
    second.dispose();
    second.dispose();
    await expect(second.generate(inputs, greedy)).rejects.toMatchObject({ code: 'input', message: /disposed/ });
  });

  test('every token of a stop_sequence ends the text', async () => {
    const pipe = await pipeline('text-generation', model, { tokenizer });
    const new_ids = want[0].slice(-6);
    // The text of the third new token; encoded by itself, it may begin with a mark of words.
    const stop = tokenizer.decode([new_ids[2]]);
    const ids = tokenizer.encode(stop, { add_special_tokens: false });
    const end = new_ids.findIndex((id) => ids.includes(id));
    const [{ generated_token_ids: found }] = (await pipe('Once upon a time', {
      ...greedy,
      stop_sequence: stop,
      return_tensors: true,
    })) as unknown as [{ generated_token_ids: number[] }];
    expect(end).toBeGreaterThanOrEqual(0);
    expect(found).toEqual(want[0].slice(0, inputs.input_ids.dims[1] + end + 1));
  });

  test('refuse what they do not know, at once and by name', async () => {
    await expect(pipeline('text-generation', example, { max_tokens: 5 } as object)).rejects.toThrow(/max_new_tokens/);
    await expect(pipeline('text-generation', example, { device_map: 'auto' } as object)).rejects.toMatchObject({
      code: 'unsupported',
    });
    const pipe = await pipeline('text-generation', model, { tokenizer });
    await expect(pipe('a', { return_fulltext: false } as object)).rejects.toThrow('did you mean `return_full_text`?');
    await expect(pipe('a', { handle_long_generation: 'cut' as 'hole' })).rejects.toThrow(/handle_long_generation/);
  });
});
