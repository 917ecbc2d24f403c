// The messages about room in a cache that every kind of session gives.
import { ModelcError } from '../ir/error.ts';

export function checkRoom(length: number, added: number, capacity: number): void {
  if (length + added > capacity) {
    throw new ModelcError(
      'input',
      `the cache has room for ${capacity} positions, ${length} are taken and ${added} more do not fit; shorten the prompt or raise max_cache_len`,
    );
  }
}

/** Checks the arguments of `createState`; returns the capacity that a session with these limits gives. */
export function checkState(
  batch: number,
  capacity: number,
  limits: { readonly batch: number; readonly length: number; readonly fixedLength: boolean },
): number {
  if (!(Number.isInteger(batch) && batch >= 1 && batch <= limits.batch)) {
    throw new ModelcError(
      'input',
      `a batch of ${batch} rows was asked for, but the model is compiled for 1 to ${limits.batch}; load it with max_batch: ${batch}`,
    );
  }
  if (!(Number.isInteger(capacity) && capacity >= 1 && capacity <= limits.length)) {
    throw new ModelcError(
      'input',
      `a cache of ${capacity} positions was asked for, but the model is compiled for 1 to ${limits.length}; load it with max_cache_len: ${capacity}`,
    );
  }
  return limits.fixedLength ? limits.length : capacity;
}

/** Checks that `rows` can index a batch. */
export function checkRows(rows: readonly number[], batch: number): void {
  if (rows.length !== batch || rows.some((r) => !(Number.isInteger(r) && r >= 0 && r < batch))) {
    throw new ModelcError('input', `cannot reorder a batch of ${batch} rows by [${rows}]`);
  }
}
