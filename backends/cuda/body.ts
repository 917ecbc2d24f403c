// Loop IR statements as CUDA C: loops shared by the threads of a group, variables, stores, memory of a group, barriers and
// reductions that all threads come to, and tiles.
import { factorOf } from '../../ir/alignment.ts';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import type { Expr, Kernel, Stmt } from '../../ir/loop.ts';
import { castText, isHalf, memoryType } from '../c/types.ts';
import { storeLines } from './access.ts';
import { ExprPrinter, type IndexType, laneName, type Scope } from './expr.ts';
import type { Memory } from './memory.ts';
import { type ReduceType, reduceTypes } from './prelude.ts';
import { type Fragment, printTile } from './tiles.ts';

/** Prints the body of one kernel. */
export class BodyPrinter extends ExprPrinter {
  constructor(
    kernel: Kernel,
    /** C names of the kernel's dims. */
    dims: ReadonlyMap<string, string>,
    ix: IndexType,
    private readonly groupThreads: number,
  ) {
    super(kernel, dims, ix);
  }

  statements(body: readonly Stmt[]): void {
    for (const s of body) this.statement(s);
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
        const target = this.scope.variables.get(s.name)!;
        this.named(s.value).forEach((value, lane) => this.line(`${laneName(target.c, lane)} = ${value};`));
        return;
      }
      case 'store': {
        const { lanes } = s.value;
        const memory = this.memory(s.buffer);
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
        this.alloc(s.buffer, s.dtype, s.size, s.scope, s.over);
        return;
      case 'barrier':
        this.line('__syncthreads();');
        return;
      case 'reduce':
        for (const { name, value } of s.values) this.reduce(name, s.op, s.width, value);
        return;
      case 'prefetch': {
        const memory = this.memory(s.buffer);
        if (memory.space === 'global') this.line(`prefetch(${memory.c} + ${this.index(s.index)});`);
        return;
      }
      case 'if':
        this.block(`if (${this.scalar(s.condition)})`, s.then);
        if (s.otherwise.length > 0) this.block('else', s.otherwise);
        return;
      case 'fragment':
      case 'tile_load':
      case 'tile_read':
      case 'tile_multiply':
      case 'tile_scale':
      case 'tile_store':
      case 'copy':
      case 'copy_batch':
      case 'copy_wait':
        printTile(s, this.tiles);
        return;
      default:
        s satisfies never;
    }
  }

  private readonly tiles = {
    line: (text: string) => this.line(text),
    fresh: (prefix: string) => this.fresh(prefix),
    index: (e: Expr) => this.index(e),
    condition: (e: Expr) => this.scalar(e),
    factor: (e: Expr) => factorOf(e, this.scope.factors),
    fragments: (): Map<string, Fragment> => this.scope.fragments,
    memory: (name: string): Memory => this.memory(name),
  };

  private loop(s: Stmt & { kind: 'for' }): void {
    const { step } = s;
    const isGroup = s.level === 'group';
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
    this.block(head, s.body, (scope) => {
      scope.variables.set(s.name, { c, dtype: 'index', lanes: 1, mutable: false });
      scope.factors.set(s.name, factorOf(s.start, this.scope.factors, step));
    });
  }

  private alloc(name: string, dtype: DType, size: number, scope: string, over?: string): void {
    const c = this.fresh('t');
    const count = Math.max(1, size);
    const space = scope === 'group' ? 'group' : 'thread';
    const bytes = Math.ceil((count * dtypeInfo[dtype].bytes) / 16) * 16;
    const type = memoryType(dtype);
    if (over !== undefined) {
      const under = this.memory(over);
      this.line(`${type} *const ${c} = (${type} *)${under.c};`);
    } else {
      this.line(`${space === 'group' ? '__shared__ __align__(16) ' : ''}${type} ${c}[${count}];`);
    }
    this.scope.buffers.set(name, { c, dtype, space, bytes });
  }

  private reduce(name: string, op: string, width: number, value: Expr): void {
    const isWhole = width === this.groupThreads;
    const type = this.plain(value.dtype);
    const wide: ReduceType = reduceTypes.find((t) => t === type) ?? (isHalf(type) ? 'f32' : 'i32');
    const c = this.fresh('v');
    const part = castText(type, wide, 1, this.scalar(value));
    const all = isWhole ? `group_${op}_${wide}(${part})` : `run_${op}_${wide}(${part}, ${width})`;
    this.line(`const ${this.type(value.dtype)} ${c} = ${castText(wide, type, 1, all)};`);
    this.scope.variables.set(name, { c, dtype: value.dtype, lanes: 1, mutable: false });
    this.scope.factors.delete(name);
  }
}
