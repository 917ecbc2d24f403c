// The thread that parquet.ts starts to read a file: it answers requests for row groups. A file of its own in dist/, because
// threads start from files.
import { parentPort, workerData } from 'node:worker_threads';
import { ModelcError } from '../../../ir/error.ts';
import type { ParquetAnswer, ParquetSetup } from './parquet.ts';
import { ParquetReader } from './parquet-reader.ts';

const { path, columns } = workerData as ParquetSetup;

async function answerOf(work: () => Promise<ParquetAnswer>): Promise<void> {
  let answer: ParquetAnswer;
  try {
    answer = await work();
  } catch (error) {
    const known = error instanceof ModelcError;
    answer = {
      error: {
        message: known
          ? error.message
          : `${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
        code: known ? error.code : 'parse',
      },
    };
  }
  parentPort?.postMessage(answer);
}

let reader: ParquetReader | undefined;
parentPort?.on('message', (request: number | 'open') => {
  if (request === 'open') {
    void answerOf(async () => {
      reader = await ParquetReader.open(path, columns);
      return { groups: reader.groups };
    });
    return;
  }
  void answerOf(async () => {
    if (!reader) throw new Error('the file was not opened');
    return await reader.read(request);
  });
});
parentPort?.postMessage({ started: true } satisfies ParquetAnswer);
