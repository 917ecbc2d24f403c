// What a GPU can do at best, as the floor that a model is measured against: how fast it reads memory, and how many
// floating-point operations it does from registers or from the memory of a multiprocessor. Each figure is the best of a
// few runs, each long enough that launching it does not count.
import type { Device, LoadedProgram } from '../backends/device.ts';
import type { Kernel } from '../ir/loop.ts';
import type { Plan, PlanTensor, Program, Slot } from '../ir/program.ts';

export interface GpuProbe {
  readonly readBytesPerSecond: number;
  /** f32; a fused multiply-add counts as two. */
  readonly flopsPerSecond: number;
  /** bf16 factors, f32 sums, on the units that multiply matrices. */
  readonly matrixFlopsPerSecond?: number;
}

/** The kernels of a device: `fill` and `read` go over chunks of memory, the others do `rounds` rounds of arithmetic a task. */
export interface ProbeKernels {
  readonly kernels: { readonly [N in 'fill' | 'read' | 'fma' | 'matrix']?: Kernel };
  /** Operations of a task and round. */
  readonly fmaFlops: number;
  readonly matrixFlops?: number;
  /** Code that was built before. */
  readonly binary?: string;
}

export const chunkBytes = 2 ** 16;
/** Kernels read these, in this order. `tasks` below `chunks` wrap around. */
export const probeDims = ['chunks', 'rounds', 'tasks'] as const;

const runMilliseconds = 10;
const runs = 4;

const tensor = (name: string, bytes: number): PlanTensor => ({ name, dtype: 'u32', shape: [{ '': bytes / 4 }] });

function programOf(device: Device, { kernels }: ProbeKernels, bytes: number): Program {
  const dims = probeDims.map((name) => ({ name, min: 0, max: 2 ** 30 }));
  const entries: Record<string, Plan> = {};
  const all = Object.entries(kernels);
  for (const [i, [name, kernel]] of all.entries()) {
    const args = kernel.buffers.map((b): Slot => ({ space: 'result', index: b.name === 'data' ? 0 : 1 }));
    const steps = [{ do: 'launch', origin: name, parts: [{ kernel: i, args }] }] as const;
    entries[name] = { inputs: [], results: [tensor('data', bytes), tensor('sums', 64)], dims, steps, arenaBytes: 0 };
  }
  return {
    version: 1,
    name: 'probe',
    target: { language: device.target.language, features: device.target.features },
    entries,
    kernels: all.map(([, kernel]) => kernel),
    prepare: [],
    weights: [],
    constants: [],
    states: [],
  };
}

/** Measures a device. `smoke`: as little as possible, to see that it works. */
export class GpuProber {
  /** Rounds, or passes over the data, that make a run long enough. */
  private readonly rounds = new Map<string, number>();

  private constructor(
    private readonly device: Device,
    private readonly probes: ProbeKernels,
    private readonly loaded: LoadedProgram,
    private readonly bytes: number,
    private readonly tasks: number,
  ) {}

  static async open(device: Device, probes: ProbeKernels, smoke: boolean): Promise<GpuProber> {
    // Much larger than any cache
    const most = Math.min(2 ** 31, device.target.bindingBytes);
    const bytes = smoke ? 4 * chunkBytes : most - (most % chunkBytes);
    const loaded = await device.load(programOf(device, probes, bytes), probes.binary);
    return new GpuProber(device, probes, loaded, bytes, smoke ? 2 : 2 ** 14);
  }

  async probe(): Promise<GpuProbe> {
    const { device, bytes, tasks, probes } = this;
    const chunks = bytes / chunkBytes;
    const results = [device.alloc(bytes, 'u32'), device.alloc(64, 'u32')];
    const milliseconds = async (entry: string, rounds: number, count: number): Promise<number> => {
      const start = performance.now();
      const bindings = { weights: [], constants: [], states: [], inputs: [], results };
      await this.loaded.run(entry, bindings, { chunks, rounds, tasks: count });
      await device.read(results[1], 0, 4); // some devices tell only now that they are done
      return performance.now() - start;
    };
    /** Work per second, where a run of r rounds does r times `work`. */
    const rate = async (entry: string, work: number, run: (rounds: number) => Promise<number>): Promise<number> => {
      let rounds = this.rounds.get(entry) ?? 1;
      let best = await run(rounds);
      while (!this.rounds.has(entry) && best < runMilliseconds && rounds < 2 ** 20) best = await run((rounds *= 2));
      this.rounds.set(entry, rounds);
      for (let i = 1; i < runs; i++) best = Math.min(best, await run(rounds));
      return (work * rounds * 1000) / best;
    };
    try {
      await milliseconds('fill', 0, chunks);
      const readBytesPerSecond = await rate('read', bytes, (passes) => milliseconds('read', 0, passes * chunks));
      const arithmetic = (entry: string, flops: number) =>
        rate(entry, flops * tasks, (rounds) => milliseconds(entry, rounds, tasks));
      const flopsPerSecond = await arithmetic('fma', probes.fmaFlops);
      if (probes.matrixFlops === undefined) return { readBytesPerSecond, flopsPerSecond };
      const matrixFlopsPerSecond = await arithmetic('matrix', probes.matrixFlops);
      return { readBytesPerSecond, flopsPerSecond, matrixFlopsPerSecond };
    } finally {
      for (const b of results) device.free(b);
    }
  }
}
