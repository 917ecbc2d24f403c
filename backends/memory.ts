// What holds of the memory of every device: a buffer belongs to one device, lives until it is freed, is read and written
// inside of its bounds, and not written where it is mapped from a file. Devices put their own buffers on top.
import { ModelcError } from '../ir/error.ts';
import type { Buffer } from './device.ts';

export abstract class DeviceBuffer implements Buffer {
  live = true;
  constructor(
    /** The device that made it. */
    readonly device: object,
    readonly bytes: number,
    readonly readOnly: boolean,
  ) {}
}

export function checkAllocation(bytes: number): void {
  if (!(Number.isSafeInteger(bytes) && bytes >= 0)) throw new ModelcError('input', `cannot allocate ${bytes} bytes`);
}

/** The buffer as the device's own, checked to be live. */
export function ownBuffer<B extends DeviceBuffer>(
  device: object,
  kind: abstract new (...args: never[]) => B,
  buffer: Buffer,
): B {
  if (!(buffer instanceof kind) || buffer.device !== device) {
    throw new ModelcError('input', 'a buffer belongs to another device');
  }
  if (!buffer.live) throw new ModelcError('input', 'a buffer is used after it was freed');
  return buffer;
}

export function checkRange(buffer: Buffer, offset: number, bytes: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(bytes) && offset >= 0 && bytes >= 0;
  if (!valid || offset + bytes > buffer.bytes) {
    throw new ModelcError('input', `bytes ${offset} to ${offset + bytes} lie outside of a buffer of ${buffer.bytes}`);
  }
}

export function checkWritable(buffer: DeviceBuffer): void {
  if (buffer.readOnly) throw new ModelcError('input', 'a mapped weight is read only');
}
