// StarCoder 2 (https://arxiv.org/abs/2402.19173): Llama's layers with LayerNorm and an MLP without a gate. Follows
// transformers' modeling_starcoder2.
import { LayerNorm, Module, type Tensor } from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import { RotaryAttention, type RotaryInputs } from './parts/attention.ts';
import { RotaryDecoder, type RotaryLayer } from './parts/decoder.ts';
import { MLP } from './parts/mlp.ts';

class Starcoder2DecoderLayer extends Module implements RotaryLayer {
  readonly self_attn: RotaryAttention;
  readonly mlp: MLP;
  readonly input_layernorm: LayerNorm;
  readonly post_attention_layernorm: LayerNorm;

  constructor(config: LlamaConfig, layer: number) {
    super();
    const { hiddenSize, normEps: eps } = config;
    this.self_attn = new RotaryAttention(config, layer);
    this.mlp = new MLP(config, ['c_fc', 'c_proj']);
    this.input_layernorm = new LayerNorm(hiddenSize, { eps });
    this.post_attention_layernorm = new LayerNorm(hiddenSize, { eps });
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    return this.scope(() => {
      const attended = x.add(this.self_attn.forward(this.input_layernorm.forward(x), inputs));
      return attended.add(this.mlp.forward(this.post_attention_layernorm.forward(attended)));
    });
  }
}

export class Starcoder2ForCausalLM extends RotaryDecoder {
  constructor(config: LlamaConfig) {
    super(config, {
      layer: (i) => new Starcoder2DecoderLayer(config, i),
      norm: new LayerNorm(config.hiddenSize, { eps: config.normEps }),
    });
  }
}
