// Collects the results of an evaluation: tensors of batches whose rows may differ in length become one tensor, filled up
// with -100, as transformers does.
import { ignoredLabel } from '../../frontends/dsl/index.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { Tensor } from '../tensors/tensor.ts';

/** A host tensor as users hold it: f32 as float32, all else as int32. */
export function userTensor({ dtype, shape, data }: HostTensor): Tensor<'float32'> | Tensor<'int32'> {
  return dtype === 'f32'
    ? new Tensor('float32', Float32Array.from(data as Float32Array), shape)
    : new Tensor('int32', Int32Array.from(data as ArrayLike<number | bigint>, Number), shape);
}

/** Tensors of several batches one below the other, along the first axis; the other axes are as long as the longest. */
export function concatRows(parts: readonly Tensor[], fill: number = ignoredLabel): Tensor {
  const rank = parts[0].dims.length;
  if (rank === 0) return concatRows(parts.map((p) => new Tensor(p.type, p.data, [1])));
  const inner = Array.from({ length: rank - 1 }, (_, axis) => Math.max(...parts.map((p) => p.dims[axis + 1])));
  const rows = parts.reduce((n, p) => n + p.dims[0], 0);
  const size = inner.reduce((n, d) => n * d, 1);
  const isFloat = parts[0].type === 'float32';
  const data = isFloat ? new Float32Array(rows * size).fill(fill) : new Int32Array(rows * size).fill(fill);
  let row = 0;
  for (const part of parts) {
    copy(part, data, row * size, inner);
    row += part.dims[0];
  }
  const dims = [rows, ...inner];
  return data instanceof Float32Array ? new Tensor('float32', data, dims) : new Tensor('int32', data, dims);
}

/** Puts a tensor into one whose inner axes are `inner`, from an offset on. */
function copy({ dims, data }: Tensor, into: Float32Array | Int32Array, offset: number, inner: readonly number[]): void {
  const own = dims.slice(1);
  const last = own[own.length - 1] ?? 1;
  const strides = inner.map((_, axis) => inner.slice(axis + 1).reduce((n, d) => n * d, 1));
  const size = inner.reduce((n, d) => n * d, 1);
  for (let from = 0; from < data.length; from += last) {
    let rest = Math.floor(from / last);
    let to = offset;
    for (let axis = own.length - 2; axis >= 0; axis--) {
      to += (rest % own[axis]) * strides[axis];
      rest = Math.floor(rest / own[axis]);
    }
    to += rest * size;
    for (let i = 0; i < last; i++) into[to + i] = Number(data[from + i]);
  }
}
