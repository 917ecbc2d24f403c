// Opens the executor of a program that is known as graphs: compiled for a device of this machine, now or by an earlier
// process, or in the interpreter. Entries that are seldom used are compiled at their first use.
import type { Device } from '../../backends/device.ts';
import type { DeviceName } from '../../backends/index.ts';
import type { Traced } from '../../frontends/dsl/index.ts';
import type { Target } from '../../ir/target.ts';
import { type CompileOptions, compile } from '../compiler/compile.ts';
import { weightSource } from '../tensors/prepare-weight.ts';
import type { WeightStore } from '../tensors/weight-store.ts';
import { type DeviceRow, devices, hostEntries } from './devices.ts';
import type { Executor, Tensors } from './executor.ts';
import { InterpreterExecutor } from './interpreter-executor.ts';
import { ProgramExecutor } from './program-executor.ts';

export interface ExecutorOptions {
  /** What runs it: a device by name, one that is open and compiles by itself, or the interpreter. */
  readonly target: DeviceName | Device;
  /** The target's device, when it is open already. */
  readonly device?: Device | undefined;
  /** What the program is called, for people. */
  readonly name: string;
  /** Entries that are compiled at once, which tell states and limits. `generation`: those of a decoder on the device. */
  entries(generation: readonly string[]): readonly string[];
  /** The graphs of entries, as they fit a target if there is one. Graphs throw ModelcError for an unknown entry. */
  graphs(target: Target | undefined): (entry: string) => Traced;
  /** Plain data that the graphs of entries follow from, for the cache of compiled programs. */
  key(entries: readonly string[]): object;
  readonly weights: WeightStore;
  readonly compile?: CompileOptions;
  /** Inputs that every run gets besides its own. */
  readonly added?: ((inputs: Tensors) => Tensors) | undefined;
}

export async function openExecutor(options: ExecutorOptions): Promise<Executor> {
  const { target, name, weights, compile: how, added } = options;
  if (target === 'reference') {
    return new InterpreterExecutor({
      trace: options.graphs(undefined),
      entries: options.entries(hostEntries),
      weight: (weight, dtype, shape) => weights.array(weight, dtype, shape),
      compile: how,
      added,
    });
  }
  const { open, build, entries } = typeof target === 'string' ? devices[target] : openDevice(target);
  const device = options.device ?? (await open());
  const graph = options.graphs(device.target);
  const built = (names: readonly string[]) =>
    build({ ...options.key(names), how, target: device.target, entries: names }, () =>
      compile(name, Object.fromEntries(names.map((entry) => [entry, graph(entry)])), device.target, how),
    );
  return ProgramExecutor.open({
    ...(await built(options.entries(entries))),
    device,
    weight: (weight, program) => weightSource(weights, weight, program, device),
    missing: (entry) => built([entry]),
    added,
  });
}

const openDevice = (device: Device): DeviceRow => ({
  open: async () => device,
  build: async (_key, make) => ({ program: make() }),
  entries: hostEntries,
});
