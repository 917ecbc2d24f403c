// What the compiler must know about the place that code is generated for. Hardware enters here, as data.

export interface Target {
  /** The language that is printed. */
  readonly language: 'c' | 'wgsl' | 'cuda';
  /** Instruction sets that the printed code may use, e.g. 'avx512'; part of the program's requirements. */
  readonly features: readonly string[];
  /** Width of a vector register in bytes (64 for AVX-512, 32 for AVX2, 16 for SSE2 and NEON). */
  readonly vectorBytes: number;
  /** Vector registers that a kernel can keep live. */
  readonly vectorRegisters: number;
  /** Threads that run tasks. */
  readonly threads: number;
  /** Private (level 2) cache of a core in bytes. */
  readonly cacheBytes: number;
  /** Threads of a group; 1 where a task is one thread. */
  readonly groupThreads: number;
  /** Memory that a group shares, in bytes. */
  readonly groupBytes: number;
  /** Memory arrays that one kernel can bind, and the bytes of one binding. */
  readonly bindings: number;
  readonly bindingBytes: number;
  /**
   * Bytes of the smallest unit of memory that threads can write side by side; default 1. Where it is larger, an element
   * that kernels write occupies at least so many bytes on the device. Weights, which are only read, stay packed.
   */
  readonly storeBytes?: number;
}
