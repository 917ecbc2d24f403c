// MPT (MosaicML): pre-norm layers with linear biases in place of positions and no bias anywhere. Follows transformers'
// modeling_mpt.
import { dropout, Embedding, LayerNorm, Linear, Module, splitHeads, type Tensor } from '../frontends/dsl/index.ts';
import { Alibi, type AlibiInputs, mptSlopes } from './parts/alibi.ts';
import { attend, type DecoderDropout } from './parts/attention.ts';
import { Decoder, type Layer, stack } from './parts/decoder.ts';
import { MLP } from './parts/mlp.ts';

export interface MptConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly normEps: number;
  readonly attentionScale: number;
  /** Projections are kept within this distance of 0; 0: they are left as they are. */
  readonly clip: number;
  readonly tiedEmbeddings: boolean;
  readonly dropout: DecoderDropout;
}

class MptAttention extends Module {
  readonly Wqkv: Linear;
  readonly out_proj: Linear;

  constructor(
    readonly config: MptConfig,
    readonly layer: number,
  ) {
    super();
    this.Wqkv = new Linear(config.hiddenSize, 3 * config.hiddenSize, { bias: false });
    this.out_proj = new Linear(config.hiddenSize, config.hiddenSize, { bias: false });
  }

  forward(x: Tensor, inputs: AlibiInputs): Tensor {
    const { hiddenSize: size, heads, clip, attentionScale: scale } = this.config;
    const { probabilities: dropout } = this.config.dropout;
    const fused = this.Wqkv.forward(x);
    const parts = (clip > 0 ? fused.clamp(-clip, clip) : fused).split([size, size, size], -1);
    const split = parts.map((part) => splitHeads(part, heads));
    return this.out_proj.forward(attend(split, inputs, { layer: this.layer, scale, bias: inputs.bias, dropout }));
  }
}

class MptBlock extends Module implements Layer<AlibiInputs> {
  readonly norm_1: LayerNorm;
  readonly attn: MptAttention;
  readonly norm_2: LayerNorm;
  readonly ffn: MLP;

  constructor(
    readonly config: MptConfig,
    layer: number,
  ) {
    super();
    const { hiddenSize, normEps: eps } = config;
    const sizes = { hiddenSize, intermediateSize: 4 * hiddenSize, mlpBias: false, activation: 'gelu' } as const;
    this.norm_1 = new LayerNorm(hiddenSize, { eps, bias: false });
    this.attn = new MptAttention(config, layer);
    this.norm_2 = new LayerNorm(hiddenSize, { eps, bias: false });
    this.ffn = new MLP(sizes, ['up_proj', 'down_proj']);
  }

  forward(x: Tensor, inputs: AlibiInputs): Tensor {
    const { residual: rate } = this.config.dropout;
    const attended = x.add(dropout(this.attn.forward(this.norm_1.forward(x), inputs), rate));
    return attended.add(dropout(this.ffn.forward(this.norm_2.forward(attended)), rate));
  }
}

const names = { root: 'transformer', embeddings: 'wte', layers: 'blocks', norm: 'norm_f', head: 'lm_head' };

export class MptForCausalLM extends Decoder<AlibiInputs> {
  constructor(config: MptConfig) {
    const alibi = new Alibi(mptSlopes(config.heads));
    super(names, {
      embeddings: new Embedding(config.vocabSize, config.hiddenSize),
      others: { alibi },
      layers: stack(config.layers, (i) => new MptBlock(config, i)),
      norm: new LayerNorm(config.hiddenSize, { eps: config.normEps, bias: false }),
      isTied: config.tiedEmbeddings,
      inputs: (inputs) => ({ ...inputs, bias: alibi.forward(inputs) }),
    });
  }
}
