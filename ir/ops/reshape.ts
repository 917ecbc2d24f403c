// How the axes of a reshape correspond: groups of axes with equal numbers of elements, and the factors of each group.
import { type Dim, dim, dimDivExact, dimEquals, dimMul } from '../dim.ts';
import { isOne } from './common.ts';

/** Axes of a reshape's argument and result that hold the same elements: their sizes have equal products. */
export interface ReshapeGroup {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

/** The finest grouping of the axes, in order; axes of size 1 belong to no group. */
export function reshapeGroups(from: readonly Dim[], to: readonly Dim[]): ReshapeGroup[] {
  const a = from.flatMap((d, i) => (isOne(d) ? [] : [i]));
  const b = to.flatMap((d, i) => (isOne(d) ? [] : [i]));
  const groups: ReshapeGroup[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    const [n, m] = firstEqualProducts(
      a.slice(i).map((k) => from[k]),
      b.slice(j).map((k) => to[k]),
    );
    groups.push({ from: a.slice(i, i + n), to: b.slice(j, j + m) });
    i += n;
    j += m;
  }
  // what is left on one side only: sizes that an empty axis makes irrelevant
  if (i < a.length || j < b.length) groups.push({ from: a.slice(i), to: b.slice(j) });
  return groups;
}

/** The shortest prefixes of x and y with equal products; all of x and y where there are none. */
function firstEqualProducts(x: readonly Dim[], y: readonly Dim[]): [number, number] {
  const products: Dim[] = [];
  let p = dim(1);
  for (let n = 1; n <= x.length; n++) {
    p = dimMul(p, x[n - 1]);
    let q = dim(1);
    for (let m = 1; m <= y.length; m++) {
      q = products[m - 1] ??= dimMul(q, y[m - 1]);
      if (dimEquals(p, q)) return [n, m];
    }
  }
  return [x.length, y.length];
}

/**
 * Factors of one group: sizes that both sides are made of. [6] to [2, 3] gives 2 and 3; [4, 6] to [8, 3] gives 4, 2 and
 * 3; undefined where there are no common ones, as for [4, 6] to [6, 4].
 */
export function commonFactors(
  x: readonly Dim[],
  y: readonly Dim[],
): { size: Dim; from: number; to: number }[] | undefined {
  if (x.length === 0 || y.length === 0) return undefined;
  if (x.length === 1) return y.map((size, to) => ({ size, from: 0, to }));
  if (y.length === 1) return x.map((size, from) => ({ size, from, to: 0 }));
  const found: { size: Dim; from: number; to: number }[] = [];
  const [a, b] = [[...x], [...y]];
  let from = 0;
  let to = 0;
  while (from < a.length && to < b.length) {
    const up = dimDivExact(b[to], a[from]);
    const down = up ? undefined : dimDivExact(a[from], b[to]);
    if (up) {
      found.push({ size: a[from], from: from++, to });
      if (isOne(up)) to++;
      else b[to] = up;
    } else if (down) {
      found.push({ size: b[to], from, to: to++ });
      a[from] = down;
    } else {
      return undefined;
    }
  }
  return from === a.length && to === b.length ? found : undefined;
}
