// Dataset: examples in memory, with the methods that users of Hugging Face's datasets know. A dataset never changes;
// each method makes another one, which shares the rows that stay as they are. For data that is larger than memory,
// and for functions that return promises, there is IterableDataset.
import { ModelcError } from '../../ir/error.ts';
import { Generator } from './generator.ts';
import { IterableDataset } from './iterable-dataset.ts';
import {
  type BatchedMapOptions,
  type BatchOptions,
  type Columns,
  checkMethod,
  columnsOf,
  type MapOptions,
  type Merged,
  mapOptions,
  mergeRow,
  mergeRows,
  type Row,
  renamed,
  requireColumns,
  requireCount,
  requireExample,
  requireFunction,
  selected,
  toColumns,
  toRows,
  without,
} from './rows.ts';

/** Options of train_test_split: names and defaults are those of Hugging Face's datasets. */
export interface SplitOptions {
  /** A part of the rows (0.2) or their number (100); 0.25 where neither size is given. */
  test_size?: number;
  /** As test_size, for the other part; default: all that test_size leaves. */
  train_size?: number;
  /** Whether examples are shuffled before (true). */
  shuffle?: boolean;
  /** Of the shuffle; without it every call shuffles differently. */
  seed?: number;
}

/**
 * Examples in memory: names and results are those of Hugging Face's datasets. Methods give new datasets.
 *
 *     const texts = await load_dataset('json', { data_files: 'stories.jsonl', split: 'train' })
 *     const long = texts.filter(({ text }) => String(text).length > 1000).shuffle({ seed: 42 })
 */
export class Dataset<R extends object = Row> implements Iterable<R> {
  private readonly rows: readonly R[];
  private names: readonly string[] | undefined;

  private constructor(rows: readonly R[], names?: readonly string[]) {
    this.rows = rows;
    this.names = names;
  }

  /** A dataset of examples. Throws ModelcError 'input' for what is no plain object. */
  static from_list<R extends object>(rows: readonly R[]): Dataset<R> {
    for (const [i, row] of rows.entries()) requireExample(row, `example ${i}`);
    return new Dataset(rows);
  }

  /** A dataset of columns. Throws ModelcError 'input' where their lengths differ. */
  static from_dict<R extends object>(columns: Columns<R>): Dataset<R> {
    return new Dataset(toRows(columns) as R[], Object.keys(columns));
  }

  /** Reads all examples of an iterable into memory. */
  static async from<R extends object>(source: Iterable<R> | AsyncIterable<R>): Promise<Dataset<R>> {
    if (source instanceof Dataset) return source;
    const rows: R[] = [];
    for await (const row of source) rows.push(row);
    return Dataset.from_list(rows);
  }

  /** How many examples there are. */
  get length(): number {
    return this.rows.length;
  }
  /** The same as `length`. */
  get num_rows(): number {
    return this.rows.length;
  }
  /** The names of all columns, in the order in which examples first show them. */
  get column_names(): readonly string[] {
    return (this.names ??= columnsOf(this.rows));
  }

  [Symbol.iterator](): Iterator<R> {
    return this.rows[Symbol.iterator]();
  }

  /** One example; a negative index counts from the end. */
  at(index: number): R {
    const row = this.rows[index < 0 ? index + this.length : index];
    if (row === undefined) {
      throw new ModelcError('input', `there is no example ${index}: the dataset has ${this.length}`);
    }
    return row;
  }

  /** All values of a column; null where an example has none. */
  column<K extends keyof R & string>(name: K): R[K][] {
    requireColumns([name], this.column_names);
    return toColumns(this.rows, [name])[name] as R[K][];
  }

  /** All examples as an array. */
  to_list(): R[] {
    return [...this.rows];
  }

  /** All columns as arrays. */
  to_dict(): { [K in keyof R]: R[K][] } {
    return toColumns(this.rows, this.column_names) as { [K in keyof R]: R[K][] };
  }

  /** The same examples as a stream, whose methods work while it is read. */
  to_iterable_dataset(): IterableDataset<R> {
    return IterableDataset.from_generator(() => this.rows);
  }

  /** The examples at these places, in this order. */
  select(indices: Iterable<number>): Dataset<R> {
    return this.like(Array.from(indices, (i) => this.at(i)));
  }
  /** The first n examples. */
  take(n: number): Dataset<R> {
    requireCount('the number of examples', n, 0);
    return this.like(this.rows.slice(0, n));
  }
  /** All but the first n examples. */
  skip(n: number): Dataset<R> {
    requireCount('the number of examples', n, 0);
    return this.like(this.rows.slice(n));
  }

  /** Adds or replaces columns by what a function returns for each row, or with `batched: true` for many at once. */
  map<O extends object, K extends keyof R = never>(
    fn: (batch: Columns<R>, indices: number[]) => Columns<O>,
    options: BatchedMapOptions<K>,
  ): Dataset<Merged<R, O, K>>;
  map<O extends object, K extends keyof R = never>(
    fn: (row: R, index: number) => O,
    options?: MapOptions<K>,
  ): Dataset<Merged<R, O, K>>;
  map<O extends object, K extends keyof R = never>(
    fn: ((row: R, index: number) => O) | ((batch: Columns<R>, indices: number[]) => Columns<O>),
    options: MapOptions<K> | BatchedMapOptions<K> = {},
  ): Dataset<Merged<R, O, K>> {
    const { remove, batched, size } = mapOptions(fn, options);
    if (this.length > 0) requireColumns(remove, this.column_names);
    if (!batched) {
      const one = fn as (row: R, index: number) => O;
      const rows = this.rows.map((row, i) => mergeRow(row, settled(one(row, i)), remove));
      return new Dataset(rows) as unknown as Dataset<Merged<R, O, K>>;
    }
    const many = fn as (batch: Columns<R>, indices: number[]) => Columns<O>;
    const out: Row[] = [];
    for (let start = 0; start < this.length; start += size) {
      const rows = this.rows.slice(start, start + size);
      const batch = toColumns(rows, this.column_names) as Columns<R>;
      const update = settled(
        many(
          batch,
          Array.from(rows, (_, i) => start + i),
        ),
      );
      for (const row of mergeRows(rows, update, remove)) out.push(row);
    }
    return new Dataset(out) as unknown as Dataset<Merged<R, O, K>>;
  }

  /** The examples for which a function is true. */
  filter(fn: (row: R, index: number) => boolean, options?: Readonly<Record<never, never>>): Dataset<R> {
    requireFunction('filter', fn);
    checkMethod('filter', options, []);
    return this.like(this.rows.filter((row, i) => settled(fn(row, i))));
  }

  /** A random order; the same for the same seed and length. */
  shuffle(options: { seed?: number } = {}): Dataset<R> {
    checkMethod('shuffle', options, ['seed']);
    const { seed } = options;
    if (seed !== undefined) requireCount('seed', seed, 0);
    return this.select(new Generator(seed).randperm(this.length));
  }

  /** Two datasets without common examples; the sizes round as in scikit-learn, the test part up. */
  train_test_split(options: SplitOptions = {}): { train: Dataset<R>; test: Dataset<R> } {
    checkMethod('train_test_split', options, ['test_size', 'train_size', 'shuffle', 'seed']);
    if (options.seed !== undefined) requireCount('seed', options.seed, 0);
    const { test, train } = splitSizes(this.length, options);
    if (options.shuffle === false) {
      return { train: this.take(train), test: this.like(this.rows.slice(train, train + test)) };
    }
    const order = new Generator(options.seed).randperm(this.length);
    return { train: this.select(order.slice(test, test + train)), test: this.select(order.slice(0, test)) };
  }

  /** Each row of the result is a batch: its columns hold the values of batch_size examples. */
  batch(options: BatchOptions): Dataset<{ [K in keyof R]: R[K][] }> {
    checkMethod('batch', options, ['batch_size', 'drop_last_batch']);
    const { batch_size, drop_last_batch = false } = options;
    requireCount('batch_size', batch_size, 1);
    const batches: Row[] = [];
    for (let start = 0; start < this.length; start += batch_size) {
      const rows = this.rows.slice(start, start + batch_size);
      if (rows.length === batch_size || !drop_last_batch) batches.push(toColumns(rows, this.column_names));
    }
    return new Dataset(batches, this.column_names) as unknown as Dataset<{ [K in keyof R]: R[K][] }>;
  }

  /** Gives a column another name. Throws ModelcError 'input' where there is no such column, or one of that name. */
  rename_column(from: keyof R & string, to: string): Dataset<Row> {
    return this.rename_columns({ [from]: to });
  }
  /** Gives columns other names: { old: 'new' }. Throws ModelcError 'input' as rename_column does. */
  rename_columns(names: Readonly<Record<string, string>>): Dataset<Row> {
    requireColumns(Object.keys(names), this.column_names);
    const after = this.column_names.map((name) => (Object.hasOwn(names, name) ? names[name] : name));
    const twice = after.find((name, i) => after.indexOf(name) !== i);
    if (twice !== undefined) throw new ModelcError('input', `renaming would make two columns "${twice}"`);
    return new Dataset(
      this.rows.map((row) => renamed(row, names)),
      after,
    );
  }
  /** Leaves columns out. Throws ModelcError 'input' for one that is not there. */
  remove_columns<K extends keyof R>(names: K | readonly K[]): Dataset<Omit<R, K>> {
    const list = [names].flat() as K[];
    requireColumns(list, this.column_names);
    const kept = this.column_names.filter((name) => !(list as PropertyKey[]).includes(name));
    return new Dataset(
      this.rows.map((row) => without(row, list)),
      kept,
    ) as unknown as Dataset<Omit<R, K>>;
  }
  /** Leaves all other columns out. Throws ModelcError 'input' for one that is not there. */
  select_columns<K extends keyof R>(names: K | readonly K[]): Dataset<Pick<R, K>> {
    const list = [names].flat() as K[];
    requireColumns(list, this.column_names);
    return new Dataset(
      this.rows.map((row) => selected(row, list)),
      list.map(String),
    ) as unknown as Dataset<Pick<R, K>>;
  }

  private like(rows: readonly R[]): Dataset<R> {
    return new Dataset(rows, this.column_names);
  }
}

/** Several datasets one after the other. */
export function concatenate_datasets<R extends object>(datasets: readonly Dataset<R>[]): Dataset<R> {
  return Dataset.from_list(datasets.flatMap((dataset) => dataset.to_list()));
}

/** What a function of a Dataset returned; a promise would be taken for a value. */
function settled<T>(value: T): T {
  if (value instanceof Promise) {
    value.catch(() => undefined); // the error below is the one to see
    throw new ModelcError(
      'input',
      'a function of a Dataset must not be async; use dataset.to_iterable_dataset(), whose functions may be',
    );
  }
  return value;
}

function splitSizes(length: number, options: SplitOptions): { train: number; test: number } {
  const { test_size = options.train_size === undefined ? 0.25 : undefined, train_size } = options;
  const count = (name: string, size: number | undefined, round: (x: number) => number): number | undefined => {
    if (size === undefined) return undefined;
    if (size > 0 && size < 1) return round(size * length);
    if (Number.isInteger(size) && size >= 1 && size < length) return size;
    throw new ModelcError(
      'input',
      `${name} must be a part between 0 and 1 or a number of examples below ${length}, but is ${size}`,
    );
  };
  const givenTest = count('test_size', test_size, Math.ceil);
  const givenTrain = count('train_size', train_size, Math.floor);
  const test = givenTest ?? length - givenTrain!;
  const train = givenTrain ?? length - test;
  if (train + test > length || train < 1 || test < 1) {
    throw new ModelcError(
      'input',
      `${length} examples cannot be split into ${train} for training and ${test} for testing; change test_size or train_size`,
    );
  }
  return { train, test };
}
