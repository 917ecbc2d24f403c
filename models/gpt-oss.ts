// gpt-oss (https://arxiv.org/abs/2508.10925): Llama's layers with sinks in attention, a sliding window on every other layer,
// and a mixture of experts whose weights lie in one tensor each. Follows transformers' modeling_gpt_oss.
import { Module, op, Parameter, RMSNorm, sigmoid, type Tensor, where, zeros } from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import { RotaryAttention } from './parts/attention.ts';
import { RotaryDecoder } from './parts/decoder.ts';
import { amongLargest, type RoutingConfig } from './parts/experts.ts';
import { PreNormLayer } from './parts/layer.ts';

export interface GptOssConfig extends LlamaConfig, RoutingConfig {}

/** Below any logit: what is not chosen gets no weight. */
const lowest = -1e30;

class GptOssRouter extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(readonly config: GptOssConfig) {
    super();
    this.weight = new Parameter([config.experts, config.hiddenSize]);
    this.bias = new Parameter([config.experts]);
  }

  /** Softmax over the experts of the largest logits: [.., hidden] to [.., experts]. */
  forward(x: Tensor): Tensor {
    const contract = [[x.rank - 1], [1]] as const;
    const products = op('dot_general', [x, this.weight.value], { batch: [[], []], contract, acc: 'f32' });
    const logits = products.add(this.bias.value);
    return where(amongLargest(logits, this.config.expertsPerToken), logits, lowest).softmax();
  }
}

/** The gate is kept below this, and what it multiplies within it. */
const limit = 7;

class GptOssExperts extends Module {
  readonly gate_up_proj: Parameter;
  readonly gate_up_proj_bias: Parameter;
  readonly down_proj: Parameter;
  readonly down_proj_bias: Parameter;

  constructor({ experts, hiddenSize, intermediateSize }: GptOssConfig) {
    super();
    this.gate_up_proj = new Parameter([experts, hiddenSize, 2 * intermediateSize]);
    this.gate_up_proj_bias = new Parameter([experts, 2 * intermediateSize], zeros);
    this.down_proj = new Parameter([experts, intermediateSize, hiddenSize]);
    this.down_proj_bias = new Parameter([experts, hiddenSize], zeros);
  }

  /** x [B, S, hidden], weights [B, S, experts]. */
  forward(x: Tensor, weights: Tensor): Tensor {
    const first = { batch: [[], []], contract: [[2], [1]], acc: 'f32' } as const;
    const both = op('dot_general', [x, this.gate_up_proj.value], first).add(this.gate_up_proj_bias.value);
    const gate = both.slice(-1, 0, undefined, 2).minimum(limit);
    const up = both.slice(-1, 1, undefined, 2).clamp(-limit, limit);
    const inner = up
      .add(1)
      .mul(gate)
      .mul(sigmoid(gate.mul(1.702)));
    const second = { batch: [[2], [0]], contract: [[3], [1]], acc: 'f32' } as const;
    const outer = op('dot_general', [inner, this.down_proj.value], second); // [experts, B, S, hidden]
    const biased = outer.add(this.down_proj_bias.value.unsqueeze(1).unsqueeze(1));
    return biased.mul(weights.permute([2, 0, 1]).unsqueeze(-1)).sum(0);
  }
}

class GptOssMLP extends Module {
  readonly router: GptOssRouter;
  readonly experts: GptOssExperts;

  constructor(config: GptOssConfig) {
    super();
    this.router = new GptOssRouter(config);
    this.experts = new GptOssExperts(config);
  }

  forward(x: Tensor): Tensor {
    return this.experts.forward(x, this.router.forward(x));
  }
}

export class GptOssForCausalLM extends RotaryDecoder {
  constructor(config: GptOssConfig) {
    const norm = (): RMSNorm => new RMSNorm(config.hiddenSize, { eps: config.normEps });
    super(config, {
      layer: (i) => {
        const mlp = new GptOssMLP(config);
        return new PreNormLayer({ attention: new RotaryAttention(config, i, { hasSinks: true }), mlp, norm });
      },
      norm: norm(),
    });
  }
}
