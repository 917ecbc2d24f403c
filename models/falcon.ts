// Falcon (https://arxiv.org/abs/2311.16867): attention and MLP side by side or one after the other, with all heads sharing
// keys and values, or groups of them; positions by rotation or by linear biases. Follows transformers' modeling_falcon.
import {
  type CausalInputs,
  dropout,
  Embedding,
  LayerNorm,
  Linear,
  Module,
  type RopeOptions,
  RotaryEmbedding,
  type Rotation,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { Alibi, bloomSlopes } from './parts/alibi.ts';
import { attend, type DecoderDropout, splitGroups } from './parts/attention.ts';
import { Decoder, gptNames, type Layer, rotating, stack } from './parts/decoder.ts';
import { MLP, type MLPConfig } from './parts/mlp.ts';

export interface FalconConfig extends MLPConfig {
  readonly vocabSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly normEps: number;
  readonly bias: boolean;
  /** parallel: one norm before both parts of a layer; 'parallel-two': one before each; sequential: as usual. */
  readonly arrangement: 'sequential' | 'parallel' | 'parallel-two';
  readonly tiedEmbeddings: boolean;
  /** Without it, positions are linear biases. */
  readonly rope: RopeOptions | undefined;
  readonly dropout: DecoderDropout;
}

/** Layers are given the one or the other. */
interface FalconInputs extends CausalInputs {
  readonly rotation?: Rotation;
  readonly bias?: Tensor;
}

class FalconAttention extends Module {
  readonly query_key_value: Linear;
  readonly dense: Linear;

  constructor(
    readonly config: FalconConfig,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize, heads, kvHeads, bias } = config;
    this.query_key_value = new Linear(hiddenSize, hiddenSize + (2 * kvHeads * hiddenSize) / heads, { bias });
    this.dense = new Linear(hiddenSize, hiddenSize, { bias });
  }

  forward(x: Tensor, inputs: FalconInputs): Tensor {
    const { heads, kvHeads, dropout: rates } = this.config;
    const { rotation, bias } = inputs;
    const split = splitGroups(this.query_key_value.forward(x), kvHeads, heads / kvHeads);
    const place = { ...(rotation ? { rotation } : {}), ...(bias ? { bias } : {}) };
    return this.dense.forward(attend(split, inputs, { layer: this.layer, ...place, dropout: rates.probabilities }));
  }
}

class FalconLayer extends Module implements Layer<FalconInputs> {
  readonly input_layernorm: LayerNorm | undefined;
  readonly post_attention_layernorm: LayerNorm | undefined;
  readonly ln_attn: LayerNorm | undefined;
  readonly ln_mlp: LayerNorm | undefined;
  readonly self_attention: FalconAttention;
  readonly mlp: MLP;

  constructor(
    readonly config: FalconConfig,
    layer: number,
  ) {
    super();
    const { hiddenSize, normEps: eps, arrangement } = config;
    const norm = (isThere: boolean): LayerNorm | undefined =>
      isThere ? new LayerNorm(hiddenSize, { eps }) : undefined;
    this.input_layernorm = norm(arrangement !== 'parallel-two');
    this.post_attention_layernorm = norm(arrangement === 'sequential');
    this.ln_attn = norm(arrangement === 'parallel-two');
    this.ln_mlp = norm(arrangement === 'parallel-two');
    this.self_attention = new FalconAttention(config, layer);
    this.mlp = new MLP(config, ['dense_h_to_4h', 'dense_4h_to_h']);
  }

  forward(x: Tensor, inputs: FalconInputs): Tensor {
    const normed = (this.ln_attn ?? this.input_layernorm)!.forward(x);
    const { residual: rate } = this.config.dropout;
    const attended = x.add(dropout(this.self_attention.forward(normed, inputs), rate));
    const second = this.post_attention_layernorm?.forward(attended) ?? this.ln_mlp?.forward(x) ?? normed;
    return attended.add(dropout(this.mlp.forward(second), rate));
  }
}

/** Gives layers linear biases, which are scaled as the scores are. */
function biased({ heads, hiddenSize }: FalconConfig) {
  const alibi = new Alibi(bloomSlopes(heads));
  const scale = (hiddenSize / heads) ** -0.5;
  return {
    others: { alibi },
    inputs: (inputs: CausalInputs): FalconInputs => ({ ...inputs, bias: alibi.forwardRounded(inputs).mul(scale) }),
  };
}

export class FalconForCausalLM extends Decoder<FalconInputs> {
  constructor(config: FalconConfig) {
    super(
      { ...gptNames, embeddings: 'word_embeddings' },
      {
        embeddings: new Embedding(config.vocabSize, config.hiddenSize),
        layers: stack(config.layers, (i) => new FalconLayer(config, i)),
        norm: new LayerNorm(config.hiddenSize, { eps: config.normEps }),
        isTied: config.tiedEmbeddings,
        ...(config.rope ? rotating(new RotaryEmbedding(config.rope)) : biased(config)),
      },
    );
  }
}
