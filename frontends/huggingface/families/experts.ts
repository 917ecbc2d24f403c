// Families with mixtures of experts: Mixtral, Qwen2-MoE, Qwen3-MoE, gpt-oss and DeepSeek V3, with the defaults of
// transformers' config classes.
import { DeepseekV3ForCausalLM } from '../../../models/deepseek-v3.ts';
import { GptOssForCausalLM } from '../../../models/gpt-oss.ts';
import { type LlamaConfig, LlamaForCausalLM } from '../../../models/llama.ts';
import { MixtureOfExperts, type RoutingConfig, SoftmaxRouter } from '../../../models/parts/experts.ts';
import { GatedMLP } from '../../../models/parts/mlp.ts';
import type { Fields } from '../fields.ts';
import { readRope } from '../rope.ts';
import type { CausalFamily } from './family.ts';
import { decoderFamily, maxPositions, queryAndValue, readLlamaConfig, windows } from './llama.ts';

/** `count`: the name of the field that says how many experts there are. */
function readRouting(config: Fields, { hiddenSize }: LlamaConfig, count: string): RoutingConfig {
  const experts = config.size(count);
  const expertsPerToken = config.count('num_experts_per_tok');
  if (expertsPerToken > experts) config.fail('num_experts_per_tok', `at most ${count} ${experts}`);
  return { hiddenSize, experts, expertsPerToken };
}

const list = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);

/** Experts of Qwen's, on all layers but those that the config leaves out; `shared`: one that every position shares. */
function qwenExperts(config: Fields, llama: LlamaConfig, hasShared: boolean) {
  const routing = readRouting(config, llama, config.has('num_local_experts') ? 'num_local_experts' : 'num_experts');
  const isNormalised = config.flag('norm_topk_prob', false);
  const step = config.count('decoder_sparse_step', 1);
  const { mlp_only_layers: dense = [] } = config.json;
  const size = config.size('moe_intermediate_size');
  const sharedSize = hasShared ? config.size('shared_expert_intermediate_size') : 0;
  const gated = (intermediateSize: number): GatedMLP => new GatedMLP({ ...llama, intermediateSize });
  return (layer: number) =>
    (layer + 1) % step !== 0 || (Array.isArray(dense) && dense.includes(layer))
      ? gated(llama.intermediateSize)
      : new MixtureOfExperts(
          new SoftmaxRouter(routing, isNormalised),
          list(routing.experts, () => gated(size)),
          hasShared ? gated(sharedSize) : undefined,
        );
}

const qwenMoeSizes = { vocab_size: 151936, hidden_size: 2048, num_hidden_layers: 24, max_position_embeddings: 32768 };
const gptOssSizes = { vocab_size: 201088, hidden_size: 2880, intermediate_size: 2880, num_hidden_layers: 36, num_attention_heads: 64, num_key_value_heads: 8, head_dim: 64, max_position_embeddings: 131072, num_local_experts: 128, num_experts_per_tok: 4 }; // biome-ignore format: one row
const gptOssRope = { rope_type: 'yarn', factor: 32, beta_fast: 32, beta_slow: 1, truncate: false, original_max_position_embeddings: 4096 }; // biome-ignore format: one row
const deepseekSizes = { vocab_size: 129280, hidden_size: 7168, intermediate_size: 18432, moe_intermediate_size: 2048, num_hidden_layers: 61, num_attention_heads: 128, n_shared_experts: 1, n_routed_experts: 256, kv_lora_rank: 512, q_lora_rank: 1536, qk_rope_head_dim: 64, v_head_dim: 128, qk_nope_head_dim: 128, n_group: 8, topk_group: 4, num_experts_per_tok: 8, first_k_dense_replace: 3, max_position_embeddings: 4096 }; // biome-ignore format: one row

/** YaRN raises the scores of DeepSeek's attention by the square of this. */
function yarnScale(config: Fields): number {
  const rope = config.object('rope_scaling') ?? config.object('rope_parameters');
  if (!rope || rope.text('rope_type', rope.text('type', 'default')) === 'default') return 1;
  const [all, factor] = [rope.number('mscale_all_dim', 0), rope.positive('factor')];
  return all > 0 && factor > 1 ? 0.1 * all * Math.log(factor) + 1 : 1;
}

const deepseekV3: CausalFamily = {
  prefix: 'model',
  read(fields) {
    const config = fields.withDefaults(deepseekSizes);
    const llama = readLlamaConfig(config);
    const routing = readRouting(config, llama, 'n_routed_experts');
    const groups = config.size('n_group', 1);
    if (routing.experts % groups !== 0) config.fail('n_group', `a divisor of n_routed_experts ${routing.experts}`);
    const groupsPerToken = config.count('topk_group', 1);
    if (groupsPerToken > groups) config.fail('topk_group', `at most n_group ${groups}`);
    const turnedSize = config.size('qk_rope_head_dim');
    const plainSize = config.size('qk_nope_head_dim');
    const model = new DeepseekV3ForCausalLM({
      ...llama,
      ...routing,
      attentionBias: llama.qkvBias,
      queryRank: config.has('q_lora_rank') ? config.size('q_lora_rank') : 0,
      keyValueRank: config.size('kv_lora_rank'),
      turnedSize,
      plainSize,
      valueSize: config.size('v_head_dim'),
      expertSize: config.size('moe_intermediate_size'),
      sharedExperts: config.size('n_shared_experts'),
      denseLayers: config.number('first_k_dense_replace', 3),
      groups,
      groupsPerToken,
      isNormalised: config.flag('norm_topk_prob', true),
      routedScale: config.positive('routed_scaling_factor', 2.5),
      rope: readRope(config, turnedSize, maxPositions(config)),
      ropeStyle: config.flag('rope_interleave', true) ? 'interleaved' : 'half',
      attentionScale: (plainSize + turnedSize) ** -0.5 * yarnScale(config) ** 2,
    });
    return { model, vocabSize: llama.vocabSize, maxPositions: maxPositions(config) };
  },
};

export const expertFamilies: Readonly<Record<string, CausalFamily>> = {
  mixtral: decoderFamily(
    {
      num_key_value_heads: 8,
      intermediate_size: 14336,
      max_position_embeddings: 4096 * 32,
      rms_norm_eps: 1e-5,
      rope_theta: 1e6,
      num_local_experts: 8,
      num_experts_per_tok: 2,
    },
    (config, read) => {
      const llama = {
        ...read,
        windows: windows(config, read.layers, config.countOrNone('sliding_window'), () => true),
      };
      const routing = readRouting(config, llama, 'num_local_experts');
      const make = (): MixtureOfExperts => {
        const experts = list(routing.experts, () => new GatedMLP(llama, ['w1', 'w3', 'w2']));
        return new MixtureOfExperts(new SoftmaxRouter(routing, true), experts);
      };
      return new LlamaForCausalLM(llama, { name: 'block_sparse_moe', make });
    },
    queryAndValue,
  ),
  qwen2_moe: decoderFamily(
    {
      ...qwenMoeSizes,
      intermediate_size: 5632,
      num_attention_heads: 16,
      num_key_value_heads: 16,
      moe_intermediate_size: 1408,
      shared_expert_intermediate_size: 5632,
      num_experts_per_tok: 4,
      num_experts: 60,
    },
    (config, read) => {
      // Where layer_types does not say so, every other one of the first layers has a window.
      const window = config.flag('use_sliding_window', false) ? config.count('sliding_window', 4096) : 0;
      const first = config.number('max_window_layers', 28);
      const llama = {
        ...read,
        qkvBias: config.flag('qkv_bias', true),
        outputBias: false,
        windows: windows(config, read.layers, window, (i) => i % 2 === 0 && i < first),
      };
      return new LlamaForCausalLM(llama, { make: qwenExperts(config, llama, true) });
    },
  ),
  qwen3_moe: decoderFamily(
    {
      ...qwenMoeSizes,
      intermediate_size: 6144,
      num_attention_heads: 32,
      num_key_value_heads: 4,
      moe_intermediate_size: 768,
      num_experts_per_tok: 8,
      num_experts: 128,
    },
    (config, read) => {
      const window = config.flag('use_sliding_window', false) ? config.count('sliding_window', 4096) : 0;
      const llama = { ...read, qkNorm: true, windows: windows(config, read.layers, window, () => true) };
      return new LlamaForCausalLM(llama, { make: qwenExperts(config, llama, false) });
    },
  ),
  gpt_oss: decoderFamily(
    {
      ...gptOssSizes,
      rms_norm_eps: 1e-5,
      rope_theta: 150000,
      rope_parameters: gptOssRope,
      sliding_window: 128,
      attention_bias: true,
    },
    (config, llama) => {
      const window = config.countOrNone('sliding_window');
      return new GptOssForCausalLM({
        ...llama,
        ...readRouting(config, llama, 'num_local_experts'),
        windows: windows(config, llama.layers, window, (i) => i % 2 === 0),
      });
    },
  ),
  deepseek_v3: deepseekV3,
};
