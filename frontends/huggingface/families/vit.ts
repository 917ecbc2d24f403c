// ViT from the fields of transformers' ViTConfig.
import { VitModel, vitClassifier } from '../../../models/vit.ts';
import { type EncoderFamily, headSize } from './family.ts';

export const vit: EncoderFamily = {
  prefix: 'vit',
  loraTargets: ['query', 'value'],
  read(config, { head, labels }) {
    const hiddenSize = config.size('hidden_size', 768);
    const heads = config.size('num_attention_heads', 12);
    headSize(config, 'hidden_size', hiddenSize, 'num_attention_heads', heads);
    const image = { channels: config.size('num_channels', 3), size: config.upTo(2 ** 14, 'image_size', 224) };
    const patchSize = config.size('patch_size', 16);
    if (image.size % patchSize !== 0) config.fail('image_size', `a multiple of patch_size ${patchSize}`);
    const encoder = new VitModel({
      hiddenSize,
      heads,
      intermediateSize: config.size('intermediate_size', 3072),
      layers: config.parts('num_hidden_layers', 12),
      activation: config.activation('hidden_act', 'gelu'),
      normEps: config.positive('layer_norm_eps', 1e-12),
      qkvBias: config.flag('qkv_bias', true),
      image,
      patchSize,
      dropout: {
        hidden: config.rate('hidden_dropout_prob', 0),
        probabilities: config.rate('attention_probs_dropout_prob', 0),
      },
    });
    return {
      encoder,
      head: head === 'image-classification' ? vitClassifier(hiddenSize, labels) : undefined,
      vocabSize: 0,
      maxPositions: undefined,
    };
  },
};
