// The Llama family from the fields of transformers' config classes: what all members have, and where each departs from
// Llama.
import { type LlamaConfig, LlamaForCausalLM } from '../../../models/llama.ts';
import type { CausalModel } from '../../dsl/index.ts';
import type { Fields } from '../fields.ts';
import type { JsonObject } from '../json.ts';
import { readRope } from '../rope.ts';
import type { CausalFamily } from './family.ts';

/** What a config of a decoder with rotary positions says, under the names that Llama gave its fields. */
export function readLlamaConfig(config: Fields): LlamaConfig {
  const hiddenSize = config.size('hidden_size', 4096);
  const heads = config.size('num_attention_heads', 32);
  const layers = config.parts('num_hidden_layers', 32);
  const kvHeads = config.size('num_key_value_heads', heads);
  if (!config.has('head_dim') && hiddenSize % heads !== 0) {
    config.fail('hidden_size', `a multiple of num_attention_heads ${heads} when head_dim is not given`);
  }
  if (heads % kvHeads !== 0) config.fail('num_attention_heads', `a multiple of num_key_value_heads ${kvHeads}`);
  const headDim = config.size('head_dim', Math.trunc(hiddenSize / heads));
  const bias = config.flag('attention_bias', false);
  return {
    vocabSize: config.size('vocab_size', 32000),
    hiddenSize,
    // Where all layers are mixtures of experts, nothing is of this size.
    intermediateSize: config.count('intermediate_size', 11008),
    layers,
    heads,
    kvHeads,
    headDim,
    activation: config.activation('hidden_act', 'silu'),
    normEps: config.positive('rms_norm_eps', 1e-6),
    normOffset: 0,
    qkvBias: bias,
    outputBias: bias,
    mlpBias: config.flag('mlp_bias', false),
    qkNorm: false,
    tiedEmbeddings: config.isTied(false),
    rope: readRope(config, headDim, maxPositions(config)),
    ropeStyle: 'half',
    windows: new Array<number>(layers).fill(0),
    scoreCap: 0,
    attentionDropout: config.rate('attention_dropout', 0),
    embeddingScale: 1,
    attentionScale: headDim ** -0.5,
    residualScale: 1,
    logitsScale: 1,
    logitsCap: 0,
  };
}

export const maxPositions = (config: Fields): number => config.count('max_position_embeddings', 2048);

/** Sliding window on the layers that `layer_types` names, else on those that `otherwise` picks. */
export function windows(
  config: Fields,
  layers: number,
  window: number,
  otherwise: (layer: number) => boolean,
): number[] {
  const types = config.json.layer_types;
  return Array.from({ length: layers }, (_, i) => {
    const sliding = Array.isArray(types) ? types[i] === 'sliding_attention' : otherwise(i);
    return sliding ? window : 0;
  });
}

/** The windows of Qwen2 and what came after it. */
function qwenWindows(config: Fields, layers: number): number[] {
  const window = config.flag('use_sliding_window', false) ? config.count('sliding_window', 4096) : 0;
  const from = config.number('max_window_layers', 28);
  return windows(config, layers, window, (i) => i >= from);
}

export const queryAndValue = ['q_proj', 'v_proj'];

/** A family whose config has Llama's fields. `defaults` are those of its config class, where they are not Llama's. */
export function decoderFamily(
  defaults: JsonObject,
  model: (config: Fields, llama: LlamaConfig) => CausalModel,
  loraTargets?: readonly string[],
): CausalFamily {
  return {
    prefix: 'model',
    ...(loraTargets ? { loraTargets } : {}),
    read(fields) {
      const config = fields.withDefaults(defaults);
      const llama = readLlamaConfig(config);
      return { model: model(config, llama), vocabSize: llama.vocabSize, maxPositions: maxPositions(config) };
    },
  };
}

/** The first published configs say gelu, and mean its approximation. */
function gemmaActivation({ beside, where }: Fields, { activation }: LlamaConfig): LlamaConfig['activation'] {
  if (activation !== 'gelu') return activation;
  beside.note?.(`${where}: hidden_act 'gelu' of a Gemma means 'gelu_pytorch_tanh', which is used`);
  return 'gelu_pytorch_tanh';
}

/** A member of Llama's own family: `options` are those in which it departs from Llama. */
const member = (
  defaults: JsonObject,
  options: (config: Fields, llama: LlamaConfig) => Partial<LlamaConfig> = () => ({}),
): CausalFamily =>
  decoderFamily(
    defaults,
    (config, llama) => new LlamaForCausalLM({ ...llama, ...options(config, llama) }),
    queryAndValue,
  );

const qwenSizes = { num_key_value_heads: 32, vocab_size: 151936, intermediate_size: 22016, max_position_embeddings: 32768 }; // biome-ignore format: one row
const gemmaSizes = { hidden_size: 3072, num_hidden_layers: 28, num_attention_heads: 16, head_dim: 256, num_key_value_heads: 16, vocab_size: 256000, intermediate_size: 24576, max_position_embeddings: 8192 }; // biome-ignore format: one row
const heliumSizes = { hidden_size: 2560, num_hidden_layers: 24, num_attention_heads: 20, head_dim: 128, vocab_size: 48000, intermediate_size: 7040, max_position_embeddings: 4096 }; // biome-ignore format: one row

export const llamaFamilies: Readonly<Record<string, CausalFamily>> = {
  llama: member({}),
  mistral: member(
    { num_key_value_heads: 8, intermediate_size: 14336, max_position_embeddings: 4096 * 32, sliding_window: 4096 },
    (config, { layers }) => ({ windows: windows(config, layers, config.countOrNone('sliding_window'), () => true) }),
  ),
  qwen2: member(qwenSizes, (config, { layers }) => ({
    qkvBias: true,
    outputBias: false,
    windows: qwenWindows(config, layers),
  })),
  qwen3: member({ ...qwenSizes, head_dim: 128 }, (config, { layers }) => ({
    qkNorm: true,
    windows: qwenWindows(config, layers),
  })),
  gemma: member({ ...gemmaSizes, hidden_act: 'gelu_pytorch_tanh', tie_word_embeddings: true }, (config, llama) => ({
    activation: gemmaActivation(config, llama),
    normOffset: 1,
    embeddingScale: Math.sqrt(llama.hiddenSize),
  })),
  granite: decoderFamily({}, (config, llama) => {
    return new LlamaForCausalLM({
      ...llama,
      embeddingScale: config.positive('embedding_multiplier', 1),
      attentionScale: config.positive('attention_multiplier', 1),
      residualScale: config.positive('residual_multiplier', 1),
      logitsScale: 1 / config.positive('logits_scaling', 1),
    });
  }),
  helium: decoderFamily(
    { ...heliumSizes, rope_theta: 100000, rms_norm_eps: 1e-8 },
    (_, llama) => new LlamaForCausalLM({ ...llama, ropeStyle: 'interleaved', outputBias: false }),
  ),
};
