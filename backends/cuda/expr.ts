// Loop IR expressions and statements as CUDA C. The threads of a GPU are its vector lanes, so a vector of the loop IR
// means wide memory access and nothing else: a vector value is printed as one scalar expression a lane, and only its
// loads and stores move 16, 8 or 4 bytes at once, as far as the index is provably aligned. Nothing of the program's text
// reaches the code: variables and buffers get generated names, numbers and types are checked on the way.
import { type DType, dtypeInfo, isDType } from '../../ir/dtype.ts';
import type { Expr, Kernel, ScalarType, Stmt } from '../../ir/loop.ts';
import { castText, isHalf, memoryType, valueBytes, valueType } from '../cpu/prelude.ts';
import { aluArity, arithmetic, compare, compares, constantText, integer, malformed } from '../cpu/scalar.ts';
import { accessBytes, factorOf, type Factors } from '../kernel/alignment.ts';
import { loadLanes, storeLines } from './access.ts';
import { type ReduceType, reduceTypes, runWidths } from './prelude.ts';
import { type Fragment, printTile } from './tiles.ts';

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
interface Scope {
  readonly variables: Map<string, Variable>;
  readonly buffers: Map<string, Memory>;
  readonly factors: Factors;
  readonly fragments: Map<string, Fragment>;
}

/** The C type of indices in a kernel: 32 bits where all of them fit, as GPUs compute 64 bits in pieces. */
export type IndexType = 'i32' | 'i64';

/** Prints the body of one kernel. */
export class BodyPrinter {
  readonly lines: string[] = [];
  /** Bytes of shared memory that the kernel declares. */
  groupBytes = 0;
  private count = 0;
  private depth = 2;
  private inGroupLoop = false;
  private scope: Scope;

  constructor(
    kernel: Kernel,
    /** C names of the kernel's dims. */
    dims: ReadonlyMap<string, string>,
    private readonly ix: IndexType,
    private readonly groupThreads: number,
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

  statements(body: readonly Stmt[]): void {
    for (const s of body) this.statement(s);
  }

  private line(text: string): void {
    this.lines.push('  '.repeat(this.depth) + text);
  }

  private fresh(prefix: string): string {
    return `${prefix}${this.count++}`;
  }

  private block(head: string, body: readonly Stmt[], declare?: (scope: Scope) => void): void {
    const outer = this.scope;
    const { variables, buffers, factors, fragments } = outer;
    this.scope = {
      variables: new Map(variables),
      buffers: new Map(buffers),
      factors: new Map(factors),
      fragments: new Map(fragments),
    };
    declare?.(this.scope);
    this.line(`${head} {`);
    this.depth++;
    this.statements(body);
    this.depth--;
    this.line('}');
    this.scope = outer;
  }

  private statement(s: Stmt): void {
    switch (s.kind) {
      case 'for':
        this.loop(s);
        return;
      case 'let': {
        const { dtype, lanes } = s.value;
        const c = this.fresh('v');
        const qualifier = s.mutable ? '' : 'const ';
        this.lanesOf(s.value).forEach((value, lane) => {
          this.line(`${qualifier}${this.type(dtype)} ${laneName(c, lane)} = ${value};`);
        });
        this.scope.variables.set(s.name, { c, dtype, lanes, mutable: s.mutable });
        if (dtype === 'index' && lanes === 1 && !s.mutable) {
          this.scope.factors.set(s.name, factorOf(s.value, this.scope.factors));
        } else this.scope.factors.delete(s.name);
        return;
      }
      case 'assign': {
        const target = this.scope.variables.get(s.name);
        if (!target?.mutable) throw malformed(`'${s.name}' is assigned but not a mutable variable`);
        if (target.dtype !== s.value.dtype || target.lanes !== s.value.lanes) {
          throw malformed(`'${s.name}' is assigned a value of another type`);
        }
        this.named(s.value).forEach((value, lane) => this.line(`${laneName(target.c, lane)} = ${value};`));
        return;
      }
      case 'store': {
        const { dtype, lanes } = s.value;
        const memory = this.memory(s.buffer, dtype);
        const at = this.index(s.index);
        if (lanes === 1) {
          this.line(`${memory.c}[${at}] = ${this.scalar(s.value)};`);
          return;
        }
        const values = this.named(s.value);
        for (const text of storeLines(
          memory.c,
          this.name(at),
          memory.dtype,
          values,
          this.width(s.index, memory, lanes),
        )) {
          this.line(text);
        }
        return;
      }
      case 'alloc':
        this.alloc(s.buffer, s.dtype, integer(s.size, 'an allocation size'), s.scope, s.over);
        return;
      case 'barrier':
        this.collective('a barrier');
        this.line('__syncthreads();');
        return;
      case 'reduce':
        this.collective('a reduction');
        for (const { name, value } of s.values) this.reduce(name, s.op, s.width, value);
        return;
      case 'prefetch': {
        const memory = this.known(s.buffer);
        if (memory.space === 'global') this.line(`prefetch(${memory.c} + ${this.index(s.index)});`);
        return;
      }
      case 'if':
        if (s.condition.lanes !== 1) throw malformed('a condition must be a scalar');
        this.block(`if (${this.scalar(s.condition)})`, s.then);
        if (s.otherwise.length > 0) this.block('else', s.otherwise);
        return;
      case 'fragment':
      case 'tile_load':
      case 'tile_multiply':
      case 'tile_scale':
      case 'tile_store':
      case 'copy':
      case 'copy_batch':
      case 'copy_wait':
        if (s.kind !== 'copy') this.collective('a tile');
        printTile(s, this.tiles);
        return;
      default:
        s satisfies never;
        throw malformed('unknown statement');
    }
  }

  private readonly tiles = {
    line: (text: string) => this.line(text),
    fresh: (prefix: string) => this.fresh(prefix),
    index: (e: Expr) => this.index(e),
    condition: (e: Expr) => this.scalar(e),
    factor: (e: Expr) => factorOf(e, this.scope.factors),
    fragments: (): Map<string, Fragment> => this.scope.fragments,
    memory: (name: string): Memory => this.known(name),
  };

  private loop(s: Stmt & { kind: 'for' }): void {
    const step = integer(s.step, 'a loop step');
    if (step < 1) throw malformed('a loop step must be positive');
    const isGroup = s.level === 'group';
    if (isGroup && this.inGroupLoop) throw malformed('a group loop inside a group loop');
    const c = this.fresh('j'); // not i, as i8 and i32 are types
    const end = this.fresh('n');
    const start = this.index(s.start);
    // A loop that gives every thread as many iterations is counted, so that compilers can unroll it
    const size = s.start.kind === 'const' && s.end.kind === 'const' ? s.end.value - s.start.value : 0;
    const each = size / (step * this.groupThreads);
    const isCounted = isGroup && each > 1 && Number.isInteger(each);
    const from = isGroup ? `${start} + thread${step === 1 ? '' : ` * ${step}`}` : start;
    const by = isGroup ? step * this.groupThreads : step;
    if (!isCounted) this.line(`const ${this.ix} ${end} = ${this.index(s.end)};`);
    const head = isCounted
      ? `for (${this.ix} ${c} = ${from}, ${end} = 0; ${end} < ${each}; ${end}++, ${c} += ${by})`
      : `for (${this.ix} ${c} = ${from}; ${c} < ${end}; ${c} += ${by})`;
    if (isCounted) this.line(`#pragma unroll ${Math.min(each, 4)}`); // and no more: kernels stay small
    const outer = this.inGroupLoop;
    this.inGroupLoop ||= isGroup;
    this.block(head, s.body, (scope) => {
      scope.variables.set(s.name, { c, dtype: 'index', lanes: 1, mutable: false });
      scope.factors.set(s.name, factorOf(s.start, this.scope.factors, step));
    });
    this.inGroupLoop = outer;
  }

  /** All threads of the group must come to what is printed next. */
  private collective(what: string): void {
    if (this.inGroupLoop) throw malformed(`${what} inside a group loop`);
  }

  private alloc(name: string, dtype: DType, size: number, scope: string, over?: string): void {
    if (!isDType(dtype) || size < 0) throw malformed('an allocation has an unknown type or a negative size');
    const c = this.fresh('t');
    const count = Math.max(1, size);
    const space = scope === 'group' ? 'group' : 'thread';
    const bytes = Math.ceil((count * dtypeInfo[dtype].bytes) / 16) * 16;
    const type = memoryType(dtype);
    if (over !== undefined) {
      const under = this.known(over);
      if (under.space !== space || !(bytes <= (under.bytes ?? 0)))
        throw malformed(`'${over}' has no room for '${name}'`);
      this.line(`${type} *const ${c} = (${type} *)${under.c};`);
    } else {
      if (space === 'group') this.groupBytes += bytes;
      this.line(`${space === 'group' ? '__shared__ __align__(16) ' : ''}${type} ${c}[${count}];`);
    }
    this.scope.buffers.set(name, { c, dtype, space, bytes });
  }

  private reduce(name: string, op: string, width: number, value: Expr): void {
    const isWhole = width === this.groupThreads;
    if (!isWhole && !runWidths.includes(width)) throw malformed('a reduction over an odd number of threads');
    if (op !== 'add' && op !== 'max' && op !== 'min') throw malformed('unknown reduction of a group');
    if (value.lanes !== 1) throw malformed('a reduction of a group takes a scalar');
    const type = this.plain(value.dtype);
    const wide: ReduceType = reduceTypes.find((t) => t === type) ?? (isHalf(type) ? 'f32' : 'i32');
    const c = this.fresh('v');
    const part = castText(type, wide, 1, this.scalar(value));
    const all = isWhole ? `group_${op}_${wide}(${part})` : `run_${op}_${wide}(${part}, ${width})`;
    this.line(`const ${this.type(value.dtype)} ${c} = ${castText(wide, type, 1, all)};`);
    this.scope.variables.set(name, { c, dtype: value.dtype, lanes: 1, mutable: false });
    this.scope.factors.delete(name);
  }

  /** The type that values of `dtype` are computed as. */
  private plain(dtype: ScalarType): DType {
    return dtype === 'index' ? this.ix : dtype;
  }

  private type(dtype: ScalarType): string {
    if (memoryType(dtype) === undefined) throw malformed('a value has an unknown type');
    return valueType(this.plain(dtype), 1);
  }

  /** A variable that holds an index. */
  private name(text: string): string {
    if (/^\w+$/.test(text)) return text;
    const c = this.fresh('a');
    this.line(`const ${this.ix} ${c} = ${text};`);
    return c;
  }

  /** The lanes of a value as variables, all computed before any is used. */
  private named(e: Expr): string[] {
    if (e.lanes === 1) return [this.scalar(e)];
    const c = this.fresh('v');
    return this.lanesOf(e).map((value, lane) => {
      this.line(`const ${this.type(e.dtype)} ${laneName(c, lane)} = ${value};`);
      return laneName(c, lane);
    });
  }

  private known(name: string): Memory {
    const memory = this.scope.buffers.get(name);
    if (!memory) throw malformed(`unknown buffer '${name}'`);
    return memory;
  }

  private memory(name: string, dtype: ScalarType): Memory {
    const memory = this.known(name);
    if (memory.dtype !== dtype) throw malformed(`buffer '${name}' holds ${memory.dtype}, not ${dtype}`);
    return memory;
  }

  /** Bytes that one instruction may move; the compiler keeps arrays of a thread in registers if accessed by element. */
  private width(index: Expr, { dtype, space }: Memory, lanes: number): number {
    return space === 'thread' ? 0 : accessBytes(factorOf(index, this.scope.factors), dtypeInfo[dtype].bytes, lanes);
  }

  private scalar(e: Expr): string {
    if (e.lanes !== 1) throw malformed('a vector stands where a scalar must');
    return this.lanesOf(e)[0];
  }

  /** The C expressions of the lanes of a value. Vectors may print statements that they need before. */
  private lanesOf(e: Expr): string[] {
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

const laneName = (c: string, lane: number): string => (lane === 0 ? c : `${c}_${lane}`);
