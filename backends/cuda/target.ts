// NVIDIA GPUs as targets: one row per architecture. A row is all that the printer and the toolchain know about hardware;
// adding one adds a GPU generation.
import { ModelcError } from '../../ir/error.ts';
import type { Target } from '../../ir/target.ts';
import { mmaTiles } from './tiles.ts';

export interface Architecture {
  /** As nvcc names it. */
  readonly name: 'sm_80' | 'sm_90a';
  /** Compute capability: the first that runs the code, and the last, where code is not portable to later ones. */
  readonly capability: { readonly from: number; readonly to?: number };
  /** Streaming multiprocessors of the largest chip. */
  readonly multiprocessors: number;
  /** Memory that the threads of a multiprocessor share. */
  readonly sharedBytes: number;
  /** Threads of a block. */
  readonly groupThreads: number;
}

/**
 * The last row that fits is the one for a GPU. sm_80 is the oldest that is served; GPUs from 9.0 on run its code as PTX,
 * which their drivers compile, so Hopper, which has more, has a row of its own.
 */
export const architectures: readonly Architecture[] = [
  { name: 'sm_80', capability: { from: 80 }, multiprocessors: 108, sharedBytes: 164 * 1024, groupThreads: 128 },
  {
    name: 'sm_90a',
    capability: { from: 90, to: 90 },
    multiprocessors: 132,
    sharedBytes: 228 * 1024,
    groupThreads: 128,
  },
];

const names = architectures.map((row) => row.name).join(', ');

/** The row that a program asks for by `target.features`. */
export function architectureOf(features: readonly string[]): Architecture {
  const row = architectures.find((r) => features.length === 1 && r.name === features[0]);
  if (row) return row;
  throw new ModelcError(
    'unsupported',
    `the CUDA backend has no architecture '${features.join(', ')}'; compile for one of ${names}`,
  );
}

/** The row for a GPU of this compute capability, e.g. 90. Throws ModelcError 'unsupported' when there is none. */
export function architectureFor(capability: number): Architecture {
  const row = architectures.findLast(({ capability: { from, to } }) => capability >= from && (!to || capability <= to));
  if (row) return row;
  throw new ModelcError(
    'unsupported',
    `a GPU of compute capability ${(capability / 10).toFixed(1)} is not served (known: ${names}); use the target cpu`,
  );
}

export function cudaTarget(name: Architecture['name']): Target {
  const row = architectureOf([name]);
  return {
    language: 'cuda',
    features: [row.name],
    vectorBytes: 16,
    accessBytes: 16,
    vectorRegisters: 32,
    threads: row.multiprocessors,
    cacheBytes: row.sharedBytes,
    groupThreads: row.groupThreads,
    groupBytes: 48 * 1024, // what a block gets without asking for more
    tiles: mmaTiles,
    bindings: 64,
    bindingBytes: 2 ** 47,
  };
}
