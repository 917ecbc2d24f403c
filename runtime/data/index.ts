// Data for training: datasets, the files that they come from, the order of examples, and the batches that they make.

export {
  type Block,
  type BlockOptions,
  text_blocks,
  text_blocks_in_workers,
  type WorkerBlockOptions,
} from './blocks.ts';
export type { Batch, BatchPlace, DataCollator } from './collators/collator.ts';
export {
  DataCollatorForLanguageModeling,
  DataCollatorForPermutationLanguageModeling,
  DataCollatorForWholeWordMask,
  DataCollatorWithFlattening,
  type FlatteningOptions,
  type LanguageModelingOptions,
  type PermutationOptions,
} from './collators/language-modeling.ts';
export {
  DataCollatorForMultipleChoice,
  DataCollatorForSeq2Seq,
  DataCollatorForTokenClassification,
  DataCollatorWithPadding,
  DefaultDataCollator,
  default_data_collator,
  type LabelPaddingOptions,
  type PaddingOptions,
  type Seq2SeqOptions,
} from './collators/padding.ts';
export { remove_unused_columns } from './collators/unused-columns.ts';
export { concatenate_datasets, Dataset, type SplitOptions } from './dataset.ts';
export type { CsvOptions, CsvType } from './files/csv.ts';
export type { JsonOptions } from './files/json.ts';
export type { ParquetOptions } from './files/parquet.ts';
export type { TextOptions } from './files/text.ts';
export { Generator } from './generator.ts';
export { IterableDataset, type StreamShuffleOptions } from './iterable-dataset.ts';
export {
  type DatasetDict,
  type FileFormat,
  type Files,
  type IterableDatasetDict,
  type LoadDatasetOptions,
  load_dataset,
} from './load.ts';
export { DataLoader, type DataLoaderOptions } from './loader.ts';
export type { BatchedMapOptions, BatchOptions, Columns, MapOptions, Merged, Row } from './rows.ts';
export { LengthGroupedSampler, lengthsOf, RandomSampler, type Sampler, SequentialSampler } from './samplers.ts';
export { map_in_workers, type WorkerOptions, type WorkerTask } from './workers.ts';
