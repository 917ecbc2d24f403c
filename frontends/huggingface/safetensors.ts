// safetensors: a file of tensors. Layout: u64 length of a JSON header, the header {name: {dtype, shape, data_offsets}},
// then the data, row-major and little-endian, without holes. The reader takes nothing on trust and reads only headers;
// tensors stay spans of the file, to be mapped or streamed. https://github.com/huggingface/safetensors
import { createHash, type Hash } from 'node:crypto';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { FileSpan } from '../../backends/device.ts';
import { bf16BitsToF32, type DType, dtypeInfo, f16BitsToF32 } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';
import { duplicateKey, isMissing, isObject, parseJson, quote, reason } from './json.ts';

export interface StoredTensor {
  /** A dtype of ours, or the file's own name for one that we do not compute with. */
  readonly dtype: DType | string;
  readonly shape: readonly number[];
  readonly span: FileSpan;
}

/** Bits per element of every dtype of the format, and our name for those that we have. */
const formats: Readonly<Record<string, { bits: number; dtype?: DType }>> = {
  BOOL: { bits: 8, dtype: 'bool' },
  U8: { bits: 8, dtype: 'u8' },
  I8: { bits: 8, dtype: 'i8' },
  U32: { bits: 32, dtype: 'u32' },
  I32: { bits: 32, dtype: 'i32' },
  I64: { bits: 64, dtype: 'i64' },
  F16: { bits: 16, dtype: 'f16' },
  BF16: { bits: 16, dtype: 'bf16' },
  F32: { bits: 32, dtype: 'f32' },
  F4: { bits: 4 },
  F6_E2M3: { bits: 6 },
  F6_E3M2: { bits: 6 },
  F8_E5M2: { bits: 8 },
  F8_E4M3: { bits: 8 },
  F8_E8M0: { bits: 8 },
  F8_E4M3FNUZ: { bits: 8 },
  F8_E5M2FNUZ: { bits: 8 },
  I16: { bits: 16 },
  U16: { bits: 16 },
  F64: { bits: 64 },
  C64: { bits: 64 },
  U64: { bits: 64 },
};
const formatOf = Object.fromEntries(
  Object.entries(formats).flatMap(([name, { dtype }]) => (dtype ? [[dtype, name]] : [])),
) as Record<DType, string>;

const headerLimit = 100_000_000;
const maxRank = 64;
const again = 'download the file again';
const comparedBytes = 2 ** 20;

export interface SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Reads and checks the header of a file. Throws ModelcError 'checkpoint' if anything in it is wrong. */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  const file = await openFile(path);
  try {
    const { size } = await file.stat();
    if (size < 8)
      throw new ModelcError(
        'checkpoint',
        `${path} is truncated: ${size} bytes, even the header length needs 8; ${again}`,
      );
    const length = (await readExactly(file, path, 0, 8)).readBigUInt64LE(0);
    if (length > headerLimit) {
      throw new ModelcError(
        'checkpoint',
        `${path} claims a header of ${length} bytes, the limit is ${headerLimit}; it is no safetensors file or is damaged`,
      );
    }
    const headerBytes = Number(length);
    if (8 + headerBytes > size) {
      throw new ModelcError(
        'checkpoint',
        `${path} is truncated: its header ends at byte ${8 + headerBytes}, the file at ${size}; ${again}`,
      );
    }
    const header = decodeHeader(await readExactly(file, path, 8, headerBytes), path);
    return parseHeader(header, path, 8 + headerBytes, size);
  } finally {
    await file.close();
  }
}

/** The header of a file and the number in front of it: all bytes that no tensor has. */
export async function readHeader(path: string): Promise<Uint8Array> {
  const [length] = new BigUint64Array(Uint8Array.from(await readSpan({ path, offset: 0, bytes: 8 })).buffer);
  return readSpan({ path, offset: 0, bytes: 8 + Number(length) });
}

async function openFile(path: string): Promise<FileHandle> {
  let file: FileHandle | undefined;
  try {
    // A pipe that nobody writes to would be waited for.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    if ((await file.stat()).isFile()) return file;
    throw new ModelcError('checkpoint', `${path} is no file; download it again`);
  } catch (cause) {
    await file?.close();
    if (cause instanceof ModelcError) throw cause;
    const what = isMissing(cause)
      ? 'does not exist; check the folder or download it'
      : `cannot be opened: ${reason(cause)}`;
    throw new ModelcError('checkpoint', `${path} ${what}`, { cause });
  }
}

async function readExactly(file: FileHandle, path: string, offset: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  for (let done = 0; done < bytes; ) {
    // One read returns at most 2 GiB.
    const { bytesRead } = await file.read(buffer, done, Math.min(bytes - done, 2 ** 30), offset + done);
    if (bytesRead === 0)
      throw new ModelcError('checkpoint', `${path} is truncated: it ends before byte ${offset + bytes}; ${again}`);
    done += bytesRead;
  }
  return buffer;
}

function decodeHeader(bytes: Buffer, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ModelcError(
      'checkpoint',
      `${path} has a header that is not UTF-8; it is no safetensors file or is damaged`,
      { cause },
    );
  }
}

function parseHeader(text: string, path: string, dataStart: number, fileSize: number): SafetensorsFile {
  const header = parseJson(text, `the header of ${path}`, 'checkpoint');
  if (!isObject(header)) throw new ModelcError('checkpoint', `the header of ${path} must be a JSON object; ${again}`);
  const twice = duplicateKey(text);
  if (twice !== undefined)
    throw new ModelcError('checkpoint', `the header of ${path} has the key ${quote(twice)} twice; ${again}`);

  const metadata = new Map<string, string>();
  const tensors = new Map<string, StoredTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name !== '__metadata__') {
      tensors.set(name, parseTensor(name, entry, path, dataStart, fileSize));
      continue;
    }
    const bad = !isObject(entry) || Object.values(entry).some((v) => typeof v !== 'string');
    if (bad) throw new ModelcError('checkpoint', `__metadata__ of ${path} must map strings to strings; ${again}`);
    for (const [key, value] of Object.entries(entry)) metadata.set(key, String(value));
  }

  let end = dataStart;
  let previous = 'the header';
  const byOffset = [...tensors].sort(([, a], [, b]) => a.span.offset - b.span.offset || a.span.bytes - b.span.bytes);
  for (const [name, { span }] of byOffset) {
    if (span.offset !== end) {
      const relation = span.offset < end ? 'overlaps' : 'leaves a hole after';
      throw new ModelcError(
        'checkpoint',
        `${path}: tensor ${quote(name)} at byte ${span.offset} ${relation} ${previous}, which ends at ${end}; ${again}`,
      );
    }
    end = span.offset + span.bytes;
    previous = `tensor ${quote(name)}`;
  }
  if (end !== fileSize) {
    throw new ModelcError('checkpoint', `${path} has ${fileSize} bytes, but its tensors end at ${end}; ${again}`);
  }
  return { path, tensors, metadata };
}

function parseTensor(name: string, entry: unknown, path: string, dataStart: number, fileSize: number): StoredTensor {
  const fail = (what: string): never => {
    throw new ModelcError('checkpoint', `${path}: tensor ${quote(name)} ${what}; ${again}`);
  };
  if (!isObject(entry)) return fail('is described by something that is no object');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !Object.hasOwn(formats, dtype)) {
    return fail(`has the unknown dtype ${quote(typeof dtype === 'string' ? dtype : (JSON.stringify(dtype) ?? ''))}`);
  }
  const isCount = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;
  if (!Array.isArray(shape) || shape.length > maxRank || !shape.every(isCount)) {
    return fail(`has a shape that is no list of at most ${maxRank} sizes`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return fail('has data_offsets that are not two positions');
  }
  const [begin, end]: number[] = offsets;
  if (begin > end || dataStart + end > fileSize) {
    return fail(`lies at ${begin}..${end} of the data, which has ${fileSize - dataStart} bytes`);
  }
  const bits = shape.reduce((n: bigint, d: number) => n * BigInt(d), BigInt(formats[dtype].bits));
  if (bits !== BigInt(end - begin) * 8n) {
    return fail(`has shape [${shape}] of ${dtype}, which is ${bits} bits, but ${end - begin} bytes of data`);
  }
  const span = { path, offset: dataStart + begin, bytes: end - begin };
  return { dtype: formats[dtype].dtype ?? dtype, shape, span };
}

/** The bytes of a span. */
export async function readSpan(span: FileSpan): Promise<Uint8Array> {
  const file = await openFile(span.path);
  try {
    return await readExactly(file, span.path, span.offset, span.bytes);
  } finally {
    await file.close();
  }
}

/** Whether two spans hold the same bytes; stops at the first piece that differs. */
export function sameBytes(a: FileSpan, b: FileSpan): boolean {
  if (a.bytes !== b.bytes) return false;
  const [one, other] = [Buffer.alloc(Math.min(a.bytes, comparedBytes)), Buffer.alloc(Math.min(a.bytes, comparedBytes))];
  const files = [openSync(a.path, 'r'), openSync(b.path, 'r')];
  try {
    for (let done = 0; done < a.bytes; ) {
      const length = Math.min(comparedBytes, a.bytes - done);
      const read = readSync(files[0], one, 0, length, a.offset + done);
      if (read === 0 || readSync(files[1], other, 0, read, b.offset + done) !== read) return false;
      if (!one.subarray(0, read).equals(other.subarray(0, read))) return false;
      done += read;
    }
    return true;
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** Elements of `bytes` (little-endian) as numbers. */
export function decodeElements(bytes: Uint8Array, dtype: DType): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const step = dtypeInfo[dtype].bytes;
  const read = elementReader(view, dtype);
  return Float64Array.from({ length: bytes.byteLength / step }, (_, i) => read(i * step));
}

function elementReader(view: DataView, dtype: DType): (at: number) => number {
  switch (dtype) {
    case 'f32':
      return (at) => view.getFloat32(at, true);
    case 'f16':
      return (at) => f16BitsToF32(view.getUint16(at, true));
    case 'bf16':
      return (at) => bf16BitsToF32(view.getUint16(at, true));
    case 'i64':
      return (at) => Number(view.getBigInt64(at, true));
    case 'i32':
      return (at) => view.getInt32(at, true);
    case 'u32':
      return (at) => view.getUint32(at, true);
    case 'i8':
      return (at) => view.getInt8(at);
    case 'u8':
    case 'bool':
      return (at) => view.getUint8(at);
    default:
      return dtype satisfies never;
  }
}

/** A whole tensor as the interpreter takes it. */
export async function readTensor(span: FileSpan, dtype: DType, shape?: readonly number[]): Promise<NdArray> {
  const data = decodeElements(await readSpan(span), dtype);
  return ndarray(dtype, shape ?? [data.length], data);
}

/** A tensor to be written; a span is copied piece by piece, so that large tensors never lie in memory. */
export interface TensorSource {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array | FileSpan;
}

export interface SafetensorsOptions {
  readonly align?: number;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly hasDigest?: boolean;
}

const piece = 16 * 2 ** 20;

/**
 * Writes a file whose data starts at a multiple of `align`. Tensors whose size is a multiple of it come first and so are
 * all aligned; the others follow by falling element size, so each is aligned to its elements. The file appears under its
 * name only when it is whole. With `hasDigest`, the metadata has the SHA-256 of the data as `data_sha256`.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorSource>,
  { align = 64, metadata = { format: 'pt' }, hasDigest = false }: SafetensorsOptions = {},
): Promise<void> {
  const bytesOf = (t: TensorSource): number => t.shape.reduce((n, d) => n * d, dtypeInfo[t.dtype].bytes);
  const rank = (t: TensorSource): number => (bytesOf(t) % align === 0 ? Number.MAX_VALUE : dtypeInfo[t.dtype].bytes);
  const ordered = [...tensors].sort((a, b) => rank(b) - rank(a));
  const unknown = '0'.repeat(64);
  const entries: [string, unknown][] = [['__metadata__', hasDigest ? { ...metadata, data_sha256: unknown } : metadata]];
  const names = new Set<string>(['__metadata__']);
  let end = 0;
  for (const t of ordered) {
    const bytes = bytesOf(t);
    const given = t.data instanceof Uint8Array ? t.data.byteLength : t.data.bytes;
    if (given !== bytes) {
      throw new ModelcError(
        'input',
        `tensor ${quote(t.name)} of ${t.dtype}[${t.shape}] needs ${bytes} bytes, got ${given}`,
      );
    }
    if (names.has(t.name)) throw new ModelcError('input', `tensor ${quote(t.name)} is to be written twice`);
    names.add(t.name);
    entries.push([t.name, { dtype: formatOf[t.dtype], shape: t.shape, data_offsets: [end, end + bytes] }]);
    end += bytes;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const header = Buffer.alloc(8 + json.length + ((align - ((8 + json.length) % align)) % align), ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);

  const partial = `${path}.${process.pid}.partial`;
  try {
    const file = await open(partial, 'w');
    try {
      const hash = hasDigest ? createHash('sha256') : undefined;
      await file.writeFile(header);
      for (const t of ordered) await writeData(file, t.data, hash);
      if (hash) await file.write(hash.digest('hex'), header.indexOf(unknown));
    } finally {
      await file.close();
    }
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true });
    if (cause instanceof ModelcError) throw cause;
    throw new ModelcError('input', `${path} cannot be written: ${reason(cause)}`, { cause });
  }
}

async function writeData(file: FileHandle, data: Uint8Array | FileSpan, hash?: Hash): Promise<void> {
  const write = async (bytes: Uint8Array): Promise<void> => {
    hash?.update(bytes);
    await file.writeFile(bytes);
  };
  if (data instanceof Uint8Array) return write(data);
  for (let done = 0; done < data.bytes; done += piece) {
    const bytes = Math.min(piece, data.bytes - done);
    await write(await readSpan({ path: data.path, offset: data.offset + done, bytes }));
  }
}
