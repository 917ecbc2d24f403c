// The messages about room in a cache, and about use after the end.
import { ModelcError } from '../../ir/error.ts';
import type { ExecutorLimits, Sizes } from './executor.ts';

export function checkOpen(disposed: boolean): void {
  if (disposed) throw new ModelcError('input', 'the model has been disposed; load it again');
}

export function checkRoom(length: number, added: number, capacity: number): void {
  if (length + added > capacity) {
    throw new ModelcError(
      'input',
      `the cache has room for ${capacity} positions, ${length} are taken and ${added} more do not fit; shorten the prompt or raise max_cache_len`,
    );
  }
}

export function checkBatch(batch: number, limit: number): void {
  if (Number.isInteger(batch) && batch >= 1 && batch <= limit) return;
  throw new ModelcError(
    'input',
    `a batch of ${batch} rows was asked for, but the model is compiled for 1 to ${limit}; load it with max_batch: ${batch}`,
  );
}

/** The sizes that states get where `sizes` are asked for. Throws ModelcError 'input' for what the limits exclude. */
export function checkSizes(sizes: Sizes, limits: ExecutorLimits): Sizes {
  const { batch, capacity } = sizes;
  if (batch !== undefined) checkBatch(batch, limits.batch);
  if (capacity === undefined) return sizes;
  if (!(Number.isInteger(capacity) && capacity >= 1 && capacity <= limits.length)) {
    throw new ModelcError(
      'input',
      `a cache of ${capacity} positions was asked for, but the model is compiled for 1 to ${limits.length}; load it with max_cache_len: ${capacity}`,
    );
  }
  return limits.fixedLength ? { ...sizes, capacity: limits.length } : sizes;
}

/** Checks that `rows` can index a batch. */
export function checkRows(rows: readonly number[], batch: number): void {
  if (rows.length !== batch || rows.some((r) => !(Number.isInteger(r) && r >= 0 && r < batch))) {
    throw new ModelcError('input', `cannot reorder a batch of ${batch} rows by [${rows}]`);
  }
}
