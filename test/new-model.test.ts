// Models that are made of a config alone: which weights they have, and that they run and take other weights.
import { expect, test } from 'vitest';
import { AutoModelForCausalLM } from '../runtime/index.ts';

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
