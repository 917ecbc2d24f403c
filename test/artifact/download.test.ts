// Downloads of an artifact's files from servers and networks that misbehave. Budget: 5 s.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ProgressInfo } from '../../runtime/artifact/api.ts';
import { Download, type DownloadOptions } from '../../runtime/artifact/download.ts';
import { type DownloadTable, parseDownload } from '../../runtime/artifact/download-table.ts';
import { sourceOf } from '../../runtime/artifact/source.ts';
import { breakOff, type FileServer, serveFiles } from '../support/file-server.ts';
import { MemoryStore, sha256, tableOf } from '../support/memory-store.ts';

const chunkBytes = 1024;
/** Bytes that no two chunks share. */
const bytesOf = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => Math.imul(i + seed, 0x9e3779b1) >>> 13);
const files = new Map([
  ['a.json', bytesOf(100, 3)],
  ['weights.safetensors', bytesOf(20 * chunkBytes + 500, 7)],
]);
const table = tableOf(files, chunkBytes);
const everything = table.files.map(({ bytes }, file) => ({ file, offset: 0, bytes }));

let server: FileServer;
beforeEach(async () => {
  server = await serveFiles(files);
});
afterEach(() => server.close());

interface Outcome {
  readonly reports: ProgressInfo[];
  readonly error?: unknown;
}

/** Downloads everything; what arrives must be the files. */
async function download(options: Partial<DownloadOptions> = {}): Promise<Outcome> {
  const reports: ProgressInfo[] = [];
  const source = sourceOf(server.url);
  const progress = (info: ProgressInfo): void => void reports.push(info);
  const whole = new Download({ table, source, name: 'm', progress, patience: 1, ...options }, everything);
  try {
    whole.begin();
    const seen: number[] = [];
    for await (const { file, offset, bytes } of whole.chunks([0, 1])) {
      const [, content] = [...files][file];
      expect(Buffer.from(bytes).equals(content.subarray(offset, offset + bytes.length))).toBe(true);
      seen.push(file * 2 ** 20 + offset);
    }
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen).toHaveLength(22);
    await whole.end();
    return { reports };
  } catch (error) {
    return { reports, error };
  } finally {
    source.close();
  }
}

/** In the order of the file: what is asked for at once may arrive in any. */
const weightRequests = () =>
  server.requests.filter((r) => r.name === 'weights.safetensors').toSorted((a, b) => a.start - b.start);
const froms = (reports: ProgressInfo[]): string[] =>
  reports.flatMap((r) => (r.status === 'progress' && r.file === 'weights.safetensors' ? [r.from] : []));

describe('a download', () => {
  test('asks for a range per chunk and reports as transformers.js does', async () => {
    const { reports, error } = await download();
    expect(error).toBeUndefined();
    expect(weightRequests().map((r) => r.end - r.start)).toEqual([...new Array(20).fill(chunkBytes), 500]);
    const of = (file: string) => reports.filter((r) => r.file === file);
    expect(reports.slice(0, 2).map((r) => [r.status, r.file])).toEqual([
      ['initiate', 'a.json'],
      ['initiate', 'weights.safetensors'],
    ]);
    expect(of('a.json').map((r) => r.status)).toEqual(['initiate', 'download', 'progress', 'done']);
    const [, , first] = of('weights.safetensors');
    const total = 20 * chunkBytes + 500;
    expect(first).toEqual({
      status: 'progress',
      name: 'm',
      file: 'weights.safetensors',
      progress: (chunkBytes / total) * 100,
      loaded: chunkBytes,
      total,
      from: 'network',
    });
    expect(of('').map((r) => r.status)).toEqual(['ready']);
    expect(reports.at(-1)).toMatchObject({ progress: 100, loaded: total + 100, total: total + 100, from: 'network' });
  });

  test('fetches only the chunks that hold what is wanted', async () => {
    const wanted = [{ file: 1, offset: 3 * chunkBytes - 1, bytes: 2 }];
    const some = new Download({ table, source: sourceOf(server.url), name: 'm' }, wanted);
    const offsets: number[] = [];
    for await (const { offset } of some.chunks([1])) offsets.push(offset / chunkBytes);
    expect(offsets).toEqual([2, 3]);
    expect(weightRequests().map((r) => r.start / chunkBytes)).toEqual([2, 3]);
  });

  test('reads a file through where the server ignores ranges', async () => {
    server.ignoresRanges = true;
    expect((await download()).error).toBeUndefined();
    expect(weightRequests()).toHaveLength(1);
  });

  test('reads on where a connection broke, with and without ranges', async () => {
    for (const ignoresRanges of [false, true]) {
      server.ignoresRanges = ignoresRanges;
      let count = 0;
      server.tamper = (body, _, response) => (++count % 3 === 0 ? breakOff(body, response) : body);
      if (ignoresRanges) server.tamper = (body, _, response) => (++count === 2 ? breakOff(body, response) : body);
      expect((await download()).error).toBeUndefined();
    }
  });

  test('waits for a busy server', async () => {
    let count = 0;
    server.tamper = (body, _, response) => {
      if (++count > 4) return body;
      response.writeHead(503).end();
      return undefined;
    };
    expect((await download()).error).toBeUndefined();
  });

  test('goes on where an earlier one ended', async () => {
    const store = new MemoryStore();
    // by place and not by count, as ranges are asked for at the same time
    const isLost = (): boolean => (server.requests.at(-1)?.start ?? 0) >= 9 * chunkBytes;
    server.tamper = (body, name, response) =>
      name === 'weights.safetensors' && isLost() ? breakOff(body, response) : body;
    const first = await download({ store });
    expect(first.error).toMatchObject({ name: 'ModelcError', code: 'network' });
    expect(String(first.error)).toMatch(/weights\.safetensors could not be downloaded .*load\(\) again goes on/);
    expect(store.chunks.size).toBe(10);
    server.requests.length = 0;
    server.tamper = (body) => body;
    const second = await download({ store });
    expect(second.error).toBeUndefined();
    expect(weightRequests().every((r) => r.start >= 9 * chunkBytes)).toBe(true);
    expect(server.requests.every((r) => r.name !== 'a.json')).toBe(true);
    expect(froms(second.reports)).toEqual([...new Array(9).fill('cache'), ...new Array(12).fill('network')]);
    server.requests.length = 0;
    const third = await download({ store });
    expect(server.requests).toEqual([]);
    expect(third.reports.at(-1)).toMatchObject({ status: 'ready', from: 'cache' });
  });

  test('says what to do where nothing can be kept', async () => {
    server.close();
    const { error } = await download();
    expect(error).toMatchObject({ code: 'network' });
    expect(String(error)).toMatch(/a\.json could not be downloaded .*ECONNREFUSED.*call load\(\) again/);
  });

  test('fetches damaged bytes again, once', async () => {
    let damaged = 0;
    const damage = (body: Uint8Array, name: string, times: number): Uint8Array => {
      if (name === 'weights.safetensors' && damaged++ < times) body[17] ^= 1;
      return body;
    };
    server.tamper = (body, name) => damage(body, name, 1);
    expect((await download()).error).toBeUndefined();
    expect(weightRequests()).toHaveLength(22);
    damaged = 0;
    server.tamper = (body, name) => damage(body, name, Number.POSITIVE_INFINITY);
    const { error } = await download();
    expect(error).toMatchObject({ code: 'checkpoint' });
    expect(String(error)).toMatch(/weights\.safetensors is not the file that was compiled: bytes 0 to 1024 differ/);
  });

  test('verifies what was kept, and fetches it again where it is damaged', async () => {
    const store = new MemoryStore();
    await download({ store });
    const digest = table.files[1].digests[5];
    store.chunks.get(digest)![0] ^= 1;
    server.requests.length = 0;
    const { reports, error } = await download({ store });
    expect(error).toBeUndefined();
    expect(server.requests).toEqual([{ name: 'weights.safetensors', start: 5 * chunkBytes, end: 6 * chunkBytes }]);
    expect(froms(reports).indexOf('network')).toBe(5);
    expect(sha256(store.chunks.get(digest)!)).toBe(digest);
  });

  test('goes on without keeping what does not fit, and says so once', async () => {
    const store = new MemoryStore(4);
    const { reports, error } = await download({ store });
    expect(error).toBeUndefined();
    const warnings = reports.filter((r) => r.status === 'warning');
    expect(warnings).toEqual([
      { status: 'warning', name: 'm', file: '', message: expect.stringMatching(/storage of this site is full.*free/) },
    ]);
    expect(store.chunks.size).toBe(4);
  });

  test('takes the room of other versions where there is no other', async () => {
    const store = new MemoryStore(22);
    for (let i = 0; i < 20; i++) await store.put(sha256(bytesOf(10, i)), bytesOf(10, i));
    const { reports, error } = await download({ store });
    expect(error).toBeUndefined();
    expect(reports.filter((r) => r.status === 'warning')).toEqual([]);
    expect(store.chunks.size).toBe(22);
  });

  test('drops chunks of other versions only when it is complete', async () => {
    const store = new MemoryStore();
    const old = bytesOf(10, 5);
    await store.put(sha256(old), old);
    server.tamper = (_body, _name, response) => void response.writeHead(404).end();
    await download({ store });
    expect(store.chunks.has(sha256(old))).toBe(true);
    server.tamper = (body) => body;
    await download({ store });
    expect([...store.chunks.keys()].sort()).toEqual(table.files.flatMap((f) => f.digests).sort());
  });

  test('does not ask again for a file that is not there, or is too short', async () => {
    for (const [status, message] of [
      [404, /a\.json cannot be read \(HTTP 404\); upload/],
      [416, /a\.json is shorter/],
    ] as const) {
      server.requests.length = 0;
      server.tamper = (_body, _name, response) => void response.writeHead(status).end();
      const { error } = await download();
      expect(error).toMatchObject({ code: 'checkpoint' });
      expect(String(error)).toMatch(message);
      expect(server.requests).toHaveLength(1);
    }
  });

  test('takes no more than it asked for', async () => {
    server.tamper = (body, name, response) => {
      if (name === 'a.json') return body;
      response.writeHead(206); // and sends until the reader goes away
      const send = (): void => void (response.destroyed || response.write(body, () => setTimeout(send, 1)));
      send();
      return undefined;
    };
    expect((await download()).error).toBeUndefined();
  });

  test('ends when its signal fires, and keeps what it has', async () => {
    const store = new MemoryStore();
    const stop = new AbortController();
    server.tamper = (body) => {
      if (server.requests.length === 8) stop.abort();
      return body;
    };
    const { error } = await download({ store, signal: stop.signal });
    expect(error).toMatchObject({ name: 'AbortError' });
    expect(store.chunks.size).toBeGreaterThan(1);
    expect(server.requests.length).toBeLessThan(14);
  });
});

describe('a table from a server', () => {
  const broken: Record<string, (t: DownloadTable) => unknown> = {
    'that is no object': () => [],
    'with chunks of size 0': (t) => ({ ...t, chunkBytes: 0 }),
    'with huge chunks': (t) => ({ ...t, chunkBytes: 2 ** 40 }),
    'with chunks of parts of words': (t) => ({ ...t, chunkBytes: 1022 }),
    'with a path as a name': (t) => ({ ...t, files: [{ ...t.files[0], name: '../x' }] }),
    'with one name twice': (t) => ({ ...t, files: [t.files[0], t.files[0]] }),
    'with a negative size': (t) => ({ ...t, files: [{ ...t.files[0], bytes: -1, digests: [] }] }),
    'with too few digests': (t) => ({ ...t, files: [{ ...t.files[1], digests: t.files[1].digests.slice(1) }] }),
    'with a digest that is none': (t) => ({ ...t, files: [{ ...t.files[0], digests: ['00'] }] }),
    'with a weight outside of its file': (t) => ({ ...t, spans: { w: [0, 90, 11] } }),
    'with a weight in no file': (t) => ({ ...t, spans: { w: [2, 0, 1] } }),
    'with a weight at half a byte': (t) => ({ ...t, spans: { w: [0, 0.5, 1] } }),
  };
  test.each(Object.entries(broken))('%s is refused', (_, change) => {
    expect(parseDownload(change(table))).toBeUndefined();
  });
  test('that is whole is taken', () => {
    const spans = { w: [1, 0, 500] } as const;
    expect(parseDownload(JSON.parse(JSON.stringify({ ...table, spans })))).toEqual({ ...table, spans });
  });
});
