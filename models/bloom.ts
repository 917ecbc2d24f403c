// BLOOM (https://arxiv.org/abs/2211.05100): pre-norm layers with linear biases in place of positions, a norm behind the
// embeddings, and one projection for queries, keys and values. Follows transformers' modeling_bloom.
import { dropout, Embedding, LayerNorm, Linear, Module, type Tensor } from '../frontends/dsl/index.ts';
import { Alibi, type AlibiInputs, bloomSlopes } from './parts/alibi.ts';
import { attend, type DecoderDropout, splitGroups } from './parts/attention.ts';
import { Decoder, gptNames, type Layer, stack } from './parts/decoder.ts';
import { MLP } from './parts/mlp.ts';

export interface BloomConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly normEps: number;
  /** Whether a layer adds to what its norms gave, in place of what they were given. */
  readonly residualAfterNorm: boolean;
  readonly tiedEmbeddings: boolean;
  readonly dropout: DecoderDropout;
}

class BloomAttention extends Module {
  readonly query_key_value: Linear;
  readonly dense: Linear;

  constructor(
    readonly config: BloomConfig,
    readonly layer: number,
  ) {
    super();
    this.query_key_value = new Linear(config.hiddenSize, 3 * config.hiddenSize);
    this.dense = new Linear(config.hiddenSize, config.hiddenSize);
  }

  forward(x: Tensor, inputs: AlibiInputs): Tensor {
    const heads = splitGroups(this.query_key_value.forward(x), this.config.heads, 1);
    const { probabilities } = this.config.dropout;
    const place = { layer: this.layer, bias: inputs.bias };
    return this.dense.forward(attend(heads, inputs, { ...place, dropout: probabilities }));
  }
}

class BloomBlock extends Module implements Layer<AlibiInputs> {
  readonly input_layernorm: LayerNorm;
  readonly self_attention: BloomAttention;
  readonly post_attention_layernorm: LayerNorm;
  readonly mlp: MLP;

  constructor(
    readonly config: BloomConfig,
    layer: number,
  ) {
    super();
    const { hiddenSize, normEps: eps } = config;
    const sizes = { hiddenSize, intermediateSize: 4 * hiddenSize, mlpBias: true, activation: 'gelu_new' } as const;
    this.input_layernorm = new LayerNorm(hiddenSize, { eps });
    this.self_attention = new BloomAttention(config, layer);
    this.post_attention_layernorm = new LayerNorm(hiddenSize, { eps });
    this.mlp = new MLP(sizes, ['dense_h_to_4h', 'dense_4h_to_h']);
  }

  forward(x: Tensor, inputs: AlibiInputs): Tensor {
    const { residualAfterNorm, dropout: rates } = this.config;
    const added = (y: Tensor): Tensor => dropout(y, rates.residual);
    const normed = this.input_layernorm.forward(x);
    const attended = (residualAfterNorm ? normed : x).add(added(this.self_attention.forward(normed, inputs)));
    const second = this.post_attention_layernorm.forward(attended);
    return (residualAfterNorm ? second : attended).add(added(this.mlp.forward(second)));
  }
}

export class BloomForCausalLM extends Decoder<AlibiInputs> {
  constructor(config: BloomConfig) {
    const { vocabSize, hiddenSize, normEps: eps } = config;
    const word_embeddings_layernorm = new LayerNorm(hiddenSize, { eps });
    const alibi = new Alibi(bloomSlopes(config.heads));
    super(
      { ...gptNames, embeddings: 'word_embeddings' },
      {
        embeddings: new Embedding(vocabSize, hiddenSize),
        others: { word_embeddings_layernorm, alibi },
        layers: stack(config.layers, (i) => new BloomBlock(config, i)),
        norm: new LayerNorm(hiddenSize, { eps }),
        isTied: config.tiedEmbeddings,
        inputs: (inputs) => ({ ...inputs, bias: alibi.forward(inputs) }),
        first: (embedded) => word_embeddings_layernorm.forward(embedded),
      },
    );
  }
}
