// OPT (https://arxiv.org/abs/2205.01068): decoder layers with norms before or behind their parts, learned positions that
// begin at 2, and embeddings that may be narrower than the layers. Follows transformers' modeling_opt.
import {
  type ActivationName,
  activation,
  type CausalInputs,
  dropout,
  Embedding,
  LayerNorm,
  Linear,
  Module,
  type Norm,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { attend } from './parts/attention.ts';
import { Decoder, type Layer, stack } from './parts/decoder.ts';

export interface OptConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  /** Width of the embeddings and of what the output layer reads. */
  readonly embeddingSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly positions: number;
  readonly activation: ActivationName;
  readonly bias: boolean;
  /** Norms stand before the parts of a layer, in place of behind them. */
  readonly normBefore: boolean;
  readonly lastNorm: boolean;
  /** Whether norms have weights. */
  readonly normWeights: boolean;
  readonly tiedEmbeddings: boolean;
  /** Rates of dropout in training: of the probabilities of attention, and of what is added to the residual stream. */
  readonly dropout: { readonly probabilities: number; readonly residual: number };
}

/** Rows of the table of positions that stand before position 0. */
const firstPosition = 2;

const norm = ({ hiddenSize, normWeights: affine }: OptConfig): LayerNorm => new LayerNorm(hiddenSize, { affine });

class OptAttention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly out_proj: Linear;

  constructor(
    readonly config: OptConfig,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize: size, bias } = config;
    this.q_proj = new Linear(size, size, { bias });
    this.k_proj = new Linear(size, size, { bias });
    this.v_proj = new Linear(size, size, { bias });
    this.out_proj = new Linear(size, size, { bias });
  }

  forward(x: Tensor, inputs: CausalInputs): Tensor {
    const heads = [this.q_proj, this.k_proj, this.v_proj].map((p) => splitHeads(p.forward(x), this.config.heads));
    const { probabilities } = this.config.dropout;
    return this.out_proj.forward(attend(heads, inputs, { layer: this.layer, dropout: probabilities }));
  }
}

class OptDecoderLayer extends Module implements Layer<CausalInputs> {
  readonly self_attn: OptAttention;
  readonly self_attn_layer_norm: LayerNorm;
  readonly fc1: Linear;
  readonly fc2: Linear;
  readonly final_layer_norm: LayerNorm;

  constructor(
    readonly config: OptConfig,
    layer: number,
  ) {
    super();
    const { hiddenSize, intermediateSize, bias } = config;
    this.self_attn = new OptAttention(config, layer);
    this.self_attn_layer_norm = norm(config);
    this.fc1 = new Linear(hiddenSize, intermediateSize, { bias });
    this.fc2 = new Linear(intermediateSize, hiddenSize, { bias });
    this.final_layer_norm = norm(config);
  }

  #added(x: Tensor, by: Norm, part: (y: Tensor) => Tensor): Tensor {
    const { normBefore, dropout: rates } = this.config;
    const added = (y: Tensor): Tensor => x.add(dropout(part(y), rates.residual));
    return normBefore ? added(by.forward(x)) : by.forward(added(x));
  }

  forward(x: Tensor, inputs: CausalInputs): Tensor {
    const mixed = (y: Tensor): Tensor => this.fc2.forward(activation(this.config.activation)(this.fc1.forward(y)));
    const attended = this.#added(x, this.self_attn_layer_norm, (y) => this.self_attn.forward(y, inputs));
    return this.#added(attended, this.final_layer_norm, mixed);
  }
}

/** What stands between the layers and the output layer: a norm and a projection to the width of the embeddings. */
class OptEnd extends Module implements Norm {
  constructor(
    readonly final_layer_norm: Norm | undefined,
    readonly project_out: Linear | undefined,
  ) {
    super();
  }

  forward(x: Tensor): Tensor {
    const normed = this.final_layer_norm?.forward(x) ?? x;
    return this.project_out?.forward(normed) ?? normed;
  }
}

export class OptForCausalLM extends Decoder {
  constructor(config: OptConfig) {
    const { vocabSize, hiddenSize, embeddingSize } = config;
    const isNarrow = embeddingSize !== hiddenSize;
    const embed_positions = new Embedding(config.positions + firstPosition, hiddenSize);
    const project_in = isNarrow ? new Linear(embeddingSize, hiddenSize, { bias: false }) : undefined;
    const end = new OptEnd(
      config.lastNorm ? norm(config) : undefined,
      isNarrow ? new Linear(hiddenSize, embeddingSize, { bias: false }) : undefined,
    );
    super(
      { root: 'model.decoder', embeddings: 'embed_tokens', layers: 'layers', norm: undefined, head: 'lm_head' },
      {
        embeddings: new Embedding(vocabSize, embeddingSize),
        others: { embed_positions, project_in, ...end },
        layers: stack(config.layers, (i) => new OptDecoderLayer(config, i)),
        norm: end,
        isTied: config.tiedEmbeddings,
        inputs: (inputs) => inputs,
        first: (embedded, { positionIds }) =>
          (project_in?.forward(embedded) ?? embedded).add(embed_positions.forward(positionIds.add(firstPosition))),
        positions: 'mask',
      },
    );
  }
}
