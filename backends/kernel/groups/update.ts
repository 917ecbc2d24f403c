// Templates that write part of an array, for groups: state updates in place, an element a thread; scans, a
// line a thread.
import { dimProduct } from '../../../ir/dim.ts';
import type { Expr } from '../../../ir/loop.ts';
import type { Target } from '../../../ir/target.ts';
import { delinear } from '../builder.ts';
import type { Emitter } from '../emit.ts';
import { elementsPerThread } from '../schedule.ts';
import { scanLine, scanOf, storeInState, updateOrigin } from '../templates/update.ts';
import { overItems } from './map.ts';

/** Writes the new values of a cache_update or dynamic_update_slice into the state's own memory. */
export function updateKernel(emitter: Emitter, target: Target): Expr {
  const { builder, region } = emitter;
  const { root } = region;
  const values = root.args[1];
  const { shape } = values.type;
  const out = builder.buffer(root, 'write');
  const originOf = updateOrigin(emitter);
  return overItems(builder, target, builder.size(dimProduct(shape)), elementsPerThread, (e) => {
    const at = delinear(builder, shape, e);
    storeInState(emitter, originOf, at, (place) => builder.store(out, place, emitter.element(values, at)));
  });
}

export function scanKernel(emitter: Emitter, target: Target): Expr {
  const { builder, region } = emitter;
  const root = scanOf(region.root);
  const lines = root.type.shape.toSpliced(root.attrs.axis, 1);
  return overItems(builder, target, builder.size(dimProduct(lines)), 1, (line) =>
    scanLine(emitter, root, delinear(builder, lines, line)),
  );
}
