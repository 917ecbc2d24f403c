// Llama and the models that share its shape: pre-norm decoder layers of grouped-query attention with rotary positions and
// a gated MLP. Llama 2 and 3, SmolLM and TinyLlama are this with defaults; Mistral adds a sliding window, Qwen2 biases on
// q, k and v, Qwen3 norms on q and k, Gemma an offset in the norms and scaled embeddings, Granite four multipliers.
// Follows transformers' modeling_llama and its siblings.
import {
  type ActivationName,
  activation,
  attention,
  type CausalInputs,
  type CausalModel,
  Embedding,
  Linear,
  mergeHeads,
  Module,
  RMSNorm,
  RotaryEmbedding,
  type RopeOptions,
  type Rotation,
  rope,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';

export interface LlamaConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly activation: ActivationName;
  readonly normEps: number;
  /** Added to the weights of the norms: 1 in Gemma. */
  readonly normOffset: number;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Norms of size headDim on queries and keys, before the rotation. */
  readonly qkNorm: boolean;
  readonly tiedEmbeddings: boolean;
  readonly rope: RopeOptions;
  /** Sliding window of each layer; 0: full attention. */
  readonly windows: readonly number[];
  readonly embeddingScale: number;
  readonly attentionScale: number;
  readonly residualScale: number;
  /** Divisor of the logits. */
  readonly logitsScale: number;
}

interface Context extends CausalInputs {
  readonly rotation: Rotation;
}

class LlamaAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly q_norm: RMSNorm | undefined;
  readonly k_norm: RMSNorm | undefined;

  constructor(
    readonly config: LlamaConfig,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize, heads, kvHeads, headDim, qkvBias: bias, normEps: eps, normOffset: offset } = config;
    this.q_proj = new Linear(hiddenSize, heads * headDim, { bias });
    this.k_proj = new Linear(hiddenSize, kvHeads * headDim, { bias });
    this.v_proj = new Linear(hiddenSize, kvHeads * headDim, { bias });
    this.o_proj = new Linear(heads * headDim, hiddenSize, { bias: config.outputBias });
    this.q_norm = config.qkNorm ? new RMSNorm(headDim, { eps, offset }) : undefined;
    this.k_norm = config.qkNorm ? new RMSNorm(headDim, { eps, offset }) : undefined;
  }

  forward(x: Tensor, { rotation, mask, cache }: Context): Tensor {
    const { heads, kvHeads, attentionScale: scale, windows } = this.config;
    const normed = (y: Tensor, norm: RMSNorm | undefined): Tensor => (norm ? norm.forward(y) : y);
    const q = rope(normed(splitHeads(this.q_proj.forward(x), heads), this.q_norm), rotation);
    const k = rope(normed(splitHeads(this.k_proj.forward(x), kvHeads), this.k_norm), rotation);
    const v = splitHeads(this.v_proj.forward(x), kvHeads);
    const [keys, values] = cache.update(this.layer, k, v);
    const y = attention(q, keys, values, { mask, scale, window: windows[this.layer] });
    return this.o_proj.forward(mergeHeads(y));
  }
}

class LlamaMLP extends Module {
  readonly gate_proj: Linear;
  readonly up_proj: Linear;
  readonly down_proj: Linear;

  constructor(readonly config: LlamaConfig) {
    super();
    const { hiddenSize, intermediateSize, mlpBias: bias } = config;
    this.gate_proj = new Linear(hiddenSize, intermediateSize, { bias });
    this.up_proj = new Linear(hiddenSize, intermediateSize, { bias });
    this.down_proj = new Linear(intermediateSize, hiddenSize, { bias });
  }

  forward(x: Tensor): Tensor {
    const gate = activation(this.config.activation)(this.gate_proj.forward(x));
    return this.down_proj.forward(gate.mul(this.up_proj.forward(x)));
  }
}

class LlamaDecoderLayer extends Module {
  readonly self_attn: LlamaAttention;
  readonly mlp: LlamaMLP;
  readonly input_layernorm: RMSNorm;
  readonly post_attention_layernorm: RMSNorm;

  constructor(
    readonly config: LlamaConfig,
    layer: number,
  ) {
    super();
    const { hiddenSize, normEps: eps, normOffset: offset } = config;
    this.self_attn = new LlamaAttention(config, layer);
    this.mlp = new LlamaMLP(config);
    this.input_layernorm = new RMSNorm(hiddenSize, { eps, offset });
    this.post_attention_layernorm = new RMSNorm(hiddenSize, { eps, offset });
  }

  forward(x: Tensor, context: Context): Tensor {
    return this.scope(() => {
      const { residualScale } = this.config;
      const scaled = (y: Tensor): Tensor => (residualScale === 1 ? y : y.mul(residualScale));
      const attended = x.add(scaled(this.self_attn.forward(this.input_layernorm.forward(x), context)));
      return attended.add(scaled(this.mlp.forward(this.post_attention_layernorm.forward(attended))));
    });
  }
}

class LlamaModel extends Module {
  readonly embed_tokens: Embedding;
  readonly layers: LlamaDecoderLayer[];
  readonly norm: RMSNorm;
  readonly rotary_emb: RotaryEmbedding;

  constructor(config: LlamaConfig) {
    super();
    this.embed_tokens = new Embedding(config.vocabSize, config.hiddenSize, { scale: config.embeddingScale });
    this.layers = Array.from({ length: config.layers }, (_, i) => new LlamaDecoderLayer(config, i));
    this.norm = new RMSNorm(config.hiddenSize, { eps: config.normEps, offset: config.normOffset });
    this.rotary_emb = new RotaryEmbedding(config.rope);
  }
}

export class LlamaForCausalLM extends Module implements CausalModel {
  readonly model: LlamaModel;
  readonly lm_head: Linear | undefined;

  constructor(readonly config: LlamaConfig) {
    super();
    this.model = new LlamaModel(config);
    this.lm_head = config.tiedEmbeddings ? undefined : new Linear(config.hiddenSize, config.vocabSize, { bias: false });
  }

  forward(inputs: CausalInputs): Tensor[] {
    const { embed_tokens, layers, rotary_emb } = this.model;
    const context = { ...inputs, rotation: rotary_emb.forward(inputs.positionIds, inputs.cache.length) };
    const states = [embed_tokens.forward(inputs.inputIds)];
    for (const layer of layers) states.push(layer.forward(states[states.length - 1], context));
    return states;
  }

  finalNorm(hidden: Tensor): Tensor {
    return this.model.norm.forward(hidden);
  }

  logits(hidden: Tensor): Tensor {
    const logits = this.lm_head ? this.lm_head.forward(hidden) : this.model.embed_tokens.project(hidden);
    return this.config.logitsScale === 1 ? logits : logits.div(this.config.logitsScale);
  }
}
