// The devices that op tests and fuzz tests run on. A device that this machine lacks is reported, never silently skipped.
import type { Graph } from '../ir/graph.ts';
import type { NdArray } from '../ir/ndarray.ts';

export interface TestDevice {
  readonly name: string;
  /** Compiles and runs a graph of input params only; inputs in order of params, results in order of results. */
  run(graph: Graph, inputs: readonly NdArray[], dims?: Readonly<Record<string, number>>): Promise<NdArray[]>;
}

export interface TestDevices {
  readonly present: readonly TestDevice[];
  readonly missing: readonly { readonly name: string; readonly why: string }[];
}

/** One row a device: how to open it; throws with the reason when it is not there. */
const known: readonly { readonly name: string; open(): Promise<TestDevice> }[] = [];

export async function devices(): Promise<TestDevices> {
  const present: TestDevice[] = [];
  const missing: { name: string; why: string }[] = [];
  for (const { name, open } of known) {
    try {
      present.push(await open());
    } catch (error) {
      missing.push({ name, why: error instanceof Error ? error.message : String(error) });
    }
  }
  return { present, missing };
}
