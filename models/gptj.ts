// GPT-J and CodeGen: attention and MLP side by side behind one norm, interleaved rotation of part of each head, an output
// layer with a bias. Follows transformers' modeling_gptj and modeling_codegen.
import {
  dropout,
  Embedding,
  LayerNorm,
  Linear,
  Module,
  type RopeOptions,
  RotaryEmbedding,
  splitHeads,
  type Tensor,
} from '../frontends/dsl/index.ts';
import { attend, type DecoderDropout, type RotaryInputs } from './parts/attention.ts';
import { Decoder, gptNames, type RotaryLayer, rotating, stack } from './parts/decoder.ts';
import { MLP, type MLPConfig } from './parts/mlp.ts';

export interface GptjConfig extends MLPConfig {
  readonly vocabSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly normEps: number;
  readonly tiedEmbeddings: boolean;
  readonly rope: RopeOptions;
  readonly dropout: DecoderDropout;
}

const projection = (size: number, parts: number): Linear => new Linear(size, parts * size, { bias: false });

class GptjAttention extends Module implements RotaryLayer {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly out_proj: Linear;

  constructor(
    readonly config: GptjConfig,
    readonly layer: number,
  ) {
    super();
    this.q_proj = projection(config.hiddenSize, 1);
    this.k_proj = projection(config.hiddenSize, 1);
    this.v_proj = projection(config.hiddenSize, 1);
    this.out_proj = projection(config.hiddenSize, 1);
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const projections = [this.q_proj, this.k_proj, this.v_proj].map((p) => p.forward(x));
    return this.out_proj.forward(interleaved(projections, this, inputs));
  }
}

/** CodeGen was trained on four devices, and its projection still lies in their four parts, each [q | v | k]. */
const devices = 4;

class CodegenAttention extends Module implements RotaryLayer {
  readonly qkv_proj: Linear;
  readonly out_proj: Linear;

  constructor(
    readonly config: GptjConfig,
    readonly layer: number,
  ) {
    super();
    this.qkv_proj = projection(config.hiddenSize, 3);
    this.out_proj = projection(config.hiddenSize, 1);
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const [batch, seq, size] = x.shape;
    const parts = this.qkv_proj.forward(x).reshape([batch, seq, devices, 3, -1]);
    const [q, v, k] = parts.split([1, 1, 1], 3).map((part) => part.reshape([batch, seq, size]));
    return this.out_proj.forward(interleaved([q, k, v], this, inputs));
  }
}

/** Attention of projections [B, S, hidden] whose heads are turned in neighbouring pairs. */
function interleaved(
  projections: readonly Tensor[],
  { config, layer }: GptjAttention | CodegenAttention,
  inputs: RotaryInputs,
): Tensor {
  const heads = projections.map((part) => splitHeads(part, config.heads));
  const { probabilities } = config.dropout;
  return attend(heads, inputs, {
    ...{ layer, rotation: inputs.rotation, ropeStyle: 'interleaved' },
    dropout: probabilities,
  });
}

class GptjBlock extends Module implements RotaryLayer {
  readonly ln_1: LayerNorm;
  readonly mlp: MLP;

  constructor(
    readonly config: GptjConfig,
    readonly attn: RotaryLayer,
  ) {
    super();
    this.ln_1 = new LayerNorm(config.hiddenSize, { eps: config.normEps });
    this.mlp = new MLP(config, ['fc_in', 'fc_out']);
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const normed = this.ln_1.forward(x);
    const { residual: rate } = this.config.dropout;
    const attended = x.add(dropout(this.attn.forward(normed, inputs), rate));
    return attended.add(dropout(this.mlp.forward(normed), rate));
  }
}

class ParallelDecoder extends Decoder<RotaryInputs> {
  constructor(config: GptjConfig, attn: (layer: number) => RotaryLayer) {
    super(gptNames, {
      embeddings: new Embedding(config.vocabSize, config.hiddenSize),
      layers: stack(config.layers, (i) => new GptjBlock(config, attn(i))),
      norm: new LayerNorm(config.hiddenSize, { eps: config.normEps }),
      isTied: config.tiedEmbeddings,
      hasHeadBias: true,
      ...rotating(new RotaryEmbedding(config.rope)),
      first: (embedded) => dropout(embedded, config.dropout.embeddings),
    });
  }
}

export class GptjForCausalLM extends ParallelDecoder {
  constructor(config: GptjConfig) {
    super(config, (i) => new GptjAttention(config, i));
  }
}

export class CodegenForCausalLM extends ParallelDecoder {
  constructor(config: GptjConfig) {
    super(config, (i) => new CodegenAttention(config, i));
  }
}
