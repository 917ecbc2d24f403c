// Attention with linear biases (Press et al. 2022, https://arxiv.org/abs/2108.12409): every head lowers the scores of keys
// by their distance, times a slope of its own.
import {
  arange,
  type CausalInputs,
  Constant,
  dimSub,
  Module,
  RowLengths,
  sizeOf,
  type Tensor,
} from '../../frontends/dsl/index.ts';

/** 2^(-start), 2^(-2 start), … */
const geometric = (count: number, start: number): number[] =>
  Array.from({ length: count }, (_, i) => 2 ** (-start * (i + 1)));

/**
 * The slopes of BLOOM and Falcon: for a power of two of heads, powers of 2^(-8 / heads); further heads take every other
 * one of those of twice as many.
 */
export function bloomSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const between = geometric(2 * power, 4 / power).filter((_, i) => i % 2 === 0);
  return [...geometric(power, 8 / power), ...between.slice(0, heads - power)];
}

/**
 * The slopes of MPT: those of the next power of two, every second one first. The last one is 2^-8, whatever a config says
 * in alibi_bias_max: transformers does not read it.
 */
export function mptSlopes(heads: number): number[] {
  const power = 2 ** Math.ceil(Math.log2(heads));
  const all = geometric(power, 8 / power);
  if (power === heads) return all;
  return [...all.filter((_, i) => i % 2 === 1), ...all.filter((_, i) => i % 2 === 0)].slice(0, heads);
}

/** What layers with linear biases are given. */
export interface AlibiInputs extends CausalInputs {
  /** [1 or B, H, S, T] */
  readonly bias: Tensor;
}

export class Alibi extends Module {
  readonly slopes: Constant;
  readonly #heads: number;

  constructor(slopes: readonly number[]) {
    super();
    this.#heads = slopes.length;
    this.slopes = new Constant(Float32Array.from(slopes), [slopes.length, 1, 1]);
  }

  /**
   * Minus the distances from queries to keys, times slopes: [1, H, S, T]. Where a row holds fewer keys, its queries stand
   * that much before where they are taken to be, which adds one number to all scores of a query and is the same to a softmax.
   */
  forward({ inputIds, cache }: CausalInputs): Tensor {
    const [, seq] = inputIds.shape;
    const queries = arange(seq)
      .add(sizeOf(dimSub(cache.length, seq)))
      .unsqueeze(1);
    const distances = arange(cache.length).sub(queries).cast('f32');
    const shape = [1, this.#heads, seq, cache.length];
    return distances.mul(this.slopes.value).reshape(shape);
  }

  /**
   * As Falcon has it: slopes and products are rounded to bfloat16, and the places of keys, which a mask counts, stand in
   * for their distances. That is the same to a softmax, but for the rounding. [1 or B, H, S, T]
   */
  forwardRounded({ inputIds, mask, cache }: CausalInputs): Tensor {
    const [, seq] = inputIds.shape;
    const places = (mask instanceof RowLengths ? arange(cache.length).unsqueeze(0) : placesOf(mask)).cast('bf16');
    const rows = places.shape[0];
    const slopes = this.slopes.value.cast('bf16').cast('f32');
    const rounded = places.cast('f32').reshape([rows, 1, 1, cache.length]).mul(slopes).cast('bf16').cast('f32');
    return rounded.broadcastTo([rows, this.#heads, seq, cache.length]);
  }
}

/** The place of every key among those that a mask lets be seen; 0 for the others. */
function placesOf(mask: Tensor): Tensor {
  const real = mask.cast('i32');
  return real.cumsum(1).sub(1).mul(real);
}
