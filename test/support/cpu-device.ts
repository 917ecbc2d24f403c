// The CPU backend as a test device: graphs go through the passes, fusion, kernels, the C compiler and the native runtime.
// Memory that a run writes is filled with a pattern first, and followed by a margin of it: an element that no kernel
// writes, and a write beyond the end, do not go unnoticed.
import { compileNative } from '../../backends/c/toolchain.ts';
import { createCpuDevice } from '../../backends/cpu/device.ts';
import { printProgram } from '../../backends/cpu/print.ts';
import { isaOf } from '../../backends/cpu/target.ts';
import type { Buffer, Device, LoadedProgram } from '../../backends/device.ts';
import { plan } from '../../backends/kernel/plan.ts';
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import type { EvalOutput } from '../../ir/eval.ts';
import type { Graph } from '../../ir/graph.ts';
import { type NdArray, sizeOf } from '../../ir/ndarray.ts';
import { evalShape, type PlanTensor, type Program } from '../../ir/program.ts';
import type { RegionGraph } from '../../ir/region.ts';
import type { Target } from '../../ir/target.ts';
import { fuse } from '../../passes/fusion/fuse.ts';
import { passes, runPasses } from '../../passes/pipeline.ts';
import { kernelComposites } from '../../runtime/compiler/compile.ts';
import { bytesOf, storeNumbers, toNdArray, viewOf } from '../../runtime/tensors/host-tensor.ts';
import type { DeviceResult, DeviceRun, TestDevice } from './test-device.ts';

/** A device that the test can compile for. `check` throws for a program that cannot be printed. */
export interface CompilingDevice extends Device {
  readonly target: Target;
}
export type Check = (program: Program) => void;

const margin = 64;
const pattern = 0xa5;

/** The graph as regions, by the passes that a model goes through. */
export function regionsOf(graph: Graph, target: Target): RegionGraph {
  const list = passes({ cache: { store: 'f32' }, bind: {}, keep: kernelComposites });
  return fuse(runPasses(graph, target, list), target);
}

export async function openCpu(): Promise<TestDevice> {
  const device = await createCpuDevice();
  return { name: `cpu ${device.target.features.join()}`, run: (runs, build) => runOnCpu(device, runs, build) };
}

export const runOnCpu = (
  device: CompilingDevice,
  runs: readonly DeviceRun[],
  build: 'full' | 'quick' = 'full',
): Promise<DeviceResult[]> => runCompiled(device, runs, printProgram, build === 'quick' ? quickBuild : undefined);

/** The regions of a graph that has kernels for all of them; otherwise why it has not. */
function lower(graph: Graph, device: CompilingDevice, check: Check): RegionGraph | Error {
  try {
    const regions = regionsOf(graph, device.target);
    check(plan('test', new Map([['main', regions]]), new Map(), device.target));
    return regions;
  } catch (error) {
    return asError(error);
  }
}

const asError = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));

/**
 * `build` makes the program's binary where that is not left to the device.
 * Graphs of inputs alone share a program; one with weights or states is a program of its own, as all entries bind them.
 */
export async function runCompiled(
  device: CompilingDevice,
  runs: readonly DeviceRun[],
  check: Check,
  build?: (program: Program) => Promise<string>,
): Promise<DeviceResult[]> {
  const results: DeviceResult[] = [];
  const shared: number[] = [];
  const programs: number[][] = [shared];
  const entries = new Map<number, RegionGraph>();
  for (const [i, { graph }] of runs.entries()) {
    const lowered = lower(graph, device, check);
    if (lowered instanceof Error) results[i] = lowered;
    else {
      entries.set(i, lowered);
      if (graph.params.every((p) => p.attrs.kind === 'input')) shared.push(i);
      else programs.push([i]);
    }
  }
  for (const members of programs) {
    const named = new Map(members.map((i) => [`graph${i}`, entries.get(i)!]));
    const program = plan('test', named, new Map(), device.target);
    const loaded = await device.load(program, await build?.(program));
    try {
      for (const i of members) {
        results[i] = await runEntry(device, program, loaded, `graph${i}`, runs[i]).catch(asError);
      }
    } finally {
      loaded.dispose();
    }
  }
  return results;
}

/** The program's kernels with less optimisation than `load` asks for: the last of several levels holds. */
async function quickBuild(program: Program): Promise<string> {
  const { source, units } = printProgram(program);
  return compileNative(source, { flags: [...isaOf(program.target.features).flags, '-O1'], units });
}

async function runEntry(
  device: CompilingDevice,
  program: Program,
  loaded: LoadedProgram,
  entry: string,
  { params, dims = {}, times = 1 }: DeviceRun,
): Promise<EvalOutput> {
  const main = program.entries[entry];
  const buffers: Buffer[] = [];
  const margins = new Map<Buffer, Uint8Array>(); // as the device gives the pattern back
  const upload = (t: PlanTensor, extra = 0, dtype?: DType): Buffer => {
    const bytes = bytesOf(storeNumbers(t.dtype, params.get(t.name)!.data));
    const buffer = device.alloc(bytes.length + extra, dtype);
    device.write(buffer, bytes);
    if (extra > 0) device.write(buffer, new Uint8Array(extra).fill(pattern), bytes.length);
    buffers.push(buffer);
    return buffer;
  };
  const bytesIn = (t: PlanTensor): number => sizeOf(evalShape(t.shape, dims)) * dtypeInfo[t.dtype].bytes;
  const output = (t: PlanTensor): Buffer => {
    const buffer = device.alloc(bytesIn(t) + margin, t.dtype);
    device.write(buffer, new Uint8Array(buffer.bytes).fill(pattern));
    buffers.push(buffer);
    return buffer;
  };
  const download = async (t: PlanTensor, buffer: Buffer): Promise<NdArray> => {
    const bytes = bytesIn(t);
    const beyond = await device.read(buffer, bytes, margin);
    if (beyond.some((b, i) => b !== margins.get(buffer)![i]))
      throw new Error(`memory behind ${t.name} was overwritten`);
    const data = viewOf(t.dtype, await device.read(buffer, 0, bytes));
    return toNdArray({ dtype: t.dtype, shape: evalShape(t.shape, dims), data });
  };
  try {
    const weights = program.weights.map((t) => upload(t));
    const inputs = main.inputs.map((t) => upload(t, 0, t.dtype));
    const states = program.states.map((t) => upload(t, margin, t.dtype));
    const results = main.results.map(output);
    for (const b of [...states, ...results]) margins.set(b, await device.read(b, b.bytes - margin, margin));
    for (let i = 0; i < times; i++) await loaded.run(entry, { weights, constants: [], states, inputs, results }, dims);
    const read = async (tensors: readonly PlanTensor[], from: readonly Buffer[]) =>
      new Map(await Promise.all(tensors.map(async (t, i) => [t.name, await download(t, from[i])] as const)));
    return { results: await read(main.results, results), updates: await read(program.states, states) };
  } finally {
    for (const b of buffers) device.free(b);
  }
}
