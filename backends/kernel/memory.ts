// The memory plan: byte offsets of intermediate arrays in one arena. An array lives from the launch that writes it to the
// last launch that reads it; arrays whose lives overlap get disjoint ranges. Largest first, lowest free offset.

export interface Lifetime {
  readonly bytes: number;
  readonly first: number;
  last: number;
}

export const alignment = 64;
const aligned = (bytes: number) => Math.ceil(bytes / alignment) * alignment;

/** Offsets by key, and the size of the arena. */
export function planArena<K>(arrays: ReadonlyMap<K, Lifetime>): { offsets: Map<K, number>; bytes: number } {
  const placed: { first: number; last: number; start: number; end: number }[] = [];
  const offsets = new Map<K, number>();
  let total = 0;
  const order = [...arrays].sort(([, a], [, b]) => b.bytes - a.bytes || a.first - b.first);
  for (const [key, { bytes, first, last }] of order) {
    const size = aligned(Math.max(1, bytes));
    const rivals = placed.filter((p) => p.first <= last && first <= p.last).sort((a, b) => a.start - b.start);
    let start = 0;
    for (const r of rivals) {
      if (start + size <= r.start) break;
      start = Math.max(start, r.end);
    }
    placed.push({ first, last, start, end: start + size });
    offsets.set(key, start);
    total = Math.max(total, start + size);
  }
  return { offsets, bytes: total };
}
