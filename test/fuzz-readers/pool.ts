// Worker processes that share the inputs of a reader. One that ends, is silent or grows is stopped and replaced; the input
// that it ran counts as failed, and the rest of its batch is run by another.
import { type ChildProcess, fork } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Batch, type Failure, inputFolder, type Report } from './worker.ts';

/** Milliseconds after which a worker that says nothing is stopped; at first it makes what inputs are made from. */
const silence = { first: 120_000, later: 10_000 };
const megabytesLimit = 2048;
const batchSize = 100;

export interface Totals {
  refused: number;
  accepted: number;
  readonly failures: Failure[];
}

export interface PoolOptions {
  /** The program to start, which serves as a worker where `--worker FOLDER KEEP` follows. */
  readonly program: string;
  readonly scratch: string;
  /** Where the files of failed inputs are kept. */
  readonly keep: string;
  readonly workers: number;
}

export async function runInputs(reader: string, seed: number, inputs: number, options: PoolOptions): Promise<Totals> {
  const totals: Totals = { refused: 0, accepted: 0, failures: [] };
  const left: Batch[] = [];
  for (let from = 0; from < inputs; from += batchSize) {
    left.push({ reader, seed, from, to: Math.min(inputs, from + batchSize) });
  }
  left.reverse();
  const work = async (index: number): Promise<void> => {
    while (left.length > 0) await oneWorker(join(options.scratch, String(index)), left, totals, options);
  };
  await Promise.all(Array.from({ length: options.workers }, (_, index) => work(index)));
  return totals;
}

/** Runs batches in a new worker, until there are none or it is lost. */
function oneWorker(folder: string, left: Batch[], totals: Totals, { program, keep }: PoolOptions): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const child = fork(program, ['--worker', folder, keep], {
    execArgv: ['--max-old-space-size=512', '--stack-size=900'],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  return new Promise((done, fail) => {
    let batch: Batch | undefined;
    let at = 0;
    let why = '';
    let limit = silence.first;
    let heard = Date.now();
    const stop = (reason: string): void => {
      why ||= reason;
      child.kill('SIGKILL');
    };
    const watch = setInterval(() => {
      if (Date.now() - heard > limit) stop(`has no end in ${limit / 1000} s`);
      const megabytes = residentMegabytes(child);
      if (megabytes > megabytesLimit) stop(`takes ${megabytes} MiB`);
    }, 50);
    const next = (): void => {
      batch = left.pop();
      if (!batch) return void child.disconnect();
      at = batch.from;
      child.send(batch);
    };
    child.on('message', (report: Report) => {
      heard = Date.now();
      if ('broken' in report) {
        batch = undefined;
        child.disconnect();
        fail(new Error(report.broken));
      } else if ('begins' in report) {
        at = report.begins;
        limit = silence.later;
      } else {
        if ('failures' in report) {
          totals.refused += report.refused;
          totals.accepted += report.accepted;
          totals.failures.push(...report.failures);
        }
        next();
      }
    });
    child.on('exit', (code, signal) => {
      clearInterval(watch);
      if (batch) {
        // What the worker had counted of its batch is lost with it: that part runs again, without the input that failed.
        totals.failures.push({ input: at, text: why || `ends the process (${signal ?? code})` });
        const { reader, seed } = batch;
        cpSync(join(folder, inputFolder), join(keep, `${reader}-${seed}-${at}`), {
          recursive: true,
          dereference: true,
        });
        for (const part of [
          { ...batch, from: at + 1 },
          { ...batch, to: at },
        ])
          if (part.from < part.to) left.push(part);
      }
      done();
    });
  });
}

function residentMegabytes({ pid }: ChildProcess): number {
  try {
    return (Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * 4096) / 2 ** 20;
  } catch {
    return 0;
  }
}
