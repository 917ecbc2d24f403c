// Relative positions in buckets, as a learned bias of attention scores (Raffel et al., 2020): near distances have a bucket
// each, farther ones share buckets that grow with the logarithm of the distance, and all beyond a limit are in the last.
import type { DimLike } from '../../ir/dim.ts';
import type { Initializer } from './initializers.ts';
import { Constant, Module, Parameter } from './module.ts';
import { arange, sizeOf, type Tensor } from './tensor.ts';

/** The table of a RelativePositionBias. */
export interface RelativePositionOptions {
  /** Rows of the table. */
  readonly buckets: number;
  /** Attention heads, each with a column of its own. */
  readonly heads: number;
  /** Keys behind the query have buckets of their own. */
  readonly bidirectional: boolean;
  /** The distance from which on all share one bucket (128). */
  readonly maxDistance?: number;
  /** The values of the table in a new model. */
  readonly initializer?: Initializer;
}

/** The bucket of a key that lies `relative` positions behind the query, or before it where that is negative. */
export function relativeBucket(
  relative: number,
  { buckets, bidirectional, maxDistance = 128 }: RelativePositionOptions,
): number {
  const count = bidirectional ? Math.trunc(buckets / 2) : buckets;
  const offset = bidirectional && relative > 0 ? count : 0;
  const distance = bidirectional ? Math.abs(relative) : Math.max(0, -relative);
  const exact = Math.trunc(count / 2);
  if (distance < exact) return offset + distance;
  // Rounded to f32 after every step, as the models were trained: distances at the edge of a bucket fall on the same side.
  const { fround } = Math;
  const part = fround(fround(Math.log(fround(distance / exact))) / fround(Math.log(maxDistance / exact)));
  return offset + Math.min(count - 1, exact + Math.trunc(fround(part * (count - exact))));
}

/** A learned number for every bucket and head. */
export class RelativePositionBias extends Module {
  /** [buckets, heads] */
  readonly weight: Parameter;
  /** The bucket of every distance from -limit to limit, beyond which they are all alike. */
  readonly buckets: Constant;
  readonly #limit: number;

  constructor(options: RelativePositionOptions) {
    super();
    this.weight = new Parameter([options.buckets, options.heads], options.initializer);
    this.#limit = options.maxDistance ?? 128;
    const distances = Array.from({ length: 2 * this.#limit + 1 }, (_, i) => i - this.#limit);
    this.buckets = new Constant(Float32Array.from(distances, (d) => relativeBucket(d, options)));
  }

  /** f32 [1, heads, queries, keys]: query i is at position `past` + i, key j at j. */
  forward(queries: DimLike, keys: DimLike, past: DimLike = 0): Tensor {
    const distance = arange(keys).sub(arange(queries).add(sizeOf(past)).unsqueeze(1));
    const index = distance.maximum(-this.#limit).minimum(this.#limit).add(this.#limit);
    const bucket = this.buckets.value.cast('i32').gather(index);
    return this.weight.value.gather(bucket).permute([2, 0, 1]).unsqueeze(0);
  }
}
