// Choosing a token at random in the graph, as the host does it with temperature, top_k, top_p and min_p of transformers:
// each drops what it finds too unlikely, in this order, and the uniform number picks the first token, in the order of the
// vocabulary, at which the summed probabilities exceed it. Only the largest scores are looked at, so top_k is bounded.
import { dimConst } from '../../ir/dim.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { largestTopK, samplingParameters } from './sampling-inputs.ts';
import { arange, op, type Tensor, where } from './tensor.ts';

/** Lines of more elements than this are searched in parts. */
const longLine = 4096;

/** x [batch, n] at positions [batch, ..]. */
const takeRows = (x: Tensor, positions: Tensor): Tensor => op('gather', [x, positions], { axis: 1, batch: 1 });

/** i32 positions [batch, k] of the k largest of x [batch, n], the first of equals first: of its parts, then among them. */
export function largest(x: Tensor, k: number): Tensor {
  const [batch, size] = x.shape;
  const n = dimConst(size) ?? 0;
  const parts = n > longLine ? bestParts(n, k) : 1;
  if (parts === 1) return x.topK(k);
  const inParts = x.reshape([batch, parts, n / parts]).topK(k);
  const starts = arange(parts)
    .mul(n / parts)
    .unsqueeze(1);
  const positions = inParts.add(starts).reshape([batch, parts * k]);
  return takeRows(positions, takeRows(x, positions).topK(k));
}

/** How many equal parts of a line of n make for the shortest lines. */
function bestParts(n: number, k: number): number {
  let best = 1;
  for (let parts = 2; parts * k <= n; parts++) {
    if (n % parts === 0 && n / parts + parts * k < n / best + best * k) best = parts;
  }
  return best;
}

/** The most likely token of each row, i32 [batch]; -1 in rows whose scores are not finite. `logits` f32 [batch, vocab]. */
export function mostLikely(logits: Tensor): Tensor {
  const position = largest(logits, 1);
  return ifFinite(takeRows(logits, position), position).squeeze(1);
}

/**
 * `tokens` where the largest scores of their rows, of the same shape, are numbers, else -1. NaN is the largest score where
 * there is one, so that this costs no look at the others.
 */
const ifFinite = (best: Tensor, tokens: Tensor): Tensor => where(best.abs().le(dtypeInfo.f32.max), tokens, -1);

/**
 * The token of each row, i32 [batch]; -1 in rows whose scores are not finite. `logits` f32 [batch, vocab]; `sampling` f32 [4]; `uniform` f32 [batch],
 * in [0, 1).
 */
export function sampleTokens(logits: Tensor, sampling: Tensor, uniform: Tensor): Tensor {
  const vocab = dimConst(logits.shape[1]);
  if (vocab === undefined) throw new ModelcError('type', 'the size of a vocabulary is a number');
  const k = Math.min(largestTopK, vocab);
  const [temperature, topK, topP, minP] = samplingParameters.map((_, i) => sampling.slice(0, i, i + 1).squeeze(0));
  // The last of equals comes first, as in transformers.
  const positions = largest(op('reverse', [logits], { axes: [1] }), k)
    .neg()
    .add(vocab - 1);
  const scores = takeRows(logits, positions).div(temperature); // [batch, k], descending
  const rank = arange(k);
  const isTop = rank.cast('f32').lt(topK);
  // All that equal the last of the top k are kept too.
  const least = where(isTop, scores, dtypeInfo.f32.max).min(-1, true);
  const first = scores.slice(1, 0, 1);
  const likely = where(scores.ge(least), scores.sub(first).exp(), 0);
  const above = op('scan', [likely], { op: 'add', axis: 1, exclusive: true, reverse: false });
  const inNucleus = above.lt(likely.sum(-1, true).mul(topP)).or(rank.eq(0));
  const weights = where(inNucleus.and(likely.ge(minP)), likely, 0);

  const isBefore = positions.unsqueeze(1).le(positions.unsqueeze(2)); // [batch, of a token, of another]
  const upTo = where(isBefore, weights.unsqueeze(1), 0).sum(-1);
  const picked = upTo.gt(upTo.max(-1, true).mul(uniform.unsqueeze(1)));
  const isKept = weights.gt(0);
  const lastKept = where(isKept, positions, 0).max(-1); // rounding may leave a crumb beyond the last one
  const token = where(picked.and(isKept), positions, vocab).min(-1).minimum(lastKept);
  return ifFinite(first.squeeze(1), token);
}
