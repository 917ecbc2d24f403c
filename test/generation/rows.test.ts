// Rows of unlike lengths in one batch: wherever their padding stands, each row gives the logits and the tokens that it
// gives alone, on every target; and so do beams, and a cache that goes on with new rows.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createNodeWebGpuDevice } from '../../backends/webgpu/node.ts';
import {
  AutoModelForCausalLM,
  DynamicCache,
  type GenerateOptions,
  type PreTrainedModel,
  type Tensor,
} from '../../runtime/index.ts';
import { openEmulated } from '../support/cuda-device.ts';
import { relativeError } from '../support/golden.ts';
import { chooseDriver } from '../support/webgpu-device.ts';

chooseDriver();
const missing = await createNodeWebGpuDevice().then(
  (device) => device.dispose(),
  (error: unknown) => (error instanceof Error ? error.message : String(error)),
);
const targets = ['reference', 'cpu', 'cuda (emulated)', 'webgpu'] as const;

const [vocab, window] = [40, 4];
const llama = {
  vocab_size: vocab, hidden_size: 32, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 4,
  num_key_value_heads: 2, max_position_embeddings: 64,
}; // biome-ignore format: one table
const configs = {
  mistral: { ...llama, model_type: 'mistral', sliding_window: window },
  gpt2: { model_type: 'gpt2', vocab_size: vocab, n_embd: 32, n_layer: 2, n_head: 4, n_positions: 64 },
  bloom: { model_type: 'bloom', vocab_size: vocab, hidden_size: 32, n_layer: 2, n_head: 4 },
  falcon: { model_type: 'falcon', vocab_size: vocab, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, alibi: true, multi_query: false, new_decoder_architecture: false, parallel_attn: false }, // biome-ignore format: one row
  deepseek_v3: {
    ...llama, model_type: 'deepseek_v3', num_key_value_heads: 4, n_routed_experts: 4, num_experts_per_tok: 2, n_shared_experts: 1, n_group: 2, topk_group: 1,
    first_k_dense_replace: 1, moe_intermediate_size: 8, kv_lora_rank: 8, q_lora_rank: 8, qk_rope_head_dim: 4, qk_nope_head_dim: 4, v_head_dim: 6,
  }, // biome-ignore format: one table
};

type Rows = number[][];
const rowsOf = (t: Tensor): Rows => t.tolist().map((row) => (row as (number | bigint)[]).map(Number));

const prompts: Rows = [
  [5, 9, 2],
  [1, 30, 12, 4, 7, 7, 21, 13, 3],
  [8, 11, 3, 20, 16],
];
const width = Math.max(...prompts.map((row) => row.length));
/** The columns of a row's tokens, as many as there are from `width`. */
const layouts = {
  left: (count: number): number[] => Array.from({ length: count }, (_, i) => width - count + i),
  right: (count: number): number[] => Array.from({ length: count }, (_, i) => i),
  between: (count: number): number[] => Array.from({ length: count }, (_, i) => (i === count - 1 ? width - 1 : 2 * i)),
};
type Layout = keyof typeof layouts;

/** Rows in columns of which others are padding; the token of padding is another one than of zeros. */
function batchOf(rows: Rows, place: (count: number) => number[]): { input_ids: Rows; attention_mask: Rows } {
  const [input_ids, attention_mask] = [31, 0].map((fill) => rows.map(() => new Array<number>(width).fill(fill)));
  for (const [r, row] of rows.entries()) {
    for (const [i, column] of place(row.length).entries()) {
      input_ids[r][column] = row[i];
      attention_mask[r][column] = 1;
    }
  }
  return { input_ids, attention_mask };
}
/** Rows that have as many columns as they need for padding between them. */
const spread: Rows = [prompts[0], prompts[2], prompts[1].slice(0, 4)];

const greedy = { do_sample: false, max_new_tokens: 6, eos_token_id: null, pad_token_id: 0 } as const;

describe.each(Object.keys(configs) as (keyof typeof configs)[])('%s', (family) => {
  const folder = mkdtempSync(join(tmpdir(), 'modelc-rows-'));
  beforeAll(async () => {
    const model = await AutoModelForCausalLM.from_config(configs[family], { target: 'reference', seed: 7 });
    await model.save_pretrained(folder);
    model.dispose();
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  // Falcon's biases are made as BLOOM's are, but for their rounding.
  describe.each(family === 'falcon' ? targets.slice(0, 2) : targets)('%s', (target) => {
    const isMissing = target === 'webgpu' && missing !== undefined;
    let model: PreTrainedModel;
    beforeAll(async () => {
      if (isMissing) return;
      model =
        target === 'cuda (emulated)'
          ? (await openEmulated(folder)).model
          : await AutoModelForCausalLM.from_pretrained(folder, { target });
    }, 240_000);
    afterAll(() => model?.dispose());
    const generate = async (options: GenerateOptions): Promise<Rows> => rowsOf(await model.generate({ ...greedy, ...options })); // biome-ignore format: one row
    const alone = async (rows: Rows, options: GenerateOptions = {}): Promise<Rows> => {
      const answers: Rows = [];
      for (const row of rows) answers.push(...(await generate({ ...options, input_ids: [row] })).map((ids) => ids.slice(row.length))); // biome-ignore format: one row
      return answers;
    };

    test.skipIf(isMissing).each(['left', 'right', 'between'] as const)(
      'logits, padding at: %s',
      async (layout: Layout) => {
        const rows = layout === 'between' ? spread : prompts;
        const { logits } = await model(batchOf(rows, layouts[layout]));
        for (const [r, row] of rows.entries()) {
          const want = (await model({ input_ids: [row] })).logits.data;
          const got = layouts[layout](row.length).flatMap((column) => [
            ...logits.data.subarray((r * width + column) * vocab, (r * width + column + 1) * vocab),
          ]);
          expect(relativeError(got, want), `row ${r}`).toBeLessThan(1e-6);
        }
      },
    );

    test.skipIf(isMissing)('tokens', async () => {
      const want = await alone(prompts);
      expect(new Set(want.map(String)).size).toBe(prompts.length); // else rows could be taken for each other
      const tokensOf = (rows: Rows): Rows => rows.map((row) => row.slice(width));
      const left = batchOf(prompts, layouts.left);
      expect(tokensOf(await generate(left))).toEqual(want);
      expect(tokensOf(await generate({ ...left, prefill_chunk_size: 2 }))).toEqual(want);
      expect(tokensOf(await generate(batchOf(spread, layouts.between)))).toEqual(await alone(spread));
      expect(tokensOf(await generate(batchOf(prompts, layouts.right)))).toEqual(want);
    });

    test.skipIf(isMissing)('beams', async () => {
      const options = { num_beams: 2, num_return_sequences: 2 };
      const together = await generate({ ...batchOf(prompts, layouts.left), ...options });
      expect(together.map((row) => row.slice(width))).toEqual(await alone(prompts, options));
    });

    test.skipIf(isMissing)('a cache goes on with rows of unlike lengths', async () => {
      const past_key_values = new DynamicCache();
      const first = batchOf(prompts, layouts.left);
      const answered = await generate({ ...first, past_key_values });
      const more = batchOf([[17], prompts[1], [4, 9, 10]], layouts.left);
      const input_ids = answered.map((row, r) => [...row, ...more.input_ids[r]]);
      const attention_mask = first.attention_mask.map((row, r) => [...row, ...answered[r].slice(width).map(() => 1), ...more.attention_mask[r]]); // biome-ignore format: one row
      const said = input_ids.map((row, r) => row.filter((_, i) => attention_mask[r][i] === 1));
      const { length } = input_ids[0];
      const want = await alone(said);
      const goesOn = await generate({ input_ids, attention_mask, past_key_values });
      expect(goesOn.map((row) => row.slice(length))).toEqual(want);
      expect(past_key_values.get_seq_length()).toBe(length + greedy.max_new_tokens - 1);
      past_key_values.dispose();
    });
  });
});
