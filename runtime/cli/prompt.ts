// The prompt of the command line: an argument, or with `-` what comes on standard input.
import { addAbortSignal } from 'node:stream';
import { ModelcError } from '../../ir/error.ts';
import { progress } from './output.ts';

/** Bytes that standard input may have. */
const limit = 16 * 2 ** 20;

/** The text of `-p`. Throws ModelcError 'input' where standard input holds no text. */
export async function readPrompt(given: string, signal: AbortSignal): Promise<string> {
  if (given !== '-') return given;
  if (process.stdin.isTTY) progress('type the prompt; Ctrl-D at the beginning of a line ends it');
  const text = decode(await readInput(signal));
  if (text === '')
    throw new ModelcError('input', "standard input is empty: pipe a text to -p -, or give one as -p 'text'");
  return text;
}

async function readInput(signal: AbortSignal): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of addAbortSignal(signal, process.stdin) as AsyncIterable<Buffer>) {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > limit) {
        throw new ModelcError(
          'input',
          `the prompt on standard input is longer than ${limit} bytes; give a shorter text`,
        );
      }
    }
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof ModelcError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ModelcError('input', `standard input cannot be read (${why}); give the prompt as -p 'text'`, { cause });
  }
  return Buffer.concat(pieces);
}

/** Text without the newline that ends its last line. */
function decode(bytes: Buffer): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (!text.includes('\0')) return text.replace(/\r?\n$/, '');
  } catch {
    // said below
  }
  throw new ModelcError('input', 'standard input is no text in UTF-8; pipe the text that is to be continued to -p -');
}
