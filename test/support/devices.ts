// The devices that tests of ops, kernels, states, gradients and random graphs run on. A device that this machine lacks is reported, never silently skipped.
import type { EvalOutput } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import type { NdArray } from '../../ir/ndarray.ts';
import { openCpu } from './cpu-device.ts';
import { openCuda, openGpu } from './cuda-device.ts';
import { openWebGpu } from './webgpu-device.ts';

/** A graph and what one run of it reads: all params by name, and the dims. */
export interface DeviceRun {
  readonly graph: Graph;
  readonly params: ReadonlyMap<string, NdArray>;
  readonly dims?: Readonly<Record<string, number>>;
  /** How often it runs, states carrying over (1). What counts is the last run. */
  readonly times?: number;
}

/** What a run gives, as `evaluate` names it, or why the graph cannot be compiled. */
export type DeviceResult = EvalOutput | Error;

export interface TestDevice {
  readonly name: string;
  /** Bits that an i64 has on the device, where fewer than 64; values that need more are not compared. */
  readonly longBits?: number;
  /** Whether it has matrix instructions, which have kernel cases of their own. */
  readonly hasTiles?: boolean;
  /**
   * Compiles graphs together, as entries of one program, and runs each: one native build for many graphs is what makes
   * thousands of small ones affordable. `quick` builds take less time and make slower code.
   */
  run(runs: readonly DeviceRun[], build?: 'full' | 'quick'): Promise<DeviceResult[]>;
}

/** Whether i64 values need more bits than a device has. */
export const isTooLong = ({ dtype, data }: NdArray, bits = 64): boolean =>
  dtype === 'i64' &&
  bits < 64 &&
  data.some((v) => v !== Math.max(-(2 ** (bits - 1)), Math.min(v, 2 ** (bits - 1) - 1)));

export interface TestDevices {
  readonly present: readonly TestDevice[];
  readonly missing: readonly { readonly name: string; readonly why: string }[];
}

/** How to open a device; throws with the reason when it is not there. */
export interface DeviceRow {
  readonly name: string;
  open(): Promise<TestDevice>;
}

const known: readonly DeviceRow[] = [
  { name: 'cpu', open: openCpu },
  { name: 'cuda (emulated)', open: () => openCuda() },
  { name: 'cuda on a GPU', open: openGpu },
  { name: 'webgpu', open: () => openWebGpu() },
];

/** The devices of this machine, or those of `rows`. */
export async function devices(rows: readonly DeviceRow[] = known): Promise<TestDevices> {
  const present: TestDevice[] = [];
  const missing: { name: string; why: string }[] = [];
  for (const { name, open } of rows) {
    try {
      present.push(await open());
    } catch (error) {
      missing.push({ name, why: error instanceof Error ? error.message : String(error) });
    }
  }
  return { present, missing };
}
