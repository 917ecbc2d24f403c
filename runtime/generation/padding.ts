// Rows of unlike lengths in one batch. Programs hold no padding: the keys of a row lie from slot 0 of the cache on, and an
// input says how many of the columns so far the row does not hold. So columns that are padding must stand before a row's
// first token, where nothing is written, or behind its last one of a run, where the next run writes over them. Where a mask
// has padding elsewhere, the tokens of the row are moved together; their positions count tokens alone, so that this is the
// same to the model as any other padding. Programs that mask padding are given the columns as they are.
import type { HostTensor } from '../tensors/host-tensor.ts';
import type { DynamicCache } from './cache.ts';

/** New columns of a batch. */
export interface Columns {
  /** Rows of one length. */
  readonly ids: readonly (readonly bigint[])[];
  /** Which ids are tokens, row-major; all, if undefined. */
  readonly mask: Uint8Array | undefined;
}

/** Where the tokens of each row stand. */
export const placesOf = (ids: Columns['ids'], mask: Uint8Array): number[][] =>
  ids.map((row, r) => row.flatMap((_, c) => (mask[r * row.length + c] ? [c] : [])));

const where = <T>(row: readonly T[], places: readonly number[]): T[] => places.map((c) => row[c]);

/** Columns `start` to `end`. */
export function part({ ids, mask }: Columns, start: number, end: number): Columns {
  const [rows, length] = [ids.length, ids[0].length];
  if (start === 0 && end === length) return { ids, mask };
  const size = end - start;
  const cut = mask && new Uint8Array(rows * size);
  for (let r = 0; r < rows; r++) cut?.set(mask!.subarray(r * length + start, r * length + end), r * size);
  return { ids: ids.map((row) => row.slice(start, end)), mask: cut };
}

/** Rows of tokens in `width` columns, behind padding or before it. */
function columnsOf(tokens: readonly (readonly bigint[])[], width: number, side: 'left' | 'right'): Columns {
  const mask = new Uint8Array(tokens.length * width);
  const ids = tokens.map((row, r) => {
    const start = side === 'left' ? width - row.length : 0;
    mask.fill(1, r * width + start, r * width + start + row.length);
    const padding = new Array<bigint>(width - row.length).fill(0n);
    return side === 'left' ? [...padding, ...row] : [...row, ...padding];
  });
  return { ids, mask };
}

const tokensOf = (ids: Columns['ids'], mask: Uint8Array): bigint[][] =>
  placesOf(ids, mask).map((places, r) => where(ids[r], places));

/** All padding at the left: what rows are given that hold nothing yet. */
export const paddedLeft = ({ ids, mask }: Columns & { readonly mask: Uint8Array }): Columns =>
  columnsOf(tokensOf(ids, mask), ids[0].length, 'left');

/** All padding at the right, and no more columns than the longest row has tokens. `places` is placesOf the mask. */
export function paddedRight(ids: Columns['ids'], places: readonly (readonly number[])[]): Columns {
  const width = Math.max(1, ...places.map(({ length }) => length));
  return columnsOf(
    ids.map((row, r) => where(row, places[r])),
    width,
    'right',
  );
}

/**
 * What rows are given that hold something: all tokens but the last ones, padded at the right, and then the last ones, which
 * stand in one column, so that what follows them is known.
 */
export function withLastApart({ ids, mask }: Columns & { readonly mask: Uint8Array }): {
  readonly body: Columns | undefined;
  readonly last: Columns;
} {
  const tokens = tokensOf(ids, mask);
  const width = Math.max(...tokens.map(({ length }) => length)) - 1;
  const body = tokens.map((row) => row.slice(0, -1));
  return {
    body: width > 0 ? columnsOf(body, width, 'right') : undefined,
    last: columnsOf(
      tokens.map((row) => row.slice(-1)),
      1,
      'right',
    ),
  };
}

/**
 * How many columns each row does not hold once these are read: those so far, and of a row that holds nothing, those before
 * its first token.
 */
export function paddingOf({ ids, mask }: Columns, cache: DynamicCache): Int32Array {
  const past = cache.get_seq_length();
  return Int32Array.from(ids, ({ length }, r) => {
    const held = cache.positions[r];
    const first = mask && held === 0 ? mask.subarray(r * length, (r + 1) * length).indexOf(1) : 0;
    return past - held + (first < 0 ? length : first);
  });
}

/**
 * The inputs of an entry for new columns. A token's position is the number of tokens before it, as transformers
 * derives it (cumsum of the mask, minus one); `cache.positions` is advanced. The position of padding does not matter.
 */
export function modelInputs(
  { ids, mask }: Columns,
  padding: Int32Array,
  cache: DynamicCache,
  position_ids?: Int32Array,
): Record<string, HostTensor> {
  const rows = ids.length;
  const seq = ids[0].length;
  const shape = [rows, seq];
  const inputIds = new Int32Array(rows * seq);
  const attention = mask ?? new Uint8Array(rows * seq).fill(1);
  const positions = new Int32Array(rows * seq);
  for (let r = 0; r < rows; r++) {
    for (let s = 0; s < seq; s++) {
      const i = r * seq + s;
      inputIds[i] = Number(ids[r][s]);
      positions[i] = cache.positions[r];
      if (attention[i]) cache.positions[r]++;
    }
  }
  return {
    input_ids: { dtype: 'i32', shape, data: inputIds },
    attention_mask: { dtype: 'bool', shape, data: attention },
    padding: { dtype: 'i32', shape: [rows], data: padding },
    position_ids: { dtype: 'i32', shape, data: position_ids ?? positions },
  };
}
