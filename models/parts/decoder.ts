// A decoder-only model under the names that Llama gave its parts: embeddings, layers, a norm, and an output layer that may
// be tied to the embeddings. Families bring their layers.
import {
  type CausalInputs,
  type CausalModel,
  Embedding,
  Linear,
  Module,
  type Norm,
  RotaryEmbedding,
  type RopeOptions,
  type Tensor,
} from '../../frontends/dsl/index.ts';
import type { RotaryInputs } from './attention.ts';

export interface DecoderConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly tiedEmbeddings: boolean;
  readonly rope: RopeOptions;
  readonly embeddingScale: number;
  /** Factor of the logits. */
  readonly logitsScale: number;
  /** c * tanh(logit / c) if c > 0. */
  readonly logitsCap: number;
}

export interface DecoderLayer extends Module {
  forward(x: Tensor, inputs: RotaryInputs): Tensor;
}

/** The parts that a family brings: its layers, by number, and its last norm. */
export interface DecoderParts {
  layer(index: number): DecoderLayer;
  readonly norm: Norm;
}

class DecoderModel extends Module {
  readonly embed_tokens: Embedding;
  readonly layers: DecoderLayer[];
  readonly norm: Norm;
  readonly rotary_emb: RotaryEmbedding;

  constructor(config: DecoderConfig, parts: DecoderParts) {
    super();
    this.embed_tokens = new Embedding(config.vocabSize, config.hiddenSize, { scale: config.embeddingScale });
    this.layers = Array.from({ length: config.layers }, (_, i) => parts.layer(i));
    this.norm = parts.norm;
    this.rotary_emb = new RotaryEmbedding(config.rope);
  }
}

export class DecoderForCausalLM extends Module implements CausalModel {
  readonly model: DecoderModel;
  readonly lm_head: Linear | undefined;
  readonly #config: DecoderConfig;

  constructor(config: DecoderConfig, parts: DecoderParts) {
    super();
    this.#config = config;
    this.model = new DecoderModel(config, parts);
    this.lm_head = config.tiedEmbeddings ? undefined : new Linear(config.hiddenSize, config.vocabSize, { bias: false });
  }

  forward(inputs: CausalInputs): Tensor[] {
    const { embed_tokens, layers, rotary_emb } = this.model;
    const rotation = rotary_emb.forward(inputs.positionIds, inputs.cache.length);
    const states = [embed_tokens.forward(inputs.inputIds)];
    for (const [i, layer] of layers.entries()) states.push(layer.forward(states[i], { ...inputs, rotation }));
    return states;
  }

  finalNorm(hidden: Tensor): Tensor {
    return this.model.norm.forward(hidden);
  }

  logits(hidden: Tensor): Tensor {
    const { logitsScale: scale, logitsCap: cap } = this.#config;
    const logits = this.lm_head ? this.lm_head.forward(hidden) : this.model.embed_tokens.project(hidden);
    const scaled = scale === 1 ? logits : logits.mul(scale);
    return cap > 0 ? scaled.div(cap).tanh().mul(cap) : scaled;
  }
}
