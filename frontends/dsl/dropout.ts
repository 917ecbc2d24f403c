// Dropout: in training, elements are zeroed at random and the others scaled up so that the mean stays. Which ones follows
// from the key of the run, from the place in the model and from the element's position alone, so forward pass, backward
// pass and recomputation agree, however kernels are cut.
import { ModelcError } from '../../ir/error.ts';
import { Module } from './module.ts';
import { arange, op, type Tensor, where } from './tensor.ts';

/** What a run draws from: its key, u32 [2], and the places that have drawn so far. */
interface Randomness {
  readonly declare: () => Tensor;
  key?: Tensor;
  places: number;
}

let current: Randomness | undefined;

/** Runs `body`, in which dropout is active; `declare` makes the key, u32 [2], once and if something drops. */
export function withDropout<T>(declare: () => Tensor, body: () => T): T {
  const outer = current;
  current = { declare, places: 0 };
  try {
    return body();
  } finally {
    current = outer;
  }
}

/** Whether dropout is active: inside of withDropout. */
export const isDropping = (): boolean => current !== undefined;

/** Odd, so that the places of a model have keys of their own. */
const placeStride = 0x9e3779b9;

/** 2^32, the number of values that random bits have. */
const values = 2 ** 32;

/** Each element of x is 0 with probability `rate`, else x / (1 - rate); x itself where nothing is trained. */
export function dropout(x: Tensor, rate: number): Tensor {
  if (!(rate >= 0 && rate < 1)) throw new ModelcError('input', `a dropout rate is 0 or more and below 1, got ${rate}`);
  if (rate === 0 || !current) return x;
  const place = (current.places++ * placeStride) % values;
  // the first word of the key tells places apart, the second one runs
  const isFirst = arange(2, 'u32').eq(0).cast('u32');
  current.key ??= current.declare();
  const key = current.key.add(isFirst.mul(place));
  const bits = op('rng_bits', [key], { shape: x.shape });
  const dropped = Math.min(Math.round(rate * values), values - 1); // a rate next to 1 must not round to none
  return where(bits.ge(dropped), x.mul(1 / (1 - rate)), 0);
}

/**
 * Dropout as a layer: `new Dropout(0.1)` zeroes a tenth of the elements in training. Throws ModelcError 'input' for a
 * rate below 0, or of 1 and more, when it runs.
 */
export class Dropout extends Module {
  readonly #rate: number;

  constructor(rate: number) {
    super();
    this.#rate = rate;
  }

  /** x of any shape, dropped in training; x itself elsewhere. */
  forward(x: Tensor): Tensor {
    return dropout(x, this.#rate);
  }
}
