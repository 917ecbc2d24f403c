// Templates that write part of an array, for groups: state updates in place, an element a thread; scatters and scans, a
// line a thread. Lines are disjoint, so that updates of one line keep their order and lines need none.
import { dimProduct } from '../../../ir/dim.ts';
import { ModelcError } from '../../../ir/error.ts';
import { alu, cast, type Expr, index } from '../../../ir/loop.ts';
import { isOp } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { combine, delinear, linear } from '../builder.ts';
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
  const origin = updateOrigin(emitter);
  return overItems(builder, target, builder.size(dimProduct(shape)), elementsPerThread, (e) => {
    const at = delinear(builder, shape, e);
    storeInState(emitter, origin, at, (place) => builder.store(out, place, emitter.element(values, at)));
  });
}

/** A line is what has one index before the scattered axis and one behind it. */
export function scatterKernel(emitter: Emitter, target: Target): Expr {
  const { builder, region } = emitter;
  const root = region.root;
  if (!isOp(root, 'scatter')) throw new ModelcError('unsupported', `no scatter template for ${root.op}`);
  const { axis, batch, combine: how } = root.attrs;
  const [x, idx, updates] = root.args;
  const shape = x.type.shape;
  const out = builder.buffer(root, 'write');
  const inner = shape.slice(axis + 1);
  const lines = [...shape.slice(0, axis), ...inner];
  const extent = builder.size(shape[axis]);
  return overItems(builder, target, builder.size(dimProduct(lines)), 1, (line) => {
    const at = delinear(builder, lines, line).map((e) => builder.let(e));
    const [before, behind] = [at.slice(0, axis), at.slice(axis)];
    const placeOf = (i: Expr) => builder.let(linear(builder, shape, [...before, i, ...behind]));
    builder.for(index(0), extent, 1, (i) => {
      builder.store(out, placeOf(i), emitter.element(x, [...before, i, ...behind]));
    });
    const positions = idx.type.shape.slice(batch);
    builder.for(index(0), builder.size(dimProduct(positions)), 1, (u) => {
      const position = delinear(builder, positions, u);
      const i = builder.let(cast(emitter.element(idx, [...before.slice(0, batch), ...position]), 'index'));
      builder.if(alu('and', alu('ge', i, index(0)), alu('lt', i, extent)), () => {
        const value = emitter.element(updates, [...before, ...position, ...behind]);
        const place = placeOf(i);
        const old = () => builder.load(out, place, root.type.dtype);
        builder.store(out, place, how === 'set' ? value : combine(how, old(), value));
      });
    });
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
