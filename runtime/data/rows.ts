// Rows and columns: what Dataset and IterableDataset share. An example is one row, a plain object; a batch is an object
// of columns of equal length. What a mapped function returns is merged into its rows, as Hugging Face's datasets do.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';

/** An example whose columns are not known at compile time. */
export type Row = Readonly<Record<string, unknown>>;

/** Rows as columns: each value becomes an array of values. */
export type Columns<R extends object> = { [K in keyof R]: readonly R[K][] };

/** A row R after a function added or replaced O, and columns K were removed. */
export type Merged<R extends object, O extends object, K extends PropertyKey = never> = Omit<R, K | keyof O> & O;

/** Options of map for functions of one example. */
export interface MapOptions<K extends PropertyKey = never> {
  /** true: see BatchedMapOptions. */
  batched?: false;
  /** Columns of the input that the result leaves out. */
  remove_columns?: readonly K[];
}
/** Options of map for functions of columns. */
export interface BatchedMapOptions<K extends PropertyKey = never> {
  /** true: the function takes and gives columns; it may give more or fewer rows when every old column is removed. */
  batched: true;
  /** Rows in one call. */
  batch_size?: number;
  /** Columns of the input that the result leaves out. */
  remove_columns?: readonly K[];
}
/** Options of batch. */
export interface BatchOptions {
  /** Rows of a batch. */
  batch_size: number;
  /** true: the rest that does not fill a batch is left out. */
  drop_last_batch?: boolean;
}

const mapped = ['batched', 'batch_size', 'remove_columns'];
/** Options of methods of datasets that are not served, with the values that ask for nothing. */
const unserved: Readonly<Record<string, unknown>> = {
  cache_file_name: null,
  desc: null,
  disable_nullable: false,
  drop_last_batch: false,
  features: null,
  fn_kwargs: null,
  generator: null,
  input_columns: null,
  keep_in_memory: false,
  load_from_cache_file: null,
  new_fingerprint: null,
  num_proc: null,
  stratify_by_column: null,
  with_indices: null,
  with_rank: false,
  writer_batch_size: null,
};

/** Refuses options of a method that nobody knows or serves. */
export function checkMethod(method: string, options: unknown, served: readonly string[] = mapped): void {
  checkOptions(`${method}()`, options, served, unserved);
}

/** Refuses what is no function where a method wants one of a row. */
export function requireFunction(method: string, fn: unknown): void {
  if (typeof fn !== 'function') throw new ModelcError('input', `${method}() needs a function of a row`);
}

/** Checks the options of map; remove_columns may be one name. */
export function mapOptions<K extends PropertyKey>(
  fn: unknown,
  options: MapOptions<K> | BatchedMapOptions<K>,
): { remove: readonly K[]; batched: boolean; size: number } {
  requireFunction('map', fn);
  checkMethod('map', options);
  const { batched = false, remove_columns = [] } = options ?? {};
  if (typeof batched !== 'boolean') throw new ModelcError('input', 'batched must be true or false');
  const size = (options as BatchedMapOptions<K>)?.batch_size ?? 1000;
  requireCount('batch_size', size, 1);
  return { remove: [remove_columns].flat() as K[], batched, size };
}

const asRow = (row: object): Row => row as Row;

/** The names of all columns, in the order in which rows first show them. */
export function columnsOf(rows: readonly object[]): string[] {
  const names = new Set<string>();
  for (const row of rows) for (const name in row) names.add(name);
  return [...names];
}

export function requireColumns(names: readonly PropertyKey[], known: readonly string[]): void {
  for (const name of names) {
    if (!known.includes(String(name))) {
      throw new ModelcError('input', `there is no column "${String(name)}"; there are: ${known.join(', ')}`);
    }
  }
}

export function requireCount(name: string, value: number, least: number): void {
  if (!Number.isInteger(value) || value < least) {
    throw new ModelcError('input', `${name} must be an integer of at least ${least}, but is ${value}`);
  }
}

export function requireExample(value: unknown, where: string): asserts value is object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return;
  const kind = value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value;
  throw new ModelcError('input', `${where} must be an object of columns, but is ${kind}`);
}

/** Rows to columns. A value that a row lacks is null. */
export function toColumns(
  rows: readonly object[],
  names: readonly string[] = columnsOf(rows),
): Record<string, unknown[]> {
  return Object.fromEntries(names.map((name) => [name, rows.map((row) => asRow(row)[name] ?? null)]));
}

/** Columns to rows. */
export function toRows(columns: object): Row[] {
  const entries = Object.entries(columns as Readonly<Record<string, unknown>>).filter(([, v]) => v !== undefined);
  let length = 0;
  for (const [i, [name, values]] of entries.entries()) {
    if (!Array.isArray(values)) {
      throw new ModelcError('input', `column "${name}" must be an array with one value for each row`);
    }
    if (i === 0) length = values.length;
    if (values.length !== length) {
      const [first] = entries[0];
      throw new ModelcError(
        'input',
        `columns must have one length, but "${first}" has ${length} values and "${name}" has ${values.length}`,
      );
    }
  }
  return Array.from({ length }, (_, i) =>
    Object.fromEntries(entries.map(([name, values]) => [name, (values as unknown[])[i]])),
  );
}

export function without(row: object, names: readonly PropertyKey[]): Row {
  if (names.length === 0) return asRow(row);
  return Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)));
}

/** What a function returned for a row, merged into the row; nothing returned leaves the row as it is. */
export function mergeRow(row: object, update: unknown, remove: readonly PropertyKey[]): Row {
  const kept = without(row, remove);
  if (update === undefined || update === null) return kept;
  requireExample(update, 'what a mapped function returns');
  return { ...kept, ...update };
}

/** What a function returned for the columns of some rows, merged into the rows. */
export function mergeRows(rows: readonly object[], update: unknown, remove: readonly PropertyKey[]): Row[] {
  const kept = rows.map((row) => without(row, remove));
  if (update === undefined || update === null) return kept;
  requireExample(update, 'what a mapped function returns');
  const fresh = toRows(update);
  const old = columnsOf(kept).filter((name) => !(name in update));
  if (old.length === 0) return fresh;
  if (fresh.length !== rows.length) {
    throw new ModelcError(
      'input',
      `a mapped function gave ${fresh.length} rows for ${rows.length}, but column "${old[0]}" keeps ` +
        `${rows.length}; name it in remove_columns`,
    );
  }
  return kept.map((row, i) => ({ ...row, ...fresh[i] }));
}

export function renamed(row: object, names: Readonly<Record<string, string>>): Row {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [Object.hasOwn(names, name) ? names[name] : name, value]),
  );
}

export const selected = (row: object, names: readonly PropertyKey[]): Row =>
  Object.fromEntries(names.map((name) => [String(name), asRow(row)[String(name)] ?? null]));
