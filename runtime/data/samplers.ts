// Samplers: in which order an epoch takes the examples of a dataset. An order follows from the seed and the number of the
// epoch alone, so that a run that is resumed finds its place again. Random orders are those that transformers' Trainer
// draws through accelerate: torch's permutation of the seed plus the number of the epoch.
import { ModelcError } from '../../ir/error.ts';
import type { Dataset } from './dataset.ts';
import { Generator } from './generator.ts';
import { requireColumns, requireCount } from './rows.ts';

/** In which order an epoch takes examples. */
export interface Sampler {
  /** Examples in an epoch. */
  readonly length: number;
  /** Places in the dataset, in the order of an epoch. */
  order(epoch: number): readonly number[];
}

/** Examples in the order of the dataset. */
export class SequentialSampler implements Sampler {
  readonly length: number;
  constructor(length: number) {
    this.length = length;
  }
  order(): readonly number[] {
    return Array.from({ length: this.length }, (_, i) => i);
  }
}

/** Examples in a random order, another one in each epoch: torch's permutation of the seed plus the epoch. */
export class RandomSampler implements Sampler {
  readonly length: number;
  private readonly seed: number;
  constructor(length: number, seed: number) {
    this.length = length;
    this.seed = seed;
  }
  order(epoch: number): readonly number[] {
    return new Generator(this.seed + epoch).randperm(this.length);
  }
}

export interface LengthGroupedOptions {
  readonly lengths: readonly number[];
  readonly batch_size: number;
  readonly seed: number;
  /** Numbers of 32 bits that something else draws from the generator before every epoch (0). */
  readonly drawn?: number;
}

/**
 * Batches of examples of similar length: a random order is cut into up to 50 batches at a time, each piece is sorted by
 * length, and the longest example of all comes first, so that too little memory shows at once. The random orders come from
 * one generator, one after the other.
 */
export class LengthGroupedSampler implements Sampler {
  readonly length: number;
  private readonly lengths: readonly number[];
  private readonly batchSize: number;
  private readonly seed: number;
  private readonly drawn: number;

  constructor({ lengths, batch_size, seed, drawn = 0 }: LengthGroupedOptions) {
    requireCount('batch_size', batch_size, 1);
    this.drawn = drawn;
    this.length = lengths.length;
    this.lengths = lengths;
    this.batchSize = batch_size;
    this.seed = seed;
  }

  order(epoch: number): readonly number[] {
    const { lengths, batchSize } = this;
    const generator = new Generator(this.seed);
    let random: readonly number[] = [];
    for (let e = 0; e <= epoch; e++) {
      for (let i = 0; i < this.drawn; i++) generator.random();
      random = generator.randperm(this.length);
    }
    const size = batchSize * (Math.min(Math.floor(this.length / (batchSize * 4)), 50) || 1);
    const pieces: number[][] = [];
    for (let start = 0; start < random.length; start += size) {
      pieces.push(random.slice(start, start + size).sort((a, b) => lengths[b] - lengths[a]));
    }
    let longest = pieces[0] ?? [];
    for (const piece of pieces) if (lengths[piece[0]] > lengths[longest[0]]) longest = piece;
    if (pieces.length > 0) [pieces[0][0], longest[0]] = [longest[0], pieces[0][0]];
    return pieces.flat();
  }
}

/** The length of each example: what column `length_column_name` says, or the length of another column. */
export function lengthsOf(dataset: Dataset<object>, length_column_name = 'length', input = 'input_ids'): number[] {
  const names = dataset.column_names;
  const column = names.includes(length_column_name) ? length_column_name : input;
  requireColumns([column], names);
  return (dataset as Dataset).column(column).map((value, i) => {
    if (column === length_column_name && typeof value === 'number') return value;
    const length = (value as { length?: unknown } | null)?.length;
    if (column === input && typeof length === 'number') return length;
    throw new ModelcError('input', `column "${column}" gives no length for example ${i}, but ${JSON.stringify(value)}`);
  });
}
