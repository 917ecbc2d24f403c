// The devices that tests of ops, kernels, states, gradients and random graphs run on. A device that this
// machine lacks is reported, never silently skipped.
import { openCpu } from './cpu-device.ts';
import { openCuda, openGpu } from './cuda-device.ts';
import type { TestDevice } from './test-device.ts';
import { openWebGpu } from './webgpu-device.ts';

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
