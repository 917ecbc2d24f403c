// GPT-NeoX (https://arxiv.org/abs/2204.06745) and Pythia: attention and MLP side by side, each behind a norm of its own, or
// one after the other; rotation of part of each head; one projection for queries, keys and values. Follows transformers'
// modeling_gpt_neox.
import {
  dropout,
  Embedding,
  LayerNorm,
  Linear,
  Module,
  type RopeOptions,
  RotaryEmbedding,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { attend, type DecoderDropout, type RotaryInputs, splitGroups } from './parts/attention.ts';
import { Decoder, type RotaryLayer, rotating, stack } from './parts/decoder.ts';
import { MLP, type MLPConfig } from './parts/mlp.ts';

export interface GptNeoxConfig extends MLPConfig {
  readonly vocabSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly normEps: number;
  readonly attentionBias: boolean;
  readonly isParallel: boolean;
  readonly tiedEmbeddings: boolean;
  readonly rope: RopeOptions;
  readonly dropout: DecoderDropout;
}

class GptNeoxAttention extends Module {
  readonly query_key_value: Linear;
  readonly dense: Linear;

  constructor(
    readonly config: GptNeoxConfig,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize, attentionBias: bias } = config;
    this.query_key_value = new Linear(hiddenSize, 3 * hiddenSize, { bias });
    this.dense = new Linear(hiddenSize, hiddenSize, { bias });
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const heads = splitGroups(this.query_key_value.forward(x), this.config.heads, 1);
    const { probabilities } = this.config.dropout;
    const place = { layer: this.layer, rotation: inputs.rotation };
    return this.dense.forward(attend(heads, inputs, { ...place, dropout: probabilities }));
  }
}

class GptNeoxLayer extends Module implements RotaryLayer {
  readonly input_layernorm: LayerNorm;
  readonly post_attention_layernorm: LayerNorm;
  readonly attention: GptNeoxAttention;
  readonly mlp: MLP;

  constructor(
    readonly config: GptNeoxConfig,
    layer: number,
  ) {
    super();
    const { hiddenSize, normEps: eps } = config;
    this.input_layernorm = new LayerNorm(hiddenSize, { eps });
    this.post_attention_layernorm = new LayerNorm(hiddenSize, { eps });
    this.attention = new GptNeoxAttention(config, layer);
    this.mlp = new MLP(config, ['dense_h_to_4h', 'dense_4h_to_h']);
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const { isParallel, dropout: rates } = this.config;
    const added = (y: Tensor): Tensor => dropout(y, rates.residual);
    const attended = x.add(added(this.attention.forward(this.input_layernorm.forward(x), inputs)));
    const before = isParallel ? x : attended;
    return attended.add(added(this.mlp.forward(this.post_attention_layernorm.forward(before))));
  }
}

const names = {
  root: 'gpt_neox',
  embeddings: 'embed_in',
  layers: 'layers',
  norm: 'final_layer_norm',
  head: 'embed_out',
};

export class GptNeoxForCausalLM extends Decoder<RotaryInputs> {
  constructor(config: GptNeoxConfig) {
    super(names, {
      embeddings: new Embedding(config.vocabSize, config.hiddenSize),
      layers: stack(config.layers, (i) => new GptNeoxLayer(config, i)),
      norm: new LayerNorm(config.hiddenSize, { eps: config.normEps }),
      isTied: config.tiedEmbeddings,
      ...rotating(new RotaryEmbedding(config.rope)),
      first: (embedded) => dropout(embedded, config.dropout.embeddings),
    });
  }
}
