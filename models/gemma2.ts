// Gemma 2 (https://arxiv.org/abs/2408.00118): Gemma with norms before and behind both parts of a layer, capped scores and
// logits, and a sliding window on every other layer. Follows transformers' modeling_gemma2.
import { Module, RMSNorm, type Tensor } from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import { RotaryAttention, type RotaryInputs } from './parts/attention.ts';
import { RotaryDecoder, type RotaryLayer } from './parts/decoder.ts';
import { GatedMLP } from './parts/mlp.ts';

const norm = ({ hiddenSize, normEps: eps, normOffset: offset }: LlamaConfig): RMSNorm =>
  new RMSNorm(hiddenSize, { eps, offset });

class Gemma2DecoderLayer extends Module implements RotaryLayer {
  readonly self_attn: RotaryAttention;
  readonly mlp: GatedMLP;
  readonly input_layernorm: RMSNorm;
  readonly post_attention_layernorm: RMSNorm;
  readonly pre_feedforward_layernorm: RMSNorm;
  readonly post_feedforward_layernorm: RMSNorm;

  constructor(config: LlamaConfig, layer: number) {
    super();
    this.self_attn = new RotaryAttention(config, layer);
    this.mlp = new GatedMLP(config);
    this.input_layernorm = norm(config);
    this.post_attention_layernorm = norm(config);
    this.pre_feedforward_layernorm = norm(config);
    this.post_feedforward_layernorm = norm(config);
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const attention = this.self_attn.forward(this.input_layernorm.forward(x), inputs);
    const attended = x.add(this.post_attention_layernorm.forward(attention));
    const mixed = this.mlp.forward(this.pre_feedforward_layernorm.forward(attended));
    return attended.add(this.post_feedforward_layernorm.forward(mixed));
  }
}

export class Gemma2ForCausalLM extends RotaryDecoder {
  constructor(config: LlamaConfig) {
    super(config, { layer: (i) => new Gemma2DecoderLayer(config, i), norm: norm(config) });
  }
}
