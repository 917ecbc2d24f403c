// The WebGPU device of a process that compiles: it has files to stream weights from, and the printer of modules.
import { closeSync, openSync, readSync } from 'node:fs';
import { ModelcError } from '../../ir/error.ts';
import { createWebGpuDevice, type WebGpuDevice, type WebGpuOptions } from './device.ts';
import { openGpu } from './gpu.ts';
import { printProgram } from './print.ts';

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
