// What a Trainer takes as a dataset, and the loaders that it makes of it.
import { ModelcError } from '../../ir/error.ts';
import {
  type Batch,
  type DataCollator,
  DataLoader,
  Dataset,
  IterableDataset,
  LengthGroupedSampler,
  lengthsOf,
  RandomSampler,
  remove_unused_columns,
  type Sampler,
  SequentialSampler,
} from '../data/index.ts';
import type { TrainingArguments } from './arguments.ts';
import type { TrainableModel } from './trainable.ts';

/** Examples: an array, a dataset, or a stream. */
export type DataSource = readonly object[] | Dataset<object> | IterableDataset<object> | AsyncIterable<object>;
/** Datasets by name: each is evaluated by itself, under `eval_NAME`. */
export type NamedSources = Readonly<Record<string, DataSource>>;

export const isNamed = (source: DataSource | NamedSources): source is NamedSources =>
  !(source instanceof Dataset) && !(source instanceof IterableDataset) && !Array.isArray(source) &&
  !(Symbol.asyncIterator in source); // biome-ignore format: one condition

/** Throws ModelcError 'input' for a dataset without examples. */
export function openSource(what: string, source: DataSource): Dataset<object> | IterableDataset<object> {
  const opened =
    source instanceof Dataset || source instanceof IterableDataset
      ? source
      : Array.isArray(source)
        ? Dataset.from_list(source as object[])
        : IterableDataset.from(source as AsyncIterable<object>);
  if (opened instanceof Dataset && opened.length === 0) {
    throw new ModelcError('input', `${what} has no examples; give at least one`);
  }
  return opened;
}

export interface LoaderOptions {
  readonly args: TrainingArguments;
  readonly model: TrainableModel;
  readonly collator: DataCollator;
}

/** Columns that the model takes: its inputs, its labels, and those that inputs are made from. */
const columnsOf = ({ task }: TrainableModel): string[] =>
  [...task.inputs, ...task.labels].flatMap(({ name, shifted }) => (shifted ? [name, shifted.from] : [name]));

const collate = ({ args, model, collator }: LoaderOptions): DataCollator =>
  args.remove_unused_columns ? remove_unused_columns(collator, columnsOf(model)) : collator;

export function trainLoader(source: DataSource, options: LoaderOptions): DataLoader {
  const { args } = options;
  const dataset = openSource('train_dataset', source);
  const seed = args.data_seed ?? args.seed;
  return new DataLoader({
    dataset,
    batch_size: args.train_batch_size,
    collate_fn: collate(options),
    drop_last: args.dataloader_drop_last,
    seed,
    ...(dataset instanceof Dataset ? { sampler: samplerOf(dataset, args, seed) } : {}),
    ...(args.dataloader_prefetch_factor === null ? {} : { prefetch: args.dataloader_prefetch_factor }),
  });
}

export function evalLoader(what: string, source: DataSource, options: LoaderOptions): DataLoader {
  const { args } = options;
  const dataset = openSource(what, source);
  return new DataLoader({
    dataset,
    batch_size: args.eval_batch_size,
    collate_fn: collate(options),
    drop_last: args.dataloader_drop_last,
    seed: args.seed,
  });
}

/** torch's loaders draw a seed of 64 bits for their workers, from the generator that the order comes from. */
const workerSeed = 2;

function samplerOf(dataset: Dataset<object>, args: TrainingArguments, seed: number): Sampler {
  switch (args.train_sampling_strategy) {
    case 'random':
      return new RandomSampler(dataset.length, seed);
    case 'sequential':
      return new SequentialSampler(dataset.length);
    case 'group_by_length':
      return new LengthGroupedSampler({
        lengths: lengthsOf(dataset, args.length_column_name),
        batch_size: args.train_batch_size * args.gradient_accumulation_steps,
        seed: args.seed,
        drawn: workerSeed,
      });
    default:
      return args.train_sampling_strategy satisfies never;
  }
}

/** Tokens of the longest row of datasets in memory; undefined where no column tells it. */
export function longestRow(sources: readonly (DataSource | undefined)[]): number | undefined {
  let longest: number | undefined;
  for (const source of sources) {
    if (!(source instanceof Dataset) && !Array.isArray(source)) continue;
    for (const row of source) {
      const columns: readonly unknown[] = Array.isArray(row) ? [row] : Object.values(row);
      for (const value of columns) {
        const length = typeof value === 'string' ? undefined : (value as { length?: unknown } | null)?.length;
        if (typeof length === 'number') longest = Math.max(longest ?? 0, length);
      }
    }
  }
  return longest;
}

/** The batches of an epoch, `size` at a time; the last window may have fewer. */
export async function* windows(batches: AsyncIterable<Batch>, size: number): AsyncGenerator<Batch[]> {
  let window: Batch[] = [];
  for await (const batch of batches) {
    window.push(batch);
    if (window.length < size) continue;
    yield window;
    window = [];
  }
  if (window.length > 0) yield window;
}
