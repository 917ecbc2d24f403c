// The CPU as a target: one row per instruction set, and which row this machine gets. A row is all that the printer and
// the toolchain know about hardware; adding one adds a CPU.
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { ModelcError } from '../../ir/error.ts';
import type { Target, Tile } from '../../ir/target.ts';

export interface Isa {
  readonly name: 'amx' | 'avx512bf16' | 'avx512' | 'avx2' | 'plain';
  readonly vectorBytes: number;
  readonly vectorRegisters: number;
  /** What products are computed by: see tiles.ts. */
  readonly tiles: readonly Tile[];
  /** Whether artifacts hold code for it. They leave out rows that are faster only where operands are 16-bit floats. */
  readonly isKept: boolean;
  /** Flags that /proc/cpuinfo must list. */
  readonly needs: readonly string[];
  readonly flags: readonly string[];
}

/** A vector of products of f32: one broadcast element of the left operand, a vector of the right one. */
const fmaTile = (vectorBytes: number): Tile => ({
  ...{ name: 'fma', m: 1, n: vectorBytes / 4, k: 1, threads: 1 },
  ...{ operands: 'f32', accumulator: 'f32' },
});
const avx512 = {
  vectorBytes: 64,
  vectorRegisters: 32,
  needs: ['avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'fma', 'f16c', 'bmi2'],
  flags: [
    ...['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mfma', '-mf16c', '-mbmi2'],
    '-mprefer-vector-width=512',
  ],
} as const;
const bf16 = { operands: 'bf16', accumulator: 'f32', threads: 1 } as const;

/** Best first; 'plain' is portable C that every CPU runs. */
export const isas: readonly Isa[] = [
  {
    ...avx512,
    name: 'amx',
    tiles: [{ ...bf16, name: 'tdpbf16ps', m: 16, n: 16, k: 32, registers: 8 }, fmaTile(64)],
    isKept: false,
    needs: [...avx512.needs, 'avx512_bf16', 'amx_tile', 'amx_bf16'],
    flags: [...avx512.flags, '-mavx512bf16', '-mamx-tile', '-mamx-bf16'],
  },
  {
    ...avx512,
    name: 'avx512bf16',
    tiles: [{ ...bf16, name: 'vdpbf16ps', m: 1, n: 16, k: 2 }, fmaTile(64)],
    isKept: false,
    needs: [...avx512.needs, 'avx512_bf16'],
    flags: [...avx512.flags, '-mavx512bf16'],
  },
  { ...avx512, name: 'avx512', tiles: [fmaTile(64)], isKept: true },
  {
    name: 'avx2',
    vectorBytes: 32,
    vectorRegisters: 16,
    tiles: [fmaTile(32)],
    isKept: true,
    needs: ['avx2', 'fma', 'f16c', 'bmi2'],
    flags: ['-mavx2', '-mfma', '-mf16c', '-mbmi2'],
  },
  { name: 'plain', vectorBytes: 16, vectorRegisters: 16, tiles: [fmaTile(16)], isKept: true, needs: [], flags: [] },
];

const rowNames = isas.map((row) => row.name).join(', ');

/** The row that a program asks for by `target.features`. */
export function isaOf(features: readonly string[]): Isa {
  const row = isas.find((r) => features.length === 1 && r.name === features[0]);
  if (row) return row;
  throw new ModelcError(
    'unsupported',
    `the CPU backend has no instruction set '${features.join(', ')}'; compile for one of ${rowNames}`,
  );
}

/** Instruction sets that this machine can run, best first. */
export function hostIsas(): readonly Isa[] {
  let known = new Set<string>();
  if (os.platform() === 'linux' && os.arch() === 'x64') {
    const line = /^flags\s*:(.*)$/m.exec(readText('/proc/cpuinfo'));
    known = new Set(line?.[1].trim().split(/\s+/));
  }
  return isas.filter((row) => row.needs.every((flag) => known.has(flag)));
}

/**
 * The machine that this process runs on. MODELC_ISA picks an instruction set, MODELC_THREADS the number of threads.
 * Throws ModelcError 'input' on a bad value, 'unsupported' on an instruction set that the CPU lacks.
 */
export function hostTarget(): Target {
  const available = hostIsas();
  const wanted = process.env.MODELC_ISA;
  const row = wanted ? available.find((r) => r.name === wanted) : available[0];
  if (!row) {
    const known = isas.some((r) => r.name === wanted);
    throw known
      ? new ModelcError('unsupported', `MODELC_ISA=${wanted}, but this CPU lacks ${wanted}; unset it or use plain`)
      : new ModelcError('input', `MODELC_ISA=${wanted} is no instruction set; use one of ${rowNames}`);
  }
  return {
    language: 'c',
    features: [row.name],
    vectorBytes: row.vectorBytes,
    vectorRegisters: row.vectorRegisters,
    groupThreads: 1,
    groupBytes: 0,
    tiles: row.tiles,
    bindings: 64,
    bindingBytes: 2 ** 47,
    threads: threadCount(),
    cacheBytes: level2Bytes(),
  };
}

function threadCount(): number {
  const wanted = process.env.MODELC_THREADS;
  if (!wanted) return os.availableParallelism();
  const n = Number(wanted);
  if (!(Number.isInteger(n) && n >= 1 && n <= 1024)) {
    throw new ModelcError('input', `MODELC_THREADS=${wanted} must be an integer from 1 to 1024`);
  }
  return n;
}

function level2Bytes(): number {
  const size = /^(\d+)([KM])/.exec(readText('/sys/devices/system/cpu/cpu0/cache/index2/size'));
  return size ? Number(size[1]) * (size[2] === 'K' ? 2 ** 10 : 2 ** 20) : 2 ** 20;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // not Linux, or a sandbox without it: plain C and defaults still work
  }
}
