// What a loader that streams files over HTTP must know of them: sizes, SHA-256 digests of pieces (chunks) of one size, and
// where in which file each weight lies. It comes from a server, so nothing in it is used before it is checked here.

export interface DownloadFile {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256 of each chunk, in hexadecimal. */
  readonly digests: readonly string[];
}

export interface DownloadTable {
  readonly chunkBytes: number;
  readonly files: readonly DownloadFile[];
  /** By name: the file's number, and first byte and number of bytes in it. */
  readonly spans: Readonly<Record<string, readonly [file: number, offset: number, bytes: number]>>;
}

/** Whether a value is a name that can only mean a file in the folder itself. */
export const isPlainName = (name: unknown): name is string => typeof name === 'string' && /^[\w-][\w.-]*$/.test(name);
export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const maxChunkBytes = 2 ** 26;

/** The table, if it is consistent. */
export function parseDownload(value: unknown): DownloadTable | undefined {
  if (!isObject(value)) return undefined;
  const { chunkBytes, files, spans } = value;
  if (!isCount(chunkBytes) || chunkBytes === 0 || chunkBytes % 4 !== 0 || chunkBytes > maxChunkBytes) return undefined;
  if (!Array.isArray(files) || !isObject(spans)) return undefined;
  const isFile = (file: unknown): file is DownloadFile =>
    isObject(file) &&
    isPlainName(file.name) &&
    isCount(file.bytes) &&
    Array.isArray(file.digests) &&
    file.digests.length === Math.ceil(file.bytes / chunkBytes) &&
    file.digests.every((d) => typeof d === 'string' && /^[0-9a-f]{64}$/.test(d));
  if (!files.every(isFile) || new Set(files.map((f) => f.name)).size < files.length) return undefined;
  const isSpan = (span: unknown): boolean =>
    Array.isArray(span) &&
    span.length === 3 &&
    span.every(isCount) &&
    span[0] < files.length &&
    span[1] + span[2] <= files[span[0]].bytes;
  return Object.values(spans).every(isSpan) ? { chunkBytes, files, spans: spans as DownloadTable['spans'] } : undefined;
}
