// Kernels of groups without a compiler: the loop language as its definitions say, one group after the other, with
// everything checked that a GPU leaves open. It throws a Fault for an index outside of its array, a read of memory that
// nobody wrote or of a copy that was not waited for, two threads at one element between barriers, or two tasks at one
// element, of which one writes. Numbers are not rounded to their types: two runs are compared, not a run with the truth.
import type { AluOp, Expr, Kernel, ReduceOp, Stmt } from '../../ir/loop.ts';
import type { FragmentRole, TileStmt } from '../../ir/tile.ts';

export class Fault extends Error {}

type Value = number | readonly number[];
type Env = Map<string, Value>;
const lanesOf = (v: Value, n: number): readonly number[] => (typeof v === 'number' ? new Array(n).fill(v) : v);

/** An array, and who touched each element last: which thread in which epoch, an epoch being what lies between barriers. */
class Memory {
  readonly values: Float64Array;
  readonly written: Uint8Array;
  readonly inFlight: Uint8Array;
  private readonly writer: Int32Array;
  private readonly reader: Int32Array;
  private readonly writeEpoch: Int32Array;
  private readonly readEpoch: Int32Array;
  /** The last epoch in which anybody touched it. */
  touched = -1;
  flying = 0;

  constructor(
    readonly name: string,
    readonly size: number,
    /** Whether tasks share it. */
    readonly isBound: boolean,
    readonly under?: Memory,
  ) {
    this.values = new Float64Array(size);
    this.written = new Uint8Array(size);
    this.inFlight = new Uint8Array(size);
    [this.writer, this.reader, this.writeEpoch, this.readEpoch] = [0, 0, 0, 0].map(() => new Int32Array(size).fill(-1));
  }

  private check(at: number, who: Who): void {
    if (!(Number.isInteger(at) && at >= 0 && at < this.size)) throw new Fault(`${this.name}[${at}] of ${this.size}`);
    if (this.inFlight[at]) throw new Fault(`${this.name}[${at}] is being copied to`);
    if (this.under && (this.under.flying > 0 || this.under.touched === who.epoch)) {
      throw new Fault(`${this.name} lies over memory that is in use`);
    }
    this.touched = who.epoch;
  }

  private conflicts(thread: number, epoch: number, who: Who): boolean {
    if (epoch < 0) return false;
    if (this.isBound && epoch < who.firstEpoch) return true; // another task
    return epoch === who.epoch && thread !== who.thread;
  }

  read(at: number, who: Who): number {
    this.check(at, who);
    if (!this.written[at]) throw new Fault(`${this.name}[${at}] was not written`);
    if (this.conflicts(this.writer[at], this.writeEpoch[at], who)) throw new Fault(`a race at ${this.name}[${at}]`);
    const isShared = this.readEpoch[at] === who.epoch && this.reader[at] !== who.thread;
    this.reader[at] = isShared ? -2 : who.thread;
    this.readEpoch[at] = who.epoch;
    return this.values[at];
  }

  write(at: number, value: number, who: Who): void {
    this.check(at, who);
    const races =
      this.conflicts(this.writer[at], this.writeEpoch[at], who) ||
      this.conflicts(this.reader[at], this.readEpoch[at], who);
    if (races) throw new Fault(`a race at ${this.name}[${at}]`);
    this.values[at] = value;
    this.written[at] = 1;
    this.writer[at] = who.thread;
    this.writeEpoch[at] = who.epoch;
  }
}

interface Who {
  thread: number;
  epoch: number;
  firstEpoch: number;
}
interface Copy {
  readonly memory: Memory;
  readonly at: number;
  readonly values: readonly number[];
  readonly batch: number;
}
interface Fragment {
  readonly role: FragmentRole;
  /** Of each team of threads. */
  readonly values: Float64Array[];
}

/** Bound memory: its elements, and whether they are there before the kernel runs. */
export interface BoundMemory {
  readonly size: number;
  readonly data?: ArrayLike<number>;
}

/** Runs a kernel; gives what is in its buffers then, NaN where nobody wrote. Throws Fault. */
export function emulate(
  kernel: Kernel,
  groupThreads: number,
  bound: readonly BoundMemory[],
  dims: ReadonlyMap<string, number> = new Map(),
): Float64Array[] {
  return new Group(kernel, groupThreads, bound, dims).run();
}

class Group {
  private readonly bound: Memory[];
  private readonly memories = new Map<string, Memory>();
  private readonly own: Map<string, Memory>[];
  private readonly fragments = new Map<string, Fragment>();
  private readonly envs: Env[];
  private readonly who: Who = { thread: 0, epoch: 0, firstEpoch: 0 };
  private copies: Copy[][] = [];
  private batches: number[] = [];
  private steps = 0;

  constructor(
    private readonly kernel: Kernel,
    private readonly threads: number,
    bound: readonly BoundMemory[],
    private readonly dims: ReadonlyMap<string, number>,
  ) {
    this.bound = kernel.buffers.map(({ name }, i) => {
      const memory = new Memory(name, bound[i].size, true);
      if (bound[i].data) {
        memory.values.set(bound[i].data);
        memory.written.fill(1);
      }
      this.memories.set(name, memory);
      return memory;
    });
    this.envs = Array.from({ length: threads }, () => new Map());
    this.own = Array.from({ length: threads }, () => new Map());
  }

  run(): Float64Array[] {
    const grid = this.number(this.kernel.grid, new Map(this.dims));
    for (let task = 0; task < grid; task++) {
      this.who.firstEpoch = ++this.who.epoch;
      this.copies = this.envs.map(() => []);
      this.batches = this.envs.map(() => 0);
      for (const [thread, env] of this.envs.entries()) {
        env.clear();
        for (const [name, value] of this.dims) env.set(name, value);
        env.set('task', task).set('thread', thread);
      }
      this.together(this.kernel.body);
    }
    return this.bound.map(({ values, written }) => values.map((v, i) => (written[i] ? v : Number.NaN)));
  }

  /** Statements for all threads: what they come to together is executed together, the rest thread by thread. */
  private together(body: readonly Stmt[]): void {
    for (const s of body) {
      if (!isCollective(s)) {
        for (const [t, env] of this.envs.entries()) this.alone(s, t, env);
      } else if (s.kind === 'for') {
        const [start, end] = [this.agreed(s.start), this.agreed(s.end)];
        for (let i = start; i < end; i += s.step) {
          this.tick();
          for (const env of this.envs) env.set(s.name, i);
          this.together(s.body);
        }
      } else if (s.kind === 'if') this.together(this.agreed(s.condition) ? s.then : s.otherwise);
      else if (s.kind === 'barrier') this.who.epoch++;
      else if (s.kind === 'reduce') this.reduce(s);
      else this.tile(s as TileStmt<Expr>);
    }
  }

  private tick(): void {
    if (++this.steps > 3e6) throw new Fault('it does not end');
  }

  private agreed(e: Expr): number {
    const all = this.envs.map((env, t) => this.scalar(e, t, env));
    if (all.some((v) => v !== all[0])) throw new Fault('threads part before a barrier');
    return all[0];
  }

  private alone(s: Stmt, t: number, env: Env): void {
    this.who.thread = t;
    this.tick();
    switch (s.kind) {
      case 'for': {
        const start = this.scalar(s.start, t, env);
        const end = this.scalar(s.end, t, env);
        const isGroup = s.level === 'group';
        const by = isGroup ? s.step * this.threads : s.step;
        for (let i = isGroup ? start + t * s.step : start; i < end; i += by) {
          env.set(s.name, i);
          for (const inner of s.body) this.alone(inner, t, env);
        }
        return;
      }
      case 'if':
        for (const inner of this.scalar(s.condition, t, env) ? s.then : s.otherwise) this.alone(inner, t, env);
        return;
      case 'let':
      case 'assign':
        env.set(s.name, this.value(s.value, t, env));
        return;
      case 'store': {
        const at = this.scalar(s.index, t, env);
        const memory = this.memory(s.buffer, t);
        lanesOf(this.value(s.value, t, env), s.value.lanes).forEach((v, i) => memory.write(at + i, v, this.who));
        return;
      }
      case 'alloc':
        if (s.scope === 'thread') this.own[t].set(s.buffer, new Memory(s.buffer, s.size, false));
        else if (t === 0) {
          const under = s.over === undefined ? undefined : this.memories.get(s.over);
          this.memories.set(s.buffer, new Memory(s.buffer, s.size, false, under?.under ?? under));
        }
        return;
      case 'copy': {
        if (!this.scalar(s.inside, t, env)) {
          this.fly(s, t, env, new Array<number>(s.lanes).fill(0));
          return;
        }
        const from = this.memory(s.from, t);
        const at = this.scalar(s.index, t, env);
        this.fly(
          s,
          t,
          env,
          Array.from({ length: s.lanes }, (_, i) => from.read(at + i, this.who)),
        );
        return;
      }
      default: // prefetch changes nothing, the others are for all threads
    }
  }

  private fly(s: TileStmt<Expr> & { kind: 'copy' }, t: number, env: Env, values: readonly number[]): void {
    const memory = this.memory(s.to, t);
    const at = this.scalar(s.at, t, env);
    values.forEach((v, i) => {
      memory.write(at + i, v, this.who);
      memory.inFlight[at + i] = 1;
    });
    memory.flying++;
    this.copies[t].push({ memory, at, values, batch: this.batches[t] });
  }

  private land(pending: number): void {
    for (const [t, list] of this.copies.entries()) {
      this.who.thread = t;
      this.copies[t] = list.filter(({ memory, at, values, batch }) => {
        if (batch + pending >= this.batches[t]) return true;
        memory.flying--;
        values.forEach((v, i) => {
          memory.inFlight[at + i] = 0;
          memory.write(at + i, v, this.who);
        });
        return false;
      });
    }
  }

  private reduce({ op, width, values }: Stmt & { kind: 'reduce' }): void {
    for (const { name, value } of values) {
      const all = this.envs.map((env, t) => this.scalar(value, t, env));
      for (const [t, env] of this.envs.entries()) {
        const first = t - (t % width);
        env.set(
          name,
          all.slice(first, first + width).reduce((a, b) => combine(op, a, b)),
        );
      }
    }
  }

  private tile(s: TileStmt<Expr>): void {
    if (s.kind === 'copy_batch') this.batches = this.batches.map((n) => n + 1);
    else if (s.kind === 'copy_wait') this.land(s.pending);
    else if (s.kind === 'fragment') {
      const teams = Math.ceil(this.threads / team);
      const values = Array.from({ length: teams }, () =>
        new Float64Array(side * side).fill(s.role === 'sum' ? 0 : Number.NaN),
      );
      this.fragments.set(s.name, { role: s.role, values });
    } else for (let first = 0; first < this.threads; first += team) this.tileOf(s, first);
  }

  /** A statement about tiles for the team of threads from `first` on. */
  private tileOf(s: TileStmt<Expr>, first: number): void {
    const t = first;
    const same = (e: Expr): number => {
      const all = Array.from({ length: team }, (_, i) => this.scalar(e, first + i, this.envs[first + i]));
      if (all.some((v) => v !== all[0])) throw new Fault('threads of a tile part');
      return all[0];
    };
    this.who.thread = t;
    const of = (name: string): Float64Array => this.fragments.get(name)!.values[first / team];
    const each = (visit: (i: number, j: number) => void): void => {
      for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) visit(i, j);
    };
    if (s.kind === 'tile_load') {
      const [row, column, to, panel] = [same(s.row), same(s.column), of(s.fragment), this.memory(s.panel, t)];
      each((i, j) => {
        const [r, c] = s.transposed ? [row + j, column + i] : [row + i, column + j];
        to[i * side + j] = panel.read(placeIn(s.pitch, r, c), this.who);
      });
    } else if (s.kind === 'tile_multiply') {
      const [sum, left, right] = [of(s.sum), of(s.left), of(s.right)];
      each((i, j) => {
        for (let k = 0; k < side; k++) sum[i * side + j] += left[i * side + k] * right[j * side + k];
      });
    } else if (s.kind === 'tile_scale') {
      const [at, sum, rows] = [same(s.index), of(s.sum), this.memory(s.buffer, t)];
      const factors = Array.from({ length: side }, (_, i) => rows.read(at + i, this.who));
      each((i, j) => {
        sum[i * side + j] *= factors[i];
      });
    } else if (s.kind === 'tile_store') {
      const [at, from, to] = [same(s.index), of(s.fragment), this.memory(s.buffer, t)];
      each((i, j) => to.write(at + i * s.pitch + j, from[i * side + j], this.who));
    }
  }

  private memory(name: string, t: number): Memory {
    const found = this.own[t].get(name) ?? this.memories.get(name);
    if (!found) throw new Fault(`no memory ${name}`);
    return found;
  }

  private number(e: Expr, env: Env): number {
    return this.scalar(e, 0, env);
  }
  private scalar(e: Expr, t: number, env: Env): number {
    this.who.thread = t;
    const v = this.value(e, t, env);
    return typeof v === 'number' ? v : v[0];
  }

  private value(e: Expr, t: number, env: Env): Value {
    switch (e.kind) {
      case 'const':
        return e.value;
      case 'var':
        return env.get(e.name)!;
      case 'load': {
        const memory = this.memory(e.buffer, t);
        const at = this.scalar(e.index, t, env);
        if (e.lanes === 1) return memory.read(at, this.who);
        return Array.from({ length: e.lanes }, (_, i) => memory.read(at + i, this.who));
      }
      case 'alu': {
        const args = e.args.map((a) => this.value(a, t, env));
        if (e.lanes === 1) return compute(e.op, args as number[], e.args[0].dtype);
        const wide = args.map((a) => lanesOf(a, e.lanes));
        return Array.from({ length: e.lanes }, (_, i) =>
          compute(
            e.op,
            wide.map((w) => w[i]),
            e.args[0].dtype,
          ),
        );
      }
      case 'cast':
      case 'bitcast': {
        const v = this.value(e.arg, t, env);
        const one = (x: number): number => convert(x, e.dtype);
        return typeof v === 'number' ? one(v) : v.map(one);
      }
      case 'splat':
        return this.value(e.arg, t, env);
      case 'ramp': {
        const start = this.scalar(e.start, t, env);
        return Array.from({ length: e.lanes }, (_, i) => start + i);
      }
      case 'zip': {
        const [a, b] = e.args.map((x) => lanesOf(this.value(x, t, env), e.lanes));
        const from = e.half === 'low' ? 0 : e.lanes / 2;
        return Array.from({ length: e.lanes }, (_, i) => (i % 2 ? b : a)[from + (i >> 1)]);
      }
      case 'across':
        return lanesOf(this.value(e.arg, t, env), e.arg.lanes).reduce((a, b) => combine(e.op, a, b));
      default:
        return e satisfies never;
    }
  }
}

const [team, side] = [32, 16];

/** panelPlace of ir/panel.ts, in numbers, for elements of two bytes. */
function placeIn(pitch: number, row: number, column: number): number {
  const pieces = pitch / 8;
  const line = Math.floor(row / (8 / pieces)) % pieces;
  return row * pitch + ((column >> 3) ^ line) * 8 + (column % 8);
}

function isCollective(s: Stmt): boolean {
  if (s.kind === 'for') return s.body.some(isCollective);
  if (s.kind === 'if') return s.then.some(isCollective) || s.otherwise.some(isCollective);
  return s.kind === 'barrier' || s.kind === 'reduce' || s.kind === 'fragment' || s.kind.startsWith('tile_') || s.kind === 'copy_batch' || s.kind === 'copy_wait'; // biome-ignore format: one row
}

const combine = (op: ReduceOp, a: number, b: number): number => (op === 'add' ? a + b : op === 'max' ? Math.max(a, b) : Math.min(a, b)); // biome-ignore format: one row

function convert(x: number, dtype: string): number {
  if (dtype === 'bool') return x === 0 ? 0 : 1;
  return dtype.startsWith('f') || dtype === 'bf16' ? x : Math.trunc(x) || 0;
}

function compute(op: AluOp, [a, b, c]: readonly number[], dtype: string): number {
  const whole = !(dtype.startsWith('f') || dtype === 'bf16');
  switch (op) {
    case 'add': return a + b;
    case 'sub': return a - b;
    case 'mul': return a * b;
    case 'fma': return a * b + c;
    case 'div': return whole ? (b === 0 ? 0 : Math.trunc(a / b)) : a / b;
    case 'rem': return b === 0 ? 0 : a % b;
    case 'max': return Math.max(a, b);
    case 'min': return Math.min(a, b);
    case 'and': return a & b;
    case 'or': return a | b;
    case 'xor': return a ^ b;
    case 'shl': return a << b;
    case 'shr': return dtype === 'u32' ? a >>> b : a >> b;
    case 'pow': return a ** b;
    case 'neg': return -a;
    case 'floor': return Math.floor(a);
    case 'round': return Math.round(a);
    case 'exp': return Math.exp(a);
    case 'log': return Math.log(a);
    case 'sin': return Math.sin(a);
    case 'cos': return Math.cos(a);
    case 'tanh': case 'erf': return Math.tanh(a);
    case 'sqrt': return Math.sqrt(a);
    case 'rsqrt': return 1 / Math.sqrt(a);
    case 'eq': return a === b ? 1 : 0;
    case 'ne': return a !== b ? 1 : 0;
    case 'lt': return a < b ? 1 : 0;
    case 'le': return a <= b ? 1 : 0;
    case 'gt': return a > b ? 1 : 0;
    case 'ge': return a >= b ? 1 : 0;
    case 'select': return a ? b : c;
    default: return op satisfies never;
  }
} // biome-ignore format: a table
