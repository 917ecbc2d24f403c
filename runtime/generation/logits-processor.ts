// Logits processors: functions from (ids so far, next-token scores) to scores. The calling convention is that of
// transformers.js: `_call(input_ids, logits)` with one bigint array per row and a [rows, vocab] tensor, which may be
// changed in place. Definitions follow transformers' generation/logits_process.py.
import { ModelcError } from '../../ir/error.ts';
import { Tensor } from '../tensors/tensor.ts';

/** Scores of the next token, [rows, vocab]. */
export type Scores = Tensor<'float32'>;

/**
 * Changes scores before the next token is chosen. Extend it, or pass a function of the form of `_call`.
 *
 *     class Never extends LogitsProcessor {
 *       _call(_input_ids: bigint[][], logits: Tensor<'float32'>): Tensor<'float32'> {
 *         const [rows, vocab] = logits.dims
 *         for (let row = 0; row < rows; row++) logits.data[row * vocab + 7] = Number.NEGATIVE_INFINITY // token 7
 *         return logits
 *       }
 *     }
 *     await model.generate({ ...inputs, logits_processor: new LogitsProcessorList([new Never()]) })
 */
export abstract class LogitsProcessor {
  /** Changes or replaces the scores of the next token. `input_ids[i]` is everything before it in row i. */
  abstract _call(input_ids: bigint[][], logits: Scores): Scores;
}

/** A processor that reshapes the distribution to sample from; the list applies these last. */
export abstract class LogitsWarper extends LogitsProcessor {}

/** Row i of a [rows, vocab] tensor, as a view. */
export function rowOf(logits: Scores, i: number): Float32Array {
  const vocab = logits.dims[logits.dims.length - 1];
  return logits.data.subarray(i * vocab, (i + 1) * vocab);
}

/** Applies `change` to every row in place. */
export function eachRow(
  input_ids: bigint[][],
  logits: Scores,
  change: (row: Float32Array, ids: bigint[], index: number) => void,
): Scores {
  for (let i = 0; i < input_ids.length; i++) change(rowOf(logits, i), input_ids[i], i);
  return logits;
}

/** Processors in order. A plain function with the same arguments counts as one. */
export class LogitsProcessorList extends LogitsProcessor {
  /** The processors, in the order in which they are applied. */
  readonly processors: LogitsProcessor[] = [];

  constructor(processors: readonly (LogitsProcessor | LogitsProcessor['_call'])[] = []) {
    super();
    this.extend(processors);
  }

  /** Appends a processor. */
  push(item: LogitsProcessor | LogitsProcessor['_call']): void {
    this.processors.push(typeof item === 'function' ? new FunctionProcessor(item) : item);
  }

  /** Appends processors. */
  extend(items: Iterable<LogitsProcessor | LogitsProcessor['_call']>): void {
    for (const item of items) this.push(item);
  }

  /** How many there are. */
  get length(): number {
    return this.processors.length;
  }

  [Symbol.iterator](): Iterator<LogitsProcessor> {
    return this.processors[Symbol.iterator]();
  }

  _call(input_ids: bigint[][], logits: Scores): Scores {
    let scores = logits;
    for (const processor of this.processors) {
      scores = processor._call(input_ids, scores);
      if (!(scores instanceof Tensor && scores.data instanceof Float32Array && scores.size === logits.size)) {
        throw new ModelcError(
          'input',
          `the logits processor ${processor.constructor.name} must return a float32 tensor of dims [${logits.dims}]`,
        );
      }
    }
    return scores;
  }
}

class FunctionProcessor extends LogitsProcessor {
  constructor(readonly apply: LogitsProcessor['_call']) {
    super();
  }
  _call(input_ids: bigint[][], logits: Scores): Scores {
    return this.apply(input_ids, logits);
  }
}

/** Ids as an option gives them, one or many, as a list. */
export const idList = (ids: number | readonly number[]): number[] => (typeof ids === 'number' ? [ids] : [...ids]);

export function requirePositive(name: string, value: number): void {
  if (!(typeof value === 'number' && value > 0)) {
    throw new ModelcError('input', `\`${name}\` has to be a strictly positive number, but is ${value}`);
  }
}

export function requireNatural(name: string, value: number): void {
  if (!(Number.isInteger(value) && value > 0)) {
    throw new ModelcError('input', `\`${name}\` has to be a strictly positive integer, but is ${value}`);
  }
}
