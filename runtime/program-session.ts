// A session that runs a compiled Program on a Device. Weights are mapped from files without a copy; inputs and results
// have one buffer each per entry, grown to what a run needs and reused by the next; states are buffers per generation.
// Works from a Program as an artifact stores it: plain data and file spans, no graph.
import { dtypeInfo } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import type { Plan, PlanTensor, Program } from '../ir/program.ts';
import { checkRoom, checkState } from './cache-errors.ts';
import type { Bindings, Buffer, Device, FileSpan, LoadedProgram } from './device.ts';
import { bytesOf, storeNumbers, viewOf } from './host-tensor.ts';
import { evalDim, evalShape, solveDims } from './plan-dims.ts';
import { ProgramState } from './program-state.ts';
import type { HostTensor, Session, SessionLimits, State } from './session.ts';

/** Where a weight's bytes are: in a file, to be mapped, or made in memory (a packed layout that no file holds). */
export type WeightSource = FileSpan | Uint8Array;

export interface ProgramOptions {
  readonly program: Program;
  readonly device: Device;
  /** Path of code that was built for the program before. */
  readonly binary?: string;
  /** Finds the bytes of a weight of the program. */
  readonly weight: (weight: PlanTensor) => WeightSource | Promise<WeightSource>;
}

/** A buffer that is replaced by a larger one when a run needs more. */
interface Reusable {
  buffer: Buffer;
}

export class ProgramSession implements Session {
  readonly limits: SessionLimits;
  readonly program: Program;
  private readonly buffers = new Map<string, Reusable>();
  private queue: Promise<unknown> = Promise.resolve();
  private waiting = 0;
  private disposed = false;

  private constructor(
    private readonly device: Device,
    private readonly loaded: LoadedProgram,
    program: Program,
    private readonly weights: readonly Buffer[],
    private readonly constants: readonly Buffer[],
  ) {
    this.program = program;
    this.limits = limitsOf(program);
  }

  /** Loads the program's code and binds its weights and constants. */
  static async open({ program, device, binary, weight }: ProgramOptions): Promise<ProgramSession> {
    const loaded = await device.load(program, binary);
    const weights: Buffer[] = [];
    for (const tensor of program.weights) {
      const source = await weight(tensor);
      const expected = evalShape(tensor.shape, {}).reduce((n, d) => n * d, dtypeInfo[tensor.dtype].bytes);
      const bytes = source instanceof Uint8Array ? source.byteLength : source.bytes;
      if (bytes !== expected) {
        throw new ModelcError('checkpoint', `weight ${tensor.name} has ${bytes} bytes, but the program reads ${expected}`);
      }
      weights.push(source instanceof Uint8Array ? upload(device, source) : device.map(source, tensor.dtype));
    }
    const constants = program.constants.map((c) => upload(device, bytesOf(storeNumbers(c.dtype, c.data))));
    return new ProgramSession(device, loaded, program, weights, constants);
  }

  createState(batch: number, capacity: number): ProgramState {
    this.checkOpen();
    const room = checkState(batch, capacity, this.limits);
    return new ProgramState(this.device, this.program.states, { batch, capacity: room });
  }

  run(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state: State,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    this.waiting++;
    const result = this.queue.then(() => {
      this.waiting--;
      return this.runNow(entry, inputs, state, wanted);
    });
    this.queue = result.catch(() => undefined);
    return result;
  }

  private async runNow(
    entry: string,
    inputs: Readonly<Record<string, HostTensor>>,
    state: State,
    wanted?: readonly string[],
  ): Promise<Record<string, HostTensor>> {
    this.checkOpen();
    const plan = this.program.entries[entry];
    if (!Object.hasOwn(this.program.entries, entry)) {
      throw new ModelcError(
        'input',
        `the program has no entry '${entry}'; it has ${Object.keys(this.program.entries).join(', ')}`,
      );
    }
    if (!(state instanceof ProgramState)) throw new ModelcError('input', 'the state belongs to another session');
    const tensors = plan.inputs.map((input) => inputOf(entry, input, inputs));
    const dims = solveDims(entry, plan, tensors, { ...state.dims, past: state.length });
    const seq = inputs.input_ids?.shape[1] ?? 0;
    checkRoom(state.length, seq, state.dims.capacity);
    await state.settle();
    const bindings: Bindings = {
      weights: this.weights,
      constants: this.constants,
      states: state.buffers,
      inputs: tensors.map((t, i) => {
        const bytes = bytesOf(t.data);
        const buffer = this.buffer(`${entry} input ${i}`, bytes.byteLength);
        this.device.write(buffer, bytes);
        return buffer;
      }),
      results: plan.results.map((r, i) => this.buffer(`${entry} result ${i}`, byteSize(r, dims))),
    };
    await this.loaded.run(entry, bindings, dims);
    state.length += seq;
    return this.readResults(plan, bindings, dims, wanted);
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

  /** A buffer for `role` with room for `bytes`. */
  private buffer(role: string, bytes: number): Buffer {
    const known = this.buffers.get(role);
    if (known && known.buffer.bytes >= bytes) return known.buffer;
    if (known) this.device.free(known.buffer);
    const buffer = this.device.alloc(Math.max(bytes, 64));
    this.buffers.set(role, { buffer });
    return buffer;
  }

  private checkOpen(): void {
    if (this.disposed) throw new ModelcError('input', 'the model has been disposed; load it again');
  }

  /** Frees code and memory once the runs under way have ended. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.queue = this.queue.then(() => {
      for (const { buffer } of this.buffers.values()) this.device.free(buffer);
      for (const buffer of [...this.weights, ...this.constants]) this.device.free(buffer);
      this.loaded.dispose();
    });
  }
}

function upload(device: Device, bytes: Uint8Array): Buffer {
  const buffer = device.alloc(Math.max(bytes.byteLength, 64));
  device.write(buffer, bytes);
  return buffer;
}

const byteSize = (t: PlanTensor, dims: Readonly<Record<string, number>>): number =>
  evalShape(t.shape, dims).reduce((n, d) => n * d, dtypeInfo[t.dtype].bytes);

function inputOf(entry: string, input: PlanTensor, inputs: Readonly<Record<string, HostTensor>>): HostTensor {
  const tensor = inputs[input.name];
  if (!tensor) throw new ModelcError('input', `entry ${entry} needs the input ${input.name}`);
  if (tensor.dtype !== input.dtype) {
    throw new ModelcError('input', `input ${input.name} must be ${input.dtype}, but is ${tensor.dtype}`);
  }
  return tensor;
}

/** The bounds of a program's dims; a program without a dim `capacity` has caches of one size. */
function limitsOf(program: Program): SessionLimits {
  const bounds = Object.values(program.entries).flatMap((plan) => plan.dims);
  const max = (name: string): number | undefined => {
    const all = bounds.filter((d) => d.name === name).map((d) => d.max);
    return all.length > 0 ? Math.max(...all) : undefined;
  };
  const mask = program.states.find((s) => s.name === 'cache.mask');
  const fixed = mask && !('capacity' in mask.shape[1]) ? evalDim(mask.shape[1], {}) : undefined;
  return {
    batch: max('batch') ?? 1,
    chunk: max('seq') ?? 1,
    length: fixed ?? max('capacity') ?? max('past') ?? 1,
    fixedLength: fixed !== undefined,
  };
}
