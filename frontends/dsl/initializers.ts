// How parameters begin in a model that is made from a config alone. A Parameter carries its initializer, so a new model
// needs no table of names; what a family's config says of it (`initializer_range`) comes in when the values are drawn.

/** Where random values come from. */
export interface InitialRandom {
  /** A number of [0, 1). */
  uniform(): number;
  /** A standard normal number. */
  normal(): number;
  /** The standard deviation of weights that the model's config names. */
  readonly range: number;
}

/** The values of a tensor of that shape, row-major. */
export type Initializer = (shape: readonly number[], random: InitialRandom) => Float32Array;

const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Every element is `value`. */
export const filled =
  (value: number): Initializer =>
  (shape) =>
    new Float32Array(sizeOf(shape)).fill(value);
/** Every element is 0. */
export const zeros: Initializer = filled(0);
/** Every element is 1. */
export const ones: Initializer = filled(1);

/** The values of `initializer`, but for row `row` of a matrix, which is 0. */
export const zeroRow =
  (initializer: Initializer, row: number): Initializer =>
  (shape, random) => {
    const size = sizeOf(shape.slice(1));
    return initializer(shape, random).fill(0, row * size, (row + 1) * size);
  };

/** Uniform numbers from `low` to `high`. */
export const uniform =
  (low: number, high: number): Initializer =>
  (shape, random) =>
    Float32Array.from({ length: sizeOf(shape) }, () => low + (high - low) * random.uniform());

/** Normal numbers around 0: their deviation is `factor` times the model's range. */
export const normal =
  (factor = 1): Initializer =>
  (shape, random) =>
    Float32Array.from({ length: sizeOf(shape) }, () => random.normal() * random.range * factor);
