// Llama and the models that share its shape: pre-norm decoder layers of grouped-query attention with rotary positions and
// a gated MLP. Llama 2 and 3, SmolLM and TinyLlama are this with defaults; Mistral adds a sliding window, Qwen2 biases on
// q, k and v, Qwen3 norms on q and k, Gemma an offset in the norms and scaled embeddings, Granite four multipliers, Helium
// another order of the rotation. Follows transformers' modeling_llama and its siblings.
import { Module, RMSNorm, type Tensor } from '../frontends/dsl/index.ts';
import { type AttentionConfig, RotaryAttention, type RotaryInputs } from './parts/attention.ts';
import { type RotaryDecoderConfig, RotaryDecoder, type RotaryLayer } from './parts/decoder.ts';
import { GatedMLP, type MLPConfig } from './parts/mlp.ts';

export interface LlamaConfig extends RotaryDecoderConfig, AttentionConfig, MLPConfig {
  readonly normEps: number;
  /** Added to the weights of the norms: 1 in Gemma. */
  readonly normOffset: number;
  /** Norms of size headDim on queries and keys, before the rotation. */
  readonly qkNorm: boolean;
  readonly residualScale: number;
}

/** The feed-forward part of a layer. */
export interface FeedForward extends Module {
  forward(x: Tensor): Tensor;
}

const rmsNorm = ({ normEps: eps, normOffset: offset }: LlamaConfig, size: number): RMSNorm =>
  new RMSNorm(size, { eps, offset });

export class LlamaAttention extends RotaryAttention {
  constructor(config: LlamaConfig, layer: number) {
    const norm = { over: 'head', make: () => rmsNorm(config, config.headDim) } as const;
    super(config, layer, config.qkNorm ? { norm } : {});
  }
}

class LlamaDecoderLayer extends Module implements RotaryLayer {
  readonly self_attn: LlamaAttention;
  readonly mlp: FeedForward;
  readonly input_layernorm: RMSNorm;
  readonly post_attention_layernorm: RMSNorm;

  constructor(
    readonly config: LlamaConfig,
    layer: number,
    mlp: FeedForward,
  ) {
    super();
    this.self_attn = new LlamaAttention(config, layer);
    this.mlp = mlp;
    this.input_layernorm = rmsNorm(config, config.hiddenSize);
    this.post_attention_layernorm = rmsNorm(config, config.hiddenSize);
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    return this.scope(() => {
      const { residualScale } = this.config;
      const scaled = (y: Tensor): Tensor => (residualScale === 1 ? y : y.mul(residualScale));
      const attended = x.add(scaled(this.self_attn.forward(this.input_layernorm.forward(x), inputs)));
      return attended.add(scaled(this.mlp.forward(this.post_attention_layernorm.forward(attended))));
    });
  }
}

export class LlamaForCausalLM extends RotaryDecoder {
  /** `mlp` makes the feed-forward parts, where they are not Llama's own. */
  constructor(config: LlamaConfig, mlp: (layer: number) => FeedForward = () => new GatedMLP(config)) {
    super(config, {
      layer: (i) => new LlamaDecoderLayer(config, i, mlp(i)),
      norm: rmsNorm(config, config.hiddenSize),
    });
  }
}
