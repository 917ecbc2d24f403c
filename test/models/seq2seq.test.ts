// Encoder-decoder models, interpreted and compiled, against what transformers computed and generated, and what holds for
// any of them: rows do not see each other or padding, steps agree with whole pairs, and misuse is named.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { webgpuTarget } from '../../backends/webgpu/target.ts';
import { initialValues } from '../../frontends/dsl/index.ts';
import { describeModel, writeSafetensors } from '../../frontends/huggingface/index.ts';
import { arenaBytes } from '../../runtime/compiler/compile.ts';
import {
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoTokenizer,
  DynamicCache,
  type GenerateOptions,
  get_peft_model,
  LoraConfig,
  ModelcError,
  type PreTrainedTokenizer,
  type Seq2SeqModel,
  TaskType,
  TextStreamer,
} from '../../runtime/index.ts';
import { fitted, sourceOf } from '../../runtime/models/open.ts';
import { checkCase, readOracle, rowsOf, servedCases } from '../support/generation-oracle.ts';
import { hasMaterial, material, readArrays, readJson, relativeError } from '../support/golden.ts';

if (!hasMaterial)
  console.warn('seq2seq.test.ts: the material beside the repository is missing, golden cases are skipped');

/** Milliseconds in which a compiler is done, on a machine that does other things too. */
const compileTime = 120_000;

const golden = ['t5_gated', 'bart', 'marian', 'pegasus', 'blenderbot-small'];

describe.skipIf(!hasMaterial)('golden cases', () => {
  test.each(golden)('%s: logits, hidden states, loss and tokens', async (name) => {
    const folder = join(material, 'hf-golden', name);
    const want = readJson<{ greedy: number[][]; beam3: number[][]; train: { losses: number[] } }>(
      join(folder, 'golden.json'),
    );
    const arrays = await readArrays(join(folder, 'golden.safetensors'));
    const column = (name: string): number[][] => {
      const { shape, data } = arrays.get(name)!;
      return Array.from({ length: shape[0] }, (_, r) => [...data.slice(r * shape[1], (r + 1) * shape[1])]);
    };
    const source = { input_ids: column('input_ids'), attention_mask: column('attention_mask') };
    const decoder_input_ids = column('decoder_input_ids');
    const model = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target: 'reference' });
    const output = await model({ ...source, decoder_input_ids, output_hidden_states: true });
    expect(output.loss).toBeUndefined();
    for (const name of ['logits', 'encoder_last_hidden_state'] as const) {
      expect(relativeError(output[name].data, arrays.get(name)!.data), name).toBeLessThan(1e-5);
    }
    expect(output.decoder_hidden_states).toHaveLength(3);
    for (const [i, state] of output.decoder_hidden_states!.entries()) {
      expect(relativeError(state.data, arrays.get(`decoder_hidden_${i}`)!.data)).toBeLessThan(1e-5);
    }
    expect(output.encoder_hidden_states!.at(-1)!.data).toEqual(output.encoder_last_hidden_state.data);
    const { loss } = await model({ ...source, labels: decoder_input_ids });
    expect(loss!.item()).toBeCloseTo(want.train.losses[0], 4);
    const settings = { ...source, max_new_tokens: 10, eos_token_id: null, pad_token_id: 0 } as const;
    expect(rowsOf(await model.generate(settings))).toEqual(want.greedy);
    expect(rowsOf(await model.generate({ ...settings, num_beams: 3 }))).toEqual(want.beam3);
  });
});

describe.skipIf(!hasMaterial).each(['reference', 'cpu'] as const)('T5 against transformers, target %s', (target) => {
  const folder = join(material, 'hf-oracle/generate/t5');
  const oracle = readOracle(folder);
  let model: Seq2SeqModel;
  let tokenizer: PreTrainedTokenizer;
  let arrays: Awaited<ReturnType<typeof readArrays>>;
  beforeAll(async () => {
    model = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target, max_batch: 16 });
    tokenizer = await AutoTokenizer.from_pretrained(folder);
    arrays = await readArrays(join(folder, 'golden.safetensors'));
  }, compileTime);
  afterAll(() => model?.dispose());

  for (const c of servedCases(oracle)) {
    test(c.case, () => checkCase(model, { oracle, golden: arrays, tokenizer }, c));
  }

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
});

const config = {
  model_type: 't5',
  vocab_size: 40,
  d_model: 12,
  d_kv: 4,
  d_ff: 20,
  num_layers: 1,
  num_decoder_layers: 2,
  num_heads: 3,
  relative_attention_num_buckets: 8,
  relative_attention_max_distance: 12,
  pad_token_id: 0,
  eos_token_id: 1,
  decoder_start_token_id: 0,
};

/**
 * A checkpoint folder of a config, its weights drawn with a deviation of 0.5, or T5's with 4 times what they begin with, so
 * that what the layers add counts.
 */
async function checkpointOf(config: Readonly<Record<string, unknown>>, has: readonly string[] = []): Promise<string> {
  const range = config.model_type === 't5' ? 4 : 0.5;
  const folder = mkdtempSync(join(tmpdir(), 'modelc-t5-'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  let seed = 1;
  const uniform = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const untied = has.includes('lm_head.weight');
  const { model } = describeModel(config, 'config.json', 'seq2seq-lm', {
    has: (name) => has.includes(name),
    beside: { untied },
  }).task;
  const parameters = model.named();
  const tensors = [...initialValues(model, uniform, range)].map(([name, data]) => {
    const { shape } = parameters.get(name)!;
    return { name, dtype: 'f32', shape, data: new Uint8Array(data.buffer) } as const;
  });
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  return folder;
}

describe('a small T5', () => {
  const folders: string[] = [];
  let folder = '';
  let interpreted: Seq2SeqModel;
  let native: Seq2SeqModel;
  beforeAll(async () => {
    folder = await checkpointOf(config);
    folders.push(folder);
    interpreted = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target: 'reference' });
    native = await AutoModelForSeq2SeqLM.from_pretrained(folder, { max_length: 20, max_cache_len: 24, chunk: 3 });
  }, compileTime);
  afterAll(() => {
    native?.dispose();
    for (const f of folders) rmSync(f, { recursive: true, force: true });
  });

  const source = {
    input_ids: [
      [5, 6, 7, 8, 9, 10, 1],
      [11, 12, 1, 0, 0, 0, 0],
    ],
    attention_mask: [
      [1, 1, 1, 1, 1, 1, 1],
      [1, 1, 1, 0, 0, 0, 0],
    ],
  };
  const greedy = { max_new_tokens: 8, eos_token_id: null } as const;

  test('a row gives the same alone, padded in a batch, and in native code', async () => {
    const decoder_input_ids = [
      [0, 3, 4, 5],
      [0, 9, 8, 7],
    ];
    const together = await interpreted({ ...source, decoder_input_ids });
    const compiled = await native({ ...source, decoder_input_ids });
    expect(relativeError(compiled.logits.data, together.logits.data)).toBeLessThan(1e-5);
    const alone = await interpreted({ input_ids: [11, 12, 1], decoder_input_ids: decoder_input_ids[1] });
    expect(relativeError(together.logits.data.slice(4 * 40), alone.logits.data)).toBeLessThan(1e-6);
    const rows = rowsOf(await native.generate({ ...source, ...greedy }));
    expect(rowsOf(await native.generate({ input_ids: [[11, 12, 1]], ...greedy }))).toEqual([rows[1]]);
    expect(rowsOf(await interpreted.generate({ ...source, ...greedy }))).toEqual(rows);
  });

  test('step by step comes out what whole pairs say', async () => {
    const targets = source.input_ids.map(() => [0]);
    for (let step = 0; step < greedy.max_new_tokens; step++) {
      const { logits } = await native({ ...source, decoder_input_ids: targets });
      const [, length, vocab] = logits.dims;
      for (const [r, row] of targets.entries()) {
        const last = logits.data.subarray(((r + 1) * length - 1) * vocab, (r + 1) * length * vocab);
        row.push(last.indexOf(Math.max(...last)));
      }
    }
    expect(rowsOf(await native.generate({ ...source, ...greedy }))).toEqual(targets);
    // Given tokens come before, in chunks of 3; a start that is not there is put before them.
    const given = targets.map((row) => row.slice(0, 6));
    const goOn = { ...source, ...greedy, max_new_tokens: 3 };
    expect(rowsOf(await native.generate({ ...goOn, decoder_input_ids: given }))).toEqual(targets);
    const behind = await native.generate({ ...goOn, decoder_input_ids: given.map((row) => row.slice(1)) });
    expect(rowsOf(behind)).toEqual(targets);
    const encoder_outputs = await native.encode(source);
    const { attention_mask } = source;
    expect(rowsOf(await native.generate({ encoder_outputs, attention_mask, ...greedy }))).toEqual(targets);
  });

  test('a cache goes on where the last call ended, and a static one gives the same', async () => {
    const want = rowsOf(await native.generate({ ...source, ...greedy }));
    const cache = new DynamicCache();
    const first = await native.generate({ ...source, ...greedy, max_new_tokens: 4, past_key_values: cache });
    expect(cache.get_seq_length()).toBe(4);
    const second = await native.generate({
      ...source,
      ...greedy,
      max_new_tokens: 4,
      decoder_input_ids: first,
      past_key_values: cache,
    });
    expect(rowsOf(second)).toEqual(want);
    cache.dispose();
    const options = { cache_implementation: 'static', max_cache_len: 12 } as const;
    const fixed = await AutoModelForSeq2SeqLM.from_pretrained(folder, options);
    expect(rowsOf(await fixed.generate({ ...source, ...greedy }))).toEqual(want);
    fixed.dispose();
  });

  test.each(['reference', 'cpu'])('rows of a cache that change places take their sources along: %s', async (target) => {
    const model = target === 'cpu' ? native : interpreted;
    const want = rowsOf(await model.generate({ ...source, ...greedy }));
    const cache = new DynamicCache();
    const options = { ...greedy, max_new_tokens: 4, past_key_values: cache };
    const first = rowsOf(await model.generate({ ...source, ...options }));
    cache.reorder_cache([1, 0]);
    const second = await model.generate({ ...source, ...options, decoder_input_ids: first.reverse() });
    expect(rowsOf(second)).toEqual(want.reverse());
    cache.dispose();
  });

  test('sampling is reproducible, and streams give the ids of each step', async () => {
    const sampled = async (seed: number): Promise<number[][]> =>
      rowsOf(await native.generate({ ...source, ...greedy, do_sample: true, seed, num_return_sequences: 2 }));
    expect(await sampled(7)).toEqual(await sampled(7));
    expect(await sampled(7)).not.toEqual(await sampled(8));
    expect(await sampled(7)).toHaveLength(4);
    const steps: number[][] = [];
    for await (const ids of native.stream({ ...source, ...greedy })) steps.push(ids.map(Number));
    const want = rowsOf(await native.generate({ ...source, ...greedy }));
    expect(steps).toEqual(want[0].slice(1).map((_, s) => want.map((row) => row[s + 1])));
  });

  test('an output layer of its own is read where the checkpoint has one, and then nothing is scaled', async () => {
    const own = { ...config, tie_word_embeddings: false };
    folders.push(await checkpointOf(own, ['lm_head.weight']));
    const model = await AutoModelForSeq2SeqLM.from_pretrained(folders.at(-1)!, { target: 'reference' });
    const { logits, decoder_hidden_states } = await model({
      input_ids: [[5, 1]],
      decoder_input_ids: [[0]],
      output_hidden_states: true,
    });
    const { data } = (await readArrays(join(folders.at(-1)!, 'model.safetensors'))).get('lm_head.weight')!;
    const hidden = decoder_hidden_states!.at(-1)!.data;
    const want = Array.from({ length: 40 }, (_, v) => hidden.reduce((sum, x, i) => sum + x * data[12 * v + i], 0));
    expect(relativeError(logits.data, want)).toBeLessThan(1e-5);
  });

  test('weights that a training adopts are those that it computes with', async () => {
    const model = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target: 'reference' });
    const { weights, adopt, task } = model.trainable!;
    const names = [...task.model.named().keys()].filter((name) => weights.tensors.some(([n]) => n === name));
    const zeros = await Promise.all(
      names.map(async (name) => {
        const { shape, data } = await weights.read(name);
        return [name, { dtype: 'f32', shape, data: new Float32Array(data.length) }] as const;
      }),
    );
    await adopt(new Map(zeros));
    const { loss } = await model({ input_ids: [[5, 1]], labels: [[3, -100, 4]] });
    expect(loss!.item()).toBeCloseTo(Math.log(40), 5);
  });

  test('adapters take part in generation, and merged into the weights they give the same', async () => {
    const config = new LoraConfig({ task_type: TaskType.SEQ_2_SEQ_LM, r: 4, lora_alpha: 64, init_lora_weights: false });
    const peft = await get_peft_model(interpreted, config, 'default', { seed: 3 });
    const tokens = rowsOf(await peft.generate({ ...source, ...greedy }));
    expect(tokens).not.toEqual(rowsOf(await interpreted.generate({ ...source, ...greedy })));
    const decoder_input_ids = tokens.map((row) => row.slice(0, -1));
    const { logits } = await peft.forward({ ...source, decoder_input_ids });
    const encoded = (await peft.encode(source)).last_hidden_state;
    const merged = await peft.merge_and_unload();
    expect(rowsOf(await merged.generate({ ...source, ...greedy }))).toEqual(tokens);
    const again = await merged({ ...source, decoder_input_ids });
    expect(relativeError(again.logits.data, logits.data)).toBeLessThan(1e-5);
    expect(relativeError(encoded.data, again.encoder_last_hidden_state.data)).toBeLessThan(1e-5);
  });

  test('a target that binds little runs fewer rows at once', () => {
    const opened = sourceOf<'seq2seq-lm'>(interpreted)!;
    const target = webgpuTarget();
    expect(fitted(opened, 'forward', { ...target, bindingBytes: 2 ** 50 })).toBe(opened);
    const bindingBytes = arenaBytes(opened.trace('forward'), target) - 1;
    expect(fitted(opened, 'forward', { ...target, bindingBytes }).limits.batch).toBe(4);
    expect(fitted(opened, 'forward', { ...target, bindingBytes: 4096 }).limits.batch).toBe(1);
  });

  test('misuse is named', async () => {
    const expectError = async (options: GenerateOptions, code: string, message: RegExp): Promise<void> => {
      const error = await native.generate(options).catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    };
    const input_ids = [[5, 1]];
    await expectError({}, 'input', /needs input_ids/);
    await expectError({ input_ids: [[40]] }, 'input', /40 tokens/);
    await expectError({ input_ids: [new Array<number>(21).fill(5)] }, 'input', /21 tokens.*20.*max_length: 21/);
    await expectError({ input_ids, attention_mask: [[1]] }, 'input', /attention_mask/);
    await expectError({ input_ids, decoder_input_ids: [[0], [0]] }, 'input', /decoder_input_ids has 2 rows/);
    await expectError({ input_ids, decoder_start_token_id: [0, 1] }, 'input', /decoder_start_token_id has 2 tokens/);
    await expectError({ input_ids, guidance_scale: 2 }, 'unsupported', /guidance_scale/);
    await expectError({ input_ids: new Array<number[]>(9).fill([5]) }, 'input', /max_batch: 9/);
    await expectError({ input_ids, num_beams: 10 }, 'input', /max_batch: 10/);
    const encoded = await native.encode({ input_ids });
    const beside = { encoder_outputs: encoded, encoder_no_repeat_ngram_size: 2 };
    await expectError(beside, 'input', /beside encoder_outputs/);
    await expect(native({ input_ids })).rejects.toThrow(/needs decoder_input_ids/);
    await expect(AutoModelForSeq2SeqLM.from_pretrained(folder, { revision: 'x' } as never)).rejects.toThrow(/revision/);
    await expect(AutoModelForSeq2SeqLM.from_pretrained(folder, { max_length: 0 })).rejects.toThrow(/max_length/);
    await expect(AutoModelForCausalLM.from_pretrained(folder)).rejects.toThrow(/AutoModelForSeq2SeqLM/);
    expect(() => describeModel({ model_type: 'llama' }, 'config.json', 'seq2seq-lm')).toThrow(/llama.*t5/);
    expect(() => describeModel({ ...config, feed_forward_proj: 'gated' }, 'c.json', 'seq2seq-lm')).toThrow(
      /feed_forward_proj/,
    );
  });
});

describe('models of the kind of BART', () => {
  const small = {
    vocab_size: 40,
    d_model: 12,
    encoder_layers: 1,
    encoder_ffn_dim: 16,
    encoder_attention_heads: 3,
    decoder_layers: 2,
    decoder_ffn_dim: 16,
    decoder_attention_heads: 2,
    max_position_embeddings: 16,
    pad_token_id: 1,
    eos_token_id: 2,
    decoder_start_token_id: 2,
    scale_embedding: true,
  };
  const source = {
    input_ids: [
      [5, 6, 7, 8, 2],
      [11, 12, 2, 1, 1],
    ],
    attention_mask: [
      [1, 1, 1, 1, 1],
      [1, 1, 1, 0, 0],
    ],
  };

  test.each(['bart', 'mbart', 'marian', 'pegasus', 'blenderbot', 'blenderbot-small', 'm2m_100'])(
    '%s: steps agree with whole pairs, and a row is the same alone',
    async (model_type) => {
      const folder = await checkpointOf({ ...small, model_type });
      const model = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target: 'reference' });
      const rows = rowsOf(
        await model.generate({ ...source, decoder_start_token_id: 2, max_new_tokens: 5, eos_token_id: null }),
      );
      const { logits } = await model({ ...source, decoder_input_ids: rows });
      const [, length, vocab] = logits.dims;
      const likely = rows.map((row, r) =>
        row.slice(1).map((_, i) => {
          const at = (r * length + i) * vocab;
          const scores = logits.data.subarray(at, at + vocab);
          return scores.indexOf(Math.max(...scores));
        }),
      );
      expect(likely).toEqual(rows.map((row) => row.slice(1)));
      const alone = await model({ input_ids: [[11, 12, 2]], decoder_input_ids: [rows[1]] });
      expect(relativeError(logits.data.slice(length * vocab), alone.logits.data)).toBeLessThan(1e-6);
      rmSync(folder, { recursive: true, force: true });
    },
  );

  test('M2M100 counts the positions of tokens alone, from the one behind padding', async () => {
    const folder = await checkpointOf({ ...small, model_type: 'm2m_100' });
    const model = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target: 'reference' });
    const encoded = await model({
      input_ids: [[1, 5, 1, 6]],
      decoder_input_ids: [[2]],
      output_hidden_states: true,
    });
    const table = (await readArrays(join(folder, 'model.safetensors'))).get('model.shared.weight')!.data;
    const place = (p: number): number[] =>
      Array.from({ length: 12 }, (_, i) =>
        i < 6 ? Math.sin(p / 10000 ** (i / 5)) : Math.cos(p / 10000 ** ((i - 6) / 5)),
      );
    const row = (id: number, position?: number[]): number[] =>
      Array.from({ length: 12 }, (_, i) => table[12 * id + i] * Math.sqrt(12) + (position?.[i] ?? 0));
    const want = [row(1), row(5, place(2)), row(1), row(6, place(3))].flat();
    expect(relativeError(encoded.encoder_hidden_states![0].data, want)).toBeLessThan(1e-6);
    rmSync(folder, { recursive: true, force: true });
  });

  test('what cannot be read is named', async () => {
    const read = (more: Readonly<Record<string, unknown>>) => () =>
      describeModel({ ...small, model_type: 'marian', ...more }, 'config.json', 'seq2seq-lm');
    expect(read({ share_encoder_decoder_embeddings: false })).toThrow(/share_encoder_decoder_embeddings/);
    expect(read({ d_model: 13 })).toThrow(/d_model/);
    const folder = await checkpointOf({ ...small, model_type: 'mbart', decoder_start_token_id: null });
    const model = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target: 'reference' });
    await expect(model.generate({ input_ids: [[5, 2]] })).rejects.toThrow(/decoder_start_token_id/);
    rmSync(folder, { recursive: true, force: true });
  });
});
