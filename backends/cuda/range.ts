// Whether the index arithmetic of a kernel fits into 32 bits, which GPUs compute in one instruction where 64 bits take
// several. Interval arithmetic from the bounds of the dims; an index that cannot be bounded makes the kernel a 64-bit one.
import { dtypeInfo, isDType } from '../../ir/dtype.ts';
import { type Expr, exprEquals, type Kernel, type Stmt } from '../../ir/loop.ts';

interface Interval {
  readonly low: number;
  readonly high: number;
  /** What a variable stands for. */
  readonly value?: Expr;
}
type Bounds = ReadonlyMap<string, Interval>;

const unbounded: Interval = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
/** Room for the lanes of a vector and a step of the grid. */
const limit = 2 ** 31 - 2 ** 20;

class TooWide extends Error {}

/** `dims` bounds the dims of the kernel. */
export function fits32(kernel: Kernel, dims: Bounds, groupThreads: number): boolean {
  try {
    const bounds = new Map(dims);
    const tasks = check(kernel.grid, bounds);
    if (tasks.high > 2 ** 28) return false; // so that a step of the grid does not overflow
    bounds.set('task', { low: 0, high: tasks.high });
    bounds.set('thread', { low: 0, high: groupThreads });
    statements(kernel.body, bounds);
    return true;
  } catch (error) {
    if (error instanceof TooWide) return false;
    throw error;
  }
}

function statements(body: readonly Stmt[], outer: Bounds): void {
  const bounds = new Map(outer);
  for (const s of body) {
    switch (s.kind) {
      case 'for': {
        const start = check(s.start, bounds);
        const end = check(s.end, bounds);
        const inner = new Map(bounds);
        statements(s.body, inner.set(s.name, { low: start.low, high: Math.max(start.low, end.high) }));
        break;
      }
      case 'let': {
        const range = check(s.value, bounds);
        bounds.set(s.name, s.mutable ? unbounded : { ...range, value: s.value });
        break;
      }
      case 'assign':
        check(s.value, bounds);
        break;
      case 'store':
        check(s.index, bounds);
        check(s.value, bounds);
        break;
      case 'reduce':
        for (const { name, value } of s.values) {
          const range = check(value, bounds);
          bounds.set(name, s.op === 'add' ? unbounded : range);
        }
        break;
      case 'prefetch':
        check(s.index, bounds);
        break;
      case 'if':
        check(s.condition, bounds);
        statements(s.then, bounds);
        statements(s.otherwise, bounds);
        break;
      case 'tile_load':
        check(s.row, bounds);
        check(s.column, bounds);
        break;
      case 'tile_read':
      case 'tile_scale':
      case 'tile_store':
        check(s.index, bounds);
        break;
      case 'copy':
        check(s.at, bounds);
        check(s.index, bounds);
        check(s.inside, bounds);
        break;
      case 'alloc':
      case 'barrier':
      case 'fragment':
      case 'tile_multiply':
      case 'copy_batch':
      case 'copy_wait':
        break;
      default:
        s satisfies never;
    }
  }
}

/** The interval of an expression; every index inside of it is held against the limit. */
function check(e: Expr, bounds: Bounds): Interval {
  const range = intervalOf(e, bounds);
  if (e.dtype === 'index' && !(range.low >= -limit && range.high <= limit)) throw new TooWide();
  return range;
}

function intervalOf(e: Expr, bounds: Bounds): Interval {
  switch (e.kind) {
    case 'const':
      return { low: e.value, high: e.value };
    case 'var':
      return bounds.get(e.name) ?? unbounded;
    case 'load':
      check(e.index, bounds);
      return ofType(e);
    case 'cast': {
      const range = check(e.arg, bounds);
      const isWhole = e.arg.dtype === 'index' || ofType(e.arg) !== unbounded;
      const own = ofType(e);
      const isKept = e.dtype === 'index' || (range.low >= own.low && range.high <= own.high);
      return isWhole && isKept ? range : own;
    }
    case 'alu':
      return operation(
        e,
        e.args.map((a) => check(a, bounds)),
        bounds,
      );
    case 'zip':
      for (const a of e.args) check(a, bounds);
      return ofType(e);
    case 'bitcast':
    case 'splat':
    case 'across':
      check(e.arg, bounds);
      return ofType(e);
    case 'ramp':
      check(e.start, bounds);
      return ofType(e);
    default:
      return e satisfies never;
  }
}

/** What an integer of up to 32 bits can be. */
function ofType({ dtype }: Expr): Interval {
  if (dtype === 'index' || dtype === 'i64' || !isDType(dtype)) return unbounded;
  const { kind, min, max } = dtypeInfo[dtype];
  return kind === 'float' ? unbounded : { low: min, high: max };
}

function operation(e: Expr & { kind: 'alu' }, args: readonly Interval[], bounds: Bounds): Interval {
  if (e.dtype !== 'index') {
    // Only what bounds an index later: clamps of whole numbers
    if ((e.op === 'max' || e.op === 'min') && ofType(e) !== unbounded) return extremes(e.op, args);
    return ofType(e);
  }
  const [a, b, c] = args;
  switch (e.op) {
    case 'add':
      return { low: a.low + b.low, high: a.high + b.high };
    case 'sub':
      return { low: a.low - b.high, high: a.high - b.low };
    case 'neg':
      return { low: -a.high, high: -a.low };
    case 'mul': {
      const products = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
      const high = Math.max(...products);
      if (a.low < 0 || b.low < 0) return { low: Math.min(...products), high };
      const [x, y] = e.args;
      return { low: a.low * b.low, high: Math.min(high, productBound(x, y, bounds), productBound(y, x, bounds)) };
    }
    case 'div': // of non-negative numbers; by 0 it gives 0
      return { low: 0, high: Math.floor(Math.max(0, a.high) / Math.max(1, b.low)) };
    case 'rem':
      return { low: 0, high: b.low >= 1 ? Math.min(a.high, b.high - 1) : a.high };
    case 'max':
    case 'min':
      return extremes(e.op, args);
    case 'xor': // below the next power of two
      return a.low >= 0 && b.low >= 0
        ? { low: 0, high: 2 ** Math.ceil(Math.log2(Math.max(a.high, b.high) + 1)) - 1 }
        : unbounded;
    case 'select':
      return { low: Math.min(b.low, c.low), high: Math.max(b.high, c.high) };
    default:
      return unbounded;
  }
}

/**
 * An upper bound of x * s, both non-negative. What counts is that (y / s) * s is at most y, also with constants and sums
 * between: where s is a dim, the bounds of the factors alone say much less.
 */
function productBound(x: Expr, s: Expr, bounds: Bounds): number {
  const e = resolve(x, bounds);
  const plain = intervalOf(e, bounds).high * intervalOf(s, bounds).high;
  if (e.kind !== 'alu' || e.dtype !== 'index') return plain;
  const [a, b] = e.args;
  if (e.op === 'add') return Math.min(plain, productBound(a, s, bounds) + productBound(b, s, bounds));
  if (e.op === 'mul' && b.kind === 'const' && b.value > 0) return Math.min(plain, productBound(a, s, bounds) * b.value);
  let divisor = 1;
  for (let d: Expr = e; d.kind === 'alu' && d.op === 'div'; d = resolve(d.args[0], bounds)) {
    if (exprEquals(d.args[1], s)) return Math.min(plain, Math.floor(intervalOf(d.args[0], bounds).high / divisor));
    if (d.args[1].kind !== 'const' || d.args[1].value < 1) break;
    divisor *= d.args[1].value;
  }
  return plain;
}

const resolve = (e: Expr, bounds: Bounds): Expr => (e.kind === 'var' ? (bounds.get(e.name)?.value ?? e) : e);

const extremes = (op: 'max' | 'min', args: readonly Interval[]): Interval => ({
  low: Math[op](...args.map((x) => x.low)),
  high: Math[op](...args.map((x) => x.high)),
});
