// KernelBuilder: statements of one kernel under construction: blocks, fresh names, buffers and the dims that they use.
import { type Dim, type DimLike, dim } from '../../ir/dim.ts';
import type { DType } from '../../ir/dtype.ts';
import {
  type AluOp,
  add,
  alu,
  below,
  divisorOf,
  type Expr,
  exprKey,
  gcd,
  index,
  type Kernel,
  type KernelBuffer,
  type Level,
  load,
  type Scope as MemoryScope,
  mul,
  multipleOf,
  type ReduceOp,
  type ScalarType,
  type Stmt,
  variable,
} from '../../ir/loop.ts';
import type { Node } from '../../ir/node.ts';
import { type CombineOp, identityOf } from '../../ir/ops/scalar.ts';
import type { FragmentRole } from '../../ir/tile.ts';

/** Values already computed in a block, by key; inner blocks see those of outer ones. */
interface Scope {
  readonly values: Map<string, Expr>;
  readonly outer: Scope | undefined;
}

export class KernelBuilder {
  private statements: Stmt[] = [];
  private scope: Scope = { values: new Map(), outer: undefined };
  private readonly body = this.statements;
  private readonly buffers: KernelBuffer[] = [];
  private readonly dims = new Set<string>();
  private count = 0;
  /** Graph nodes behind the kernel's buffers, in buffer order. */
  readonly nodes: Node[] = [];

  fresh(prefix: string): string {
    return `${prefix}${this.count++}`;
  }

  /** A dimension as an index expression. */
  size(d: DimLike): Expr {
    const value: Dim = dim(d);
    let sum: Expr = index(0);
    for (const [monomial, c] of [...value.terms].sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1))) {
      let product: Expr | undefined;
      for (const name of monomial === '' ? [] : monomial.split('*')) {
        this.dims.add(name);
        product = product ? mul(product, variable(name)) : variable(name);
      }
      sum = add(sum, product ? mul(product, index(c)) : index(c));
    }
    return sum;
  }

  /** The buffer that holds a materialised node. */
  buffer(node: Node, access: KernelBuffer['access'] = 'read'): string {
    const at = this.nodes.indexOf(node);
    if (at >= 0) {
      if (this.buffers[at].access !== access) this.buffers[at] = { ...this.buffers[at], access: 'readwrite' };
      return this.buffers[at].name;
    }
    const name = `b${this.nodes.length}`;
    this.nodes.push(node);
    this.buffers.push({ name, dtype: node.type.dtype, access });
    return name;
  }

  /** Memory of the thread, or of the task's group; the same as that of `over`. */
  alloc(dtype: DType, size: number, scope: MemoryScope = 'thread', over?: string): string {
    const buffer = this.fresh('t');
    this.emit({ kind: 'alloc', buffer, dtype, size, scope, ...(over === undefined ? {} : { over }) });
    return buffer;
  }

  emit(s: Stmt): void {
    this.statements.push(s);
  }

  let(value: Expr): Expr {
    if (value.kind === 'const' || value.kind === 'var') return value;
    const name = this.fresh('v');
    this.emit({ kind: 'let', name, value, mutable: false });
    const named = variable(name, value.dtype, value.lanes);
    return value.dtype === 'index' ? multipleOf(named, divisorOf(value)) : named;
  }

  mutable(value: Expr): Expr & { kind: 'var' } {
    const name = this.fresh('r');
    this.emit({ kind: 'let', name, value, mutable: true });
    return variable(name, value.dtype, value.lanes) as Expr & { kind: 'var' };
  }

  assign(target: Expr & { kind: 'var' }, value: Expr): void {
    this.emit({ kind: 'assign', name: target.name, value });
  }

  store(buffer: string, at: Expr, value: Expr): void {
    this.emit({ kind: 'store', buffer, index: at, value });
  }

  load(buffer: string, at: Expr, dtype: DType, lanes = 1): Expr {
    return load(buffer, at, dtype, lanes);
  }

  /** One operand of a tile, or its sum; returns the name. */
  fragment(tile: string, role: FragmentRole): string {
    const name = this.fresh('f');
    this.emit({ kind: 'fragment', name, tile, role });
    return name;
  }

  /** All threads of the group arrive before any goes on. */
  barrier(): void {
    this.emit({ kind: 'barrier' });
  }

  /** Each of `values` combined over runs of `width` threads side by side; all threads of a run get it. */
  reduce(op: ReduceOp, width: number, values: readonly Expr[]): Expr[] {
    if (width === 1) return [...values];
    const named = values.map((value) => ({ name: this.fresh('g'), value }));
    this.emit({ kind: 'reduce', op, width, values: named });
    return named.map(({ name, value }) => variable(name, value.dtype));
  }

  /** Runs `build` with statements going to a new block; returns the block. */
  block(build: () => void): Stmt[] {
    const { statements, scope } = this;
    const inner: Stmt[] = [];
    this.statements = inner;
    this.scope = { values: new Map(), outer: scope };
    try {
      build();
    } finally {
      this.statements = statements;
      this.scope = scope;
    }
    return inner;
  }

  for(
    start: Expr,
    end: Expr,
    step: number,
    build: (i: Expr) => void,
    level: Level = 'serial',
    limit: Expr = end,
  ): void {
    const name = this.fresh('i');
    const i = multipleOf(below(variable(name), limit), gcd(divisorOf(start), step));
    const body = this.block(() => build(i));
    this.emit({ kind: 'for', name, start, end, step, level, body });
  }

  if(condition: Expr, then: () => void, otherwise?: () => void): void {
    this.emit({
      kind: 'if',
      condition,
      then: this.block(then),
      otherwise: otherwise ? this.block(otherwise) : [],
    });
  }

  /** The value remembered under `key` in this block or an outer one. */
  recall(key: string): Expr | undefined {
    for (let s: Scope | undefined = this.scope; s; s = s.outer) {
      const v = s.values.get(key);
      if (v) return v;
    }
    return undefined;
  }
  remember(key: string, value: Expr): void {
    this.scope.values.set(key, value);
  }

  /** A checkpoint of the current block, to undo an attempt that failed. */
  attempt<T>(build: () => T): T {
    const length = this.statements.length;
    const { statements, scope } = this;
    const values = new Map(scope.values);
    try {
      return build();
    } catch (error) {
      this.statements = statements;
      this.statements.length = length;
      scope.values.clear();
      for (const [k, v] of values) scope.values.set(k, v);
      this.scope = scope;
      throw error;
    }
  }

  finish(name: string, grid: Expr, note: string): Kernel {
    return { name, buffers: [...this.buffers], dims: [...this.dims].sort(), grid, body: this.body, note };
  }
}

/** a op b with the reduction's own semantics; used by folds. */
export const combine = (op: CombineOp, a: Expr, b: Expr): Expr => alu(op as AluOp, a, b);

/** The element from which a fold starts: of i64 the largest that a double holds; an index is never negative. */
export const identity = (op: CombineOp, dtype: ScalarType): number =>
  dtype === 'i64' && op === 'min' ? 2 ** 63 - 1024 : identityOf(op, dtype === 'index' ? 'u32' : dtype);

/** Row-major offset of an index. */
export function linear(builder: KernelBuilder, shape: readonly Dim[], at: readonly Expr[]): Expr {
  return at.reduce((offset, e, i) => add(mul(offset, builder.size(shape[i])), e), index(0));
}

/** The index whose row-major offset is `offset`. */
export function delinear(builder: KernelBuilder, shape: readonly Dim[], offset: Expr): Expr[] {
  const at = new Array<Expr>(shape.length);
  let rest = offset;
  for (let i = shape.length - 1; i > 0; i--) {
    const size = builder.size(shape[i]);
    at[i] = alu('rem', rest, size);
    rest = alu('div', rest, size);
  }
  if (shape.length > 0) at[0] = rest;
  return at;
}

export { exprKey };
