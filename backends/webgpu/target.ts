// WebGPU as a target: the limits that every implementation offers, so that what is compiled runs everywhere. An adapter
// may allow larger bindings; that is all that is taken from it here.
import type { Target } from '../../ir/target.ts';

/** Threads of a workgroup, in one dimension. */
export const groupThreads = 64;

/** The default limits of the specification. */
export const defaultLimits = { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 } as const;

/** `bindingBytes`: the largest array that a kernel can bind on the device that is compiled for. */
export const webgpuTarget = (bindingBytes: number = defaultLimits.maxStorageBufferBindingSize): Target => ({
  language: 'wgsl',
  features: [],
  vectorBytes: 16,
  vectorRegisters: 16,
  threads: 16,
  cacheBytes: 2 ** 16,
  groupThreads,
  groupBytes: 16384,
  tiles: [],
  bindings: 8,
  bindingBytes,
  storeBytes: 4,
});
