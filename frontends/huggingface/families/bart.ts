// BART, mBART, Marian, Pegasus, Blenderbot and M2M100 (NLLB too) from the fields of their config classes, which have the
// same names.
import { type BartConfig, BartForConditionalGeneration, type BartStackConfig } from '../../../models/bart.ts';
import {
  CountedPositions,
  type Positions,
  PositionTable,
  SinusoidalPositions,
} from '../../../models/parts/absolute-positions.ts';
import type { Fields } from '../fields.ts';
import type { JsonObject } from '../json.ts';
import { headSize, requireValue, type Seq2SeqFamily } from './family.ts';

/** What positions a family adds: a learned table whose first rows stand for nothing, sines, or sines of real tokens. */
type PositionKind = { readonly offset: number } | 'sines' | 'sines of tokens';

interface Kind extends Pick<BartConfig, 'normBefore' | 'embeddingNorm'> {
  /** The defaults of the config class, where they are not BART's. */
  readonly json?: JsonObject;
  readonly positions: PositionKind;
  /** Targets begin with the last token of their row, which names the language. */
  readonly startsWithLast?: boolean;
  readonly loraTargets?: readonly string[];
}

const bartDefaults: JsonObject = {
  vocab_size: 50265,
  max_position_embeddings: 1024,
  encoder_layers: 12,
  encoder_ffn_dim: 4096,
  encoder_attention_heads: 16,
  decoder_layers: 12,
  decoder_ffn_dim: 4096,
  decoder_attention_heads: 16,
  activation_function: 'gelu',
  d_model: 1024,
  dropout: 0.1,
  attention_dropout: 0,
  activation_dropout: 0,
  scale_embedding: false,
  pad_token_id: 1,
  decoder_start_token_id: 2,
};

function readSide(config: Fields, side: 'encoder' | 'decoder', hiddenSize: number): BartStackConfig {
  const heads = config.size(`${side}_attention_heads`);
  headSize(config, 'd_model', hiddenSize, `${side}_attention_heads`, heads);
  return { layers: config.parts(`${side}_layers`), heads, intermediateSize: config.size(`${side}_ffn_dim`) };
}

/** Positions that sines are computed for when a model is made; published models have up to 4 096. */
const mostComputed = 2 ** 14;

const family = ({ json = {}, positions, startsWithLast = false, loraTargets, ...norms }: Kind): Seq2SeqFamily => ({
  prefix: 'model',
  ...(loraTargets ? { loraTargets } : {}),
  read(given, { has }) {
    const fields = given.withDefaults({ ...bartDefaults, ...json });
    requireValue(fields, 'share_encoder_decoder_embeddings', true);
    const hiddenSize = fields.size('d_model');
    const padding = fields.token('pad_token_id') ?? 0;
    const isComputed = typeof positions === 'string';
    const maxPositions = isComputed
      ? fields.upTo(mostComputed, 'max_position_embeddings')
      : fields.count('max_position_embeddings');
    const vocabSize = fields.size('vocab_size');
    if (padding >= vocabSize) fields.fail('pad_token_id', `below vocab_size, which is ${vocabSize}`);
    const config: BartConfig = {
      vocabSize,
      hiddenSize,
      encoder: readSide(fields, 'encoder', hiddenSize),
      decoder: readSide(fields, 'decoder', hiddenSize),
      activation: fields.activation('activation_function', 'gelu'),
      padding,
      embeddingScale: fields.flag('scale_embedding', false) ? Math.sqrt(hiddenSize) : 1,
      ...norms,
      isTied: fields.isTied(true),
      hasLogitsBias: has('final_logits_bias'),
      dropout: {
        residual: fields.rate('dropout', 0),
        probabilities: fields.rate('attention_dropout', 0),
        inner: fields.rate('activation_dropout', 0),
      },
    };
    const makePositions = (): Positions => {
      if (positions === 'sines of tokens') {
        return new CountedPositions(maxPositions, hiddenSize, padding);
      }
      if (positions !== 'sines') return new PositionTable(maxPositions, hiddenSize, positions.offset, true);
      // Checkpoints may have the table, and transformers then takes it as it is.
      if (has('model.encoder.embed_positions.weight')) return new PositionTable(maxPositions, hiddenSize, 0, false);
      return new SinusoidalPositions(maxPositions, hiddenSize);
    };
    const model = new BartForConditionalGeneration(config, makePositions);
    const start = startsWithLast ? 'last' : (fields.token('decoder_start_token_id') ?? padding);
    const initializerRange = fields.positive('init_std', 0.02);
    return { model, vocabSize, maxPositions, start, pad: padding, initializerRange };
  },
});

export const bartFamilies: Readonly<Record<string, Seq2SeqFamily>> = {
  bart: family({
    normBefore: false,
    embeddingNorm: 'sum',
    positions: { offset: 2 },
    loraTargets: ['q_proj', 'v_proj'],
  }),
  mbart: family({
    normBefore: true,
    embeddingNorm: 'sum',
    positions: { offset: 2 },
    startsWithLast: true,
  }),
  marian: family({
    json: { vocab_size: 58101, pad_token_id: 58100, decoder_start_token_id: 58100 },
    normBefore: false,
    embeddingNorm: 'none',
    positions: 'sines',
  }),
  pegasus: family({
    json: { pad_token_id: 0, decoder_start_token_id: 0 },
    normBefore: true,
    embeddingNorm: 'none',
    positions: 'sines',
  }),
  blenderbot: family({
    json: {
      vocab_size: 8008,
      max_position_embeddings: 128,
      d_model: 2560,
      encoder_layers: 2,
      encoder_ffn_dim: 10240,
      encoder_attention_heads: 32,
      decoder_layers: 24,
      decoder_ffn_dim: 10240,
      decoder_attention_heads: 32,
      pad_token_id: 0,
      decoder_start_token_id: 1,
    },
    normBefore: true,
    embeddingNorm: 'none',
    positions: { offset: 0 },
  }),
  'blenderbot-small': family({
    json: {
      max_position_embeddings: 512,
      d_model: 512,
      encoder_layers: 8,
      encoder_ffn_dim: 2048,
      decoder_layers: 8,
      decoder_ffn_dim: 2048,
      pad_token_id: 0,
      decoder_start_token_id: 1,
    },
    normBefore: false,
    embeddingNorm: 'words of the decoder',
    positions: { offset: 0 },
  }),
  m2m_100: family({
    json: {
      vocab_size: 128112,
      activation_function: 'relu',
      attention_dropout: 0.1,
      scale_embedding: true,
    },
    normBefore: true,
    embeddingNorm: 'none',
    positions: 'sines of tokens',
  }),
};
