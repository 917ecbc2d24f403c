// How elements lie in the device's memory, which WGSL sees as arrays of 32-bit words. Threads cannot write less than a
// word side by side, so an element that kernels may write is one word: f16 and bf16 as the f32 of the same value, bool
// and 8-bit integers as 32-bit ones, i64 as its low half (values of i64 tensors must lie within 32 bits). Weights are
// only read and stay packed as files hold them. A value in a kernel has one of four types.
import { bf16BitsToF32, type DType, dtypeInfo, f16BitsToF32, f32ToBf16Bits, f32ToF16Bits } from '../../ir/dtype.ts';
import type { ScalarType } from '../../ir/loop.ts';

export const valueTypes = {
  f32: 'f32',
  f16: 'f32',
  bf16: 'f32',
  i64: 'i32',
  i32: 'i32',
  i8: 'i32',
  u8: 'u32',
  u32: 'u32',
  bool: 'bool',
  index: 'i32',
} as const satisfies Record<ScalarType, string>;

/** Bytes of a word. */
export const wordBytes = 4;

/** Bytes on the device of `bytes` of the host, in memory of a dtype or of bytes as they are. */
export const deviceBytes = (dtype: DType | undefined, bytes: number): number =>
  dtype ? (bytes / dtypeInfo[dtype].bytes) * wordBytes : bytes;

/** Elements of a dtype whose host bytes are the device's words as they are. */
const isWord = (dtype: DType): boolean => dtype === 'f32' || dtype === 'i32' || dtype === 'u32';

/** Host elements as words of the device. */
export function toWords(dtype: DType, bytes: Uint8Array): Uint8Array {
  if (isWord(dtype)) return bytes;
  const { buffer, byteOffset, byteLength } = bytes;
  const view = new DataView(buffer, byteOffset, byteLength);
  const size = dtypeInfo[dtype].bytes;
  const words = new DataView(new ArrayBuffer((byteLength / size) * wordBytes));
  for (let from = 0, to = 0; from < byteLength; from += size, to += wordBytes) {
    switch (dtype) {
      case 'f16':
        words.setFloat32(to, f16BitsToF32(view.getUint16(from, true)), true);
        break;
      case 'bf16':
        words.setFloat32(to, bf16BitsToF32(view.getUint16(from, true)), true);
        break;
      case 'i8':
        words.setInt32(to, view.getInt8(from), true);
        break;
      case 'u8':
      case 'bool':
        words.setUint32(to, view.getUint8(from), true);
        break;
      default: // i64
        words.setUint32(to, view.getUint32(from, true), true);
    }
  }
  return new Uint8Array(words.buffer);
}

/** The reverse of toWords. */
export function fromWords(dtype: DType, bytes: Uint8Array): Uint8Array {
  if (isWord(dtype)) return bytes;
  const { buffer, byteOffset, byteLength } = bytes;
  const words = new DataView(buffer, byteOffset, byteLength);
  const size = dtypeInfo[dtype].bytes;
  const view = new DataView(new ArrayBuffer((byteLength / wordBytes) * size));
  for (let from = 0, to = 0; from < byteLength; from += wordBytes, to += size) {
    switch (dtype) {
      case 'f16':
        view.setUint16(to, f32ToF16Bits(words.getFloat32(from, true)), true);
        break;
      case 'bf16':
        view.setUint16(to, f32ToBf16Bits(words.getFloat32(from, true)), true);
        break;
      case 'i8':
      case 'u8':
      case 'bool':
        view.setUint8(to, words.getUint8(from));
        break;
      default: // i64
        view.setBigInt64(to, BigInt(words.getInt32(from, true)), true);
    }
  }
  return new Uint8Array(view.buffer);
}
