// Mamba (https://arxiv.org/abs/2312.00752): no attention; every layer is a convolution over the last few tokens and a
// linear recurrence whose decay and input depend on the token. Falcon Mamba norms what these depend on. Follows
// transformers' modeling_mamba and modeling_falcon_mamba.
import {
  type ActivationName,
  activation,
  CausalConv1d,
  type CausalInputs,
  Embedding,
  type Initializer,
  Linear,
  linearRecurrence,
  Module,
  ones,
  Parameter,
  RMSNorm,
  silu,
  softplus,
  type Tensor,
  uniform,
} from '../frontends/dsl/index.ts';
import { Decoder, type DecoderNames, type Layer, stack } from './parts/decoder.ts';

export interface MambaConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Channels of a layer, and numbers that the recurrence of a channel carries. */
  readonly innerSize: number;
  readonly stateSize: number;
  readonly layers: number;
  readonly convSize: number;
  readonly activation: ActivationName;
  readonly normEps: number;
  readonly bias: boolean;
  readonly convBias: boolean;
  readonly tiedEmbeddings: boolean;
  /** Step sizes go through a bottleneck of `rank`; the others say where the steps of a new model lie. */
  readonly timeStep: {
    readonly rank: number;
    readonly scale: number;
    readonly min: number;
    readonly max: number;
    readonly floor: number;
    readonly isConstant: boolean;
  };
  /** Norms, without weights, of what decay and input are computed from. */
  readonly parameterNormEps?: number;
  /** Whether the last projections of a new model are smaller the more layers there are. */
  readonly rescaled: boolean;
}

const mambaNames: DecoderNames = {
  root: 'backbone',
  embeddings: 'embeddings',
  layers: 'layers',
  norm: 'norm_f',
  head: 'lm_head',
};

/** log(1), log(2), … in every row. */
const logarithms: Initializer = ([rows, size]) =>
  Float32Array.from({ length: rows * size }, (_, i) => Math.log((i % size) + 1));

/** Biases that softplus makes steps of, uniform in their logarithm. */
const stepBias =
  ({ min, max, floor }: MambaConfig['timeStep']): Initializer =>
  ([size], random) =>
    Float32Array.from({ length: size }, () => {
      const step = Math.max(floor, min * (max / min) ** random.uniform());
      return step + Math.log(-Math.expm1(-step));
    });

class MambaMixer extends Module {
  readonly A_log: Parameter;
  readonly D: Parameter;
  readonly conv1d: CausalConv1d;
  readonly in_proj: Linear;
  readonly x_proj: Linear;
  readonly dt_proj: Linear;
  readonly out_proj: Linear;

  constructor(
    readonly config: MambaConfig,
    readonly layer: number,
  ) {
    super();
    const { hiddenSize, innerSize, stateSize, convSize, bias, convBias, timeStep, layers, rescaled } = config;
    const spread = timeStep.rank ** -0.5 * timeStep.scale;
    const bound = innerSize ** -0.5 * (rescaled ? layers ** -0.5 : 1);
    this.conv1d = new CausalConv1d(innerSize, convSize, { bias: convBias });
    this.in_proj = new Linear(hiddenSize, 2 * innerSize, { bias });
    this.x_proj = new Linear(innerSize, timeStep.rank + 2 * stateSize, { bias: false });
    this.dt_proj = new Linear(timeStep.rank, innerSize, {
      initializer: uniform(timeStep.isConstant ? spread : -spread, spread),
      biasInitializer: stepBias(timeStep),
    });
    this.out_proj = new Linear(innerSize, hiddenSize, { bias, initializer: uniform(-bound, bound) });
    this.A_log = new Parameter([innerSize, stateSize], logarithms);
    this.D = new Parameter([innerSize], ones);
  }

  /** x and the result [B, S, hidden]. Padding comes first, and adds nothing to what is carried. */
  forward(x: Tensor, { attentionMask, cache }: CausalInputs): Tensor {
    const { innerSize, stateSize, convSize, activation: name, timeStep } = this.config;
    const act = activation(name);
    const [batch] = x.shape;
    const isReal = attentionMask.unsqueeze(-1).cast('f32');
    const [projected, gate] = this.in_proj.forward(x.mul(isReal)).split([innerSize, innerSize], -1);
    const conv = cache.carry(this.layer, 'conv', [batch, convSize - 1, innerSize]);
    const u = act(this.conv1d.forward(projected, conv)).mul(isReal);
    const parameters = this.x_proj.forward(u).split([timeStep.rank, stateSize, stateSize], -1);
    const [bottleneck, input, output] = parameters.map((p) => this.#norm(p));
    const step = softplus(this.dt_proj.forward(bottleneck)).unsqueeze(-1); // [B, S, inner, 1]
    const decay = step.mul(this.A_log.value.exp().neg()).exp(); // [B, S, inner, state]
    const given = step.mul(u.unsqueeze(-1)).mul(input.unsqueeze(2));
    const carried = cache.carry(this.layer, 'ssm', [batch, innerSize, stateSize]);
    const states = linearRecurrence(decay, given, carried);
    const y = states.mul(output.unsqueeze(2)).sum(-1).add(u.mul(this.D.value));
    return this.out_proj.forward(y.mul(silu(gate))); // whatever the activation of the convolution is
  }

  #norm(x: Tensor): Tensor {
    const { parameterNormEps: eps } = this.config;
    return eps === undefined ? x : x.mul(x.square().mean(-1, true).add(eps).rsqrt());
  }
}

class MambaBlock extends Module implements Layer<CausalInputs> {
  readonly norm: RMSNorm;
  readonly mixer: MambaMixer;

  constructor(config: MambaConfig, layer: number) {
    super();
    this.norm = new RMSNorm(config.hiddenSize, { eps: config.normEps });
    this.mixer = new MambaMixer(config, layer);
  }

  forward(x: Tensor, inputs: CausalInputs): Tensor {
    return x.add(this.mixer.forward(this.norm.forward(x), inputs));
  }
}

export class MambaForCausalLM extends Decoder {
  constructor(config: MambaConfig) {
    super(mambaNames, {
      embeddings: new Embedding(config.vocabSize, config.hiddenSize),
      layers: stack(config.layers, (i) => new MambaBlock(config, i)),
      norm: new RMSNorm(config.hiddenSize, { eps: config.normEps }),
      isTied: config.tiedEmbeddings,
      padding: 'mask',
      inputs: (inputs) => inputs,
    });
  }

  /** As transformers numbers them: not the embeddings, and the last layer's output before and after the last norm. */
  override forward(inputs: CausalInputs): Tensor[] {
    const [, ...outputs] = super.forward(inputs);
    return [...outputs, outputs[outputs.length - 1]];
  }
}
