// What from_pretrained, from_config and models themselves are given: every key is served, or refused with the nearest name.
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

const sizes = { vocab_size: 24, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 8 };
const configs = {
  llama: { model_type: 'llama', ...sizes, max_position_embeddings: 16 },
  bert: { model_type: 'bert', ...sizes, max_position_embeddings: 16 },
  distilbert: { model_type: 'distilbert', vocab_size: 24, dim: 16, n_layers: 1, n_heads: 2, hidden_dim: 8 },
  t5: { model_type: 't5', vocab_size: 24, d_model: 16, num_layers: 1, num_heads: 2, d_ff: 8, d_kv: 8 },
};
const reference = { target: 'reference' } as const;

/** A call as JavaScript makes it. */
type Loose = (...args: unknown[]) => Promise<unknown>;
const classes = {
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
} as const;

describe.each(Object.entries(classes))('%s', (_, auto) => {
  const load = auto.from_pretrained as Loose;
  test.each([
    [{ max_bacth: 2 }, /from_pretrained\(\) does not know the option `max_bacth`; did you mean `max_batch`\?/],
    [{ torchdtype: 'auto' }, /did you mean `torch_dtype`/],
    [{ quantization_config: { load_in_4bit: true } }, /does not serve the option `quantization_config`/],
    [{ device_map: 'auto' }, /does not serve the option `device_map`/],
    [{ trust_remote_code: true }, /does not serve the option `trust_remote_code`/],
    [{ revision: 'v2' }, /does not serve the option `revision`/],
    [{ attn_implementation: 'flash_attention_2' }, /attn_implementation 'flash_attention_2' is not supported/],
    [{ ignore_mismatched_sizes: 'yes' }, /`ignore_mismatched_sizes` must be true or false/],
    [{ device: 'tpu' }, /device 'tpu' is not supported/],
    ['cpu', /the options of from_pretrained\(\) must be an object/],
  ])('%j', async (options, message) => {
    await expect((async () => load('nowhere', options))()).rejects.toThrow(message);
  });

  test('what asks for nothing may be given', async () => {
    const neutral = {
      trust_remote_code: false, revision: 'main', cache_dir: null, low_cpu_mem_usage: true, local_files_only: true,
      use_safetensors: true, attn_implementation: 'eager', torch_dtype: 'auto', device_map: null, token: undefined,
    }; // biome-ignore format: one table
    await expect((async () => load('nowhere', neutral))()).rejects.toThrow(/nowhere does not exist/);
  });
});

describe('models', () => {
  const input_ids = [[3, 4, 5]];

  test('a decoder', async () => {
    const model = (await AutoModelForCausalLM.from_config(configs.llama, reference)) as unknown as Loose;
    await expect(model({ input_ids, atention_mask: [[1, 1, 1]] })).rejects.toThrow(/did you mean `attention_mask`/);
    await expect(model({ input_ids, labels: input_ids })).rejects.toThrow(/does not serve the option `labels`/);
    await expect(model({ input_ids, output_attentions: true })).rejects.toThrow(/`output_attentions`/);
    await model({ input_ids, return_dict: true, output_attentions: false });
  });

  test('encoders and encoder-decoders', async () => {
    const bert = (await AutoModelForMaskedLM.from_config(configs.bert, reference)) as unknown as Loose;
    const t5 = (await AutoModelForSeq2SeqLM.from_config(configs.t5, reference)) as unknown as Loose;
    for (const model of [bert, t5]) {
      await expect(model({ input_ids, bogus: 1 })).rejects.toThrow(/does not know the option `bogus`/);
      await expect(model({ input_ids, inputs_embeds: [[1]] })).rejects.toThrow(
        /does not serve the option `inputs_embeds`/,
      );
    }
    const { hidden_states } = (await bert({ input_ids, output_hidden_states: true, return_dict: true })) as {
      hidden_states: unknown[];
    };
    expect(hidden_states).toHaveLength(2);
  });

  test('token types of a model that has none must say nothing', async () => {
    const model = (await AutoModelForMaskedLM.from_config(configs.distilbert, reference)) as unknown as Loose;
    await model({ input_ids, token_type_ids: [[0, 0, 0]] });
    await expect(model({ input_ids, token_type_ids: [[0, 1, 1]] })).rejects.toThrow(/does not take token_type_ids/);
  });
});
