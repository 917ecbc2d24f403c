// The lines of a text file, read while they are used. Files may be compressed by gzip (name.gz). Lines come in the groups
// in which the file arrives, because a promise for each line would take longer than the reading.
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ModelcError } from '../../../ir/error.ts';

export interface Line {
  readonly text: string;
  /** Counted from 1. */
  readonly number: number;
}

/** The bytes of a file. Throws ModelcError 'input' where it cannot be read. */
export async function* bytesOfFile(path: string): AsyncGenerator<Uint8Array> {
  const file = createReadStream(path, { highWaterMark: 1 << 18 });
  const stream = path.endsWith('.gz') ? pipeline(file, createGunzip(), () => undefined) : file;
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (cause) {
    throw unreadable(path, cause);
  } finally {
    file.destroy();
  }
}

export function unreadable(path: string, cause: unknown): ModelcError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const why =
    code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : (message ?? String(cause));
  return new ModelcError('input', `${path} cannot be read: ${why}`, { cause });
}

/** The text of a file, in pieces. Throws ModelcError 'parse' where the file is not UTF-8. */
export async function* textOfFile(path: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let lines = 1;
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode();
    } catch (cause) {
      throw new ModelcError('parse', `${path} is not UTF-8 text (after line ${lines}); convert it first`, { cause });
    }
  };
  for await (const bytes of bytesOfFile(path)) {
    const text = decode(bytes);
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
    yield text;
  }
  yield decode();
}

/** The lines of a file without their ends. A last line end starts no further line. */
export async function* linesOfFile(path: string): AsyncGenerator<Line[]> {
  let rest = '';
  let number = 0;
  const line = (text: string): Line => ({ text: text.endsWith('\r') ? text.slice(0, -1) : text, number: ++number });
  for await (const text of textOfFile(path)) {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    if (parts.length > 0) yield parts.map(line);
  }
  if (rest !== '') yield [line(rest)];
}

export async function wholeText(path: string): Promise<string> {
  let text = '';
  for await (const piece of textOfFile(path)) text += piece;
  return text;
}
