// Files of an artifact, chunk by chunk: from the store, else from the source; every chunk is verified wherever it comes
// from. A few chunks are under way at once and come out in order, so memory stays bounded. What breaks is tried again a
// few times; what was verified is kept, so that a later download goes on where this one ended.
import { ModelcError } from '../../ir/error.ts';
import type { FileProgress, ProgressInfo } from './api.ts';
import type { ChunkStore } from './chunk-store.ts';
import { sha256 } from './digest.ts';
import type { DownloadFile, DownloadTable } from './download-table.ts';
import { retrying } from './retry.ts';
import type { Source } from './source.ts';

export interface DownloadOptions {
  readonly table: DownloadTable;
  readonly source: Source;
  /** Name of the artifact in reports. */
  readonly name: string;
  readonly store?: ChunkStore;
  readonly progress?: (info: ProgressInfo) => void;
  readonly signal?: AbortSignal;
  /** Milliseconds before what failed is tried again. */
  readonly patience?: number;
}

/** A piece of a file: from `offset` on. */
export interface Chunk {
  readonly file: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Which chunk of which file. */
interface Ticket {
  readonly file: number;
  readonly index: number;
}

/** Chunks under way at once. */
const inFlight = 6;

interface Report {
  loaded: number;
  readonly total: number;
  from: FileProgress['from'];
}

export class Download {
  private readonly reports: ReadonlyMap<number, Report>;
  private readonly tickets: readonly Ticket[];
  private isStoring: boolean;

  /** `wanted`: the bytes of files that are needed; whole chunks are fetched. */
  constructor(
    private readonly options: DownloadOptions,
    wanted: readonly { readonly file: number; readonly offset: number; readonly bytes: number }[],
  ) {
    const { files, chunkBytes } = options.table;
    const indices = files.map(() => new Set<number>());
    for (const { file, offset, bytes } of wanted) {
      for (let i = Math.floor(offset / chunkBytes); i * chunkBytes < offset + bytes; i++) indices[file].add(i);
    }
    this.tickets = indices.flatMap((set, file) => [...set].sort((a, b) => a - b).map((index) => ({ file, index })));
    const reports = new Map<number, Report>();
    for (const { file, index } of this.tickets) {
      const total = (reports.get(file)?.total ?? 0) + sizeOf(options.table, files[file], index);
      reports.set(file, { loaded: 0, total, from: 'cache' });
    }
    this.reports = reports;
    this.isStoring = options.store !== undefined;
  }

  /** Announces all files. */
  begin(): void {
    for (const file of this.reports.keys()) this.report('initiate', file);
  }

  /** Whole files, as text, by name. */
  async texts(files: readonly number[]): Promise<Map<string, string>> {
    const all = this.options.table.files;
    const contents = new Map(files.map((file) => [file, new Uint8Array(all[file].bytes)]));
    for await (const { file, offset, bytes } of this.chunks(files)) contents.get(file)!.set(bytes, offset);
    return new Map([...contents].map(([file, bytes]) => [all[file].name, new TextDecoder().decode(bytes)]));
  }

  /** The wanted chunks of these files, in order. */
  async *chunks(files: readonly number[]): AsyncGenerator<Chunk, void, undefined> {
    const wanted = this.tickets.filter(({ file }) => files.includes(file));
    const stop = new AbortController();
    const pending: Promise<Chunk & { readonly from: FileProgress['from'] }>[] = [];
    try {
      for (const [i, { file }] of wanted.entries()) {
        if (i === 0 || wanted[i - 1].file !== file) this.report('download', file);
        while (pending.length < inFlight && i + pending.length < wanted.length) {
          const chunk = this.fetch(wanted[i + pending.length], stop.signal);
          chunk.catch(() => undefined); // its turn to be awaited may never come
          pending.push(chunk);
        }
        const chunk = await pending.shift()!;
        const report = this.reports.get(file)!;
        report.loaded += chunk.bytes.length;
        if (chunk.from === 'network') report.from = 'network';
        this.report('progress', file, chunk.from);
        yield chunk;
        if (i + 1 === wanted.length || wanted[i + 1].file !== file) this.report('done', file);
      }
    } finally {
      stop.abort();
    }
  }

  /** Reports the end, and drops what the store has of other versions. */
  async end(): Promise<void> {
    const { store, progress, name } = this.options;
    if (store) await this.dropOthers(store).catch(() => undefined); // they do no harm
    const all = [...this.reports.values()];
    const sum = (of: (report: Report) => number): number => all.reduce((n, report) => n + of(report), 0);
    const from = all.some((report) => report.from === 'network') ? 'network' : 'cache';
    const [loaded, total] = [sum((r) => r.loaded), sum((r) => r.total)];
    progress?.({ status: 'ready', name, file: '', progress: 100, loaded, total, from });
  }

  private report(status: FileProgress['status'], file: number, from?: FileProgress['from']): void {
    const { table, progress, name } = this.options;
    const { loaded, total, from: all } = this.reports.get(file)!;
    const percent = total === 0 ? 100 : (loaded / total) * 100;
    progress?.({
      status,
      name,
      file: table.files[file].name,
      progress: percent,
      loaded,
      total,
      from: from ?? all,
    });
  }

  private async fetch(
    { file, index }: Ticket,
    stop: AbortSignal,
  ): Promise<Chunk & { readonly from: FileProgress['from'] }> {
    const { table, source } = this.options;
    const entry = table.files[file];
    const digest = entry.digests[index];
    const offset = index * table.chunkBytes;
    const kept = await this.kept(digest);
    if (kept) return { file, offset, bytes: kept, from: 'cache' };
    const size = sizeOf(table, entry, index);
    for (let attempt = 1; ; attempt++) {
      const bytes = await this.read(entry.name, offset, size, stop);
      if ((await sha256(bytes)) === digest) {
        await this.keep(digest, bytes);
        return { file, offset, bytes, from: source.isLocal ? 'cache' : 'network' };
      }
      if (attempt === 2) {
        const wayOut = source.isLocal ? 'compile the artifact again' : 'upload the whole artifact again';
        throw new ModelcError(
          'checkpoint',
          `${source.where}/${entry.name} is not the file that was compiled: bytes ${offset} to ${offset + size} differ; ${wayOut}`,
        );
      }
    }
  }

  private read(name: string, offset: number, bytes: number, stop: AbortSignal): Promise<Uint8Array> {
    const { source, signal, patience } = this.options;
    const either = signal ? AbortSignal.any([signal, stop]) : stop;
    const wayOut = (): string => (this.isStoring ? 'load() again goes on where this ended' : 'call load() again');
    return retrying(() => source.read(name, offset, bytes, either), {
      stop,
      wayOut,
      ...(signal ? { signal } : {}),
      ...(patience === undefined ? {} : { patience }),
    });
  }

  /** The chunk from the store, if it is sound. */
  private async kept(digest: string): Promise<Uint8Array | undefined> {
    const bytes = await this.options.store?.get(digest).catch(() => undefined);
    return bytes && (await sha256(bytes)) === digest ? bytes : undefined;
  }

  /** Keeps a chunk; where there is no room, first in place of other versions' chunks, then not at all. */
  private async keep(digest: string, bytes: Uint8Array): Promise<void> {
    const { store, progress, name } = this.options;
    if (!store || !this.isStoring) return;
    try {
      await store.put(digest, bytes).catch(async () => {
        await this.dropOthers(store);
        await store.put(digest, bytes);
      });
    } catch (error) {
      if (!this.isStoring) return;
      this.isStoring = false;
      const isFull = error instanceof Error && error.name === 'QuotaExceededError';
      const why = isFull ? 'the storage of this site is full' : `the storage of this site fails (${String(error)})`;
      const message = `${why}: the model works, but the next load downloads again what does not fit; free some space`;
      progress?.({ status: 'warning', name, file: '', message });
    }
  }

  /** Drops what the store has of other versions. */
  private dropOthers(store: ChunkStore): Promise<void> {
    return store.retain(new Set(this.options.table.files.flatMap((f) => f.digests)));
  }
}

const sizeOf = ({ chunkBytes }: DownloadTable, { bytes }: DownloadFile, index: number): number =>
  Math.min(chunkBytes, bytes - index * chunkBytes);
