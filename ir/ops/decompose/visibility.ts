// Which keys a query of attention may attend to, as a bool for every pair: ir/ops/composite/visibility.ts in simpler ops.
import { add, compare, filled, maximum, spread } from '../../build.ts';
import { type Dim, dimSub } from '../../dim.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { Attrs } from '../attrs.ts';

/** bool of `shape` [B, G, H/G, S, T]: whether a query may attend to a key; undefined where it always may. */
export function visibleKeys(
  { causal, window }: Pick<Attrs['attention'], 'causal' | 'window'>,
  { mask, lengths }: { readonly mask?: Node; readonly lengths?: Node },
  shape: readonly Dim[],
): Node | undefined {
  const conditions: Node[] = [];
  if (mask) conditions.push(spread(mask, shape, [0, 4]));
  if (causal || window > 0 || lengths) {
    const axes = lengths ? [0, 3, 4] : [3, 4];
    const pairs = axes.map((axis) => shape[axis]);
    const key = make('iota', [], { shape: pairs, axis: axes.length - 1, dtype: 'i32' });
    const query = make('iota', [], { shape: pairs, axis: axes.length - 2, dtype: 'i32' });
    const [queries, keys] = shape.slice(3);
    const size = (d: Dim): Node => make('dim', [], { dim: d });
    const atMost = (x: Node, y: Node): Node => make('min', [x, y], {});
    const held = lengths && maximum(atMost(lengths, spread(size(keys), lengths.type.shape, [])), filled(0, lengths));
    const before = held
      ? spread(add(held, make('neg', [spread(size(queries), held.type.shape, [])], {})), pairs, [0])
      : spread(size(dimSub(keys, queries)), pairs, []);
    const position = add(query, before);
    const require = (condition: Node): void => void conditions.push(spread(condition, shape, axes));
    if (causal) require(compare('le', key, position));
    if (window > 0) require(compare('gt', key, add(position, filled(-window, position))));
    if (held && !causal) require(compare('lt', key, spread(held, pairs, [0])));
  }
  return conditions.length === 0 ? undefined : conditions.reduce((x, y) => make('and', [x, y], {}));
}
