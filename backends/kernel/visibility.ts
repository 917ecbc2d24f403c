// Which keys a query sees: the one place that every template of attention asks. A row of the batch holds some keys, its
// length or all that there are, and its queries are the last of the positions that these stand at. A causal query sees no later key than its own place, one with a window none older than that many places;
// of a split, the keys of one run alone.
import { add, alu, cast, ceilDiv, type Expr, floorDiv, index, mul, splat, sub } from '../../ir/loop.ts';
import type { Attrs } from '../../ir/ops/attrs.ts';
import type { KernelBuilder } from './builder.ts';

/** The keys from `begin` to `end`. */
export interface KeyRange {
  readonly begin: Expr;
  readonly end: Expr;
}

export class Visibility {
  constructor(
    private readonly builder: KernelBuilder,
    private readonly attrs: Pick<Attrs['attention'], 'causal' | 'window'>,
    private readonly queries: Expr,
    /** Keys that the row holds: one at least wherever a loop over keys has begun. */
    readonly held: Expr,
    private readonly splits: number,
  ) {}

  /** The place among the keys of query `i`. */
  placeOf(i: Expr): Expr {
    return add(sub(this.held, this.queries), i);
  }

  /** The keys of a split. */
  keysOf(split: Expr): KeyRange {
    const { builder, splits, held } = this;
    const size = splits === 1 ? held : builder.let(ceilDiv(held, splits));
    const begin = builder.let(mul(split, size));
    return { begin, end: splits === 1 ? held : builder.let(alu('min', held, add(begin, size))) };
  }

  /**
   * The keys among these that some of `count` queries see, of which the first is at place `first`; from a multiple of
   * `step` on. Without a count, the queries are all up to the last key's place.
   */
  seenOf({ begin, end }: KeyRange, first: Expr, count: Expr | undefined, step = 1): KeyRange {
    const { causal, window } = this.attrs;
    const { builder } = this;
    const last = causal && count ? builder.let(alu('min', end, add(first, count))) : end;
    if (window === 0) return { begin, end: last };
    const oldest = alu('max', index(0), sub(first, index(window - 1)));
    const start = step === 1 ? oldest : mul(floorDiv(oldest, index(step)), index(step));
    const isAll = begin.kind === 'const' && begin.value === 0;
    return { begin: builder.let(isAll ? start : alu('max', begin, start)), end: last };
  }

  /** The key, or the last of the row: where to read for a key that nobody sees. */
  clamped(t: Expr): Expr {
    return alu('min', t, sub(this.held, index(1)));
  }

  /** Whether the query at `place` sees key `t`, or each of the keys of a vector, below `end`; masks apart. */
  sees(t: Expr, place: Expr, end: Expr): Expr {
    const { causal, window } = this.attrs;
    const like = (e: Expr): Expr => (t.lanes === 1 ? e : splat(cast(e, 'i32'), t.lanes));
    let seen = alu('lt', t, like(end));
    if (causal) seen = alu('and', seen, alu('le', t, like(place)));
    if (window > 0) seen = alu('and', seen, alu('gt', t, like(sub(place, index(window)))));
    return seen;
  }
}
