// Greedy search and sampling, one token per row and step (transformers' _sample). Where nobody looks at the scores, the
// most likely token comes straight from the device.
import { Tensor } from '../tensor.ts';
import type { Decoded, Run } from './run.ts';
import { unread, unreadMask } from './run.ts';
import { argmax, sampleRow } from './scores.ts';
import type { Scores } from './logits-processor.ts';
import { rowOf } from './logits-processor.ts';

export async function sample(run: Run): Promise<Decoded> {
  const { call, decoder, streamer, vocabSize } = run;
  const { parameters: g, eos, pad } = call;
  const wantsScores = g.return_dict_in_generate && g.output_scores;
  const wantsLogits = g.return_dict_in_generate && g.output_logits;
  const needsScores = g.do_sample || run.processors.length > 0 || run.guide !== undefined || wantsScores || wantsLogits;
  const rows = run.prompt.map((row) => [...row]);
  const done = new Array<boolean>(rows.length).fill(false);
  const scores: Scores[] = [];
  const logits: Scores[] = [];
  // One buffer for the scores of all steps: processors write into it, the device's view stays raw.
  let work: Scores | undefined;

  streamer?.put(rows.map((row) => [...row]));
  let mask = unreadMask(run);
  while (!done.every(Boolean)) {
    const next = unread(rows, run.cache);
    let tokens: ArrayLike<number>;
    if (needsScores) {
      const raw = await decoder.feed(next, mask, 'logits');
      if (wantsLogits) logits.push(new Tensor('float32', raw.slice(), [rows.length, vocabSize]));
      work ??= new Tensor('float32', new Float32Array(raw.length), [rows.length, vocabSize]);
      work.data.set(raw);
      await run.guide?.(work.data, rows);
      const processed = run.processors._call(rows, work);
      if (wantsScores) scores.push(new Tensor('float32', processed.data.slice(), processed.dims));
      tokens = rows.map((_, i) => {
        const row = rowOf(processed, i);
        return g.do_sample ? sampleRow(row, run.random.next()) : argmax(row);
      });
    } else {
      tokens = await decoder.feed(next, mask, 'next_token');
    }
    mask = undefined;
    const step = rows.map((row, i) => {
      const token = BigInt(done[i] && eos.length > 0 ? (pad ?? eos[0]) : tokens[i]);
      row.push(token);
      return [token];
    });
    streamer?.put(step);
    for (const [i, stop] of run.stopping._call(rows, work).entries()) done[i] ||= stop;
  }
  streamer?.end();
  return { sequences: rows, ...(wantsScores ? { scores } : {}), ...(wantsLogits ? { logits } : {}) };
}
