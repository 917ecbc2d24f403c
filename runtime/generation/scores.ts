// Arithmetic on one row of scores (a Float32Array view of `vocab` entries): what processors, sampling and beam search
// share. Sums are taken in double precision. Nothing here allocates more than the row unless it says so.

/** Index of the largest entry; the first of equals; NaN counts as the largest. */
export function argmax(row: Float32Array): number {
  let best = 0;
  for (let i = 0; i < row.length; i++) {
    const v = row[i];
    if (Number.isNaN(v)) return i;
    if (v > row[best]) best = i;
  }
  return best;
}

/** log(sum(exp(row))). */
export function logSumExp(row: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < row.length; i++) if (row[i] > max) max = row[i];
  if (max === Number.NEGATIVE_INFINITY) return max;
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += Math.exp(row[i] - max);
  return max + Math.log(sum);
}

/** Replaces the row by its log-softmax. */
export function logSoftmaxInPlace(row: Float32Array): void {
  const z = logSumExp(row);
  for (let i = 0; i < row.length; i++) row[i] -= z;
}

/** Probabilities of the row; allocates them. */
export function softmax(row: Float32Array): Float64Array {
  const out = new Float64Array(row.length);
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < row.length; i++) if (row[i] > max) max = row[i];
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += out[i] = Math.exp(row[i] - max);
  for (let i = 0; i < row.length; i++) out[i] /= sum;
  return out;
}

/** Indices of the k largest entries in descending order, the first of equals first. A heap of k: O(n log k). */
export function topK(row: ArrayLike<number>, k: number): number[] {
  const size = Math.min(k, row.length);
  if (size === 0) return [];
  // heap[0] is the worst of the kept ones: smallest value, latest index among equals.
  const worse = (a: number, b: number): boolean => row[a] < row[b] || (row[a] === row[b] && a > b);
  const heap = Array.from({ length: size }, (_, i) => i);
  const sift = (start: number): void => {
    for (let at = start; ; ) {
      let worst = at;
      for (let child = 2 * at + 1; child <= 2 * at + 2 && child < size; child++) {
        if (worse(heap[child], heap[worst])) worst = child;
      }
      if (worst === at) return;
      [heap[at], heap[worst]] = [heap[worst], heap[at]];
      at = worst;
    }
  };
  for (let i = (size >> 1) - 1; i >= 0; i--) sift(i);
  for (let i = size; i < row.length; i++) {
    if (row[i] > row[heap[0]]) {
      heap[0] = i;
      sift(0);
    }
  }
  return heap.sort((a, b) => (worse(b, a) ? -1 : 1));
}

/** Draws an index with probability softmax(row)[i], from one uniform number; -1 where there is no such distribution. */
export function sampleRow(row: Float32Array, uniform: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < row.length; i++) if (row[i] > max) max = row[i];
  if (!Number.isFinite(max)) return -1;
  let sum = 0;
  for (let i = 0; i < row.length; i++) if (row[i] !== Number.NEGATIVE_INFINITY) sum += Math.exp(row[i] - max);
  if (Number.isNaN(sum)) return -1;
  let rest = uniform * sum;
  let last = -1;
  for (let i = 0; i < row.length; i++) {
    if (row[i] === Number.NEGATIVE_INFINITY) continue;
    rest -= Math.exp(row[i] - max);
    last = i;
    if (rest < 0) return i;
  }
  return last; // rounding left a crumb beyond the last entry
}
