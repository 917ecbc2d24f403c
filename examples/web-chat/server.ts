// A static file server for pages that use WebGPU, on the loopback interface only: files of one folder, with the content
// types that browsers insist on, byte ranges (a broken download of weights resumes where it ended), and the headers that
// isolate the page from other origins. Hidden files, and links that lead out of the folder, do not exist for it.
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { extname, join, sep } from 'node:path';
import { pipeline } from 'node:stream';

const contentTypes: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.wgsl': 'text/plain; charset=utf-8',
};

const isolation = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
};

/** Answers GET and HEAD with the files of a folder. */
export function serveFolder(folder: string): RequestListener {
  return (request, response) => {
    answer(folder, request, response).catch(() => {
      if (response.headersSent) response.destroy();
      else refuse(response, 500, 'the file cannot be read');
    });
  };
}

/** Listens on the loopback interface; port 0 takes a free one. */
export function listen(listener: RequestListener, port = 0): Promise<{ server: Server; url: string }> {
  const server = createServer(listener);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      resolve({ server, url: `http://localhost:${typeof address === 'object' ? address?.port : port}/` });
    });
  });
}

async function answer(folder: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return refuse(response, 405, 'only GET and HEAD are served', { allow: 'GET, HEAD' });
  }
  const path = await resolvePath(folder, request.url ?? '/');
  const file = path === undefined ? undefined : await stat(path);
  if (path === undefined || !file?.isFile()) return refuse(response, 404, 'there is no such file');

  const etag = `"${file.size.toString(16)}-${Math.trunc(file.mtimeMs).toString(16)}"`;
  const headers = {
    ...isolation,
    'content-type': contentTypes[extname(path)] ?? 'application/octet-stream',
    'accept-ranges': 'bytes',
    'cache-control': 'no-cache',
    etag,
  };
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, headers).end();
    return;
  }
  // a range of a file that has changed since is not what the client wants
  const fresh = (request.headers['if-range'] ?? etag) === etag;
  const range = fresh ? parseRange(request.headers.range, file.size) : 'whole';
  if (range === 'unsatisfiable') {
    return refuse(response, 416, 'the file is shorter', { 'content-range': `bytes */${file.size}` });
  }
  const { first, last } = range === 'whole' ? { first: 0, last: file.size - 1 } : range;
  response.writeHead(range === 'whole' ? 200 : 206, {
    ...headers,
    'content-length': last - first + 1,
    ...(range === 'whole' ? {} : { 'content-range': `bytes ${first}-${last}/${file.size}` }),
  });
  if (request.method === 'HEAD' || file.size === 0) response.end();
  else pipeline(createReadStream(path, { start: first, end: last }), response, () => undefined);
}

/** The real path of what a URL names inside of the folder; undefined if there is nothing of that name. */
async function resolvePath(folder: string, url: string): Promise<string | undefined> {
  try {
    const [before, ...parts] = decodeURIComponent(url.replace(/[?#].*/s, '')).split('/');
    const file = parts.pop() || 'index.html';
    const strange = (part: string): boolean => part === '' || part.startsWith('.') || /[\\\0]/.test(part);
    if (before !== '' || [...parts, file].some(strange)) return undefined;
    const root = await realpath(folder);
    const path = await realpath(join(root, ...parts, file));
    return path.startsWith(root + sep) ? path : undefined;
  } catch {
    return undefined; // a malformed URL, or no such file
  }
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

/** Positions of the first and the last byte. */
interface Range {
  readonly first: number;
  readonly last: number;
}

function refuse(response: ServerResponse, status: number, text: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...isolation, 'content-type': 'text/plain; charset=utf-8', ...headers });
  response.end(`${text}\n`);
}
