// The verifier of kernels: what backends may rely on, so that printers have nothing to refuse. A kernel is walked once, in
// the order of its text, with the names that are visible; what threads of a group must do together is held against what
// may differ between them (uniform.ts). Rules are numbered, over three files: names and statements here, expressions in
// verify-expr.ts (2 to 7), matrix instructions and copies in verify-tile.ts (17 to 20). Whether an index lies inside of its
// array and whether threads race is not proven here: the emulation in test/support/loop-emulation.ts finds it in runs.
//
// - 1: A name is declared before it is used, in an enclosing block, and not while another of its kind is visible.
// - 8: A loop has a step that is a positive integer, bounds that are scalar indices, and a known level.
// - 9: An assignment is to a mutable variable, of its type.
// - 10: A store is of the buffer's type, to one that may be written; its index is a scalar of type index.
// - 11: Memory of a kernel has a known type and a whole, not negative number of elements. What it lies over is earlier
//   memory of the same scope, and at least as large.
// - 12: A condition is a scalar bool.
// - 13: Loops over a group, barriers, reductions, memory of a group and the variable `thread` are for targets with groups.
// - 14: All threads of a group come to a barrier, a reduction or a matrix instruction alike: it stands in no loop over the
//   group, and under no bound or condition that differs between threads. Loops over a group do not stand in each other.
// - 15: A reduction is over runs of 2, 4, … 32 threads, of f32, or over all of the group, of scalar numbers.
// - 16: In a kernel of groups, a store to memory that others see differs between threads: by where it stands or its index.
// - 21: Memory of a group fits into that of the target.
// - 22: A grid is arithmetic on dims.
import { type Factors, factorOf } from './alignment.ts';
import { dtypeInfo, isDType } from './dtype.ts';
import { ModelcError } from './error.ts';
import type { Expr, Kernel, ScalarType, Stmt } from './loop.ts';
import type { Target } from './target.ts';
import { stmtText } from './text/loop.ts';
import { findVarying, type Varying } from './uniform.ts';
import { checkCondition, checkExpr, checkIndex, typeName, type Variable } from './verify-expr.ts';
import { CopyState, checkTile, type Fragment, isTileStmt, type Memory, type TileScope } from './verify-tile.ts';

/** What a kernel is held against. */
export type KernelTarget = Pick<Target, 'groupThreads' | 'groupBytes' | 'tiles' | 'vectorLanes'>;

/** Kernels that were found right, and for which targets. */
const sound = new WeakMap<Kernel, string>();

/** Throws ModelcError 'type' with the first rule that a kernel breaks. A kernel that was found right is not walked again. */
export function verifyKernel(kernel: Kernel, target: KernelTarget): void {
  const { groupThreads, groupBytes, vectorLanes, tiles } = target;
  const key = [groupThreads, groupBytes, vectorLanes, ...tiles.map(({ name }) => name)].join();
  if (sound.get(kernel) === key) return;
  new Verifier(kernel, target).run();
  sound.set(kernel, key);
}

/** Where the walk is. */
interface Place {
  readonly inGroupLoop: boolean;
  /** Whether threads of a group may differ in coming here. */
  readonly differs: boolean;
}

class Verifier implements TileScope {
  readonly lanes: number;
  readonly fragments = new Map<string, Fragment>();
  readonly loaded = new Set<string>();
  readonly copies: CopyState;
  private readonly variables = new Map<string, Variable>();
  private readonly buffers = new Map<string, Memory>();
  private readonly isGroup: boolean;
  private readonly varying: Varying;
  private readonly factors: Factors = new Map();
  private groupBytes = 0;
  /** Whether a task is a group that shares work, as what was walked so far tells. */
  private grouped = false;
  /** A store that all threads do alike. */
  private alike: Stmt | undefined;
  private at: Stmt | undefined;

  constructor(
    private readonly kernel: Kernel,
    readonly target: KernelTarget,
  ) {
    this.lanes = target.vectorLanes ?? 64;
    this.isGroup = target.groupThreads > 1;
    this.varying = this.isGroup ? findVarying(kernel.body, target.groupThreads) : () => false;
    this.copies = new CopyState(kernel.body);
  }

  run(): void {
    const { buffers, dims, grid, body } = this.kernel;
    for (const name of dims) this.declare(this.variables, name, scalarIndex);
    this.checkGrid(grid);
    this.declare(this.variables, 'task', scalarIndex);
    if (this.isGroup) this.declare(this.variables, 'thread', scalarIndex);
    for (const { name, dtype, access } of buffers) {
      if (!isDType(dtype)) this.fail(11, 'a buffer has an unknown type');
      if (!['read', 'write', 'readwrite'].includes(access)) this.fail(11, 'a buffer has an unknown access');
      this.declare(this.buffers, name, { dtype, access, space: 'bound', bytes: 0, root: name });
    }
    this.block(body, { inGroupLoop: false, differs: false });
    if (this.grouped && this.alike) {
      this.at = this.alike;
      this.fail(16, 'all threads of a group store to the same place');
    }
    const limit = this.target.groupBytes;
    if (this.groupBytes > limit) this.fail(21, `a kernel shares ${this.groupBytes} bytes; a group has ${limit}`);
  }

  variable(name: string): Variable | undefined {
    if (name === 'thread') this.grouped = true;
    return this.variables.get(name);
  }

  readable(name: string): ScalarType {
    const memory = this.memory(name);
    if (!this.copies.allows(memory)) this.fail(20, `buffer '${name}' is read before the copies to it were waited for`);
    return memory.dtype;
  }

  reads(name: string, dtype: ScalarType, rule: number): Memory {
    const held = this.readable(name);
    if (held !== dtype) this.fail(rule, `buffer '${name}' holds ${held}, not ${dtype}`);
    return this.memory(name);
  }

  memory(name: string): Memory {
    return this.buffers.get(name) ?? this.fail(1, `unknown buffer '${name}'`);
  }

  writes(name: string, dtype: ScalarType, rule: number): Memory {
    const memory = this.memory(name);
    if (memory.access === 'read') this.fail(rule, `buffer '${name}' is only read, but written here`);
    if (memory.dtype !== dtype) this.fail(rule, `buffer '${name}' holds ${memory.dtype}, not ${dtype}`);
    if (memory.root !== name && !this.copies.allows(memory)) {
      this.fail(20, `'${name}' lies over memory whose copies were not waited for`);
    }
    return memory;
  }

  declareFragment(name: string, fragment: Fragment): void {
    this.declare(this.fragments, name, fragment);
  }

  markLoaded(name: string): void {
    if (this.loaded.has(name)) return;
    this.loaded.add(name);
    this.declared.push(() => this.loaded.delete(name));
  }

  factor(e: Expr): number {
    return factorOf(e, this.factors);
  }

  fail(rule: number, problem: string): never {
    const text = this.at ? `, in: ${textOf(this.at)}` : '';
    const name = String(this.kernel.name).slice(0, 80);
    throw new ModelcError('type', `malformed program: kernel ${name}: ${problem.slice(0, 200)} (rule ${rule})${text}`);
  }

  /** Makes a name visible to the end of the block. */
  declare<T>(names: Map<string, T>, name: string, value: T): void {
    if (names.has(name)) this.fail(1, `'${name}' is declared twice`);
    names.set(name, value);
    this.declared.push(() => names.delete(name));
  }
  private declared: (() => void)[] = [];

  private block(body: readonly Stmt[], place: Place, declare?: () => void): void {
    const outer = this.declared;
    this.declared = [];
    declare?.();
    for (const s of body) {
      this.at = s;
      this.statement(s, place);
    }
    for (const forget of this.declared) forget();
    this.declared = outer;
  }

  private statement(s: Stmt, place: Place): void {
    switch (s.kind) {
      case 'for':
        return this.loop(s, place);
      case 'let':
        return this.let(s);
      case 'assign':
        return this.assign(s);
      case 'store': {
        checkIndex(s.index, this, 10);
        checkExpr(s.value, this);
        const memory = this.writes(s.buffer, s.value.dtype, 10);
        if (memory.space !== 'thread' && !place.differs && !this.varying(s.index)) this.alike ??= s;
        return;
      }
      case 'alloc':
        return this.alloc(s);
      case 'barrier':
        this.collective('a barrier', place);
        return this.copies.arrive();
      case 'reduce':
        return this.reduce(s, place);
      case 'prefetch':
        this.memory(s.buffer);
        return checkIndex(s.index, this, 5);
      case 'if':
        return this.branch(s, place);
      default:
        if (!isTileStmt(s)) this.fail(1, 'unknown statement');
        if (s.kind !== 'copy' && this.isGroup) this.collective('a tile', place);
        return checkTile(s, this);
    }
  }

  private loop(s: Stmt & { kind: 'for' }, place: Place): void {
    checkIndex(s.start, this, 8);
    checkIndex(s.end, this, 8);
    if (!Number.isSafeInteger(s.step)) this.fail(8, 'a loop step must be an integer');
    if (s.step < 1) this.fail(8, 'a loop step must be positive');
    if (!['serial', 'simd', 'group'].includes(s.level)) this.fail(8, 'a loop has an unknown level');
    const isGroup = s.level === 'group';
    if (isGroup) this.forGroups('a group loop');
    if (isGroup && place.inGroupLoop) this.fail(14, 'a group loop inside a group loop');
    const differs = place.differs || isGroup || this.varying(s.start) || this.varying(s.end);
    this.copies.loop(s.body, () =>
      this.block(s.body, { inGroupLoop: place.inGroupLoop || isGroup, differs }, () => this.counter(s)),
    );
  }

  private counter({ name, start, step }: Stmt & { kind: 'for' }): void {
    this.declare(this.variables, name, scalarIndex);
    this.factors.set(name, factorOf(start, this.factors, step));
  }

  private branch(s: Stmt & { kind: 'if' }, place: Place): void {
    checkCondition(s.condition, this, 12);
    const inner = { ...place, differs: place.differs || this.varying(s.condition) };
    this.copies.branches(
      () => this.block(s.then, inner),
      () => this.block(s.otherwise, inner),
    );
  }

  private let({ name, value, mutable }: Stmt & { kind: 'let' }): void {
    checkExpr(value, this);
    const { dtype, lanes } = value;
    this.declare(this.variables, name, { dtype, lanes, mutable });
    if (dtype === 'index' && lanes === 1 && !mutable) this.factors.set(name, this.factor(value));
    else this.factors.delete(name);
  }

  private assign(s: Stmt & { kind: 'assign' }): void {
    checkExpr(s.value, this);
    const known = this.variables.get(s.name) ?? this.fail(1, `unknown variable '${s.name}'`);
    if (!known.mutable) this.fail(9, `'${s.name}' is assigned but not a mutable variable`);
    if (known.dtype !== s.value.dtype || known.lanes !== s.value.lanes) {
      this.fail(9, `'${s.name}' is assigned a value of another type: ${typeName(s.value)}, not ${typeName(known)}`);
    }
  }

  private alloc({ buffer, dtype, size, scope, over }: Stmt & { kind: 'alloc' }): void {
    if (!isDType(dtype)) this.fail(11, 'an allocation has an unknown type');
    if (!Number.isSafeInteger(size) || size < 0) this.fail(11, 'an allocation has a size that is no whole number');
    if (scope !== 'thread' && scope !== 'group') this.fail(11, 'an allocation has an unknown scope');
    if (scope === 'group') this.forGroups('memory of a group');
    const bytes = Math.ceil((Math.max(1, size) * dtypeInfo[dtype].bytes) / 16) * 16;
    let root = buffer;
    if (over !== undefined) {
      const under = this.memory(over);
      if (under.space !== scope || bytes > under.bytes) this.fail(11, `'${over}' has no room for '${buffer}'`);
      root = under.root;
    } else if (scope === 'group') this.groupBytes += bytes;
    this.declare(this.buffers, buffer, { dtype, space: scope, access: 'readwrite', bytes, root });
  }

  private reduce({ op, width, values }: Stmt & { kind: 'reduce' }, place: Place): void {
    this.collective('a reduction', place);
    const { groupThreads } = this.target;
    const isRun = [2, 4, 8, 16, 32].includes(width);
    if (!isRun && width !== groupThreads) this.fail(15, 'a reduction over an odd number of threads');
    if (op !== 'add' && op !== 'max' && op !== 'min') this.fail(15, 'unknown reduction of a group');
    for (const { value } of values) {
      checkExpr(value, this);
      if (value.lanes !== 1 || value.dtype === 'bool') this.fail(15, 'a reduction of a group takes scalar numbers');
      if (width !== groupThreads && value.dtype !== 'f32') this.fail(15, 'a reduction over runs of threads takes f32');
    }
    for (const { name, value } of values) {
      this.declare(this.variables, name, { dtype: value.dtype, lanes: 1, mutable: false });
      this.factors.delete(name);
    }
  }

  private forGroups(what: string): void {
    if (!this.isGroup) this.fail(13, `${what} in a kernel for a target whose tasks are single threads`);
    this.grouped = true;
  }

  /** All threads of the group must come to the statement. */
  private collective(what: string, { inGroupLoop, differs }: Place): void {
    this.forGroups(what);
    if (inGroupLoop) this.fail(14, `${what} inside a group loop`);
    if (differs) this.fail(14, `${what} that some threads of the group may not come to`);
  }

  private checkGrid(e: Expr): void {
    checkIndex(e, this, 22);
    const visit = (x: Expr): void => {
      if (x.kind === 'alu' && ['add', 'sub', 'mul', 'div', 'rem', 'max', 'min'].includes(x.op)) x.args.forEach(visit);
      else if (x.kind !== 'const' && x.kind !== 'var') this.fail(22, 'a grid is more than arithmetic on dims');
    };
    visit(e);
  }
}

const scalarIndex: Variable = { dtype: 'index', lanes: 1, mutable: false };

/** The first line of a statement; of one that is not even a statement, nothing. */
function textOf(s: Stmt): string {
  try {
    return stmtText(s).slice(0, 300);
  } catch {
    return 'a statement that has no text';
  }
}
