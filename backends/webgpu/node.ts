// WebGPU in Node: Dawn, from the npm package `webgpu`, which is an optional peer dependency. Its driver is the system's;
// VK_ICD_FILENAMES names another one, such as the software driver of a Chromium installation.
import { closeSync, openSync, readSync } from 'node:fs';
import { ModelcError } from '../../ir/error.ts';
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from './device.ts';
import { printProgram } from './print.ts';

/** Dawn ends when the object that `create` made is collected. */
const alive: GPU[] = [];

/** An entry point to WebGPU. `options` go to Dawn, e.g. 'backend=null'. */
export async function openGpu(options: readonly string[] = []): Promise<GPU> {
  let dawn: { create(options: string[]): GPU };
  try {
    dawn = (await import('webgpu' as string)) as typeof dawn;
  } catch (cause) {
    throw new ModelcError('unsupported', "the target webgpu needs the npm package 'webgpu' in Node; install it", {
      cause,
    });
  }
  const gpu = dawn.create([...options]);
  alive.push(gpu);
  return gpu;
}

/** What a device has of Node: files, and the compiler of this process. */
export const nodeOptions: WebGpuOptions = { readFile, print: printProgram };

/** Opens the graphics device of this machine. */
export async function createNodeWebGpuDevice(): Promise<WebGpuDevice> {
  return createWebGpuDevice(await openGpu(), nodeOptions);
}

function readFile(path: string, offset: number, into: Uint8Array): void {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    for (let at = 0; at < into.length; ) {
      const got = readSync(file, into, at, into.length - at, offset + at);
      if (got === 0) throw new Error('the span lies outside of the file');
      at += got;
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ModelcError('checkpoint', `cannot read ${into.length} bytes at ${offset} of ${path}: ${why}`, { cause });
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
