// The files of an artifact in a folder of this machine, each compared with what the manifest says of it before it is used:
// code before it is loaded, texts before they are read, of weights the header and the length. The data of weights is
// compared on request only, as it takes as long as reading all of it.
import { importInNode, type nodeFiles } from '../../backends/node-modules.ts';
import { ModelcError } from '../../ir/error.ts';
import { type FileRecord, sha256 } from './digest.ts';
import { isWeights, manifestFile } from './format.ts';
import { openLocal } from './source.ts';

const again = 'copy the artifact again, or compile it again';

export class LocalFiles {
  private readonly records: ReadonlyMap<string, FileRecord>;

  constructor(
    readonly folder: string,
    files: readonly FileRecord[],
  ) {
    this.records = new Map(files.map((file) => [file.name, file]));
  }

  /** The path of a file that is what was written. Throws ModelcError 'checkpoint' where it is not. */
  async path(name: string): Promise<string> {
    await this.read(name);
    return `${this.folder}/${name}`;
  }

  /** A text; undefined where the artifact was written without it. Throws ModelcError 'checkpoint'. */
  async text(name: string): Promise<string | undefined> {
    return this.records.has(name) ? new TextDecoder().decode(await this.read(name)) : undefined;
  }

  /** Compares a file with its record. Of weights only the header is read. Gives what was read. */
  private async read(name: string): Promise<Uint8Array> {
    const record = this.records.get(name);
    if (!record) throw this.wrong(name, `is not in ${manifestFile}`);
    const data = await openLocal(this.folder, name, async (file, size) => {
      if (size !== record.bytes) throw this.wrong(name, `has ${size} bytes and had ${record.bytes}`);
      const bytes = isWeights(name) ? await headerBytes(file) : size;
      const data = new Uint8Array(bytes);
      for (let at = 0; at < bytes; ) {
        const { bytesRead } = await file.read(data, at, bytes - at, at);
        if (bytesRead === 0) throw this.wrong(name, `ends at byte ${at}`);
        at += bytesRead;
      }
      return data;
    });
    if ((await sha256(data)) !== record.digest) throw this.wrong(name, 'differs');
    return data;
  }

  /** Compares every file, of weights also all data. `begin` is told of each before it is read. */
  async verify(begin: (name: string, bytes: number) => void = () => undefined): Promise<void> {
    for (const { name, bytes } of this.records.values()) {
      begin(name, bytes);
      const header = await this.read(name);
      if (isWeights(name)) await this.verifyData(name, header);
    }
  }

  private async verifyData(name: string, header: Uint8Array): Promise<void> {
    const { createHash } = await importInNode<typeof import('node:crypto')>('node:crypto');
    const hash = createHash('sha256');
    await openLocal(this.folder, name, async (file) => {
      const piece = new Uint8Array(2 ** 22);
      for (let at = header.length; ; ) {
        const { bytesRead } = await file.read(piece, 0, piece.length, at);
        if (bytesRead === 0) break;
        hash.update(piece.subarray(0, bytesRead));
        at += bytesRead;
      }
    });
    if (!new TextDecoder().decode(header).includes(`"${hash.digest('hex')}"`)) throw this.wrong(name, 'differs');
  }

  private wrong(name: string, what: string): ModelcError {
    return new ModelcError(
      'checkpoint',
      `${this.folder}/${name} is not the file that was written: it ${what}; ${again}`,
    );
  }
}

type Handle = Awaited<ReturnType<Awaited<ReturnType<typeof nodeFiles>>['open']>>;

/** Bytes of the header of a safetensors file, with the number in front; the file is long enough for the number. */
async function headerBytes(file: Handle): Promise<number> {
  const { buffer } = await file.read(new Uint8Array(8), 0, 8, 0);
  const { size } = await file.stat();
  const bytes = 8n + new DataView(buffer.buffer).getBigUint64(0, true);
  return Number(bytes < BigInt(size) ? bytes : BigInt(size));
}
