// Parquet files, read a row group at a time. The library that decodes them trusts what they say, so it works in a thread
// with limits of time and memory: a damaged file ends in an error, and this thread stays free.
import { stat } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, ModelcError } from '../../../ir/error.ts';
import { builtFile } from '../../artifact/package-files.ts';
import type { Row } from '../rows.ts';
import { requireFile } from './lines.ts';
import type { ParquetColumns, ParquetGroup } from './parquet-reader.ts';

/** How Parquet files are read. */
export interface ParquetOptions {
  /** The columns to read; all where not given. */
  columns?: readonly string[];
}

export const parquetOptions = ['columns'] as const satisfies readonly (keyof ParquetOptions)[];
export const unservedParquetOptions: Readonly<Record<string, unknown>> = {
  batch_size: null,
  filters: null,
  fragment_scan_options: null,
  on_bad_files: 'error',
};

/** What the thread is asked for, a file or a row group of it, and what it says. */
export interface ParquetSetup {
  readonly path: string;
  readonly columns: readonly string[] | undefined;
}
export type ParquetRequest = ParquetSetup | number;
export type ParquetAnswer =
  | { readonly started: true }
  | { readonly groups: readonly ParquetGroup[] }
  | ParquetColumns
  | { readonly error: { readonly message: string; readonly code: string } };

export async function* readParquet(path: string, { columns }: ParquetOptions = {}): AsyncGenerator<Row[]> {
  await requireFile(path);
  const { size } = await stat(path);
  const thread = threadFor(path, memoryFor(size));
  try {
    const opened = await thread.ask({ path, columns }, `the footer of ${path}`, leastMs + size / bytesPerMs);
    if (!('groups' in opened)) throw new ModelcError('parse', `${path} cannot be read`);
    for (const [i, group] of opened.groups.entries()) {
      const answer = await thread.ask(i, `${path}, row group ${i},`, timeFor(group, size));
      if (!('columns' in answer)) throw new ModelcError('parse', `${path} cannot be read`);
      yield Array.from({ length: answer.rows }, (_, row) =>
        Object.fromEntries(answer.columns.map(([name, values]) => [name, values[row]])),
      );
    }
  } finally {
    if (thread.isWell) keep(thread);
    else await thread.end();
  }
}

/** A thread that has read a file, for the next one: many small files take longer to start threads than to read. */
let idle: ParquetThread | undefined;

function threadFor(path: string, memory: number): ParquetThread {
  const thread = idle;
  if (thread && thread.memory >= memory) {
    idle = undefined;
    thread.take(path);
    return thread;
  }
  return new ParquetThread(path, memory);
}

function keep(thread: ParquetThread): void {
  const other = idle;
  thread.release();
  idle = thread;
  void other?.end();
}

/** Milliseconds for the smallest file, and bytes for each: far below what a slow machine reads, so that only what does not end takes longer. */
const leastMs = 500;
const bytesPerMs = 500;
const valuesPerMs = 100;
/** A small file of many equal values decodes slower than its bytes tell, but not without bounds. */
const valuesPerByte = 100;

/** Milliseconds that a row group may take. */
function timeFor({ rows, columns }: ParquetGroup, size: number): number {
  return leastMs + size / bytesPerMs + Math.min(rows * columns, size * valuesPerByte) / valuesPerMs;
}

/** Mebibytes that a file's values may take at once, besides its bytes: in steps, so that files can share a thread. */
const memoryFor = (size: number): number => Math.min(8192, 256 * Math.ceil(1 + (size * 40) / 2 ** 28));

/**
 * A promise that comes when a time has passed of which this process got as much to compute: on a busy machine, and while
 * a disk is slow, it takes longer.
 */
function patience(ms: number): { readonly over: Promise<undefined>; stop(): void } {
  const before = process.cpuUsage();
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<undefined>((resolve) => {
    const look = (): void => {
      const { user, system } = process.cpuUsage(before);
      // An answer may have come while this thread was busy: it is heard first.
      if ((user + system) / 1000 >= ms) timer = setTimeout(() => resolve(undefined), 10);
      else timer = setTimeout(look, 50);
    };
    timer = setTimeout(look, ms);
  });
  return { over, stop: () => clearTimeout(timer) };
}

/** A thread that decodes files, one at a time, in so many mebibytes. */
class ParquetThread {
  /** Whether it has answered all that it was asked for. */
  isWell = true;
  private readonly worker: Worker;
  private readonly started: Promise<ParquetAnswer>;

  constructor(
    private path: string,
    readonly memory: number,
  ) {
    this.worker = new Worker(builtFile('parquet-worker.js'), {
      resourceLimits: { maxOldGenerationSizeMb: memory },
      // What the decoder says of a bad file is in the error.
      stdout: true,
      stderr: true,
    });
    this.worker.on('error', () => undefined); // it may fail while nobody asks, or while it ends
    this.worker.on('exit', () => {
      if (idle === this) idle = undefined;
    });
    this.started = this.answer();
    this.started.catch(() => undefined); // it is thrown where it is awaited
  }

  /** Begins with another file. */
  take(path: string): void {
    this.path = path;
    this.worker.ref();
  }

  /** Until the next file it keeps no process alive. */
  release(): void {
    this.worker.unref();
  }

  /** An answer within a time, which counts from when the thread runs. */
  async ask(request: ParquetRequest, what: string, ms: number): Promise<ParquetAnswer> {
    this.isWell = false;
    await this.started;
    const answer = this.answer();
    this.worker.postMessage(request);
    const late = patience(ms);
    answer.catch(() => undefined); // after the time is over, nobody waits for it
    try {
      const got = await Promise.race([answer, late.over]);
      if (got) return got;
    } finally {
      late.stop();
    }
    const seconds = Math.round(ms / 100) / 10;
    throw new ModelcError(
      'parse',
      `${what} takes more than ${seconds} s to read; the file is damaged, or was made to be`,
    );
  }

  private answer(): Promise<ParquetAnswer> {
    return new Promise((resolve, reject) => {
      const failed = (cause: Error): void => {
        const isMemory = 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY';
        const why = isMemory
          ? 'its values take too much memory; the file is damaged, or was made to be'
          : cause.message;
        settle(() => reject(new ModelcError('parse', `${this.path} cannot be read: ${why}`, { cause })));
      };
      const ended = (): void => failed(new Error('its thread ended'));
      const heard = (answer: ParquetAnswer): void => {
        this.isWell = true;
        settle(() =>
          'error' in answer
            ? reject(new ModelcError(answer.error.code as ErrorCode, answer.error.message))
            : resolve(answer),
        );
      };
      const settle = (done: () => void): void => {
        this.worker.off('message', heard).off('error', failed).off('exit', ended);
        done();
      };
      this.worker.on('message', heard).on('error', failed).on('exit', ended);
    });
  }

  async end(): Promise<void> {
    await this.worker.terminate();
  }
}
