// Values that are parts of one stored weight in another order: transposes, slices, reshapes. Each is a first element and a
// step through memory per axis, found by going through the graph. Where the steps are those of an array that lies in
// one piece, the value is a piece of what is stored, and nothing is copied; else its elements are copied one by one.
import type { FileSpan } from '../../backends/device.ts';
import { readSpan } from '../../frontends/huggingface/index.ts';
import { dimEval } from '../../ir/dim.ts';
import { dtypeInfo } from '../../ir/dtype.ts';
import { sizeOf, stridesOf } from '../../ir/ndarray.ts';
import { isOp, type Node } from '../../ir/node.ts';

/** Elements of a weight: element [i, j, …] is the stored element offset + i strides[0] + j strides[1] + …. */
export interface WeightView {
  readonly weight: Node<'param'>;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

const numbers = (dims: Node['type']['shape']): number[] => dims.map((d) => dimEval(d, {}));

/** Whether a view's elements lie side by side, in order. */
const isPiece = ({ shape, strides }: WeightView): boolean => {
  const dense = stridesOf(shape);
  return shape.every((size, axis) => size === 1 || strides[axis] === dense[axis]);
};

/** A value as a view of one weight; undefined where it is none. */
export function viewOf(value: Node): WeightView | undefined {
  if (isOp(value, 'param')) {
    const shape = numbers(value.type.shape);
    return { weight: value, offset: 0, shape, strides: stridesOf(shape) };
  }
  if (!isOp(value, 'transpose') && !isOp(value, 'slice') && !isOp(value, 'reshape')) return undefined;
  const view = viewOf(value.args[0]);
  if (!view) return undefined;
  const { weight, offset, shape, strides } = view;
  if (isOp(value, 'transpose')) {
    const { perm } = value.attrs;
    return { weight, offset, shape: perm.map((p) => shape[p]), strides: perm.map((p) => strides[p]) };
  }
  if (isOp(value, 'slice')) {
    const starts = numbers(value.attrs.starts);
    return {
      weight,
      offset: starts.reduce((n, start, axis) => n + start * strides[axis], offset),
      shape: numbers(value.attrs.sizes),
      strides: strides.map((s, axis) => s * value.attrs.strides[axis]),
    };
  }
  const result = numbers(value.type.shape);
  return isPiece(view) ? { weight, offset, shape: result, strides: stridesOf(result) } : undefined;
}

/** The part of `source`, where a weight is stored, that is a view of it; undefined where its order is another. */
export function pieceOf(view: WeightView, source: FileSpan | Uint8Array): FileSpan | Uint8Array | undefined {
  return isPiece(view) ? spanOf(view, source) : undefined;
}

/** Copies a view of a weight that is stored in `source`. */
export async function viewBytes(view: WeightView, source: FileSpan | Uint8Array): Promise<Uint8Array> {
  const span = spanOf(view, source);
  return gathered(span instanceof Uint8Array ? span : await readSpan(span), view, bytesPer(view));
}

const bytesPer = ({ weight }: WeightView): number => dtypeInfo[weight.type.dtype].bytes;

/** From the first element that a view reads to the last; no step is negative. */
function spanOf(view: WeightView, source: FileSpan | Uint8Array): FileSpan | Uint8Array {
  const { shape, strides } = view;
  if (sizeOf(shape) === 0) return new Uint8Array(0);
  const size = bytesPer(view);
  const start = view.offset * size;
  const bytes = (1 + shape.reduce((n, count, axis) => n + (count - 1) * strides[axis], 0)) * size;
  if (source instanceof Uint8Array) return source.subarray(start, start + bytes);
  return { ...source, offset: source.offset + start, bytes };
}

/** Arrays of elements as bits, by their size in bytes. */
const arrays: Readonly<Record<number, new (buffer: ArrayBufferLike, offset: number, length: number) => Bits>> = {
  1: Uint8Array,
  2: Uint16Array,
  4: Uint32Array,
};
type Bits = Uint8Array | Uint16Array | Uint32Array;

/** Elements along each side of the squares in which two axes change places: their lines fit the first cache. */
const side = 64;

/** Copies the elements of a view, whose first one is the first of `bytes`. */
function gathered(
  bytes: Uint8Array,
  { shape, strides }: Pick<WeightView, 'shape' | 'strides'>,
  size: number,
): Uint8Array {
  if (size === 8) {
    return gathered(bytes, { shape: [...shape, 2], strides: [...strides.map((s) => 2 * s), 1] }, 4);
  }
  const Elements = arrays[size];
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const from = new Elements(buffer, byteOffset, byteLength / size);
  const result = new Uint8Array(sizeOf(shape) * size);
  const to = new Elements(result.buffer, 0, sizeOf(shape));
  const dense = stridesOf(shape);
  const inner = shape.length - 1;
  // The axis along which memory is read forwards: it and the inner axis change places square by square.
  const across = strides.reduce((best, s, axis) => (shape[axis] > 1 && s < strides[best] ? axis : best), inner);
  const outer = shape.map((_, axis) => axis).filter((axis) => axis !== inner && axis !== across);
  const count = outer.reduce((n, axis) => n * shape[axis], 1);
  for (let i = 0; i < count; i++) {
    let [at, into, rest] = [0, 0, i];
    for (const axis of [...outer].reverse()) {
      const position = rest % shape[axis];
      rest = (rest - position) / shape[axis];
      at += position * strides[axis];
      into += position * dense[axis];
    }
    if (across === inner) copyRow(from, at, strides[inner], to, into, shape[inner]);
    else {
      copySquares(
        { array: from, at, row: strides[across], column: strides[inner] },
        { array: to, at: into, row: dense[across], column: 1 },
        shape[across],
        shape[inner],
      );
    }
  }
  return result;
}

function copyRow(from: Bits, at: number, step: number, to: Bits, into: number, count: number): void {
  if (step === 1) to.set(from.subarray(at, at + count), into);
  else for (let i = 0; i < count; i++) to[into + i] = from[at + i * step];
}

/** A matrix within an array: where it begins, and the steps to the next row and column. */
interface Plane {
  readonly array: Bits;
  readonly at: number;
  readonly row: number;
  readonly column: number;
}

function copySquares(from: Plane, to: Plane, rows: number, columns: number): void {
  const [source, target] = [from.array, to.array];
  for (let row = 0; row < rows; row += side) {
    const rowEnd = Math.min(rows, row + side);
    for (let column = 0; column < columns; column += side) {
      const columnEnd = Math.min(columns, column + side);
      for (let r = row; r < rowEnd; r++) {
        let at = from.at + r * from.row + column * from.column;
        let into = to.at + r * to.row + column * to.column;
        for (let c = column; c < columnEnd; c++) {
          target[into] = source[at];
          at += from.column;
          into += to.column;
        }
      }
    }
  }
}
