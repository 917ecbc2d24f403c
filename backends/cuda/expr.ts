// Loop IR expressions as CUDA C. The threads of a GPU are its vector lanes, so a vector of the loop IR
// means wide memory access and nothing else: a vector value is printed as one scalar expression a lane, and only its
// loads and stores move 16, 8 or 4 bytes at once, as far as the index is provably aligned. Nothing of the program's text
// reaches the code: variables and buffers get generated names, numbers and types are checked on the way.
import { type DType, dtypeInfo, isDType } from '../../ir/dtype.ts';
import type { Expr, Kernel, ScalarType } from '../../ir/loop.ts';
import { aluArity, arithmetic, compare, compares, constantText } from '../c/scalar.ts';
import { castText, isHalf, memoryType, valueBytes, valueType } from '../c/types.ts';
import { accessBytes, type Factors, factorOf } from '../kernel/alignment.ts';
import { malformed } from '../malformed.ts';
import { loadLanes } from './access.ts';
import type { Fragment } from './tiles.ts';

interface Variable {
  readonly c: string;
  readonly dtype: ScalarType;
  readonly lanes: number;
  readonly mutable: boolean;
}
export interface Memory {
  readonly c: string;
  readonly dtype: DType;
  readonly space: 'global' | 'group' | 'thread';
  /** Of an `alloc`. */
  readonly bytes?: number;
}
/** Names that a block sees; inner blocks copy it. `factors` are known divisors of index variables. */
export interface Scope {
  readonly variables: Map<string, Variable>;
  readonly buffers: Map<string, Memory>;
  readonly factors: Factors;
  readonly fragments: Map<string, Fragment>;
}

/** The C type of indices in a kernel: 32 bits where all of them fit, as GPUs compute 64 bits in pieces. */
export type IndexType = 'i32' | 'i64';

/** Prints expressions, and before the line that uses one the statements that its vectors need. */
export class ExprPrinter {
  readonly lines: string[] = [];
  protected depth = 2;
  protected scope: Scope;
  private count = 0;

  constructor(
    kernel: Kernel,
    /** C names of the kernel's dims. */
    dims: ReadonlyMap<string, string>,
    protected readonly ix: IndexType,
  ) {
    const variables = new Map<string, Variable>();
    const declare = (name: string, c: string): void => {
      variables.set(name, { c, dtype: 'index', lanes: 1, mutable: false });
    };
    for (const name of kernel.dims) declare(name, dims.get(name)!);
    declare('task', 'task');
    declare('thread', 'thread');
    const buffers = new Map<string, Memory>();
    kernel.buffers.forEach((b, i) => {
      if (!isDType(b.dtype)) throw malformed('a buffer has an unknown type');
      buffers.set(b.name, { c: `b${i}`, dtype: b.dtype, space: 'global' });
    });
    this.scope = { variables, buffers, factors: new Map(), fragments: new Map() };
  }

  /** A scalar index expression. */
  index(e: Expr): string {
    if (e.dtype !== 'index' || e.lanes !== 1) throw malformed('an index must be a scalar of type index');
    return this.scalar(e);
  }

  protected line(text: string): void {
    this.lines.push('  '.repeat(this.depth) + text);
  }

  protected fresh(prefix: string): string {
    return `${prefix}${this.count++}`;
  }

  /** The type that values of `dtype` are computed as. */
  protected plain(dtype: ScalarType): DType {
    return dtype === 'index' ? this.ix : dtype;
  }

  protected type(dtype: ScalarType): string {
    if (memoryType(dtype) === undefined) throw malformed('a value has an unknown type');
    return valueType(this.plain(dtype), 1);
  }

  /** A variable that holds an index. */
  protected name(text: string): string {
    if (/^\w+$/.test(text)) return text;
    const c = this.fresh('a');
    this.line(`const ${this.ix} ${c} = ${text};`);
    return c;
  }

  /** The lanes of a value as variables, all computed before any is used. */
  protected named(e: Expr): string[] {
    if (e.lanes === 1) return [this.scalar(e)];
    const c = this.fresh('v');
    return this.lanesOf(e).map((value, lane) => {
      this.line(`const ${this.type(e.dtype)} ${laneName(c, lane)} = ${value};`);
      return laneName(c, lane);
    });
  }

  protected known(name: string): Memory {
    const memory = this.scope.buffers.get(name);
    if (!memory) throw malformed(`unknown buffer '${name}'`);
    return memory;
  }

  protected memory(name: string, dtype: ScalarType): Memory {
    const memory = this.known(name);
    if (memory.dtype !== dtype) throw malformed(`buffer '${name}' holds ${memory.dtype}, not ${dtype}`);
    return memory;
  }

  /** Bytes that one instruction may move; the compiler keeps arrays of a thread in registers if accessed by element. */
  protected width(index: Expr, { dtype, space }: Memory, lanes: number): number {
    return space === 'thread' ? 0 : accessBytes(factorOf(index, this.scope.factors), dtypeInfo[dtype].bytes, lanes);
  }

  protected scalar(e: Expr): string {
    if (e.lanes !== 1) throw malformed('a vector stands where a scalar must');
    return this.lanesOf(e)[0];
  }

  /** The C expressions of the lanes of a value. Vectors may print statements that they need before. */
  protected lanesOf(e: Expr): string[] {
    const n = e.lanes;
    if (!(Number.isInteger(n) && n >= 1 && n <= 64 && (n & (n - 1)) === 0)) {
      throw malformed('lanes must be a power of two up to 64');
    }
    const repeat = (text: string): string[] => new Array<string>(n).fill(text);
    this.type(e.dtype); // checks it
    switch (e.kind) {
      case 'const':
        return repeat(this.constant(e.value, e.dtype));
      case 'var': {
        const v = this.scope.variables.get(e.name);
        if (!v) throw malformed(`unknown variable '${e.name}'`);
        if (v.dtype !== e.dtype || v.lanes !== n) throw malformed(`variable '${e.name}' has another type`);
        return Array.from({ length: n }, (_, lane) => laneName(v.c, lane));
      }
      case 'load':
        return this.load(e);
      case 'alu':
        return this.alu(e);
      case 'cast':
        if (e.arg.lanes !== n) throw malformed('a cast cannot change the number of lanes');
        return this.lanesOf(e.arg).map((x) => castText(this.plain(e.arg.dtype), this.plain(e.dtype), 1, x));
      case 'bitcast':
        return this.bitcast(e.arg, e);
      case 'splat': {
        if (e.arg.lanes !== 1 || e.arg.dtype !== e.dtype) throw malformed('a splat takes a scalar of its own type');
        const text = this.scalar(e.arg);
        if (n === 1 || /^[\w.]+$/.test(text)) return repeat(text);
        const c = this.fresh('v');
        this.line(`const ${this.type(e.dtype)} ${c} = ${text};`);
        return repeat(c);
      }
      case 'ramp': {
        if (e.start.lanes !== 1 || e.dtype !== 'i32') throw malformed('a ramp has a scalar start and type i32');
        const first = castText(this.plain(e.start.dtype), 'i32', 1, this.scalar(e.start));
        return Array.from({ length: n }, (_, lane) => (lane === 0 ? first : `(${first} + ${lane})`));
      }
      case 'zip': {
        const [a, b] = e.args;
        if (a.lanes !== n || b.lanes !== n || a.dtype !== e.dtype || b.dtype !== e.dtype) {
          throw malformed('the operands of a zip have its type');
        }
        const from = e.half === 'low' ? 0 : n / 2;
        const [x, y] = [this.lanesOf(a), this.lanesOf(b)];
        return Array.from({ length: n }, (_, lane) => (lane % 2 === 0 ? x : y)[from + (lane >> 1)]);
      }
      case 'across':
        return [this.across(e.arg, e.op)];
      default:
        e satisfies never;
        throw malformed('unknown expression');
    }
  }

  private constant(value: number, dtype: ScalarType): string {
    return constantText(value, this.plain(dtype));
  }

  private load(e: Expr & { kind: 'load' }): string[] {
    const memory = this.memory(e.buffer, e.dtype);
    const at = this.index(e.index);
    if (e.lanes === 1) {
      const element = `${memory.c}[${at}]`;
      return [e.dtype === 'bool' ? `(${element} != 0)` : element];
    }
    const { lines, lanes } = loadLanes(
      memory.c,
      this.name(at),
      memory.dtype,
      e.lanes,
      this.width(e.index, memory, e.lanes),
      this.fresh('l'),
    );
    for (const text of lines) this.line(text);
    return lanes;
  }

  private across(arg: Expr, op: string): string {
    if (op !== 'add' && op !== 'max' && op !== 'min') throw malformed('unknown reduction across lanes');
    if (arg.dtype === 'bool') throw malformed('a reduction across lanes takes numbers');
    // 16-bit floats are combined in f32 and rounded once
    const type = this.plain(arg.dtype);
    const dtype = isHalf(type) ? 'f32' : type;
    let lanes = this.lanesOf(arg).map((x) => castText(type, dtype, 1, x));
    while (lanes.length > 1) {
      const half = lanes.length / 2;
      lanes = lanes.slice(0, half).map((x, i) => arithmetic(op, dtype, 1, [x, lanes[half + i]]));
    }
    return castText(dtype, type, 1, lanes[0]);
  }

  private bitcast(arg: Expr, e: Expr): string[] {
    const [from, to] = [this.plain(arg.dtype), this.plain(e.dtype)];
    const isBool = from === 'bool' || to === 'bool';
    if (arg.lanes !== e.lanes || isBool || valueBytes(from) !== valueBytes(to)) {
      throw malformed(`a bitcast from ${arg.dtype} to ${e.dtype} changes the size`);
    }
    const type = valueType(to, 1);
    return this.lanesOf(arg).map((x) => {
      if (valueType(from, 1) === type) return x;
      if (from === 'f32') return `((${type})bits_of_1(${x}))`;
      if (to === 'f32') return `float_of_1((u32)${x})`;
      return `((${type})${x})`;
    });
  }

  private alu(e: Expr & { kind: 'alu' }): string[] {
    if (aluArity.get(e.op) !== e.args.length) throw malformed('unknown operation or wrong number of operands');
    const [a, b] = e.args;
    const isCompare = compares.has(e.op);
    const operand = e.op === 'select' ? b : a;
    if (e.op === 'select' ? a.dtype !== 'bool' || e.args[2].dtype !== operand.dtype : b && b.dtype !== a.dtype) {
      throw malformed(`operands of ${e.op} differ in type`);
    }
    if (e.dtype !== (isCompare ? 'bool' : operand.dtype)) throw malformed(`${e.op} has a result of another type`);
    const values = e.args.map((arg) => {
      if (arg.lanes !== e.lanes) throw malformed(`operands of ${e.op} differ in lanes`);
      return this.lanesOf(arg);
    });
    return Array.from({ length: e.lanes }, (_, lane) =>
      this.operation(
        e,
        operand.dtype,
        values.map((v) => v[lane]),
      ),
    );
  }

  /** One lane of an operation. */
  private operation({ op }: Expr & { kind: 'alu' }, dtype: ScalarType, x: readonly string[]): string {
    if (op === 'select') return `(${x[0]} ? ${x[1]} : ${x[2]})`;
    if (isHalf(dtype)) {
      // As the reference: every operation is computed in f32 and rounded
      const wide = x.map((v) => castText(dtype, 'f32', 1, v));
      return compares.has(op) ? compare(op, 'f32', 1, wide) : castText('f32', dtype, 1, arithmetic(op, 'f32', 1, wide));
    }
    if (compares.has(op)) return compare(op, dtype, 1, x);
    if (dtype === 'index' && (op === 'div' || op === 'rem')) return `${op}_index_${this.ix}(${x.join(', ')})`;
    const wraps = op === 'add' || op === 'sub' || op === 'mul' || op === 'neg' || op === 'fma';
    if (wraps && (dtype === 'i32' || dtype === 'i64')) {
      // C leaves overflow of signed numbers open
      const unsigned = dtype === 'i32' ? 'u32' : 'u64';
      return `((${dtype})${arithmetic(
        op,
        'u32',
        1,
        x.map((v) => `(${unsigned})${v}`),
      )})`;
    }
    return arithmetic(op, this.plain(dtype), 1, x);
  }
}

export const laneName = (c: string, lane: number): string => (lane === 0 ? c : `${c}_${lane}`);
