// DeepSeek V3 (https://arxiv.org/abs/2412.19437): keys and values from a narrow latent, of which only a small part of the
// key is turned by its position; a mixture of experts that are chosen by groups, beside shared ones. Follows transformers'
// modeling_deepseek_v3. The cache holds keys and values as attention reads them.
import {
  attention,
  concat,
  FixedParameter,
  Linear,
  Module,
  mergeHeads,
  RMSNorm,
  rope,
  sigmoid,
  splitHeads,
  type Tensor,
  where,
  zeros,
} from '../frontends/dsl/index.ts';
import type { LlamaConfig } from './llama.ts';
import type { RotaryInputs } from './parts/attention.ts';
import { RotaryDecoder, type RotaryLayer, stack } from './parts/decoder.ts';
import { amongLargest, mixExperts, normalised, type RoutingConfig } from './parts/experts.ts';
import { PreNormLayer } from './parts/layer.ts';
import { GatedMLP } from './parts/mlp.ts';

export interface DeepseekV3Config extends LlamaConfig, RoutingConfig {
  readonly attentionBias: boolean;
  /** Widths of the latents of queries and of keys and values; 0: queries have none. */
  readonly queryRank: number;
  readonly keyValueRank: number;
  /** Parts of a query or key that are turned, and that are not; size of a value. */
  readonly turnedSize: number;
  readonly plainSize: number;
  readonly valueSize: number;
  readonly expertSize: number;
  readonly sharedExperts: number;
  /** The first layers have an MLP in place of experts. */
  readonly denseLayers: number;
  readonly groups: number;
  readonly groupsPerToken: number;
  readonly isNormalised: boolean;
  readonly routedScale: number;
}

class DeepseekV3Attention extends Module implements RotaryLayer {
  readonly q_proj: Linear | undefined;
  readonly q_a_proj: Linear | undefined;
  readonly q_a_layernorm: RMSNorm | undefined;
  readonly q_b_proj: Linear | undefined;
  readonly kv_a_proj_with_mqa: Linear;
  readonly kv_a_layernorm: RMSNorm;
  readonly kv_b_proj: Linear;
  readonly o_proj: Linear;

  constructor(
    readonly config: DeepseekV3Config,
    readonly layer: number,
  ) {
    super();
    const {
      hiddenSize,
      heads,
      queryRank,
      keyValueRank,
      turnedSize,
      plainSize,
      valueSize,
      attentionBias: bias,
    } = config;
    const querySize = heads * (plainSize + turnedSize);
    if (queryRank > 0) {
      this.q_a_proj = new Linear(hiddenSize, queryRank, { bias });
      this.q_a_layernorm = new RMSNorm(queryRank);
      this.q_b_proj = new Linear(queryRank, querySize, { bias: false });
    } else this.q_proj = new Linear(hiddenSize, querySize, { bias: false });
    this.kv_a_proj_with_mqa = new Linear(hiddenSize, keyValueRank + turnedSize, { bias });
    this.kv_a_layernorm = new RMSNorm(keyValueRank);
    this.kv_b_proj = new Linear(keyValueRank, heads * (plainSize + valueSize), { bias: false });
    this.o_proj = new Linear(heads * valueSize, hiddenSize, { bias });
  }

  #queries(x: Tensor): Tensor {
    if (this.q_proj) return this.q_proj.forward(x);
    return this.q_b_proj!.forward(this.q_a_layernorm!.forward(this.q_a_proj!.forward(x)));
  }

  forward(x: Tensor, { rotation, mask, cache }: RotaryInputs): Tensor {
    const { heads, keyValueRank, turnedSize, plainSize, valueSize, attentionScale: scale, ropeStyle } = this.config;
    const [qPlain, qTurned] = splitHeads(this.#queries(x), heads).split([plainSize, turnedSize], -1);
    const [latent, shared] = this.kv_a_proj_with_mqa.forward(x).split([keyValueRank, turnedSize], -1);
    const expanded = this.kv_b_proj.forward(this.kv_a_layernorm.forward(latent));
    const [kPlain, v] = splitHeads(expanded, heads).split([plainSize, valueSize], -1);
    const kTurned = rope(shared.unsqueeze(1), rotation, ropeStyle); // one for all heads
    const q = concat([qPlain, rope(qTurned, rotation, ropeStyle)], -1);
    const k = concat([kPlain, kTurned.broadcastTo([...kPlain.shape.slice(0, 3), turnedSize])], -1);
    const [keys, values] = cache.update(this.layer, k, v);
    return this.o_proj.forward(mergeHeads(attention(q, keys, values, { mask, scale })));
  }
}

/** Below any score: groups that were not chosen. */
const lowest = -1e30;

class DeepseekV3Router extends Linear {
  /** Moves what is chosen, not its weight; training moves it by other rules than gradients. */
  readonly e_score_correction_bias: FixedParameter;

  constructor(readonly config: DeepseekV3Config) {
    super(config.hiddenSize, config.experts, { bias: false });
    this.e_score_correction_bias = new FixedParameter([config.experts], zeros);
  }

  /** x [B, S, hidden] to weights [B, S, experts]. */
  override forward(x: Tensor): Tensor {
    const { experts, expertsPerToken, groups, groupsPerToken, isNormalised, routedScale } = this.config;
    const scores = sigmoid(super.forward(x));
    const choice = scores.add(this.e_score_correction_bias.value);
    const [batch, seq] = x.shape;
    const grouped = choice.reshape([batch, seq, groups, experts / groups]);
    const best = where(amongLargest(grouped, Math.min(2, experts / groups)), grouped, 0).sum(-1);
    const allowed = amongLargest(best, groupsPerToken).unsqueeze(-1);
    const chosen = amongLargest(where(allowed, grouped, lowest).reshape(choice.shape), expertsPerToken);
    const weights = where(chosen, scores, 0);
    return (isNormalised ? normalised(weights) : weights).mul(routedScale);
  }
}

class DeepseekV3MoE extends Module {
  readonly experts: GatedMLP[];
  readonly gate: DeepseekV3Router;
  readonly shared_experts: GatedMLP;

  constructor(config: DeepseekV3Config) {
    super();
    const { expertSize: intermediateSize, experts, sharedExperts } = config;
    this.experts = stack(experts, () => new GatedMLP({ ...config, intermediateSize }));
    this.gate = new DeepseekV3Router(config);
    this.shared_experts = new GatedMLP({ ...config, intermediateSize: intermediateSize * sharedExperts });
  }

  forward(x: Tensor): Tensor {
    return mixExperts(x, this.gate.forward(x), this.experts).add(this.shared_experts.forward(x));
  }
}

export class DeepseekV3ForCausalLM extends RotaryDecoder {
  constructor(config: DeepseekV3Config) {
    const norm = (): RMSNorm => new RMSNorm(config.hiddenSize, { eps: config.normEps });
    super(config, {
      layer: (i) => {
        const mlp = i < config.denseLayers ? new GatedMLP(config) : new DeepseekV3MoE(config);
        return new PreNormLayer({ attention: new DeepseekV3Attention(config, i), mlp, norm });
      },
      norm: norm(),
    });
  }
}
