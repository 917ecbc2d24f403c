// The WebGPU backend as a test device: Dawn in Node, on the software driver of Debian's Chromium unless VK_ICD_FILENAMES
// names another; and Dawn's null backend, which executes nothing but checks every module at default limits.
import { existsSync } from 'node:fs';
import { createWebGpuDevice, type WebGpuDevice } from '../backends/webgpu/device.ts';
import { openGpu } from '../backends/webgpu/gpu.ts';
import { printProgram } from '../backends/webgpu/print.ts';
import { runCompiled } from './cpu-device.ts';
import type { TestDevice } from './devices.ts';

const softwareDriver = '/usr/lib/chromium/vk_swiftshader_icd.json';

/** Lets Dawn find a driver; it has to be called before Dawn is loaded. */
export function chooseDriver(): void {
  if (existsSync(softwareDriver)) process.env.VK_ICD_FILENAMES ??= softwareDriver;
  process.env.XDG_RUNTIME_DIR ??= '/tmp'; // without it, the driver complains
}

export async function openWebGpuDevice(): Promise<WebGpuDevice> {
  chooseDriver();
  return createWebGpuDevice(await openGpu(), { print: printProgram });
}

/** A device that compiles and executes nothing, with the limits that every implementation has. */
export async function openNullDevice(): Promise<WebGpuDevice> {
  return createWebGpuDevice(await openGpu(['backend=null']), { print: printProgram });
}

export async function openWebGpu(): Promise<TestDevice> {
  const device = await openWebGpuDevice();
  return { name: 'webgpu', longBits: 32, run: (runs) => runCompiled(device, runs, printProgram) };
}
