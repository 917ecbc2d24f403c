// Data for training: datasets and the files that they come from.
export { concatenate_datasets, Dataset, type SplitOptions } from './dataset.ts';
export type { CsvOptions, CsvType } from './files/csv.ts';
export type { JsonOptions } from './files/json.ts';
export type { ParquetOptions } from './files/parquet.ts';
export type { TextOptions } from './files/text.ts';
export { IterableDataset, type StreamShuffleOptions } from './iterable-dataset.ts';
export {
  type DatasetDict,
  type FileFormat,
  type Files,
  type IterableDatasetDict,
  type LoadDatasetOptions,
  load_dataset,
} from './load.ts';
export type { BatchedMapOptions, BatchOptions, Columns, MapOptions, Merged, Row } from './rows.ts';
