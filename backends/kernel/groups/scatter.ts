// Scatter for groups, without atomics, so that updates of one place keep their order. What lies behind the scattered axis
// is a row. Long rows: a group owns a range of positions, goes through all updates, and its threads share a row's elements;
// each element is touched by one thread alone, so there are no barriers. Short rows: a thread owns an element, and goes
// through the updates of its line.
import { dimProduct } from '../../../ir/dim.ts';
import { ModelcError } from '../../../ir/error.ts';
import { add, alu, cast, ceilDiv, type Expr, floorDiv, index, modulo, mul } from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { combine, delinear } from '../builder.ts';
import type { Emitter } from '../emit.ts';
import { groupScatterRange } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';
import { overItems } from './map.ts';

export function scatterKernel(emitter: Emitter, target: Target): Expr {
  const { root } = emitter.region;
  if (!isOp(root, 'scatter')) throw new ModelcError('unsupported', `no scatter template for ${root.op}`);
  const inner = root.type.shape.slice(root.attrs.axis + 1);
  return dimProduct(inner).max >= target.groupThreads / 2
    ? rangesKernel(emitter, target, root)
    : elementsKernel(emitter, target, root);
}

/** Runs `body` for every update, with the position that it goes to and its index among the updates. */
function overUpdates(
  emitter: Emitter,
  root: Node<'scatter'>,
  before: readonly Expr[],
  body: (position: Expr, at: readonly Expr[]) => void,
): void {
  const { builder } = emitter;
  const { batch } = root.attrs;
  const idx = root.args[1];
  const updates = idx.type.shape.slice(batch);
  builder.for(index(0), builder.size(dimProduct(updates)), 1, (u) => {
    const at = delinear(builder, updates, u);
    body(builder.let(cast(emitter.element(idx, [...before.slice(0, batch), ...at]), 'index')), at);
  });
}

function rangesKernel(emitter: Emitter, target: Target, root: Node<'scatter'>): Expr {
  const { builder } = emitter;
  const { axis, combine: how } = root.attrs;
  const [x, , updates] = root.args;
  const { shape, dtype } = root.type;
  const out = builder.buffer(root, 'write');
  const outer = shape.slice(0, axis);
  const inner = shape.slice(axis + 1);
  const extent = builder.size(shape[axis]);
  const width = builder.size(dimProduct(inner));
  const range = groupScatterRange(target, outer, shape[axis]);
  const ranges = ceilDiv(extent, range);
  const grid = mul(builder.size(dimProduct(outer)), ranges);
  const task = taskIndex(grid);
  const line = builder.let(floorDiv(task, ranges));
  const before = delinear(builder, outer, line).map((e) => builder.let(e));
  const first = builder.let(mul(modulo(task, ranges), index(range)));
  const end = builder.let(alu('min', add(first, index(range)), extent));
  const base = builder.let(mul(line, extent));
  /** Each thread takes the same elements of every row. */
  const store = (position: Expr, value: (rest: Expr[], place: Expr) => Expr) => {
    const row = builder.let(mul(add(base, position), width));
    builder.for(
      index(0),
      width,
      1,
      (e) => {
        const place = add(row, e);
        builder.store(out, place, value(delinear(builder, inner, e), place));
      },
      'group',
    );
  };
  builder.for(first, end, 1, (i) => store(i, (rest) => emitter.element(x, [...before, i, ...rest])), 'serial', extent);
  overUpdates(emitter, root, before, (position, at) => {
    builder.if(alu('and', alu('ge', position, first), alu('lt', position, end)), () =>
      store(position, (rest, place) => {
        const value = emitter.element(updates, [...before, ...at, ...rest]);
        return how === 'set' ? value : combine(how, builder.load(out, place, dtype), value);
      }),
    );
  });
  return grid;
}

function elementsKernel(emitter: Emitter, target: Target, root: Node<'scatter'>): Expr {
  const { builder } = emitter;
  const { axis, combine: how } = root.attrs;
  const [x, , updates] = root.args;
  const { shape, dtype } = root.type;
  const out = builder.buffer(root, 'write');
  return overItems(builder, target, builder.size(dimProduct(shape)), 1, (element) => {
    const at = delinear(builder, shape, element).map((e) => builder.let(e));
    const [before, rest] = [at.slice(0, axis), at.slice(axis + 1)];
    builder.store(out, element, emitter.element(x, at));
    overUpdates(emitter, root, before, (position, u) => {
      builder.if(alu('eq', position, at[axis]), () => {
        const value = emitter.element(updates, [...before, ...u, ...rest]);
        builder.store(out, element, how === 'set' ? value : combine(how, builder.load(out, element, dtype), value));
      });
    });
  });
}
