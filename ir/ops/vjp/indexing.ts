// Reverse-mode rules of reading and writing at positions that are values: what was read adds up where it came from, what
// was written is read back. Sums over equal positions are f32.
import {
  add,
  axesOf,
  castTo,
  clamped,
  compare,
  div,
  filled,
  indicator,
  inside,
  mul,
  spread,
  where,
} from '../../build.ts';
import { make } from '../../make.ts';
import type { Node } from '../../node.ts';
import type { IndexingAttrs } from '../attrs.ts';
import type { Vjp, VjpTable } from './rule.ts';

const gather: Vjp<'gather'> = (node, c) => {
  const [x, idx] = node.args;
  const { axis } = node.attrs;
  const zeros = filled(0, x, 'f32');
  const read = clamped(idx, x.type.shape[axis]);
  const sum = make('scatter', [zeros, read, castTo(c, 'f32')], { ...node.attrs, combine: 'add' });
  return [castTo(sum, x.type.dtype), null];
};

/** The axes of gather(x, idx) that are those of idx. */
const indexAxes = ({ args: [, idx], attrs: { axis, batch } }: Node<'scatter'>): number[] =>
  axesOf(idx).map((i) => (i < batch ? i : axis + i - batch));

/**
 * Which updates of 'set' are the last at their position: each writes its number along the index axes, and those that
 * find it there were not overwritten.
 */
function isLast(node: Node<'scatter'>): Node {
  const [x, idx, updates] = node.args;
  const { shape } = updates.type;
  let number: Node | undefined;
  for (const axis of indexAxes(node)) {
    const own = make('iota', [], { shape, axis, dtype: 'i32' });
    const size = spread(make('dim', [], { dim: shape[axis] }), shape, []);
    number = number ? add(mul(number, size), own) : own;
  }
  const numbers = number ?? filled(0, updates, 'i32');
  const written = make('scatter', [filled(-1, x, 'i32'), idx, numbers], node.attrs);
  return compare('eq', make('gather', [written, idx], node.attrs), numbers);
}

const scatter: Vjp<'scatter'> = (node, c) => {
  const [x, idx, updates] = node.args;
  const { axis, batch, combine } = node.attrs;
  const counts = spread(inside(idx, x.type.shape[axis]), updates.type.shape, indexAxes(node));
  const read = (from: Node): Node => make('gather', [from, idx], { axis, batch });
  switch (combine) {
    case 'add':
      return [c, null, where(counts, read(c))];
    case 'set': {
      const cleared = make('scatter', [c, idx, filled(0, updates)], node.attrs);
      return [cleared, null, where(make('and', [counts, isLast(node)], {}), read(c))];
    }
    case 'min':
    case 'max': {
      // x and the updates of a position are one set; those that attain its extreme share the cotangent
      const keeps = compare('eq', x, node);
      const wins = make('and', [counts, compare('eq', updates, read(node))], {});
      const ties = make('scatter', [indicator(keeps, x), idx, indicator(wins, x)], { axis, batch, combine: 'add' });
      const share = div(c, ties);
      return [where(keeps, share), null, where(wins, read(share))];
    }
    default:
      return combine satisfies never;
  }
};

export const indexing: VjpTable<IndexingAttrs> = {
  gather,
  scatter,
  dynamic_slice({ args: [x, ...starts] }, c) {
    return [make('dynamic_update_slice', [filled(0, x), c, ...starts], {}), ...starts.map(() => null)];
  },
  dynamic_update_slice({ args: [, update, ...starts] }, c) {
    const rest = make('dynamic_update_slice', [c, filled(0, update), ...starts], {});
    const part = make('dynamic_slice', [c, ...starts], { sizes: update.type.shape });
    return [rest, part, ...starts.map(() => null)];
  },
};
