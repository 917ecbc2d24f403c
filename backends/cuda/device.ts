// An NVIDIA GPU as a Device: memory and programs of the driver behind checks. A run is one graph launch: the launches of
// an entry are recorded once for the buffers and the sizes of grids that they have, and kernels read the dims from
// device memory, so that the graph serves every run whose grids round up to the same sizes. Everything goes to one stream,
// in the order of the calls, and nothing but reading results waits for it.
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import { type Dims, dimNames, type Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import { Binder, type Bound } from '../bindings.ts';
import { compileNative } from '../c/toolchain.ts';
import type { Bindings, Buffer, Device, FileSpan, LoadedProgram, Repeats, Strided } from '../device.ts';
import { checkAllocation, checkRange, checkWritable, DeviceBuffer, ownBuffer } from '../memory.ts';
import { bindingSource, type CudaBinding } from './binding.ts';
import { gridsOf, launchWords } from './launch.ts';
import { kernelSymbol, printProgram } from './print.ts';
import { architectureFor, architectureOf, cudaTarget } from './target.ts';
import { nvcc, type Toolchain, unbundle } from './toolchain.ts';

export interface CudaDeviceOptions {
  /** Which GPU, as the driver counts them (0). */
  readonly ordinal?: number;
  /** Path of the native binding; see buildBinding. Built when absent. */
  readonly binding?: string;
  /** The driver's library (else what MODELC_CUDA_DRIVER names) and what compiles for it; the tests have an emulation. */
  readonly driver?: string;
  readonly toolchain?: Toolchain;
}

export interface CudaDevice extends Device {
  readonly target: Target;
  /** Bytes of memory of the GPU. */
  readonly memory: number;
  freeMemory(): number;
}

/** The path of the native binding: the same for every program, needs no CUDA toolkit. */
export const buildBinding = (): Promise<string> => compileNative(bindingSource, { flags: [], nodeApi: true });

/** The path of a program's device code. */
export const buildProgram = (program: Program, toolchain: Toolchain = nvcc): Promise<string> =>
  toolchain.compile(printProgram(program), architectureOf(program.target.features).name, program.kernels.length);

const messageOf = (e: unknown): string => (e instanceof Error ? e.message : String(e));
const codeOf = (e: unknown): string => (e instanceof Error && 'code' in e ? String(e.code) : '');
const outOfMemory = '2';

/** Opens a GPU. Throws ModelcError 'unsupported' when there is no driver or no GPU that is served. */
export async function createCudaDevice(options: CudaDeviceOptions = {}): Promise<CudaDevice> {
  const file = options.binding ?? (await buildBinding());
  const module: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(module, file);
  } catch (cause) {
    throw new ModelcError('toolchain', `cannot load the CUDA binding ${file}: ${messageOf(cause)}`, { cause });
  }
  const native = module.exports as CudaBinding;
  let driver: object;
  try {
    const library = options.driver ?? (process.env.MODELC_CUDA_DRIVER || 'libcuda.so.1');
    driver = native.open(library, options.ordinal ?? 0);
  } catch (cause) {
    const problem =
      codeOf(cause) === 'no driver'
        ? `no NVIDIA driver found (${messageOf(cause)}); install one`
        : `the NVIDIA driver offers no GPU ${options.ordinal ?? 0} (${messageOf(cause)}); check nvidia-smi`;
    throw new ModelcError('unsupported', `${problem} or use the target cpu`, { cause });
  }
  const [name, capability, memory] = native.describe(driver);
  const target = cudaTarget(architectureFor(capability).name);
  return new GpuDevice(name, target, memory, native, driver, options.toolchain ?? nvcc);
}

let buffers = 0;
class GpuBuffer extends DeviceBuffer {
  /** Unique for ever: a freed buffer's address may come back. */
  readonly id = buffers++;
  constructor(
    device: GpuDevice,
    readonly address: bigint,
    bytes: number,
    readOnly: boolean,
  ) {
    super(device, bytes, readOnly);
  }
}

/** What a run takes to the GPU before it starts, and what it brings back. */
interface Transfers {
  readonly sent: readonly { readonly address: bigint; readonly data: Uint8Array }[];
  readonly fetched: { readonly address: bigint; readonly bytes: number };
}
const noTransfers: Transfers = { sent: [], fetched: { address: 0n, bytes: 0 } };

class GpuDevice implements CudaDevice {
  /** The end of the last run: waiting for them one by one keeps one thread busy, not many. */
  private last: Promise<unknown> = Promise.resolve();
  /** Those of no run. */
  private readonly slots: object[] = [];

  constructor(
    readonly name: string,
    readonly target: Target,
    readonly memory: number,
    readonly native: CudaBinding,
    readonly driver: object,
    private readonly toolchain: Toolchain,
  ) {}

  freeMemory(): number {
    return this.attempt(() => this.native.freeMemory(this.driver));
  }

  alloc(bytes: number): Buffer {
    return this.reserve(bytes, false);
  }

  private reserve(bytes: number, readOnly: boolean): GpuBuffer {
    checkAllocation(bytes);
    const address = this.attempt(
      () => this.native.alloc(this.driver, bytes),
      `not enough memory on the GPU ${this.name} for ${bytes} bytes; use a smaller model or context`,
    );
    return new GpuBuffer(this, address, bytes, readOnly);
  }

  free(buffer: Buffer): void {
    const b = this.own(buffer);
    b.live = false;
    this.attempt(() => this.native.free(this.driver, b.address));
  }

  map({ path, offset, bytes }: FileSpan, _dtype: DType): Buffer {
    const buffer = this.reserve(bytes, true);
    try {
      if (bytes > 0) this.native.readFile(this.driver, buffer.address, path, offset, bytes);
      return buffer;
    } catch (cause) {
      this.free(buffer);
      if (codeOf(cause) !== 'file') throw this.failure(cause);
      throw new ModelcError('checkpoint', `cannot read ${bytes} bytes at ${offset} of ${path}: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  write(buffer: Buffer, data: Uint8Array, offset = 0): void {
    const b = this.range(buffer, offset, data.byteLength);
    checkWritable(b);
    this.attempt(() => this.native.write(this.driver, b.address + BigInt(offset), data));
  }

  async read(buffer: Buffer, offset: number, bytes: number): Promise<Uint8Array> {
    const b = this.range(buffer, offset, bytes);
    return new Uint8Array(this.attempt(() => this.native.read(this.driver, b.address + BigInt(offset), bytes)));
  }

  copy(from: Strided, to: Strided, bytes: number, rows: number): void {
    if (rows === 0) return;
    const [source, target] = [from, to].map(({ buffer, offset, step }) =>
      this.range(buffer, offset, (rows - 1) * step + bytes),
    );
    checkWritable(target);
    const steps = BigUint64Array.from([from.step, to.step, bytes, rows], BigInt);
    const address = (b: GpuBuffer, { offset }: Strided): bigint => b.address + BigInt(offset);
    this.attempt(() => this.native.copy(this.driver, address(source, from), address(target, to), steps));
  }

  async load(program: Program, binary?: string): Promise<LoadedProgram> {
    const { name } = architectureOf(program.target.features);
    if (name !== this.target.features[0]) {
      throw new ModelcError('unsupported', `the program is for ${name}; compile it for ${this.target.features[0]}`);
    }
    const images = await unbundle(binary ?? (await buildProgram(program, this.toolchain)));
    const modules: object[] = [];
    try {
      for (const image of images) modules.push(this.attempt(() => this.native.load(this.driver, image)));
      const functions = program.kernels.map((_, i) => this.find(modules, kernelSymbol(i)));
      const bytes = Math.max(0, ...Object.values(program.entries).map((plan) => plan.arenaBytes));
      return new GpuProgram(this, program, modules, functions, this.reserve(bytes, false));
    } catch (error) {
      for (const module of modules) this.native.unload(module);
      throw error;
    }
  }

  private find(modules: readonly object[], name: string): bigint {
    for (const module of modules) {
      const found = this.attempt(() => this.native.find(this.driver, module, name));
      if (found) return found;
    }
    throw new ModelcError('toolchain', `the device code lacks ${name}; compile the program again`);
  }

  /** Sends a run to the stream. Gives what was fetched in the end, once it is done. */
  start(graph: object, dims: BigInt64Array, { sent, fetched }: Transfers): Promise<Uint8Array> {
    const { native } = this;
    const slot = this.attempt(() => {
      const free = this.slots.pop() ?? native.slot(this.driver);
      native.begin(
        free,
        sent.reduce((n, { data }) => n + data.byteLength, dims.byteLength + fetched.bytes),
      );
      for (const { address, data } of sent) native.send(free, address, data);
      native.launch(free, graph, dims, fetched.address, fetched.bytes);
      return free;
    });
    const done = this.last.then(() => native.wait(slot)).finally(() => this.slots.push(slot));
    this.last = done.catch(() => {});
    return done.then(
      (bytes) => new Uint8Array(bytes),
      (cause) => {
        throw this.failure(cause);
      },
    );
  }

  /** Does `job` when all that was started is done. */
  afterwards(job: () => void): void {
    this.last = this.last.then(job).catch(() => {});
  }

  /** The result of a call of the driver. `full` is what to say when memory runs out. */
  attempt<T>(call: () => T, full?: string): T {
    try {
      return call();
    } catch (cause) {
      if (full && codeOf(cause) === outOfMemory) throw new ModelcError('unsupported', full, { cause });
      throw this.failure(cause);
    }
  }

  private failure(cause: unknown): ModelcError {
    if (cause instanceof ModelcError) return cause;
    const way = codeOf(cause) === outOfMemory ? 'use a smaller model or context' : 'start the process again';
    return new ModelcError('unsupported', `the GPU ${this.name} failed (${messageOf(cause)}); ${way}`, { cause });
  }

  /** The buffer as this device's own, checked to be live. */
  own(buffer: Buffer): GpuBuffer {
    return ownBuffer(this, GpuBuffer, buffer);
  }

  private range(buffer: Buffer, offset: number, bytes: number): GpuBuffer {
    checkRange(buffer, offset, bytes);
    return this.own(buffer);
  }
}

/** Graphs that a program keeps; the one that was used longest ago makes room. */
const graphLimit = 64;

/** The buffers of a run, and what tells them from others. */
type BoundBuffers = Bound<GpuBuffer> & { readonly key: string };

class GpuProgram implements LoadedProgram {
  private readonly dims: readonly string[];
  private readonly graphs = new Map<string, object>();
  private readonly binder: Binder<GpuBuffer, BoundBuffers>;

  constructor(
    private readonly device: GpuDevice,
    private readonly program: Program,
    private readonly modules: readonly object[],
    private readonly functions: readonly bigint[],
    private readonly arena: GpuBuffer,
  ) {
    this.dims = dimNames(program);
    this.binder = new Binder({
      program,
      own: (buffer) => device.own(buffer),
      prepare: (bound) => ({
        ...bound,
        key: Object.values(bound)
          .map((list) => list.map((b) => b.id).join())
          .join(';'),
      }),
    });
  }

  async run(entry: string, bindings: Bindings, dims: Dims): Promise<void> {
    const bound = this.binder.bind(this.binder.plan(entry), bindings, dims);
    const graph = this.graph(entry, bound, dims);
    if (graph) await this.device.start(graph, this.dimsOf(dims), noTransfers);
  }

  repeat(entry: string, bindings: Bindings, runs: Repeats): Promise<Uint8Array>[] {
    const { device, binder } = this;
    return runs.dims.map((dims, run) => {
      const bound = binder.bind(binder.plan(entry), bindings, dims);
      const graph = this.graph(entry, bound, dims);
      if (!graph) throw new ModelcError('input', `${entry} computes nothing that could be repeated`);
      const sent = runs.writes.flatMap(({ input, data }) => {
        const part = data[run];
        if (part && part.byteLength > bound.inputs[input].bytes) {
          throw new ModelcError(
            'input',
            `input ${input} has ${bound.inputs[input].bytes} bytes; ${part.byteLength} are written`,
          );
        }
        return part ? [{ address: bound.inputs[input].address, data: part }] : [];
      });
      const [from, to] = [bound.results[runs.result], bound.inputs[runs.feed.input]];
      const fetched = { address: from.address, bytes: runs.resultBytes };
      const result = device.start(graph, this.dimsOf(dims), { sent, fetched });
      for (const { offset, bytes } of runs.feed.spans)
        device.copy({ buffer: from, offset, step: 0 }, { buffer: to, offset, step: 0 }, bytes, 1);
      return result;
    });
  }

  private dimsOf(dims: Dims): BigInt64Array {
    return BigInt64Array.from(this.dims, (name) => BigInt(dims[name] ?? 0));
  }

  /** The recorded launches; undefined when there is nothing to launch. */
  private graph(entry: string, bound: BoundBuffers, dims: Dims): object | undefined {
    const { native, driver, target } = this.device;
    const plan = this.program.entries[entry];
    const grids = gridsOf(this.program, plan, dims, target.groupThreads);
    const key = [entry, [...grids.values()].join(), bound.key].join(';');
    let graph = this.graphs.get(key);
    if (graph) this.graphs.delete(key);
    else {
      const words = launchWords(this.program, plan, grids, target.groupThreads, {
        functions: this.functions,
        arena: this.arena.address,
        dims: native.dimsAddress(driver),
        buffers: bound,
      });
      if (words.length === 0) return undefined;
      graph = native.graph(driver, BigUint64Array.from(words));
    }
    this.graphs.set(key, graph);
    for (const [oldest, unused] of this.graphs) {
      if (this.graphs.size <= graphLimit) break;
      native.drop(unused);
      this.graphs.delete(oldest);
    }
    return graph;
  }

  dispose(): void {
    if (!this.binder.close()) return;
    this.device.afterwards(() => {
      const { native } = this.device;
      for (const graph of this.graphs.values()) native.drop(graph);
      for (const module of this.modules) native.unload(module);
      this.device.free(this.arena);
    });
  }
}
