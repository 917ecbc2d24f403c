// Session: a compiled model bound to its weights. Binds inputs, dims and state of one call to an entry of the program.
import type { HostTensor } from '../tensors/host-tensor.ts';

/**
 * The state params of a program (KV caches, key mask) for one batch of sequences: several generations may be under way
 * at once, each with its own state. Programs of models that read whole sequences have none.
 */
export interface State {
  /** Values of the dims that the state decides: `batch`, `capacity` and, beside an encoder, `source`. */
  readonly dims: Readonly<Record<string, number>>;
  /** Positions written so far; a run that knows of a `past` adds the `seq` of its inputs. What lies behind may hold anything. */
  length: number;
  /** Makes room for `capacity` positions, keeping what is written. */
  grow(capacity: number): void;
  /**
   * Row i of the batch becomes old row rows[i] (beam search). `keepsSource`: rows i and rows[i] have the same source, so that
   * what is kept of it need not move.
   */
  reorder(rows: readonly number[], keepsSource?: boolean): void;
  dispose(): void;
}

/** The most that a session serves: the upper bounds of its dims. */
export interface SessionLimits {
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
  readonly inputs: (run: number) => Readonly<Record<string, HostTensor>>;
  /** Whether the state is used after the loop, so that runs ahead must not have changed it for good (false). */
  readonly keepsState?: boolean;
  /** Runs that are submitted to the device together (1). */
  readonly together?: number;
}

export interface Session {
  readonly limits: SessionLimits;
  /**
   * Bytes that the memory plan asks for: weights, constants, the state of `batch` rows with `capacity` positions, and
   * the largest arena; `sizes` as of createState. Absent where memory is not planned (the interpreter).
   */
  plannedBytes?(batch: number, capacity: number, sizes?: Readonly<Record<string, number>>): number;
  /** Zeroed state for `batch` rows and `capacity` positions; `sizes` are values of the other dims that states have. */
  createState(batch: number, capacity: number, sizes?: Readonly<Record<string, number>>): State;
  /**
   * Runs an entry, on a state if the program has any. Dims come from the shapes of `inputs`, from the state, and `past`
   * from state.length, which then grows by the entry's `seq`. Throws ModelcError 'input' when an input is missing, of another dtype, or when dims disagree
   * or leave their bounds. Only the results named by `wanted` (default: all) are read back; they may be views that the
   * session's next run overwrites. Runs on one session are queued.
   */
  run(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state?: State,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>>;
  /**
   * Runs an entry again and again, its result becoming an input; gives the result of every run. A device that queues runs
   * is ahead of the reader: results are fed on without the host. state.length tells what was given, so that leaving the
   * loop takes back the runs that were ahead. Throws as `run` does.
   */
  repeat(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state: State,
    options: RepeatOptions,
  ): AsyncGenerator<HostTensor, void, undefined>;
  /** Whether the session has an entry that it repeats on the device, without the host. */
  queues(entry: string): boolean;
  dispose(): void;
}
