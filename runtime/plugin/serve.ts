// Serves the files of one artifact over HTTP, with Range: for development servers. A loader reads weights in pieces, so
// files are streamed and never held in memory.
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join } from 'node:path';
import { pipeline } from 'node:stream';
import { isPlainName } from '../artifact/download-table.ts';

const types: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.json': 'application/json' };

/** Answers a request for the file `name` of `folder`, which there may not be. */
export async function serveFile(
  folder: string | undefined,
  name: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = join(folder ?? '', name);
  const info = folder !== undefined && isPlainName(name) ? await stat(path).catch(() => undefined) : undefined;
  if (!info?.isFile()) return end(response, 404);
  const etag = `"${info.size.toString(16)}-${info.mtimeMs.toString(16)}"`;
  const { range, 'if-range': ifRange, 'if-none-match': ifNoneMatch } = request.headers;
  response.setHeader('Content-Type', types[extname(name)] ?? 'application/octet-stream');
  response.setHeader('Cache-Control', 'no-cache');
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('ETag', etag);
  if (ifNoneMatch === etag) return end(response, 304);
  const asked =
    range !== undefined && (ifRange === undefined || ifRange === etag) ? parseRange(range, info.size) : 'all';
  if (asked === 'none') {
    response.setHeader('Content-Range', `bytes */${info.size}`);
    return end(response, 416);
  }
  const { start, end: last } = asked === 'all' ? { start: 0, end: info.size - 1 } : asked;
  if (asked !== 'all') {
    response.statusCode = 206;
    response.setHeader('Content-Range', `bytes ${start}-${last}/${info.size}`);
  }
  response.setHeader('Content-Length', last - start + 1);
  if (request.method === 'HEAD' || info.size === 0) return void response.end();
  pipeline(createReadStream(path, { start, end: last }), response, () => {}); // a reader that goes away is no failure
}

/** The bytes that a Range header asks for: both ends inclusive. Several ranges at once are answered with everything. */
function parseRange(header: string, size: number): { start: number; end: number } | 'all' | 'none' {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header);
  if (!match || (match[1] === '' && match[2] === '')) return 'all';
  const [first, last] = match.slice(1).map(Number);
  const start = match[1] === '' ? Math.max(0, size - last) : first;
  const end = match[1] === '' || match[2] === '' ? size - 1 : Math.min(last, size - 1);
  return start <= end ? { start, end } : 'none';
}

function end(response: ServerResponse, status: number): void {
  response.statusCode = status;
  response.end();
}
