// The probes of NVIDIA GPUs, in CUDA C by hand: reading with wide loads that stay out of L1, fused multiply-adds in
// registers, and the instruction that multiplies matrices fastest: wgmma on Hopper, whose factors come from shared memory,
// mma elsewhere, from registers. Under emulation, which has neither, a loop stands in for them.
import { prelude } from '../backends/cuda/prelude.ts';
import { architectureOf } from '../backends/cuda/target.ts';
import { nvcc } from '../backends/cuda/toolchain.ts';
import type { Device } from '../backends/device.ts';
import { type Kernel, variable } from '../ir/loop.ts';
import { chunkBytes, type ProbeKernels, probeDims } from './gpu-probe.ts';

const repeat = (count: number, text: (i: number) => string, separator = ' '): string =>
  Array.from({ length: count }, (_, i) => text(i)).join(separator);

/** Independent sums a thread: more than latency times throughput of its units. */
const chains = 16;
/** Loads a thread has under way. */
const loads = 8;

// A 64 x 256 tile of sums a warpgroup; 64 columns of both factors are in shared memory, 16 for an instruction.
const tile = { m: 64, n: 256, k: 16, steps: 4 } as const;
const sums = (tile.m * tile.n) / 128;
/** mma instructions of 16 x 8 x 16 in a round, a grid of 2 x 4 of them. */
const grid = { m: 2, n: 4 } as const;

/** Where a factor starts in shared memory, for wgmma: blocks of 8 x 8 one after another, not swizzled. */
const descriptor = (at: string): string => `(((u64)(${at}) & 0x3ffff) >> 4 | 8ull << 16 | 16ull << 32)`;

const hopper = `
  __shared__ __align__(128) u16 a[${tile.m * tile.k * tile.steps}], b[${tile.n * tile.k * tile.steps}];
  for (u32 i = threadIdx.x; i < ${tile.n * tile.k * tile.steps}; i += blockDim.x) {
    b[i] = some_bf16(i);
    if (i < ${tile.m * tile.k * tile.steps}) a[i] = some_bf16(~i);
  }
  __syncthreads();
  asm volatile("fence.proxy.async.shared::cta;" : : : "memory");
  __syncthreads();
  const u32 from_a = (u32)__cvta_generic_to_shared(a), from_b = (u32)__cvta_generic_to_shared(b);
  f32 ${repeat(sums, (i) => `s${i} = 0.0f`, ', ')};
  for (i64 r = 0; r < rounds; r++) {
    asm volatile("wgmma.fence.sync.aligned;" : : : "memory");
    ${repeat(
      tile.steps,
      (step) => `{
      const u64 da = ${descriptor(`from_a + ${step * tile.m * tile.k * 2}`)}, db = ${descriptor(`from_b + ${step * tile.n * tile.k * 2}`)};
      asm volatile("wgmma.mma_async.sync.aligned.m${tile.m}n${tile.n}k${tile.k}.f32.bf16.bf16 {${repeat(sums, (i) => `%${i}`, ', ')}}, %${sums}, %${sums + 1}, 1, 1, 1, 0, 0;"
        : ${repeat(sums, (i) => `"+f"(s${i})`, ', ')} : "l"(da), "l"(db));
    }`,
    )}
    asm volatile("wgmma.commit_group.sync.aligned;" : : : "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" : : : "memory");
  }
  const f32 sum = ${repeat(sums, (i) => `s${i}`, ' + ')};`;

const ampere = `
  u32 a[${grid.m * 4}], b[${grid.n * 2}];
  ${repeat(grid.m * 4, (i) => `a[${i}] = two_bf16(threadIdx.x * 64 + ${i});`)}
  ${repeat(grid.n * 2, (i) => `b[${i}] = two_bf16(threadIdx.x * 64 + ${i + 32});`)}
  f32 s[${grid.m * grid.n * 4}] = {};
  for (i64 r = 0; r < rounds; r++) {
    ${repeat(grid.m * grid.n, (i) => {
      const [m, n] = [i % grid.m, Math.floor(i / grid.m)];
      const outs = repeat(4, (j) => `"+f"(s[${4 * i + j}])`, ', ');
      const ins = [...[0, 1, 2, 3].map((j) => `"r"(a[${4 * m + j}])`), ...[0, 1].map((j) => `"r"(b[${2 * n + j}])`)];
      return `asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" : ${outs} : ${ins.join(', ')});\n    `;
    })}
  }
  const f32 sum = ${repeat(grid.m * grid.n * 4, (i) => `s[${i}]`, ' + ')};`;

function source(threads: number): string {
  const perThread = chunkBytes / 16 / threads;
  const dim = (name: (typeof probeDims)[number]): string => `dims[${probeDims.indexOf(name)}]`;
  const tasks = `for (i64 task = blockIdx.x; task < ${dim('tasks')}; task += gridDim.x)`;
  const text = `
#ifdef __CUDACC__
DEVICE uint4 load(const uint4 *p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
#else
DEVICE uint4 load(const uint4 *p) { return *p; }
#endif
DEVICE u32 hash(u32 x) { x = (x ^ x >> 16) * 0x7feb352du; x = (x ^ x >> 15) * 0x846ca68bu; return x ^ x >> 16; }
// Between 1/8 and 2, of either sign
DEVICE u16 some_bf16(u32 i) { const u32 h = hash(i); return (u16)(0x3e00 + (h & 0x1ff) | (h & 0x200) << 6); }
DEVICE u32 two_bf16(u32 i) { return some_bf16(2 * i) | (u32)some_bf16(2 * i + 1) << 16; }

KERNEL(${threads}) kernel_0(u32 *__restrict__ data, const i64 *__restrict__ dims) {
  ${tasks} {
    for (u32 i = threadIdx.x; i < ${chunkBytes / 16}; i += blockDim.x) {
      const u32 h = hash((u32)task * ${chunkBytes / 16} + i);
      ((uint4 *)data)[task * ${chunkBytes / 16} + i] = make_uint4(h, h * 3, h * 5, h * 7);
    }
  }
}
KERNEL(${threads}) kernel_1(const u32 *__restrict__ data, u32 *__restrict__ sums, const i64 *__restrict__ dims) {
  u32 sum = 0;
  ${tasks} {
    const uint4 *x = (const uint4 *)data + task % ${dim('chunks')} * ${chunkBytes / 16} + threadIdx.x;
    for (u32 i = 0; i < ${perThread / loads}; i++, x += ${loads * threads}) {
      ${repeat(loads, (j) => `const uint4 v${j} = load(x + ${j * threads});`)}
      ${repeat(loads, (j) => `sum += v${j}.x ^ v${j}.y ^ v${j}.z ^ v${j}.w;`)}
    }
  }
  if (sum == 12345) sums[0] = sum;
}
KERNEL(${threads}) kernel_2(u32 *__restrict__ sums, const i64 *__restrict__ dims) {
  const i64 rounds = ${dim('rounds')};
  const f32 x = 0.999f + 1e-6f * threadIdx.x, y = x - 0.5f;
  f32 sum = 0;
  ${tasks} {
    f32 ${repeat(chains, (i) => `s${i} = ${i}.0f`, ', ')};
    for (i64 r = 0; r < rounds; r++) {
      ${repeat(chains, (i) => `s${i} = s${i} * x + y;`)}
    }
    sum += ${repeat(chains, (i) => `s${i}`, ' + ')};
  }
  if (sum == 12345.0f) sums[0] = 1;
}
DEVICE f32 multiply(i64 rounds) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
${hopper}
#elif defined(__CUDACC__)
${ampere}
#else
  f32 sum = 0;
  for (i64 r = 0; r < rounds; r++) sum += (f32)some_bf16((u32)r);
#endif
  return sum;
}
KERNEL(${threads}) kernel_3(u32 *__restrict__ sums, const i64 *__restrict__ dims) {
  f32 sum = 0;
  ${tasks} sum += multiply(${dim('rounds')});
  if (sum == 12345.0f) sums[0] = 1;
}
`;
  return `// Probes of modelc.\n${prelude(text, threads)}${text}`;
}

/** A kernel whose code is above: its tasks are blocks. */
const written = (name: string, buffers: readonly string[]): Kernel => ({
  name,
  note: 'written by hand',
  buffers: buffers.map((b) => ({ name: b, dtype: 'u32', access: 'readwrite' })),
  dims: [...probeDims],
  grid: variable('tasks'),
  body: [{ kind: 'barrier' }],
});

export async function cudaProbes({ target }: Device): Promise<ProbeKernels> {
  const architecture = architectureOf(target.features).name;
  const threads = target.groupThreads;
  const matrixFlops =
    architecture === 'sm_90a'
      ? (threads / 128) * 2 * tile.m * tile.n * tile.k * tile.steps
      : (threads / 32) * grid.m * grid.n * 2 * 16 * 8 * 16;
  return {
    kernels: {
      fill: written('fill', ['data']),
      read: written('read', ['data', 'sums']),
      fma: written('fma', ['sums']),
      matrix: written('matrix', ['sums']),
    },
    fmaFlops: threads * chains * 2,
    matrixFlops,
    binary: await nvcc.compile([source(threads)], architecture),
  };
}
