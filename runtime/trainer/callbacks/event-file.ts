// TensorBoard's event files: records of protocol buffers, each framed by its length and by checksums. The messages are the
// part of TensorFlow's event.proto, summary.proto and tensor.proto that scalars and texts need.
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { ModelcError } from '../../../ir/error.ts';

const schema = `
  syntax = "proto3";
  message Event {
    double wall_time = 1;
    int64 step = 2;
    oneof what { string file_version = 3; Summary summary = 5; }
  }
  message Summary { repeated Value value = 1; }
  message Value {
    string tag = 1;
    oneof value { float simple_value = 2; Tensor tensor = 8; }
    Metadata metadata = 9;
  }
  message Metadata { Plugin plugin_data = 1; }
  message Plugin { string plugin_name = 1; }
  message Tensor { int32 dtype = 1; Shape tensor_shape = 2; repeated bytes string_val = 8; }
  message Shape { repeated Dim dim = 2; }
  message Dim { int64 size = 1; }
`;
const stringType = 7; // DT_STRING
let event: protobuf.Type | undefined;
const eventType = (): protobuf.Type => (event ??= protobuf.parse(schema, { keepCase: true }).root.lookupType('Event'));

export class EventFile {
  readonly path: string;
  private readonly file: number;

  /** Starts a file in a folder, which is made. Throws ModelcError 'input' where that fails. */
  constructor(folder: string) {
    const now = Date.now() / 1000;
    this.path = join(
      folder,
      `events.out.tfevents.${Math.floor(now)}.${hostname()}.${process.pid}.${EventFile.started++}`,
    );
    try {
      mkdirSync(folder, { recursive: true });
      this.file = openSync(this.path, 'wx');
    } catch (cause) {
      throw new ModelcError('input', `TensorBoard's event file cannot be written: ${(cause as Error).message}`, {
        cause,
      });
    }
    this.write({ wall_time: now, file_version: 'brain.Event:2' });
  }
  private static started = 0;

  scalar(tag: string, value: number, step: number): void {
    this.write({ wall_time: Date.now() / 1000, step, summary: { value: [{ tag, simple_value: value }] } });
  }

  text(tag: string, text: string, step = 0): void {
    const tensor = { dtype: stringType, tensor_shape: { dim: [{ size: 1 }] }, string_val: [Buffer.from(text)] };
    const value = [{ tag: `${tag}/text_summary`, tensor, metadata: { plugin_data: { plugin_name: 'text' } } }];
    this.write({ wall_time: Date.now() / 1000, step, summary: { value } });
  }

  close(): void {
    closeSync(this.file);
  }

  private write(message: object): void {
    const type = eventType();
    writeSync(this.file, record(type.encode(type.fromObject(message)).finish()));
  }
}

/** A record: length, its checksum, the data, their checksum. */
function record(data: Uint8Array): Uint8Array {
  const framed = new Uint8Array(data.length + 16);
  const view = new DataView(framed.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, masked(crc32c(framed.subarray(0, 8))), true);
  framed.set(data, 12);
  view.setUint32(12 + data.length, masked(crc32c(data)), true);
  return framed;
}

/** Checksums are stored in a form that keeps the checksum of data which holds checksums from being weak. */
const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

/** CRC-32C, the polynomial of Castagnoli. */
export function crc32c(data: Uint8Array): number {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
