// Parquet files, read a row group at a time. Integers of 64 bits become numbers where numbers hold them.
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { ModelcError } from '../../../ir/error.ts';
import { type Row, requireColumns } from '../rows.ts';
import { unreadable } from './lines.ts';

/** How Parquet files are read. */
export interface ParquetOptions {
  /** The columns to read; all where not given. */
  columns?: readonly string[];
}

export async function* readParquet(path: string, { columns }: ParquetOptions = {}): AsyncGenerator<Row[]> {
  const { file, metadata } = await open(path);
  if (columns)
    requireColumns(
      columns,
      metadata.schema.slice(1).map(({ name }) => name),
    );
  let rowStart = 0;
  for (const [i, group] of metadata.row_groups.entries()) {
    const rowEnd = rowStart + Number(group.num_rows);
    const options = { file, metadata, compressors, rowStart, rowEnd, ...(columns && { columns: [...columns] }) };
    const rows = await parquetReadObjects(options).catch((cause: unknown) => {
      throw new ModelcError('parse', `${path} is damaged: row group ${i} cannot be read (${messageOf(cause)})`, {
        cause,
      });
    });
    yield rows.map((row) => plain(row) as Row);
    rowStart = rowEnd;
  }
}

async function open(path: string): Promise<{ file: AsyncBuffer; metadata: FileMetaData }> {
  const file = await asyncBufferFromFile(path).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  try {
    return { file, metadata: await parquetMetadataAsync(file) };
  } catch (cause) {
    throw new ModelcError('parse', `${path} is not a Parquet file (${messageOf(cause)})`, { cause });
  }
}

const messageOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

function plain(value: unknown): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
  }
  return value;
}
