// Random numbers for the order of examples and for what collators draw: torch's CPU generator, so that a run sees its
// examples in the order in which the Python library shows them. The engine is MT19937 (Matsumoto and Nishimura, "Mersenne
// Twister", 1998); `randperm` is torch's: Fisher and Yates from the front, with a remainder for each draw.

const size = 624;
const shift = 397;

/** torch's generator of random numbers on CPUs, MT19937: the same seed gives the same numbers. */
export class Generator {
  /** What the numbers follow from; like torch's, only its lower 32 bits count. */
  readonly seed: number;
  private readonly words = new Uint32Array(size);
  private next = size;

  /** Without a seed, one is taken from the system; it can be read back from `seed`. */
  constructor(seed: number = Math.floor(Math.random() * 2 ** 32)) {
    this.seed = seed;
    this.words[0] = Number(BigInt.asUintN(32, BigInt(seed)));
    for (let i = 1; i < size; i++) {
      const last = this.words[i - 1] ^ (this.words[i - 1] >>> 30);
      this.words[i] = Math.imul(last, 1812433253) + i;
    }
  }

  /** 32 random bits. */
  random(): number {
    if (this.next === size) this.twist();
    let y = this.words[this.next++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** A uniform number in [0, 1) with 53 random bits. */
  uniform(): number {
    const high = this.random() & 0x1fffff;
    return (high * 2 ** 32 + this.random()) / 2 ** 53;
  }

  /** A uniform integer in [0, bound). */
  below(bound: number): number {
    return this.random() % bound;
  }

  /** The numbers 0 … n - 1 in a random order. */
  randperm(n: number): number[] {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = 0; i < n - 1; i++) {
      const j = i + this.below(n - i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  private twist(): void {
    const { words } = this;
    for (let i = 0; i < size; i++) {
      const bits = (words[i] & 0x80000000) | (words[(i + 1) % size] & 0x7fffffff);
      words[i] = words[(i + shift) % size] ^ (bits >>> 1) ^ (bits & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }
}
