// Where verified chunks are kept between loads, by their SHA-256: chunks of another version of an artifact have other
// digests, so versions never mix. In browsers this is the Cache API rather than OPFS: `put` is atomic, it works in pages
// and workers of every browser with WebGPU (Safari writes OPFS from pages only since version 26), it is as fast, and
// people can clear it like any site data. There is one cache per artifact URL, so chunks that a new version does not
// have any more can be dropped.

export interface ChunkStore {
  get(digest: string): Promise<Uint8Array | undefined>;
  /** Throws a DOMException named QuotaExceededError when there is no room. */
  put(digest: string, bytes: Uint8Array): Promise<void>;
  /** Drops all chunks but these. */
  retain(digests: ReadonlySet<string>): Promise<void>;
}

/** The store of an artifact, undefined where there is none: outside of browsers, or in a page that may not store. */
export async function openChunkStore(artifact: string): Promise<ChunkStore | undefined> {
  if (typeof caches === 'undefined') return undefined;
  try {
    return new CacheStore(await caches.open(`modelc ${artifact}`));
  } catch {
    return undefined;
  }
}

class CacheStore implements ChunkStore {
  constructor(private readonly cache: Cache) {}

  /** Keys must be URLs; these are never fetched. */
  private key(digest: string): string {
    return `https://modelc.invalid/${digest}`;
  }

  async get(digest: string): Promise<Uint8Array | undefined> {
    const response = await this.cache.match(this.key(digest));
    return response && new Uint8Array(await response.arrayBuffer());
  }

  put(digest: string, bytes: Uint8Array): Promise<void> {
    return this.cache.put(this.key(digest), new Response(bytes as Uint8Array<ArrayBuffer>));
  }

  async retain(digests: ReadonlySet<string>): Promise<void> {
    for (const request of await this.cache.keys()) {
      if (!digests.has(request.url.slice(this.key('').length))) await this.cache.delete(request);
    }
  }
}
