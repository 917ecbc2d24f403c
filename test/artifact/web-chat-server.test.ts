// The file server of examples/web-chat: its headers, the ranges and validators that loaders use, and that nothing outside of
// its folder, and nothing hidden, can be had.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type IncomingHttpHeaders, request, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { listen, serveFolder } from '../../examples/web-chat/server.ts';

let scratch = '';
let server: Server | undefined;
let url = '';
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'modelc-server-'));
  const site = join(scratch, 'site');
  mkdirSync(join(site, 'model'), { recursive: true });
  writeFileSync(join(scratch, 'secret.txt'), 'secret');
  writeFileSync(join(site, '.hidden'), 'secret');
  writeFileSync(join(site, 'index.html'), '<!doctype html>');
  writeFileSync(join(site, 'empty.json'), '');
  writeFileSync(join(site, 'model', 'index.js'), 'export {}');
  writeFileSync(join(site, 'model', 'weights 1.safetensors'), '0123456789');
  mkdirSync(join(scratch, 'site-twin'));
  writeFileSync(join(scratch, 'site-twin', 'index.html'), 'secret');
  ({ server, url } = await listen(serveFolder(site)));
});
afterAll(() => {
  server?.close();
  rmSync(scratch, { recursive: true, force: true });
});

interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Sends a path as it is: `fetch` would normalize it. */
function get(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = request({ hostname, port, path, headers, method, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
    });
    sent.on('error', reject).end();
  });
}

test('files have the types that browsers insist on, and headers that isolate the page', async () => {
  const page = await get('/');
  expect(page).toMatchObject({ status: 200, body: '<!doctype html>' });
  expect(page.headers).toMatchObject({
    'content-type': 'text/html;charset=utf-8',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'x-content-type-options': 'nosniff',
  });
  expect((await get('/model/index.js?attempt=2')).headers['content-type']).toBe('text/javascript');
  expect((await get('/empty.json')).body).toBe('');
  const head = await get('/model/weights%201.safetensors', {}, 'HEAD');
  expect(head).toMatchObject({ status: 200, body: '' });
  expect(head.headers).toMatchObject({ 'content-length': '10' });
});

test.each([
  ['bytes=0-3', 206, '0123', 'bytes 0-3/10'],
  ['bytes=4-', 206, '456789', 'bytes 4-9/10'],
  ['bytes=8-99', 206, '89', 'bytes 8-9/10'],
  ['bytes=10-', 416, '', 'bytes */10'],
])('range %s', async (range, status, body, contentRange) => {
  const answer = await get('/model/weights%201.safetensors', { range });
  expect(answer).toMatchObject({ status, body });
  expect(answer.headers['content-range']).toBe(contentRange);
});

test('an unchanged file is not sent again', async () => {
  const path = '/model/weights%201.safetensors';
  const { etag, 'cache-control': cacheControl } = (await get(path)).headers;
  expect(cacheControl).toContain('must-revalidate');
  expect(await get(path, { 'if-none-match': String(etag) })).toMatchObject({ status: 304, body: '' });
});

test.each([
  '/missing.js',
  '/model',
  '/model/',
  '/.hidden',
  '/../secret.txt',
  '/%2e%2e/secret.txt',
  '/..%2fsecret.txt',
  '/..%5csecret.txt',
  '/model/..%2f..%2fsecret.txt',
  '/..%2fsite-twin/index.html',
  '/index.html%00.js',
  '/%zz',
  '//secret.txt',
  'http://elsewhere/../secret.txt',
])('%s does not exist', async (path) => {
  const answer = await get(path);
  expect(answer.status).toBe(404);
  expect(answer.body).not.toContain('secret');
});
