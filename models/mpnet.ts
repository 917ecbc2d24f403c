// MPNet: BERT's layers with a learned bias for distances between tokens, without token types. Follows transformers'
// modeling_mpnet.
import {
  dropout,
  Embedding,
  type Encoder,
  type EncoderInputs,
  group,
  LayerNorm,
  Linear,
  Module,
  RelativePositionBias,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { type EncoderConfig, encoderLayer, firstPosition, type LayerOptions, positionsOf } from './encoder.ts';

export interface MPNetConfig extends EncoderConfig {
  readonly buckets: number;
}

/** The token whose positions are not counted, whatever the config calls padding. */
export const mpnetPad = 1;

class MPNetLayer extends Module {
  readonly attention;
  readonly intermediate;
  readonly output;

  constructor({ hiddenSize: size, intermediateSize: inner, normEps: eps }: MPNetConfig) {
    super();
    const linear = (): Linear => new Linear(size, size);
    this.attention = group({
      attn: group({ q: linear(), k: linear(), v: linear(), o: linear() }),
      LayerNorm: new LayerNorm(size, { eps }),
    });
    this.intermediate = group({ dense: new Linear(size, inner) });
    this.output = group({ dense: new Linear(inner, size), LayerNorm: new LayerNorm(size, { eps }) });
  }

  forward(x: Tensor, options: LayerOptions): Tensor {
    const { attn, LayerNorm: attentionNorm } = this.attention;
    const { q: query, k: key, v: value, o: output } = attn;
    const inner = { up: this.intermediate.dense, down: this.output.dense, norm: this.output.LayerNorm };
    return encoderLayer(x, { query, key, value, output, attentionNorm, ...inner }, options);
  }
}

export class MPNetModel extends Module implements Encoder {
  readonly hasTokenTypes = false;
  readonly embeddings;
  readonly encoder;
  readonly pooler: (Module & { readonly dense: Linear }) | undefined;
  pool?: (hidden: Tensor) => Tensor;

  constructor(
    readonly config: MPNetConfig,
    { pooler: hasPooler }: { pooler: boolean },
  ) {
    super();
    const { vocabSize, hiddenSize, padding, maxPositions, normEps: eps, layers, buckets, heads } = config;
    this.embeddings = group({
      word_embeddings: new Embedding(vocabSize, hiddenSize, { padding }),
      position_embeddings: new Embedding(maxPositions, hiddenSize, { padding }),
      LayerNorm: new LayerNorm(hiddenSize, { eps }),
    });
    this.encoder = group({
      layer: Array.from({ length: layers }, () => new MPNetLayer(config)),
      relative_attention_bias: new RelativePositionBias({ buckets, heads, bidirectional: true }),
    });
    if (!hasPooler) return;
    const pooler = group({ dense: new Linear(hiddenSize, hiddenSize) });
    this.pooler = pooler;
    this.pool = (hidden) => pooler.dense.forward(firstPosition(hidden)).tanh();
  }

  forward({ inputIds, mask }: EncoderInputs): Tensor[] {
    const { word_embeddings, position_embeddings, LayerNorm: norm } = this.embeddings;
    const { heads, activation, dropout: rates } = this.config;
    const seq = inputIds.shape[1];
    const bias = this.encoder.relative_attention_bias.forward(seq, seq);
    const positions = position_embeddings.forward(positionsOf(inputIds, mpnetPad));
    const embedded = norm.forward(word_embeddings.forward(inputIds).add(positions));
    const states = [dropout(embedded, rates.embeddings)];
    for (const layer of this.encoder.layer) {
      states.push(layer.forward(states[states.length - 1], { heads, activation, dropout: rates, mask, bias }));
    }
    return states;
  }
}
