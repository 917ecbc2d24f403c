// T5 and mT5 from the fields of transformers' T5Config and MT5Config.
import { T5ForConditionalGeneration } from '../../../models/t5.ts';
import { type ActivationName, activationNames, isActivation } from '../../dsl/index.ts';
import type { Fields } from '../fields.ts';
import type { JsonObject } from '../json.ts';
import type { Seq2SeqFamily } from './family.ts';

/** 'relu', or 'gated-' before the name of an activation; gated-gelu means the form with tanh. */
function feedForwardOf(config: Fields): { activation: ActivationName; isGated: boolean } {
  const text = config.text('feed_forward_proj', 'relu');
  const [name, ...rest] = text.split('-').reverse();
  const isGated = rest.length === 1 && rest[0] === 'gated';
  if (!isActivation(name) || (rest.length > 0 && !isGated)) {
    config.fail('feed_forward_proj', `one of ${activationNames.join(', ')}, or gated- and one of them`);
  }
  return { activation: text === 'gated-gelu' ? 'gelu_new' : (name as ActivationName), isGated };
}

/** The defaults of a config class, and whether its models scale what the output layer reads. */
interface T5Defaults {
  readonly json: JsonObject;
  isScaled(config: Fields): boolean;
}

const family = ({ json, isScaled }: T5Defaults): Seq2SeqFamily => ({
  prefix: '',
  loraTargets: ['q', 'v'],
  read(given) {
    const config = given.withDefaults(json);
    const layers = config.parts('num_layers');
    const scaled = isScaled(config);
    const pad = config.token('pad_token_id') ?? 0;
    const vocabSize = config.size('vocab_size');
    const model = new T5ForConditionalGeneration({
      vocabSize,
      hiddenSize: config.size('d_model'),
      intermediateSize: config.size('d_ff'),
      heads: config.size('num_heads'),
      headSize: config.size('d_kv'),
      layers,
      decoderLayers: config.parts('num_decoder_layers', layers),
      buckets: config.size('relative_attention_num_buckets', 32),
      maxDistance: config.upTo(2 ** 16, 'relative_attention_max_distance', 128),
      normEps: config.positive('layer_norm_epsilon', 1e-6),
      ...feedForwardOf(config),
      // Whatever the config says: transformers ties unless the weights hold an output layer of their own.
      isTied: !config.beside.untied,
      isScaled: scaled,
      dropout: config.rate('dropout_rate', 0.1),
    });
    return {
      model,
      vocabSize,
      maxPositions: undefined,
      start: config.token('decoder_start_token_id') ?? pad,
      pad,
      initializerRange: config.positive('initializer_factor', 1),
    };
  },
});

export const t5Families: Readonly<Record<string, Seq2SeqFamily>> = {
  t5: family({
    json: { vocab_size: 32128, d_model: 512, d_kv: 64, d_ff: 2048, num_layers: 6, num_heads: 8, pad_token_id: 0 },
    isScaled: (config) => config.flag('scale_decoder_outputs', config.flag('tie_word_embeddings', true)),
  }),
  mt5: family({
    json: {
      vocab_size: 250112,
      d_model: 512,
      d_kv: 64,
      d_ff: 1024,
      num_layers: 8,
      num_heads: 6,
      feed_forward_proj: 'gated-gelu',
      pad_token_id: 0,
    },
    isScaled: () => false,
  }),
};
