// Reverse-mode rules of caches.
import { add, constant, filled, inside, spread, where } from '../../build.ts';
import { make } from '../../make.ts';
import type { StateAttrs } from '../attrs.ts';
import type { VjpTable } from './rule.ts';

export const state: VjpTable<StateAttrs> = {
  /** The positions written take the cotangent from what was there; those outside the state take none. */
  cache_update({ args: [cache, values, past], attrs: { axis } }, c) {
    const rest = make('cache_update', [c, filled(0, values), past], { axis });
    const shape = [values.type.shape[axis]];
    const position = add(make('iota', [], { shape, axis: 0, dtype: 'i32' }), spread(past, shape, []));
    const written = make('gather', [c, position], { axis, batch: 0 });
    const counts = spread(inside(position, cache.type.shape[axis]), values.type.shape, [axis]);
    return [rest, where(counts, written), null];
  },
  cache_read({ args: [cache], attrs: { axis } }, c) {
    const start = constant(0, 'i32');
    return [make('cache_update', [filled(0, cache), c, start], { axis })];
  },
};
