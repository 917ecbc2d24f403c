// Which keys a query of attention may attend to, for the interpreter. ir/ops/decompose/attention.ts says the same in simpler
// ops, and kernels ask backends/kernel/visibility.ts. A row holds `held` keys: its length, or all T. Its S queries are the
// last of them, so query i stands at position held - S + i, below 0 where the row is shorter than its queries are many.
import type { NdArray } from '../../ndarray.ts';
import type { Attrs } from '../attrs.ts';

/** Keys that row `b` holds, out of `keys` that there is room for. */
export const heldBy = (lengths: NdArray | undefined, b: number, keys: number): number =>
  lengths ? Math.max(0, Math.min(keys, lengths.data[b])) : keys;

/** The keys first..end-1 that query `i` of `queries` may attend to, but for a mask. */
export function visibleRange(
  { causal, window }: Pick<Attrs['attention'], 'causal' | 'window'>,
  i: number,
  queries: number,
  held: number,
): { first: number; end: number } {
  const position = held - queries + i;
  return {
    first: window > 0 ? Math.max(0, position - window + 1) : 0,
    end: causal ? Math.min(held, position + 1) : held,
  };
}
