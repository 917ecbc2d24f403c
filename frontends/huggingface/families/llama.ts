// The Llama family from the fields of transformers' config classes: what all members have, and where each departs from Llama.
import { type LlamaConfig, LlamaForCausalLM } from '../../../models/llama.ts';
import type { ActivationName } from '../../dsl/index.ts';
import type { Fields } from '../fields.ts';
import { readRope } from '../rope.ts';
import type { Family } from './family.ts';

/** What differs between the members of the family, beyond the fields that all of them have. */
interface Member {
  readonly headDim?: number;
  readonly kvHeads?: number;
  readonly vocabSize?: number;
  readonly intermediateSize?: number;
  readonly maxPositions?: number;
  readonly activation?: ActivationName;
  readonly tied?: boolean;
  /** Given the fields and what was read so far, the options in which this member departs from Llama. */
  readonly options?: (config: Fields, llama: LlamaConfig) => Partial<LlamaConfig>;
}

/** Sliding window on the layers that `layer_types` names, else on those that `otherwise` picks. */
const windows = (config: Fields, window: number, otherwise: (layer: number) => boolean, layers: number): number[] => {
  const types = config.json.layer_types;
  return Array.from({ length: layers }, (_, i) => {
    const sliding = Array.isArray(types) ? types[i] === 'sliding_attention' : otherwise(i);
    return sliding ? window : 0;
  });
};

const qwenWindows = (config: Fields, layers: number): number[] => {
  const window = config.flag('use_sliding_window', false) ? config.count('sliding_window', 4096) : 0;
  const from = config.number('max_window_layers', 28);
  return windows(config, window, (i) => i >= from, layers);
};

/** Reads the config of a member of the family. Throws ModelcError 'checkpoint'. */
function readLlamaConfig(config: Fields, defaults: Member): LlamaConfig {
  const hiddenSize = config.count('hidden_size', 4096);
  const heads = config.count('num_attention_heads', 32);
  const layers = config.count('num_hidden_layers', 32);
  const kvHeads = config.count('num_key_value_heads', defaults.kvHeads ?? heads);
  const given = config.has('head_dim') || defaults.headDim !== undefined;
  if (!given && hiddenSize % heads !== 0) {
    config.fail('hidden_size', `a multiple of num_attention_heads ${heads} when head_dim is not given`);
  }
  if (heads % kvHeads !== 0) config.fail('num_attention_heads', `a multiple of num_key_value_heads ${kvHeads}`);
  const headDim = config.count('head_dim', defaults.headDim ?? Math.trunc(hiddenSize / heads));
  const bias = config.flag('attention_bias', false);
  const llama: LlamaConfig = {
    vocabSize: config.count('vocab_size', defaults.vocabSize ?? 32000),
    hiddenSize,
    intermediateSize: config.count('intermediate_size', defaults.intermediateSize ?? 11008),
    layers,
    heads,
    kvHeads,
    headDim,
    activation: config.activation('hidden_act', defaults.activation ?? 'silu'),
    normEps: config.positive('rms_norm_eps', 1e-6),
    normOffset: 0,
    qkvBias: bias,
    outputBias: bias,
    mlpBias: config.flag('mlp_bias', false),
    qkNorm: false,
    tiedEmbeddings: config.flag('tie_word_embeddings', defaults.tied ?? false),
    rope: readRope(config, headDim, maxPositions(config, defaults)),
    windows: new Array<number>(layers).fill(0),
    embeddingScale: 1,
    attentionScale: headDim ** -0.5,
    residualScale: 1,
    logitsScale: 1,
  };
  return { ...llama, ...defaults.options?.(config, llama) };
}

const maxPositions = (config: Fields, defaults: Member): number =>
  config.count('max_position_embeddings', defaults.maxPositions ?? 2048);

const family = (member: Member): Family => ({
  prefix: 'model',
  loraTargets: ['q_proj', 'v_proj'],
  read(config) {
    const llama = readLlamaConfig(config, member);
    return {
      model: new LlamaForCausalLM(llama),
      vocabSize: llama.vocabSize,
      maxPositions: maxPositions(config, member),
    };
  },
});

export const llamaFamilies: Readonly<Record<string, Family>> = {
  llama: family({}),
  mistral: family({
    kvHeads: 8,
    intermediateSize: 14336,
    maxPositions: 4096 * 32,
    options(config, { layers }) {
      // Absent means the class default; null means no window.
      const open = Object.hasOwn(config.json, 'sliding_window') && !config.has('sliding_window');
      return { windows: windows(config, open ? 0 : config.count('sliding_window', 4096), () => true, layers) };
    },
  }),
  qwen2: family({
    kvHeads: 32,
    vocabSize: 151936,
    intermediateSize: 22016,
    maxPositions: 32768,
    options: (config, { layers }) => ({ qkvBias: true, outputBias: false, windows: qwenWindows(config, layers) }),
  }),
  qwen3: family({
    headDim: 128,
    kvHeads: 32,
    vocabSize: 151936,
    intermediateSize: 22016,
    maxPositions: 32768,
    options: (config, { layers }) => ({ qkNorm: true, windows: qwenWindows(config, layers) }),
  }),
  gemma: family({
    headDim: 256,
    kvHeads: 16,
    vocabSize: 256000,
    intermediateSize: 24576,
    maxPositions: 8192,
    activation: 'gelu_pytorch_tanh',
    tied: true,
    options: (_, { hiddenSize }) => ({ normOffset: 1, embeddingScale: Math.sqrt(hiddenSize) }),
  }),
  granite: family({
    options: (config) => ({
      embeddingScale: config.positive('embedding_multiplier', 1),
      attentionScale: config.positive('attention_multiplier', 1),
      residualScale: config.positive('residual_multiplier', 1),
      logitsScale: config.positive('logits_scaling', 1),
    }),
  }),
};
