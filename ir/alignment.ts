// How wide an access to memory can be: what certainly divides its index, and the bytes that one instruction may move.
import type { Expr } from './loop.ts';

/** Known divisors of index variables, powers of two up to `largest`. */
export type Factors = Map<string, number>;

const largest = 16;
const powerIn = (x: number): number => {
  if (!Number.isSafeInteger(x)) return 1;
  for (let p = 1; p < largest; p *= 2) if (x % (2 * p) !== 0) return p;
  return largest;
};

/** The largest power of two, up to 16, that certainly divides an index; and `step`, if the index moves by that. */
export function factorOf(e: Expr, factors: Factors, step = 0): number {
  const of = (x: Expr): number => factorOf(x, factors);
  const find = (): number => {
    switch (e.kind) {
      case 'const':
        return powerIn(e.value);
      case 'var':
        return factors.get(e.name) ?? 1;
      case 'alu': {
        const [a, b, c] = e.args;
        switch (e.op) {
          case 'mul':
            return Math.min(largest, of(a) * of(b));
          case 'add':
          case 'sub':
          case 'max':
          case 'min':
          case 'rem': // a - b * (a / b)
            return Math.min(of(a), of(b));
          case 'select':
            return Math.min(of(b), of(c));
          default:
            return 1;
        }
      }
      default:
        return 1;
    }
  };
  return Math.min(find(), powerIn(step));
}

/** Bytes that one instruction may move of `lanes` elements at an index that `factor` divides; 0 for one by one. */
export function accessBytes(factor: number, elementBytes: number, lanes: number): number {
  const bytes = Math.min(16, lanes * elementBytes, factor * elementBytes);
  return bytes >= 4 && bytes > elementBytes ? bytes : 0;
}
