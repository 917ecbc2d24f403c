// A training program on a device. Every state has one buffer, which entries update in place; inputs and results have one
// buffer each per entry, grown to what a run needs.
import type { Buffer, Device, LoadedProgram } from '../../backends/device.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { PlanTensor, Program } from '../../ir/program.ts';
import { evalShape, solveDims } from '../execution/plan-dims.ts';
import { byteSize, fixedBytes, stateBytes } from '../execution/planned-memory.ts';
import { RunBuffers } from '../execution/run-buffers.ts';
import { bytesOf, type HostTensor, storeNumbers, viewOf } from '../tensors/host-tensor.ts';
import type { WeightStore } from '../tensors/weight-store.ts';
import type { TrainingEngine } from './training-session.ts';

export interface CompiledTrainingOptions {
  readonly program: Program;
  readonly device: Device;
  readonly weights: WeightStore;
  /** Native code of the program, when it was built before. */
  readonly binary?: string;
}

export class CompiledTraining implements TrainingEngine {
  readonly states: readonly string[];
  readonly plannedBytes: number;
  private readonly buffers: RunBuffers;

  private constructor(
    private readonly program: Program,
    private readonly device: Device,
    private readonly loaded: LoadedProgram,
    private readonly fixed: { readonly weights: Buffer[]; readonly constants: Buffer[]; readonly states: Buffer[] },
  ) {
    this.states = program.states.map((s) => s.name);
    this.plannedBytes = fixedBytes([program]) + stateBytes(program, 1, 1);
    this.buffers = new RunBuffers(device);
  }

  static async open({ program, device, weights: store, binary }: CompiledTrainingOptions): Promise<CompiledTraining> {
    const loaded = await device.load(program, binary);
    const upload = (bytes: Uint8Array, dtype?: DType): Buffer => {
      const buffer = device.alloc(bytes.byteLength, dtype);
      device.write(buffer, bytes);
      return buffer;
    };
    const weights: Buffer[] = [];
    for (const weight of program.weights) {
      const source = await store.source(weight);
      if (source instanceof Uint8Array) weights.push(upload(source));
      else weights.push('path' in source ? device.map(source, weight.dtype) : source);
    }
    const constants = program.constants.map((c) => upload(bytesOf(storeNumbers(c.dtype, c.data)), c.dtype));
    const states = program.states.map((s) => device.alloc(byteSize(s, {}), s.dtype));
    return new CompiledTraining(program, device, loaded, { weights, constants, states });
  }

  async run(entry: string, given: Readonly<Record<string, HostTensor>>): Promise<Record<string, HostTensor>> {
    const plan = Object.hasOwn(this.program.entries, entry) ? this.program.entries[entry] : undefined;
    if (!plan) {
      const known = Object.keys(this.program.entries).join(', ');
      throw new ModelcError('input', `the training program has no entry '${entry}'; it has ${known}`);
    }
    const tensors = plan.inputs.map((input) => inputOf(entry, input, given));
    const dims = solveDims(entry, plan, tensors, {});
    const inputs = tensors.map(({ dtype, data }, i) => {
      const bytes = bytesOf(data);
      const buffer = this.buffers.take(`${entry} input ${i}`, bytes.byteLength, dtype);
      this.device.write(buffer, bytes);
      return buffer;
    });
    const results = plan.results.map((r, i) => this.buffers.take(`${entry} result ${i}`, byteSize(r, dims), r.dtype));
    await this.loaded.run(entry, { ...this.fixed, inputs, results }, dims);
    const read: Record<string, HostTensor> = {};
    for (const [i, result] of plan.results.entries()) {
      const bytes = await this.device.read(results[i], 0, byteSize(result, dims));
      read[result.name] = {
        dtype: result.dtype,
        shape: evalShape(result.shape, dims),
        data: viewOf(result.dtype, bytes.slice()),
      };
    }
    return read;
  }

  async read(state: string): Promise<HostTensor> {
    const { tensor, buffer } = this.state(state);
    const bytes = await this.device.read(buffer, 0, byteSize(tensor, {}));
    return { dtype: tensor.dtype, shape: evalShape(tensor.shape, {}), data: viewOf(tensor.dtype, bytes.slice()) };
  }

  write(state: string, { dtype, shape, data }: HostTensor): void {
    const { tensor, buffer } = this.state(state);
    const expected = evalShape(tensor.shape, {});
    if (dtype !== tensor.dtype || shape.length !== expected.length || shape.some((d, i) => d !== expected[i])) {
      throw new ModelcError(
        'input',
        `the state ${state} is ${tensor.dtype} [${expected}], but the value is ${dtype} [${shape}]`,
      );
    }
    if (data.byteLength !== byteSize(tensor, {})) {
      throw new ModelcError('input', `the value for the state ${state} has ${data.length} elements, not [${shape}]`);
    }
    this.device.write(buffer, bytesOf(data));
  }

  private state(name: string): { readonly tensor: PlanTensor; readonly buffer: Buffer } {
    const i = this.states.indexOf(name);
    if (i < 0) throw new ModelcError('input', `the training program has no state '${name}'`);
    return { tensor: this.program.states[i], buffer: this.fixed.states[i] };
  }

  dispose(): void {
    this.loaded.dispose();
    this.buffers.free();
    for (const buffer of Object.values(this.fixed).flat()) this.device.free(buffer);
  }
}

function inputOf(entry: string, { name, dtype }: PlanTensor, given: Readonly<Record<string, HostTensor>>): HostTensor {
  const tensor = Object.hasOwn(given, name) ? given[name] : undefined;
  if (!tensor) throw new ModelcError('input', `entry ${entry} of a training program needs ${name}`);
  if (tensor.dtype === dtype) return tensor;
  throw new ModelcError('input', `${name} of entry ${entry} must be ${dtype}, but is ${tensor.dtype}`);
}
