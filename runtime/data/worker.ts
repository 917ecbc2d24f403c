// What a worker thread of workers.ts runs: maps chunks of rows with a tokenizer, or with a function of the user's module.
// A file of its own in dist/, because threads start from files.
import { parentPort, workerData } from 'node:worker_threads';
import { ModelcError } from '../../ir/error.ts';
import { AutoTokenizer } from '../tokenization/auto-tokenizer.ts';
import { columnsOf, mergeRow, mergeRows, type Row, requireColumns, toColumns } from './rows.ts';
import type { WorkerAnswer, WorkerRequest, WorkerSetup } from './workers.ts';

const { task, remove } = workerData as WorkerSetup;
type Mapper = (request: WorkerRequest) => Promise<Row[]>;

async function openMapper(): Promise<Mapper> {
  if ('tokenizer' in task) {
    const { tokenizer: folder, column = 'text', ...options } = task;
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    return async ({ rows }) => {
      requireColumns([column], columnsOf(rows));
      const texts = toColumns(rows, [column])[column] as string[];
      return mergeRows(rows, tokenizer(texts, { ...options, return_tensor: false }), remove);
    };
  }
  const { module, name = 'default', batched = false } = task;
  const exported = (await import(String(module))) as Readonly<Record<string, unknown>>;
  const fn = exported[name];
  if (typeof fn !== 'function') {
    throw new ModelcError('input', `${String(module)} exports no function "${name}"`);
  }
  if (batched) {
    return async ({ rows, start }) => {
      const update: unknown = await fn(
        toColumns(rows),
        rows.map((_, i) => start + i),
      );
      return mergeRows(rows, update, remove);
    };
  }
  return ({ rows, start }) =>
    Promise.all(rows.map(async (row, i) => mergeRow(row, (await fn(row, start + i)) as unknown, remove)));
}

const mapper = openMapper();
mapper.catch(() => undefined); // it is told to whoever asks for rows
parentPort?.on('message', (request: WorkerRequest) => {
  mapper
    .then((map) => map(request))
    .then(
      (rows): WorkerAnswer => ({ rows }),
      (error: unknown): WorkerAnswer => ({
        error: {
          message: error instanceof Error ? error.message : String(error),
          ...(error instanceof ModelcError && { code: error.code }),
        },
      }),
    )
    .then((answer) => parentPort?.postMessage(answer));
});
