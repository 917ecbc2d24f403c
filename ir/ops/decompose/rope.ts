// Decomposition of rope: the two members of all pairs are sliced out, turned and put back.
import { add, mul, sliceAxis, spread, sub } from '../../build.ts';
import { dim, dimConst } from '../../dim.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { Decomposition } from '../op.ts';

export const rope: Decomposition<'rope'> = (node) => {
  const [x, cosine, sine] = node.args;
  const pairs = dimConst(cosine.type.shape[2])!;
  const width = dimConst(x.type.shape[3])!;
  const isHalf = node.attrs.style === 'half';
  const first = isHalf ? sliceAxis(x, 3, 0, pairs) : sliceAxis(x, 3, 0, pairs, 2);
  const second = isHalf ? sliceAxis(x, 3, pairs, pairs) : sliceAxis(x, 3, 1, pairs, 2);
  const [cos, sin] = [cosine, sine].map((t) => spread(t, first.type.shape, [0, 2, 3]));
  const turned = [sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))];
  const rest = 2 * pairs === width ? [] : [sliceAxis(x, 3, 2 * pairs, width - 2 * pairs)];
  if (isHalf) return make('concat', [...turned, ...rest], { axis: 3 });
  const [b, h, s] = x.type.shape;
  const columns = turned.map((t): Node => make('reshape', [t], { shape: [...t.type.shape, dim(1)] }));
  const merged = make('reshape', [make('concat', columns, { axis: 4 })], { shape: [b, h, s, dim(2 * pairs)] });
  return rest.length === 0 ? merged : make('concat', [merged, ...rest], { axis: 3 });
};
