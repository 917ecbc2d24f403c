// Cohere's Command R: attention and MLP side by side behind one LayerNorm without bias, interleaved rotation, scaled
// logits; larger models norm every query and key head with weights of its own. Follows transformers' modeling_cohere.
import { LayerNorm, Module, type Norm, ones, op, Parameter, type Tensor } from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import { RotaryAttention, type RotaryInputs } from './parts/attention.ts';
import { RotaryDecoder, type RotaryLayer } from './parts/decoder.ts';
import { GatedMLP } from './parts/mlp.ts';

/** A norm of every head [B, heads, S, size] with weights of its own. */
class HeadNorm extends Module implements Norm {
  readonly weight: Parameter;

  constructor(
    heads: number,
    size: number,
    readonly eps: number,
  ) {
    super();
    this.weight = new Parameter([heads, size], ones);
  }

  forward(x: Tensor): Tensor {
    const normed = op('norm', [x], { kind: 'layer', eps: this.eps, scaleOffset: 0 });
    return normed.mul(this.weight.value.unsqueeze(1));
  }
}

class CohereDecoderLayer extends Module implements RotaryLayer {
  readonly self_attn: RotaryAttention;
  readonly mlp: GatedMLP;
  readonly input_layernorm: LayerNorm;

  constructor(config: LlamaConfig, layer: number) {
    super();
    const { hiddenSize, headDim, normEps: eps } = config;
    const make = (heads: number): HeadNorm => new HeadNorm(heads, headDim, eps);
    this.self_attn = new RotaryAttention(config, layer, config.qkNorm ? { norm: { over: 'head', make } } : {});
    this.mlp = new GatedMLP(config);
    this.input_layernorm = new LayerNorm(hiddenSize, { eps, bias: false });
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const normed = this.input_layernorm.forward(x);
    return x.add(this.self_attn.forward(normed, inputs)).add(this.mlp.forward(normed));
  }
}

export class CohereForCausalLM extends RotaryDecoder {
  constructor(config: LlamaConfig) {
    super(config, {
      layer: (i) => new CohereDecoderLayer(config, i),
      norm: new LayerNorm(config.hiddenSize, { eps: config.normEps, bias: false }),
    });
  }
}
