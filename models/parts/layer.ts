// The usual layer of a decoder: attention, then a feed-forward part, each behind a norm and added to what it was given.
import { Module, type Norm, type Tensor } from '../../frontends/dsl/index.ts';
import type { RotaryInputs } from './attention.ts';
import type { RotaryLayer } from './decoder.ts';

/** The feed-forward part of a layer. */
export interface FeedForward extends Module {
  forward(x: Tensor): Tensor;
}

export interface PreNormParts {
  readonly attention: RotaryLayer;
  readonly mlp: FeedForward;
  /** Another name of the feed-forward part than `mlp`. */
  readonly mlpName?: string;
  norm(): Norm;
  /** Factor of what the parts add. */
  readonly residualScale?: number;
}

export class PreNormLayer extends Module implements RotaryLayer {
  readonly self_attn: RotaryLayer;
  readonly input_layernorm: Norm;
  readonly post_attention_layernorm: Norm;
  readonly #mlp: FeedForward;
  readonly #residualScale: number;

  constructor({ attention, mlp, mlpName = 'mlp', norm, residualScale = 1 }: PreNormParts) {
    super();
    this.#mlp = mlp;
    this.#residualScale = residualScale;
    this.self_attn = attention;
    Object.assign(this, { [mlpName]: mlp });
    this.input_layernorm = norm();
    this.post_attention_layernorm = norm();
  }

  forward(x: Tensor, inputs: RotaryInputs): Tensor {
    const scaled = (y: Tensor): Tensor => (this.#residualScale === 1 ? y : y.mul(this.#residualScale));
    const attended = x.add(scaled(this.self_attn.forward(this.input_layernorm.forward(x), inputs)));
    return attended.add(scaled(this.#mlp.forward(this.post_attention_layernorm.forward(attended))));
  }
}
