// What tests of pages share: headless Chromium with WebGPU on its software adapter, and a site whose traffic is counted
// and whose connections can be made to break.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import type { RequestListener, Server } from 'node:http';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { listen, serveFolder } from '../../examples/web-chat/server.ts';
import type { DownloadTable } from '../../runtime/artifact/download-table.ts';
import { editManifest } from './manifest.ts';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** Why there is no browser here; '' if there is one. */
export const noBrowser = existsSync(executablePath) ? '' : ` (skipped: there is no ${executablePath})`;

const quiet = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update'];
const software = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

/** Without `webgpu`, pages find no graphics adapter. */
export const launch = ({ webgpu }: { webgpu: boolean }): Promise<Browser> =>
  chromium.launch({ executablePath, args: ['--no-sandbox', ...quiet, ...(webgpu ? software : [])] });

/**
 * Makes the chunks of an artifact smaller, so that even a tiny model has many. Gives the number of bytes that a browser
 * whose adapter has `features` downloads in chunks: all but the code of the variants that it does not run.
 */
export async function rechunk(artifact: string, chunkBytes: number, features: readonly string[]): Promise<number> {
  const path = join(artifact, 'program.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as {
    weights: DownloadTable;
    variants: { code: string; requires: { features: string[] } }[];
  };
  const files = manifest.weights.files.map(({ name }) => {
    const bytes = readFileSync(join(artifact, name));
    const digests = Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, i) => {
      const chunk = bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes);
      return createHash('sha256').update(chunk).digest('hex');
    });
    return { name, bytes: bytes.length, digests };
  });
  await editManifest(artifact, (m) => ({ ...m, weights: { ...manifest.weights, chunkBytes, files } }));
  const { variants } = manifest;
  const used = variants.find(({ requires }) => requires.features.every((f) => features.includes(f)))?.code;
  const unused = new Set(variants.map(({ code }) => code).filter((code) => code !== used));
  return files.reduce((sum, { name, bytes }) => sum + (unused.has(name) ? 0 : bytes), 0);
}

/** An answer with a range of a file. */
export interface RangeAnswer {
  readonly range: string;
  /** Bytes of it that were sent. */
  bytes: number;
  isWhole: boolean;
}

/** Serves a folder, and keeps a record of the ranges that are sent: of the files that a model downloads in chunks. */
export class Site {
  url = '';
  answers: RangeAnswer[] = [];
  /** How many more bytes of ranges are sent before every connection that asks for one breaks. */
  budget = Number.POSITIVE_INFINITY;
  private server: Server | undefined;

  async open(folder: string): Promise<void> {
    ({ server: this.server, url: this.url } = await listen(this.watched(serveFolder(folder))));
  }

  close(): void {
    this.server?.closeAllConnections();
    this.server?.close();
  }

  get bytes(): number {
    return this.answers.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  private watched(serve: RequestListener): RequestListener {
    return (request, response) => {
      const { range } = request.headers;
      if (range === undefined) return serve(request, response);
      const answer: RangeAnswer = { range, bytes: 0, isWhole: false };
      this.answers.push(answer);
      let isBroken = false;
      const write = response.write.bind(response) as (chunk: Uint8Array) => boolean;
      response.write = ((chunk: Uint8Array): boolean => {
        const sent = chunk.subarray(0, this.budget);
        this.budget -= sent.length;
        answer.bytes += sent.length;
        const goesOn = write(sent);
        if (sent.length < chunk.length) {
          isBroken = true;
          request.socket.destroySoon();
        }
        return goesOn;
      }) as typeof response.write;
      response.on('finish', () => (answer.isWhole = !isBroken));
      serve(request, response);
    };
  }
}
