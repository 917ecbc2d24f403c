// What the compiler must know about the place that code is generated for. Hardware enters here, as data.

export interface Target {
  /** The language that is printed. */
  readonly language: 'c';
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
}
