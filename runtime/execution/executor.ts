// Executor: runs the entries of a program, compiled for a device or in the interpreter. Generation, models that read whole
// sequences, and training are its clients: they give inputs by name, hold states, and take results by name. What every
// executor does in one way (inputs, dims, the queue, room in caches) is in queued-executor.ts.
import type { HostTensor } from '../tensors/host-tensor.ts';

/** Tensors by name. */
export type Tensors = Readonly<Record<string, HostTensor>>;
/** Values of dims by name. */
export type Sizes = Readonly<Record<string, number>>;

/**
 * Values of a program's states (caches; parameters, and what an optimizer keeps of them), zeroed at first.
 * One executor has as many of them as its clients open: several generations may be under way at once.
 */
export interface States {
  readonly names: readonly string[];
  /** Values of the dims that the states decide: `batch`, `capacity` and, beside an encoder, `source`; none in training. */
  readonly dims: Sizes;
  /** Bytes of all values. */
  readonly bytes: number;
  /**
   * Positions written so far; a run that knows of a `past` adds the `seq` of its inputs. What lies behind may hold anything,
   * so a smaller number takes runs back.
   */
  length: number;
  /** Makes room for `capacity` positions, keeping what is written. */
  grow(capacity: number): void;
  /**
   * Row i of the batch becomes old row rows[i] (beam search). `keepsSource`: rows i and rows[i] have the same source, so that
   * what is kept of it need not move.
   */
  reorder(rows: readonly number[], keepsSource?: boolean): void;
  /** A copy of a value after the runs under way. Throws ModelcError 'input' for an unknown name. */
  read(name: string): Promise<HostTensor>;
  /** Replaces a value after the runs under way. Throws ModelcError 'input' for an unknown name, another type or shape. */
  write(name: string, value: HostTensor): Promise<void>;
  dispose(): void;
}

/** The most that an executor serves: the upper bounds of its dims. */
export interface ExecutorLimits {
  /** Rows per run. */
  readonly batch: number;
  /** New positions per run; longer prompts are fed in chunks. */
  readonly chunk: number;
  /** Positions in a cache. */
  readonly length: number;
  /** Whether the program was compiled for a cache of exactly `length` positions. */
  readonly fixedLength: boolean;
}

/** How an entry is run again and again. */
export interface RepeatOptions {
  /** Runs at most. */
  readonly count: number;
  /** The result that every run gives. */
  readonly result: string;
  /** The input that the result becomes in the next run; in the rows of the batch that are not `live`, it stays as it is. */
  readonly feed: { readonly input: string; readonly live: readonly boolean[] };
  /** The inputs of run i > 0 that differ from those of the run before; `feed` is not among them. */
  readonly inputs: (run: number) => Tensors;
  /** Whether the states are used after the loop, so that runs ahead must not have changed them for good (false). */
  readonly keepsState?: boolean;
  /** Runs that are submitted to the device together (1). */
  readonly together?: number;
}

export interface Executor {
  readonly limits: ExecutorLimits;
  /** Which one of `ranks` this is: programs that are sharded run on as many executors at once. */
  readonly rank: number;
  readonly ranks: number;
  /**
   * Bytes that the memory plan asks for: weights, constants, the largest arena, and states of `sizes`. Absent where memory
   * is not planned (the interpreter).
   */
  plannedBytes?(sizes: Sizes): number;
  /**
   * Zeroed states. `sizes` are values of the dims in their shapes. Memory of states that ended is used again; `slack`: also
   * where it has up to so many times the capacity that is asked for (1). Throws ModelcError 'input' for what limits exclude.
   */
  openStates(sizes: Sizes, slack?: number): States;
  /**
   * Runs an entry, on states if the program has any. Dims come from the shapes of `inputs`, from the states, and `past` from
   * states.length, which then grows by the entry's `seq`. Throws ModelcError 'input' when an input is missing, of another
   * dtype, or when dims disagree or leave their bounds. Only the results named by `wanted` (default: all) are read back;
   * they may be views that the executor's next run overwrites. Runs are queued.
   */
  run(entry: string, inputs: Tensors, states?: States, wanted?: readonly string[]): Promise<Record<string, HostTensor>>;
  /**
   * Runs an entry again and again, its result becoming an input; gives the result of every run. A device that queues runs
   * is ahead of the reader: results are fed on without the host. states.length tells what was given, so that leaving the
   * loop takes back the runs that were ahead. Throws as `run` does.
   */
  repeat(
    entry: string,
    inputs: Tensors,
    states: States,
    options: RepeatOptions,
  ): AsyncGenerator<HostTensor, void, undefined>;
  /** Whether entries take an input of this name. */
  takes(input: string): boolean;
  /** Whether it has an entry that it repeats on the device, without the host. */
  queues(entry: string): boolean;
  dispose(): void;
}
