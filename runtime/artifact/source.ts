// Where an artifact's files are read from, piece by piece: a web server or, in Node, a folder. Servers that ignore the
// Range header send a file from its start: it is then read through, once, while pieces are asked for in order.
import { nodeFiles } from '../../backends/node-modules.ts';
import { ModelcError } from '../../ir/error.ts';

export interface Source {
  /** The folder, for messages: a URL or a path. */
  readonly where: string;
  readonly isLocal: boolean;
  /** A whole file as text, undefined if there is none. Throws as `read` does. */
  text(file: string, signal?: AbortSignal): Promise<string | undefined>;
  /**
   * Exactly these bytes of a file. Throws ModelcError 'network' when trying again may help, 'checkpoint' when the file is
   * not there or ends too early.
   */
  read(file: string, offset: number, bytes: number, signal?: AbortSignal): Promise<Uint8Array>;
  /** Ends requests that are still open. */
  close(): void;
}

/** The source of a folder's URL, which ends in a slash. */
export const sourceOf = (url: URL): Source => (url.protocol === 'file:' ? new FolderSource(url) : new HttpSource(url));

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

type Handle = Awaited<ReturnType<Awaited<ReturnType<typeof nodeFiles>>['open']>>;

/**
 * Opens a file in a folder of this machine for `use`. Throws ModelcError 'checkpoint' where it cannot be read or is no
 * file: neither a pipe nor a device may hold the reader.
 */
export async function openLocal<T>(
  folder: string,
  name: string,
  use: (file: Handle, size: number) => Promise<T>,
): Promise<T> {
  const path = `${folder}/${name}`;
  const { open, constants } = await nodeFiles();
  try {
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      const info = await file.stat();
      if (!info.isFile()) throw new Error('it is no file');
      return await use(file, info.size);
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof ModelcError) throw cause;
    throw new ModelcError(
      'checkpoint',
      `${path} cannot be read (${reason(cause)}); copy the artifact again, or compile it again`,
      { cause },
    );
  }
}

const isAbsent = (error: unknown): boolean =>
  error instanceof ModelcError &&
  error.cause instanceof Error &&
  'code' in error.cause &&
  error.cause.code === 'ENOENT';

class FolderSource implements Source {
  readonly where: string;
  readonly isLocal = true;

  constructor(url: URL) {
    this.where = decodeURIComponent(url.pathname).replace(/\/$/, '');
  }

  async text(name: string): Promise<string | undefined> {
    try {
      return await openLocal(this.where, name, (file) => file.readFile('utf8'));
    } catch (cause) {
      if (isAbsent(cause)) return undefined;
      throw cause;
    }
  }

  async read(name: string, offset: number, bytes: number): Promise<Uint8Array> {
    return openLocal(this.where, name, async (file) => {
      const out = new Uint8Array(bytes);
      for (let at = 0; at < bytes; ) {
        const { bytesRead } = await file.read(out, at, bytes - at, offset + at);
        if (bytesRead === 0) throw new Error(`it ends before byte ${offset + bytes}`);
        at += bytesRead;
      }
      return out;
    });
  }

  close(): void {}
}

/** Milliseconds without a byte after which a connection counts as broken. */
const stallMilliseconds = 30_000;
const stopIfStalled = (stop: AbortController): ReturnType<typeof setTimeout> =>
  setTimeout(() => stop.abort(new Error('the server sends nothing')), stallMilliseconds);

/** The bytes of an answer from `position` on. */
class Body {
  private rest = new Uint8Array(0);

  constructor(
    public position: number,
    private readonly reader: ReadableStreamDefaultReader<Uint8Array>,
    private readonly stop: AbortController,
  ) {}

  /** The bytes from `offset`, which must not lie before `position`; fewer where the answer ends. */
  async take(offset: number, bytes: number): Promise<Uint8Array> {
    const out = new Uint8Array(bytes);
    const end = offset + bytes;
    while (this.position < end) {
      const piece = this.rest.length > 0 ? this.rest : await this.next();
      if (!piece) return out.subarray(0, Math.max(0, this.position - offset));
      const used = Math.min(piece.length, end - this.position);
      const skipped = Math.min(used, Math.max(0, offset - this.position));
      if (used > skipped) out.set(piece.subarray(skipped, used), this.position + skipped - offset);
      this.position += used;
      this.rest = piece.slice(used);
    }
    return out;
  }

  private async next(): Promise<Uint8Array | undefined> {
    const stall = stopIfStalled(this.stop);
    try {
      const { value, done } = await this.reader.read();
      return done ? undefined : value;
    } finally {
      clearTimeout(stall);
    }
  }

  /** Takes note of the end, so that the connection can be used again. */
  async finish(): Promise<void> {
    if (this.rest.length > 0 || (await this.next())) this.close();
  }

  close(): void {
    this.stop.abort();
    void this.reader.cancel().catch(() => undefined);
  }
}

class HttpSource implements Source {
  readonly where: string;
  readonly isLocal = false;
  /** Whether an answer has shown that the server serves ranges. */
  private servesRanges = false;
  /** The file that a server without ranges is sending. */
  private sending: { readonly file: string; readonly body: Body } | undefined;
  private turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly url: URL) {
    this.where = url.href.replace(/\/$/, '');
  }

  async text(file: string, signal?: AbortSignal): Promise<string | undefined> {
    try {
      const response = await fetch(new URL(file, this.url), { cache: 'no-cache', ...(signal ? { signal } : {}) });
      if (response.status === 404) return undefined;
      if (!response.ok) throw refusal(this.where, file, response);
      return await response.text();
    } catch (cause) {
      signal?.throwIfAborted();
      throw this.broken(file, cause);
    }
  }

  /** Until it is known that the server serves ranges, reads take turns. */
  read(file: string, offset: number, bytes: number, signal?: AbortSignal): Promise<Uint8Array> {
    if (this.servesRanges) return this.readNow(file, offset, bytes, signal);
    const result = this.turn.then(() => this.readNow(file, offset, bytes, signal));
    this.turn = result.catch(() => undefined);
    return result;
  }

  private async readNow(file: string, offset: number, bytes: number, signal?: AbortSignal): Promise<Uint8Array> {
    let body = this.claim(file, offset);
    try {
      body ??= await this.request(file, offset, bytes, signal);
      const piece = await body.take(offset, bytes);
      if (piece.length < bytes) throw new Error(`the answer ends ${bytes - piece.length} bytes early`);
      if (this.servesRanges) await body.finish();
      else this.sending = { file, body };
      return piece;
    } catch (cause) {
      body?.close();
      signal?.throwIfAborted();
      throw this.broken(file, cause);
    }
  }

  /** The open answer, if it can go on at `offset` of the file. */
  private claim(file: string, offset: number): Body | undefined {
    const { sending } = this;
    this.sending = undefined;
    if (sending?.file === file && sending.body.position <= offset) return sending.body;
    sending?.body.close();
    return undefined;
  }

  private async request(file: string, offset: number, bytes: number, signal?: AbortSignal): Promise<Body> {
    const stop = new AbortController();
    const stall = stopIfStalled(stop);
    const response = await fetch(new URL(file, this.url), {
      headers: { Range: `bytes=${offset}-${offset + bytes - 1}` },
      cache: 'no-store', // what is verified is kept elsewhere
      signal: signal ? AbortSignal.any([signal, stop.signal]) : stop.signal,
    }).finally(() => clearTimeout(stall));
    if (!response.ok || !response.body) {
      stop.abort();
      throw refusal(this.where, file, response);
    }
    if (response.status === 206) this.servesRanges = true;
    return new Body(response.status === 206 ? offset : 0, response.body.getReader(), stop);
  }

  private broken(file: string, cause: unknown): ModelcError {
    if (cause instanceof ModelcError) return cause;
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : reason(cause);
    return new ModelcError('network', `${this.where}/${file} could not be downloaded (${why})`, { cause });
  }

  close(): void {
    this.sending?.body.close();
    this.sending = undefined;
  }
}

/** An answer that is no file. */
function refusal(where: string, file: string, { status }: Response): ModelcError {
  const mayPass = status >= 500 || status === 408 || status === 429;
  if (mayPass) return new ModelcError('network', `${where}/${file} could not be downloaded (HTTP ${status})`);
  const what = status === 416 ? 'is shorter than it was compiled' : `cannot be read (HTTP ${status})`;
  return new ModelcError('checkpoint', `${where}/${file} ${what}; upload the whole artifact again`);
}
