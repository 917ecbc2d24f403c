// ALBERT: one layer, or a few, that run again and again, and embeddings narrower than the layers. Follows transformers'
// modeling_albert.
import {
  type Embedding,
  type Encoder,
  type EncoderHead,
  type EncoderInputs,
  group,
  LayerNorm,
  Linear,
  Module,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { type BertConfig, BertEmbeddings } from './bert.ts';
import { encoderLayer, firstPosition, type LayerOptions, vocabularyOutput, vocabularyScores } from './encoder.ts';

export interface AlbertConfig extends BertConfig {
  /** Sets of weights, each used by a run of layers, and the layers in a set. */
  readonly groups: number;
  readonly groupLayers: number;
}

class AlbertLayer extends Module {
  readonly attention;
  readonly ffn: Linear;
  readonly ffn_output: Linear;
  readonly full_layer_layer_norm: LayerNorm;

  constructor({ hiddenSize: size, intermediateSize: inner, normEps: eps }: AlbertConfig) {
    super();
    const linear = (): Linear => new Linear(size, size);
    this.attention = group({
      ...{ query: linear(), key: linear(), value: linear(), dense: linear() },
      LayerNorm: new LayerNorm(size, { eps }),
    });
    this.ffn = new Linear(size, inner);
    this.ffn_output = new Linear(inner, size);
    this.full_layer_layer_norm = new LayerNorm(size, { eps });
  }

  forward(x: Tensor, options: LayerOptions): Tensor {
    const { query, key, value, dense: output, LayerNorm: attentionNorm } = this.attention;
    const inner = { up: this.ffn, down: this.ffn_output, norm: this.full_layer_layer_norm };
    return encoderLayer(x, { query, key, value, output, attentionNorm, ...inner }, options);
  }
}

export class AlbertModel extends Module implements Encoder {
  readonly hasTokenTypes = true;
  readonly embeddings: BertEmbeddings;
  readonly encoder;
  readonly pooler: Linear | undefined;
  pool?: (hidden: Tensor) => Tensor;

  constructor(
    readonly config: AlbertConfig,
    { pooler: hasPooler }: { pooler: boolean },
  ) {
    super();
    const { embeddingSize, hiddenSize, groups, groupLayers } = config;
    const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make);
    this.embeddings = new BertEmbeddings(config);
    this.encoder = group({
      embedding_hidden_mapping_in: new Linear(embeddingSize, hiddenSize),
      albert_layer_groups: times(groups, () =>
        group({ albert_layers: times(groupLayers, () => new AlbertLayer(config)) }),
      ),
    });
    if (!hasPooler) return;
    const pooler = new Linear(hiddenSize, hiddenSize);
    this.pooler = pooler;
    this.pool = (hidden) => pooler.forward(firstPosition(hidden)).tanh();
  }

  forward(inputs: EncoderInputs): Tensor[] {
    const { heads, activation, dropout: rates, layers, groups } = this.config;
    const { embedding_hidden_mapping_in, albert_layer_groups } = this.encoder;
    const states = [embedding_hidden_mapping_in.forward(this.embeddings.forward(inputs))];
    for (let i = 0; i < layers; i++) {
      const { albert_layers } = albert_layer_groups[Math.trunc((i * groups) / layers)];
      for (const layer of albert_layers) {
        states.push(layer.forward(states[states.length - 1], { heads, activation, dropout: rates, mask: inputs.mask }));
      }
    }
    return states;
  }
}

export function albertPredictions(config: AlbertConfig, words: Embedding): EncoderHead {
  const { hiddenSize, embeddingSize: size, activation, normEps: eps } = config;
  const dense = new Linear(hiddenSize, size);
  const norm = new LayerNorm(size, { eps });
  const output = vocabularyOutput(config, size, words);
  const { bias, decoder } = output;
  return {
    fields: { predictions: group({ LayerNorm: norm, bias, dense, decoder }) },
    logits: (hidden) => vocabularyScores(hidden, { dense, norm, activation, output }),
  };
}
