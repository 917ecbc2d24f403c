// Tensors in host memory, to and from the raw bytes of devices and the arrays of the interpreter.
import { bf16BitsToF32, type DType, dtypeInfo, f16BitsToF32, f32ToBf16Bits, f32ToF16Bits } from '../../ir/dtype.ts';
import { type NdArray, ndarray } from '../../ir/ndarray.ts';

export type TensorData =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | Int8Array
  | Uint8Array
  | Uint16Array;

/** A tensor in host memory, row-major. bool is Uint8Array, i64 is BigInt64Array, f16 and bf16 are Uint16Array of bits. */
export interface HostTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A typed view of bytes; copies when the bytes are not aligned to the element. */
export function viewOf(dtype: DType, bytes: Uint8Array): TensorData {
  const size = dtypeInfo[dtype].bytes;
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset } = aligned;
  const length = aligned.byteLength / size;
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer, byteOffset, length);
    case 'f16':
    case 'bf16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'i64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'i32':
      return new Int32Array(buffer, byteOffset, length);
    case 'u32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'i8':
      return new Int8Array(buffer, byteOffset, length);
    case 'u8':
    case 'bool':
      return new Uint8Array(buffer, byteOffset, length);
    default:
      return dtype satisfies never;
  }
}

export const bytesOf = (data: TensorData): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** Numbers stored as a dtype; they must be values of that dtype. */
export function storeNumbers(dtype: DType, values: ArrayLike<number>): TensorData {
  const data = viewOf(dtype, new Uint8Array(values.length * dtypeInfo[dtype].bytes));
  for (let i = 0; i < values.length; i++) {
    if (data instanceof BigInt64Array) data[i] = BigInt(values[i]);
    else data[i] = dtype === 'f16' ? f32ToF16Bits(values[i]) : dtype === 'bf16' ? f32ToBf16Bits(values[i]) : values[i];
  }
  return data;
}

export const fromNdArray = (a: NdArray): HostTensor => ({
  dtype: a.dtype,
  shape: a.shape,
  data: storeNumbers(a.dtype, a.data),
});

export function toNdArray({ dtype, shape, data }: HostTensor): NdArray {
  const decode = dtype === 'f16' ? f16BitsToF32 : dtype === 'bf16' ? bf16BitsToF32 : (bits: number): number => bits;
  return ndarray(
    dtype,
    shape,
    Float64Array.from(data as ArrayLike<number | bigint>, (v) => decode(Number(v))),
  );
}
