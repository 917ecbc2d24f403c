// A static file server for pages that use WebGPU, on the loopback interface only: the files that one folder has when it
// starts, by ranges of bytes (a broken download of weights resumes where it ended), with the headers that isolate the page
// from other origins.
import { createServer, type RequestListener, type Server } from 'node:http';
import sirv from 'sirv';

const isolation = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'x-content-type-options': 'nosniff',
};

/** Answers with the files of a folder but the hidden ones; etags let a browser ask whether what it has is still right. */
export function serveFolder(folder: string): RequestListener {
  const answer = sirv(folder, { etag: true, maxAge: 0 });
  return (request, response) => {
    response.setHeaders(new Map(Object.entries(isolation)));
    answer(request, response);
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
