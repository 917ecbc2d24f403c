// The CPU as a Device: memory and programs of the native runtime behind checks. Everything that the native side must
// rely on is checked here before it is called: that buffers are live, that ranges lie inside them, that every binding
// has the size that its tensor has under the dims of the run. Runs of one device execute one after another.
import { closeSync, openSync, readSync } from 'node:fs';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { type Dims, dimNames, type Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { Binder } from '../bindings.ts';
import type { Bindings, Buffer, Device, FileSpan, LoadedProgram, Strided } from '../device.ts';
import { checkAllocation, checkRange, checkWritable, DeviceBuffer, ownBuffer } from '../memory.ts';
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

/** Read only where it is mapped from a file. */
class NativeBuffer extends DeviceBuffer {
  constructor(
    device: NativeDevice,
    readonly address: bigint,
    bytes: number,
    readOnly: boolean,
  ) {
    super(device, bytes, readOnly);
  }
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
    checkAllocation(bytes);
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
    if (b.readOnly) this.native.unmap(b.address, b.bytes);
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
    checkWritable(b);
    this.native.write(b.address + BigInt(offset), data);
  }

  async read(buffer: Buffer, offset: number, bytes: number): Promise<Uint8Array> {
    const b = this.range(buffer, offset, bytes);
    const data = new Uint8Array(this.native.read(b.address + BigInt(offset), bytes));
    const path = b.readOnly ? this.native.changed(b.address) : undefined;
    if (path !== undefined) throw changed(path);
    return data;
  }

  copy(from: Strided, to: Strided, bytes: number, rows: number): void {
    if (rows === 0) return;
    const [source, target] = [from, to].map(({ buffer, offset, step }) =>
      this.range(buffer, offset, (rows - 1) * step + bytes),
    );
    checkWritable(target);
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
    return ownBuffer(this, NativeBuffer, buffer);
  }

  private range(buffer: Buffer, offset: number, bytes: number): NativeBuffer {
    checkRange(buffer, offset, bytes);
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

class NativeProgram implements LoadedProgram {
  /** Places of entries in the tables of the native program. */
  private readonly entries: readonly string[];
  private readonly dims: readonly string[];
  /** Gives the addresses of a run's buffers. */
  private readonly binder: Binder<NativeBuffer, BigUint64Array>;

  constructor(
    private readonly device: NativeDevice,
    program: Program,
    private readonly handle: object,
  ) {
    this.entries = Object.keys(program.entries);
    this.dims = dimNames(program);
    this.binder = new Binder({
      program,
      own: (buffer) => device.own(buffer),
      prepare({ weights, constants, states, inputs, results }) {
        // what comes behind states has the same place in every entry; no step looks at those that are not bound
        const places = states.length > 0 ? states : program.states.map(() => results[0]);
        return BigUint64Array.from([weights, constants, places, inputs, results].flat(), (b) => b.address);
      },
    });
  }

  async run(entry: string, bindings: Bindings, dims: Dims): Promise<void> {
    const addresses = this.binder.bind(this.binder.plan(entry), bindings, dims);
    const values = BigInt64Array.from(this.dims, (name) => BigInt(dims[name] ?? 0));
    await this.device.run(this.handle, this.entries.indexOf(entry), addresses, values);
  }

  dispose(): void {
    if (this.binder.close()) this.device.unload(this.handle);
  }
}
