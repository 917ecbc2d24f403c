// Generation, interpreted and compiled, against what transformers generated: greedy search, processors, stop strings,
// guidance, beams; and how generate() treats bad arguments, aborts and streams.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  DynamicCache,
  type GenerateOptions,
  GenerationConfig,
  InterruptableStoppingCriteria,
  LogitsProcessor,
  ModelcError,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  type Scores,
  TextIteratorStreamer,
  TextStreamer,
} from '../../runtime/index.ts';
import { checkCase, readOracle, rowsOf, servedCases } from '../support/generation-oracle.ts';
import { hasMaterial, material, readArrays, readJson } from '../support/golden.ts';

if (!hasMaterial)
  console.warn('generation.test.ts: the material beside the repository is missing, golden cases are skipped');

describe('GenerationConfig', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'modelc-generation-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('writes only what differs from the defaults, sorted, and reads it back', async () => {
    const config = new GenerationConfig({ top_k: 50, do_sample: true, temperature: 0.6, eos_token_id: [2, 3] });
    await config.save_pretrained(folder);
    const text = readFileSync(join(folder, 'generation_config.json'), 'utf8');
    expect(Object.keys(JSON.parse(text))).toEqual(['do_sample', 'eos_token_id', 'temperature']);
    const read = await GenerationConfig.from_pretrained(folder, { top_p: 0.9 });
    expect(read.parameters()).toEqual({ do_sample: true, eos_token_id: [2, 3], temperature: 0.6, top_p: 0.9 });
  });

  test('refuses to save what would warn, and to exist with impossible values', async () => {
    await expect(new GenerationConfig({ temperature: 0.5 }).save_pretrained(folder)).rejects.toThrow(/do_sample/);
    expect(() => new GenerationConfig({ early_stopping: 'sometimes' as 'never' })).toThrow(/early_stopping/);
    expect(() => new GenerationConfig({ max_new_tokens: 0 })).toThrow(/greater than 0/);
    expect(() => new GenerationConfig({ num_return_sequences: 2 })).toThrow(/num_return_sequences/);
    expect(() => new GenerationConfig({ streamer: null } as object)).toThrow(/argument of generate/);
    expect(() => GenerationConfig.parse('{', 'x.json')).toThrow(/x\.json is not valid JSON/);
  });

  test('keeps entries that it does not know', () => {
    const config = GenerationConfig.fromFile({ no_timestamps_token_id: 7, _from_model_config: true }, 'x.json');
    expect(config.to_diff_dict()).toEqual({ no_timestamps_token_id: 7 });
  });
});

describe.skipIf(!hasMaterial).each(['reference', 'cpu'] as const)('against transformers, target %s', (target) => {
  const folder = join(material, 'hf-oracle/generate/llama');
  const oracle = readOracle(folder);
  let model: PreTrainedModel;
  let tokenizer: PreTrainedTokenizer;
  let golden: Awaited<ReturnType<typeof readArrays>>;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.from_pretrained(folder, { target, max_batch: 16 });
    tokenizer = await AutoTokenizer.from_pretrained(folder);
    golden = await readArrays(join(folder, 'golden.safetensors'));
  });

  for (const c of servedCases(oracle)) {
    test(c.case, async () => {
      await checkCase(model, { oracle, golden, tokenizer }, c);
    });
  }

  test('without a cache and in one call per token, the same tokens', async () => {
    const { input_ids, attention_mask } = oracle.inputs.batch;
    const want = rowsOf(await model.generate({ input_ids, attention_mask, max_new_tokens: 3, eos_token_id: null }));
    const ids = input_ids.map((row) => [...row]);
    const mask = attention_mask.map((row) => [...row]);
    for (let step = 0; step < 3; step++) {
      const { logits } = await model({ input_ids: ids, attention_mask: mask });
      const [, length, vocab] = logits.dims;
      for (const [r, row] of ids.entries()) {
        const last = logits.data.subarray(((r + 1) * length - 1) * vocab, (r + 1) * length * vocab);
        row.push(last.indexOf(Math.max(...last)));
        mask[r].push(1);
      }
    }
    expect(ids).toEqual(want);
  });

  for (const e of oracle.errors.filter((k) => k.error)) {
    test(`refuses ${JSON.stringify(e.kwargs)}`, async () => {
      const error = await model.generate({ ...oracle.inputs.single, ...e.kwargs }).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(ModelcError);
      expect((error as ModelcError).message).not.toContain('\n');
    });
  }

  for (const skip_prompt of [true, false]) {
    test(`TextStreamer, skip_prompt ${skip_prompt}`, async () => {
      const chunks: [string, boolean][] = [];
      const streamer = new TextStreamer(tokenizer, { skip_prompt });
      streamer.on_finalized_text = (text, end) => chunks.push([text, end]);
      await model.generate({ ...oracle.inputs.single, max_new_tokens: 16, streamer });
      expect(chunks).toEqual(oracle.streamer[`skip_prompt_${skip_prompt ? 'True' : 'False'}`]);
    });
  }

  test('prompts in chunks, a static cache and a cache that grows give the same tokens', async () => {
    const { input_ids, attention_mask } = oracle.inputs.batch;
    const want = rowsOf(await model.generate({ input_ids, attention_mask, max_new_tokens: 6 }));
    const chunked = await model.generate({ input_ids, attention_mask, max_new_tokens: 6, prefill_chunk_size: 5 });
    expect(rowsOf(chunked)).toEqual(want);
    const fixed = { cache_implementation: 'static', max_cache_len: 26 } as const;
    expect(rowsOf(await model.generate({ input_ids, attention_mask, max_new_tokens: 6, ...fixed }))).toEqual(want);
    // A size that is too small is room for other calls, and no bound.
    const longer = await model.generate({ input_ids, attention_mask, max_new_tokens: 7, ...fixed });
    expect(longer.dims[1]).toBe(input_ids[0].length + 7);
  });

  test('a cache continues where the last call ended', async () => {
    const cache = new DynamicCache();
    const { input_ids } = oracle.inputs.single;
    const first = await model.generate({ input_ids, max_new_tokens: 4, past_key_values: cache });
    expect(cache.get_seq_length()).toBe(input_ids[0].length + 3);
    expect(cache.get_max_length()).toBe(input_ids[0].length + 3); // made as large as the call could need
    const second = await model.generate({ input_ids: first, max_new_tokens: 4, past_key_values: cache });
    expect(rowsOf(second)).toEqual(rowsOf(await model.generate({ input_ids, max_new_tokens: 8 })));
    cache.dispose();
  });

  test('sampling is reproducible by seed', async () => {
    const sampled = async (seed: number): Promise<number[][]> =>
      rowsOf(await model.generate({ ...oracle.inputs.batch, max_new_tokens: 8, do_sample: true, top_k: 20, seed }));
    expect(await sampled(7)).toEqual(await sampled(7));
    expect(await sampled(7)).not.toEqual(await sampled(8));
    const several = await model.generate({
      ...oracle.inputs.batch,
      max_new_tokens: 2,
      do_sample: true,
      num_return_sequences: 3,
    });
    expect(several.dims[0]).toBe(9);
    const beams = { ...oracle.inputs.single, max_new_tokens: 4, do_sample: true, num_beams: 2, seed: 1 };
    expect(rowsOf(await model.generate(beams))).toEqual(rowsOf(await model.generate(beams)));
  });

  test('user processors, criteria and signals', async () => {
    class Only325 extends LogitsProcessor {
      _call(_: bigint[][], logits: Scores): Scores {
        logits.data.fill(Number.NEGATIVE_INFINITY);
        logits.data[325] = 0;
        return logits;
      }
    }
    const { input_ids } = oracle.inputs.single;
    const forced = await model.generate({ input_ids, max_new_tokens: 3, logits_processor: [new Only325()] });
    expect(rowsOf(forced)[0].slice(-3)).toEqual([325, 325, 325]);
    const stopper = new InterruptableStoppingCriteria();
    stopper.interrupt();
    expect((await model.generate({ input_ids, stopping_criteria: [stopper] })).dims[1]).toBe(input_ids[0].length + 1);
    const aborted = model.generate({ input_ids, signal: AbortSignal.abort() });
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('streams ids and text', async () => {
    const { input_ids } = oracle.inputs.single;
    const whole = rowsOf(await model.generate({ input_ids, max_new_tokens: 5 }))[0];
    const ids: number[] = [];
    for await (const [id] of model.stream({ input_ids, max_new_tokens: 5 })) ids.push(Number(id));
    expect(ids).toEqual(whole.slice(input_ids[0].length));
    for await (const _ of model.stream({ input_ids, max_new_tokens: 200, eos_token_id: null })) break;

    const streamer = new TextIteratorStreamer(tokenizer, { skip_prompt: true });
    const finished = model.generate({ input_ids, max_new_tokens: 5, streamer });
    let text = '';
    for await (const piece of streamer) text += piece;
    await finished;
    expect(text).toBe(tokenizer.decode(ids, { skip_special_tokens: true }));
  });

  test('bad inputs say what is wrong', async () => {
    const expectError = async (options: GenerateOptions, code: string, message: RegExp): Promise<void> => {
      const error = await model.generate(options).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    };
    await expectError({ input_ids: [[]] }, 'input', /empty/);
    await expectError({ input_ids: [[1, 2], [3]] }, 'input', /one length/);
    await expectError({ input_ids: [[1, 512]] }, 'input', /512 tokens/);
    await expectError({ input_ids: [[1.5]] }, 'input', /integers/);
    await expectError({ input_ids: 'text' as unknown as number[] }, 'input', /array of token ids/);
    await expectError({ input_ids: [new Array<number>(300).fill(5)], max_new_tokens: 1 }, 'input', /300 tokens.*256/);
    await expectError({ input_ids: [[1, 2]], attention_mask: [[1]] }, 'input', /attention_mask/);
    await expectError({ input_ids: new Array<number[]>(17).fill([1]), max_new_tokens: 1 }, 'input', /max_batch: 17/);
    await expectError({ input_ids: [[1]], prompt_lookup_num_tokens: 3 }, 'unsupported', /prompt_lookup_num_tokens/);
    await expectError({ input_ids: [[1]], cache_implementation: 'quantized' }, 'unsupported', /quantized/);
  });
});

describe.skipIf(!hasMaterial)('stories260K', () => {
  test.each([{ target: 'reference' }, { target: 'cpu' }, { target: 'cpu', cache_implementation: 'static' }] as const)(
    'greedy text is the golden one: %o',
    async (load) => {
      const root = join(material, 'lm/stories260K');
      const want = readJson<{ prompt: string; ids: number[]; max_new_tokens: number; text: string }>(
        join(root, 'greedy100.json'),
      );
      const model = await AutoModelForCausalLM.from_pretrained(join(root, 'hf'), load);
      const tokenizer = await AutoTokenizer.from_pretrained(join(root, 'hf'));
      const output = await model.generate({ ...tokenizer(want.prompt), max_new_tokens: want.max_new_tokens });
      expect(rowsOf(output)[0]).toEqual(want.ids);
      expect(tokenizer.batch_decode(output, { skip_special_tokens: true })).toEqual([want.text]);
    },
  );
});
