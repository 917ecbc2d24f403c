// Choosing the next token of a row from its scores, and refusing scores that choose none: those of a model that computed
// NaN or infinity, and those that processors have left without a token. -infinity is a token that cannot be.
import { ModelcError } from '../../ir/error.ts';
import type { Tensor } from '../tensors/tensor.ts';
import { argmax, sampleRow } from './scores.ts';

/**
 * Throws ModelcError 'checkpoint' where a model has computed NaN or +infinity for a row that is `live`. `step`: how many tokens there are already.
 */
export function checkLogits(logits: Float32Array, live: readonly boolean[], step: number): void {
  const vocab = logits.length / live.length;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i] < Number.POSITIVE_INFINITY) continue; // false for NaN
    const row = Math.floor(i / vocab);
    if (live[row]) failOnLogits(step, row, logits[i]);
    i = (row + 1) * vocab - 1;
  }
}

/** `value`: what was found, where that is known. */
export function failOnLogits(step: number, row: number, value?: number): never {
  throw new ModelcError(
    'checkpoint',
    `in step ${step + 1} the model computed ${value ?? 'NaN or infinity'} among the scores of row ${row}, so no token can be chosen; its weights, or what it was given, are damaged or too large for their type (remove_invalid_values: true goes on all the same)`,
  );
}

/** Throws ModelcError 'input' where a row that processors have changed leaves no token that could be chosen. */
function failOnScores(step: number, row: number, value: number): never {
  const what = value === Number.NEGATIVE_INFINITY ? 'forbid every token' : `hold ${value}`;
  throw new ModelcError(
    'input',
    `in step ${step + 1} the scores of row ${row} ${what} after the logits processors, so no token can be chosen; check those and the options that make them`,
  );
}

/** Throws where processors have put NaN or +infinity into scores [rows, vocab], or have left no row a token. */
export function checkScores({ data, dims: [rows, vocab] }: Tensor<'float32'>, step: number): void {
  const best = Array.from({ length: rows }, (_, r) => {
    const row = data.subarray(r * vocab, (r + 1) * vocab);
    return row[argmax(row)];
  });
  const wrong = best.findIndex((score) => Number.isNaN(score) || score === Number.POSITIVE_INFINITY);
  if (wrong >= 0) failOnScores(step, wrong, best[wrong]);
  if (!best.some(Number.isFinite)) failOnScores(step, 0, best[0]);
}

/** The most likely token of a row. */
export function mostLikely(scores: Float32Array, step: number, row: number): number {
  const best = argmax(scores);
  return Number.isFinite(scores[best]) ? best : failOnScores(step, row, scores[best]);
}

/** A token that is drawn with probability softmax(scores), by one uniform number. */
export function drawn(scores: Float32Array, uniform: number, step: number, row: number): number {
  const token = sampleRow(scores, uniform);
  return token >= 0 ? token : failOnScores(step, row, scores[argmax(scores)]);
}
