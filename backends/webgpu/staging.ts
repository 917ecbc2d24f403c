// Reading back from a WebGPU device: a ring of buffers that the device copies into and the host maps, so that many reads
// are under way at once. What was read counts only after the errors of everything submitted before are known to be none.
import { ModelcError } from '../../ir/error.ts';

const readable = 0x01 | 0x08; // MAP_READ | COPY_DST
const smallest = 4096;
/** Buffers that are kept for the next reads. */
const ringSize = 8;

export interface StagingHost {
  check(): void;
  buffer(size: number, usage: number): GPUBuffer;
}

export class Staging {
  private readonly free: GPUBuffer[] = [];
  private believed: Promise<void> = Promise.resolve();

  constructor(private readonly host: StagingHost) {}

  /** Reads that are asked for from now on fail where `verdict` does. */
  doubt(verdict: Promise<void>): void {
    this.believed = Promise.all([this.believed, verdict]).then(() => undefined);
    this.believed.catch(() => undefined);
  }

  /** A buffer of `size` bytes at least, to copy into. */
  take(size: number): GPUBuffer {
    const i = this.free.findIndex((buffer) => buffer.size >= size);
    if (i >= 0) return this.free.splice(i, 1)[0];
    return this.host.buffer(Math.max(size, smallest), readable);
  }

  /** The first bytes of a buffer that copies were submitted into; it goes back to the ring. */
  async read(buffer: GPUBuffer, size: number): Promise<Uint8Array> {
    const { believed } = this;
    try {
      await buffer.mapAsync(0x01, 0, size); // READ
    } catch (cause) {
      buffer.destroy();
      this.host.check();
      throw new ModelcError('unsupported', 'WebGPU: the graphics device does not give its results', { cause });
    }
    const bytes = new Uint8Array(buffer.getMappedRange(0, size)).slice();
    buffer.unmap();
    if (this.free.length < ringSize) this.free.push(buffer);
    else buffer.destroy();
    try {
      await believed;
    } catch (error) {
      if (this.believed === believed) this.believed = Promise.resolve();
      throw error;
    }
    this.host.check();
    return bytes;
  }
}
