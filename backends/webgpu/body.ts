// The statements and expressions of one kernel as WGSL. Nothing of the program's text reaches the code: variables and
// buffers get generated names; numbers and types were checked by ir/verify-kernel.ts. Memory that kernels bind is arrays of words;
// how elements lie in them is storage.ts's choice, how they are loaded access.ts's.
import type { DType } from '../../ir/dtype.ts';
import type { Expr, Kernel, ReduceOp, ScalarType, Stmt } from '../../ir/loop.ts';
import { type Bound, loadText, type Place, storeText, type Widths } from './access.ts';
import { aluText, bitcastText, castText, constantText, subgroupText, typeOf } from './scalar.ts';
import { type Feature, groupThreads } from './target.ts';

/** A value that a statement declares. */
interface Named {
  readonly name: string;
  readonly value: Expr;
}
interface Variable {
  readonly name: string;
  readonly dtype: ScalarType;
  readonly lanes: number;
  readonly mutable: boolean;
}
type Memory =
  | ({ readonly kind: 'bound' } & Bound)
  | { readonly kind: 'local'; readonly name: string; readonly dtype: DType; readonly shared: boolean };
interface Scope {
  readonly variables: Map<string, Variable>;
  readonly buffers: Map<string, Memory>;
}

/** Threads that combine what all threads of a group bring. */
const combiners = 8;

export class BodyPrinter {
  readonly lines: string[] = [];
  /** Declarations outside of the entry point: memory of the group, functions that load. */
  readonly globals = new Map<string, string>();
  /** Features that the text makes use of. */
  readonly enabled = new Set<Feature>();
  private count = 0;
  /** Values that reductions over runs of threads combine at once, at most. */
  private runValues = 0;
  private depth = 1;
  private scope: Scope;
  /** Whether threads may read what others write to memory outside of the group. */
  private readonly sharesMemory: boolean;

  constructor(
    kernel: Kernel,
    dims: ReadonlyMap<string, string>,
    places: readonly Place[],
    private readonly widths: Widths,
    private readonly features: ReadonlySet<Feature>,
  ) {
    this.sharesMemory = kernel.buffers.some((b) => b.access === 'readwrite');
    const variables = new Map<string, Variable>();
    const known = (name: string, text: string): void => {
      variables.set(name, { name: text, dtype: 'index', lanes: 1, mutable: false });
    };
    for (const name of kernel.dims) known(name, dims.get(name)!);
    known('task', 'task');
    known('thread', 'thread');
    const buffers = new Map<string, Memory>();
    kernel.buffers.forEach((b, i) => {
      buffers.set(b.name, { kind: 'bound', name: `b${i}`, dtype: b.dtype, place: places[i] });
    });
    this.scope = { variables, buffers };
  }

  statements(body: readonly Stmt[]): void {
    for (const s of body) this.statement(s);
  }

  private line(text: string): void {
    this.lines.push('  '.repeat(this.depth) + text);
  }

  private nest(head: string, body: () => void): void {
    this.line(`${head} {`);
    this.depth++;
    body();
    this.depth--;
    this.line('}');
  }

  private fresh(prefix: string): string {
    return `${prefix}${this.count++}`;
  }

  private block(head: string, body: readonly Stmt[], declare?: (scope: Scope) => void): void {
    const outer = this.scope;
    this.scope = { variables: new Map(outer.variables), buffers: new Map(outer.buffers) };
    declare?.(this.scope);
    this.nest(head, () => this.statements(body));
    this.scope = outer;
  }

  private statement(s: Stmt): void {
    switch (s.kind) {
      case 'for':
        return this.loop(s);
      case 'let': {
        const { dtype, lanes } = s.value;
        const name = this.fresh('v');
        this.line(`${s.mutable ? 'var' : 'let'} ${name}: ${typeOf(dtype, lanes)} = ${this.value(s.value)};`);
        this.scope.variables.set(s.name, { name, dtype, lanes, mutable: s.mutable });
        return;
      }
      case 'assign': {
        const target = this.scope.variables.get(s.name)!;
        this.line(`${target.name} = ${this.value(s.value)};`);
        return;
      }
      case 'store':
        return this.store(s);
      case 'alloc':
        return this.alloc(s);
      case 'barrier':
        if (this.sharesMemory) this.line('storageBarrier();');
        this.line('workgroupBarrier();');
        return;
      case 'reduce':
        return this.reduction(s);
      case 'fragment':
      case 'tile_load':
      case 'tile_read':
      case 'tile_multiply':
      case 'tile_scale':
      case 'tile_store':
      case 'copy':
      case 'copy_batch':
      case 'copy_wait':
        return; // this target has no tiles: rule 17 of kernels
      case 'prefetch':
        return; // WGSL has no way to say it
      case 'if':
        this.block(`if (${this.value(s.condition)})`, s.then);
        if (s.otherwise.length > 0) this.block('else', s.otherwise);
        return;
      default:
        s satisfies never;
    }
  }

  private loop(s: Stmt & { kind: 'for' }): void {
    const [i, end] = [this.fresh('j'), this.fresh('n')];
    const { step } = s;
    const spread = s.level === 'group';
    const first = this.value(s.start);
    const start = spread ? `${first} + thread * ${step}` : first;
    this.line(`let ${end} = ${this.value(s.end)};`);
    this.block(
      `for (var ${i} = ${start}; ${i} < ${end}; ${i} += ${spread ? step * groupThreads : step})`,
      s.body,
      (scope) => scope.variables.set(s.name, { name: i, dtype: 'index', lanes: 1, mutable: false }),
    );
  }

  private store(s: Stmt & { kind: 'store' }): void {
    const { lanes } = s.value;
    const memory = this.memory(s.buffer);
    const write = (at: string, value: string): void => {
      this.line(memory.kind === 'local' ? `${memory.name}[${at}] = ${value};` : storeText(memory, at, value));
    };
    if (lanes === 1) return write(this.value(s.index), this.value(s.value));
    const [at, value] = [this.fresh('p'), this.fresh('v')];
    this.line(`let ${at} = ${this.value(s.index)};`);
    this.line(`let ${value} = ${this.value(s.value)};`);
    for (let lane = 0; lane < lanes; lane++) write(`${at} + ${lane}`, `${value}[${lane}]`);
  }

  private alloc(s: Stmt & { kind: 'alloc' }): void {
    const name = this.fresh(s.scope === 'group' ? 'shared' : 'own');
    const type = `array<${typeOf(s.dtype, 1)}, ${Math.max(1, s.size)}>`;
    if (s.scope === 'group') this.globals.set(name, `var<workgroup> ${name}: ${type};`);
    else this.line(`var ${name}: ${type};`);
    this.scope.buffers.set(s.buffer, { kind: 'local', name, dtype: s.dtype, shared: s.scope === 'group' });
  }

  private reduction({ op, width, values }: Stmt & { kind: 'reduce' }): void {
    if (width === groupThreads) for (const value of values) this.reduce(op, value);
    else this.reduceRuns(op, width, values);
  }

  /**
   * Combines the values of every run of threads: by exchange within subgroups where these are large enough; else every
   * thread combines what the threads of its run have in the group's memory.
   */
  private reduceRuns(op: ReduceOp, width: number, values: readonly Named[]): void {
    const names = values.map(({ value }) => {
      const name = this.fresh('v');
      this.line(`var ${name} = ${this.value(value)};`);
      return name;
    });
    const combine = (other: (name: string, i: number) => string): void =>
      names.forEach((name, i) => this.line(`${name} = ${aluText(op, 'f32', 1, [name, other(name, i)])};`));
    const throughMemory = (): void => {
      const at = (i: number, place: string): string => `reduced_runs[${i * groupThreads} + ${place}]`;
      const [run, j] = [this.fresh('run'), this.fresh('j')];
      this.runValues = Math.max(this.runValues, values.length);
      this.globals.set('reduced_runs', `var<workgroup> reduced_runs: array<f32, ${this.runValues * groupThreads}>;`);
      names.forEach((name, i) => this.line(`${at(i, 'thread')} = ${name};`));
      this.line('workgroupBarrier();');
      this.line(`let ${run} = thread / ${width} * ${width};`);
      names.forEach((name, i) => this.line(`${name} = ${at(i, run)};`));
      this.nest(`for (var ${j} = ${run} + 1; ${j} < ${run} + ${width}; ${j}++)`, () => combine((_, i) => at(i, j)));
      this.line('workgroupBarrier();');
    };
    if (this.features.has('subgroups')) {
      this.enabled.add('subgroups');
      this.nest(`if (lanes >= ${width}u)`, () => {
        for (let mask = 1; mask < width; mask *= 2) combine((name) => `subgroupShuffleXor(${name}, ${mask}u)`);
      });
      this.nest('else', throughMemory);
    } else throughMemory();
    values.forEach(({ name }, i) => {
      this.scope.variables.set(name, { name: names[i], dtype: 'f32', lanes: 1, mutable: false });
    });
  }

  /** Combines the values of all threads; every thread gets the result. */
  private reduce(op: ReduceOp, s: Named): void {
    const { dtype } = s.value;
    const type = typeOf(dtype, 1);
    const shared = `reduced_${type}`;
    this.globals.set(shared, `var<workgroup> ${shared}: array<${type}, ${groupThreads}>;`);
    const name = this.fresh('v');
    const value = this.value(s.value);
    const last = (first: number | string, step: number | string, end: number): void => {
      const i = this.fresh('j');
      this.line('workgroupBarrier();');
      this.line(`var ${name} = ${shared}[0];`);
      this.line(`for (var ${i} = ${first}; ${i} < ${end}; ${i} += ${step}) {`);
      this.line(`  ${name} = ${aluText(op, dtype, 1, [name, `${shared}[${i}]`])};`);
      this.line('}');
      this.line('workgroupBarrier();');
    };
    if (this.features.has('subgroups')) {
      // A subgroup of any size combines its own; its first thread, at a multiple of the size, keeps that for all.
      this.enabled.add('subgroups');
      const part = this.fresh('part');
      this.line(`let ${part} = ${subgroupText(op, dtype, value)};`);
      this.line(`if (lane == 0u) { ${shared}[thread] = ${part}; }`);
      last('i32(lanes)', 'i32(lanes)', groupThreads);
    } else {
      // A few threads combine the values of all, then every thread combines what they have.
      const [part, i] = [this.fresh('part'), this.fresh('j')];
      this.line(`${shared}[thread] = ${value};`);
      this.line('workgroupBarrier();');
      this.line(`if (thread < ${combiners}) {`);
      this.line(`  var ${part} = ${shared}[thread];`);
      this.line(`  for (var ${i} = ${combiners}; ${i} < ${groupThreads}; ${i} += ${combiners}) {`);
      this.line(`    ${part} = ${aluText(op, dtype, 1, [part, `${shared}[thread + ${i}]`])};`);
      this.line('  }');
      this.line(`  ${shared}[thread] = ${part};`);
      this.line('}');
      last(1, 1, combiners);
    }
    this.scope.variables.set(s.name, { name, dtype, lanes: 1, mutable: false });
  }

  private memory(name: string): Memory {
    return this.scope.buffers.get(name)!;
  }

  private value(e: Expr): string {
    switch (e.kind) {
      case 'const':
        return constantText(e.value, e.dtype, e.lanes);
      case 'var': {
        const v = this.scope.variables.get(e.name)!;
        return v.name;
      }
      case 'load':
        return this.load(e);
      case 'alu':
        return this.alu(e);
      case 'cast':
        return castText(e.arg.dtype, e.dtype, e.lanes, this.value(e.arg));
      case 'bitcast':
        return bitcastText(e.arg.dtype, e.dtype, e.lanes, this.value(e.arg));
      case 'splat':
        return e.lanes === 1 ? this.value(e.arg) : `${typeOf(e.dtype, e.lanes)}(${this.value(e.arg)})`;
      case 'ramp': {
        const first = this.value(e.start);
        if (e.lanes === 1) return first;
        const steps = Array.from({ length: e.lanes }, (_, i) => i).join(', ');
        return `(${typeOf('i32', e.lanes)}(${first}) + ${typeOf('i32', e.lanes)}(${steps}))`;
      }
      case 'zip':
        return this.zip(e);
      case 'across': {
        const { arg } = e;
        if (arg.lanes === 1) return this.value(arg);
        const type = typeOf(arg.dtype, arg.lanes);
        const name = `across_${e.op}_${arg.dtype}_${arg.lanes}`;
        const lanes = Array.from({ length: arg.lanes }, (_, i) => `a[${i}]`);
        const all = lanes.reduce((x, y) => aluText(e.op, arg.dtype, 1, [x, y]));
        this.globals.set(name, `fn ${name}(a: ${type}) -> ${typeOf(arg.dtype, 1)} { return ${all}; }`);
        return `${name}(${this.value(arg)})`;
      }
      default:
        return e satisfies never;
    }
  }

  private alu(e: Expr & { kind: 'alu' }): string {
    const { op } = e;
    const values = e.args.map((arg) => this.value(arg));
    if (op === 'select') {
      return `select(${values[2]}, ${values[1]}, ${values[0]})`;
    }
    const { dtype } = e.args[0];
    return aluText(op, dtype, e.lanes, values);
  }

  private zip(e: Expr & { kind: 'zip' }): string {
    const [a, b] = e.args;
    if (e.lanes === 1) return this.value(e.half === 'low' ? a : b);
    const start = e.half === 'low' ? 0 : e.lanes / 2;
    const lanes = Array.from({ length: e.lanes }, (_, i) => `${i % 2 === 0 ? 'a' : 'b'}[${start + (i >> 1)}]`);
    const type = typeOf(e.dtype, e.lanes);
    const name = `zip_${e.half}_${e.dtype}_${e.lanes}`;
    this.globals.set(name, `fn ${name}(a: ${type}, b: ${type}) -> ${type} { return ${type}(${lanes.join(', ')}); }`);
    return `${name}(${this.value(a)}, ${this.value(b)})`;
  }

  private load(e: Expr & { kind: 'load' }): string {
    const memory = this.memory(e.buffer);
    const at = this.value(e.index);
    const { dtype } = memory;
    if (e.lanes > 1 && memory.kind === 'local' && !memory.shared) {
      // functions do not see memory of the thread
      const elements = Array.from({ length: e.lanes }, (_, i) => `${memory.name}[${at} + ${i}]`);
      return `${typeOf(dtype, e.lanes)}(${elements.join(', ')})`;
    }
    if (memory.kind === 'bound') {
      return loadText(memory, at, e.lanes, this.widths.get(e) ?? 0, (name, text) => this.globals.set(name, text));
    }
    if (e.lanes === 1) return `${memory.name}[${at}]`;
    const name = `load${e.lanes}_${memory.name}`;
    const type = typeOf(dtype, e.lanes);
    const elements = Array.from({ length: e.lanes }, (_, i) => `${memory.name}[i${i === 0 ? '' : ` + ${i}`}]`);
    this.globals.set(name, `fn ${name}(i: i32) -> ${type} { return ${type}(${elements.join(', ')}); }`);
    return `${name}(${at})`;
  }
}
