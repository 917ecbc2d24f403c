// Random numbers for sampling: the counter-based generator Threefry-2x32-20 (Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3", 2011). Draw n of a seed is a function of (seed, n) alone, so runs are reproducible on any machine.

const rotations = [13, 15, 26, 6, 17, 29, 16, 24];
const parity = 0x1bd11bda;

/** Threefry-2x32 with 20 rounds: 64 random bits for the counter (c0, c1) under the key (k0, k1). */
export function threefry(k0: number, k1: number, c0: number, c1: number): [number, number] {
  const keys = [k0, k1, k0 ^ k1 ^ parity];
  let x0 = (c0 + k0) | 0;
  let x1 = (c1 + k1) | 0;
  for (let round = 0; round < 20; round++) {
    x0 = (x0 + x1) | 0;
    const r = rotations[round % 8];
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    if (round % 4 === 3) {
      const s = (round + 1) / 4;
      x0 = (x0 + keys[s % 3]) | 0;
      x1 = (x1 + keys[(s + 1) % 3] + s) | 0;
    }
  }
  return [x0 >>> 0, x1 >>> 0];
}

/** A stream of uniform numbers in [0, 1) with 53 random bits each. */
export class RandomStream {
  readonly seed: number;
  /** Numbers that were drawn: the place of the next one in the stream. */
  drawn = 0;

  /** Without a seed, one is taken from the system; it can be read back from `seed`. */
  constructor(seed: number = Math.floor(Math.random() * 2 ** 53)) {
    this.seed = seed;
  }

  next(): number {
    return this.at(this.drawn++);
  }

  /** The number at a place of the stream. */
  at(n: number): number {
    const [high, low] = threefry(
      this.seed >>> 0,
      Math.floor(this.seed / 2 ** 32) >>> 0,
      n >>> 0,
      Math.floor(n / 2 ** 32),
    );
    return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
  }
}
