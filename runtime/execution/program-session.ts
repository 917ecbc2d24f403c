// A session that runs a compiled Program on a Device. Weights are mapped from files without a copy; inputs and results
// have one buffer each per entry, grown to what a run needs and reused by the next, and another set of them while runs
// are repeated on the device; states are buffers per generation.
// Works from a Program as an artifact stores it: plain data and file spans, no graph.
import type { Bindings, Buffer, Device, FileSpan, LoadedProgram } from '../../backends/device.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Plan, PlanTensor, Program } from '../../ir/program.ts';
import { bytesOf, type HostTensor, storeNumbers, viewOf } from '../tensors/host-tensor.ts';
import { checkOpen, checkRoom, checkState } from './cache-errors.ts';
import { evalDim, evalShape, solveDims } from './plan-dims.ts';
import { byteSize, fixedBytes, stateBytes } from './planned-memory.ts';
import { ProgramState } from './program-state.ts';
import { type PreparedRuns, repeatByHost, repeatOnDevice } from './repeat.ts';
import { RunBuffers } from './run-buffers.ts';
import type { RepeatOptions, Session, SessionLimits, State } from './session.ts';

/**
 * Where a weight's bytes are: in a file, to be mapped; made in memory (a packed layout that no file holds); or in memory
 * of the device, which somebody fills before the first run.
 */
export type WeightSource = FileSpan | Uint8Array | Buffer;

export interface ProgramOptions {
  readonly program: Program;
  readonly device: Device;
  /** Finds the bytes of a weight of the program. */
  readonly weight: (weight: PlanTensor) => WeightSource | Promise<WeightSource>;
  /** Native code of the program, when it was built elsewhere. */
  readonly binary?: string;
  /** Compiles an entry that the program lacks, at its first use: a program with the same states and the same limits. */
  readonly missing?: (entry: string) => Promise<{ readonly program: Program; readonly binary?: string }>;
}

/** A loaded program with its weights and constants bound. */
interface Part {
  readonly program: Program;
  readonly loaded: LoadedProgram;
  readonly weights: readonly Buffer[];
  readonly constants: readonly Buffer[];
}

/** What a run needs, ready to be submitted. */
interface Prepared {
  readonly loaded: LoadedProgram;
  readonly plan: Plan;
  readonly bindings: Bindings;
  readonly dims: Readonly<Record<string, number>>;
  /** Positions that the run adds to the state. */
  readonly seq: number;
}

export class ProgramSession implements Session {
  readonly limits: SessionLimits;
  readonly program: Program;
  private readonly device: Device;
  /** Which part serves an entry. */
  private readonly entries = new Map<string, Part>();
  /** Weights and constants by name, shared by the parts. */
  private readonly fixed = new Map<string, Buffer>();
  /** Inputs and results of single runs. */
  private readonly buffers: RunBuffers;
  /** Those of repeated runs, which are under way while others begin; sets that are in no use. */
  private readonly idle: RunBuffers[] = [];
  /** The last of the repeated runs that were submitted. */
  private submitted: Promise<unknown> = Promise.resolve();
  private queue: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private disposed = false;

  private constructor(private readonly options: ProgramOptions) {
    this.device = options.device;
    this.program = options.program;
    this.limits = limitsOf(options.program);
    this.buffers = new RunBuffers(options.device);
  }

  /** Loads the program's code and binds its weights and constants. */
  static async open(options: ProgramOptions): Promise<ProgramSession> {
    const session = new ProgramSession(options);
    await session.add(options.program, options.binary);
    return session;
  }

  private async add(program: Program, binary?: string): Promise<void> {
    const loaded = await this.device.load(program, binary);
    const weights: Buffer[] = [];
    for (const tensor of program.weights) {
      const buffer = this.fixed.get(`weight ${tensor.name}`) ?? (await this.bind(tensor));
      this.fixed.set(`weight ${tensor.name}`, buffer);
      weights.push(buffer);
    }
    const constants = program.constants.map((constant) => {
      const role = `constant ${constant.name}`;
      const buffer =
        this.fixed.get(role) ?? this.upload(bytesOf(storeNumbers(constant.dtype, constant.data)), constant.dtype);
      this.fixed.set(role, buffer);
      return buffer;
    });
    for (const entry of Object.keys(program.entries)) {
      this.entries.set(entry, { program, loaded, weights, constants });
    }
  }

  private async bind(tensor: PlanTensor): Promise<Buffer> {
    const source = await this.options.weight(tensor);
    const bytes = source instanceof Uint8Array ? source.byteLength : source.bytes;
    if (bytes !== byteSize(tensor, {})) {
      throw new ModelcError(
        'checkpoint',
        `weight ${tensor.name} has ${bytes} bytes, but the program reads ${byteSize(tensor, {})}; they do not belong together`,
      );
    }
    if (source instanceof Uint8Array) return this.upload(source);
    return 'path' in source ? this.device.map(source, tensor.dtype) : source;
  }

  private upload(bytes: Uint8Array, dtype?: DType): Buffer {
    const buffer = this.device.alloc(bytes.byteLength, dtype);
    this.device.write(buffer, bytes);
    return buffer;
  }

  plannedBytes(batch: number, capacity: number, sizes?: Readonly<Record<string, number>>): number {
    const programs = [...new Set(this.entries.values())].map((part) => part.program);
    return fixedBytes(programs) + stateBytes(this.program, batch, capacity, sizes);
  }

  createState(batch: number, capacity: number, sizes: Readonly<Record<string, number>> = {}): ProgramState {
    checkOpen(this.disposed);
    const room = checkState(batch, capacity, this.limits);
    return new ProgramState(this.device, this.program.states, { ...sizes, batch, capacity: room });
  }

  run(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state?: State,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    return this.enqueue(async () => {
      const { loaded, plan, bindings, dims, seq } = await this.prepare(entry, inputs, state, this.buffers);
      await loaded.run(entry, bindings, dims);
      if (state) state.length += seq;
      return this.readResults(plan, bindings, dims, wanted);
    });
  }

  async *repeat(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state: State,
    options: RepeatOptions,
  ): AsyncGenerator<HostTensor, void, undefined> {
    const { loaded } = await this.enqueue(() => this.part(entry));
    // What is carried over cannot be taken back.
    const isSpoilt = options.keepsState && this.program.states.some(({ role }) => role?.kind === 'carried');
    if (!loaded.repeat || isSpoilt) return yield* repeatByHost(this, entry, inputs, state, options);
    const buffers = this.idle.pop() ?? new RunBuffers(this.device);
    try {
      const prepared = await this.enqueue(() => this.prepare(entry, inputs, state, buffers));
      const submit: PreparedRuns['submit'] = (runs) => {
        checkOpen(this.disposed);
        const results = loaded.repeat!(entry, prepared.bindings, runs);
        this.submitted = results[results.length - 1];
        return results;
      };
      yield* repeatOnDevice({ entry, state, submit, ...prepared }, options);
    } finally {
      if (this.disposed) buffers.free();
      else this.idle.push(buffers);
    }
  }

  queues(entry: string): boolean {
    const [part] = this.entries.values();
    return Boolean(part?.loaded.repeat) && (this.entries.has(entry) || this.options.missing !== undefined);
  }

  /** Does `job` when its turn comes. */
  private enqueue<T>(job: () => Promise<T>): Promise<T> {
    this.waiting++;
    const result = this.queue.then(() => {
      this.waiting--;
      return job();
    });
    this.queue = result.catch(() => undefined);
    return result;
  }

  /** Checks and binds everything that a run reads and writes; the inputs are written. */
  private async prepare(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state: State | undefined,
    buffers: RunBuffers,
  ): Promise<Prepared> {
    checkOpen(this.disposed);
    const part = await this.part(entry);
    const plan = part.program.entries[entry];
    const own = part.program.states.length > 0 ? ownState(state) : undefined;
    const tensors = plan.inputs.map((input) => inputOf(entry, input, inputs));
    const dims = solveDims(entry, plan, tensors, own ? { ...own.dims, past: own.length } : {});
    const seq = plan.dims.some(({ name }) => name === 'past') ? (inputs.input_ids?.shape[1] ?? 0) : 0;
    if (own) checkRoom(own.length, seq, own.dims.capacity);
    await own?.settle();
    const bindings: Bindings = {
      weights: part.weights,
      constants: part.constants,
      states: own?.inOrderOf(part.program.states) ?? [],
      inputs: tensors.map((t, i) => {
        const bytes = bytesOf(t.data);
        const buffer = buffers.take(`${entry} input ${i}`, bytes.byteLength, t.dtype);
        this.device.write(buffer, bytes);
        return buffer;
      }),
      results: plan.results.map((r, i) => buffers.take(`${entry} result ${i}`, byteSize(r, dims), r.dtype)),
    };
    return { loaded: part.loaded, plan, bindings, dims, seq };
  }

  private async readResults(
    plan: Plan,
    bindings: Bindings,
    dims: Readonly<Record<string, number>>,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    const results: Record<string, HostTensor> = {};
    for (const [i, { name, dtype, shape }] of plan.results.entries()) {
      if (wanted && !wanted.includes(name)) continue;
      const bytes = await this.device.read(bindings.results[i], 0, byteSize(plan.results[i], dims));
      // A queued run may write to the buffer before the caller has looked at the view.
      const data = viewOf(dtype, this.waiting > 0 ? bytes.slice() : bytes);
      results[name] = { dtype, shape: evalShape(shape, dims), data };
    }
    return results;
  }

  private async part(entry: string): Promise<Part> {
    if (!this.entries.has(entry) && this.options.missing) {
      const { program, binary } = await this.options.missing(entry);
      await this.add(program, binary);
    }
    const part = this.entries.get(entry);
    if (part) return part;
    throw new ModelcError(
      'unsupported',
      `the program has no entry '${entry}', it has ${[...this.entries.keys()].join(', ')}; compile the model with it`,
    );
  }

  /** Frees code and memory once the runs under way have ended. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.queue = Promise.allSettled([this.queue, this.submitted]).then(() => {
      for (const { loaded } of new Set(this.entries.values())) loaded.dispose();
      for (const buffers of [this.buffers, ...this.idle]) buffers.free();
      for (const buffer of this.fixed.values()) this.device.free(buffer);
    });
  }
}

function ownState(state: State | undefined): ProgramState {
  if (state instanceof ProgramState) return state;
  throw new ModelcError('input', 'the state belongs to another session');
}

function inputOf(entry: string, input: PlanTensor, inputs: Readonly<Record<string, HostTensor>>): HostTensor {
  const tensor = inputs[input.name];
  if (!tensor) throw new ModelcError('input', `entry ${entry} needs the input ${input.name}`);
  if (tensor.dtype !== input.dtype) {
    throw new ModelcError('input', `input ${input.name} must be ${input.dtype}, but is ${tensor.dtype}`);
  }
  return tensor;
}

/** The bounds of a program's dims; caches whose positions are a number, not a dim, have one size. */
function limitsOf(program: Program): SessionLimits {
  const bounds = Object.values(program.entries).flatMap((plan) => plan.dims);
  const max = (name: string): number | undefined => {
    const all = bounds.filter((d) => d.name === name).map((d) => d.max);
    return all.length > 0 ? Math.max(...all) : undefined;
  };
  const rooms = program.states.flatMap(({ shape, role }) => (role?.kind === 'mask' ? [shape[role.positions]] : []));
  const fixed = rooms.find((room) => Object.keys(room).every((monomial) => monomial === ''));
  const length = fixed && evalDim(fixed, {});
  return {
    batch: max('batch') ?? 1,
    chunk: max('seq') ?? 1,
    length: length ?? max('capacity') ?? max('past') ?? 1,
    fixedLength: length !== undefined,
  };
}
