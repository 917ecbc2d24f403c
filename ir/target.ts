// What the compiler must know about the place that code is generated for. Hardware enters here, as data.
import type { DType } from './dtype.ts';

/**
 * A matrix instruction: c[m, n] += sum over k of a[m, k] * b[n, k]. The threads that cooperate hold c, and what `load`
 * statements bring of a and b, in pieces that only the printer knows: in registers, or, where the hardware multiplies out
 * of group memory, as the places of rows there. Loop IR calls a tile by its name.
 */
export interface Tile {
  readonly name: string;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** The type of a and b. */
  readonly operands: DType;
  /** The type of c. */
  readonly accumulator: DType;
  /** Consecutive threads that execute the instruction together. */
  readonly threads: number;
  /** Registers that hold fragments, where those are not vector registers. */
  readonly registers?: number;
}

export interface Target {
  /** The language that is printed. */
  readonly language: 'c' | 'wgsl' | 'cuda';
  /** Instruction sets that the printed code may use, e.g. 'avx512'; part of the program's requirements. */
  readonly features: readonly string[];
  /** Width of a vector register in bytes (64 for AVX-512, 32 for AVX2, 16 for SSE2 and NEON). */
  readonly vectorBytes: number;
  /** Most lanes that a vector in a kernel has; default: 64. */
  readonly vectorLanes?: number;
  /**
   * Bytes that a thread loads at once at best, where vectors are no more than wide accesses and have as many lanes as are
   * in it. Without it, a load fills a vector register with values as they are computed.
   */
  readonly accessBytes?: number;
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
  /** Matrix instructions; none on most targets. */
  readonly tiles: readonly Tile[];
  /** Memory arrays that one kernel can bind, and the bytes of one binding. */
  readonly bindings: number;
  readonly bindingBytes: number;
  /** Whether all intermediate arrays of a kernel take one binding together; default: each takes its own. */
  readonly bindsArena?: boolean;
  /**
   * Bytes of the smallest unit of memory that threads can write side by side; default 1. Where it is larger, an element
   * that kernels write occupies at least so many bytes on the device. Weights, which are only read, stay packed.
   */
  readonly storeBytes?: number;
}
