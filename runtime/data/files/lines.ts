// The lines of a text file, read while they are used. Files may be compressed by gzip (name.gz). Lines come in the groups
// in which the file arrives, because a promise for each line would take longer than the reading.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
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
  await requireFile(path);
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

/** Refuses what is no file: reading a pipe that nobody writes to would never end. */
export async function requireFile(path: string): Promise<void> {
  const found = await stat(path).catch((cause: unknown) => {
    throw unreadable(path, cause);
  });
  if (found.isFile()) return;
  throw new ModelcError(
    'input',
    `${path} cannot be read: it is ${found.isDirectory() ? 'a folder' : 'no regular file'}`,
  );
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

/** Characters of a line, or of a file that is read whole: beyond, engines have no strings. */
const longest = 2 ** 28;

const tooLong = (path: string, where: string): ModelcError =>
  new ModelcError('parse', `${path}${where} has more than ${longest} characters; part it into shorter lines or files`);

/** The lines of a file without their ends. A last line end starts no further line. */
export async function* linesOfFile(path: string): AsyncGenerator<Line[]> {
  /** The pieces of a line that has not ended yet. */
  let pieces: string[] = [];
  let length = 0;
  let number = 0;
  const line = (text: string): Line => ({ text: text.endsWith('\r') ? text.slice(0, -1) : text, number: ++number });
  for await (const text of textOfFile(path)) {
    const parts = text.split('\n');
    length = parts.length > 1 ? 0 : length + text.length;
    if (length > longest) throw tooLong(path, ` line ${number + 1}`);
    const rest = parts.pop() ?? '';
    if (parts.length > 0) {
      parts[0] = pieces.join('') + parts[0];
      pieces = [];
      length = rest.length;
      yield parts.map(line);
    }
    pieces.push(rest);
  }
  const last = pieces.join('');
  if (last !== '') yield [line(last)];
}

export async function wholeText(path: string): Promise<string> {
  const pieces: string[] = [];
  let length = 0;
  for await (const piece of textOfFile(path)) {
    length += piece.length;
    if (length > longest) throw tooLong(path, '');
    pieces.push(piece);
  }
  return pieces.join('');
}
