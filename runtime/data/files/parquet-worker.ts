// The thread that parquet.ts starts to read files, one after the other: it answers requests for row groups. A file of its own in dist/, because
// threads start from files.
import { parentPort } from 'node:worker_threads';
import { ModelcError } from '../../../ir/error.ts';
import type { ParquetAnswer, ParquetRequest } from './parquet.ts';
import { ParquetReader } from './parquet-reader.ts';

let path = '';
let reader: ParquetReader | undefined;

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

parentPort?.on('message', (request: ParquetRequest) => {
  void answerOf(async () => {
    if (typeof request === 'number') {
      if (!reader) throw new Error('the file was not opened');
      return await reader.read(request);
    }
    path = request.path;
    reader = undefined;
    reader = await ParquetReader.open(path, request.columns);
    return { groups: reader.groups };
  });
});
parentPort?.postMessage({ started: true } satisfies ParquetAnswer);
