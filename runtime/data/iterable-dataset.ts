// IterableDataset: examples that are read while they are used, so that memory does not grow with the data. Each method
// makes another stream over this one; nothing is read before somebody iterates, and each iteration starts anew.
import { ModelcError } from '../../ir/error.ts';
import { Generator } from './generator.ts';
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
  without,
} from './rows.ts';

type Stream<R> = Iterable<R> | AsyncIterable<R>;

/** Options of a stream's shuffle. */
export interface StreamShuffleOptions {
  /** Of the shuffle, together with the epoch; without it every stream is shuffled differently. */
  seed?: number;
  /** Examples held in memory; each one that leaves is drawn from among them. */
  buffer_size?: number;
}

/**
 * Examples that are read while they are used, from files or a generator: names are those of Hugging Face's datasets.
 * Methods give new streams, and do their work when these are read.
 *
 *     const texts = await load_dataset('json', { data_files: 'stories.jsonl', split: 'train', streaming: true })
 *     for await (const { text } of texts.take(10)) console.log(text)
 */
export class IterableDataset<R extends object = Row> implements AsyncIterable<R> {
  private readonly open: (epoch: number) => Stream<R>;
  private epoch = 0;

  private constructor(open: (epoch: number) => Stream<R>) {
    this.open = open;
  }

  /** A function that makes a new iterable for each pass over the data. */
  static from_generator<R extends object>(generator: () => Stream<R>): IterableDataset<R> {
    return new IterableDataset<R>(() => examples(generator()));
  }

  /** An iterable. One that can be read only once, such as a running generator, serves a single pass. */
  static from<R extends object>(source: Stream<R>): IterableDataset<R> {
    if (source instanceof IterableDataset) return source;
    if (!isOnce(source)) return IterableDataset.from_generator(() => source);
    let used = false;
    return IterableDataset.from_generator(() => {
      if (used) {
        throw new ModelcError(
          'input',
          'the iterator behind this dataset was read already and cannot start again; ' +
            'give IterableDataset.from_generator a function that makes a new one for each pass',
        );
      }
      used = true;
      return source;
    });
  }

  /** The number of the pass; shuffle() uses it, so that each pass has an order of its own. */
  set_epoch(epoch: number): void {
    requireCount('epoch', epoch, 0);
    this.epoch = epoch;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<R> {
    yield* this.open(this.epoch);
  }

  /** As Dataset.map; the function may be async. */
  map<O extends object, K extends keyof R = never>(
    fn: (batch: Columns<R>, indices: number[]) => Columns<O> | Promise<Columns<O>>,
    options: BatchedMapOptions<K>,
  ): IterableDataset<Merged<R, O, K>>;
  map<O extends object, K extends keyof R = never>(
    fn: (row: R, index: number) => O | Promise<O>,
    options?: MapOptions<K>,
  ): IterableDataset<Merged<R, O, K>>;
  map<O extends object, K extends keyof R = never>(
    fn:
      | ((row: R, index: number) => O | Promise<O>)
      | ((batch: Columns<R>, indices: number[]) => Columns<O> | Promise<Columns<O>>),
    options: MapOptions<K> | BatchedMapOptions<K> = {},
  ): IterableDataset<Merged<R, O, K>> {
    const { remove, batched, size } = mapOptions(fn, options);
    if (!batched) {
      const one = fn as (row: R, index: number) => O | Promise<O>;
      return this.derive<Row>(async function* (rows) {
        let index = 0;
        for await (const row of rows) yield mergeRow(row, await one(row, index++), present(row, remove));
      }) as unknown as IterableDataset<Merged<R, O, K>>;
    }
    const many = fn as (batch: Columns<R>, indices: number[]) => Columns<O> | Promise<Columns<O>>;
    return this.derive<Row>(async function* (rows) {
      let start = 0;
      for await (const chunk of chunks(rows, size)) {
        requireColumns(remove, columnsOf(chunk));
        const first = start;
        const update = await many(
          toColumns(chunk) as Columns<R>,
          chunk.map((_, i) => first + i),
        );
        yield* mergeRows(chunk, update, remove);
        start += chunk.length;
      }
    }) as unknown as IterableDataset<Merged<R, O, K>>;
  }

  /** The examples for which `keep` holds. */
  filter(
    fn: (row: R, index: number) => boolean | Promise<boolean>,
    options?: Readonly<Record<never, never>>,
  ): IterableDataset<R> {
    requireFunction('filter', fn);
    checkMethod('filter', options, []);
    return this.derive(async function* (rows) {
      let index = 0;
      for await (const row of rows) if (await fn(row, index++)) yield row;
    });
  }

  /** An approximately random order: each example is drawn from a buffer that the next one fills up. */
  shuffle(options: StreamShuffleOptions = {}): IterableDataset<R> {
    checkMethod('shuffle', options, ['seed', 'buffer_size']);
    const { seed, buffer_size = 1000 } = options;
    if (seed !== undefined) requireCount('seed', seed, 0);
    requireCount('buffer_size', buffer_size, 1);
    const base = new Generator(seed).seed;
    return this.derive(async function* (rows, epoch) {
      const random = new Generator(base + epoch);
      const buffer: R[] = [];
      for await (const row of rows) {
        if (buffer.length < buffer_size) {
          buffer.push(row);
          continue;
        }
        const i = random.below(buffer_size);
        yield buffer[i];
        buffer[i] = row;
      }
      for (const i of random.randperm(buffer.length)) yield buffer[i];
    });
  }

  /** The first n examples. */
  take(n: number): IterableDataset<R> {
    requireCount('the number of examples', n, 0);
    return this.derive(async function* (rows) {
      if (n === 0) return;
      let left = n;
      for await (const row of rows) {
        yield row;
        if (--left === 0) return;
      }
    });
  }
  /** All but the first n examples. */
  skip(n: number): IterableDataset<R> {
    requireCount('the number of examples', n, 0);
    return this.filter((_, index) => index >= n);
  }

  /** As Dataset.batch. */
  batch(options: BatchOptions): IterableDataset<{ [K in keyof R]: R[K][] }> {
    checkMethod('batch', options, ['batch_size', 'drop_last_batch']);
    const { batch_size, drop_last_batch = false } = options;
    requireCount('batch_size', batch_size, 1);
    return this.derive<Row>(async function* (rows) {
      for await (const chunk of chunks(rows, batch_size)) {
        if (chunk.length === batch_size || !drop_last_batch) yield toColumns(chunk);
      }
    }) as unknown as IterableDataset<{ [K in keyof R]: R[K][] }>;
  }

  /** Gives a column another name. */
  rename_column(from: keyof R & string, to: string): IterableDataset<Row> {
    return this.rename_columns({ [from]: to });
  }
  /** Gives columns other names: { old: 'new' }. */
  rename_columns(names: Readonly<Record<string, string>>): IterableDataset<Row> {
    return this.each((row) => renamed(row, present(row, Object.keys(names)) && names));
  }
  /** Leaves columns out. */
  remove_columns<K extends keyof R>(names: K | readonly K[]): IterableDataset<Omit<R, K>> {
    const list = [names].flat() as K[];
    return this.each((row) => without(row, present(row, list))) as unknown as IterableDataset<Omit<R, K>>;
  }
  /** Leaves all other columns out. */
  select_columns<K extends keyof R>(names: K | readonly K[]): IterableDataset<Pick<R, K>> {
    const list = [names].flat() as K[];
    return this.each((row) => selected(row, present(row, list))) as unknown as IterableDataset<Pick<R, K>>;
  }

  private each(fn: (row: R) => Row): IterableDataset<Row> {
    return this.derive(async function* (rows) {
      for await (const row of rows) yield fn(row);
    });
  }

  /** What a generator makes of the examples of each pass. */
  derive<S extends object>(transform: (rows: Stream<R>, epoch: number) => AsyncIterable<S>): IterableDataset<S> {
    return new IterableDataset<S>((epoch) => transform(this.open(epoch), epoch));
  }
}

/** Whether an iterable is its own iterator, as generators are: it ends once. */
function isOnce(source: object): boolean {
  if (Symbol.asyncIterator in source) {
    return (source as AsyncIterable<unknown>)[Symbol.asyncIterator]() === (source as unknown);
  }
  return (source as Iterable<unknown>)[Symbol.iterator]() === (source as unknown);
}

async function* examples<R extends object>(rows: Stream<R>): AsyncGenerator<R> {
  let index = 0;
  for await (const row of rows) {
    requireExample(row, `example ${index++}`);
    yield row;
  }
}

/** Arrays of `size` rows; the last may be shorter. */
export async function* chunks<R>(rows: Stream<R>, size: number): AsyncGenerator<R[]> {
  let chunk: R[] = [];
  for await (const row of rows) {
    chunk.push(row);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}

/** The names, all of which the row has. */
function present<K extends PropertyKey>(row: object, names: readonly K[]): readonly K[] {
  if (names.some((name) => !(name in row))) requireColumns(names, Object.keys(row));
  return names;
}
