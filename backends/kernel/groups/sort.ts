// sort and top_k for groups, without scratch memory. sort: the place of an element is the number of elements that come
// before it, which its thread counts. top_k: k rounds over the line, a group a line; each finds the first element of the
// order that comes after the last one found, every thread among its own and then all together. Order: NaN is the largest
// value; equal elements keep their order.
import { dimProduct } from '../../../ir/dim.ts';
import { type DType, dtypeInfo, isFloat } from '../../../ir/dtype.ts';
import { ModelcError } from '../../../ir/error.ts';
import { add, alu, cast, constant, type Expr, index, mul, select } from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import type { Target } from '../../../ir/target.ts';
import { delinear, identity, linear } from '../builder.ts';
import type { Emitter } from '../emit.ts';
import { taskIndex } from '../templates/map.ts';
import { greater } from '../templates/sort.ts';
import { once, overItems } from './map.ts';

export function sortKernel(emitter: Emitter, target: Target): Expr {
  const { root } = emitter.region;
  if (isOp(root, 'top_k')) return topK(emitter, root, target);
  if (isOp(root, 'sort')) return countingSort(emitter, root, target);
  throw new ModelcError('unsupported', `no sort template for ${root.op}`);
}

/** An element and its position; position -1: none. */
interface Entry {
  readonly value: Expr;
  readonly place: Expr;
}

/** Whether a comes before b in descending order. */
const precedes = (a: Entry, b: Entry): Expr =>
  alu(
    'or',
    greater(a.value, b.value),
    alu('and', alu('lt', a.place, b.place), alu('xor', greater(b.value, a.value), constant(1, 'bool'))),
  );
const isNone = (e: Entry): Expr => alu('lt', e.place, constant(0, 'i32'));

function topK(emitter: Emitter, root: Node<'top_k'>, target: Target): Expr {
  const { builder } = emitter;
  const [x] = root.args;
  const { k } = root.attrs;
  const { dtype, shape } = x.type;
  const out = builder.buffer(root, 'write');
  const size = builder.size(shape[shape.length - 1]);
  const grid = builder.size(dimProduct(shape.slice(0, -1)));
  const line = taskIndex(grid);
  const at = delinear(builder, shape.slice(0, -1), line);
  const none = constant(-1, 'i32');
  const last = { value: builder.mutable(constant(0, dtype)), place: builder.mutable(none) };
  const best = { value: builder.mutable(constant(0, dtype)), place: builder.mutable(none) };
  const take = (e: Entry): void => {
    builder.assign(best.value, e.value);
    builder.assign(best.place, e.place);
  };
  const improves = (e: Entry): Expr => alu('or', isNone(best), precedes(e, best));
  builder.for(index(0), index(k), 1, (round) => {
    builder.assign(best.place, none);
    builder.for(
      index(0),
      size,
      1,
      (i) => {
        const entry = { value: builder.let(emitter.element(x, [...at, i])), place: builder.let(cast(i, 'i32')) };
        const isNext = alu('and', alu('or', isNone(last), precedes(last, entry)), improves(entry));
        builder.if(isNext, () => take(entry));
      },
      'group',
    );
    const acc = accumulatorOf(dtype);
    const found = alu('ge', best.place, constant(0, 'i32'));
    const mine = builder.let(cast(best.value, acc));
    const { groupThreads } = target;
    const [top] = builder.reduce('max', groupThreads, [select(found, mine, constant(identity('max', acc), acc))]);
    const isFirst = alu('and', found, alu('xor', greater(top, mine), constant(1, 'bool')));
    const candidate = select(isFirst, best.place, constant(dtypeInfo.i32.max, 'i32'));
    const [place] = builder.reduce('min', groupThreads, [candidate]);
    builder.assign(last.value, cast(top, dtype));
    builder.assign(last.place, place);
    once(builder, () => builder.store(out, add(mul(line, index(k)), round), place));
  });
  return grid;
}

/** The type in which a group compares values of a dtype. */
function accumulatorOf(dtype: DType): DType {
  if (isFloat(dtype)) return 'f32';
  return dtype === 'u32' || dtype === 'i64' ? dtype : 'i32';
}

function countingSort(emitter: Emitter, root: Node<'sort'>, target: Target): Expr {
  const { builder } = emitter;
  const [x] = root.args;
  const { axis, descending } = root.attrs;
  const { shape } = x.type;
  const out = builder.buffer(root, 'write');
  const size = builder.size(shape[axis]);
  return overItems(builder, target, builder.size(dimProduct(shape)), 1, (e) => {
    const at = delinear(builder, shape, e);
    const along = (i: Expr) => [...at.slice(0, axis), i, ...at.slice(axis + 1)];
    const mine = builder.let(emitter.element(x, at));
    const own = builder.let(at[axis]);
    const rank = builder.mutable(constant(0, 'i32'));
    builder.for(index(0), size, 1, (i) => {
      const other = builder.let(emitter.element(x, along(i)));
      const [before, after] = [greater(other, mine), greater(mine, other)];
      const equal = alu('eq', alu('or', before, after), constant(0, 'bool'));
      const first = alu('or', descending ? before : after, alu('and', equal, alu('lt', i, own)));
      builder.if(first, () => builder.assign(rank, alu('add', rank, constant(1, 'i32'))));
    });
    builder.store(out, linear(builder, shape, along(builder.let(cast(rank, 'index')))), cast(own, 'i32'));
  });
}
