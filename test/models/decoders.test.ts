// Every family of decoder-only models against what transformers computed, on the interpreter: logits and hidden states of
// whole sequences, of padded batches and of cached decoding, and greedy tokens.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { initialValues } from '../../frontends/dsl/index.ts';
import { describeModel, fittedModel, openCheckpoint } from '../../frontends/huggingface/index.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import { verify } from '../../ir/verify.ts';
import {
  graphOf,
  greedy,
  hasMaterial,
  Interpreted,
  material,
  readArrays,
  readJson,
  readWeights,
  relativeError,
} from '../support/golden.ts';

const tolerance = 1e-4;
const limits = { batch: 4, length: 512, chunk: 256 };

const rows = (a: NdArray): number[][] =>
  Array.from({ length: a.shape[0] }, (_, i) => [...a.data.slice(i * a.shape[1], (i + 1) * a.shape[1])]);

describe.skipIf(!hasMaterial)(hasMaterial ? 'golden cases' : 'golden cases (skipped: no ../shared/data)', () => {
  // One or more of each family; the runner of conformance goes through all.
  const cases = 'bloom codegen cohere deepseek_v3 falcon gemma glm gpt2 gpt_neo gpt_neox gpt_oss gptj granite helium lfm2 llama llama_rope_scaled mamba mistral mixtral mpt olmo2 opt qwen2 qwen2_moe qwen3_moe starcoder2'.split(' '); // biome-ignore format: one row

  test.each(cases)('%s: whole sequences, padded, cached, greedy', async (name) => {
    const dir = join(material, 'hf-golden', name);
    const checkpoint = await openCheckpoint(dir);
    const model = fittedModel(checkpoint, 'causal-lm');
    const weights = await readWeights(checkpoint);
    const golden = await readArrays(join(dir, 'golden.safetensors'));
    const ids = rows(golden.get('input_ids')!);
    const mask = rows(golden.get('attention_mask')!);
    const forward = graphOf(model, 'forward', limits);
    for (const entry of ['prefill', 'decode', 'forward'] as const) verify(graphOf(model, entry, limits).graph);

    const whole = new Interpreted(weights, 16).run(forward, ids);
    const expectClose = (actual: ArrayLike<number>, expected: ArrayLike<number>): void =>
      expect(relativeError(actual, expected)).toBeLessThan(tolerance);
    expectClose(whole.get('logits')!.data, golden.get('logits')!.data);
    for (let i = 0; golden.has(`hidden_${i}`); i++) {
      expectClose(whole.get(`hidden_states.${i}`)!.data, golden.get(`hidden_${i}`)!.data);
    }
    expect(whole.has(`hidden_states.${Number(checkpoint.config.num_hidden_layers) + 1}`)).toBe(false);

    // Row 1 begins with padding. transformers counted it as positions there; rotations are relative, so that is the same.
    const masked = new Interpreted(weights, 16).run(forward, ids, mask);
    const [, seq, vocab] = masked.get('logits')!.shape;
    const start = mask[1].indexOf(1);
    expectClose(masked.get('logits')!.data.slice((seq + start) * vocab), golden.get('logits_masked_row1_tail')!.data);

    // In chunks through the cache: the last logits are those of the whole.
    const chunked = new Interpreted(weights, 32);
    chunked.run(
      forward,
      ids.map((row) => row.slice(0, 4)),
    );
    const rest = chunked
      .run(
        forward,
        ids.map((row) => row.slice(4, 10)),
      )
      .get('logits')!.data;
    const expected = rows({ ...golden.get('logits')!, shape: [2, seq * vocab] });
    expectClose(
      rest,
      expected.flatMap((row) => row.slice(4 * vocab, 10 * vocab)),
    );
    const last = chunked
      .run(
        graphOf(model, 'decode', limits),
        ids.map((row) => row.slice(10)),
      )
      .get('logits')!.data;
    expectClose(
      last,
      expected.flatMap((row) => row.slice(10 * vocab)),
    );

    const { prompt, greedy: tokens } = readJson<{ prompt: number[]; greedy: number[] }>(join(dir, 'golden.json'));
    expect(greedy(model, weights, prompt, tokens.length - prompt.length)).toEqual(tokens);
  });

  test.each(['gemma2', 'opt', 'opt_postnorm', 'gpt2', 'llama', 'mistral', 'qwen3'])(
    'hf-oracle %s: greedy tokens',
    async (name) => {
      const dir = join(material, 'hf-oracle', 'generate', name);
      const checkpoint = await openCheckpoint(dir);
      const { cases, inputs } = readJson<{
        cases: { case: string; sequences: number[][] }[];
        inputs: { single: { input_ids: number[][] } };
      }>(join(dir, 'golden.json'));
      const expected = cases.find((c) => c.case === 'greedy_single')!.sequences[0];
      const [prompt] = inputs.single.input_ids;
      const weights = await readWeights(checkpoint);
      expect(greedy(fittedModel(checkpoint, 'causal-lm'), weights, prompt, expected.length - prompt.length)).toEqual(
        expected,
      );
    },
  );

  test("minGPT's trained sorter: what it computed on the way, and sorted letters", async () => {
    const dir = join(material, 'lm', 'gpt-nano-sort');
    const checkpoint = await openCheckpoint(join(dir, 'hf'));
    const weights = await readWeights(checkpoint);
    const partials = await readArrays(join(dir, 'partials.safetensors'));
    const ids = rows(partials.get('idx')!);
    const model = fittedModel(checkpoint, 'causal-lm');
    const got = new Interpreted(weights, 16).run(graphOf(model, 'forward', limits), ids);
    const names = { x: 'hidden_states.0', block0: 'hidden_states.1', block1: 'hidden_states.2', ln_f: 'hidden_states.3', lm_head: 'logits' }; // biome-ignore format: one table
    for (const [name, result] of Object.entries(names)) {
      expect(relativeError(got.get(result)!.data, partials.get(name)!.data)).toBeLessThan(1e-5);
    }
    expect(greedy(model, weights, [2, 0, 1, 2, 1, 0], 6)).toEqual([2, 0, 1, 2, 1, 0, 0, 0, 1, 1, 2, 2]);
  });
});

describe('a new model', () => {
  const config = { model_type: 'gpt2', n_embd: 32, n_head: 4, n_layer: 8, n_positions: 64, vocab_size: 100, initializer_range: 0.05 }; // biome-ignore format: one row
  const { task, initializerRange, loraTargets } = describeModel(config, 'config.json', 'causal-lm');

  test('begins as transformers lets it begin', () => {
    expect(loraTargets).toEqual(['c_attn']);
    let seed = 1;
    const uniform = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
    const values = initialValues(task.model, uniform, initializerRange);
    const deviation = (name: string): number => {
      const all = values.get(`transformer.${name}`)!;
      return Math.sqrt(all.reduce((sum, v) => sum + v * v, 0) / all.length);
    };
    // 2048 draws or more: the deviation of a deviation is below 2 %.
    for (const name of ['wte.weight', 'wpe.weight', 'h.3.attn.c_attn.weight', 'h.7.mlp.c_fc.weight']) {
      expect(deviation(name)).toBeCloseTo(0.05, 2);
    }
    expect(deviation('h.0.mlp.c_proj.weight') / 0.05).toBeCloseTo(0.25, 1);
    expect(deviation('h.0.ln_1.weight')).toBe(1);
    for (const name of ['ln_f.bias', 'h.1.mlp.c_fc.bias', 'h.1.attn.c_proj.bias']) expect(deviation(name)).toBe(0);
  });

  test('configs that do not fit are errors', () => {
    const describing = (changes: object) => () => describeModel({ ...config, ...changes }, 'config.json', 'causal-lm');
    expect(describing({ n_head: 5 })).toThrow('config.json: n_embd must be a multiple of n_head 5, found 32');
    expect(describing({ activation_function: 'gelu_newer' })).toThrow('activation_function must be one of gelu,');
    expect(describing({ add_cross_attention: true })).toThrow('add_cross_attention true is not supported, only false');
  });
});

test('MPT has the slopes of transformers, which does not read alibi_bias_max', () => {
  const slopes = (attn_config: object): number[] => {
    const sizes = { d_model: 8, n_heads: 2, n_layers: 1, vocab_size: 8 };
    const model = describeModel({ model_type: 'mpt', ...sizes, attn_config } as never, 'config.json', 'causal-lm');
    return [...model.trace('prefill', limits, () => 'f32').constants.values()].flatMap((data) => [...data]);
  };
  expect(slopes({})).toEqual([2 ** -4, 2 ** -8]);
  expect(slopes({ alibi_bias_max: 4 })).toEqual([2 ** -4, 2 ** -8]);
});
