// GPT-2 from the fields of transformers' GPT2Config.
import { Gpt2LMHeadModel } from '../../../models/gpt2.ts';
import type { Fields } from '../fields.ts';
import { type CausalFamily, headSize, requireValue } from './family.ts';

/** Factors of the scores by layer. */
function attentionScales(config: Fields, layers: number, head: number): number[] {
  const scale = config.flag('scale_attn_weights', true) ? head ** -0.5 : 1;
  const byLayer = config.flag('scale_attn_by_inverse_layer_idx', false);
  return Array.from({ length: layers }, (_, i) => (byLayer ? scale / (i + 1) : scale));
}

export const gpt2: CausalFamily = {
  prefix: 'transformer',
  loraTargets: ['c_attn'],
  read(config) {
    requireValue(config, 'add_cross_attention', false);
    const vocabSize = config.size('vocab_size', 50257);
    const hiddenSize = config.size('n_embd', 768);
    const layers = config.parts('n_layer', 12);
    const heads = config.size('n_head', 12);
    const positions = config.size('n_positions', 1024);
    const model = new Gpt2LMHeadModel({
      vocabSize,
      hiddenSize,
      innerSize: config.size('n_inner', 4 * hiddenSize),
      layers,
      heads,
      positions,
      activation: config.activation('activation_function', 'gelu_new'),
      normEps: config.positive('layer_norm_epsilon', 1e-5),
      tiedEmbeddings: config.isTied(true),
      dropout: {
        embeddings: config.rate('embd_pdrop', 0.1),
        probabilities: config.rate('attn_pdrop', 0.1),
        residual: config.rate('resid_pdrop', 0.1),
      },
      attentionScales: attentionScales(config, layers, headSize(config, 'n_embd', hiddenSize, 'n_head', heads)),
    });
    return { model, vocabSize, maxPositions: positions };
  },
};
