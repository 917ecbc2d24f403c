// The WebGPU backend as a test device: Dawn in Node, on the software driver of Debian's Chromium unless VK_ICD_FILENAMES
// names another; and Dawn's null backend, which executes nothing but checks every module at default limits.
import { existsSync } from 'node:fs';
import { createWebGpuDevice, findAdapter, type WebGpuDevice } from '../../backends/webgpu/device.ts';
import { openGpu } from '../../backends/webgpu/gpu.ts';
import { printProgram } from '../../backends/webgpu/print.ts';
import type { Feature } from '../../backends/webgpu/target.ts';
import { runCompiled } from './cpu-device.ts';
import type { TestDevice } from './test-device.ts';

const softwareDriver = '/usr/lib/chromium/vk_swiftshader_icd.json';

/** Lets Dawn find a driver; it has to be called before Dawn is loaded. */
export function chooseDriver(): void {
  if (existsSync(softwareDriver)) process.env.VK_ICD_FILENAMES ??= softwareDriver;
  process.env.XDG_RUNTIME_DIR ??= '/tmp'; // without it, the driver complains
}

/** With `features`, the base variant if none are named. */
export async function openWebGpuDevice(features: readonly Feature[] = []): Promise<WebGpuDevice> {
  chooseDriver();
  const adapter = await findAdapter(await openGpu());
  const lacking = features.filter((f) => !adapter.features.has(f));
  if (lacking.length > 0) throw new Error(`the driver has no ${lacking.join()}`);
  return createWebGpuDevice(adapter, { print: printProgram, features });
}

/** A device that compiles and executes nothing, with the limits that every implementation has. */
export async function openNullDevice(): Promise<WebGpuDevice> {
  return createWebGpuDevice(await openGpu(['backend=null']), { print: printProgram, features: [] });
}

export async function openWebGpu(features: readonly Feature[] = []): Promise<TestDevice> {
  const device = await openWebGpuDevice(features);
  return {
    name: ['webgpu', ...features].join(' '),
    longBits: 32,
    run: (runs) => runCompiled(device, runs, printProgram),
  };
}
