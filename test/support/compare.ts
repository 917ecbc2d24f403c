// How close two implementations must be: by dtype, relative to the size of the values that an array holds.
import type { DType } from '../../ir/dtype.ts';
import type { NdArray } from '../../ir/ndarray.ts';

/**
 * Differences that chains of a dozen rounded operations explain. f32 leaves room for sums of a thousand terms that cancel;
 * f16 and bf16 for a few roundings that fall the other way, so a fault within that (such as truncating where bf16 should
 * round) shows in kernel tests, whose chains are short, and not in random graphs. Integers and truth values are equal or
 * wrong.
 */
const tolerances: Record<DType, number> = {
  f32: 1e-4,
  f16: 2e-3,
  bf16: 0.012,
  i64: 0,
  i32: 0,
  i8: 0,
  u8: 0,
  u32: 0,
  bool: 0,
};

/**
 * Why `actual` is not `expected`, or undefined where it is, up to `tolerance` times the largest finite magnitude (at
 * least 1) among the expected values. NaN equals NaN.
 */
export function difference(
  actual: NdArray,
  expected: NdArray,
  tolerance = tolerances[expected.dtype],
): string | undefined {
  if (actual.dtype !== expected.dtype || actual.shape.join() !== expected.shape.join()) {
    return `is ${actual.dtype}[${actual.shape}], not ${expected.dtype}[${expected.shape}]`;
  }
  if (actual.data.length !== expected.data.length) {
    return `has ${actual.data.length} elements, not ${expected.data.length}`;
  }
  const scale = expected.data.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 1);
  for (const [i, wanted] of expected.data.entries()) {
    const got = actual.data[i];
    if (Object.is(got, wanted) || got === wanted) continue;
    if (!(Math.abs(got - wanted) <= tolerance * scale)) return `has ${got} at ${i}, not ${wanted} (of up to ${scale})`;
  }
  return undefined;
}

/** The tolerance of results that went through narrow types on the way. */
export const toleranceOf = (used: Iterable<DType>): number => Math.max(...[...used].map((dtype) => tolerances[dtype]));
