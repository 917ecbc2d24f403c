// The CPU as a Device: memory and programs of the native runtime behind checks. Everything that the native side must
// rely on is checked here before it is called: that buffers are live, that ranges lie inside them, that every binding
// has the size that its tensor has under the dims of the run. Runs of one device execute one after another.
import { closeSync, openSync, readSync } from 'node:fs';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { dimNames, type Plan, type PlanDim, type PlanTensor, type Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import type { Bindings, Buffer, Device, FileSpan, LoadedProgram, Strided } from '../device.ts';
import type { NativeRuntime } from './binding.ts';
import { buildProgram, buildRuntime } from './build.ts';
import { hostIsas, hostTarget, isaOf } from './target.ts';

/** Binaries that were built elsewhere, so that no compiler is needed here. */
export interface CpuDeviceOptions {
  readonly target?: Target;
  /** Path of the native runtime; see buildRuntime. */
  readonly runtime?: string;
}

export interface CpuDevice extends Device {
  readonly target: Target;
  /** `binary` is the path of kernels that buildProgram made for this very program. */
  load(program: Program, binary?: string): Promise<LoadedProgram>;
}

/** Opens the CPU. Throws ModelcError 'toolchain' when the native runtime cannot be built. */
export async function createCpuDevice(options: CpuDeviceOptions = {}): Promise<CpuDevice> {
  const target = options.target ?? hostTarget();
  return new NativeDevice(target, openRuntime(options.runtime ?? (await buildRuntime())));
}

function openRuntime(path: string): NativeRuntime {
  const module: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(module, path);
  } catch (cause) {
    throw new ModelcError('toolchain', `cannot load the native runtime ${path}: ${messageOf(cause)}`, { cause });
  }
  return module.exports as NativeRuntime;
}

const messageOf = (e: unknown): string => (e instanceof Error ? e.message : String(e));

/** A file of weights is read from the disk as long as the model is in use. */
const changed = (path: string, cause?: unknown): ModelcError =>
  new ModelcError(
    'checkpoint',
    `${path} was cut short or written to while a model was reading it; make the file whole, then load the model again`,
    { cause },
  );

class NativeBuffer implements Buffer {
  live = true;
  constructor(
    readonly device: NativeDevice,
    readonly address: bigint,
    readonly bytes: number,
    readonly mapped: boolean,
  ) {}
}

class NativeDevice implements CpuDevice {
  readonly name = 'cpu';
  private readonly queue = new Queue();
  /** Shared by the loaded programs; its threads end with the last of them. */
  private pool: { readonly handle: object; programs: number } | undefined;

  constructor(
    readonly target: Target,
    private readonly native: NativeRuntime,
  ) {}

  alloc(bytes: number): Buffer {
    if (!(Number.isSafeInteger(bytes) && bytes >= 0)) throw new ModelcError('input', `cannot allocate ${bytes} bytes`);
    try {
      return new NativeBuffer(this, this.native.alloc(bytes), bytes, false);
    } catch (cause) {
      throw new ModelcError('unsupported', `not enough memory for ${bytes} bytes; use a smaller model or context`, {
        cause,
      });
    }
  }

  free(buffer: Buffer): void {
    const b = this.own(buffer);
    b.live = false;
    if (b.mapped) this.native.unmap(b.address, b.bytes);
    else this.native.free(b.address, b.bytes);
  }

  map(span: FileSpan, dtype: DType): Buffer {
    const { path, offset, bytes } = span;
    if (bytes === 0) return this.alloc(0);
    if (offset % dtypeInfo[dtype].bytes !== 0) return this.readFile(span);
    try {
      return new NativeBuffer(this, this.native.map(path, offset, bytes), bytes, true);
    } catch (cause) {
      throw new ModelcError('checkpoint', `cannot map ${bytes} bytes at ${offset} of ${path}: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  /** A copy in aligned memory, for a file whose elements are not aligned. */
  private readFile({ path, offset, bytes }: FileSpan): Buffer {
    const buffer = this.alloc(bytes);
    const chunk = new Uint8Array(Math.min(bytes, 2 ** 24));
    let file: number | undefined;
    try {
      file = openSync(path, 'r');
      for (let at = 0; at < bytes; ) {
        const got = readSync(file, chunk, 0, Math.min(chunk.length, bytes - at), offset + at);
        if (got === 0) throw new Error('the span lies outside of the file');
        this.write(buffer, chunk.subarray(0, got), at);
        at += got;
      }
      return buffer;
    } catch (cause) {
      this.free(buffer);
      throw new ModelcError('checkpoint', `cannot read ${bytes} bytes at ${offset} of ${path}: ${messageOf(cause)}`, {
        cause,
      });
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  write(buffer: Buffer, data: Uint8Array, offset = 0): void {
    const b = this.range(buffer, offset, data.byteLength);
    if (b.mapped) throw new ModelcError('input', 'a mapped weight is read only');
    this.native.write(b.address + BigInt(offset), data);
  }

  async read(buffer: Buffer, offset: number, bytes: number): Promise<Uint8Array> {
    const b = this.range(buffer, offset, bytes);
    const data = new Uint8Array(this.native.read(b.address + BigInt(offset), bytes));
    const path = b.mapped ? this.native.changed(b.address) : undefined;
    if (path !== undefined) throw changed(path);
    return data;
  }

  copy(from: Strided, to: Strided, bytes: number, rows: number): void {
    if (rows === 0) return;
    const [source, target] = [from, to].map(({ buffer, offset, step }) =>
      this.range(buffer, offset, (rows - 1) * step + bytes),
    );
    if (target.mapped) throw new ModelcError('input', 'a mapped weight is read only');
    const address = (b: NativeBuffer, { offset }: Strided): bigint => b.address + BigInt(offset);
    this.native.copy(address(source, from), from.step, address(target, to), to.step, bytes, rows);
  }

  async load(program: Program, binary?: string): Promise<LoadedProgram> {
    const { name } = isaOf(program.target.features);
    if (!hostIsas().some((row) => row.name === name)) {
      throw new ModelcError('unsupported', `the program needs a CPU with ${name}; compile it for plain instead`);
    }
    const path = binary ?? (await buildProgram(program)).binary;
    let handle: object;
    try {
      handle = this.native.load(path, this.target.threads);
    } catch (cause) {
      throw new ModelcError('toolchain', `cannot load the kernels ${path}: ${messageOf(cause)}`, { cause });
    }
    this.pool ??= { handle: this.native.pool(this.target.threads), programs: 0 };
    this.pool.programs++;
    return new NativeProgram(this, program, handle);
  }

  /** Runs an entry once its turn has come. */
  run(program: object, entry: number, addresses: BigUint64Array, dims: BigInt64Array): Promise<void> {
    const { handle } = this.pool!;
    return this.queue.add(() =>
      this.native.run(handle, program, entry, addresses, dims).catch((cause: unknown) => {
        const isChange = cause instanceof Error && 'code' in cause && cause.code === 'file changed';
        throw isChange ? changed(cause.message, cause) : cause;
      }),
    );
  }

  unload(program: object): void {
    const pool = this.pool!;
    if (--pool.programs === 0) this.pool = undefined;
    void this.queue.add(async () => {
      this.native.unload(program);
      if (pool.programs === 0) this.native.closePool(pool.handle);
    });
  }

  /** The buffer as this device's own, checked to be live. */
  own(buffer: Buffer): NativeBuffer {
    if (!(buffer instanceof NativeBuffer) || buffer.device !== this) {
      throw new ModelcError('input', 'a buffer belongs to another device');
    }
    if (!buffer.live) throw new ModelcError('input', 'a buffer is used after it was freed');
    return buffer;
  }

  private range(buffer: Buffer, offset: number, bytes: number): NativeBuffer {
    const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(bytes) && offset >= 0 && bytes >= 0;
    if (!valid || offset + bytes > buffer.bytes) {
      throw new ModelcError('input', `bytes ${offset} to ${offset + bytes} lie outside of a buffer of ${buffer.bytes}`);
    }
    return this.own(buffer);
  }
}

/** Runs jobs one after another, whether they fail or not. */
class Queue {
  private last: Promise<unknown> = Promise.resolve();

  add(job: () => Promise<void>): Promise<void> {
    const result = this.last.then(job);
    this.last = result.catch(() => {});
    return result;
  }
}

interface Entry {
  readonly at: number;
  readonly plan: Plan;
}

const spaces = ['weights', 'constants', 'states', 'inputs', 'results'] as const;

class NativeProgram implements LoadedProgram {
  private readonly entries: ReadonlyMap<string, Entry>;
  private readonly dims: readonly string[];
  private disposed = false;

  constructor(
    private readonly device: NativeDevice,
    private readonly program: Program,
    private readonly handle: object,
  ) {
    this.entries = new Map(Object.entries(program.entries).map(([name, plan], at) => [name, { at, plan }]));
    this.dims = dimNames(program);
  }

  async run(entry: string, bindings: Bindings, dims: Readonly<Record<string, number>>): Promise<void> {
    if (this.disposed) throw new ModelcError('input', 'the program was disposed');
    const found = this.entries.get(entry);
    if (!found) {
      throw new ModelcError(
        'input',
        `the program has no entry '${entry}'; it has ${[...this.entries.keys()].join(', ')}`,
      );
    }
    const values = new Map(Object.entries(dims));
    for (const { name, min, max } of found.plan.dims) {
      const value = values.get(name);
      if (value === undefined) throw new ModelcError('input', `dimension ${name} is not bound`);
      if (!(Number.isSafeInteger(value) && value >= min && value <= max)) {
        throw new ModelcError('input', `dimension ${name} is ${value}; it must be an integer from ${min} to ${max}`);
      }
    }
    const { weights, constants, states } = this.program;
    const tensors = { weights, constants, states, inputs: found.plan.inputs, results: found.plan.results };
    const addresses: bigint[] = [];
    for (const space of spaces) this.bind(space, tensors[space], bindings[space], values, addresses);
    const dimValues = BigInt64Array.from(this.dims, (name) => BigInt(values.get(name) ?? 0));
    await this.device.run(this.handle, found.at, BigUint64Array.from(addresses), dimValues);
  }

  private bind(
    space: (typeof spaces)[number],
    tensors: readonly PlanTensor[],
    buffers: readonly Buffer[],
    dims: ReadonlyMap<string, number>,
    addresses: bigint[],
  ): void {
    if (tensors.length !== buffers.length) {
      throw new ModelcError('input', `the run binds ${buffers.length} ${space}; it needs ${tensors.length}`);
    }
    tensors.forEach((tensor, i) => {
      const buffer = this.device.own(buffers[i]);
      const bytes = tensorBytes(tensor, dims);
      if (buffer.bytes < bytes) {
        throw new ModelcError('input', `${space} '${tensor.name}' has ${buffer.bytes} bytes; it needs ${bytes}`);
      }
      if (buffer.mapped && (space === 'states' || space === 'results')) {
        throw new ModelcError('input', `${space} '${tensor.name}' is bound to a mapped weight, which is read only`);
      }
      addresses.push(buffer.address);
    });
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.device.unload(this.handle);
  }
}

function tensorBytes(tensor: PlanTensor, dims: ReadonlyMap<string, number>): number {
  return tensor.shape.reduce((bytes, d) => bytes * dimValue(d, dims), dtypeInfo[tensor.dtype].bytes);
}

function dimValue(d: PlanDim, dims: ReadonlyMap<string, number>): number {
  let sum = 0;
  for (const monomial in d) {
    let product = d[monomial];
    for (const name of monomial === '' ? [] : monomial.split('*')) {
      const value = dims.get(name);
      if (value === undefined) throw new ModelcError('input', `dimension ${name} is not bound`);
      product *= value;
    }
    sum += product;
  }
  return sum;
}
