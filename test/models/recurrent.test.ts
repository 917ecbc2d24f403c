// Models whose layers carry a state of a fixed size: what they generate does not depend on how the prompt is cut, padded or
// batched, and a generation goes on from its cache, on every kind of session.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeModel } from '../../frontends/huggingface/index.ts';
import { AutoModelForCausalLM, type PreTrainedModel, type Tensor } from '../../runtime/index.ts';
import { openEmulated } from '../support/cuda-device.ts';

const sizes = { vocab_size: 32, hidden_size: 16, num_hidden_layers: 2, initializer_range: 0.6, tie_word_embeddings: false, eos_token_id: null, bos_token_id: 1, pad_token_id: 0 }; // biome-ignore format: one row
const configs = {
  mamba: { model_type: 'mamba', ...sizes, state_size: 4, time_step_min: 0.1, time_step_max: 1 },
  lfm2: { model_type: 'lfm2', ...sizes, intermediate_size: 24, num_attention_heads: 2, num_key_value_heads: 1, full_attn_idxs: [1], max_position_embeddings: 64 }, // biome-ignore format: one row
};
const prompt = [5, 9, 2, 17, 30, 4];
const idsOf = (ids: Tensor<'int64'>): number[][] => {
  const [rows, columns] = ids.dims;
  return Array.from({ length: rows }, (_, r) => Array.from(ids.data.slice(r * columns, (r + 1) * columns), Number));
};

test('a new Mamba begins as its config says', async () => {
  const { model_type, ...fields } = configs.mamba;
  const model = await AutoModelForCausalLM.from_config({ model_type, ...fields }, { target: 'reference' });
  const read = async (name: string): Promise<number[]> =>
    Array.from((await model.trainable!.weights.read(`backbone.layers.1.mixer.${name}`)).data, Number);
  expect((await read('A_log')).slice(4, 8).map((a) => Math.exp(a))).toEqual([1, 2, 3, 4].map((n) => expect.closeTo(n)));
  for (const bias of await read('dt_proj.bias')) {
    const step = Math.log1p(Math.exp(bias));
    expect(step).toBeGreaterThan(0.0999);
    expect(step).toBeLessThan(1.0001);
  }
  const conv = await read('conv1d.weight');
  expect(Math.max(...conv.map(Math.abs))).toBeLessThanOrEqual(0.5);
  expect(Math.max(...conv.map(Math.abs))).toBeGreaterThan(0.4);
});

test('a config that contradicts itself is refused', () => {
  const describeConfig = (fields: object) => () => describeModel({ ...fields } as never, 'config.json', 'causal-lm');
  expect(describeConfig({ ...configs.mamba, time_step_rank: 'all' })).toThrow(/config\.json: time_step_rank must be a positive integer, found "all"/); // biome-ignore format: one row
  expect(describeConfig({ ...configs.mamba, time_step_init_scheme: 'zero' })).toThrow(/'random' or 'constant'/);
  expect(describeConfig({ ...configs.lfm2, layer_types: ['conv'] })).toThrow(/layer_types must be .* for 2 layers/);
  expect(describeConfig({ ...configs.lfm2, layer_types: ['conv', 'mamba'] })).toThrow(/layer_types/);
  expect(describeConfig({ ...configs.lfm2, full_attn_idxs: 1 })).toThrow(/full_attn_idxs must be a list/);
});

describe.each(['mamba', 'lfm2'] as const)('%s', (name) => {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-recurrent-'));
  let want: number[];
  beforeAll(async () => {
    const model = await AutoModelForCausalLM.from_config(configs[name], { target: 'reference', seed: 3 });
    await model.save_pretrained(folder);
    [want] = idsOf(await model.generate({ input_ids: [prompt], max_new_tokens: 12, do_sample: false }));
    expect(new Set(want.slice(prompt.length)).size).toBeGreaterThan(3); // else a wrong state would not show
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const open = async (target: string): Promise<PreTrainedModel> =>
    target === 'cuda (emulated)'
      ? (await openEmulated(folder)).model
      : AutoModelForCausalLM.from_pretrained(folder, { target: target as 'cpu' });

  test.each(['reference', 'cpu', 'cuda (emulated)'])('on %s', { timeout: 120_000 }, async (target) => {
    const model = await open(target);
    const greedy = { do_sample: false, max_new_tokens: 12 } as const;
    expect(idsOf(await model.generate({ input_ids: [prompt], ...greedy }))).toEqual([want]);
    expect(idsOf(await model.generate({ input_ids: [prompt], ...greedy, prefill_chunk_size: 2 }))).toEqual([want]);

    // beside a longer row, padded at the left
    const longer = [3, 11, ...prompt];
    const input_ids = [[0, 0, ...prompt], longer];
    const attention_mask = [[0, 0, ...prompt.map(() => 1)], longer.map(() => 1)];
    const [padded] = idsOf(await model.generate({ input_ids, attention_mask, ...greedy }));
    expect(padded.slice(2)).toEqual(want);

    // A generation that ends early leaves a cache that knows nothing of what a device had computed ahead.
    const stop = prompt.length + 4;
    const { sequences, past_key_values } = await model.generate({
      input_ids: [prompt],
      ...greedy,
      eos_token_id: want[stop - 1],
      return_dict_in_generate: true,
    });
    const [begun] = idsOf(sequences);
    expect(begun).toEqual(want.slice(0, want.indexOf(want[stop - 1], prompt.length) + 1));
    const rest = { ...greedy, max_new_tokens: want.length - begun.length, past_key_values: past_key_values! };
    const all = { input_ids: [begun], attention_mask: [begun.map(() => 1)] }; // a token that pads may be said, too
    expect(idsOf(await model.generate({ ...all, ...rest }))).toEqual([want]);

    // Beams take their states with them.
    const beams = { input_ids: [prompt], ...greedy, num_beams: 3, num_return_sequences: 3 };
    const reference = await open('reference');
    expect(idsOf(await model.generate(beams))).toEqual(idsOf(await reference.generate(beams)));
    for (const m of [model, reference]) m.dispose();
  });
});
