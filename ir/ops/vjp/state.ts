// Reverse-mode rules of caches.
import { add, constant, filled, inside, spread, where } from '../../build.ts';
import { make } from '../../make.ts';
import type { StateAttrs } from '../attrs.ts';
import type { VjpTable } from './rule.ts';

export const state: VjpTable<StateAttrs> = {
  /** The positions written take the cotangent from what was there; those outside the state take none. */
  cache_update({ args: [cache, values, past], attrs: { axis } }, c) {
    const rest = make('cache_update', [c, filled(0, values), past], { axis });
    // one position for all rows, or one for each
    const rows = past.type.shape;
    const shape = [...rows, values.type.shape[axis]];
    const batch = rows.length;
    const offsets = make('iota', [], { shape, axis: batch, dtype: 'i32' });
    const position = add(offsets, spread(past, shape, batch > 0 ? [0] : []));
    const written = make('gather', [c, position], { axis, batch });
    const counts = spread(inside(position, cache.type.shape[axis]), values.type.shape, batch > 0 ? [0, axis] : [axis]);
    return [rest, where(counts, written), null];
  },
  cache_read({ args: [cache], attrs: { axis } }, c) {
    const start = constant(0, 'i32');
    return [make('cache_update', [filled(0, cache), c, start], { axis })];
  },
};
