// Emission of a region's values. `element(node, at)` gives the scalar code of one element of a node, inlining everything
// down to memory; inside `lanesOf` it gives a vector of consecutive elements along one axis instead. What cannot be a
// vector (a branch or a strided access that depends on the lane) raises NotVectorisable, and the caller emits a scalar loop.
import type { DimLike } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import {
  add,
  alu,
  below,
  cast,
  constant,
  type Expr,
  exprKey,
  index,
  load,
  mul,
  ramp,
  splat,
  sub,
  variable,
} from '../../ir/loop.ts';
import type { Node } from '../../ir/node.ts';
import { opOf } from '../../ir/ops/index.ts';
import type { ElementContext } from '../../ir/ops/op.ts';
import type { Region } from '../../ir/region.ts';
import { combine, identity, type KernelBuilder, linear } from './builder.ts';

export class NotVectorisable extends Error {}

const inlineLeaves = new Set(['const', 'iota', 'dim']);

export class Emitter {
  /** Nodes whose elements are given by a template (accumulators, staged rows). */
  readonly given = new Map<Node, (at: readonly Expr[]) => Expr>();
  /** Row values kept in private memory by position along the last axis; loaded once `written`. */
  readonly staged = new Map<Node, { buffer: string; written: boolean }>();
  private lane: (Expr & { kind: 'var' }) | undefined;
  private lanes = 1;

  constructor(
    readonly region: Region,
    readonly builder: KernelBuilder,
  ) {}

  /** One element of `node` at `at`; a vector inside `vector`. */
  element(node: Node, at: readonly Expr[]): Expr {
    if (at.some((e) => e.lanes > 1)) throw new NotVectorisable(); // positions that are values
    const given = this.given.get(node);
    if (given) return this.lift(given(at));
    if (!this.region.interior.has(node) && !inlineLeaves.has(node.op)) {
      return this.access(this.builder.buffer(node), linear(this.builder, node.type.shape, at), node.type.dtype);
    }
    const staged = this.staged.get(node);
    const position = at[at.length - 1];
    if (staged?.written) return this.access(staged.buffer, position, node.type.dtype);
    const key = this.key(node, at);
    const known = this.builder.recall(key);
    if (known) return known;
    const value = this.lift(opOf(node.op).element!(node, at, this.context(node)));
    const bound = this.builder.let(value);
    this.builder.remember(key, bound);
    if (staged) {
      const base = this.lane ? withoutLane(position, this.lane.name) : position;
      this.builder.store(staged.buffer, base, base === position ? bound : this.full(bound));
    }
    return bound;
  }

  /** Makes `value` the element of `node` at `at` in the current block and those inside it. */
  define(node: Node, at: readonly Expr[], value: Expr): void {
    this.builder.remember(this.key(node, at), value);
  }

  private key(node: Node, at: readonly Expr[]): string {
    const isVector = this.lane !== undefined && at.some((e) => mentions(e, this.lane!.name));
    return `${node.id}@${isVector ? this.lanes : 1}:${at.map(exprKey).join()}`;
  }

  /**
   * `build` with a lane variable that stands for 0 … lanes-1: elements at indices that contain it come out as vectors.
   * Throws NotVectorisable, with nothing emitted.
   */
  vector<T>(lanes: number, build: (lane: Expr) => T): T {
    if (lanes === 1) return build(index(0));
    const outer = { lane: this.lane, lanes: this.lanes };
    const lane = variable(this.builder.fresh('lane')) as Expr & { kind: 'var' };
    below(lane, index(lanes));
    this.lane = lane;
    this.lanes = lanes;
    try {
      return this.builder.attempt(() => build(lane));
    } finally {
      this.lane = outer.lane;
      this.lanes = outer.lanes;
    }
  }

  /** Whether the elements that `build` gives for lanes 0, 1, … lie side by side in memory. Emits nothing. */
  isContiguous(build: (lane: Expr) => Expr): boolean {
    let isVector = false;
    try {
      this.builder.block(() => {
        isVector = this.vector(2, build).lanes === 2;
      });
    } catch (error) {
      if (!(error instanceof NotVectorisable)) throw error;
    }
    return isVector;
  }

  /** A value, widened to the current number of lanes. */
  full(value: Expr): Expr {
    return splat(value, this.lanes);
  }

  /** Loads an element of memory, or a vector of them when `at` runs along the lane. */
  access(buffer: string, at: Expr, dtype: DType): Expr {
    const stride = this.lane ? strideOf(at, this.lane.name) : 0;
    if (stride === 0) return load(buffer, at, dtype);
    if (stride !== 1) throw new NotVectorisable();
    return load(buffer, withoutLane(at, this.lane!.name), dtype, this.lanes);
  }

  private context(node: Node): ElementContext {
    const { builder } = this;
    return {
      read: (arg, at) => this.element(node.args[arg], at),
      size: (d: DimLike) => builder.size(d),
      let: (value) => builder.let(this.lift(value)),
      fold: (op, extents, dtype, body) => {
        // The body goes first, into a block of its own, to learn whether it is a vector.
        let value: Expr | undefined;
        const name = builder.fresh('r');
        const nest = (depth: number, at: Expr[]): void => {
          if (depth === extents.length) {
            value = this.lift(cast(this.lift(body(at)), dtype));
            const acc = variable(name, dtype, value.lanes) as Expr & { kind: 'var' };
            builder.assign(acc, combine(op, acc, value));
            return;
          }
          builder.for(index(0), builder.size(extents[depth]), 1, (i) => nest(depth + 1, [...at, i]));
        };
        const loops = builder.block(() => nest(0, []));
        const lanes = value!.lanes;
        builder.emit({ kind: 'let', name, value: constant(identity(op, dtype), dtype, lanes), mutable: true });
        for (const s of loops) builder.emit(s);
        return variable(name, dtype, lanes);
      },
      guard: (condition, then, otherwise) => {
        if (condition.kind === 'const') return condition.value ? then() : otherwise;
        const varies = condition.lanes > 1 || (this.lane !== undefined && mentions(condition, this.lane.name));
        if (varies) throw new NotVectorisable();
        const other = this.lift(otherwise);
        let value = other;
        const name = builder.fresh('r');
        const inner = builder.block(() => {
          const taken = this.lift(then());
          value = splat(taken, Math.max(taken.lanes, other.lanes));
          builder.assign(variable(name, value.dtype, value.lanes) as Expr & { kind: 'var' }, value);
        });
        const { dtype, lanes } = value;
        builder.emit({ kind: 'let', name, value: splat(cast(other, dtype), lanes), mutable: true });
        builder.emit({ kind: 'if', condition, then: inner, otherwise: [] });
        return variable(name, dtype, lanes);
      },
    };
  }

  /** Turns scalar expressions that still contain the lane variable into vectors. */
  private lift(e: Expr): Expr {
    const lane = this.lane;
    if (!lane || e.lanes > 1 || !mentions(e, lane.name)) return e;
    switch (e.kind) {
      case 'cast':
        if (e.arg.dtype === 'index') return cast(this.indexVector(e.arg), e.dtype);
        return cast(this.lift(e.arg), e.dtype);
      case 'alu':
        if (e.dtype === 'index') throw new NotVectorisable();
        return alu(e.op, ...e.args.map((a) => (a.dtype === 'index' ? this.indexVector(a) : this.lift(a))));
      default:
        throw new NotVectorisable();
    }
  }

  private indexVector(e: Expr): Expr {
    const stride = strideOf(e, this.lane!.name);
    const base = withoutLane(e, this.lane!.name);
    if (stride === 0) return splat(cast(e, 'i32'), this.lanes);
    if (stride !== 1) throw new NotVectorisable();
    return ramp(base, this.lanes);
  }
}

const mentioned = new WeakMap<Expr, Map<string, boolean>>();
/** Whether variable `name` occurs in `e`. */
export function mentions(e: Expr, name: string): boolean {
  let table = mentioned.get(e);
  if (!table) mentioned.set(e, (table = new Map()));
  let known = table.get(name);
  if (known === undefined) {
    known = (e.kind === 'var' && e.name === name) || operands(e).some((a) => mentions(a, name));
    table.set(name, known);
  }
  return known;
}

function operands(e: Expr): readonly Expr[] {
  switch (e.kind) {
    case 'const':
    case 'var':
      return [];
    case 'load':
      return [e.index];
    case 'alu':
    case 'zip':
      return e.args;
    case 'cast':
    case 'bitcast':
    case 'splat':
    case 'across':
      return [e.arg];
    case 'ramp':
      return [e.start];
    default:
      return e satisfies never;
  }
}

/** By how much an index grows from lane to lane; undefined when it is not linear in the lane. */
function strideOf(e: Expr, lane: string): number | undefined {
  if (!mentions(e, lane)) return 0;
  if (e.kind === 'var') return 1;
  if (e.kind !== 'alu') return undefined;
  const [a, b] = e.args;
  const x = strideOf(a, lane);
  const y = b ? strideOf(b, lane) : undefined;
  if (x === undefined || y === undefined) return undefined;
  switch (e.op) {
    case 'add':
      return x + y;
    case 'sub':
      return x - y;
    case 'mul':
      if (y === 0 && b.kind === 'const') return x * b.value;
      if (x === 0 && a.kind === 'const') return y * a.value;
      return undefined;
    default:
      return undefined;
  }
}

/** `e` for lane 0. */
function withoutLane(e: Expr, lane: string): Expr {
  if (!mentions(e, lane)) return e;
  if (e.kind === 'var') return index(0);
  if (e.kind !== 'alu') throw new NotVectorisable();
  const [a, b] = e.args.map((x) => withoutLane(x, lane));
  switch (e.op) {
    case 'add':
      return add(a, b);
    case 'sub':
      return sub(a, b);
    case 'mul':
      return mul(a, b);
    default:
      throw new NotVectorisable();
  }
}

/**
 * Iterates `size` consecutive positions: vectors of `lanes` first, the rest one at a time; all one at a time when the
 * body cannot be vectorised. `body` gets the position (with the lane variable in it) and the number of lanes.
 */
export function vectorLoop(
  emitter: Emitter,
  size: Expr,
  lanes: number,
  body: (position: Expr, lanes: number, base: Expr) => void,
): void {
  const { builder } = emitter;
  const scalar = (start: Expr) => builder.for(start, size, 1, (i) => body(i, 1, i), 'simd', size);
  const constantSize = size.kind === 'const' ? size.value : undefined;
  if (constantSize !== undefined) while (lanes > 1 && lanes > constantSize) lanes /= 2;
  if (lanes === 1) return scalar(index(0));
  const whole = builder.let(mul(alu('div', size, index(lanes)), index(lanes)));
  try {
    builder.attempt(() =>
      builder.for(index(0), whole, lanes, (base) => {
        emitter.vector(lanes, (lane) => body(add(base, lane), lanes, base));
      }),
    );
  } catch (error) {
    if (!(error instanceof NotVectorisable)) throw error;
    return scalar(index(0));
  }
  if (constantSize === undefined || constantSize % lanes !== 0) scalar(whole);
}
