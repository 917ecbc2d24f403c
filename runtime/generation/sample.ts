// Greedy search and sampling, one token per row and step (transformers' _sample). Where nobody looks at the scores, the
// most likely token comes straight from the device, which goes on with it by itself.
import { Tensor } from '../tensor.ts';
import type { Scores } from './logits-processor.ts';
import { rowOf } from './logits-processor.ts';
import type { ResolvedCall } from './resolve.ts';
import type { Decoded, Run } from './run.ts';
import { unread, unreadMask } from './run.ts';
import { argmax, sampleRow } from './scores.ts';

/** The sequences so far, which rows of them have ended, and what is kept of the scores. */
interface Progress {
  readonly rows: bigint[][];
  readonly done: boolean[];
  readonly scores: Scores[] | undefined;
  readonly logits: Scores[] | undefined;
  /** The processed scores of the last step, where the host has them. */
  work: Scores | undefined;
}

export async function sample(run: Run): Promise<Decoded> {
  const { call, streamer } = run;
  const { parameters: g } = call;
  const padding = paddingOf(call);
  const rows = run.prompt.map((row) => [...row]);
  const done = new Array<boolean>(rows.length).fill(false);
  const scores: Scores[] | undefined = g.return_dict_in_generate && g.output_scores ? [] : undefined;
  const logits: Scores[] | undefined = g.return_dict_in_generate && g.output_logits ? [] : undefined;
  const progress: Progress = { rows, done, scores, logits, work: undefined };
  const needsScores = g.do_sample || run.processors.length > 0 || run.guide !== undefined || scores || logits;

  streamer?.put(rows.map((row) => [...row]));
  for await (const tokens of needsScores ? chosenByHost(run, progress) : chosenByDevice(run, progress)) {
    const step = rows.map((row, i) => {
      const token = done[i] && padding !== undefined ? padding : BigInt(tokens[i]);
      row.push(token);
      return [token];
    });
    streamer?.put(step);
    for (const [i, stop] of run.stopping._call(rows, progress.work).entries()) done[i] ||= stop;
    if (done.every(Boolean)) break;
  }
  streamer?.end();
  return { sequences: rows, ...(scores ? { scores } : {}), ...(logits ? { logits } : {}) };
}

/** The tokens of each step, chosen from scores that processors have seen. */
async function* chosenByHost(run: Run, progress: Progress): AsyncGenerator<ArrayLike<number>, void, undefined> {
  const { call, decoder, vocabSize } = run;
  const { rows, scores, logits } = progress;
  let mask = unreadMask(run);
  for (;;) {
    const raw = await decoder.feed(unread(rows, run.cache), mask, 'logits');
    mask = undefined;
    logits?.push(new Tensor('float32', raw.slice(), [rows.length, vocabSize]));
    // One buffer for the scores of all steps: processors write into it, the device's view stays raw.
    progress.work ??= new Tensor('float32', new Float32Array(raw.length), [rows.length, vocabSize]);
    progress.work.data.set(raw);
    await run.guide?.(progress.work.data, rows);
    const processed = run.processors._call(rows, progress.work);
    scores?.push(new Tensor('float32', processed.data.slice(), processed.dims));
    yield rows.map((_, i) => {
      const row = rowOf(processed, i);
      return call.parameters.do_sample ? sampleRow(row, run.random.next()) : argmax(row);
    });
  }
}

/** The most likely token of each step. */
async function* chosenByDevice(run: Run, { rows, done }: Progress): AsyncGenerator<Int32Array, void, undefined> {
  const { call, decoder, cache } = run;
  const padding = paddingOf(call);
  yield await decoder.feed(unread(rows, cache), unreadMask(run), 'next_token');
  for (;;) {
    const last = rows.map((row) => row[row.length - 1]);
    // A row that has ended goes on with padding, but first its last token is read, in a step of its own.
    const live = done.map((ended) => !ended || padding === undefined);
    const isSettled = live.every((isLive, i) => isLive || last[i] === padding);
    for await (const tokens of decoder.follow(last, live, isSettled ? call.maxLength - rows[0].length : 1)) {
      yield tokens;
      if (padding !== undefined && done.some((ended, i) => ended === live[i])) break;
    }
  }
}

/** The token that follows the end of a row; without an end-of-sequence token, whatever the model says. */
const paddingOf = ({ eos, pad }: ResolvedCall): bigint | undefined =>
  eos.length > 0 ? BigInt(pad ?? eos[0]) : undefined;
