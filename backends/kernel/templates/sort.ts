// sort and top_k: one line of the array per task. Both give positions (i32). Order: NaN is the largest value; equal
// elements keep their order.
import { dimProduct } from '../../../ir/dim.ts';
import { ModelcError } from '../../../ir/error.ts';
import { add, alu, cast, constant, type Expr, floorDiv, index, load, mul, select, sub } from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import { delinear, type KernelBuilder, linear } from '../builder.ts';
import type { Emitter } from '../emit.ts';
import { taskIndex } from './map.ts';

/** a > b with NaN above everything. */
export function greater(a: Expr, b: Expr): Expr {
  const isNaN_ = (e: Expr) => alu('ne', e, e);
  const notNaN = (e: Expr) => alu('eq', e, e);
  return alu('or', alu('gt', a, b), alu('and', isNaN_(a), notNaN(b)));
}

export function sortKernel(emitter: Emitter): Expr {
  const { root } = emitter.region;
  if (isOp(root, 'top_k')) return topK(emitter, root);
  if (isOp(root, 'sort')) return mergeSort(emitter, root);
  throw new ModelcError('unsupported', `no sort template for ${root.op}`);
}

/** Keeps the k best so far in order; a new element bubbles up from the end. */
function topK(emitter: Emitter, root: Node<'top_k'>): Expr {
  const { builder } = emitter;
  const [x] = root.args;
  const { k } = root.attrs;
  const { dtype, shape } = x.type;
  const out = builder.buffer(root, 'write');
  const size = builder.size(shape[shape.length - 1]);
  const grid = builder.size(dimProduct(shape.slice(0, -1)));
  const task = taskIndex(grid);
  const at = delinear(builder, shape.slice(0, -1), task);
  if (k === 1) {
    const best = builder.mutable(emitter.element(x, [...at, index(0)]));
    const place = builder.mutable(constant(0, 'i32'));
    builder.for(index(1), size, 1, (i) => {
      const value = builder.let(emitter.element(x, [...at, i]));
      builder.if(greater(value, best), () => {
        builder.assign(best, value);
        builder.assign(place, cast(i, 'i32'));
      });
    });
    builder.store(out, task, place);
    return grid;
  }
  const values = builder.alloc(dtype, k);
  const places = builder.alloc('i32', k);
  builder.for(index(0), index(k), 1, (j) => builder.store(places, j, constant(-1, 'i32')));
  const beats = (value: Expr, j: Expr) => {
    const empty = alu('lt', load(places, j, 'i32'), constant(0, 'i32'));
    return alu('or', empty, greater(value, load(values, j, dtype)));
  };
  builder.for(index(0), size, 1, (i) => {
    const value = builder.let(emitter.element(x, [...at, i]));
    builder.if(beats(value, index(k - 1)), () => {
      builder.store(values, index(k - 1), value);
      builder.store(places, index(k - 1), cast(i, 'i32'));
      builder.for(index(1), index(k), 1, (step) => {
        const j = builder.let(sub(index(k), step));
        const above = builder.let(sub(j, index(1)));
        const mine = builder.let(load(values, j, dtype));
        builder.if(beats(mine, above), () => {
          const myPlace = builder.let(load(places, j, 'i32'));
          builder.store(values, j, load(values, above, dtype));
          builder.store(places, j, load(places, above, 'i32'));
          builder.store(values, above, mine);
          builder.store(places, above, myPlace);
        });
      });
    });
  });
  const base = builder.let(mul(task, index(k)));
  builder.for(index(0), index(k), 1, (j) => builder.store(out, add(base, j), load(places, j, 'i32')));
  return grid;
}

/** Bottom-up merge sort of positions; passes alternate between two scratch arrays. */
function mergeSort(emitter: Emitter, root: Node<'sort'>): Expr {
  const { builder } = emitter;
  const [x] = root.args;
  const { axis, descending } = root.attrs;
  const { shape, dtype } = x.type;
  const lines = shape.filter((_, i) => i !== axis);
  const out = builder.buffer(root, 'write');
  const n = builder.size(shape[axis]);
  const max = Math.max(1, shape[axis].max);
  const grid = builder.size(dimProduct(lines));
  const task = taskIndex(grid);
  const rest = delinear(builder, lines, task);
  const at = (i: Expr) => [...rest.slice(0, axis), i, ...rest.slice(axis)];
  const keys = builder.alloc(dtype, max);
  const order = [builder.alloc('i32', max), builder.alloc('i32', max)];
  builder.for(index(0), n, 1, (i) => {
    builder.store(keys, i, emitter.element(x, at(i)));
    builder.store(order[0], i, cast(i, 'i32'));
  });
  const passes = Math.ceil(Math.log2(max));
  for (let pass = 0; pass < passes; pass++) mergePass(builder, order[pass % 2], order[1 - (pass % 2)], 2 ** pass);
  builder.for(index(0), n, 1, (i) => {
    builder.store(out, linear(builder, shape, at(i)), load(order[passes % 2], i, 'i32'));
  });
  return grid;

  function mergePass(b: KernelBuilder, from: string, to: string, width: number): void {
    const blocks = floorDiv(add(n, index(2 * width - 1)), index(2 * width));
    b.for(index(0), blocks, 1, (block) => {
      const low = b.let(mul(block, index(2 * width)));
      const middle = b.let(alu('min', add(low, index(width)), n));
      const high = b.let(alu('min', add(low, index(2 * width)), n));
      const i = b.mutable(low);
      const j = b.mutable(middle);
      const key = (p: Expr, limit: Expr) => {
        // Clamped, because both sides are read before it is known which one is empty.
        const place = b.let(load(from, alu('min', p, sub(limit, index(1))), 'i32'));
        return { place, value: b.let(load(keys, cast(place, 'index'), dtype)) };
      };
      b.for(low, high, 1, (t) => {
        const left = key(i, middle);
        const right = key(j, high);
        const first = descending ? greater(right.value, left.value) : greater(left.value, right.value);
        const leftEmpty = alu('ge', i, middle);
        const rightLeft = alu('lt', j, high);
        const takeRight = b.let(alu('or', leftEmpty, alu('and', rightLeft, first)));
        b.store(to, t, select(takeRight, right.place, left.place));
        b.if(
          takeRight,
          () => b.assign(j, add(j, index(1))),
          () => b.assign(i, add(i, index(1))),
        );
      });
    });
  }
}
