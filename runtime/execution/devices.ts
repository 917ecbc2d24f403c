// What runs models: the device of each backend, with how a program for it is built, or the interpreter.
import type { Device } from '../../backends/device.ts';
import {
  type Backend,
  type BackendName,
  backendNames,
  backends,
  type DeviceName,
  defaultBackend,
  deviceNames,
} from '../../backends/index.ts';
import type { CausalEntry } from '../../frontends/dsl/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Program } from '../../ir/program.ts';
import { cachedProgram } from '../compiler/program-cache.ts';

export interface DeviceRow {
  /** Throws ModelcError 'unsupported' or 'toolchain' where the device is not there. */
  open(): Promise<Device>;
  /** A program by `key` (plain data), with a binary where the device loads one that was built before. */
  build(key: unknown, make: () => Program): Promise<{ readonly program: Program; readonly binary?: string }>;
  /** Entries that generation uses: a device that goes on by itself draws tokens too. */
  readonly entries: readonly CausalEntry[];
}

/** Entries of generation where the host draws tokens. */
export const hostEntries = ['prefill', 'decode'] as const;

const rowOf = ({ open, build, hasQueue }: Backend): DeviceRow => ({
  open,
  build: build ? (key, make) => cachedProgram(key, make, build) : async (_key, make) => ({ program: make() }),
  entries: hasQueue ? [...hostEntries, 'decode_sample'] : hostEntries,
});

export const devices = Object.fromEntries(
  backendNames.map((name) => [name, rowOf(backends[name])]),
) as unknown as Readonly<Record<BackendName, DeviceRow>>;

/** The device that the options `target` and `device` (its name in transformers.js) ask for. */
export function deviceOf(target: string | null | undefined, device: string | null | undefined): DeviceName {
  const known = <N extends string>(option: string, value: string, names: readonly N[]): N => {
    const name = names.find((n) => n === value);
    if (name) return name;
    throw new ModelcError('unsupported', `${option} '${value}' is not supported; use one of ${names.join(', ')}`);
  };
  const asTarget = target == null ? undefined : known('target', target, deviceNames);
  const asDevice = device == null ? undefined : known('device', device, backendNames);
  if (asTarget && asDevice && asTarget !== asDevice && !(asTarget === 'reference' && asDevice === defaultBackend)) {
    throw new ModelcError(
      'input',
      `target '${asTarget}' and device '${asDevice}' contradict each other; leave one out`,
    );
  }
  return asTarget ?? asDevice ?? defaultBackend;
}
