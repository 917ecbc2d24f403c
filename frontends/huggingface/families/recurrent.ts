// Families whose layers carry a state of a fixed size, in all of them or in some: Mamba, Falcon Mamba and LFM2, with the
// defaults of transformers' config classes.
import { Lfm2ForCausalLM } from '../../../models/lfm2.ts';
import { type MambaConfig, MambaForCausalLM } from '../../../models/mamba.ts';
import type { Fields } from '../fields.ts';
import { type CausalFamily, requireValue } from './family.ts';
import { decoderFamily } from './llama.ts';

/** Positions of a model without positions: what its cache can count to. */
const openPositions = 1 << 20;

function readMamba(config: Fields): MambaConfig {
  const hiddenSize = config.size('hidden_size', 768);
  const scheme = config.text('time_step_init_scheme', 'random');
  if (scheme !== 'random' && scheme !== 'constant') config.fail('time_step_init_scheme', "'random' or 'constant'");
  const isAuto = (config.json.time_step_rank ?? 'auto') === 'auto';
  return {
    vocabSize: config.size('vocab_size', 50280),
    hiddenSize,
    innerSize: config.size('expand', 2) * hiddenSize,
    stateSize: config.size('state_size', 16),
    layers: config.parts('num_hidden_layers', 32),
    convSize: config.size('conv_kernel', 4),
    activation: config.activation('hidden_act', 'silu'),
    normEps: config.positive('layer_norm_epsilon', 1e-5),
    bias: config.flag('use_bias', false),
    convBias: config.flag('use_conv_bias', true),
    tiedEmbeddings: config.isTied(true),
    timeStep: {
      rank: isAuto ? Math.ceil(hiddenSize / 16) : config.size('time_step_rank'),
      scale: config.positive('time_step_scale', 1),
      min: config.positive('time_step_min', 0.001),
      max: config.positive('time_step_max', 0.1),
      floor: config.positive('time_step_floor', 1e-4),
      isConstant: scheme === 'constant',
    },
    rescaled: config.flag('rescale_prenorm_residual', false),
  };
}

const mambaFamily = (options: (config: Fields) => Partial<MambaConfig> = () => ({})): CausalFamily => ({
  prefix: 'backbone',
  read(config) {
    const mamba = { ...readMamba(config), ...options(config) };
    const { vocabSize } = mamba;
    return { model: new MambaForCausalLM(mamba), vocabSize, maxPositions: openPositions, initializerRange: 0.1 };
  },
});

const lfm2Sizes = { vocab_size: 65536, hidden_size: 2560, intermediate_size: 12288, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 128000 }; // biome-ignore format: one row

/** Which layers attend: by name, or else by number; all, where the config says nothing. */
function attending(config: Fields, layers: number): boolean[] {
  const { layer_types: types, full_attn_idxs: numbers } = config.json;
  if (Array.isArray(types)) {
    const isKnown = types.every((type) => type === 'full_attention' || type === 'conv');
    if (types.length !== layers || !isKnown)
      config.fail('layer_types', `'full_attention' or 'conv' for ${layers} layers`);
    return types.map((type) => type === 'full_attention');
  }
  if (!config.has('full_attn_idxs')) return new Array<boolean>(layers).fill(true);
  if (!Array.isArray(numbers)) config.fail('full_attn_idxs', 'a list of numbers of layers');
  return Array.from({ length: layers }, (_, i) => numbers.includes(i));
}

/** The inner size of the MLP: two thirds of what the config says, times a factor, rounded up to a multiple. */
function adjusted(config: Fields, size: number): number {
  if (!config.flag('block_auto_adjust_ff_dim', true)) return size;
  const reduced = Math.trunc((2 * size) / 3);
  if (config.json.block_ffn_dim_multiplier === null) return reduced;
  const scaled = Math.trunc(config.positive('block_ffn_dim_multiplier', 1) * reduced);
  const multiple = config.size('block_multiple_of', 256);
  return multiple * Math.ceil(scaled / multiple);
}

export const recurrentFamilies: Readonly<Record<string, CausalFamily>> = {
  falcon_mamba: mambaFamily((config) => ({ parameterNormEps: config.positive('mixer_rms_eps', 1e-6) })),
  lfm2: decoderFamily({ ...lfm2Sizes, rope_theta: 1e6, tie_word_embeddings: true }, (config, llama) => {
    requireValue(config, 'attention_bias', false);
    return new Lfm2ForCausalLM({
      ...llama,
      intermediateSize: adjusted(config, config.size('block_ff_dim', llama.intermediateSize)),
      tiedEmbeddings: config.flag('tie_embedding', llama.tiedEmbeddings),
      normEps: config.positive('norm_eps', 1e-5),
      convSize: config.size('conv_L_cache', 3),
      convBias: config.flag('conv_bias', false),
      attends: attending(config, llama.layers),
    });
  }),
  mamba: mambaFamily(),
};
