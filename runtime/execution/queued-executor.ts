// What executors have in common: runs wait for each other, inputs are checked against the entry, dims are solved, caches
// have room, and memory of states that ended serves the next ones. How an entry is loaded and carried out is left to
// program-executor.ts (a device) and interpreter-executor.ts.
import { ModelcError } from '../../ir/error.ts';
import { evalDim, type Plan, type PlanState, type PlanTensor } from '../../ir/program.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { checkOpen, checkRoom, checkSizes } from './cache-errors.ts';
import type { Executor, ExecutorLimits, RepeatOptions, Sizes, States, Tensors } from './executor.ts';
import { solveDims } from './plan-dims.ts';
import { repeatByHost } from './repeat.ts';
import { type Held, positionsOf, type StateMemory, StateSet } from './states.ts';

/** What a run of an entry takes and gives. */
export type Signature = Pick<Plan, 'inputs' | 'results' | 'dims'>;

/** An entry that is ready to run, and the states that it works on. */
export interface LoadedEntry {
  readonly plan: Signature;
  readonly states: readonly PlanState[];
}

/** A run, checked; nothing of it is carried out yet. */
export interface Call<E extends LoadedEntry, B> {
  readonly name: string;
  readonly entry: E;
  /** In the order of the plan. */
  readonly inputs: readonly HostTensor[];
  readonly dims: Sizes;
  /** In the order of the entry's states. */
  readonly states: readonly B[];
  /** Positions that the run adds to the states. */
  readonly added: number;
}

export abstract class QueuedExecutor<E extends LoadedEntry, B> implements Executor {
  readonly limits: ExecutorLimits;
  readonly rank = 0;
  readonly ranks = 1;
  /** Runs and all else that must wait for them. */
  protected queue: Promise<unknown> = Promise.resolve();
  /** Jobs in the queue that have not begun. */
  protected waiting = 0;
  protected disposed = false;
  private readonly inputs: ReadonlySet<string>;
  /** Memory of states that ended. */
  private idle: Held<B>[] = [];

  protected constructor(
    entries: readonly Signature[],
    /** The states that the program's entries share. */
    protected readonly states: readonly PlanState[],
    private readonly memory: StateMemory<B>,
    /** Inputs that every run gets besides its own. */
    private readonly added: (inputs: Tensors) => Tensors = () => ({}),
  ) {
    this.limits = limitsOf(entries, states);
    this.inputs = new Set(entries.flatMap((plan) => plan.inputs.map(({ name }) => name)));
  }

  /** An entry, loaded when it is asked for first. Throws ModelcError for an unknown one. */
  protected abstract entry(name: string): E | Promise<E>;
  /** Carries a run out. */
  protected abstract execute(call: Call<E, B>, wanted?: readonly string[]): Promise<Record<string, HostTensor>>;

  openStates(sizes: Sizes, slack = 1): States {
    checkOpen(this.disposed);
    const dims = checkSizes(sizes, this.limits);
    const at = this.idle.findIndex((held) => serves(held.dims, dims, slack));
    if (at < 0) this.freeIdle();
    return new StateSet(
      this.states,
      dims,
      {
        memory: this.memory,
        enqueue: (job) => this.enqueue(job),
        release: (held) => this.release(held),
      },
      at < 0 ? undefined : this.idle.splice(at, 1)[0],
    );
  }

  private release(held: Held<B>): void {
    this.idle.push(held);
    if (this.disposed) this.freeIdle();
  }

  /** Frees memory that no states use. */
  protected freeIdle(): void {
    for (const { values, spares } of this.idle) {
      for (const memory of [...values, ...spares.values()]) this.memory.free(memory);
    }
    this.idle = [];
  }

  run(
    entry: string,
    inputs: Tensors,
    states?: States,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    return this.enqueue(async () => {
      const call = await this.call(entry, inputs, states);
      const results = await this.execute(call, wanted);
      if (states) states.length += call.added;
      return results;
    });
  }

  repeat(
    entry: string,
    inputs: Tensors,
    states: States,
    options: RepeatOptions,
  ): AsyncGenerator<HostTensor, void, undefined> {
    return repeatByHost(this, entry, inputs, states, options);
  }

  takes(input: string): boolean {
    return this.inputs.has(input);
  }

  queues(_entry: string): boolean {
    return false;
  }

  /** Does `job` when its turn comes. */
  protected enqueue<T>(job: () => Promise<T>): Promise<T> {
    this.waiting++;
    const result = this.queue.then(() => {
      this.waiting--;
      return job();
    });
    this.queue = result.catch(() => undefined);
    return result;
  }

  /** Checks a run. */
  protected async call(name: string, asked: Tensors, states: States | undefined): Promise<Call<E, B>> {
    checkOpen(this.disposed);
    const given = { ...asked, ...this.added(asked) };
    const entry = await this.entry(name);
    const { plan } = entry;
    const own = entry.states.length > 0 ? this.own(states) : undefined;
    const inputs = plan.inputs.map((input) => inputOf(name, input, given));
    const dims = solveDims(name, plan, inputs, own ? { ...own.dims, past: own.length } : {});
    const added = plan.dims.some((d) => d.name === 'past') ? (given.input_ids?.shape[1] ?? 0) : 0;
    if (own && added > 0) checkRoom(own.length, added, own.dims.capacity);
    own?.settle();
    return { name, entry, inputs, dims, states: own?.inOrderOf(entry.states) ?? [], added };
  }

  private own(states: States | undefined): StateSet<B> {
    if (states instanceof StateSet && states.isOf(this.memory)) return states;
    throw new ModelcError('input', 'the states belong to another executor');
  }

  abstract dispose(): void;
}

function inputOf(entry: string, { name, dtype }: PlanTensor, given: Tensors): HostTensor {
  const tensor = Object.hasOwn(given, name) ? given[name] : undefined;
  if (!tensor) throw new ModelcError('input', `entry ${entry} needs the input ${name}`);
  if (tensor.dtype === dtype) return tensor;
  throw new ModelcError('input', `input ${name} of entry ${entry} must be ${dtype}, but is ${tensor.dtype}`);
}

/** Whether memory for states of one size does for those of another. */
const serves = ({ capacity, ...held }: Sizes, { capacity: asked, ...wanted }: Sizes, slack: number): boolean =>
  (capacity === asked || (capacity >= asked && capacity <= slack * asked)) &&
  Object.keys({ ...held, ...wanted }).every((name) => held[name] === wanted[name]);

/** The bounds of a program's dims; caches whose positions are a number, not a dim, have one size. */
function limitsOf(entries: readonly Signature[], states: readonly PlanState[]): ExecutorLimits {
  const bounds = entries.flatMap((plan) => plan.dims);
  const max = (name: string): number | undefined => {
    const all = bounds.filter((d) => d.name === name).map((d) => d.max);
    return all.length > 0 ? Math.max(...all) : undefined;
  };
  const rooms = states.flatMap((state) => (positionsOf(state) < 0 ? [] : [state.shape[positionsOf(state)]]));
  const isFixed = rooms.length > 0 && rooms.every((room) => Object.keys(room).every((monomial) => monomial === ''));
  const length = isFixed ? Math.max(...rooms.map((room) => evalDim(room, {}))) : undefined;
  return {
    batch: max('batch') ?? 1,
    chunk: max('seq') ?? 1,
    length: length ?? max('capacity') ?? max('past') ?? 1,
    fixedLength: length !== undefined,
  };
}
