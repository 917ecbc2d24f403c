// Families whose configs have Llama's fields, and whose layers are others: one row each, with the defaults of
// transformers' config class.
import { CohereForCausalLM } from '../../../models/cohere.ts';
import { Gemma2ForCausalLM } from '../../../models/gemma2.ts';
import { LlamaForCausalLM } from '../../../models/llama.ts';
import { Olmo2ForCausalLM } from '../../../models/olmo2.ts';
import { FusedGatedMLP } from '../../../models/parts/mlp.ts';
import { Starcoder2ForCausalLM } from '../../../models/starcoder2.ts';
import { type CausalFamily, requireValue } from './family.ts';
import { decoderFamily, queryAndValue, windows } from './llama.ts';

const cohereSizes = { vocab_size: 256000, hidden_size: 8192, intermediate_size: 22528, num_hidden_layers: 40, num_attention_heads: 64, max_position_embeddings: 8192 }; // biome-ignore format: one row
const gemma2Sizes = { vocab_size: 256000, hidden_size: 2304, intermediate_size: 9216, num_hidden_layers: 26, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256, max_position_embeddings: 8192 }; // biome-ignore format: one row
const glmSizes = { vocab_size: 151552, intermediate_size: 13696, num_hidden_layers: 40, num_key_value_heads: 2, head_dim: 128, max_position_embeddings: 131072 }; // biome-ignore format: one row
const starcoder2Sizes = { vocab_size: 49152, hidden_size: 3072, intermediate_size: 12288, num_hidden_layers: 30, num_attention_heads: 24, num_key_value_heads: 2, max_position_embeddings: 4096 }; // biome-ignore format: one row

export const llamaLikeFamilies: Readonly<Record<string, CausalFamily>> = {
  cohere: decoderFamily({ ...cohereSizes, rope_theta: 500000, tie_word_embeddings: true }, (config, llama) => {
    return new CohereForCausalLM({
      ...llama,
      normEps: config.positive('layer_norm_eps', 1e-5),
      qkNorm: config.flag('use_qk_norm', false),
      ropeStyle: 'interleaved',
      logitsScale: config.positive('logit_scale', 0.0625),
    });
  }),
  gemma2: decoderFamily(
    {
      ...gemma2Sizes,
      tie_word_embeddings: true,
      sliding_window: 4096,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
    },
    (config, llama) => {
      requireValue(config, 'use_bidirectional_attention', false);
      const cap = (name: string): number => (config.has(name) ? config.positive(name) : 0);
      const window = config.countOrNone('sliding_window');
      return new Gemma2ForCausalLM({
        ...llama,
        activation: config.activation('hidden_activation', 'gelu_pytorch_tanh'),
        normOffset: 1,
        embeddingScale: Math.sqrt(llama.hiddenSize),
        attentionScale: config.positive('query_pre_attn_scalar', 256) ** -0.5,
        windows: windows(config, llama.layers, window, (i) => i % 2 === 0),
        scoreCap: cap('attn_logit_softcapping'),
        logitsCap: cap('final_logit_softcapping'),
      });
    },
    queryAndValue,
  ),
  glm: decoderFamily(
    { ...glmSizes, rms_norm_eps: 1.5625e-7, attention_bias: true, partial_rotary_factor: 0.5 },
    (_, llama) => {
      const config = { ...llama, ropeStyle: 'interleaved', outputBias: false } as const;
      return new LlamaForCausalLM(config, { make: () => new FusedGatedMLP(config) });
    },
  ),
  olmo2: decoderFamily({ vocab_size: 50304, rms_norm_eps: 1e-5 }, (_, llama) => new Olmo2ForCausalLM(llama)),
  starcoder2: decoderFamily(
    { ...starcoder2Sizes, hidden_act: 'gelu_pytorch_tanh', tie_word_embeddings: true },
    (config, llama) => {
      const bias = config.flag('use_bias', true);
      return new Starcoder2ForCausalLM({
        ...llama,
        qkvBias: bias,
        outputBias: bias,
        mlpBias: bias,
        normEps: config.positive('norm_epsilon', 1e-5),
        windows: windows(config, llama.layers, config.countOrNone('sliding_window'), () => true),
      });
    },
  ),
};
