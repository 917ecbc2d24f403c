// Streams weights from chunks of files into their memory on a device, as the chunks come.
import type { Buffer, Device } from '../../backends/device.ts';
import type { Chunk } from './download.ts';

/** A weight in a file. */
export interface WeightSpan {
  readonly name: string;
  readonly file: number;
  readonly offset: number;
  readonly bytes: number;
}

/** A device that says when it has taken what was written, so that the host need not keep more than a few chunks. */
export interface UploadDevice extends Pick<Device, 'write'> {
  settle(): Promise<void>;
}

/** Bytes that the device takes at a time: a part of a weight that ends elsewhere waits for what follows. */
const wordBytes = 4;

/** `chunks` come in the order of files and offsets, and hold all bytes of the weights. */
export async function upload(
  device: UploadDevice,
  chunks: AsyncIterable<Chunk>,
  weights: readonly WeightSpan[],
  buffers: ReadonlyMap<string, Buffer>,
): Promise<void> {
  let rest = new Uint8Array(0);
  for await (const { file, offset, bytes } of chunks) {
    const end = offset + bytes.length;
    const here = weights.filter((w) => w.file === file && w.offset < end && w.offset + w.bytes > offset);
    for (const weight of here.sort((a, b) => a.offset - b.offset)) {
      if (weight.offset >= offset) rest = new Uint8Array(0);
      const from = Math.max(offset, weight.offset);
      const to = Math.min(end, weight.offset + weight.bytes);
      const data = concat(rest, bytes.subarray(from - offset, to - offset));
      const isLast = to === weight.offset + weight.bytes;
      const whole = isLast ? data.length : data.length - (data.length % wordBytes);
      device.write(buffers.get(weight.name)!, data.subarray(0, whole), from - weight.offset - rest.length);
      rest = data.slice(whole);
    }
    await device.settle();
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
