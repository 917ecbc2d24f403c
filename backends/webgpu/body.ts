// The statements and expressions of one kernel as WGSL. Nothing of the program's text reaches the code: variables and
// buffers get generated names, numbers and types are checked on the way. Memory that kernels bind is arrays of words;
// how elements lie in them is storage.ts's choice, how they are loaded access.ts's.
import { type DType, isDType } from '../../ir/dtype.ts';
import type { Expr, Kernel, ReduceOp, ScalarType, Stmt } from '../../ir/loop.ts';
import { integer, malformed } from '../malformed.ts';
import { type Bound, loadText, type Place, storeText, type Widths } from './access.ts';
import { aluArity, aluText, bitcastText, castText, constantText, isScalarType, subgroupText, typeOf } from './scalar.ts'; // biome-ignore format: one row
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
      if (!isDType(b.dtype)) throw malformed('a buffer has an unknown type');
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
        const target = this.scope.variables.get(s.name);
        if (!target?.mutable) throw malformed(`'${s.name}' is assigned but not a mutable variable`);
        if (target.dtype !== s.value.dtype || target.lanes !== s.value.lanes) {
          throw malformed(`'${s.name}' is assigned a value of another type`);
        }
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
        throw malformed(`a '${s.kind}' in a kernel for a target without tiles`);
      case 'prefetch':
        return; // WGSL has no way to say it
      case 'if':
        this.block(`if (${this.condition(s.condition)})`, s.then);
        if (s.otherwise.length > 0) this.block('else', s.otherwise);
        return;
      default:
        s satisfies never;
        throw malformed('unknown statement');
    }
  }

  private loop(s: Stmt & { kind: 'for' }): void {
    const [i, end] = [this.fresh('j'), this.fresh('n')];
    const step = integer(s.step, 'a loop step');
    if (step < 1) throw malformed('a loop step must be positive');
    const spread = s.level === 'group';
    const first = this.index(s.start);
    const start = spread ? `${first} + thread * ${step}` : first;
    this.line(`let ${end} = ${this.index(s.end)};`);
    this.block(
      `for (var ${i} = ${start}; ${i} < ${end}; ${i} += ${spread ? step * groupThreads : step})`,
      s.body,
      (scope) => scope.variables.set(s.name, { name: i, dtype: 'index', lanes: 1, mutable: false }),
    );
  }

  private store(s: Stmt & { kind: 'store' }): void {
    const { dtype, lanes } = s.value;
    const memory = this.memory(s.buffer, dtype);
    const write = (at: string, value: string): void => {
      this.line(memory.kind === 'local' ? `${memory.name}[${at}] = ${value};` : storeText(memory, at, value));
    };
    if (lanes === 1) return write(this.index(s.index), this.value(s.value));
    const [at, value] = [this.fresh('p'), this.fresh('v')];
    this.line(`let ${at} = ${this.index(s.index)};`);
    this.line(`let ${value} = ${this.value(s.value)};`);
    for (let lane = 0; lane < lanes; lane++) write(`${at} + ${lane}`, `${value}[${lane}]`);
  }

  private alloc(s: Stmt & { kind: 'alloc' }): void {
    const size = integer(s.size, 'an allocation size');
    if (!isDType(s.dtype) || size < 0) throw malformed('an allocation has an unknown type or a negative size');
    const name = this.fresh(s.scope === 'group' ? 'shared' : 'own');
    const type = `array<${typeOf(s.dtype, 1)}, ${Math.max(1, size)}>`;
    if (s.scope === 'group') this.globals.set(name, `var<workgroup> ${name}: ${type};`);
    else this.line(`var ${name}: ${type};`);
    this.scope.buffers.set(s.buffer, { kind: 'local', name, dtype: s.dtype, shared: s.scope === 'group' });
  }

  private reduction({ op, width, values }: Stmt & { kind: 'reduce' }): void {
    if (op !== 'add' && op !== 'max' && op !== 'min') throw malformed('unknown reduction over threads');
    if (width === groupThreads) for (const value of values) this.reduce(op, value);
    else this.reduceRuns(op, width, values);
  }

  /**
   * Combines the values of every run of threads: by exchange within subgroups where these are large enough; else every
   * thread combines what the threads of its run have in the group's memory.
   */
  private reduceRuns(op: ReduceOp, width: number, values: readonly Named[]): void {
    const isRun = width >= 1 && width <= 32 && Number.isInteger(Math.log2(width));
    if (!isRun) throw malformed('a run of an odd number of threads');
    const names = values.map(({ value }) => {
      if (value.dtype !== 'f32' || value.lanes !== 1) throw malformed('a reduction over runs of threads takes f32');
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
    const { dtype, lanes } = s.value;
    if (dtype === 'bool' || lanes !== 1) throw malformed('a reduction over a group takes scalar numbers');
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

  private memory(name: string, dtype: ScalarType): Memory {
    const memory = this.scope.buffers.get(name);
    if (!memory) throw malformed(`unknown buffer '${name}'`);
    if (memory.dtype !== dtype) throw malformed(`buffer '${name}' holds ${memory.dtype}, not ${dtype}`);
    return memory;
  }

  private index(e: Expr): string {
    if (e.dtype !== 'index' || e.lanes !== 1) throw malformed('an index must be a scalar of type index');
    return this.value(e);
  }

  private condition(e: Expr): string {
    if (e.dtype !== 'bool' || e.lanes !== 1) throw malformed('a condition must be a scalar bool');
    return this.value(e);
  }

  private value(e: Expr): string {
    if (!isScalarType(e.dtype)) throw malformed('a value has an unknown type');
    if (e.lanes !== 1 && e.lanes !== 2 && e.lanes !== 4) throw malformed('a vector has 2 or 4 lanes here');
    switch (e.kind) {
      case 'const':
        return constantText(e.value, e.dtype, e.lanes);
      case 'var': {
        const v = this.scope.variables.get(e.name);
        if (!v) throw malformed(`unknown variable '${e.name}'`);
        if (v.dtype !== e.dtype || v.lanes !== e.lanes) throw malformed(`variable '${e.name}' has another type`);
        return v.name;
      }
      case 'load':
        return this.load(e);
      case 'alu':
        return this.alu(e);
      case 'cast':
        if (e.arg.lanes !== e.lanes) throw malformed('a cast cannot change the number of lanes');
        return castText(e.arg.dtype, e.dtype, e.lanes, this.value(e.arg));
      case 'bitcast':
        if (e.arg.lanes !== e.lanes) throw malformed('a bitcast cannot change the number of lanes');
        return bitcastText(e.arg.dtype, e.dtype, e.lanes, this.value(e.arg));
      case 'splat':
        if (e.arg.lanes !== 1 || e.arg.dtype !== e.dtype) throw malformed('a splat takes a scalar of its own type');
        return e.lanes === 1 ? this.value(e.arg) : `${typeOf(e.dtype, e.lanes)}(${this.value(e.arg)})`;
      case 'ramp': {
        if (e.start.lanes !== 1 || e.dtype !== 'i32') throw malformed('a ramp has a scalar start and type i32');
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
        e satisfies never;
        throw malformed('unknown expression');
    }
  }

  private alu(e: Expr & { kind: 'alu' }): string {
    if (aluArity.get(e.op) !== e.args.length) throw malformed('unknown operation or wrong number of operands');
    const values = e.args.map((arg) => {
      if (arg.lanes !== e.lanes) throw malformed(`operands of ${e.op} differ in lanes`);
      return this.value(arg);
    });
    if (e.op === 'select') {
      const [c, x, y] = e.args;
      if (c.dtype !== 'bool' || x.dtype !== y.dtype || x.dtype !== e.dtype) {
        throw malformed('operands of select differ in type');
      }
      return `select(${values[2]}, ${values[1]}, ${values[0]})`;
    }
    const { dtype } = e.args[0];
    if (e.args.some((arg) => arg.dtype !== dtype)) throw malformed(`operands of ${e.op} differ in type`);
    return aluText(e.op, dtype, e.lanes, values);
  }

  private zip(e: Expr & { kind: 'zip' }): string {
    const [a, b] = e.args;
    if ([a, b].some((x) => x.lanes !== e.lanes || x.dtype !== e.dtype)) {
      throw malformed('the operands of a zip have its type');
    }
    if (e.lanes === 1) return this.value(e.half === 'low' ? a : b);
    const start = e.half === 'low' ? 0 : e.lanes / 2;
    const lanes = Array.from({ length: e.lanes }, (_, i) => `${i % 2 === 0 ? 'a' : 'b'}[${start + (i >> 1)}]`);
    const type = typeOf(e.dtype, e.lanes);
    const name = `zip_${e.half}_${e.dtype}_${e.lanes}`;
    this.globals.set(name, `fn ${name}(a: ${type}, b: ${type}) -> ${type} { return ${type}(${lanes.join(', ')}); }`);
    return `${name}(${this.value(a)}, ${this.value(b)})`;
  }

  private load(e: Expr & { kind: 'load' }): string {
    const memory = this.memory(e.buffer, e.dtype);
    const at = this.index(e.index);
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
