// An HTTP server of files in memory that can be made to misbehave in the ways that servers and networks do.
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FileServer {
  readonly url: URL;
  /** What was asked for: name, and first byte and end of a range. */
  readonly requests: { readonly name: string; readonly start: number; readonly end: number }[];
  /** Answers with the whole file, as servers without ranges do. */
  ignoresRanges: boolean;
  /** Changes what is about to be sent, or sends it otherwise and gives undefined. */
  tamper: (body: Uint8Array, name: string, response: ServerResponse) => Uint8Array | undefined;
  close(): void;
}

export async function serveFiles(files: ReadonlyMap<string, Uint8Array>): Promise<FileServer> {
  const server = createServer((request, response) => {
    const name = decodeURIComponent((request.url ?? '').slice(1));
    const file = files.get(name);
    if (!file) return response.writeHead(404).end();
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const [start, end] = range ? [Number(range[1]), Math.min(file.length, Number(range[2]) + 1)] : [0, file.length];
    self.requests.push({ name, start, end });
    const isPart = range !== null && !self.ignoresRanges;
    const body = self.tamper(isPart ? file.slice(start, end) : file.slice(), name, response);
    if (!body) return undefined;
    const partHeaders = isPart ? { 'Content-Range': `bytes ${start}-${end - 1}/${file.length}` } : {};
    response.writeHead(isPart ? 206 : 200, { 'Content-Length': body.length, ...partHeaders });
    return response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const self: FileServer = {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`),
    requests: [],
    ignoresRanges: false,
    tamper: (body) => body,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return self;
}

/** Sends half of a body, then breaks the connection. */
export function breakOff(body: Uint8Array, response: ServerResponse): undefined {
  response.writeHead(206, { 'Content-Length': body.length });
  response.write(body.subarray(0, body.length >> 1), () => response.destroy());
  return undefined;
}
