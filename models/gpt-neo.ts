// GPT-Neo: GPT-2's layers with projections of their own, scores that are not scaled, and a sliding window on every other
// layer. Follows transformers' modeling_gpt_neo.
import {
  type CausalInputs,
  dropout,
  Embedding,
  LayerNorm,
  Linear,
  Module,
  moduleTree,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { attend, type DecoderDropout } from './parts/attention.ts';
import { Decoder, gptNames, type Layer, stack } from './parts/decoder.ts';
import { MLP, type MLPConfig } from './parts/mlp.ts';

export interface GptNeoConfig extends MLPConfig {
  readonly vocabSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly positions: number;
  readonly normEps: number;
  readonly tiedEmbeddings: boolean;
  /** Sliding window of each layer; 0: full attention. */
  readonly windows: readonly number[];
  readonly dropout: DecoderDropout;
}

class GptNeoAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly out_proj: Linear;

  constructor(
    readonly config: GptNeoConfig,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize: size } = config;
    this.q_proj = new Linear(size, size, { bias: false });
    this.k_proj = new Linear(size, size, { bias: false });
    this.v_proj = new Linear(size, size, { bias: false });
    this.out_proj = new Linear(size, size);
  }

  forward(x: Tensor, inputs: CausalInputs): Tensor {
    const { heads, windows, dropout: rates } = this.config;
    const split = [this.q_proj, this.k_proj, this.v_proj].map((p) => splitHeads(p.forward(x), heads));
    const { layer } = this;
    return this.out_proj.forward(
      attend(split, inputs, { layer, scale: 1, window: windows[layer], dropout: rates.probabilities }),
    );
  }
}

class GptNeoBlock extends Module implements Layer<CausalInputs> {
  readonly ln_1: LayerNorm;
  readonly ln_2: LayerNorm;
  readonly mlp: MLP;
  readonly #attention: GptNeoAttention;

  constructor(
    readonly config: GptNeoConfig,
    layer: number,
  ) {
    super();
    const { hiddenSize, normEps: eps } = config;
    this.#attention = new GptNeoAttention(config, layer);
    this.ln_1 = new LayerNorm(hiddenSize, { eps });
    Object.assign(this, moduleTree('attn', { attention: this.#attention }));
    this.ln_2 = new LayerNorm(hiddenSize, { eps });
    this.mlp = new MLP(config, ['c_fc', 'c_proj']);
  }

  forward(x: Tensor, inputs: CausalInputs): Tensor {
    const { residual: rate } = this.config.dropout;
    const attended = x.add(dropout(this.#attention.forward(this.ln_1.forward(x), inputs), rate));
    return attended.add(dropout(this.mlp.forward(this.ln_2.forward(attended)), rate));
  }
}

export class GptNeoForCausalLM extends Decoder {
  constructor(config: GptNeoConfig) {
    const wpe = new Embedding(config.positions, config.hiddenSize);
    super(gptNames, {
      embeddings: new Embedding(config.vocabSize, config.hiddenSize),
      others: { wpe },
      layers: stack(config.layers, (i) => new GptNeoBlock(config, i)),
      norm: new LayerNorm(config.hiddenSize, { eps: config.normEps }),
      isTied: config.tiedEmbeddings,
      inputs: (inputs) => inputs,
      first: (embedded, { positionIds }) => dropout(embedded.add(wpe.forward(positionIds)), config.dropout.embeddings),
    });
  }
}
