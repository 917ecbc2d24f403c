// Reads Parquet files row group by row group, as columns, in the thread that parquet.ts starts for it. What the footer of
// a file says is compared with the file before memory is taken for it.
import {
  type AsyncBuffer,
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  type RowGroup,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { ModelcError } from '../../../ir/error.ts';
import { type Row, requireColumns, toColumns } from '../rows.ts';

/** A row group: its columns by name, all of one length. */
export interface ParquetColumns {
  readonly rows: number;
  readonly columns: readonly (readonly [string, readonly unknown[]])[];
}

export interface ParquetGroup {
  readonly rows: number;
  /** Columns of the file, those inside of others among them. */
  readonly columns: number;
}

/** Rows that a byte of a file may stand for: a long run of one value takes a few bytes. */
const rowsPerByte = 1000;
const fewRows = 1_000_000;

export class ParquetReader {
  private constructor(
    private readonly path: string,
    private readonly file: AsyncBuffer,
    private readonly metadata: FileMetaData,
    private readonly columns: readonly string[] | undefined,
  ) {}

  static async open(path: string, columns: readonly string[] | undefined): Promise<ParquetReader> {
    const file = await asyncBufferFromFile(path);
    let metadata: FileMetaData;
    try {
      metadata = await parquetMetadataAsync(file);
      requireSound(metadata, file.byteLength);
    } catch (cause) {
      throw new ModelcError('parse', `${path} is not a Parquet file, or is damaged (${messageOf(cause)})`, { cause });
    }
    const names = metadata.schema.slice(1).map(({ name }) => name);
    if (columns) requireColumns(columns, names);
    return new ParquetReader(path, file, metadata, columns);
  }

  get groups(): readonly ParquetGroup[] {
    return this.metadata.row_groups.map((group) => ({ rows: Number(group.num_rows), columns: group.columns.length }));
  }

  async read(group: number): Promise<ParquetColumns> {
    const { file, metadata, columns } = this;
    const before = metadata.row_groups.slice(0, group).reduce((sum, { num_rows }) => sum + Number(num_rows), 0);
    const count = Number(metadata.row_groups[group].num_rows);
    const range = { rowStart: before, rowEnd: before + count };
    try {
      const options = { file, metadata, compressors, ...range, ...(columns && { columns: [...columns] }) };
      const rows = await parquetReadObjects(options);
      if (rows.length !== count) throw new Error(`it has ${rows.length} rows, but says ${count}`);
      const found = toColumns(rows as Row[]);
      return {
        rows: count,
        columns: Object.entries(found).map(([name, values]) => [name, values.map((v) => plain(v, 0))]),
      };
    } catch (cause) {
      const why = messageOf(cause);
      throw new ModelcError('parse', `${this.path} is damaged: row group ${group} cannot be read (${why})`, { cause });
    }
  }
}

function requireSound(metadata: FileMetaData, size: number): void {
  if (!Array.isArray(metadata.schema) || metadata.schema.length === 0) throw new Error('it has no schema');
  if (!Array.isArray(metadata.row_groups)) throw new Error('it has no row groups');
  for (const [i, group] of metadata.row_groups.entries()) {
    const wrong = fault(group, size);
    if (wrong !== undefined) throw new Error(`row group ${i} ${wrong}`);
  }
}

/** What a row group says that cannot be in a file of this size. */
function fault(group: RowGroup, size: number): string | undefined {
  const rows = Number(group.num_rows);
  if (!(rows >= 0 && rows <= fewRows + rowsPerByte * size)) return `says ${rows} rows, but the file has ${size} bytes`;
  if (!Array.isArray(group.columns)) return 'has no columns';
  for (const { meta_data, file_path } of group.columns) {
    if (file_path !== undefined && file_path !== '') return 'is in another file';
    if (!meta_data) return 'has a column without a description';
    const bytes = Number(meta_data.total_compressed_size);
    const starts = [meta_data.data_page_offset, meta_data.dictionary_page_offset].filter((at) => at !== undefined);
    const start = Math.min(...starts.map(Number));
    const fits = start >= 0 && bytes >= 0 && Math.max(...starts.map(Number)) <= size && start + bytes <= size;
    if (!fits) return `has a column of ${bytes} bytes at ${start}, but the file has ${size}`;
    const values = Number(meta_data.num_values);
    if (!(values >= 0 && values <= fewRows + rowsPerByte * size)) {
      return `has a column of ${values} values, but the file has ${size} bytes`;
    }
  }
  return undefined;
}

/** What the decoder stumbles over in a damaged file tells users nothing. */
function messageOf(cause: unknown): string {
  if (cause instanceof TypeError) return 'a part of it is malformed';
  return cause instanceof Error ? cause.message : String(cause);
}

/** Integers of 64 bits become numbers where numbers hold them; a value that is not there is null. */
function plain(value: unknown, depth: number): unknown {
  if (value === undefined) return null;
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  if (typeof value !== 'object' || value === null) return value;
  if (depth > 100) throw new Error('a value is nested too deeply');
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner, depth + 1)]));
}
