// Maps a dataset in worker threads, where a function is so slow that the thread which feeds the device should not wait
// for it. A function cannot travel to a thread, so it is named by the module that exports it; tokenizers are named by their
// folder. Rows go to the threads in chunks and come back in their order; a stream is read while it is used.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { builtFile } from '../artifact/package-files.ts';
import type { TokenizeOptions } from '../tokenization/types.ts';
import { Dataset } from './dataset.ts';
import { chunks, IterableDataset } from './iterable-dataset.ts';
import { type Row, requireColumns, requireCount } from './rows.ts';

/** What threads do with rows. */
export type WorkerTask =
  | {
      /** The module, as new URL('./tokenize.js', import.meta.url). */
      readonly module: URL | string;
      /** The name of the function that it exports ('default'). */
      readonly name?: string;
      /** true: the function takes and gives columns. */
      readonly batched?: boolean;
    }
  | (Omit<TokenizeOptions, 'text_pair' | 'return_tensor'> & {
      /** A folder with tokenizer.json. */
      readonly tokenizer: string;
      /** The column of text (`text`). */
      readonly column?: string;
    });

/** Options of map_in_workers. */
export interface WorkerOptions {
  /** Threads (as many as there are processors, at most 4). */
  num_proc?: number;
  /** Rows that a thread takes at a time (256). */
  batch_size?: number;
  /** Columns of the input that the result leaves out. */
  remove_columns?: readonly string[];
}

/** What a thread is started with. */
export interface WorkerSetup {
  readonly task: WorkerTask;
  readonly remove: readonly string[];
}
export interface WorkerRequest {
  readonly rows: readonly object[];
  /** The place of the first row. */
  readonly start: number;
}
export type WorkerAnswer =
  | { readonly rows: readonly Row[] }
  | { readonly error: { readonly message: string; readonly code?: string } };

/** As Dataset.map with a function that threads run. Throws what the function throws. */
export function map_in_workers(dataset: Dataset<object>, task: WorkerTask, options?: WorkerOptions): Promise<Dataset>;
export function map_in_workers(
  dataset: IterableDataset<object>,
  task: WorkerTask,
  options?: WorkerOptions,
): IterableDataset;
export function map_in_workers(
  dataset: Dataset<object> | IterableDataset<object>,
  task: WorkerTask,
  options: WorkerOptions = {},
): Promise<Dataset> | IterableDataset {
  checkOptions('map_in_workers', options, ['num_proc', 'batch_size', 'remove_columns']);
  const { num_proc = Math.min(availableParallelism(), 4), batch_size = 256, remove_columns = [] } = options;
  requireCount('num_proc', num_proc, 1);
  requireCount('batch_size', batch_size, 1);
  const described = 'module' in task ? { ...task, module: String(task.module) } : task;
  const setup: WorkerSetup = { task: described, remove: remove_columns };
  if (dataset instanceof IterableDataset) {
    return dataset.derive(async function* (rows) {
      for await (const done of mapped(chunks(rows, batch_size), setup, num_proc)) yield* done;
    });
  }
  if (dataset.length > 0) requireColumns(remove_columns, dataset.column_names);
  return Dataset.from(map_in_workers(dataset.to_iterable_dataset(), task, options));
}

async function* mapped(
  source: AsyncIterable<readonly object[]>,
  setup: WorkerSetup,
  threads: number,
): AsyncGenerator<readonly Row[]> {
  const pool = Array.from({ length: threads }, () => new Thread(setup));
  const waiting: Promise<readonly Row[]>[] = [];
  let turn = 0;
  let start = 0;
  try {
    for await (const rows of source) {
      const answer = pool[turn++ % threads].run({ rows, start });
      answer.catch(() => undefined); // it is thrown where it is awaited
      waiting.push(answer);
      start += rows.length;
      if (waiting.length > 2 * threads) yield (await waiting.shift()) ?? [];
    }
    for (const answer of waiting) yield await answer;
  } finally {
    await Promise.all(pool.map((thread) => thread.end()));
  }
}

/** A worker thread that answers requests in turn. */
class Thread {
  private readonly worker: Worker;
  private readonly pending: { resolve: (rows: readonly Row[]) => void; reject: (error: unknown) => void }[] = [];
  private failure: Error | undefined;

  constructor(setup: WorkerSetup) {
    this.worker = new Worker(builtFile('data-worker.js'), { workerData: setup });
    this.worker.on('message', (answer: WorkerAnswer) => {
      const request = this.pending.shift();
      if ('rows' in answer) request?.resolve(answer.rows);
      else request?.reject(errorOf(answer.error));
    });
    const fail = (error: Error): void => {
      this.failure = error;
      for (const { reject } of this.pending.splice(0)) reject(error);
    };
    this.worker.on('error', fail);
    this.worker.on('exit', (code) => fail(new ModelcError('input', `a worker thread ended with code ${code}`)));
  }

  run(request: WorkerRequest): Promise<readonly Row[]> {
    return new Promise((resolve, reject) => {
      if (this.failure) {
        reject(this.failure);
        return;
      }
      this.pending.push({ resolve, reject });
      this.worker.postMessage(request);
    });
  }

  async end(): Promise<void> {
    this.worker.removeAllListeners('exit');
    await this.worker.terminate();
  }
}

const errorOf = ({ message, code }: { message: string; code?: string }): Error =>
  code === undefined ? new Error(message) : new ModelcError(code as ErrorCode, message);
