// Loop IR expressions as CUDA C. The threads of a GPU are its vector lanes, so a vector of the loop IR
// means wide memory access and nothing else: a vector value is printed as one scalar expression a lane, and only its
// loads and stores move 16, 8 or 4 bytes at once, as far as the index is provably aligned. Nothing of the program's text
// reaches the code: variables and buffers get generated names; numbers and types were checked by ir/verify-kernel.ts.
import { accessBytes, type Factors, factorOf } from '../../ir/alignment.ts';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import { type Expr, isCompare, type Kernel, type ReduceOp, type ScalarType } from '../../ir/loop.ts';
import { arithmetic, compare, constantText } from '../c/scalar.ts';
import { castText, isHalf, valueType } from '../c/types.ts';
import { loadLanes } from './access.ts';
import type { Memory } from './memory.ts';
import type { Fragment } from './tiles.ts';

interface Variable {
  readonly c: string;
  readonly dtype: ScalarType;
  readonly lanes: number;
  readonly mutable: boolean;
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
      buffers.set(b.name, { c: `b${i}`, dtype: b.dtype, space: 'global' });
    });
    this.scope = { variables, buffers, factors: new Map(), fragments: new Map() };
  }

  /** A scalar index expression. */
  index(e: Expr): string {
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

  protected memory(name: string): Memory {
    return this.scope.buffers.get(name)!;
  }

  /** Bytes that one instruction may move; the compiler keeps arrays of a thread in registers if accessed by element. */
  protected width(index: Expr, { dtype, space }: Memory, lanes: number): number {
    return space === 'thread' ? 0 : accessBytes(factorOf(index, this.scope.factors), dtypeInfo[dtype].bytes, lanes);
  }

  protected scalar(e: Expr): string {
    return this.lanesOf(e)[0];
  }

  /** The C expressions of the lanes of a value. Vectors may print statements that they need before. */
  protected lanesOf(e: Expr): string[] {
    const n = e.lanes;
    const repeat = (text: string): string[] => new Array<string>(n).fill(text);
    switch (e.kind) {
      case 'const':
        return repeat(this.constant(e.value, e.dtype));
      case 'var': {
        const v = this.scope.variables.get(e.name)!;
        return Array.from({ length: n }, (_, lane) => laneName(v.c, lane));
      }
      case 'load':
        return this.load(e);
      case 'alu':
        return this.alu(e);
      case 'cast':
        return this.lanesOf(e.arg).map((x) => castText(this.plain(e.arg.dtype), this.plain(e.dtype), 1, x));
      case 'bitcast':
        return this.bitcast(e.arg, e);
      case 'splat': {
        const text = this.scalar(e.arg);
        if (n === 1 || /^[\w.]+$/.test(text)) return repeat(text);
        const c = this.fresh('v');
        this.line(`const ${this.type(e.dtype)} ${c} = ${text};`);
        return repeat(c);
      }
      case 'ramp': {
        const first = castText(this.plain(e.start.dtype), 'i32', 1, this.scalar(e.start));
        return Array.from({ length: n }, (_, lane) => (lane === 0 ? first : `(${first} + ${lane})`));
      }
      case 'zip': {
        const [a, b] = e.args;
        const from = e.half === 'low' ? 0 : n / 2;
        const [x, y] = [this.lanesOf(a), this.lanesOf(b)];
        return Array.from({ length: n }, (_, lane) => (lane % 2 === 0 ? x : y)[from + (lane >> 1)]);
      }
      case 'across':
        return [this.across(e.arg, e.op)];
      default:
        return e satisfies never;
    }
  }

  private constant(value: number, dtype: ScalarType): string {
    return constantText(value, this.plain(dtype));
  }

  private load(e: Expr & { kind: 'load' }): string[] {
    const memory = this.memory(e.buffer);
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

  private across(arg: Expr, op: ReduceOp): string {
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
    const type = valueType(to, 1);
    return this.lanesOf(arg).map((x) => {
      if (valueType(from, 1) === type) return x;
      if (from === 'f32') return `((${type})bits_of_1(${x}))`;
      if (to === 'f32') return `float_of_1((u32)${x})`;
      return `((${type})${x})`;
    });
  }

  private alu(e: Expr & { kind: 'alu' }): string[] {
    const values = e.args.map((arg) => this.lanesOf(arg));
    return Array.from({ length: e.lanes }, (_, lane) =>
      this.operation(
        e,
        e.args[0].dtype,
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
      return isCompare(op) ? compare(op, 'f32', 1, wide) : castText('f32', dtype, 1, arithmetic(op, 'f32', 1, wide));
    }
    if (isCompare(op)) return compare(op, dtype, 1, x);
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
