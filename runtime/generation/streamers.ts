// Streamers: receive the ids of a generation as they come. TextStreamer emits text by the rules of transformers' class of
// that name, with the options of transformers.js's; TextIteratorStreamer is read with `for await`.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';

/** Gets the ids of a generation as they come: a class to extend. */
export abstract class BaseStreamer {
  /** The prompt first (a row per sequence), then the new ids of each step. */
  abstract put(value: bigint[][]): void;
  /** The generation has ended. */
  abstract end(): void;
}

/** What a streamer needs of a tokenizer. */
export interface StreamTokenizer {
  decode(ids: readonly number[], options?: DecodeOptions): string;
}
/** How ids become text. */
export interface DecodeOptions {
  /** Leave special tokens out (false). */
  skip_special_tokens?: boolean;
  /** Whether spaces before punctuation go; default: what the tokenizer's files say. */
  clean_up_tokenization_spaces?: boolean;
}

/** Options of TextStreamer: names and defaults are those of transformers.js. */
export interface TextStreamerOptions {
  /** Leave the prompt out. */
  skip_prompt?: boolean;
  /** Default true. */
  skip_special_tokens?: boolean;
  /** Gets each non-empty piece of text; default: standard output. */
  callback_function?: ((text: string) => void) | null;
  /** Gets the ids of each step. */
  token_callback_function?: ((tokens: bigint[]) => void) | null;
  /** Further options of `tokenizer.decode`. */
  decode_kwargs?: DecodeOptions;
}

const optionNames = Object.keys({
  skip_prompt: true,
  skip_special_tokens: true,
  callback_function: true,
  token_callback_function: true,
  decode_kwargs: true,
} satisfies Record<keyof TextStreamerOptions, true>);

/**
 * Writes text as it is generated, in whole words, as transformers' class of that name does.
 *
 *     await model.generate({ ...inputs, streamer: new TextStreamer(tokenizer, { skip_prompt: true }) })
 */
export class TextStreamer extends BaseStreamer {
  private readonly skip_prompt: boolean;
  private readonly callback: ((text: string) => void) | null | undefined;
  private readonly token_callback: ((tokens: bigint[]) => void) | null | undefined;
  private readonly decodeOptions: DecodeOptions;
  private token_cache: number[] = [];
  private print_len = 0;
  private next_tokens_are_prompt = true;

  constructor(
    /** What makes text of ids. */
    readonly tokenizer: StreamTokenizer,
    options: TextStreamerOptions = {},
  ) {
    super();
    checkOptions('TextStreamer', options, optionNames, { timeout: null });
    if (typeof tokenizer?.decode !== 'function') {
      throw new ModelcError('input', 'a TextStreamer is made with a tokenizer: new TextStreamer(tokenizer)');
    }
    const { skip_prompt = false, skip_special_tokens = true, callback_function, token_callback_function } = options;
    this.skip_prompt = skip_prompt;
    this.callback = callback_function;
    this.token_callback = token_callback_function;
    this.decodeOptions = { skip_special_tokens, ...options.decode_kwargs };
  }

  put(value: bigint[][]): void {
    if (value.length > 1) throw new ModelcError('input', 'TextStreamer takes one sequence; generate with a batch of 1');
    const isPrompt = this.next_tokens_are_prompt;
    this.next_tokens_are_prompt = false;
    if (isPrompt && this.skip_prompt) return;
    this.token_callback?.(value[0]);
    for (const id of value[0]) this.token_cache.push(Number(id));
    const text = this.tokenizer.decode(this.token_cache, this.decodeOptions);
    if (text.endsWith('\n')) {
      const printable = text.slice(this.print_len);
      this.token_cache = [];
      this.print_len = 0;
      this.on_finalized_text(printable, false);
    } else {
      // A word is final once a space follows; a Chinese character is final by itself.
      const end = isChinese(text) ? text.length : text.lastIndexOf(' ') + 1;
      const printable = text.slice(this.print_len, end);
      this.print_len += printable.length;
      this.on_finalized_text(printable, false);
    }
  }

  end(): void {
    const rest =
      this.token_cache.length > 0
        ? this.tokenizer.decode(this.token_cache, this.decodeOptions).slice(this.print_len)
        : '';
    this.token_cache = [];
    this.print_len = 0;
    this.next_tokens_are_prompt = true;
    this.on_finalized_text(rest, true);
  }

  /** Receives every piece, empty ones too; `stream_end` marks the last. */
  on_finalized_text(text: string, stream_end: boolean): void {
    if (this.callback === undefined) {
      process.stdout.write(stream_end ? `${text}\n` : text);
    } else if (text.length > 0) this.callback?.(text);
  }
}

/** Code blocks of CJK ideographs, by first and last code point. */
const chineseBlocks = [
  [0x4e00, 0x9fff],
  [0x3400, 0x4dbf],
  [0x20000, 0x2a6df],
  [0x2a700, 0x2b73f],
  [0x2b740, 0x2b81f],
  [0x2b820, 0x2ceaf],
  [0xf900, 0xfaff],
  [0x2f800, 0x2fa1f],
];

/** Whether a text ends with an ideograph. */
function isChinese(text: string): boolean {
  const code = [...text.slice(-2)].at(-1)?.codePointAt(0) ?? 0;
  return chineseBlocks.some(([first, last]) => code >= first && code <= last);
}

/** A queue that is filled by a producer and read with `for await`. Leaving the loop early calls `onReturn`. */
export class AsyncQueue<T> implements AsyncIterable<T> {
  private readonly items: T[] = [];
  private ended = false;
  private failure: { readonly error: unknown } | undefined;
  private wake: (() => void) | undefined;

  constructor(private readonly onReturn?: () => void) {}

  push(item: T): void {
    this.items.push(item);
    this.wake?.();
  }
  end(): void {
    this.ended = true;
    this.wake?.();
  }
  fail(error: unknown): void {
    this.failure = { error };
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        while (this.items.length > 0) yield this.items.shift()!;
        if (this.failure) throw this.failure.error;
        if (this.ended) return;
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    } finally {
      if (!this.ended && !this.failure) this.onReturn?.();
    }
  }
}

/**
 * A TextStreamer whose pieces are read with `for await`, while `generate` runs.
 *
 *     const streamer = new TextIteratorStreamer(tokenizer, { skip_prompt: true })
 *     const ids = model.generate({ ...inputs, streamer })
 *     for await (const piece of streamer) process.stdout.write(piece)
 *     await ids
 */
export class TextIteratorStreamer extends TextStreamer implements AsyncIterable<string> {
  private readonly queue = new AsyncQueue<string>();

  override on_finalized_text(text: string, stream_end: boolean): void {
    if (text.length > 0) this.queue.push(text);
    if (stream_end) this.queue.end();
  }

  /** Makes the reader's loop throw; `generate` calls it when it fails. */
  fail(error: unknown): void {
    this.queue.fail(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<string> {
    return this.queue[Symbol.asyncIterator]();
  }
}
