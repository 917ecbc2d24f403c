// Llama and the models that share its shape: pre-norm decoder layers of grouped-query attention with rotary positions and
// a gated MLP. Llama 2 and 3, SmolLM and TinyLlama are this with defaults; Mistral adds a sliding window, Qwen2 biases on
// q, k and v, Qwen3 norms on q and k, Gemma an offset in the norms and scaled embeddings, Granite four multipliers, Helium
// another order of the rotation. Follows transformers' modeling_llama and its siblings.
import { RMSNorm } from '../frontends/dsl/index.ts';
import { type AttentionConfig, RotaryAttention } from './parts/attention.ts';
import { RotaryDecoder, type RotaryDecoderConfig } from './parts/decoder.ts';
import { type FeedForward, PreNormLayer } from './parts/layer.ts';
import { GatedMLP, type MLPConfig } from './parts/mlp.ts';

export interface LlamaConfig extends RotaryDecoderConfig, AttentionConfig, MLPConfig {
  readonly normEps: number;
  /** Added to the weights of the norms: 1 in Gemma. */
  readonly normOffset: number;
  /** Norms of size headDim on queries and keys, before the rotation. */
  readonly qkNorm: boolean;
  readonly residualScale: number;
}

const rmsNorm = ({ normEps: eps, normOffset: offset }: LlamaConfig, size: number): RMSNorm =>
  new RMSNorm(size, { eps, offset });

class LlamaAttention extends RotaryAttention {
  constructor(config: LlamaConfig, layer: number) {
    const norm = { over: 'head', make: () => rmsNorm(config, config.headDim) } as const;
    super(config, layer, config.qkNorm ? { norm } : {});
  }
}

/** A feed-forward part in place of Llama's own, under its name. */
export interface OtherMLP {
  readonly name?: string;
  make(layer: number): FeedForward;
}

export class LlamaForCausalLM extends RotaryDecoder {
  constructor(config: LlamaConfig, { name = 'mlp', make }: OtherMLP = { make: () => new GatedMLP(config) }) {
    const norm = (): RMSNorm => rmsNorm(config, config.hiddenSize);
    const { residualScale } = config;
    super(config, {
      layer: (i) => {
        const attention = new LlamaAttention(config, i);
        return new PreNormLayer({ attention, mlp: make(i), mlpName: name, norm, residualScale });
      },
      norm: norm(),
    });
  }
}
