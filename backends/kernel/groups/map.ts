// Tasks that are groups of threads: elements, lines and rows spread over them. A task takes a run of consecutive items,
// and its threads take them in turn, so that threads side by side touch memory side by side. The map template is this
// with one element an item; folds inside an element (reductions, odd contractions) are loops of its thread.
import { dimProduct } from '../../../ir/dim.ts';
import { add, alu, below, ceilDiv, type Expr, index, mul, variable } from '../../../ir/loop.ts';
import type { Target } from '../../../ir/target.ts';
import { delinear, type KernelBuilder } from '../builder.ts';
import type { Emitter } from '../emit.ts';
import { elementsPerThread } from '../schedule.ts';
import { taskIndex } from '../templates/map.ts';

/** The running thread's number in its group. */
export const threadIndex = (target: Target): Expr => below(variable('thread'), index(target.groupThreads));

/** Spreads `count` items over groups, `perThread` to a thread. Returns the grid. */
export function overItems(
  builder: KernelBuilder,
  target: Target,
  count: Expr,
  perThread: number,
  body: (item: Expr) => void,
): Expr {
  const perGroup = perThread * target.groupThreads;
  const grid = ceilDiv(count, perGroup);
  const first = builder.let(mul(taskIndex(grid), index(perGroup)));
  const end = builder.let(alu('min', add(first, index(perGroup)), count));
  builder.for(first, end, 1, body, 'group', count);
  return grid;
}

/** Statements for one thread of the group. */
export function once(builder: KernelBuilder, body: () => void): void {
  builder.if(alu('eq', variable('thread'), index(0)), body);
}

export function mapKernel(emitter: Emitter, target: Target): Expr {
  const { builder, region } = emitter;
  const { root } = region;
  const { shape } = root.type;
  const out = builder.buffer(root, 'write');
  return overItems(builder, target, builder.size(dimProduct(shape)), elementsPerThread, (e) => {
    builder.store(out, e, emitter.element(root, delinear(builder, shape, e)));
  });
}
