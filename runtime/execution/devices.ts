// The places where compiled programs run, one row each: how to open the device, and how a program for it is built.
import { buildProgram as buildCpu } from '../../backends/cpu/build.ts';
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { buildProgram as buildCuda, createCudaDevice } from '../../backends/cuda/device.ts';
import type { Device } from '../../backends/device.ts';
import { createNodeWebGpuDevice } from '../../backends/webgpu/node.ts';
import type { CausalEntry } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import { cachedProgram } from '../compiler/program-cache.ts';

interface DeviceRow {
  /** Throws ModelcError 'unsupported' or 'toolchain' where the device is not there. */
  open(): Promise<Device>;
  /** A program by `key` (plain data), with a binary where the device loads one that was built before. */
  build(key: unknown, make: () => Program): Promise<{ readonly program: Program; readonly binary?: string }>;
  /** Entries that generation uses: a device that goes on by itself draws tokens too. */
  readonly entries: readonly CausalEntry[];
}

const byHost = ['prefill', 'decode'] as const;
const onDevice = [...byHost, 'decode_sample'] as const;

/** The device compiles the program itself when it loads it. */
const compiledByDevice: DeviceRow['build'] = async (_key, make) => ({ program: make() });
/** Compiled beforehand, now or by an earlier process. */
const compiledTo =
  (build: (program: Program) => Promise<string>): DeviceRow['build'] =>
  (key, make) =>
    cachedProgram(key, make, build);

export type DeviceName = 'cpu' | 'cuda' | 'webgpu';

export const devices: Readonly<Record<DeviceName, DeviceRow>> = {
  cpu: {
    open: () => createCpuDevice(),
    build: compiledTo(async (program) => (await buildCpu(program)).binary),
    entries: byHost,
  },
  cuda: { open: () => createCudaDevice(), build: compiledTo(buildCuda), entries: onDevice },
  webgpu: { open: () => createNodeWebGpuDevice(), build: compiledByDevice, entries: onDevice },
};

/** What runs a model: a device, or the interpreter. */
export type TargetName = DeviceName | 'reference';

export const deviceNames = Object.keys(devices) as DeviceName[];
export const targetNames: readonly TargetName[] = [...deviceNames, 'reference'];

/** The target that the options `target` and `device` (its name in transformers.js) ask for; 'cpu' if neither does. */
export function targetOf(target: string | null | undefined, device: string | null | undefined): TargetName {
  const known = <N extends string>(option: string, value: string, names: readonly N[]): N => {
    const name = names.find((n) => n === value);
    if (name) return name;
    throw new ModelcError('unsupported', `${option} '${value}' is not supported; use one of ${names.join(', ')}`);
  };
  const asTarget = target == null ? undefined : known('target', target, targetNames);
  const asDevice = device == null ? undefined : known('device', device, deviceNames);
  if (asTarget && asDevice && asTarget !== asDevice && !(asTarget === 'reference' && asDevice === 'cpu')) {
    throw new ModelcError(
      'input',
      `target '${asTarget}' and device '${asDevice}' contradict each other; leave one out`,
    );
  }
  return asTarget ?? asDevice ?? 'cpu';
}
