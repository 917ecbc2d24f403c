// The text of a generation in pieces that, joined, are exactly what the generation adds to its prompt.
// What an id reads depends on those before it: a tokenizer may drop a space at the beginning of a text, and a character
// may be spread over several ids. So each step decodes the ids of a window twice, without and with the new ids, and the
// piece is the difference; a piece that ends inside of a character waits for the next step. The window starts where the
// last piece but one ended, so that the work of a step does not grow with the text.
import { AsyncQueue, BaseStreamer, type StreamTokenizer } from '../generation/streamers.ts';

export class Pieces extends BaseStreamer implements AsyncIterable<string> {
  private readonly queue = new AsyncQueue<string>();
  /** Ids of the window; the first `read` of them have been given out, or belong to the prompt. */
  private ids: number[] = [];
  private read = 0;
  private inPrompt = true;

  constructor(
    private readonly tokenizer: StreamTokenizer | undefined,
    private readonly onTokens?: (ids: number[]) => void,
  ) {
    super();
  }

  put([row]: bigint[][]): void {
    const ids = row.map(Number);
    this.ids.push(...ids);
    if (this.inPrompt) {
      this.read = this.ids.length;
      this.inPrompt = false;
      return;
    }
    this.onTokens?.(ids);
    this.emit(false);
  }

  end(): void {
    this.emit(true);
    this.queue.end();
  }

  /** Makes the reader's loop throw. */
  fail(error: unknown): void {
    this.queue.fail(error);
  }

  [Symbol.asyncIterator](): AsyncIterator<string> {
    return this.queue[Symbol.asyncIterator]();
  }

  private emit(all: boolean): void {
    const { tokenizer } = this;
    if (!tokenizer) return;
    const decode = (ids: readonly number[]): string => tokenizer.decode(ids, { skip_special_tokens: true });
    const text = decode(this.ids);
    const piece = text.slice(decode(this.ids.slice(0, this.read)).length);
    // U+FFFD stands for a character whose other bytes are still to come
    if (piece === '' || (text.endsWith('\uFFFD') && !all)) return;
    this.queue.push(piece);
    this.ids = this.ids.slice(this.read);
    this.read = this.ids.length;
  }
}
