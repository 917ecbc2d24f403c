// load_dataset: datasets from files, by the names of Hugging Face's datasets. Files are read whole into a Dataset, or with
// `streaming: true` while they are used, as an IterableDataset.
import { existsSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { globSync, isDynamicPattern } from 'tinyglobby';
import { quote } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { Dataset } from './dataset.ts';
import { type CsvOptions, csvFormat, csvOptions, readCsv, unservedCsvOptions } from './files/csv.ts';
import { type JsonOptions, jsonOptions, readJson, unservedJsonOptions } from './files/json.ts';
import { type ParquetOptions, parquetOptions, readParquet, unservedParquetOptions } from './files/parquet.ts';
import { readText, type TextOptions, textOptions, unservedTextOptions } from './files/text.ts';
import { IterableDataset } from './iterable-dataset.ts';
import type { Row } from './rows.ts';

interface FormatOptions {
  json: JsonOptions;
  csv: CsvOptions;
  text: TextOptions;
  parquet: ParquetOptions;
}
/** A format of files that load_dataset reads. */
export type FileFormat = keyof FormatOptions;

type Reader<F extends FileFormat> = (path: string, options: FormatOptions[F], whole: boolean) => AsyncIterable<Row[]>;

const readers: { readonly [F in FileFormat]: Reader<F> } = {
  json: readJson,
  csv: readCsv,
  text: readText,
  parquet: readParquet,
};

/** The options of each format, and those of datasets that are not served with the values that ask for nothing. */
const known: { readonly [F in FileFormat]: readonly [readonly string[], Readonly<Record<string, unknown>>] } = {
  json: [jsonOptions, unservedJsonOptions],
  csv: [csvOptions, unservedCsvOptions],
  text: [textOptions, unservedTextOptions],
  parquet: [parquetOptions, unservedParquetOptions],
};

/** What load_dataset takes in Python for every format. */
const unserved: Readonly<Record<string, unknown>> = {
  cache_dir: null,
  data_dir: null,
  download_config: null,
  download_mode: null,
  features: null,
  keep_in_memory: null,
  name: null,
  num_proc: null,
  revision: null,
  save_infos: false,
  storage_options: null,
  token: null,
  trust_remote_code: null,
  verification_mode: null,
};

function requireOptions(format: FileFormat, options: LoadDatasetOptions<FileFormat>): void {
  if (typeof options !== 'object' || options === null) {
    throw new ModelcError('input', "load_dataset needs options with the files: { data_files: 'FILE' }");
  }
  const [served, others] = known[format];
  checkOptions(`load_dataset('${format}')`, options, ['data_files', 'split', 'streaming', ...served], {
    ...unserved,
    ...others,
  });
  const { split, streaming, columns, field } = options as unknown as Readonly<Record<string, unknown>>;
  const require = (name: string, value: unknown, fits: boolean, what: string): void => {
    if (value === undefined || value === null || fits) return;
    throw new ModelcError('input', `${name} must be ${what}, but is ${quote(JSON.stringify(value) ?? String(value))}`);
  };
  require('split', split, typeof split === 'string', "a text such as 'train' or 'train[:10%]'");
  require('streaming', streaming, typeof streaming === 'boolean', 'true or false');
  require('field', field, typeof field === 'string', 'the name of a field');
  require('columns', columns, Array.isArray(columns) &&
    columns.every((c) => typeof c === 'string'), 'an array of names of columns');
  if (format === 'csv') csvFormat(options as CsvOptions);
}

/** A file or several; a name may be a pattern: `part-*.jsonl`, `part-[0-9].csv`, `{a,b}.txt`, and `**` for folders. */
export type Files = string | readonly string[];

/** Options of load_dataset: those of the format, and which files. */
export type LoadDatasetOptions<F extends FileFormat> = FormatOptions[F] & {
  /** The files, or the files of each split; files without one are the split `train`. */
  data_files: Files | Readonly<Record<string, Files>>;
  /** One split instead of all: 'train', or a part of it: 'train[:100]', 'train[10%:]'. */
  split?: string;
  /** true: files are read while they are used. */
  streaming?: boolean;
};

/** Datasets by the names of their splits. */
export type DatasetDict = Record<string, Dataset>;
/** Streams by the names of their splits. */
export type IterableDatasetDict = Record<string, IterableDataset>;

/**
 * Examples of files. Throws ModelcError 'input' for files and splits that are not there, 'parse' with file, line and
 * column for what is malformed; a streamed file is looked at when it is used.
 *
 *     const stories = await load_dataset('json', { data_files: 'stories/*.jsonl', split: 'train' })
 *     const { train, test } = stories.train_test_split({ test_size: 0.1 })
 *     const stream = await load_dataset('text', { data_files: 'large.txt', split: 'train', streaming: true })
 */
export function load_dataset<F extends FileFormat>(
  format: F,
  options: LoadDatasetOptions<F> & { split: string; streaming: true },
): Promise<IterableDataset>;
export function load_dataset<F extends FileFormat>(
  format: F,
  options: LoadDatasetOptions<F> & { split?: undefined; streaming: true },
): Promise<IterableDatasetDict>;
export function load_dataset<F extends FileFormat>(
  format: F,
  options: LoadDatasetOptions<F> & { split: string; streaming?: false },
): Promise<Dataset>;
export function load_dataset<F extends FileFormat>(
  format: F,
  options: LoadDatasetOptions<F> & { split?: undefined; streaming?: false },
): Promise<DatasetDict>;
export async function load_dataset<F extends FileFormat>(
  format: F,
  options: LoadDatasetOptions<F>,
): Promise<Dataset | DatasetDict | IterableDataset | IterableDatasetDict> {
  if (!Object.hasOwn(readers, format)) {
    throw new ModelcError(
      'input',
      `${quote(String(format))} is no file format; there are: ${Object.keys(readers).join(', ')}`,
    );
  }
  requireOptions(format, options);
  const files = splitsOf(options.data_files);
  const read = (name: string): Promise<Dataset> => readAll(format, expand(files[name]), options);
  const stream = (name: string): IterableDataset => streamOf(format, expand(files[name]), options);
  if (options.split === undefined || options.split === null) {
    if (options.streaming) return Object.fromEntries(Object.keys(files).map((name) => [name, stream(name)]));
    const all: DatasetDict = {};
    for (const name of Object.keys(files)) all[name] = await read(name);
    return all;
  }
  const part = parsePart(options.split);
  if (!Object.hasOwn(files, part.name)) {
    throw new ModelcError('input', `there is no split "${part.name}"; there are: ${Object.keys(files).join(', ')}`);
  }
  if (!options.streaming) return part.of(await read(part.name));
  if (part.name !== options.split) {
    throw new ModelcError('input', `a part ("${options.split}") of streamed files is not known; use take and skip`);
  }
  return stream(part.name);
}

async function* chunksOf<F extends FileFormat>(
  format: F,
  paths: readonly string[],
  options: FormatOptions[F],
  whole: boolean,
): AsyncGenerator<Row[]> {
  for (const path of paths) yield* readers[format](path, options, whole);
}

async function readAll<F extends FileFormat>(
  format: F,
  paths: readonly string[],
  options: FormatOptions[F],
): Promise<Dataset> {
  const rows: Row[] = [];
  for await (const chunk of chunksOf(format, paths, options, true)) for (const row of chunk) rows.push(row);
  return Dataset.from_list(rows);
}

function streamOf<F extends FileFormat>(
  format: F,
  paths: readonly string[],
  options: FormatOptions[F],
): IterableDataset {
  return IterableDataset.from_generator(async function* () {
    for await (const chunk of chunksOf(format, paths, options, false)) yield* chunk;
  });
}

function splitsOf(files: Files | Readonly<Record<string, Files>>): Readonly<Record<string, Files>> {
  const splits: unknown = typeof files === 'string' || Array.isArray(files) ? { train: files } : files;
  if (typeof splits === 'object' && splits !== null && Object.keys(splits).length > 0) {
    const entries = Object.entries(splits as Readonly<Record<string, unknown>>);
    const isFiles = (value: unknown): boolean =>
      typeof value === 'string' || (Array.isArray(value) && value.every((path) => typeof path === 'string'));
    const wrong = entries.find(([, value]) => !isFiles(value));
    if (wrong === undefined) return splits as Readonly<Record<string, Files>>;
    throw new ModelcError(
      'input',
      `data_files: the files of split ${quote(wrong[0])} must be a path or an array of paths`,
    );
  }
  throw new ModelcError('input', 'data_files must name a file, or the files of each split');
}

/** The files that patterns match, sorted within each; a name that a file has is no pattern. */
function expand(files: Files): string[] {
  const paths = [files].flat().flatMap((path) => {
    if (existsSync(path) || !isDynamicPattern(path)) return [path];
    const names = globSync(path, { absolute: isAbsolute(path), expandDirectories: false });
    if (names.length === 0) throw new ModelcError('input', `no file matches ${path}`);
    return names.sort();
  });
  if (paths.length === 0) throw new ModelcError('input', 'data_files must name a file, or the files of each split');
  return paths;
}

/** 'NAME' or 'NAME[FROM:TO]', each end a number of rows or percents, negative ones from the end. */
function parsePart(split: string): { name: string; of: (dataset: Dataset) => Dataset } {
  const match = /^(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?$/.exec(split);
  if (!match) {
    throw new ModelcError(
      'input',
      `${quote(split)} is no split; write NAME or NAME[FROM:TO], with numbers of rows or percents`,
    );
  }
  const [, name, from, to] = match;
  const over = [from, to].find((end) => end?.endsWith('%') && Math.abs(Number.parseInt(end, 10)) > 100);
  if (over !== undefined) {
    throw new ModelcError('input', `${quote(split)}: a percentage is at most 100, but ${over} is given`);
  }
  const place = (text: string | undefined, length: number, otherwise: number): number => {
    if (text === undefined) return otherwise;
    const value = text.endsWith('%') ? Math.round((Number(text.slice(0, -1)) / 100) * length) : Number(text);
    return Math.min(length, Math.max(0, value < 0 ? length + value : value));
  };
  return {
    name,
    of: (dataset) => {
      const end = place(to, dataset.length, dataset.length);
      return dataset.take(end).skip(place(from, dataset.length, 0));
    },
  };
}
