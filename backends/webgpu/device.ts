// A WebGPU device over the standard API alone, so that one file serves browsers, Node and Deno. Memory is one GPUBuffer
// an array; a program is pipelines, created in parallel when it is loaded; a run is one write of all uniforms, one
// compute pass and one submit. Errors of the GPU come asynchronously: they are thrown by the next run or read.
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import type { Buffer, Device, FileSpan, LoadedProgram, Strided } from '../device.ts';
import { checkAllocation, checkRange, checkWritable, DeviceBuffer, ownBuffer } from '../memory.ts';
import { splitModules } from './layout.ts';
import { GpuProgram, storageUsage } from './program.ts';
import { Staging } from './staging.ts';
import { deviceBytes, fromWords, toWords, wordBytes } from './storage.ts';
import { type Feature, featuresOf, webgpuTarget } from './target.ts';

export interface WebGpuOptions {
  /** Fills `into` with the bytes of a file from `offset` on; where there are no files, weights are written instead. */
  readonly readFile?: (path: string, offset: number, into: Uint8Array) => void;
  /** What programs may use of the adapter's features; default all that the compiler knows. */
  readonly features?: readonly Feature[];
  /** Prints the modules of a program; without it, programs must bring their text along. */
  readonly print?: (program: Program) => readonly string[];
}

/** The default adapter. Throws ModelcError 'unsupported' where there is none. */
export async function findAdapter(gpu: GPU): Promise<GPUAdapter> {
  const adapter = await gpu.requestAdapter();
  if (!adapter) {
    throw new ModelcError(
      'unsupported',
      'WebGPU finds no graphics adapter here; install a graphics driver, allow hardware acceleration, or use the target cpu',
    );
  }
  return adapter;
}

/** Opens a device of the default adapter, or of the one given. */
export async function createWebGpuDevice(gpu: GPU | GPUAdapter, options: WebGpuOptions = {}): Promise<WebGpuDevice> {
  const adapter = 'requestDevice' in gpu ? gpu : await findAdapter(gpu);
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredFeatures: [...(options.features ?? featuresOf(adapter.features))],
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
  });
  return new WebGpuDevice(device, options);
}

/** Memory on the device. With a dtype, the host's elements are converted to words and back; else bytes are bytes. */
class GpuBuffer extends DeviceBuffer {
  constructor(
    device: WebGpuDevice,
    readonly gpu: GPUBuffer,
    bytes: number,
    readonly dtype: DType | undefined,
    readOnly: boolean,
  ) {
    super(device, bytes, readOnly);
  }

  /** Bytes on the device of `bytes` of the host. */
  onDevice(bytes: number): number {
    return deviceBytes(this.dtype, bytes);
  }
}

/** Whole elements of four words, one at least: what a kernel may declare that it binds. */
const roundUp = (bytes: number): number => Math.max(16, Math.ceil(bytes / 16) * 16);
const copyable = 0x04 | 0x08; // COPY_SRC | COPY_DST
/** Bytes of a file that are uploaded together. */
const chunkBytes = 2 ** 24;

export class WebGpuDevice implements Device {
  readonly name = 'webgpu';
  readonly target: Target;
  private failure: ModelcError | undefined;
  readonly staging = new Staging(this);
  /** Allocations whose success is not known yet. */
  private readonly unchecked = new Set<Promise<void>>();

  constructor(
    readonly gpu: GPUDevice,
    private readonly options: WebGpuOptions,
  ) {
    this.target = webgpuTarget(featuresOf(gpu.features), gpu.limits);
    gpu.onuncapturederror = ({ error }) => this.fail(error.message);
    void gpu.lost.then(({ reason, message }) => {
      if (reason !== 'destroyed') this.fail(`the graphics device was lost (${message.trim()}); load the model again`);
    });
  }

  private fail(message: string): void {
    this.failure ??= new ModelcError('unsupported', `WebGPU: ${message.trim()}`);
  }

  /** Throws what has gone wrong on the GPU so far. */
  check(): void {
    const { failure } = this;
    if (failure) throw failure;
  }

  /** Waits until the GPU has done what it was told, so that memory of uploads is free again. Throws what went wrong. */
  async settle(): Promise<void> {
    this.gpu.queue.submit([]);
    await Promise.all([this.gpu.queue.onSubmittedWorkDone().catch(() => undefined), ...this.unchecked]);
    this.check();
  }

  /** Frees all memory of the device at once. */
  dispose(): void {
    this.gpu.destroy();
  }

  alloc(bytes: number, dtype?: DType): Buffer {
    checkAllocation(bytes);
    return this.create(bytes, dtype, false);
  }

  private create(bytes: number, dtype: DType | undefined, readOnly: boolean): GpuBuffer {
    const size = roundUp(deviceBytes(dtype, bytes));
    return new GpuBuffer(this, this.buffer(size, storageUsage | copyable), bytes, dtype, readOnly);
  }

  /** A GPUBuffer. Throws ModelcError 'unsupported' on what is too large; too little memory shows later. */
  buffer(size: number, usage: number): GPUBuffer {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.gpu.limits;
    const limit = usage & storageUsage ? Math.min(maxBufferSize, maxStorageBufferBindingSize) : maxBufferSize;
    if (size > limit) {
      throw new ModelcError(
        'unsupported',
        `an array of ${size} bytes is larger than the ${limit} that this graphics device allows; use a smaller model, chunk or context`,
      );
    }
    this.gpu.pushErrorScope('out-of-memory');
    const buffer = this.gpu.createBuffer({ size, usage });
    const failed = (error: GPUError | null): void => {
      if (error) this.fail(`not enough memory for ${size} bytes; use a smaller model or context`);
    };
    const checked = this.gpu.popErrorScope().then(failed, () => undefined); // a lost device reports itself
    this.unchecked.add(checked);
    void checked.then(() => this.unchecked.delete(checked));
    return buffer;
  }

  free(buffer: Buffer): void {
    const b = this.own(buffer);
    b.live = false;
    b.gpu.destroy();
  }

  map({ path, offset, bytes }: FileSpan, _dtype: DType): Buffer {
    const { readFile } = this.options;
    if (!readFile) throw new ModelcError('unsupported', `there are no files here, so ${path} cannot be read`);
    const buffer = this.create(bytes, undefined, true);
    const chunk = new Uint8Array(Math.min(bytes, chunkBytes));
    for (let at = 0; at < bytes; at += chunk.length) {
      const part = chunk.subarray(0, Math.min(chunk.length, bytes - at));
      readFile(path, offset + at, part);
      this.put(buffer, part, at);
    }
    return buffer;
  }

  write(buffer: Buffer, data: Uint8Array, offset = 0): void {
    const b = this.range(buffer, offset, data.byteLength);
    checkWritable(b);
    this.put(b, data, offset);
  }

  private put(b: GpuBuffer, data: Uint8Array, offset: number): void {
    const words = b.dtype ? toWords(b.dtype, data) : data;
    const whole = words.byteLength - (words.byteLength % wordBytes);
    const at = b.onDevice(offset);
    if (at % wordBytes !== 0) throw new ModelcError('input', `a write at byte ${offset} is not aligned to words`);
    if (whole > 0) this.gpu.queue.writeBuffer(b.gpu, at, words as Uint8Array<ArrayBuffer>, 0, whole);
    if (whole < words.byteLength) {
      const tail = new Uint8Array(wordBytes); // the last bytes of a buffer: nothing follows them
      tail.set(words.subarray(whole));
      this.gpu.queue.writeBuffer(b.gpu, at + whole, tail);
    }
  }

  async read(buffer: Buffer, offset: number, bytes: number): Promise<Uint8Array> {
    const b = this.range(buffer, offset, bytes);
    if (bytes === 0) return new Uint8Array(0);
    this.check();
    const from = b.onDevice(offset);
    const start = from - (from % wordBytes);
    const size = Math.ceil((from + b.onDevice(bytes) - start) / wordBytes) * wordBytes;
    const staging = this.staging.take(size);
    const encoder = this.gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(b.gpu, start, staging, 0, size);
    this.gpu.queue.submit([encoder.finish()]);
    const words = (await this.staging.read(staging, size)).subarray(from - start, from - start + b.onDevice(bytes));
    return b.dtype ? fromWords(b.dtype, words) : words;
  }

  copy(from: Strided, to: Strided, bytes: number, rows: number): void {
    if (rows === 0 || bytes === 0) return;
    const [source, target] = [from, to].map(({ buffer, offset, step }) => {
      const b = this.range(buffer, offset, (rows - 1) * step + bytes);
      return { b, gpu: b.gpu, offset: b.onDevice(offset), step: b.onDevice(step) };
    });
    checkWritable(target.b);
    const size = source.b.onDevice(bytes);
    const places = [source.offset, source.step, target.offset, target.step, size];
    if (source.b.dtype !== target.b.dtype || places.some((n) => n % wordBytes !== 0)) {
      throw new ModelcError('input', 'a copy between buffers that differ in type, or of parts of words');
    }
    const encoder = this.gpu.createCommandEncoder();
    const move = (a: Omit<typeof source, 'b'>, b: Omit<typeof source, 'b'>): void => {
      for (let row = 0; row < rows; row++) {
        encoder.copyBufferToBuffer(a.gpu, a.offset + row * a.step, b.gpu, b.offset + row * b.step, size);
      }
    };
    // WebGPU copies between two buffers only.
    const between = source.gpu === target.gpu ? this.buffer(rows * size, copyable) : undefined;
    if (between) {
      const packed = { gpu: between, offset: 0, step: size };
      move(source, packed);
      move(packed, target);
    } else move(source, target);
    this.gpu.queue.submit([encoder.finish()]);
    between?.destroy();
  }

  /** `binary` is the text of the program's modules. */
  async load(program: Program, binary?: string): Promise<LoadedProgram> {
    const { language } = program.target;
    if (language !== 'wgsl') throw new ModelcError('input', `the program is compiled for ${language}, not for wgsl`);
    const { print } = this.options;
    if (binary === undefined && !print) throw new ModelcError('unsupported', 'there is no compiler here to print WGSL');
    const texts = binary === undefined ? print!(program) : splitModules(binary);
    return GpuProgram.load(this, program, texts, (buffer) => this.own(buffer));
  }

  /** The buffer as this device's own, checked to be live. */
  private own(buffer: Buffer): GpuBuffer {
    return ownBuffer(this, GpuBuffer, buffer);
  }

  private range(buffer: Buffer, offset: number, bytes: number): GpuBuffer {
    checkRange(buffer, offset, bytes);
    return this.own(buffer);
  }
}
