// What the machine can do, as the floor that kernels are measured against: how fast all threads together read memory,
// and how many floating-point operations they do from registers. The two loops are written in C by hand and run as a
// program, so they meet the same thread pool and the same compiler as generated kernels.
import type { Program } from '../../ir/program.ts';
import { compileNative } from '../c/toolchain.ts';
import type { Buffer } from '../device.ts';
import { abi, abiVersion, programSymbol } from './abi.ts';
import type { CpuDevice } from './device.ts';
import { type Isa, isaOf } from './target.ts';

export interface Probe {
  readonly readBytesPerSecond: number;
  /** f32; a fused multiply-add counts as two. */
  readonly flopsPerSecond: number;
  /** Processor time that the threads got, as a share of the time that they wanted; 1 on an idle machine. */
  readonly cpuShare: number;
}

const probeBytes = 256 * 2 ** 20;
const taskBytes = 2 ** 18;
const tasks = probeBytes / taskBytes;
const fmaTasks = 64;
const fmaRounds = 1 << 16;
/** Independent accumulators: enough to cover latency times throughput of the FMA units. */
const chains = 12;
const passes = 8;

function source(isa: Isa): string {
  const each = (line: (i: number) => string): string => Array.from({ length: chains }, (_, i) => line(i)).join('\n');
  return `// Probes of modelc.
${abi}
typedef f32 vec __attribute__((vector_size(${isa.vectorBytes})));
static void fill(ix task, char *const *b, const ix *dims, char *scratch) {
  f32 *x = (f32 *)(b[0] + task * ${taskBytes});
  for (ix i = 0; i < ${taskBytes / 4}; i++) x[i] = (f32)(task + i % 1000);
}
static void read(ix task, char *const *b, const ix *dims, char *scratch) {
  const vec *x = (const vec *)(b[0] + task * ${taskBytes});
  vec s[8] = {};
  for (ix i = 0; i < ${taskBytes / isa.vectorBytes}; i += 8) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
      s[j] += x[i + j];
      __builtin_prefetch((const char *)(x + i + j) + 4096);
    }
  }
  *(vec *)(b[1] + task * 64) = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}
static void fma(ix task, char *const *b, const ix *dims, char *scratch) {
  vec x = *(vec *)b[1] * 0 + 0.999f, y = x - 0.5f;
  ${each((i) => `vec s${i} = y + ${i}.0f;`)}
  for (ix i = 0; i < ${fmaRounds}; i++) {
    ${each((i) => `s${i} = s${i} * x + y;`)}
    __asm__ volatile("" ::: "memory");
  }
  *(vec *)(b[1] + task * 64) = ${Array.from({ length: chains }, (_, i) => `s${i}`).join(' + ')};
}
static ix grid_tasks(const ix *dims) { return ${tasks}; }
static ix grid_fma(const ix *dims) { return ${fmaTasks}; }
static const struct slot slots[] = {{1, 0}, {2, 0}};
static const struct part parts[] = {{fill, grid_tasks, 0, 2}, {read, grid_tasks, 0, 2}, {fma, grid_fma, 0, 2}};
static const struct step steps[] = {{0, 1}, {1, 1}, {2, 1}};
static const struct entry entries[] = {{3, 1, steps, parts, slots}, {3, 1, steps + 1, parts, slots}, {3, 1, steps + 2, parts, slots}};
__attribute__((visibility("default"))) const struct program ${programSymbol} = {${abiVersion}, 3, 0, 0, 0, entries};
`;
}

/** Measures the device for about a second. */
export async function probe(device: CpuDevice): Promise<Probe> {
  const isa = isaOf(device.target.features);
  const binary = await compileNative(source(isa), { flags: isa.flags });
  const tensor = (name: string, bytes: number) => ({ name, dtype: 'u8', shape: [{ '': bytes }] }) as const;
  const plan = {
    inputs: [tensor('data', probeBytes)],
    results: [tensor('sums', tasks * 64)],
    dims: [],
    steps: [],
    arenaBytes: 0,
  };
  const program: Program = {
    version: 1,
    name: 'probe',
    target: { language: 'c', features: device.target.features },
    entries: { fill: plan, read: plan, fma: plan },
    kernels: [],
    prepare: [],
    weights: [],
    constants: [],
    states: [],
  };
  const loaded = await device.load(program, binary);
  const buffers: Buffer[] = [];
  try {
    for (const bytes of [probeBytes, tasks * 64]) buffers.push(device.alloc(bytes));
    const bindings = { weights: [], constants: [], states: [], inputs: [buffers[0]], results: [buffers[1]] };
    const seconds = async (entry: string): Promise<number> => {
      const start = performance.now();
      await loaded.run(entry, bindings, {});
      return (performance.now() - start) / 1000;
    };
    const best = async (entry: string): Promise<number> => {
      let least = Number.POSITIVE_INFINITY;
      for (let i = 0; i < passes; i++) least = Math.min(least, await seconds(entry));
      return least;
    };
    await seconds('fill');
    const read = await best('read');
    const cpu = process.cpuUsage();
    const start = performance.now();
    const fma = await best('fma');
    const used = process.cpuUsage(cpu);
    const wall = (performance.now() - start) * 1000 * device.target.threads;
    return {
      readBytesPerSecond: probeBytes / read,
      flopsPerSecond: (fmaTasks * fmaRounds * chains * 2 * (isa.vectorBytes / 4)) / fma,
      cpuShare: Math.min(1, (used.user + used.system) / wall),
    };
  } finally {
    for (const b of buffers) device.free(b);
    loaded.dispose();
  }
}
