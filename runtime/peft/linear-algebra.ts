// Dense matrices of doubles, row-major, and the decompositions that adapters need: QR by Householder reflections, the
// singular value decomposition by one-sided Jacobi rotations (Hestenes 1958), and its randomised form for few singular
// values (Halko, Martinsson and Tropp 2011). Sizes are those of weights; nothing here is tuned for speed.

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

/** a = q r with q [rows, k] of orthonormal columns and r [k, columns] upper triangular, k the smaller size. */
export function qr(a: Matrix): { readonly q: Matrix; readonly r: Matrix } {
  const { rows, columns } = a;
  const k = Math.min(rows, columns);
  const work = matrix(rows, columns, a.data.slice());
  const reflections: Float64Array[] = [];
  for (let step = 0; step < k; step++) {
    const v = new Float64Array(rows);
    let norm = 0;
    for (let i = step; i < rows; i++) {
      v[i] = work.data[i * columns + step];
      norm += v[i] ** 2;
    }
    norm = Math.sqrt(norm);
    v[step] += v[step] < 0 ? -norm : norm;
    const length = Math.sqrt(v.reduce((s, x) => s + x * x, 0));
    if (length > 0) for (let i = step; i < rows; i++) v[i] /= length;
    reflect(work, v, step);
    reflections.push(v);
  }
  const q = matrix(rows, k);
  for (let i = 0; i < k; i++) q.data[i * k + i] = 1;
  for (let step = k - 1; step >= 0; step--) reflect(q, reflections[step], step);
  return { q, r: firstRows(work, k) };
}

/** Applies I - 2 v vᵀ, v zero above `from`, from the left, in place. */
function reflect(a: Matrix, v: Float64Array, from: number): void {
  for (let j = 0; j < a.columns; j++) {
    let dot = 0;
    for (let i = from; i < a.rows; i++) dot += v[i] * a.data[i * a.columns + j];
    for (let i = from; i < a.rows; i++) a.data[i * a.columns + j] -= 2 * dot * v[i];
  }
}

/** a = u diag(s) vt with the singular values falling; u [rows, k], vt [k, columns], k the smaller size. */
export interface Svd {
  readonly u: Matrix;
  readonly s: Float64Array;
  readonly vt: Matrix;
}

/** Sweeps converge quadratically: real matrices need about ten. */
const mostSweeps = 60;

export function svd(a: Matrix): Svd {
  if (a.rows > a.columns) {
    const { u, s, vt } = svd(transposed(a));
    return { u: transposed(vt), s, vt: transposed(u) };
  }
  // The rows of w = g a are made orthogonal by rotations g: then a = gᵀ w, the lengths of w's rows are the singular values.
  const { rows: n, columns } = a;
  const w = a.data.slice();
  const g = new Float64Array(n * n);
  for (let i = 0; i < n; i++) g[i * n + i] = 1;
  for (let sweep = 0, rotated = true; rotated && sweep < mostSweeps; sweep++) {
    rotated = false;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        let [pp, qq, pq] = [0, 0, 0];
        for (let j = 0; j < columns; j++) {
          const [x, y] = [w[p * columns + j], w[q * columns + j]];
          pp += x * x;
          qq += y * y;
          pq += x * y;
        }
        if (Math.abs(pq) <= 1e-15 * Math.sqrt(pp * qq)) continue;
        rotated = true;
        const zeta = (qq - pp) / (2 * pq);
        const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const c = 1 / Math.sqrt(1 + t * t);
        rotate(w, columns, p, q, c, c * t);
        rotate(g, n, p, q, c, c * t);
      }
    }
  }
  const lengths = rowNorms(matrix(n, columns, w));
  const order = [...lengths.keys()].sort((i, j) => lengths[j] - lengths[i]);
  const s = Float64Array.from(order, (i) => lengths[i]);
  const vt = matrix(n, columns);
  const u = matrix(n, n);
  order.forEach((from, to) => {
    for (let j = 0; j < columns; j++) vt.data[to * columns + j] = s[to] > 0 ? w[from * columns + j] / s[to] : 0;
    for (let i = 0; i < n; i++) u.data[i * n + to] = g[from * n + i];
  });
  return { u, s, vt };
}

/** Rows p and q become c p - s q and s p + c q. */
function rotate(data: Float64Array, columns: number, p: number, q: number, c: number, s: number): void {
  for (let j = 0; j < columns; j++) {
    const [x, y] = [data[p * columns + j], data[q * columns + j]];
    data[p * columns + j] = c * x - s * y;
    data[q * columns + j] = s * x + c * y;
  }
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
