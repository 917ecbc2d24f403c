// Classifier-free guidance (Sanchez et al., 2023) for one batch: scores = u + g * (c - u), where c and u are the
// log-probabilities after the prompt and after a negative prompt. The negative prompt has a cache of its own.
import { ModelcError } from '../../ir/error.ts';
import type { DecodeLoop } from './decode-loop.ts';
import { logSoftmaxInPlace } from './scores.ts';

/**
 * A function that guides scores in place. `negative` are the ids of the negative prompt, a row for each row of the batch,
 * and `mask` says which are real; every call appends the last token of each row to it.
 */
export function guidance(
  scale: number,
  decoder: DecodeLoop,
  negative: bigint[][],
  mask: Uint8Array | undefined,
): (scores: Float32Array, rows: readonly (readonly bigint[])[]) => Promise<void> {
  let isFirst = true;
  return async (scores, rows) => {
    if (negative.length !== rows.length) {
      throw new ModelcError(
        'input',
        `negative_prompt_ids has ${negative.length} rows, but the inputs have ${rows.length}`,
      );
    }
    const ids = isFirst ? negative : rows.map((row) => [row[row.length - 1]]);
    const unconditional = (await decoder.feed(ids, isFirst ? mask : undefined, 'logits')).slice();
    isFirst = false;
    const vocab = scores.length / rows.length;
    for (let start = 0; start < scores.length; start += vocab) {
      const c = scores.subarray(start, start + vocab);
      const u = unconditional.subarray(start, start + vocab);
      logSoftmaxInPlace(c);
      logSoftmaxInPlace(u);
      for (let i = 0; i < vocab; i++) c[i] = scale * (c[i] - u[i]) + u[i];
    }
  };
}
