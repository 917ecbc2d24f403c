// StarCoder 2 (https://arxiv.org/abs/2402.19173): Llama's layers with LayerNorm and an MLP without a gate. Follows
// transformers' modeling_starcoder2.
import { LayerNorm } from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import { RotaryAttention } from './parts/attention.ts';
import { RotaryDecoder } from './parts/decoder.ts';
import { PreNormLayer } from './parts/layer.ts';
import { MLP } from './parts/mlp.ts';

export class Starcoder2ForCausalLM extends RotaryDecoder {
  constructor(config: LlamaConfig) {
    const norm = (): LayerNorm => new LayerNorm(config.hiddenSize, { eps: config.normEps });
    super(config, {
      layer: (i) => {
        const mlp = new MLP(config, ['c_fc', 'c_proj']);
        return new PreNormLayer({ attention: new RotaryAttention(config, i), mlp, norm });
      },
      norm: norm(),
    });
  }
}
