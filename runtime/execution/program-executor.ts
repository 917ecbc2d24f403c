// The executor of a compiled Program on a Device. Weights are mapped from files without a copy; inputs and results have one
// buffer each per entry, grown to what a run needs and reused by the next, and another set of them while runs are repeated
// on the device; states are buffers. Works from a Program as an artifact stores it: plain data and file spans, no graph.
import type { Bindings, Buffer, Device, FileSpan, LoadedProgram } from '../../backends/device.ts';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { byteSize, evalShape, type Plan, type PlanWeight, type Program, statesOf } from '../../ir/program.ts';
import { bytesOf, type HostTensor, storeNumbers, viewOf } from '../tensors/host-tensor.ts';
import { checkOpen } from './cache-errors.ts';
import type { RepeatOptions, Sizes, States, Tensors } from './executor.ts';
import { fixedBytes, stateBytes } from './planned-memory.ts';
import { type Call, type LoadedEntry, QueuedExecutor } from './queued-executor.ts';
import { type PreparedRuns, repeatByHost, repeatOnDevice } from './repeat.ts';
import { RunBuffers } from './run-buffers.ts';
import type { StateMemory } from './states.ts';

/**
 * Where a weight's bytes are: in a file, to be mapped; made in memory (a packed layout that no file holds); or in memory
 * of the device, which somebody fills before the first run.
 */
export type WeightSource = FileSpan | Uint8Array | Buffer;

export interface ProgramOptions {
  readonly program: Program;
  readonly device: Device;
  /** Finds the bytes of a weight of the program. */
  readonly weight: (weight: PlanWeight, program: Program) => WeightSource | Promise<WeightSource>;
  /** Native code of the program, when it was built elsewhere. */
  readonly binary?: string;
  /** Compiles an entry that the program lacks, at its first use: a program with the same states and the same limits. */
  readonly missing?: (entry: string) => Promise<{ readonly program: Program; readonly binary?: string }>;
  /** Inputs that every run gets besides its own. */
  readonly added?: ((inputs: Tensors) => Tensors) | undefined;
}

/** An entry of a loaded program, whose weights and constants are bound. */
interface ProgramEntry extends LoadedEntry {
  readonly plan: Plan;
  readonly program: Program;
  readonly loaded: LoadedProgram;
  readonly weights: readonly Buffer[];
  readonly constants: readonly Buffer[];
}

export class ProgramExecutor extends QueuedExecutor<ProgramEntry, Buffer> {
  private readonly device: Device;
  private readonly entries = new Map<string, ProgramEntry>();
  /** Weights and constants by name, shared by the programs. */
  private readonly fixed = new Map<string, Buffer>();
  /** Inputs and results of single runs. */
  private readonly buffers: RunBuffers;
  /** Those of repeated runs, which are under way while others begin; sets that are in no use. */
  private readonly spare: RunBuffers[] = [];
  /** The last of the repeated runs that were submitted. */
  private submitted: Promise<unknown> = Promise.resolve();

  private constructor(private readonly options: ProgramOptions) {
    const { program, device } = options;
    super(Object.values(program.entries), program.states, deviceMemory(device), options.added);
    this.device = device;
    this.buffers = new RunBuffers(device);
  }

  /** Loads the program's code and binds its weights and constants. What fails leaves nothing behind on the device. */
  static async open(options: ProgramOptions): Promise<ProgramExecutor> {
    const executor = new ProgramExecutor(options);
    try {
      await executor.add(options.program, options.binary);
    } catch (error) {
      executor.dispose();
      throw error;
    }
    return executor;
  }

  private async add(program: Program, binary?: string): Promise<void> {
    const loaded = await this.device.load(program, binary);
    try {
      await this.bindAll(program, loaded);
    } catch (error) {
      loaded.dispose();
      throw error;
    }
  }

  private async bindAll(program: Program, loaded: LoadedProgram): Promise<void> {
    const weights: Buffer[] = [];
    for (const tensor of program.weights) {
      const buffer = this.fixed.get(`weight ${tensor.name}`) ?? (await this.bind(tensor, program));
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
    for (const [entry, plan] of Object.entries(program.entries)) {
      this.entries.set(entry, { plan, states: statesOf(program, plan), program, loaded, weights, constants });
    }
  }

  private async bind(tensor: PlanWeight, program: Program): Promise<Buffer> {
    const source = await this.options.weight(tensor, program);
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

  plannedBytes(sizes: Sizes): number {
    const programs = [...new Set([...this.entries.values()].map(({ program }) => program))];
    return fixedBytes(programs) + stateBytes(this.options.program, sizes);
  }

  override async *repeat(
    entry: string,
    inputs: Tensors,
    states: States,
    options: RepeatOptions,
  ): AsyncGenerator<HostTensor, void, undefined> {
    const { loaded } = await this.enqueue(() => this.entry(entry));
    // What is carried over cannot be taken back.
    const isSpoilt = options.keepsState && this.states.some(({ role }) => role?.kind === 'carried');
    if (!loaded.repeat || isSpoilt) return yield* repeatByHost(this, entry, inputs, states, options);
    const buffers = this.spare.pop() ?? new RunBuffers(this.device);
    try {
      const { call, bindings } = await this.enqueue(async () => {
        const checked = await this.call(entry, inputs, states);
        return { call: checked, bindings: this.bindingsOf(checked, buffers) };
      });
      const submit: PreparedRuns['submit'] = (runs) => {
        checkOpen(this.disposed);
        const results = loaded.repeat!(entry, bindings, runs);
        this.submitted = results[results.length - 1];
        return results;
      };
      const { dims, added } = call;
      yield* repeatOnDevice({ entry, plan: call.entry.plan, dims, added, states, submit }, options);
    } finally {
      if (this.disposed) buffers.free();
      else this.spare.push(buffers);
    }
  }

  override queues(entry: string): boolean {
    const [first] = this.entries.values();
    return Boolean(first?.loaded.repeat) && (this.entries.has(entry) || this.options.missing !== undefined);
  }

  /** Binds everything that a run reads and writes; the inputs are written. */
  private bindingsOf({ name, entry, inputs, dims, states }: Call<ProgramEntry, Buffer>, buffers: RunBuffers): Bindings {
    const { plan, weights, constants } = entry;
    const given = inputs.map(({ dtype, data }) => ({ dtype, bytes: data.byteLength }));
    const results = plan.results.map((r) => ({ dtype: r.dtype, bytes: byteSize(r, dims) }));
    const bindings = buffers.bind(name, { weights, constants, states }, given, results);
    for (const [i, { data }] of inputs.entries()) this.device.write(bindings.inputs[i], bytesOf(data));
    return bindings;
  }

  protected override async execute(
    call: Call<ProgramEntry, Buffer>,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    const { name, entry, dims } = call;
    const bindings = this.bindingsOf(call, this.buffers);
    await entry.loaded.run(name, bindings, dims);
    const results: Record<string, HostTensor> = {};
    for (const [i, result] of entry.plan.results.entries()) {
      if (wanted && !wanted.includes(result.name)) continue;
      const bytes = await this.device.read(bindings.results[i], 0, byteSize(result, dims));
      // A queued run may write to the buffer before the caller has looked at the view.
      const data = viewOf(result.dtype, this.waiting > 0 ? bytes.slice() : bytes);
      results[result.name] = { dtype: result.dtype, shape: evalShape(result.shape, dims), data };
    }
    return results;
  }

  protected override async entry(name: string): Promise<ProgramEntry> {
    if (!this.entries.has(name) && this.options.missing) {
      const { program, binary } = await this.options.missing(name);
      await this.add(program, binary);
    }
    const entry = this.entries.get(name);
    if (entry) return entry;
    throw new ModelcError(
      'unsupported',
      `the program has no entry '${name}', it has ${[...this.entries.keys()].join(', ')}; compile the model with it`,
    );
  }

  /** Frees code and memory once the runs under way have ended. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.queue = Promise.allSettled([this.queue, this.submitted]).then(() => {
      for (const loaded of new Set([...this.entries.values()].map((entry) => entry.loaded))) loaded.dispose();
      for (const buffers of [this.buffers, ...this.spare]) buffers.free();
      for (const buffer of this.fixed.values()) this.device.free(buffer);
      this.freeIdle();
    });
  }
}

/** States in buffers of a device. */
function deviceMemory(device: Device): StateMemory<Buffer> {
  return {
    alloc: (dtype, size) => device.alloc(size * dtypeInfo[dtype].bytes, dtype),
    free: (buffer) => device.free(buffer),
    copy(dtype, from, to, size, rows) {
      const { bytes } = dtypeInfo[dtype];
      const side = ({ memory: buffer, offset, step }: typeof from) => ({
        buffer,
        offset: offset * bytes,
        step: step * bytes,
      });
      device.copy(side(from), side(to), size * bytes, rows);
    },
    read: async (buffer, dtype, size) =>
      viewOf(dtype, (await device.read(buffer, 0, size * dtypeInfo[dtype].bytes)).slice()),
    write: (buffer, { data }) => device.write(buffer, bytesOf(data)),
    clear: (buffer) => device.write(buffer, new Uint8Array(buffer.bytes)),
  };
}
