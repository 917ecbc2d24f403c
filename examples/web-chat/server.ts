// A static file server for pages that use WebGPU, on the loopback interface only: files of one folder, by ranges of bytes (a
// broken download of weights resumes where it ended), with the headers that isolate the page from other origins. Hidden
// files, and links that lead out of the folder, do not exist for it.
import { realpath } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { join, sep } from 'node:path';
import { serveFile } from '../../runtime/plugin/serve.ts';

const isolation = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
};

/** Answers GET and HEAD with the files of a folder. */
export function serveFolder(folder: string): RequestListener {
  return (request, response) => {
    resolvePath(folder, request.url ?? '/')
      .then((path) => serveFile(path, request, response, isolation))
      .catch(() => response.destroy());
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
