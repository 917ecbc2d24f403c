// Buffers of an executor for the inputs and results of runs, by role: replaced by a larger one when a run needs more.
import type { Buffer, Device } from '../../backends/device.ts';
import type { DType } from '../../ir/dtype.ts';

export class RunBuffers {
  private readonly buffers = new Map<string, Buffer>();

  constructor(private readonly device: Device) {}

  /** A buffer for `role` with room for `bytes`. */
  take(role: string, bytes: number, dtype: DType): Buffer {
    const known = this.buffers.get(role);
    if (known && known.bytes >= bytes) return known;
    if (known) this.device.free(known);
    const buffer = this.device.alloc(bytes, dtype);
    this.buffers.set(role, buffer);
    return buffer;
  }

  free(): void {
    for (const buffer of this.buffers.values()) this.device.free(buffer);
    this.buffers.clear();
  }
}
