// Device: what the runtime needs from a place where programs run. One implementation per backend.
import type { DType } from '../ir/dtype.ts';
import type { Program } from '../ir/program.ts';
import type { Target } from '../ir/target.ts';

/** Device memory; opaque to the runtime. */
export interface Buffer {
  readonly bytes: number;
}

/** A side of a strided copy: where its first run lies in a buffer, and how far each is from the one before. */
export interface Strided {
  readonly buffer: Buffer;
  readonly offset: number;
  readonly step: number;
}

/** A weight's bytes on disk, so that a device can map or stream them instead of taking a copy. */
export interface FileSpan {
  readonly path: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Everything one run of an entry reads and writes, in the order of the program's lists. */
export interface Bindings {
  readonly weights: readonly Buffer[];
  readonly constants: readonly Buffer[];
  readonly states: readonly Buffer[];
  readonly inputs: readonly Buffer[];
  readonly results: readonly Buffer[];
}

/** Runs of one entry that follow one another on the device, without the host. */
export interface Repeats {
  /** Dims of every run. */
  readonly dims: readonly Readonly<Record<string, number>>[];
  /** What is written to inputs (by their place in the plan) before each run; nothing, where undefined. */
  readonly writes: readonly { readonly input: number; readonly data: readonly (Uint8Array | undefined)[] }[];
  /** Where bytes of the result go after every run: to the same place in an input. */
  readonly feed: {
    readonly input: number;
    readonly spans: readonly { readonly offset: number; readonly bytes: number }[];
  };
  /** The place of the result in the plan, and its size. */
  readonly result: number;
  readonly resultBytes: number;
}

export interface LoadedProgram {
  /** Runs an entry off the event loop; resolves when its results can be read. */
  run(entry: string, bindings: Bindings, dims: Readonly<Record<string, number>>): Promise<void>;
  /**
   * Submits runs together, where the device has a queue of its own; gives the result of each when it is done. Whatever is
   * called later takes effect after them.
   */
  repeat?(entry: string, bindings: Bindings, runs: Repeats): Promise<Uint8Array>[];
  /** Releases code, threads and arena. */
  dispose(): void;
}

export interface Device {
  readonly name: string;
  /** What programs for this device are compiled for. */
  readonly target: Target;
  /** Bytes of memory that nobody uses now, where the device can tell. */
  freeMemory?(): number;
  /**
   * Zero-filled memory, aligned for vectors, for elements of `dtype`. `bytes`, and all offsets and sizes elsewhere, count
   * elements as the host has them; a device may store them otherwise. Without a dtype it stores bytes as they are: weights.
   */
  alloc(bytes: number, dtype?: DType): Buffer;
  free(buffer: Buffer): void;
  /** Read-only memory backed by a file; `elementBytes` is the alignment that kernels rely on. */
  map(span: FileSpan, dtype: DType): Buffer;
  write(buffer: Buffer, data: Uint8Array, offset?: number): void;
  read(buffer: Buffer, offset: number, bytes: number): Promise<Uint8Array>;
  /**
   * Strided copy of `rows` runs of `bytes`: grows caches, and moves their rows. Both sides may be places of one buffer that do
   * not overlap.
   */
  copy(from: Strided, to: Strided, bytes: number, rows: number): void;
  /**
   * `binary` is code that was built for this very program before: the path of native code, or the text of modules that the
   * device compiles. Without it, the code is built now.
   */
  load(program: Program, binary?: string): Promise<LoadedProgram>;
}
