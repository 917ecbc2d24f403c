// Digests of an artifact's files: what was written is told from what is there.
import { isCount, isObject, isPlainName } from './download-table.ts';

/** A file of an artifact as it was written. */
export interface FileRecord {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256, in hexadecimal, of the file; of weights, of their header, which holds the digest of all that follows it. */
  readonly digest: string;
}

/** SHA-256 in hexadecimal, wherever this runs. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, '0')).join('');
}

/** Whether a value is what a writer makes of files: names that mean files in the folder itself, none of them twice. */
export function isFileRecords(value: unknown): value is readonly FileRecord[] {
  const isRecord = (file: unknown): file is FileRecord =>
    isObject(file) &&
    isPlainName(file.name) &&
    isCount(file.bytes) &&
    typeof file.digest === 'string' &&
    /^[0-9a-f]{64}$/.test(file.digest);
  return Array.isArray(value) && value.every(isRecord) && new Set(value.map((f) => f.name)).size === value.length;
}

const seal = /,"digest":"([0-9a-f]{64})"\}\s*$/;

/** The text of a JSON object with a digest of it as its last member. */
export async function sealed(text: string): Promise<string> {
  return `${text.slice(0, -1)},"digest":"${await sha256(new TextEncoder().encode(text))}"}`;
}

/** Whether a text is what `sealed` made. */
export async function isSealed(text: string): Promise<boolean> {
  const found = seal.exec(text);
  return found !== null && (await sha256(new TextEncoder().encode(`${text.slice(0, found.index)}}`))) === found[1];
}
