// Tensor: what users of models and tokenizers hold. The shape of transformers.js's class (type, data, dims), dense and
// row-major in host memory. int64 holds token ids; float32 holds logits; bool holds masks.
import { ModelcError } from '../../ir/error.ts';

/** The arrays that hold elements of each type. */
export interface TensorDataTypes {
  /** IEEE 754 binary32. */
  float32: Float32Array;
  /** IEEE 754 binary64. */
  float64: Float64Array;
  /** The bits of IEEE 754 binary16. */
  float16: Uint16Array;
  /** Token ids. */
  int64: BigInt64Array;
  /** Signed, 32 bits. */
  int32: Int32Array;
  /** Unsigned, 32 bits. */
  uint32: Uint32Array;
  /** Signed, 8 bits. */
  int8: Int8Array;
  /** Unsigned, 8 bits. */
  uint8: Uint8Array;
  /** 0 or 1. */
  bool: Uint8Array;
}
/** A type of elements. */
export type TensorTypeName = keyof TensorDataTypes;

/** Nested arrays of numbers; int64 elements are bigints. */
export type NestedList = number | bigint | NestedList[];

/** What one axis of `slice` takes: everything, one index (the axis disappears), or [start, end). Negative: from the end. */
export type SliceSpec = null | number | readonly [start: number | null, end: number | null];

/**
 * Numbers in host memory, as transformers.js has them: what tokenizers and models give.
 *
 *     new Tensor('int64', BigInt64Array.of(1n, 2n, 3n), [1, 3]).tolist() // [[1n, 2n, 3n]]
 */
export class Tensor<K extends TensorTypeName = TensorTypeName> {
  /** What its elements are. */
  readonly type: K;
  /** The elements, row-major. */
  readonly data: TensorDataTypes[K];
  /** Sizes of its axes. */
  readonly dims: readonly number[];

  constructor(type: K, data: TensorDataTypes[K], dims: readonly number[]) {
    const size = dims.reduce((n, d) => n * d, 1);
    if (data.length !== size) {
      throw new ModelcError(
        'input',
        `a tensor of dims [${dims}] has ${size} elements, but its data has ${data.length}`,
      );
    }
    this.type = type;
    this.data = data;
    this.dims = [...dims];
  }

  /** How many elements it has. */
  get size(): number {
    return this.data.length;
  }

  /** The only element of a tensor of size 1. */
  item(): number | bigint {
    if (this.size !== 1)
      throw new ModelcError('input', `item() needs a tensor of one element, this one has ${this.size}`);
    return this.data[0];
  }

  /** The elements as nested arrays. */
  tolist(): NestedList[] {
    const build = (axis: number, offset: number, step: number): NestedList => {
      if (axis === this.dims.length) return this.data[offset];
      const inner = step / this.dims[axis];
      return Array.from({ length: this.dims[axis] }, (_, i) => build(axis + 1, offset + i * inner, inner));
    };
    const list = build(0, 0, this.size);
    return Array.isArray(list) ? list : [list];
  }

  /** A copy of a part, as in transformers.js: `t.slice(null, [5, null])` is t[:, 5:], `t.slice(0)` is t[0]. */
  slice(...specs: SliceSpec[]): Tensor<K> {
    if (specs.length > this.dims.length) {
      throw new ModelcError('input', `slice() got ${specs.length} axes for a tensor of ${this.dims.length}`);
    }
    const ranges = this.dims.map((extent, axis): [number, number] => {
      const spec = specs[axis] ?? null;
      const from = (v: number): number => (v < 0 ? v + extent : v);
      if (spec === null) return [0, extent];
      if (typeof spec !== 'number') {
        const start = Math.max(0, from(spec[0] ?? 0));
        return [start, Math.max(start, Math.min(extent, from(spec[1] ?? extent)))];
      }
      const index = from(spec);
      if (!(Number.isInteger(index) && index >= 0 && index < extent)) {
        throw new ModelcError('input', `index ${spec} is out of range for axis ${axis} of extent ${extent}`);
      }
      return [index, index + 1];
    });
    let data = this.data;
    let outer = 1;
    for (const [axis, [start, end]] of ranges.entries()) {
      const inner = data.length / outer / this.dims[axis] || 0;
      if (end - start !== this.dims[axis]) data = takeRange(data, outer, this.dims[axis], inner, start, end);
      outer *= end - start;
    }
    const dims = ranges.map(([start, end]) => end - start).filter((_, axis) => typeof specs[axis] !== 'number');
    return new Tensor(this.type, data === this.data ? copyOf(data) : data, dims);
  }

  /** The values as numbers (float32, float64 and small integers) in a tensor of another type. */
  to<J extends TensorTypeName>(type: J): Tensor<J> {
    const out = allocate(type, this.size);
    for (let i = 0; i < this.size; i++) store(out, i, this.data[i]);
    return new Tensor(type, out, this.dims);
  }
}

function takeRange<D extends TensorDataTypes[TensorTypeName]>(
  data: D,
  outer: number,
  extent: number,
  inner: number,
  start: number,
  end: number,
): D {
  const length = (end - start) * inner;
  const out = emptyLike(data, outer * length);
  for (let o = 0; o < outer; o++) {
    const base = (o * extent + start) * inner;
    for (let i = 0; i < length; i++) store(out, o * length + i, data[base + i]);
  }
  return out;
}

const constructors: { readonly [K in TensorTypeName]: new (length: number) => TensorDataTypes[K] } = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

const allocate = <K extends TensorTypeName>(type: K, length: number): TensorDataTypes[K] =>
  new constructors[type](length);

const emptyLike = <D extends TensorDataTypes[TensorTypeName]>(data: D, length: number): D =>
  new (data.constructor as new (length: number) => D)(length);

function copyOf<D extends TensorDataTypes[TensorTypeName]>(data: D): D {
  return data.slice() as D;
}

function store(data: TensorDataTypes[TensorTypeName], i: number, value: number | bigint): void {
  if (data instanceof BigInt64Array) data[i] = BigInt(value);
  else data[i] = Number(value);
}
