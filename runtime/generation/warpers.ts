// The processors that shape the distribution to sample from: temperature and the truncations. Each truncation sets what
// it drops to -inf. Definitions follow transformers' generation/logits_process.py, which names the papers.
import { ModelcError } from '../../ir/error.ts';
import { eachRow, LogitsWarper, requireNatural, type Scores } from './logits-processor.ts';
import { logSumExp, softmax, topK } from './scores.ts';

const dropped = Number.NEGATIVE_INFINITY;

/** Divides scores by `temperature`, more than 0. */
export class TemperatureLogitsWarper extends LogitsWarper {
  constructor(private readonly temperature: number) {
    super();
    if (!(temperature > 0)) {
      throw new ModelcError(
        'input',
        `\`temperature\` (=${temperature}) has to be a strictly positive number; for greedy decoding set \`do_sample=false\``,
      );
    }
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => {
      for (let i = 0; i < row.length; i++) row[i] /= this.temperature;
    });
  }
}

/** The k-th largest score of a row. */
const kthLargest = (row: Float32Array, k: number): number => {
  const kept = topK(row, k);
  return row[kept[kept.length - 1]];
};

/** Keeps the k largest, and all that equal the k-th. */
export class TopKLogitsWarper extends LogitsWarper {
  private readonly top_k: number;
  constructor(top_k: number, min_tokens_to_keep = 1) {
    super();
    requireNatural('top_k', top_k);
    this.top_k = Math.max(top_k, min_tokens_to_keep);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => {
      if (this.top_k >= row.length) return;
      const least = kthLargest(row, this.top_k);
      for (let i = 0; i < row.length; i++) if (row[i] < least) row[i] = dropped;
    });
  }
}

/**
 * Indices from the largest value down, as far as the consumer reads: selections of growing size, so that a consumer
 * that stops early pays for no full sort. The last of equals comes first, as in a reversed ascending stable sort.
 */
function* descending(values: ArrayLike<number>): Generator<number> {
  const mirrored = Float64Array.from({ length: values.length }, (_, i) => values[values.length - 1 - i]);
  let done = 0;
  for (let size = 64; done < mirrored.length; size *= 16) {
    const order = topK(mirrored, size);
    for (; done < order.length; done++) yield mirrored.length - 1 - order[done];
  }
}

function requireFraction(name: string, value: number, low: 'open' | 'closed', high: 'open' | 'closed'): void {
  if (
    !(
      typeof value === 'number' &&
      (low === 'open' ? value > 0 : value >= 0) &&
      (high === 'open' ? value < 1 : value <= 1)
    )
  ) {
    const interval = `${low === 'open' ? '(' : '['}0, 1${high === 'open' ? ')' : ']'}`;
    throw new ModelcError('input', `\`${name}\` has to be a number in ${interval}, but is ${value}`);
  }
}

/** Keeps `mask` of a row. */
function keepOnly(row: Float32Array, kept: ReadonlySet<number>): void {
  for (let i = 0; i < row.length; i++) if (!kept.has(i)) row[i] = dropped;
}

/** Nucleus sampling: the most likely tokens whose mass reaches p. */
export class TopPLogitsWarper extends LogitsWarper {
  constructor(
    private readonly top_p: number,
    private readonly min_tokens_to_keep = 1,
  ) {
    super();
    requireFraction('top_p', top_p, 'closed', 'closed');
    requireNatural('min_tokens_to_keep', min_tokens_to_keep);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => {
      if (this.top_p === 1) return;
      const p = softmax(row);
      const kept = new Set<number>();
      let above = 0;
      for (const i of descending(row)) {
        if (above >= this.top_p && kept.size >= this.min_tokens_to_keep) break;
        kept.add(i);
        above += p[i];
      }
      keepOnly(row, kept);
    });
  }
}

/** Drops what is less likely than min_p times the most likely token. */
export class MinPLogitsWarper extends LogitsWarper {
  constructor(
    private readonly min_p: number,
    private readonly min_tokens_to_keep = 1,
  ) {
    super();
    requireFraction('min_p', min_p, 'closed', 'closed');
    requireNatural('min_tokens_to_keep', min_tokens_to_keep);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => {
      const best = topK(row, this.min_tokens_to_keep);
      // p < min_p * p_max compares scores with a shifted maximum; f32 as in the reference keeps ties alike.
      const least = Math.fround(row[best[0]] + Math.log(this.min_p));
      const kept = new Set(best);
      for (let i = 0; i < row.length; i++) if (row[i] < least && !kept.has(i)) row[i] = dropped;
    });
  }
}

/** Locally typical sampling (Meister et al., 2022). */
export class TypicalLogitsWarper extends LogitsWarper {
  constructor(
    private readonly mass: number,
    private readonly min_tokens_to_keep = 1,
  ) {
    super();
    requireFraction('typical_p', mass, 'open', 'open');
    requireNatural('min_tokens_to_keep', min_tokens_to_keep);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => {
      const z = logSumExp(row);
      const entropy = entropyOf(row, z);
      const closeness = new Float32Array(row.length); // minus the distance of the surprise from the entropy
      for (let i = 0; i < row.length; i++) closeness[i] = -Math.abs(z - row[i] - entropy);
      let mass = 0;
      let count = 0;
      let least = 0;
      for (const i of descending(closeness)) {
        if (mass >= this.mass && count >= this.min_tokens_to_keep) break;
        mass += Math.exp(row[i] - z);
        least = closeness[i];
        count++;
      }
      for (let i = 0; i < row.length; i++) if (closeness[i] < least) row[i] = dropped;
    });
  }
}

function entropyOf(row: Float32Array, z: number): number {
  let entropy = 0;
  for (let i = 0; i < row.length; i++) if (row[i] !== dropped) entropy -= Math.exp(row[i] - z) * (row[i] - z);
  return entropy;
}

/** Drops what is less likely than `threshold(row's entropy)`, but never one of the most likely `min_tokens_to_keep`. */
function dropBelow(row: Float32Array, min_tokens_to_keep: number, threshold: (entropy: number) => number): void {
  const z = logSumExp(row);
  const least = Math.log(threshold(entropyOf(row, z))) + z;
  const protectedFrom = kthLargest(row, min_tokens_to_keep);
  for (let i = 0; i < row.length; i++) if (row[i] < least && row[i] < protectedFrom) row[i] = dropped;
}

/** Truncation at a fixed probability (Hewitt et al., 2022). */
export class EpsilonLogitsWarper extends LogitsWarper {
  constructor(
    private readonly epsilon: number,
    private readonly min_tokens_to_keep = 1,
  ) {
    super();
    requireFraction('epsilon_cutoff', epsilon, 'open', 'open');
    requireNatural('min_tokens_to_keep', min_tokens_to_keep);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => dropBelow(row, this.min_tokens_to_keep, () => this.epsilon));
  }
}

/** Truncation at min(ε, √ε·exp(-entropy)) (Hewitt et al., 2022). */
export class EtaLogitsWarper extends LogitsWarper {
  constructor(
    private readonly epsilon: number,
    private readonly min_tokens_to_keep = 1,
  ) {
    super();
    requireFraction('eta_cutoff', epsilon, 'open', 'open');
    requireNatural('min_tokens_to_keep', min_tokens_to_keep);
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) =>
      dropBelow(row, this.min_tokens_to_keep, (entropy) =>
        Math.min(this.epsilon, Math.sqrt(this.epsilon) * Math.exp(-entropy)),
      ),
    );
  }
}

/** Among the 100 most likely, keeps the prefix whose cumulative entropy stays within top_h of the whole. */
export class TopHLogitsWarper extends LogitsWarper {
  constructor(private readonly top_h: number) {
    super();
    requireFraction('top_h', top_h, 'open', 'closed');
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return eachRow(input_ids, logits, (row) => {
      const order = topK(row, 100);
      const p = softmax(Float32Array.from(order, (i) => row[i]));
      const terms = Array.from(p, (v) => (v > 0 ? -v * Math.log(v) : 0));
      const limit = this.top_h * terms.reduce((sum, t) => sum + t, 0);
      const kept = new Set([order[0]]);
      let cumulative = 0;
      for (const [rank, i] of order.entries()) {
        cumulative += terms[rank];
        if (cumulative <= limit) kept.add(i);
      }
      keepOnly(row, kept);
    });
  }
}
