// The decompositions behind PiSSA, OLoRA and combined adapters: what they promise of any shape, and of ranks that are not full.
import { describe, expect, test } from 'vitest';
import { firstColumns, type Matrix, matrix, multiply, qr, randomizedSvd, scaleRows, svd, transposed } from '../../runtime/peft/linear-algebra.ts'; // biome-ignore format: one row

let seed = 7;
const draw = (): number => {
  seed = (seed * 48271) % 2147483647;
  return seed / 2147483647 - 0.5;
};
const random = (rows: number, columns: number): Matrix => matrix(rows, columns, Float64Array.from({ length: rows * columns }, draw)); // biome-ignore format: one row

function expectClose(a: Matrix, b: Matrix): void {
  expect([a.rows, a.columns]).toEqual([b.rows, b.columns]);
  expect(a.data.reduce((most, v, i) => Math.max(most, Math.abs(v - b.data[i])), 0)).toBeLessThan(1e-10);
}
const identity = (size: number): Matrix => matrix(size, size, Float64Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0))); // biome-ignore format: one row

const shapes = [
  [6, 6],
  [9, 4],
  [4, 9],
  [1, 5],
  [5, 1],
] as const;

describe.each(shapes)('a matrix of %i by %i', (rows, columns) => {
  const least = Math.min(rows, columns);
  test('is q r, q orthonormal and r upper triangular with the signs of LAPACK', () => {
    const a = random(rows, columns);
    const { q, r } = qr(a);
    expectClose(multiply(q, r), a);
    expectClose(multiply(transposed(q), q), identity(least));
    for (let i = 0; i < least; i++) for (let j = 0; j < i; j++) expect(Math.abs(r.data[i * columns + j])).toBeLessThan(1e-12); // biome-ignore format: one row
    if (rows > 1) expect(Math.sign(r.data[0])).toBe(-Math.sign(a.data[0]));
  });

  test('is u s v, u and v orthonormal and s falling', () => {
    const a = random(rows, columns);
    const { u, s, vt } = svd(a);
    expectClose(multiply(u, scaleRows(vt, s)), a);
    expectClose(multiply(transposed(u), u), identity(least));
    expectClose(multiply(vt, transposed(vt)), identity(least));
    expect([...s]).toEqual([...s].sort((x, y) => y - x));
    expect(s[least - 1]).toBeGreaterThanOrEqual(0);
  });
});

test('a matrix of low rank is its first singular values, and a drawn decomposition finds them', () => {
  const a = multiply(random(12, 2), random(2, 8));
  const { u, s, vt } = svd(a);
  expect(s.slice(2).every((value) => value < 1e-12)).toBe(true);
  expectClose(multiply(firstColumns(u, 2), scaleRows(matrix(2, 8, vt.data.slice(0, 16)), s)), a);
  const drawn = randomizedSvd(a, 2, 2, draw);
  expectClose(multiply(drawn.u, scaleRows(drawn.vt, drawn.s)), a);
});

test('numbers that are not finite are refused', () => {
  for (const decompose of [qr, svd]) {
    expect(() => decompose(matrix(2, 2, [1, Number.NaN, 0, 1]))).toThrow(/NaN or infinite values/);
  }
});
