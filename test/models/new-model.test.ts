// Models that are made of a config alone: which weights they have, and that they run and take other weights.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
} from '../../runtime/index.ts';

const config = {
  model_type: 'llama',
  vocab_size: 48,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-6,
  initializer_range: 0.1,
};

test('weights are drawn by the seed: normal matrices, norms of ones', async () => {
  const weights = async (seed?: number): Promise<(name: string) => Promise<number[]>> => {
    const options = { target: 'reference', ...(seed !== undefined && { seed }) } as const;
    const model = await AutoModelForCausalLM.from_config(config, options);
    return async (name) => Array.from((await model.trainable!.weights.read(name)).data, Number);
  };
  const [a, b, other] = [await weights(), await weights(42), await weights(1)];
  const name = 'model.layers.0.mlp.up_proj.weight';
  expect(await a(name)).toEqual(await b(name));
  expect(await a(name)).not.toEqual(await other(name));
  const values = await a(name);
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
  expect(deviation).toBeGreaterThan(0.085); // of 384 numbers; their standard error is 0.0036
  expect(deviation).toBeLessThan(0.115);
  expect(new Set(await a('model.norm.weight'))).toEqual(new Set([1]));
});

test('a model goes on with the weights that it is given', async () => {
  const [model, other] = [
    await AutoModelForCausalLM.from_config(config, { target: 'reference' }),
    await AutoModelForCausalLM.from_config(config, { target: 'reference', seed: 7 }),
  ];
  const input_ids = [[1, 2, 3]];
  const logits = async (m: typeof model): Promise<number[]> => Array.from((await m({ input_ids })).logits.data);
  const expected = await logits(other);
  expect(await logits(model)).not.toEqual(expected);
  const { weights } = other.trainable!;
  const tensors = await Promise.all(weights.tensors.map(async ([name]) => [name, await weights.read(name)] as const));
  await model.trainable!.adopt(new Map(tensors));
  expect(await logits(model)).toEqual(expected);
});

test('a config that describes no known model is refused', async () => {
  await expect(AutoModelForCausalLM.from_config({ ...config, model_type: 'nope' })).rejects.toThrow(
    /^the config has model_type .nope./,
  );
});

describe('a new encoder for a task', () => {
  const bert = {
    model_type: 'bert',
    vocab_size: 24,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 16,
    id2label: { 0: 'no', 1: 'yes', 2: 'perhaps' },
    initializer_range: 0.1,
  };
  const options = { target: 'reference' } as const;
  const input_ids = [[2, 5, 7, 3]];

  test('has the head and classes of its config, and the weights of its seed', async () => {
    const logits = async (seed?: number): Promise<number[]> => {
      const made = { ...options, ...(seed !== undefined && { seed }) };
      const model = await AutoModelForSequenceClassification.from_config(bert, made);
      const output = await model({ input_ids });
      expect(output.logits.dims).toEqual([1, 3]);
      return Array.from(output.logits.data);
    };
    expect(await logits()).toEqual(await logits(42));
    expect(await logits()).not.toEqual(await logits(1));
    const tokens = await AutoModelForTokenClassification.from_config(bert, options);
    expect((await tokens({ input_ids })).logits.dims).toEqual([1, 4, 3]);
    const masked = await AutoModelForMaskedLM.from_config(bert, options);
    expect((await masked({ input_ids })).logits.dims).toEqual([1, 4, 24]);
    const span = await AutoModelForQuestionAnswering.from_config(bert, { ...options, num_labels: 2 });
    expect((await span({ input_ids })).start_logits.dims).toEqual([1, 4]);
    const encoder = await AutoModel.from_config(bert, options);
    expect((await encoder({ input_ids })).last_hidden_state.dims).toEqual([1, 4, 16]);
  });

  test('begins without a preference: biases and the embedding of padding are 0', async () => {
    const model = await AutoModelForSequenceClassification.from_config(bert, options);
    const values = async (name: string): Promise<number[]> =>
      Array.from((await model.trainable!.weights.read(name)).data, Number);
    expect(new Set(await values('classifier.bias'))).toEqual(new Set([0]));
    const words = await values('bert.embeddings.word_embeddings.weight');
    expect(new Set(words.slice(0, 16))).toEqual(new Set([0]));
    expect(words.slice(16).every((v) => v !== 0)).toBe(true);
  });

  test('is refused where the config has no such task, or an option is not served', async () => {
    await expect(AutoModelForMaskedLM.from_config({ ...bert, model_type: 'gpt2' })).rejects.toThrow(
      /^the config has model_type .gpt2./,
    );
    const bad = { ...options, chunk: 4 };
    await expect(AutoModel.from_config(bert, bad)).rejects.toThrow(/from_config\(\) does not know the option `chunk`/);
  });
});

test('a new T5 has weights of the sizes that suit scores without a scale, and is saved and read again', async () => {
  const t5 = { model_type: 't5', vocab_size: 64, d_model: 32, d_kv: 8, d_ff: 128, num_layers: 1, num_heads: 4 };
  const model = await AutoModelForSeq2SeqLM.from_config(t5, { target: 'reference' });
  const deviation = async (name: string): Promise<number> => {
    const { data } = await model.trainable!.weights.read(name);
    return Math.sqrt((data as Float32Array).reduce((sum, v) => sum + v * v, 0) / data.length);
  };
  const layer = 'decoder.block.0.layer';
  const wanted: Readonly<Record<string, number>> = {
    'shared.weight': 1,
    [`${layer}.0.SelfAttention.q.weight`]: (32 * 8) ** -0.5,
    [`${layer}.1.EncDecAttention.k.weight`]: 32 ** -0.5,
    [`${layer}.0.SelfAttention.relative_attention_bias.weight`]: 32 ** -0.5,
    [`${layer}.2.DenseReluDense.wo.weight`]: 128 ** -0.5,
  };
  for (const [name, want] of Object.entries(wanted)) {
    const ratio = (await deviation(name)) / want; // of 128 numbers at least: 0.06 of standard error
    expect(Math.abs(ratio - 1), name).toBeLessThan(0.25);
  }
  const folder = mkdtempSync(join(tmpdir(), 'modelc-new-t5-'));
  await model.save_pretrained(folder);
  const again = await AutoModelForSeq2SeqLM.from_pretrained(folder, { target: 'reference' });
  const inputs = { input_ids: [[5, 6, 1]], max_new_tokens: 4 };
  expect((await again.generate(inputs)).tolist()).toEqual((await model.generate(inputs)).tolist());
  rmSync(folder, { recursive: true, force: true });
});
