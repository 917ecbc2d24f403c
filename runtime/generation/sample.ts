// Greedy search and sampling, one token per row and step (transformers' _sample). Where nobody looks at the scores, the
// tokens come straight from the device, which goes on with them by itself: the most likely ones, or such as it draws with
// the uniform numbers that the host would take.
import { largestTopK, largestUniform } from '../../frontends/dsl/sampling-inputs.ts';
import { Tensor } from '../tensors/tensor.ts';
import { checkLogits, drawn, failOnLogits, mostLikely } from './choose.ts';
import type { Draws } from './decode-loop.ts';
import type { Scores } from './logits-processor.ts';
import { rowOf } from './logits-processor.ts';
import type { ResolvedCall } from './resolved-call.ts';
import type { Decoded, Run } from './run.ts';
import { unread, unreadMask } from './run.ts';

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
  streamer?.put(rows.map((row) => [...row]));
  for await (const tokens of chosen(run, progress)) {
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
    const step = stepOf(run, progress);
    const live = liveRows(run, progress);
    if (!call.parameters.remove_invalid_values) checkLogits(raw, live, step);
    logits?.push(new Tensor('float32', raw.slice(), [rows.length, vocabSize]));
    // One buffer for the scores of all steps: processors write into it, the device's view stays raw.
    progress.work ??= new Tensor('float32', new Float32Array(raw.length), [rows.length, vocabSize]);
    progress.work.data.set(raw);
    await run.guide?.(progress.work.data, rows);
    const processed = run.processors._call(rows, progress.work);
    scores?.push(new Tensor('float32', processed.data.slice(), processed.dims));
    yield rows.map((_, i) => {
      const row = rowOf(processed, i);
      const uniform = call.parameters.do_sample ? run.random.next() : undefined;
      if (!live[i]) return 0; // padding takes its place
      return uniform === undefined ? mostLikely(row, step, i) : drawn(row, uniform, step, i);
    });
  }
}

/** Tokens that were chosen before. */
const stepOf = ({ prompt }: Run, { rows }: Progress): number => rows[0].length - prompt[0].length;

/** The rows whose next token counts: no padding follows them. */
function liveRows({ call }: Run, { done }: Progress): boolean[] {
  const padding = paddingOf(call);
  return done.map((ended) => !ended || padding === undefined);
}

/** Throws where a device found no number among the scores of a row that counts; it then gives a negative token. */
function checkTokens(tokens: Int32Array, run: Run, progress: Progress): Int32Array {
  const live = liveRows(run, progress);
  const row = tokens.findIndex((token, i) => token < 0 && live[i]);
  return row < 0 ? tokens : failOnLogits(stepOf(run, progress), row);
}

/** The tokens of each step, chosen by the device where it can. */
function chosen(run: Run, progress: Progress): AsyncGenerator<ArrayLike<number>, void, undefined> {
  const isWatched = run.guide !== undefined || progress.scores !== undefined || progress.logits !== undefined;
  if (isWatched) return chosenByHost(run, progress);
  if (run.call.parameters.do_sample) {
    const draws = drawsOf(run);
    return draws ? chosenByDevice(run, progress, draws) : chosenByHost(run, progress);
  }
  return run.processors.length > 0 ? chosenByHost(run, progress) : chosenByDevice(run, progress);
}

/** The tokens of each step, which the device feeds to itself. */
async function* chosenByDevice(
  run: Run,
  progress: Progress,
  draws?: DrawsFrom,
): AsyncGenerator<ArrayLike<number>, void, undefined> {
  const { call, decoder, cache, random } = run;
  const { rows, done } = progress;
  const padding = paddingOf(call);
  if (draws) yield* firstByHost(run, progress);
  else yield checkTokens(await decoder.feed(unread(rows, cache), unreadMask(run), 'next_token'), run, progress);
  for (;;) {
    const last = rows.map((row) => row[row.length - 1]);
    // A row that has ended goes on with padding, but first its last token is read, in a step of its own.
    const live = liveRows(run, progress);
    const isSettled = live.every((isLive, i) => isLive || last[i] === padding);
    const count = isSettled ? call.maxLength - rows[0].length : 1;
    for await (const tokens of decoder.follow(last, live, count, draws?.(random.drawn))) {
      random.drawn += draws ? rows.length : 0;
      yield checkTokens(tokens, run, progress);
      if (padding !== undefined && done.some((ended, i) => ended === live[i])) break;
    }
  }
}

/** The tokens after the prompt, whose scores come from another entry. */
async function* firstByHost(run: Run, progress: Progress): AsyncGenerator<ArrayLike<number>, void, undefined> {
  for await (const tokens of chosenByHost(run, progress)) {
    progress.work = undefined;
    yield tokens;
    return;
  }
}

/** Makes draws that begin at a place of the stream of random numbers. */
type DrawsFrom = (place: number) => Draws;

/** How the device draws what the host would; undefined where it cannot. */
function drawsOf({ call, processors, prompt, random, decoder }: Run): DrawsFrom | undefined {
  const { parameters: g, options } = call;
  const used = [g.temperature !== 1, g.top_k !== 0, g.top_p < 1, g.min_p !== null].filter(Boolean);
  const isPlain = processors.length === used.length && (options.logits_processor ?? null) === null;
  if (!(isPlain && g.top_k >= 1 && g.top_k <= largestTopK && decoder.drawsAhead)) return undefined;
  const sampling = Float32Array.of(g.temperature, g.top_k, g.top_p, g.min_p ?? 0);
  const rows = prompt.length;
  return (place) => ({
    sampling,
    uniform: (step) =>
      Float32Array.from(prompt, (_, r) => Math.min(random.at(place + step * rows + r), largestUniform)),
  });
}

/** The token that follows the end of a row; without an end-of-sequence token, whatever the model says. */
const paddingOf = ({ eos, pad }: ResolvedCall): bigint | undefined =>
  eos.length > 0 ? BigInt(pad ?? eos[0]) : undefined;
