// OLMo 2 (https://arxiv.org/abs/2501.00656): Llama's layers with the norms behind attention and MLP in place of before
// them, and norms over all queries and all keys of a position. Follows transformers' modeling_olmo2.
import { Module, RMSNorm, type Tensor } from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import { RotaryAttention, type RotaryInputs } from './parts/attention.ts';
import { RotaryDecoder, type RotaryLayer } from './parts/decoder.ts';
import { GatedMLP } from './parts/mlp.ts';

class Olmo2DecoderLayer extends Module implements RotaryLayer {
  readonly self_attn: RotaryAttention;
  readonly mlp: GatedMLP;
  readonly post_attention_layernorm: RMSNorm;
  readonly post_feedforward_layernorm: RMSNorm;

  constructor(config: LlamaConfig, layer: number) {
    super();
    const { hiddenSize, headDim, normEps: eps } = config;
    const make = (heads: number): RMSNorm => new RMSNorm(heads * headDim, { eps });
    this.self_attn = new RotaryAttention(config, layer, { norm: { over: 'all', make } });
    this.mlp = new GatedMLP(config);
    this.post_attention_layernorm = new RMSNorm(hiddenSize, { eps });
    this.post_feedforward_layernorm = new RMSNorm(hiddenSize, { eps });
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const attended = x.add(this.post_attention_layernorm.forward(this.self_attn.forward(x, inputs)));
    return attended.add(this.post_feedforward_layernorm.forward(this.mlp.forward(attended)));
  }
}

export class Olmo2ForCausalLM extends RotaryDecoder {
  constructor(config: LlamaConfig) {
    super(config, {
      layer: (i) => new Olmo2DecoderLayer(config, i),
      norm: new RMSNorm(config.hiddenSize, { eps: config.normEps }),
    });
  }
}
