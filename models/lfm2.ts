// LFM2: decoder layers that are either grouped-query attention, with norms on queries and keys, or a gated convolution over
// the last few tokens; each is followed by a gated MLP. Follows transformers' modeling_lfm2.
import {
  CausalConv1d,
  Embedding,
  Linear,
  Module,
  RMSNorm,
  RotaryEmbedding,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import { attend, type RotaryInputs } from './parts/attention.ts';
import { Decoder, type DecoderNames, llamaNames, type RotaryLayer, rotating, stack } from './parts/decoder.ts';
import { GatedMLP } from './parts/mlp.ts';

export interface Lfm2Config extends LlamaConfig {
  /** Positions that a convolution sees, its own among them. */
  readonly convSize: number;
  readonly convBias: boolean;
  /** Whether each layer attends; the others convolve. */
  readonly attends: readonly boolean[];
}

const lfm2Names: DecoderNames = { ...llamaNames, norm: 'embedding_norm' };

class Lfm2Attention extends Module implements RotaryLayer {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly out_proj: Linear;
  readonly q_layernorm: RMSNorm;
  readonly k_layernorm: RMSNorm;

  constructor(
    readonly config: Lfm2Config,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize, heads, kvHeads, headDim, normEps: eps } = config;
    this.q_proj = new Linear(hiddenSize, heads * headDim, { bias: false });
    this.k_proj = new Linear(hiddenSize, kvHeads * headDim, { bias: false });
    this.v_proj = new Linear(hiddenSize, kvHeads * headDim, { bias: false });
    this.out_proj = new Linear(heads * headDim, hiddenSize, { bias: false });
    this.q_layernorm = new RMSNorm(headDim, { eps });
    this.k_layernorm = new RMSNorm(headDim, { eps });
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const { heads, kvHeads } = this.config;
    const q = this.q_layernorm.forward(splitHeads(this.q_proj.forward(x), heads));
    const k = this.k_layernorm.forward(splitHeads(this.k_proj.forward(x), kvHeads));
    const v = splitHeads(this.v_proj.forward(x), kvHeads);
    return this.out_proj.forward(attend([q, k, v], inputs, { layer: this.layer, rotation: inputs.rotation }));
  }
}

/** out(c * conv(b * x)), [b | c | x] being one projection. */
class Lfm2ShortConv extends Module implements RotaryLayer {
  readonly conv: CausalConv1d;
  readonly in_proj: Linear;
  readonly out_proj: Linear;

  constructor(
    readonly config: Lfm2Config,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize, convSize, convBias: bias } = config;
    this.conv = new CausalConv1d(hiddenSize, convSize, { bias });
    this.in_proj = new Linear(hiddenSize, 3 * hiddenSize, { bias });
    this.out_proj = new Linear(hiddenSize, hiddenSize, { bias });
  }

  forward(x: Tensor, { attentionMask, cache }: RotaryInputs): Tensor {
    const { hiddenSize: size, convSize } = this.config;
    const real = x.mul(attentionMask.unsqueeze(-1).cast('f32'));
    const [b, c, projected] = this.in_proj.forward(real).split([size, size, size], -1);
    const carried = cache.carry(this.layer, 'conv', [x.shape[0], convSize - 1, size]);
    return this.out_proj.forward(c.mul(this.conv.forward(b.mul(projected), carried)));
  }
}

class Lfm2DecoderLayer extends Module implements RotaryLayer {
  readonly feed_forward: GatedMLP;
  readonly operator_norm: RMSNorm;
  readonly ffn_norm: RMSNorm;
  readonly #operator: RotaryLayer;

  constructor(config: Lfm2Config, layer: number) {
    super();
    const { hiddenSize, normEps: eps, attends } = config;
    this.#operator = attends[layer] ? new Lfm2Attention(config, layer) : new Lfm2ShortConv(config, layer);
    Object.assign(this, { [attends[layer] ? 'self_attn' : 'conv']: this.#operator });
    this.feed_forward = new GatedMLP(config, ['w1', 'w3', 'w2']);
    this.operator_norm = new RMSNorm(hiddenSize, { eps });
    this.ffn_norm = new RMSNorm(hiddenSize, { eps });
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const operated = x.add(this.#operator.forward(this.operator_norm.forward(x), inputs));
    return operated.add(this.feed_forward.forward(this.ffn_norm.forward(operated)));
  }
}

export class Lfm2ForCausalLM extends Decoder<RotaryInputs> {
  constructor(config: Lfm2Config) {
    super(lfm2Names, {
      embeddings: new Embedding(config.vocabSize, config.hiddenSize),
      layers: stack(config.layers, (i) => new Lfm2DecoderLayer(config, i)),
      norm: new RMSNorm(config.hiddenSize, { eps: config.normEps }),
      isTied: config.tiedEmbeddings,
      padding: 'mask',
      ...rotating(new RotaryEmbedding(config.rope)),
    });
  }
}
