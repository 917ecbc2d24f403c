// Beam search and beam sampling, as transformers' vectorised _beam_search defines them. Per batch row there are
// `num_beams` running beams and `num_beams` finished ones. A step takes the K best continuations of the running beams,
// K = max(2, 1 + number of eos ids) * num_beams, so that enough unfinished ones remain; finished continuations among the
// first num_beams enter the finished set with score sum(log p) / generated_length ** length_penalty.
import { Tensor } from '../tensors/tensor.ts';
import { checkLogits, checkScores } from './choose.ts';
import type { Scores } from './logits-processor.ts';
import { rowOf } from './logits-processor.ts';
import type { RandomStream } from './random.ts';
import type { ResolvedCall } from './resolved-call.ts';
import type { Decoded, Run } from './run.ts';
import { unread, unreadMask } from './run.ts';
import { logSoftmaxInPlace, topK } from './scores.ts';

/** The score of a beam that is not there. */
const absent = -1e9;

interface Beam {
  readonly ids: bigint[];
  /** Sum of log-probabilities while running, normalised by length once finished. */
  readonly score: number;
  /** For every generated token, the row of the batch of beams that it continued. */
  readonly indices: number[];
  readonly isFinished: boolean;
}

export async function beamSearch(run: Run): Promise<Decoded> {
  const { call, vocabSize } = run;
  const { parameters: g, eos } = call;
  const beams = g.num_beams;
  const promptLength = run.prompt[0].length;
  const candidates = Math.max(2, 1 + eos.length) * beams;
  const wantsScores = g.return_dict_in_generate && g.output_scores;
  const wantsLogits = g.return_dict_in_generate && g.output_logits;
  const scores: Scores[] = [];
  const logits: Scores[] = [];

  const batch = Array.from({ length: run.prompt.length / beams }, (_, b) => new BeamRow(run, b));
  let mask = unreadMask(run);
  for (let length = promptLength; ; length++) {
    const rows = batch.flatMap((row) => row.running.map((beam) => beam.ids));
    const raw = await run.decoder.feed(unread(rows, run.cache), mask, 'logits');
    mask = undefined;
    if (wantsLogits) logits.push(new Tensor('float32', raw.slice(), [rows.length, vocabSize]));
    if (!g.remove_invalid_values) checkLogits(raw, new Array<boolean>(rows.length).fill(true), length - promptLength);
    let step: Scores = new Tensor('float32', raw.slice(), [rows.length, vocabSize]);
    for (let i = 0; i < rows.length; i++) logSoftmaxInPlace(rowOf(step, i));
    step = run.processors._call(rows, step);
    checkScores(step, length - promptLength);
    if (wantsScores) scores.push(new Tensor('float32', step.data.slice(), step.dims));

    const continuations = batch.map((row) => row.continuations(step, candidates, run.random));
    const hits = run.stopping._call(
      continuations.flatMap((list) => list.map((c) => c.ids)),
      step,
    );
    for (const [b, row] of batch.entries()) {
      row.advance(continuations[b], hits.slice(b * candidates, (b + 1) * candidates), length + 1 - promptLength);
    }
    run.cache.reorder_cache(batch.flatMap((row) => row.running.map((beam) => beam.indices[beam.indices.length - 1])));
    const improvable = batch.map((row) =>
      row.updateImprovable(length + 1 - promptLength, call.maxLength - promptLength),
    );
    const allFinished = batch.every((row) => row.finished.every((beam) => beam.isFinished));
    if (!improvable.includes(true) || (allFinished && g.early_stopping === true) || !hits.includes(false)) break;
  }
  return collect(batch, call, promptLength, {
    ...(wantsScores ? { scores } : {}),
    ...(wantsLogits ? { logits } : {}),
  });
}

/** The beams of one row of the batch. */
class BeamRow {
  running: Beam[];
  finished: Beam[];
  /** Whether a running beam may still beat a finished one. */
  private isImprovable = true;
  private readonly call: ResolvedCall;
  private readonly first: number;

  constructor(run: Run, b: number) {
    this.call = run.call;
    const beams = run.call.parameters.num_beams;
    this.first = b * beams;
    const prompts = run.prompt.slice(this.first, this.first + beams);
    // Only the first beam counts at the start: the others are its copies.
    this.running = prompts.map((ids, i) => ({
      ids: [...ids],
      score: i === 0 ? 0 : absent,
      indices: [],
      isFinished: false,
    }));
    this.finished = this.running.map((beam) => ({ ...beam, score: absent }));
  }

  /** The best (or sampled) continuations of the running beams, with their accumulated scores. */
  continuations(step: Scores, count: number, random: RandomStream): Beam[] {
    const vocab = step.dims[1];
    const total = new Float32Array(this.running.length * vocab);
    for (const [k, beam] of this.running.entries()) {
      const row = rowOf(step, this.first + k);
      for (let i = 0; i < vocab; i++) total[k * vocab + i] = row[i] + beam.score;
    }
    const best = this.call.parameters.do_sample ? sampleWithoutReplacement(total, count, random) : topK(total, count);
    return best.map((flat) => {
      const parent = this.running[Math.floor(flat / vocab)];
      return {
        ids: [...parent.ids, BigInt(flat % vocab)],
        score: total[flat],
        indices: [...parent.indices, this.first + Math.floor(flat / vocab)],
        isFinished: false,
      };
    });
  }

  /** Splits continuations into the next running beams and new finished ones. `generated`: tokens after the prompt. */
  advance(continuations: Beam[], hits: readonly boolean[], generated: number): void {
    const { num_beams, length_penalty, early_stopping } = this.call.parameters;
    const open = continuations.map((c, i) => (hits[i] ? { ...c, score: c.score + absent } : c));
    this.running = best(open, num_beams);

    const isFull = early_stopping === true && this.finished.every((beam) => beam.isFinished);
    const closed = continuations.map((c, i): Beam => {
      const isFinished = hits[i] && i < num_beams;
      let score = c.score / generated ** length_penalty;
      if (isFull) score += absent;
      if (!this.isImprovable) score += absent;
      if (!isFinished) score += absent;
      return { ...c, score, isFinished };
    });
    this.finished = best([...this.finished, ...closed], num_beams);
  }

  /** Whether the best running beam could still beat the worst finished one. */
  updateImprovable(generated: number, maxGenerated: number): boolean {
    const { early_stopping, length_penalty } = this.call.parameters;
    const length = early_stopping === 'never' && length_penalty > 0 ? maxGenerated : generated;
    const possible = this.running[0].score / length ** length_penalty;
    const worst = Math.min(...this.finished.map((beam) => beam.score));
    this.isImprovable &&= this.finished.some((beam) => possible > (beam.isFinished ? worst : absent));
    return this.isImprovable;
  }
}

/** The n beams of the highest scores, in order; the first of equals first. */
const best = (beams: readonly Beam[], n: number): Beam[] =>
  topK(
    beams.map((beam) => beam.score),
    n,
  ).map((i) => beams[i]);

/** Draws `count` distinct indices with probabilities softmax(scores): the largest of scores plus Gumbel noise. */
function sampleWithoutReplacement(scores: Float32Array, count: number, random: RandomStream): number[] {
  const noisy = Float64Array.from(scores, (s) => s - Math.log(-Math.log(random.next() || Number.MIN_VALUE)));
  return topK(noisy, count);
}

function collect(
  batch: readonly BeamRow[],
  { parameters: g, eos, pad }: ResolvedCall,
  promptLength: number,
  extra: Partial<Decoded>,
): Decoded {
  const returned = batch.flatMap((row) => row.finished.slice(0, g.num_return_sequences));
  const generated = Math.max(...returned.map((beam) => beam.indices.length));
  // As in transformers, where a padding token 0 is none.
  const fill = BigInt((pad || eos[0]) ?? pad ?? -1);
  const padded = <T>(list: readonly T[], length: number, value: T): T[] => [
    ...list,
    ...new Array<T>(length - list.length).fill(value),
  ];
  return {
    sequences: returned.map((beam) => padded(beam.ids, promptLength + generated, fill)),
    sequences_scores: returned.map((beam) => beam.score),
    beam_indices: returned.map((beam) => padded(beam.indices, generated, -1)),
    ...extra,
  };
}
