// Kernels: the loop language that backends print. A kernel is a grid of independent tasks; a task is a statement tree
// over scalars and short vectors. Everything a printer must know is here; nothing here knows an op or a language.
import type { DType } from './dtype.ts';
import type { TileStmt } from './tile.ts';

/** 'index' is the target's integer type for offsets (64 bits on a CPU, 32 on a GPU). */
export type ScalarType = DType | 'index';

export const unaryAlu = ['neg', 'floor', 'round', 'exp', 'log', 'sin', 'cos', 'tanh', 'erf', 'sqrt', 'rsqrt'] as const;
export const binaryAlu = [
  'add', 'sub', 'mul', 'div', 'rem', 'pow', 'max', 'min', 'and', 'or', 'xor', 'shl', 'shr',
] as const; // biome-ignore format: one row
export const compareAlu = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;
/**
 * On 'index', div and rem are floor division and modulo of non-negative numbers. On integers div truncates and rem has
 * the sign of the dividend. max and min propagate NaN. shr is arithmetic on signed types. `fma` is a*b+c;
 * `select` is args[0] ? args[1] : args[2]. Comparisons give bool.
 */
export type AluOp =
  | (typeof unaryAlu)[number]
  | (typeof binaryAlu)[number]
  | (typeof compareAlu)[number]
  | 'select'
  | 'fma';
export type CompareOp = (typeof compareAlu)[number];
/** Operations whose result has the type of their operands, all of one type. */
export type ArithmeticOp = Exclude<AluOp, CompareOp | 'select'>;
export const isCompare = (op: AluOp): op is CompareOp => (compareAlu as readonly string[]).includes(op);

interface Typed {
  readonly dtype: ScalarType;
  /** 1 for a scalar, otherwise a vector of that many elements. */
  readonly lanes: number;
}
export type Expr = Typed &
  (
    | { readonly kind: 'const'; readonly value: number }
    | { readonly kind: 'var'; readonly name: string }
    /** `lanes` consecutive elements from `index`. */
    | { readonly kind: 'load'; readonly buffer: string; readonly index: Expr }
    | { readonly kind: 'alu'; readonly op: AluOp; readonly args: readonly Expr[] }
    | { readonly kind: 'cast'; readonly arg: Expr }
    | { readonly kind: 'bitcast'; readonly arg: Expr }
    /** A scalar in every lane. */
    | { readonly kind: 'splat'; readonly arg: Expr }
    /** dtype i32: start, start + 1, …, one a lane. */
    | { readonly kind: 'ramp'; readonly start: Expr }
    /**
     * The lanes of two equally long vectors interleaved a0 b0 a1 b1 …; the low or the high half of that. Networks of
     * these transpose blocks in registers.
     */
    | { readonly kind: 'zip'; readonly half: 'low' | 'high'; readonly args: readonly [Expr, Expr] }
    /** All lanes of `arg` combined into a scalar. */
    | { readonly kind: 'across'; readonly op: 'add' | 'max' | 'min'; readonly arg: Expr }
  );

/**
 * Where the iterations of a loop run: 'serial' one after another; 'simd' independent of each other, so that a printer
 * may vectorise them; 'group' spread over the threads of the task's group: thread t takes start + t * step, and every
 * groupThreads-th from there. Targets with one thread a group never see 'group', 'barrier' or 'reduce': templates read
 * the target record. What stands outside of group loops is executed by every thread of the group alike; there, stores
 * to memory that others see stand under `if thread == 0` or in a group loop. The variable `thread` (index) is the
 * thread's number, `task` the group's.
 */
export type Level = 'serial' | 'simd' | 'group';

export type ReduceOp = 'add' | 'max' | 'min';

/** Who sees an `alloc`: one thread, or all threads of the task's group. */
export type Scope = 'thread' | 'group';

export type Stmt =
  | {
      readonly kind: 'for';
      readonly name: string;
      readonly start: Expr;
      readonly end: Expr;
      readonly step: number;
      readonly level: Level;
      readonly body: readonly Stmt[];
    }
  /** Declares a value; `mutable` ones are changed by `assign`. */
  | { readonly kind: 'let'; readonly name: string; readonly value: Expr; readonly mutable: boolean }
  | { readonly kind: 'assign'; readonly name: string; readonly value: Expr }
  /** Stores value.lanes consecutive elements from `index`. */
  | { readonly kind: 'store'; readonly buffer: string; readonly index: Expr; readonly value: Expr }
  /**
   * Memory private to the thread, or shared by the task's group: `size` elements, not initialised. `over` names an earlier
   * buffer of the same scope, at least as large, whose memory it takes.
   */
  | {
      readonly kind: 'alloc';
      readonly buffer: string;
      readonly dtype: DType;
      readonly size: number;
      readonly scope: Scope;
      readonly over?: string;
    }
  /** All threads of the group arrive before any goes on, and see each other's stores. In uniform control flow only. */
  | { readonly kind: 'barrier' }
  /**
   * Combines scalars over every run of `width` threads side by side: a power of two up to 32, or all of the group.
   * Declares each name as the combination of its value; all threads of the run get it. May include barriers.
   */
  | {
      readonly kind: 'reduce';
      readonly op: ReduceOp;
      readonly width: number;
      readonly values: readonly { readonly name: string; readonly value: Expr }[];
    }
  /** Asks for the cache line of `buffer[index]` early. */
  | { readonly kind: 'prefetch'; readonly buffer: string; readonly index: Expr }
  | TileStmt<Expr>
  | {
      readonly kind: 'if';
      readonly condition: Expr;
      readonly then: readonly Stmt[];
      readonly otherwise: readonly Stmt[];
    };

export interface KernelBuffer {
  readonly name: string;
  readonly dtype: DType;
  /** What is there before is not seen through 'write': a task reads there what it wrote. */
  readonly access: 'read' | 'write' | 'readwrite';
}

export interface Kernel {
  readonly name: string;
  readonly buffers: readonly KernelBuffer[];
  /** Dim variables that the body reads, as scalars of type 'index'. */
  readonly dims: readonly string[];
  /** Number of tasks; the variable `task` runs below it. */
  readonly grid: Expr;
  readonly body: readonly Stmt[];
  /** That tasks are groups of threads; of a kernel whose body was left out, which otherwise tells. */
  readonly grouped?: boolean;
  /** How the kernel was made, for people: the template and what was fused. */
  readonly note: string;
}

// ---- construction: constant folding and the algebra of index arithmetic ----

export const constant = (value: number, dtype: ScalarType, lanes = 1): Expr => ({ kind: 'const', value, dtype, lanes });
export const index = (value: number): Expr => constant(value, 'index');
export const variable = (name: string, dtype: ScalarType = 'index', lanes = 1): Expr => ({
  kind: 'var',
  name,
  dtype,
  lanes,
});
export const load = (buffer: string, at: Expr, dtype: DType, lanes = 1): Expr => ({
  kind: 'load',
  buffer,
  index: at,
  dtype,
  lanes,
});

export function cast(arg: Expr, dtype: ScalarType): Expr {
  return arg.dtype === dtype ? arg : { kind: 'cast', arg, dtype, lanes: arg.lanes };
}
export function splat(arg: Expr, lanes: number): Expr {
  if (arg.lanes === lanes) return arg;
  return arg.kind === 'const' ? { ...arg, lanes } : { kind: 'splat', arg, dtype: arg.dtype, lanes };
}

/** The i32 vector start, start + 1, …; `start` is an index. */
export const ramp = (start: Expr, lanes: number): Expr => ({ kind: 'ramp', start, dtype: 'i32', lanes });
export const zip = (half: 'low' | 'high', a: Expr, b: Expr): Expr => ({
  kind: 'zip',
  half,
  args: [a, b],
  dtype: a.dtype,
  lanes: a.lanes,
});
export const across = (op: 'add' | 'max' | 'min', arg: Expr): Expr => ({
  kind: 'across',
  op,
  arg,
  dtype: arg.dtype,
  lanes: 1,
});

const isConst = (e: Expr, value?: number): e is Expr & { kind: 'const' } =>
  e.kind === 'const' && (value === undefined || e.value === value);
export const constValue = (e: Expr): number | undefined => (e.kind === 'const' ? e.value : undefined);

/** Structural equality. */
export function exprEquals(a: Expr, b: Expr): boolean {
  if (a === b) return true;
  return a.kind === b.kind && exprKey(a) === exprKey(b);
}

const keys = new WeakMap<Expr, string>();
/** Text that is equal for structurally equal expressions. */
export function exprKey(e: Expr): string {
  let key = keys.get(e);
  if (key === undefined) {
    const t = `${e.dtype}${e.lanes}`;
    switch (e.kind) {
      case 'const':
        key = `${e.value}:${t}`;
        break;
      case 'var':
        key = `${e.name}:${t}`;
        break;
      case 'load':
        key = `${e.buffer}[${exprKey(e.index)}]:${t}`;
        break;
      case 'alu':
        key = `${e.op}(${e.args.map(exprKey).join()}):${t}`;
        break;
      case 'cast':
      case 'bitcast':
      case 'splat':
        key = `${e.kind}(${exprKey(e.arg)}):${t}`;
        break;
      case 'ramp':
        key = `ramp(${exprKey(e.start)}):${t}`;
        break;
      case 'zip':
        key = `zip ${e.half}(${e.args.map(exprKey).join()}):${t}`;
        break;
      case 'across':
        key = `across ${e.op}(${exprKey(e.arg)}):${t}`;
        break;
      default:
        key = e satisfies never;
    }
    keys.set(e, key as string);
  }
  return key as string;
}

/** An ALU operation on operands of one type (`select`: args[0] is bool). Scalars meet vectors by splatting. */
export function alu(op: AluOp, ...operands: Expr[]): Expr {
  const lanes = Math.max(...operands.map((a) => a.lanes));
  const args = lanes === 1 ? operands : operands.map((a) => splat(a, lanes));
  const dtype: ScalarType = isCompare(op) ? 'bool' : op === 'select' ? args[1].dtype : args[0].dtype;
  if (dtype === 'index' && lanes === 1) {
    const folded = foldIndex(op, args);
    if (folded) return folded;
  }
  return { kind: 'alu', op, args, dtype, lanes };
}

export const add = (a: Expr, b: Expr): Expr => alu('add', a, b);
export const sub = (a: Expr, b: Expr): Expr => alu('sub', a, b);
export const mul = (a: Expr, b: Expr): Expr => alu('mul', a, b);
export const floorDiv = (a: Expr, b: Expr): Expr => alu('div', a, b);
export const modulo = (a: Expr, b: Expr): Expr => alu('rem', a, b);
export const ceilDiv = (a: Expr, b: number): Expr => floorDiv(add(a, index(b - 1)), index(b));
export const select = (c: Expr, a: Expr, b: Expr): Expr => alu('select', c, a, b);
export const lessThan = (a: Expr, b: Expr): Expr => alu('lt', a, b);

// Index algebra: enough that views cancel out, e.g. (m / S) * S + m % S = m and (a * S + b) / S = a for b < S.
// A remainder is recognised by structure: `b` is known to be below `S` if it is `x % S` or a loop variable that
// `below` was told about.
const bounds = new WeakMap<Expr, Expr>();
/** Declares that variable `e` stays below `limit`; returns it. */
export function below(e: Expr, limit: Expr): Expr {
  bounds.set(e, limit);
  return e;
}
function isBelow(e: Expr, limit: Expr): boolean {
  if (e.kind === 'const') return limit.kind === 'const' && e.value >= 0 && e.value < limit.value;
  if (e.kind === 'alu' && e.op === 'rem' && exprEquals(e.args[1], limit)) return true;
  const known = bounds.get(e);
  if (known && exprEquals(known, limit)) return true;
  const top = upperBound(e);
  return limit.kind === 'const' && top !== undefined && top < limit.value;
}
/** The largest value of a non-negative index expression when constants bound it. */
function upperBound(e: Expr): number | undefined {
  if (e.kind === 'const') return e.value;
  const known = bounds.get(e);
  if (known?.kind === 'const') return known.value - 1;
  if (e.kind !== 'alu') return undefined;
  if (e.op === 'rem' && e.args[1].kind === 'const') return e.args[1].value - 1;
  const [a, b] = e.args.map(upperBound);
  if (a === undefined || b === undefined) return undefined;
  if (e.op === 'add') return a + b;
  if (e.op === 'mul') return a * b;
  return e.op === 'div' && e.args[1].kind === 'const' ? Math.floor(a / e.args[1].value) : undefined;
}

const multiples = new WeakMap<Expr, number>();
/** Declares that variable `e` is a multiple of `factor`; returns it. */
export function multipleOf(e: Expr, factor: number): Expr {
  if (factor !== 1) multiples.set(e, factor);
  return e;
}
export const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
/** A number that divides a non-negative index expression whatever its variables are; 0 divides 0 alone. */
export function divisorOf(e: Expr): number {
  if (e.kind === 'const') return Math.abs(e.value);
  if (e.kind === 'var') return multiples.get(e) ?? 1;
  if (e.kind !== 'alu' || e.args.length !== 2) return 1;
  const [a, b] = e.args.map(divisorOf);
  switch (e.op) {
    case 'mul':
      return a * b <= Number.MAX_SAFE_INTEGER ? a * b : 1;
    case 'add':
    case 'sub':
    case 'min':
    case 'max':
    case 'rem':
      return gcd(a, b);
    default:
      return 1;
  }
}
/** Whether an index expression is visibly no less than 0: parts of one that is may be less. */
const isNonNegative = (e: Expr): boolean =>
  e.kind === 'const' ? e.value >= 0 : e.kind === 'var' ? bounds.has(e) : e.kind === 'alu' && e.op !== 'sub' && e.args.every(isNonNegative); // biome-ignore format: one row
/** Of x = y + z, if z cannot carry y into the next multiple of `b`, or of a divisor of it: y and z. */
function withoutCarry(x: Expr, b: Expr): readonly [Expr, Expr] | undefined {
  if (x.kind !== 'alu' || x.op !== 'add' || b.kind !== 'const') return undefined;
  const [y, z] = x.args;
  const top = upperBound(z);
  return top !== undefined && isNonNegative(z) && top < gcd(b.value, divisorOf(y)) ? [y, z] : undefined;
}

function foldIndex(op: AluOp, args: readonly Expr[]): Expr | undefined {
  const [a, b] = args;
  // a position along an axis of size 0, which no element has; some languages refuse to read the quotient
  if ((op === 'div' || op === 'rem') && isConst(b, 0)) return index(0);
  if (isConst(a) && b && isConst(b)) {
    switch (op) {
      case 'add':
        return index(a.value + b.value);
      case 'sub':
        return index(a.value - b.value);
      case 'mul':
        return index(a.value * b.value);
      case 'div':
        return index(Math.floor(a.value / b.value));
      case 'rem':
        return index(a.value - Math.floor(a.value / b.value) * b.value);
      case 'max':
        return index(Math.max(a.value, b.value));
      case 'min':
        return index(Math.min(a.value, b.value));
      default:
        return undefined;
    }
  }
  switch (op) {
    case 'add': {
      if (isConst(a, 0)) return b;
      if (isConst(b, 0)) return a;
      if (isConst(a)) return add(b, a);
      if (isConst(b) && a.kind === 'alu' && a.op === 'add' && isConst(a.args[1])) {
        return add(a.args[0], index(a.args[1].value + b.value));
      }
      // (x / S) * S + x % S = x
      if (b.kind === 'alu' && b.op === 'rem' && a.kind === 'alu' && a.op === 'mul') {
        for (const [q, s] of [a.args, [a.args[1], a.args[0]]]) {
          const isQuotient = q.kind === 'alu' && q.op === 'div' && exprEquals(q.args[0], b.args[0]);
          if (isQuotient && exprEquals(q.args[1], s) && exprEquals(b.args[1], s)) return b.args[0];
        }
      }
      // (x * S + y) + z with z a constant multiple is left as it is: compilers see through it
      return undefined;
    }
    case 'sub':
      return isConst(b, 0) ? a : exprEquals(a, b) ? index(0) : isConst(b) ? add(a, index(-b.value)) : undefined;
    case 'mul':
      if (isConst(a, 0) || isConst(b, 0)) return index(0);
      if (isConst(a, 1)) return b;
      if (isConst(b, 1)) return a;
      if (isConst(a)) return mul(b, a);
      if (isConst(b) && a.kind === 'alu' && a.op === 'mul' && isConst(a.args[1])) {
        return mul(a.args[0], index(a.args[1].value * b.value));
      }
      // (x / S) * c * S with S symbolic: keep the quotient next to its divisor so that the sum rule sees it
      return undefined;
    case 'div':
      if (isConst(b, 1)) return a;
      if (isBelow(a, b)) return index(0);
      if (exprEquals(a, b)) return index(1);
      if (a.kind === 'alu' && a.op === 'mul') {
        if (exprEquals(a.args[1], b)) return a.args[0];
        if (exprEquals(a.args[0], b)) return a.args[1];
        if (isConst(b) && isConst(a.args[1]) && a.args[1].value % b.value === 0) {
          return mul(a.args[0], index(a.args[1].value / b.value));
        }
      }
      if (a.kind === 'alu' && a.op === 'add') {
        const q = exactQuotient(a.args[0], b);
        if (q && isBelow(a.args[1], b)) return q;
        if (q) return add(q, floorDiv(a.args[1], b));
      }
      {
        const parts = withoutCarry(a, b);
        if (parts) return floorDiv(parts[0], b);
      }
      if (a.kind === 'alu' && a.op === 'div' && isConst(b) && isConst(a.args[1])) {
        return floorDiv(a.args[0], index(b.value * a.args[1].value));
      }
      return undefined;
    case 'rem':
      if (isConst(b, 1)) return index(0);
      if (isBelow(a, b)) return a;
      if (exactQuotient(a, b)) return index(0);
      {
        const parts = withoutCarry(a, b);
        if (parts) return add(modulo(parts[0], b), parts[1]);
      }
      if (a.kind === 'alu' && a.op === 'add' && exactQuotient(a.args[0], b)) return modulo(a.args[1], b);
      if (a.kind === 'alu' && a.op === 'rem' && isConst(b) && isConst(a.args[1]) && a.args[1].value % b.value === 0) {
        return modulo(a.args[0], b);
      }
      return undefined;
    case 'max':
    case 'min':
      return exprEquals(a, b) ? a : undefined;
    default:
      return undefined;
  }
}

/** x / s when x is visibly a multiple of s. */
function exactQuotient(x: Expr, s: Expr): Expr | undefined {
  if (exprEquals(x, s)) return index(1);
  if (x.kind === 'const') return s.kind === 'const' && x.value % s.value === 0 ? index(x.value / s.value) : undefined;
  if (x.kind !== 'alu') return undefined;
  if (x.op === 'mul') {
    const [p, q] = x.args;
    if (exprEquals(q, s)) return p;
    if (exprEquals(p, s)) return q;
    const inner = exactQuotient(q, s);
    if (inner) return mul(p, inner);
    const outer = exactQuotient(p, s);
    if (outer) return mul(outer, q);
  }
  if (x.op === 'add') {
    const p = exactQuotient(x.args[0], s);
    const q = p && exactQuotient(x.args[1], s);
    return p && q ? add(p, q) : undefined;
  }
  return undefined;
}
