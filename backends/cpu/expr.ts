// Loop IR expressions and statements as C. A vector wider than the machine's registers is printed in parts, each as
// wide as a register: every expression is asked for part p of its lanes. Nothing of the program's text reaches the C
// code: variables and buffers get generated names; numbers and types were checked by ir/verify-kernel.ts.
import type { DType } from '../../ir/dtype.ts';
import { dtypeInfo, isDType } from '../../ir/dtype.ts';
import { type Expr, isCompare, type Kernel, type ScalarType, type Stmt } from '../../ir/loop.ts';
import { arithmetic, compare, constantText } from '../c/scalar.ts';
import { castLoadText, castText, isHalf, memoryType, valueType } from '../c/types.ts';
import type { Isa } from './target.ts';
import { type Fragment, printTile, type TileContext } from './tiles.ts';

interface Variable {
  readonly c: string;
  readonly dtype: ScalarType;
  readonly lanes: number;
  readonly mutable: boolean;
}
interface Memory {
  readonly c: string;
  readonly dtype: DType;
}
/** Names that a block sees; inner blocks copy it. */
interface Scope {
  readonly variables: Map<string, Variable>;
  readonly buffers: Map<string, Memory>;
  readonly fragments: Map<string, Fragment>;
}

/** Allocations up to this size, and in sum up to four times that, live on the stack. */
const stackAllocBytes = 16384;

/** Prints the body of one kernel. */
export class BodyPrinter {
  readonly lines: string[] = [];
  /** Lane counts in use; the prelude is made for them. */
  readonly lanes: Set<number>;
  /** Bytes of the per-thread scratch area that the kernel needs. */
  scratchBytes = 0;
  private stackBytes = 0;
  private count = 0;
  private depth = 1;
  private scope: Scope;
  private readonly registerLanes: number;

  constructor(
    kernel: Kernel,
    /** C names of the kernel's dims. */
    dims: ReadonlyMap<string, string>,
    private readonly isa: Isa,
    lanes: Set<number>,
  ) {
    this.lanes = lanes;
    this.registerLanes = isa.vectorBytes / 4;
    const variables = new Map<string, Variable>();
    for (const name of kernel.dims) {
      variables.set(name, { c: dims.get(name)!, dtype: 'index', lanes: 1, mutable: false });
    }
    variables.set('task', { c: 'task', dtype: 'index', lanes: 1, mutable: false });
    const buffers = new Map<string, Memory>();
    kernel.buffers.forEach((b, i) => {
      buffers.set(b.name, { c: `b${i}`, dtype: b.dtype });
    });
    this.scope = { variables, buffers, fragments: new Map() };
  }

  /** A scalar index expression, for the grid. */
  index(e: Expr): string {
    return this.value(e, 0);
  }

  statements(body: readonly Stmt[]): void {
    for (const s of body) this.statement(s);
  }

  private line(text: string): void {
    this.lines.push('  '.repeat(this.depth) + text);
  }

  private block(head: string, body: readonly Stmt[], declare?: (scope: Scope) => void): void {
    const outer = this.scope;
    this.scope = {
      variables: new Map(outer.variables),
      buffers: new Map(outer.buffers),
      fragments: new Map(outer.fragments),
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
      case 'for': {
        const c = `j${this.count++}`; // not i, as i8 and i32 are types
        const end = `n${this.count++}`;
        const start = this.index(s.start);
        this.line(`const ix ${end} = ${this.index(s.end)};`);
        if (s.level === 'simd') this.line('SIMD');
        this.block(`for (ix ${c} = ${start}; ${c} < ${end}; ${c} += ${s.step})`, s.body, (scope) =>
          scope.variables.set(s.name, { c, dtype: 'index', lanes: 1, mutable: false }),
        );
        return;
      }
      case 'let': {
        const { dtype, lanes } = s.value;
        const c = `v${this.count++}`;
        this.parts(s.value, (p, n, value) => {
          this.line(`${s.mutable ? '' : 'const '}${valueType(dtype, n)} ${partName(c, p)} = ${value};`);
        });
        this.scope.variables.set(s.name, { c, dtype, lanes, mutable: s.mutable });
        return;
      }
      case 'assign': {
        const target = this.scope.variables.get(s.name)!;
        this.update(s.value, (p, _n, value) => `${partName(target.c, p)} = ${value};`);
        return;
      }
      case 'store': {
        const { dtype } = s.value;
        const memory = this.memory(s.buffer);
        const at = this.shared(this.index(s.index), s.value.lanes);
        this.update(s.value, (p, n, value) => {
          if (n === 1) return `${memory}[${at}] = ${value};`;
          const type = `${memoryType(dtype)}x${n}`;
          const bytes = dtype === 'bool' ? `narrow_u8_${n}(-${value})` : value;
          return `*(${type}_at *)(${memory} + ${at}${this.offset(p)}) = ${bytes};`;
        });
        return;
      }
      case 'alloc':
        this.alloc(s.buffer, s.dtype, s.size);
        return;
      case 'prefetch': {
        this.line(`__builtin_prefetch(${this.memory(s.buffer)} + ${this.index(s.index)});`);
        return;
      }
      case 'if':
        this.block(`if (${this.scalar(s.condition)})`, s.then);
        if (s.otherwise.length > 0) this.block('else', s.otherwise);
        return;
      case 'fragment':
      case 'tile_read':
      case 'tile_load':
      case 'tile_multiply':
      case 'tile_scale':
      case 'tile_store':
      case 'copy':
      case 'copy_batch':
      case 'copy_wait':
        return printTile(s, this.tileContext());
      case 'barrier':
      case 'reduce':
        return; // tasks are single threads: rule 13 of kernels
      default:
        s satisfies never;
    }
  }

  private tileContext(): TileContext {
    const { fragments } = this.scope;
    return {
      tiles: this.isa.tiles,
      fragments,
      line: (text) => this.line(text),
      fresh: () => `s${this.count++}`, // not f, as f32 is a type
      index: (e) => this.index(e),
      memory: (buffer) => this.memory(buffer),
    };
  }

  private alloc(name: string, dtype: DType, size: number): void {
    const bytes = Math.ceil((size * dtypeInfo[dtype].bytes) / 64) * 64;
    const c = `t${this.count++}`;
    const type = memoryType(dtype);
    if (bytes <= stackAllocBytes && this.stackBytes + bytes <= 4 * stackAllocBytes) {
      this.stackBytes += bytes;
      this.line(`${type} ${c}[${Math.max(1, size)}] __attribute__((aligned(64)));`);
    } else {
      this.line(`${type} *restrict const ${c} = (${type} *)(scratch + ${this.scratchBytes});`);
      this.scratchBytes += bytes;
    }
    this.scope.buffers.set(name, { c, dtype });
  }

  /** Calls `each` with every part of a value. */
  private parts(e: Expr, each: (p: number, n: number, value: string) => void): void {
    const n = this.partLanes(e.lanes);
    for (let p = 0; p * n < e.lanes; p++) each(p, n, this.value(e, p));
  }

  /** Prints a write of each part; all parts are computed before the first is written, as the value may read the target. */
  private update(e: Expr, write: (p: number, n: number, value: string) => string): void {
    if (this.partLanes(e.lanes) === e.lanes) {
      this.parts(e, (p, n, value) => this.line(write(p, n, value)));
      return;
    }
    const c = `v${this.count++}`;
    this.parts(e, (p, n, value) => this.line(`const ${valueType(e.dtype, n)} ${partName(c, p)} = ${value};`));
    this.parts(e, (p, n) => this.line(write(p, n, partName(c, p))));
  }

  /** `text` as it is, or as a variable when several parts would repeat it. */
  private shared(text: string, lanes: number): string {
    if (this.partLanes(lanes) === lanes) return text;
    const c = `v${this.count++}`;
    this.line(`const ix ${c} = ${text};`);
    return c;
  }

  private offset(part: number): string {
    return part === 0 ? '' : ` + ${part * this.registerLanes}`;
  }

  /** Lanes of one part of a value. */
  private partLanes(lanes: number): number {
    const n = Math.min(lanes, this.registerLanes);
    this.lanes.add(n);
    return n;
  }

  private memory(name: string): string {
    return this.scope.buffers.get(name)!.c;
  }

  private scalar(e: Expr): string {
    return this.value(e, 0);
  }

  /** The C expression of part `p` of a value. */
  private value(e: Expr, p: number): string {
    const n = this.partLanes(e.lanes);
    switch (e.kind) {
      case 'const': {
        const c = constantText(e.value, e.dtype);
        if (n === 1) return c;
        const type = valueType(e.dtype, n);
        return e.dtype === 'bool' ? `splat_${type}(-${c})` : `splat_${type}(${c})`;
      }
      case 'var': {
        const v = this.scope.variables.get(e.name)!;
        return partName(v.c, p);
      }
      case 'load':
        return this.load(e, p, n);
      case 'alu':
        return this.alu(e, p, n);
      case 'cast': {
        const { arg } = e;
        if (arg.kind === 'load' && isDType(arg.dtype)) {
          const direct = castLoadText(
            arg.dtype,
            e.dtype,
            n,
            `${this.memory(arg.buffer)} + ${this.index(arg.index)}${this.offset(p)}`,
          );
          if (direct) return direct;
        }
        return castText(arg.dtype, e.dtype, n, this.value(arg, p));
      }
      case 'bitcast':
        return this.bitcast(e.arg, e, p, n);
      case 'splat': {
        const type = valueType(e.dtype, n);
        const arg = this.value(e.arg, 0);
        if (n === 1) return arg;
        return e.dtype === 'bool' ? `splat_${type}(-(i32)${arg})` : `splat_${type}(${arg})`;
      }
      case 'ramp': {
        const { start } = e;
        const first = castText(start.dtype, 'i32', 1, this.value(start, 0));
        return n === 1 ? first : `ramp_${n}(${first}${this.offset(p)})`;
      }
      case 'zip':
        return this.zip(e, p, n);
      case 'across':
        return this.across(e.arg, e.op);
      default:
        return e satisfies never;
    }
  }

  private load(e: Expr & { kind: 'load' }, p: number, n: number): string {
    const memory = this.memory(e.buffer);
    const at = this.index(e.index);
    if (n === 1) return e.dtype === 'bool' ? `(${memory}[${at}] != 0)` : `${memory}[${at}]`;
    const address = `${memory} + ${at}${this.offset(p)}`;
    if (e.dtype === 'bool') return `(load_widen_u8_${n}(${address}) != 0)`;
    return `*(const ${memoryType(e.dtype)}x${n}_at *)(${address})`;
  }

  private zip(e: Expr & { kind: 'zip' }, p: number, n: number): string {
    const [a, b] = e.args;
    if (n === 1) return this.value(e.half === 'low' ? a : b, 0);
    // Each part of the operands gives two parts of the whole: its low and its high half
    const at = e.half === 'low' ? p : p + e.lanes / n;
    const part = Math.floor(at / 2);
    const type = valueType(e.dtype, n);
    return `zip_${at % 2 === 0 ? 'low' : 'high'}_${type}(${this.value(a, part)}, ${this.value(b, part)})`;
  }

  private across(arg: Expr, op: string): string {
    if (arg.lanes === 1) return this.value(arg, 0);
    // 16-bit floats are combined in f32 and rounded once
    const dtype = isHalf(arg.dtype) ? 'f32' : arg.dtype;
    let all = '';
    this.parts(arg, (p, n, value) => {
      const x = castText(arg.dtype, dtype, n, value);
      all = p === 0 ? x : op === 'add' ? `(${all} + ${x})` : `${op}_${valueType(dtype, n)}(${all}, ${x})`;
    });
    const scalar = `across_${op}_${valueType(dtype, this.partLanes(arg.lanes))}(${all})`;
    return castText(dtype, arg.dtype, 1, scalar);
  }

  private bitcast(arg: Expr, e: Expr, p: number, n: number): string {
    const x = this.value(arg, p);
    const from = valueType(arg.dtype, n);
    const to = valueType(e.dtype, n);
    if (from === to) return x;
    if (arg.dtype === 'f32') return `((${to})bits_of_${n}(${x}))`;
    if (e.dtype === 'f32') return `float_of_${n}((${valueType('u32', n)})${x})`;
    return `((${to})${x})`;
  }

  private alu(e: Expr & { kind: 'alu' }, p: number, n: number): string {
    const { op } = e;
    const values = e.args.map((arg) => this.value(arg, p));
    if (op === 'select') {
      const [c, x, y] = values;
      return n === 1 ? `(${c} ? ${x} : ${y})` : `select_${valueType(e.dtype, n)}(${c}, ${x}, ${y})`;
    }
    const { dtype } = e.args[0];
    if (isHalf(dtype)) {
      // As the reference: every operation is computed in f32 and rounded
      const wide = values.map((v) => castText(dtype, 'f32', n, v));
      return isCompare(op) ? compare(op, 'f32', n, wide) : castText('f32', dtype, n, arithmetic(op, 'f32', n, wide));
    }
    return isCompare(op) ? compare(op, dtype, n, values) : arithmetic(op, dtype, n, values);
  }
}

const partName = (c: string, part: number): string => (part === 0 ? c : `${c}_${part}`);
