// Answers requests over HTTP with a file: the content types that browsers insist on, validators, and byte ranges, by which
// loaders read weights and resume broken downloads. Files are streamed and never held in memory.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname } from 'node:path';
import { pipeline } from 'node:stream';

const contentTypes: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.wgsl': 'text/plain; charset=utf-8',
};

/** Answers GET and HEAD with the file at `path`, if there is one. All answers have `headers`. */
export async function serveFile(
  path: string | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  const refuse = (status: number, text: string, more: Readonly<Record<string, string>> = {}): void => {
    response.writeHead(status, { ...headers, 'content-type': 'text/plain; charset=utf-8', ...more });
    response.end(`${text}\n`);
  };
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return refuse(405, 'only GET and HEAD are served', { allow: 'GET, HEAD' });
  }
  const file = path === undefined ? undefined : await stat(path).catch(() => undefined);
  if (path === undefined || !file?.isFile()) return refuse(404, 'there is no such file');

  const etag = `"${file.size.toString(16)}-${Math.trunc(file.mtimeMs).toString(16)}"`;
  const found = {
    ...headers,
    'content-type': contentTypes[extname(path)] ?? 'application/octet-stream',
    'accept-ranges': 'bytes',
    'cache-control': 'no-cache',
    etag,
  };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, found).end();
    return;
  }
  // a range of a file that has changed since is not what the client wants
  const fresh = (request.headers['if-range'] ?? etag) === etag;
  const range = fresh ? parseRange(request.headers.range, file.size) : 'whole';
  if (range === 'unsatisfiable') {
    return refuse(416, 'the file is shorter', { 'content-range': `bytes */${file.size}` });
  }
  const { first, last } = range === 'whole' ? { first: 0, last: file.size - 1 } : range;
  response.writeHead(range === 'whole' ? 200 : 206, {
    ...found,
    'content-length': last - first + 1,
    ...(range === 'whole' ? {} : { 'content-range': `bytes ${first}-${last}/${file.size}` }),
  });
  if (request.method === 'HEAD' || file.size === 0) response.end();
  else pipeline(createReadStream(path, { start: first, end: last }), response, () => undefined);
}

/** Positions of the first and the last byte. */
interface Range {
  readonly first: number;
  readonly last: number;
}

/** One range of bytes, as RFC 9110 section 14 defines it; several at once are answered with the whole file. */
function parseRange(header: string | undefined, size: number): Range | 'whole' | 'unsatisfiable' {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return 'whole';
  const suffix = match[1] === '';
  const first = suffix ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const last = suffix || match[2] === '' ? size - 1 : Math.min(size - 1, Number(match[2]));
  if (!suffix && match[2] !== '' && Number(match[2]) < first) return 'whole'; // not a valid range
  return first > last ? 'unsatisfiable' : { first, last };
}
