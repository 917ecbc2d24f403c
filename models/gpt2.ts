// GPT-2 (Radford et al. 2019): pre-norm decoder layers with learned positions, fused projections whose weights lie
// [in, out], and an output layer tied to the embeddings. Follows transformers' modeling_gpt2.
import {
  type ActivationName,
  activation,
  attention,
  type CausalInputs,
  Conv1D,
  dropout,
  Embedding,
  LayerNorm,
  Module,
  mergeHeads,
  normal,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { Decoder, gptNames, type Layer, stack } from './parts/decoder.ts';

export interface Gpt2Config {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly innerSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Positions that the table of learned ones has. */
  readonly positions: number;
  readonly activation: ActivationName;
  readonly normEps: number;
  readonly tiedEmbeddings: boolean;
  /** Factor of the scores of each layer. */
  readonly attentionScales: readonly number[];
  /** Rates of dropout in training: of embeddings, of the probabilities of attention, and of what is added to the residual stream. */
  readonly dropout: { readonly embeddings: number; readonly probabilities: number; readonly residual: number };
}

/** Layers add to the residual stream twice each; their last projections begin smaller by the root of that. */
const residual = ({ layers }: Gpt2Config) => ({ initializer: normal((2 * layers) ** -0.5) });

class Gpt2Attention extends Module {
  readonly c_attn: Conv1D;
  readonly c_proj: Conv1D;

  constructor(
    readonly config: Gpt2Config,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize } = config;
    this.c_attn = new Conv1D(hiddenSize, 3 * hiddenSize);
    this.c_proj = new Conv1D(hiddenSize, hiddenSize, residual(config));
  }

  forward(x: Tensor, { mask, cache }: CausalInputs): Tensor {
    const { hiddenSize: size, heads, attentionScales, dropout: rates } = this.config;
    const parts = this.c_attn.forward(x).split([size, size, size], -1);
    const [q, k, v] = parts.map((part) => splitHeads(part, heads));
    const [keys, values] = cache.update(this.layer, k, v);
    const scale = attentionScales[this.layer];
    const y = attention(q, keys, values, { mask, scale, dropout: rates.probabilities });
    return dropout(this.c_proj.forward(mergeHeads(y)), rates.residual);
  }
}

class Gpt2MLP extends Module {
  readonly c_fc: Conv1D;
  readonly c_proj: Conv1D;

  constructor(readonly config: Gpt2Config) {
    super();
    this.c_fc = new Conv1D(config.hiddenSize, config.innerSize);
    this.c_proj = new Conv1D(config.innerSize, config.hiddenSize, residual(config));
  }

  forward(x: Tensor): Tensor {
    const { activation: name, dropout: rates } = this.config;
    return dropout(this.c_proj.forward(activation(name)(this.c_fc.forward(x))), rates.residual);
  }
}

class Gpt2Block extends Module implements Layer<CausalInputs> {
  readonly ln_1: LayerNorm;
  readonly attn: Gpt2Attention;
  readonly ln_2: LayerNorm;
  readonly mlp: Gpt2MLP;

  constructor(config: Gpt2Config, layer: number) {
    super();
    const { hiddenSize, normEps: eps } = config;
    this.ln_1 = new LayerNorm(hiddenSize, { eps });
    this.attn = new Gpt2Attention(config, layer);
    this.ln_2 = new LayerNorm(hiddenSize, { eps });
    this.mlp = new Gpt2MLP(config);
  }

  forward(x: Tensor, inputs: CausalInputs): Tensor {
    const attended = x.add(this.attn.forward(this.ln_1.forward(x), inputs));
    return attended.add(this.mlp.forward(this.ln_2.forward(attended)));
  }
}

export class Gpt2LMHeadModel extends Decoder {
  constructor(config: Gpt2Config) {
    const { vocabSize, hiddenSize, positions, normEps: eps } = config;
    const wpe = new Embedding(positions, hiddenSize);
    super(gptNames, {
      embeddings: new Embedding(vocabSize, hiddenSize),
      others: { wpe },
      layers: stack(config.layers, (i) => new Gpt2Block(config, i)),
      norm: new LayerNorm(hiddenSize, { eps }),
      isTied: config.tiedEmbeddings,
      inputs: (inputs) => inputs,
      first: (embedded, { positionIds }) => dropout(embedded.add(wpe.forward(positionIds)), config.dropout.embeddings),
    });
  }
}
