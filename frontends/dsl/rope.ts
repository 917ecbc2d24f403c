// Rotary position embeddings: the frequency tables of every `rope_type` that Hugging Face configs name, in the order of
// rounding that transformers has (tables are computed in f32), and the module that turns positions into cosines and sines.
// Tables that depend on the length of the sequence (dynamic, longrope) are computed or chosen in the graph.
import type { DimLike } from '../../ir/dim.ts';
import { ModelcError } from '../../ir/error.ts';
import { Constant, Module } from './module.ts';
import { scalar, sizeOf, type Tensor, where } from './tensor.ts';

/**
 * How frequencies are changed for longer sequences than a model was trained on: the kinds of `rope_type` in Hugging
 * Face configs, with their parameters.
 */
export type RopeScaling =
  | { readonly type: 'default' }
  | { readonly type: 'linear'; readonly factor: number }
  /** NTK-aware: the base grows with the length beyond `maxPositions`. */
  | { readonly type: 'dynamic'; readonly factor: number; readonly maxPositions: number }
  /** Peng et al. 2023, https://arxiv.org/abs/2309.00071 */
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
      readonly attentionFactor: number;
    }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly originalPositions: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
    }
  /** Ding et al. 2024, https://arxiv.org/abs/2402.13753 */
  | {
      readonly type: 'longrope';
      readonly originalPositions: number;
      readonly shortFactor: readonly number[];
      readonly longFactor: readonly number[];
      readonly attentionFactor: number;
    };
/** A value of `rope_type`. */
export type RopeType = RopeScaling['type'];
/** All values of `rope_type` that are served. */
export const ropeTypes: readonly RopeType[] = ['default', 'linear', 'dynamic', 'yarn', 'llama3', 'longrope'];

/** What a RotaryEmbedding is made of. */
export interface RopeOptions {
  /** Size of the rotated part of a head, even. */
  readonly dim: number;
  /** The base of the geometric sequence of wavelengths (rope_theta). */
  readonly theta: number;
  /** { type: 'default' } where frequencies stay as they are. */
  readonly scaling: RopeScaling;
}

const f = Math.fround;

/** i / dim for even i. */
const exponents = (dim: number): Float32Array => Float32Array.from({ length: dim / 2 }, (_, i) => (2 * i) / dim);

/** theta^(i / dim), the wavelengths over 2π. */
const periods = (dim: number, theta: number): Float32Array => exponents(dim).map((e) => f(theta) ** e);

function yarn(p: Float32Array, { dim, theta }: RopeOptions, s: RopeScaling & { type: 'yarn' }): Float32Array {
  // The pair whose wavelength makes `rotations` turns within the original context.
  const pairOf = (rotations: number): number =>
    (dim * Math.log(s.originalPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const lowest = pairOf(s.betaFast);
  const highest = pairOf(s.betaSlow);
  const low = Math.max(s.truncate ? Math.floor(lowest) : lowest, 0);
  const high = Math.min(s.truncate ? Math.ceil(highest) : highest, dim - 1);
  const width = high === low ? 0.001 : high - low;
  return p.map((period, i) => {
    const ramp = Math.min(Math.max(f(f(i - low) / f(width)), 0), 1);
    const extrapolated = f(1 - ramp);
    return f(f(1 / f(s.factor * period)) * f(1 - extrapolated)) + f(f(1 / period) * extrapolated);
  });
}

function llama3(inverse: Float32Array, s: RopeScaling & { type: 'llama3' }): Float32Array {
  return inverse.map((v) => {
    const wavelength = f((2 * Math.PI) / v);
    if (wavelength < s.originalPositions / s.highFreqFactor) return v;
    if (wavelength > s.originalPositions / s.lowFreqFactor) return v / s.factor;
    const smooth = f(f(f(s.originalPositions / wavelength) - s.lowFreqFactor) / (s.highFreqFactor - s.lowFreqFactor));
    return f(f(f(1 - smooth) * v) / s.factor) + f(smooth * v);
  });
}

/**
 * Angle per position of each rotated pair (inv_freq), for a sequence of `length` positions; without a length, for short
 * sequences. Follows transformers' modeling_rope_utils.
 */
export function ropeFrequencies(options: RopeOptions, length = 0): Float32Array {
  const { dim, theta, scaling } = options;
  if (!(Number.isInteger(dim) && dim > 0 && dim % 2 === 0)) {
    throw new ModelcError('input', `rotary embeddings need an even size of at least 2, got ${dim}`);
  }
  const p = periods(dim, theta);
  switch (scaling.type) {
    case 'default':
      return p.map((v) => 1 / v);
    case 'linear':
      return p.map((v) => f(1 / v) / scaling.factor);
    case 'dynamic': {
      const ratio = Math.max(length, scaling.maxPositions) / scaling.maxPositions;
      const growth = scaling.factor * ratio - (scaling.factor - 1);
      return periods(dim, theta * growth ** (dim / (dim - 2))).map((v) => 1 / v);
    }
    case 'yarn':
      return yarn(p, options, scaling);
    case 'llama3':
      return llama3(
        p.map((v) => 1 / v),
        scaling,
      );
    case 'longrope': {
      const factors = length > scaling.originalPositions ? scaling.longFactor : scaling.shortFactor;
      return p.map((v, i) => 1 / f(f(factors[i]) * v));
    }
    default:
      return scaling satisfies never;
  }
}

/** What `rope` takes: cosines and sines [B, S, dim / 2] of the angles. */
export interface Rotation {
  /** f32 [batch, seq, dim / 2] */
  readonly cos: Tensor;
  /** f32 [batch, seq, dim / 2] */
  readonly sin: Tensor;
}

/**
 * Positions to the cosines and sines that `rope` takes (Su et al. 2021).
 *
 *     const rotary = new RotaryEmbedding({ dim: 16, theta: 10000, scaling: { type: 'default' } });
 *     const rotation = rotary.forward(positionIds, cache.length);
 */
export class RotaryEmbedding extends Module {
  /** Angles per position, [dim / 2]. */
  readonly inv_freq: Constant;
  /** longrope: the frequencies of long sequences. */
  readonly long_inv_freq: Constant | undefined;
  /** dynamic: i / dim for even i. */
  readonly exponents: Constant | undefined;
  readonly #options: RopeOptions;

  constructor(options: RopeOptions) {
    super();
    const { dim, scaling } = options;
    this.#options = options;
    this.inv_freq = new Constant(ropeFrequencies(options));
    if (scaling.type === 'longrope') this.long_inv_freq = new Constant(ropeFrequencies(options, Number.MAX_VALUE));
    if (scaling.type === 'dynamic') {
      if (dim === 2)
        throw new ModelcError('input', "rope_type 'dynamic' needs more than 2 rotated dimensions per head");
      this.exponents = new Constant(exponents(dim));
    }
  }

  /** Frequencies for sequences of `length` positions. */
  #frequencies(length: DimLike): Tensor {
    const { dim, theta, scaling } = this.#options;
    const total = sizeOf(length);
    switch (scaling.type) {
      case 'longrope':
        return where(total.gt(scaling.originalPositions), this.long_inv_freq!.value, this.inv_freq.value);
      case 'dynamic': {
        const { factor, maxPositions } = scaling;
        const growth = total
          .cast('f32')
          .mul(factor)
          .div(maxPositions)
          .sub(factor - 1);
        const grown = scalar(1).div(
          growth
            .pow(dim / (dim - 2))
            .mul(theta)
            .pow(this.exponents!.value),
        );
        return where(total.gt(maxPositions), grown, this.inv_freq.value);
      }
      case 'default':
      case 'linear':
      case 'yarn':
      case 'llama3':
        return this.inv_freq.value;
      default:
        return scaling satisfies never;
    }
  }

  /** Positions i32 [B, S], in sequences of `length` positions, which dynamic and longrope look at. */
  forward(positions: Tensor, length: DimLike): Rotation {
    const angles = positions.cast('f32').unsqueeze(-1).mul(this.#frequencies(length));
    const { scaling } = this.#options;
    const scale = 'attentionFactor' in scaling ? scaling.attentionFactor : 1;
    const scaled = (x: Tensor): Tensor => (scale === 1 ? x : x.mul(scale));
    return { cos: scaled(angles.cos()), sin: scaled(angles.sin()) };
  }
}
