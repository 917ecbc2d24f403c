// A store of chunks in memory, in place of a browser's.
import { createHash } from 'node:crypto';
import type { ChunkStore } from '../../runtime/artifact/chunk-store.ts';
import type { DownloadTable } from '../../runtime/artifact/download-table.ts';

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export class MemoryStore implements ChunkStore {
  readonly chunks = new Map<string, Uint8Array>();

  /** `quota`: chunks that there is room for. */
  constructor(private readonly quota = Number.POSITIVE_INFINITY) {}

  async get(digest: string): Promise<Uint8Array | undefined> {
    return this.chunks.get(digest);
  }
  async put(digest: string, bytes: Uint8Array): Promise<void> {
    if (this.chunks.size >= this.quota) throw new DOMException('no room', 'QuotaExceededError');
    this.chunks.set(digest, bytes.slice());
  }
  async retain(digests: ReadonlySet<string>): Promise<void> {
    for (const digest of this.chunks.keys()) if (!digests.has(digest)) this.chunks.delete(digest);
  }
}

/** The table of files in memory, in chunks of any size. */
export function tableOf(
  files: ReadonlyMap<string, Uint8Array>,
  chunkBytes: number,
  spans: DownloadTable['spans'] = {},
): DownloadTable {
  const digestsOf = (bytes: Uint8Array): string[] =>
    Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, i) =>
      sha256(bytes.subarray(i * chunkBytes, (i + 1) * chunkBytes)),
    );
  return {
    chunkBytes,
    files: [...files].map(([name, bytes]) => ({ name, bytes: bytes.length, digests: digestsOf(bytes) })),
    spans,
  };
}
