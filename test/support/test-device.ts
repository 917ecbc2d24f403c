// What a device of the tests does: graphs in, values out.
import type { EvalOutput } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import type { NdArray } from '../../ir/ndarray.ts';

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
