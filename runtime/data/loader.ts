// DataLoader: the batches of an epoch, made by a collator from the examples that a sampler chooses, or from a stream as it
// comes. Batches are made ahead of their use, so that reading and collating go on while a device computes.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { Batch, DataCollator } from './collators/collator.ts';
import type { Dataset } from './dataset.ts';
import { IterableDataset } from './iterable-dataset.ts';
import { requireCount } from './rows.ts';
import { type Sampler, SequentialSampler } from './samplers.ts';

/** Options of DataLoader. */
export interface DataLoaderOptions {
  /** Where examples come from. */
  dataset: Dataset<object> | IterableDataset<object>;
  /** Examples of a batch. */
  batch_size: number;
  /** Makes batches of examples. */
  collate_fn: DataCollator;
  /** The order of a dataset (sequential); a stream has its own. */
  sampler?: Sampler;
  /** true: the rest that does not fill a batch is left out. */
  drop_last?: boolean;
  /** For collators that draw random numbers (0). */
  seed?: number;
  /** Batches that are made ahead (2). */
  prefetch?: number;
}

const served = [
  'dataset',
  'batch_size',
  'collate_fn',
  'sampler',
  'drop_last',
  'seed',
  'prefetch',
] as const satisfies readonly (keyof DataLoaderOptions)[];
/** Options of torch's DataLoader that are not served, with the values that ask for nothing. */
const unserved: Readonly<Record<string, unknown>> = {
  batch_sampler: null,
  generator: null,
  multiprocessing_context: null,
  num_workers: 0,
  persistent_workers: false,
  pin_memory: false,
  shuffle: false,
  timeout: 0,
  worker_init_fn: null,
};

/**
 * Batches of the examples of a dataset, in an order that its options say.
 *
 *     const collate_fn = new DataCollatorWithPadding({ tokenizer })
 *     for await (const batch of new DataLoader({ dataset: train_dataset, batch_size: 8, collate_fn })) console.log(batch.input_ids.shape)
 */
export class DataLoader implements AsyncIterable<Batch> {
  private readonly options: DataLoaderOptions;

  constructor(options: DataLoaderOptions) {
    checkOptions('DataLoader', options, served, unserved);
    requireCount('batch_size', options.batch_size, 1);
    if (options.prefetch !== undefined) requireCount('prefetch', options.prefetch, 0);
    if (typeof options.collate_fn !== 'function') {
      throw new ModelcError('input', 'DataLoader needs a collate_fn, such as default_data_collator');
    }
    if (options.sampler && options.dataset instanceof IterableDataset) {
      throw new ModelcError('input', 'a stream has its own order and takes no sampler; use its shuffle method');
    }
    this.options = options;
  }

  /** Batches in an epoch; undefined where a stream does not tell. */
  get length(): number | undefined {
    const { dataset, sampler, batch_size, drop_last = false } = this.options;
    if (dataset instanceof IterableDataset) return undefined;
    const batches = (sampler?.length ?? dataset.length) / batch_size;
    return drop_last ? Math.floor(batches) : Math.ceil(batches);
  }

  [Symbol.asyncIterator](): AsyncIterator<Batch> {
    return this.batches(0);
  }

  /** The batches of an epoch; a run that is resumed skips those that it has seen. */
  batches(epoch: number, skip = 0): AsyncGenerator<Batch> {
    return ahead(this.collated(epoch, skip), this.options.prefetch ?? 2);
  }

  private async *collated(epoch: number, skip: number): AsyncGenerator<Batch> {
    const { collate_fn, seed = 0 } = this.options;
    let batch = skip;
    for await (const features of this.features(epoch, skip))
      yield collate_fn(features, { seed, epoch, batch: batch++ });
  }

  private async *features(epoch: number, skip: number): AsyncGenerator<readonly object[]> {
    const { dataset, batch_size, drop_last = false } = this.options;
    if (dataset instanceof IterableDataset) {
      dataset.set_epoch(epoch);
      let rows: object[] = [];
      let left = skip * batch_size;
      for await (const row of dataset) {
        if (left-- > 0) continue;
        rows.push(row);
        if (rows.length < batch_size) continue;
        yield rows;
        rows = [];
      }
      if (rows.length > 0 && !drop_last) yield rows;
      return;
    }
    const order = (this.options.sampler ?? new SequentialSampler(dataset.length)).order(epoch);
    for (let start = skip * batch_size; start < order.length; start += batch_size) {
      const places = order.slice(start, start + batch_size);
      if (places.length === batch_size || !drop_last) yield places.map((i) => dataset.at(i));
    }
  }
}

/** The values of a generator, of which up to `count` are asked for before they are used. */
async function* ahead<T>(source: AsyncGenerator<T>, count: number): AsyncGenerator<T> {
  const waiting: Promise<IteratorResult<T, unknown>>[] = [];
  try {
    for (;;) {
      while (waiting.length <= count) {
        const next = source.next();
        next.catch(() => undefined); // it is thrown where it is awaited
        waiting.push(next);
      }
      const result = await waiting.shift();
      if (!result || result.done) return;
      yield result.value;
    }
  } finally {
    await source.return(undefined);
  }
}
