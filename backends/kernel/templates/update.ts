// Templates that write part of an array: state updates in place (a cache takes new positions) and scatters.
import { dim, dimProduct } from '../../../ir/dim.ts';
import { isFloat } from '../../../ir/dtype.ts';
import { ModelcError } from '../../../ir/error.ts';
import { add, alu, cast, ceilDiv, constant, type Expr, floorDiv, index, modulo, mul, sub } from '../../../ir/loop.ts';
import { isOp, type Node } from '../../../ir/node.ts';
import { combine, delinear, identity, linear } from '../builder.ts';
import { type Emitter, vectorLoop } from '../emit.ts';
import { rowsPerTask, scatterRange } from '../schedule.ts';
import { overRows, taskIndex } from './map.ts';

/** Where the values of a cache_update or dynamic_update_slice begin, per axis; of a row, where each has its own place. */
export function updateOrigin(emitter: Emitter): (row: Expr) => Expr[] {
  const { builder, region } = emitter;
  const { root } = region;
  const [state, values, ...starts] = root.args;
  if (isOp(root, 'cache_update')) {
    const [past] = starts;
    const originOf = (at: readonly Expr[]): Expr[] => {
      const start = cast(emitter.element(past, at), 'index');
      return state.type.shape.map((_, axis) => (axis === root.attrs.axis ? start : index(0)));
    };
    if (past.type.shape.length > 0) return (row) => originOf([row]);
    const origin = originOf([]);
    return () => origin;
  }
  // dynamic_update_slice clamps its start so that the update fits.
  const origin = state.type.shape.map((size, axis): Expr => {
    const limit = sub(builder.size(size), builder.size(values.type.shape[axis]));
    return alu('min', alu('max', cast(emitter.element(starts[axis], []), 'index'), index(0)), limit);
  });
  return () => origin;
}

/** Hands over where in the state the element `at` of the values lies; cache_update drops positions outside of it. */
export function storeInState(
  emitter: Emitter,
  originOf: (row: Expr) => readonly Expr[],
  at: readonly Expr[],
  store: (place: Expr) => void,
): void {
  const { builder, region } = emitter;
  const { root } = region;
  const { shape } = root.type;
  const origin = originOf(at[0]);
  const place = at.map((i, axis) => builder.let(add(origin[axis], i)));
  const write = () => store(linear(builder, shape, place));
  if (!isOp(root, 'cache_update')) return write();
  const { axis } = root.attrs;
  const size = builder.size(shape[axis]);
  builder.if(alu('and', alu('ge', place[axis], index(0)), alu('lt', place[axis], size)), write);
}

/** Writes the new values of a cache_update or dynamic_update_slice into the state's own memory. */
export function updateKernel(emitter: Emitter, lanes: number): Expr {
  const { builder, region } = emitter;
  const { root } = region;
  const [state, values] = root.args;
  const stateShape = state.type.shape;
  const out = builder.buffer(root, 'write');
  const originOf = updateOrigin(emitter);
  const last = stateShape.length - 1;
  // cache_update drops positions outside of the state.
  const dropped = isOp(root, 'cache_update') ? root.attrs.axis : undefined;
  const inside = (position: Expr, axis: number): Expr =>
    alu('and', alu('ge', position, index(0)), alu('lt', position, builder.size(stateShape[axis])));
  return overRows(builder, values.type.shape, (_row, at, start, size) => {
    // a tensor of one axis has no rows
    const origin = originOf(at[0] ?? index(0));
    const place = at.map((e, axis) => builder.let(add(origin[axis], e)));
    const first = builder.let(add(origin[last], start));
    const base = builder.let(linear(builder, stateShape, [...place, first]));
    const write = (lanes: number) =>
      vectorLoop(emitter, size, lanes, (position, width, scalarPosition) => {
        const store = () => {
          const value = emitter.element(values, [...at, add(start, position)]);
          builder.store(out, add(base, scalarPosition), width > 1 ? emitter.full(value) : value);
        };
        if (dropped === last) builder.if(inside(add(first, position), last), store);
        else store();
      });
    if (dropped === undefined) write(lanes);
    else if (dropped === last) write(1);
    else builder.if(inside(place[dropped], dropped), () => write(lanes));
  });
}

/**
 * A task owns a range of positions at one index of the axes before the scattered one: it copies its part of x, then goes
 * through all updates and applies those that fall into it, in order. So equal positions add up in one order always.
 */
export function scatterKernel(emitter: Emitter, lanes: number): Expr {
  const { builder, region } = emitter;
  const root = region.root;
  if (!isOp(root, 'scatter')) throw new ModelcError('unsupported', `no scatter template for ${root.op}`);
  const { axis, batch, combine: how } = root.attrs;
  const [x, idx, updates] = root.args;
  const { shape, dtype } = root.type;
  const out = builder.buffer(root, 'write');
  const outer = shape.slice(0, axis);
  const inner = shape.slice(axis + 1);
  const extent = builder.size(shape[axis]);
  const innerSize = builder.size(dimProduct(inner));
  const perTask = scatterRange(dimProduct(inner));
  const ranges = ceilDiv(extent, perTask);
  const grid = mul(builder.size(dimProduct(outer)), ranges);
  const task = taskIndex(grid);
  const line = builder.let(floorDiv(task, ranges));
  const at = delinear(builder, outer, line);
  const first = builder.let(mul(modulo(task, ranges), index(perTask)));
  const end = builder.let(alu('min', add(first, index(perTask)), extent));
  const base = builder.let(mul(line, extent));
  /** Stores the elements of a position: `value` gives them, from the index of the axes behind and what is there. */
  const store = (i: Expr, value: (rest: Expr[], old: (width: number) => Expr) => Expr) => {
    const row = builder.let(mul(add(base, i), innerSize));
    vectorLoop(emitter, innerSize, dtype === 'f32' ? lanes : 1, (position, width, scalarPosition) => {
      const place = add(row, scalarPosition);
      const element = value(delinear(builder, inner, position), (n) => builder.load(out, place, dtype, n));
      builder.store(out, place, width > 1 ? emitter.full(element) : element);
    });
  };
  builder.for(first, end, 1, (i) => store(i, (rest) => emitter.element(x, [...at, i, ...rest])), 'serial', extent);
  const indexShape = idx.type.shape.slice(batch);
  builder.for(index(0), builder.size(dimProduct(indexShape)), 1, (u) => {
    const indexAt = delinear(builder, indexShape, u);
    const i = builder.let(cast(emitter.element(idx, [...at.slice(0, batch), ...indexAt]), 'index'));
    builder.if(alu('and', alu('ge', i, first), alu('lt', i, end)), () =>
      store(i, (rest, old) => {
        const value = emitter.full(emitter.element(updates, [...at, ...indexAt, ...rest]));
        if (how === 'set') return value;
        return combine(how, old(value.lanes), value);
      }),
    );
  });
  return grid;
}

/** Running folds, a group of rows a task: a row is the lines that differ in the last axis, which run side by side as vectors. */
export function scanKernel(emitter: Emitter, lanes: number): Expr {
  const { builder, region } = emitter;
  const root = scanOf(region.root);
  const { axis } = root.attrs;
  const { shape, dtype } = root.type;
  const isLast = axis === shape.length - 1;
  const inner = isLast ? dim(1) : shape[shape.length - 1];
  const outer = shape.filter((_, i) => i !== axis && (isLast || i !== shape.length - 1));
  const rows = builder.size(dimProduct(outer));
  const perTask = rowsPerTask(dimProduct([shape[axis], inner]));
  const grid = ceilDiv(rows, perTask);
  const first = builder.let(mul(taskIndex(grid), index(perTask)));
  const end = builder.let(alu('min', add(first, index(perTask)), rows));
  const overRow = (row: Expr): void => {
    const at = delinear(builder, outer, row).map((e) => builder.let(e));
    if (isLast) return scanLine(emitter, root, at);
    vectorLoop(emitter, builder.size(inner), dtype === 'f32' ? lanes : 1, (position, width, base) =>
      scanLine(emitter, root, [...at, position], width, [...at, base]),
    );
  };
  builder.for(first, end, 1, overRow, 'serial', rows);
  return grid;
}

/** The scan of a region. */
export function scanOf(root: Node): Node<'scan'> {
  if (isOp(root, 'scan')) return root;
  throw new ModelcError('unsupported', `no scan template for ${root.op}`);
}

/**
 * The running fold of the line at `line`, an index of all axes but the one that is folded; of `width` lines, where the
 * lane runs through the index. `base` is the index of the first of them.
 */
export function scanLine(
  emitter: Emitter,
  root: Node<'scan'>,
  line: readonly Expr[],
  width = 1,
  base: readonly Expr[] = line,
): void {
  const { builder } = emitter;
  const { op, axis, exclusive, reverse } = root.attrs;
  const { shape, dtype } = root.type;
  const [x, offsets, initial] = root.args;
  const out = builder.buffer(root, 'write');
  const size = builder.size(shape[axis]);
  const wide = isFloat(dtype) ? 'f32' : dtype; // what runs along is rounded where it is stored, not where it is carried on
  const identityValue = constant(identity(op === 'affine' ? 'add' : op, wide), wide);
  const full = (e: Expr): Expr => (width > 1 ? emitter.full(e) : e);
  const acc = builder.mutable(full(initial ? cast(emitter.element(initial, line), wide) : identityValue));
  builder.for(index(0), size, 1, (step) => {
    const t = reverse ? builder.let(sub(sub(size, index(1)), step)) : step;
    const placed = (at: readonly Expr[]): Expr[] => [...at.slice(0, axis), t, ...at.slice(axis)];
    const value = (n: Node) => full(cast(emitter.element(n, placed(line)), wide));
    const next = () =>
      op === 'affine' ? alu('add', alu('mul', value(x), acc), value(offsets)) : combine(op, acc, value(x));
    const place = linear(builder, shape, placed(base));
    if (exclusive) {
      const after = builder.let(next());
      builder.store(out, place, cast(acc, dtype));
      builder.assign(acc, after);
    } else {
      builder.assign(acc, next());
      builder.store(out, place, cast(acc, dtype));
    }
  });
}
