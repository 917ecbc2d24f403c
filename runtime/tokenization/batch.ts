// Encoded texts as one batch: rows of one length, as tensors or lists.
import { ModelcError } from '../../ir/error.ts';
import { Tensor } from '../tensors/tensor.ts';
import type { Encoded } from './backend/post-processors.ts';
import type { BatchEncoding, ListEncoding } from './types.ts';

export type Column = Exclude<keyof BatchEncoding, 'length'>;

/** A row of a batch by column. */
export type Row = Record<Column, number[]>;

export const rowOf = ({ ids, types, special }: Encoded): Row => ({
  input_ids: ids,
  token_type_ids: types,
  attention_mask: new Array<number>(ids.length).fill(1),
  special_tokens_mask: special,
});

/** The size of a batch up to which it is padded. */
const numberLimit = 2 ** 28;

/** Fills rows to `fixed`, or else to the longest, and to a multiple; longer rows stay as they are. */
export function padRows(
  rows: readonly Row[],
  fixed: number | null,
  multiple: number,
  side: 'left' | 'right',
  padId: () => number,
): void {
  const longest = fixed ?? rows.reduce((n, row) => Math.max(n, row.input_ids.length), 0);
  const length = Math.ceil(longest / multiple) * multiple;
  if (length * rows.length > numberLimit) {
    throw new ModelcError('input', `${rows.length} rows of ${length} tokens are too many; use a smaller max_length or pad_to_multiple_of`); // biome-ignore format: one expression
  }
  for (const row of rows) {
    const missing = length - row.input_ids.length;
    if (missing <= 0) continue;
    const fill = (column: Column, value: number): void => {
      const filling = new Array<number>(missing).fill(value);
      row[column] = side === 'left' ? [...filling, ...row[column]] : [...row[column], ...filling];
    };
    fill('input_ids', padId());
    fill('token_type_ids', 0);
    fill('attention_mask', 0);
    fill('special_tokens_mask', 1);
  }
}

/** The columns as arrays: of one text, or of several. */
export function listsOf(
  rows: readonly Row[],
  columns: readonly Column[],
  isOne: boolean,
  length: boolean,
): ListEncoding {
  const lists = columns.map((name) => [name, isOne ? rows[0][name] : rows.map((row) => row[name])]);
  const lengths = length ? [['length', rows.map((row) => row.input_ids.length)]] : [];
  return Object.fromEntries([...lists, ...lengths]) as ListEncoding;
}

export function tensorsOf(rows: readonly Row[], columns: readonly Column[], length: boolean): BatchEncoding {
  const width = rows[0].input_ids.length;
  if (rows.some((row) => row.input_ids.length !== width)) {
    throw new ModelcError(
      'input',
      'the texts have different lengths; pass `padding: true`, and `truncation: true` to cut long ones',
    );
  }
  const tensors = new Map<keyof BatchEncoding, Tensor<'int64'>>();
  for (const name of columns) {
    const data = new BigInt64Array(rows.length * width);
    for (const [i, row] of rows.entries()) for (let j = 0; j < width; j++) data[i * width + j] = BigInt(row[name][j]);
    tensors.set(name, new Tensor('int64', data, [rows.length, width]));
  }
  const lengths = BigInt64Array.from(rows, (row) => BigInt(row.input_ids.length));
  if (length) tensors.set('length', new Tensor('int64', lengths, [rows.length]));
  return Object.fromEntries(tensors) as unknown as BatchEncoding;
}
