// Dense matrices of doubles, row-major, and the decompositions that adapters need: QR and SVD of ml-matrix, and the
// randomised SVD for few singular values (Halko, Martinsson and Tropp 2011). Sizes are those of weights.
import { Matrix as MlMatrix, QrDecomposition, SingularValueDecomposition } from 'ml-matrix';
import { ModelcError } from '../../ir/error.ts';

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

export const matrix = (
  rows: number,
  columns: number,
  data: ArrayLike<number> = new Float64Array(rows * columns),
): Matrix => ({ rows, columns, data: data instanceof Float64Array ? data : Float64Array.from(data) });

export function transposed(a: Matrix): Matrix {
  const t = matrix(a.columns, a.rows);
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < a.columns; j++) t.data[j * a.rows + i] = a.data[i * a.columns + j];
  return t;
}

export function multiply(a: Matrix, b: Matrix): Matrix {
  const c = matrix(a.rows, b.columns);
  for (let i = 0; i < a.rows; i++) {
    for (let k = 0; k < a.columns; k++) {
      const x = a.data[i * a.columns + k];
      if (x === 0) continue;
      for (let j = 0; j < b.columns; j++) c.data[i * b.columns + j] += x * b.data[k * b.columns + j];
    }
  }
  return c;
}

/** x a + y b. */
export const combine = (x: number, a: Matrix, y: number, b: Matrix): Matrix =>
  matrix(
    a.rows,
    a.columns,
    a.data.map((v, i) => x * v + y * b.data[i]),
  );

/** Every row times its factor. */
export const scaleRows = (a: Matrix, factors: ArrayLike<number>): Matrix =>
  matrix(
    a.rows,
    a.columns,
    a.data.map((v, i) => v * factors[Math.floor(i / a.columns)]),
  );

export const firstRows = (a: Matrix, count: number): Matrix =>
  matrix(count, a.columns, a.data.slice(0, count * a.columns));

export const firstColumns = (a: Matrix, count: number): Matrix => transposed(firstRows(transposed(a), count));

/** The Euclidean norm of every row. */
export const rowNorms = (a: Matrix): Float64Array =>
  Float64Array.from({ length: a.rows }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < a.columns; j++) sum += a.data[i * a.columns + j] ** 2;
    return Math.sqrt(sum);
  });

const ofLibrary = ({ rows, columns, data }: Matrix): MlMatrix => MlMatrix.from1DArray(rows, columns, data);
const fromLibrary = (m: MlMatrix): Matrix => matrix(m.rows, m.columns, m.to1DArray());

/** The library does not end on numbers that are not finite. */
function requireFinite({ data }: Matrix): void {
  if (data.every(Number.isFinite)) return;
  throw new ModelcError(
    'input',
    'a weight with NaN or infinite values cannot be decomposed; the model seems to be broken',
  );
}

/** a = q r with q [rows, k] of orthonormal columns and r [k, columns] upper triangular, k the smaller size. */
export function qr(a: Matrix): { readonly q: Matrix; readonly r: Matrix } {
  requireFinite(a);
  // The library takes no matrix that is wider than high; the left part decides q.
  const left = firstColumns(a, Math.min(a.rows, a.columns));
  const q = fromLibrary(new QrDecomposition(ofLibrary(left)).orthogonalMatrix);
  return { q, r: multiply(transposed(q), a) };
}

/** a = u diag(s) vt with the singular values falling; u [rows, k], vt [k, columns], k the smaller size. */
export interface Svd {
  readonly u: Matrix;
  readonly s: Float64Array;
  readonly vt: Matrix;
}

export function svd(a: Matrix): Svd {
  requireFinite(a);
  if (a.rows < a.columns) {
    const { u, s, vt } = svd(transposed(a));
    return { u: transposed(vt), s, vt: transposed(u) };
  }
  const found = new SingularValueDecomposition(ofLibrary(a));
  const u = fromLibrary(found.leftSingularVectors);
  return { u, s: Float64Array.from(found.diagonal), vt: transposed(fromLibrary(found.rightSingularVectors)) };
}

/** About the `count` largest singular values: more exact with every iteration. `normal` draws from N(0, 1). */
export function randomizedSvd(a: Matrix, count: number, iterations: number, normal: () => number): Svd {
  const at = transposed(a);
  const draw = matrix(a.columns, count, Float64Array.from({ length: a.columns * count }, normal));
  let { q } = qr(multiply(a, draw));
  for (let i = 0; i < iterations; i++) q = qr(multiply(a, qr(multiply(at, q)).q)).q;
  const { u, s, vt } = svd(multiply(transposed(q), a));
  return { u: multiply(q, u), s, vt };
}
