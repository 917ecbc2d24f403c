// When a row of a generation ends. Criteria see the ids of every row, prompt included, after each new token; one `true`
// ends the row. The calling convention is that of transformers.js, the set and the rules are those of transformers.
import { ModelcError } from '../../ir/error.ts';
import type { Scores } from './logits-processor.ts';

/**
 * Says which rows end. Extend it, or pass a function of the form of `_call`.
 *
 *     class AfterTen extends StoppingCriteria {
 *       _call(input_ids: bigint[][]): boolean[] {
 *         return input_ids.map((ids) => ids.length >= 10)
 *       }
 *     }
 *     await model.generate({ ...inputs, stopping_criteria: new StoppingCriteriaList([new AfterTen()]) })
 */
export abstract class StoppingCriteria {
  /** For each row, whether it ends here. `scores`: the processed scores of the last step, when the loop has them. */
  abstract _call(input_ids: bigint[][], scores?: Scores): boolean[];
}

/** Criteria of which one suffices. */
export class StoppingCriteriaList extends StoppingCriteria {
  /** The criteria. */
  readonly criteria: StoppingCriteria[] = [];

  constructor(criteria: Iterable<StoppingCriteria | StoppingCriteria['_call']> = []) {
    super();
    this.extend(criteria);
  }

  /** Appends a criterion. */
  push(item: StoppingCriteria | StoppingCriteria['_call']): void {
    this.criteria.push(typeof item === 'function' ? new FunctionCriteria(item) : item);
  }

  /** Appends criteria. */
  extend(items: Iterable<StoppingCriteria | StoppingCriteria['_call']>): void {
    for (const item of items) this.push(item);
  }

  [Symbol.iterator](): Iterator<StoppingCriteria> {
    return this.criteria[Symbol.iterator]();
  }

  _call(input_ids: bigint[][], scores?: Scores): boolean[] {
    const done = new Array<boolean>(input_ids.length).fill(false);
    for (const criterion of this.criteria) {
      for (const [i, stop] of criterion._call(input_ids, scores).entries()) done[i] ||= stop;
    }
    return done;
  }
}

class FunctionCriteria extends StoppingCriteria {
  constructor(readonly decide: StoppingCriteria['_call']) {
    super();
  }
  _call(input_ids: bigint[][], scores?: Scores): boolean[] {
    return this.decide(input_ids, scores);
  }
}

/** Ends rows of `max_length` tokens, prompt included. */
export class MaxLengthCriteria extends StoppingCriteria {
  constructor(
    /** Tokens of prompt and continuation. */
    readonly max_length: number,
  ) {
    super();
  }
  _call(input_ids: bigint[][]): boolean[] {
    return input_ids.map((ids) => ids.length >= this.max_length);
  }
}

/** Ends everything `max_time` seconds after it was made. */
export class MaxTimeCriteria extends StoppingCriteria {
  private readonly start = performance.now();
  constructor(
    /** Seconds. */
    readonly max_time: number,
  ) {
    super();
  }
  _call(input_ids: bigint[][]): boolean[] {
    const isOver = performance.now() - this.start > this.max_time * 1000;
    return input_ids.map(() => isOver);
  }
}

/** Ends rows with one of these tokens. */
export class EosTokenCriteria extends StoppingCriteria {
  /** The tokens. */
  readonly eos_token_id: ReadonlySet<bigint>;
  constructor(eos_token_id: number | readonly number[]) {
    super();
    this.eos_token_id = new Set([eos_token_id].flat().map(BigInt));
  }
  _call(input_ids: bigint[][]): boolean[] {
    return input_ids.map((ids) => this.eos_token_id.has(ids[ids.length - 1]));
  }
}

/**
 * Ends everything when somebody calls `interrupt()`.
 *
 *     const button = new InterruptableStoppingCriteria()
 *     const ids = model.generate({ ...inputs, stopping_criteria: button })
 *     button.interrupt()
 *     await ids // what there was by then
 */
export class InterruptableStoppingCriteria extends StoppingCriteria {
  /** Whether it ends everything. */
  interrupted = false;
  /** Ends everything with the step under way. */
  interrupt(): void {
    this.interrupted = true;
  }
  /** Lets generations go on again. */
  reset(): void {
    this.interrupted = false;
  }
  _call(input_ids: bigint[][]): boolean[] {
    return input_ids.map(() => this.interrupted);
  }
}

/** What stop strings need of a tokenizer. */
export interface StopStringTokenizer {
  /** Token ids of a text. */
  encode(text: string, options?: { add_special_tokens?: boolean }): number[];
  /** The text of token ids. */
  decode(
    ids: readonly number[],
    options?: { skip_special_tokens?: boolean; clean_up_tokenization_spaces?: boolean },
  ): string;
  /** The bytes of a token that stands for bytes. */
  token_bytes?(id: number): Uint8Array | undefined;
  /** A token by id; undefined for an id that is none. */
  id_to_token?(id: number): string | undefined;
}

// Text that a token follows, so that decoders do not treat the token as the first of its text.
const prefix = 'abcdef';

const encoder = new TextEncoder();

/** Bytes as a string of as many characters. */
const textOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');

/** Stands for an id that is no token's: it is no byte, so that no string goes on over it. */
const nothing = '\u0100';

/**
 * Ends a row when one of the strings ends within its last token; the string may begin in any earlier one. Strings and tokens
 * are compared as bytes, because a character may be spread over tokens.
 */
export class StopStringCriteria extends StoppingCriteria {
  private readonly strings: string[];
  private readonly longest: number;
  private readonly pieces = new Map<bigint, string>();
  private readonly prefixIds: number[];

  constructor(
    private readonly tokenizer: StopStringTokenizer,
    stop_strings: string | readonly string[],
  ) {
    super();
    const strings: unknown[] = [stop_strings].flat();
    this.strings = strings.map((s) => {
      if (typeof s === 'string' && s.length > 0) return textOf(encoder.encode(s));
      throw new ModelcError('input', '`stop_strings` must be texts, none of them empty');
    });
    if (this.strings.length === 0) throw new ModelcError('input', '`stop_strings` must not be empty');
    this.longest = Math.max(...this.strings.map((s) => s.length));
    this.prefixIds = tokenizer.encode(prefix, { add_special_tokens: false });
  }

  _call(input_ids: bigint[][]): boolean[] {
    return input_ids.map((ids) => {
      if (ids.length === 0) return false;
      const last = this.piece(ids[ids.length - 1]);
      let text = last;
      for (let i = ids.length - 2; i >= 0 && text.length < this.longest + last.length; i--) {
        text = this.piece(ids[i]) + text;
      }
      return this.strings.some((s) => {
        const at = text.lastIndexOf(s);
        return at >= 0 && at + s.length > text.length - last.length;
      });
    });
  }

  /** The bytes that a token adds. */
  private piece(id: bigint): string {
    let piece = this.pieces.get(id);
    if (piece === undefined) {
      piece = this.bytesOf(Number(id));
      this.pieces.set(id, piece);
    }
    return piece;
  }

  private bytesOf(id: number): string {
    const { tokenizer } = this;
    if (tokenizer.id_to_token && tokenizer.id_to_token(id) === undefined) return nothing;
    const bytes = tokenizer.token_bytes?.(id);
    if (bytes) return textOf(bytes);
    const text = tokenizer.decode([...this.prefixIds, id], {
      skip_special_tokens: false,
      clean_up_tokenization_spaces: false,
    });
    return textOf(encoder.encode(text.slice(text.indexOf(prefix) + prefix.length)));
  }
}
