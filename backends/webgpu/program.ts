// A program on a WebGPU device: pipelines, one arena, and per entry a uniform buffer with a region per dispatch. A run
// fills in the dims, records every dispatch in one pass, and submits once.
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { DimBound, Plan, PlanDim, PlanTensor, Program } from '../../ir/program.ts';
import type { Bindings, Buffer, LoadedProgram } from '../../runtime/device.ts';
import { evalIndex } from '../kernel/grid.ts';
import { type Dispatch, headWords, layoutProgram, type Module, type Resource } from './layout.ts';
import { wordBytes } from './storage.ts';

export const storageUsage = 0x80;
const uniformUsage = 0x40 | 0x08; // UNIFORM | COPY_DST
const computeStage = 4;
/** The alignment of uniform regions, at default limits. */
const regionBytes = 256;
/** Workgroups in one dimension of a dispatch, at default limits. */
const maxGroups = 65535;

/** A buffer as programs see it. */
export interface Memory extends Buffer {
  readonly gpu: GPUBuffer;
  readonly dtype: DType | undefined;
}

/** What a program needs of its device. */
export interface Host {
  readonly gpu: GPUDevice;
  check(): void;
  buffer(size: number, usage: number): GPUBuffer;
}

interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

interface Entry {
  readonly plan: Plan;
  readonly dispatches: readonly Dispatch[];
  /** Byte offset of each dispatch's region. */
  readonly regions: readonly number[];
  readonly words: Uint32Array<ArrayBuffer>;
  readonly uniforms: GPUBuffer;
  /** Bind groups of the last run, and the buffers that they bind. */
  readonly groups: { readonly buffers: readonly GPUBuffer[]; readonly group: GPUBindGroup }[];
}

const spaces = {
  weight: 'weights',
  constant: 'constants',
  state: 'states',
  input: 'inputs',
  result: 'results',
} as const;

export class GpuProgram implements LoadedProgram {
  private disposed = false;

  private constructor(
    private readonly host: Host,
    private readonly program: Program,
    private readonly own: (buffer: Buffer) => Memory,
    private readonly pipelines: readonly Pipeline[],
    private readonly entries: ReadonlyMap<string, Entry>,
    private readonly arena: GPUBuffer,
  ) {}

  /**
   * `texts` are those of the program's modules. Throws ModelcError 'toolchain' when a kernel is refused, 'unsupported'
   * when it exceeds a limit of the device.
   */
  static async load(
    host: Host,
    program: Program,
    texts: readonly string[],
    own: (buffer: Buffer) => Memory,
  ): Promise<GpuProgram> {
    const { modules, entries: dispatchesOf } = layoutProgram(program);
    if (modules.length !== texts.length) {
      throw new ModelcError(
        'input',
        `the program has ${modules.length} modules, but ${texts.length} texts came with it`,
      );
    }
    const pipelines = await Promise.all(modules.map((m, i) => createPipeline(host.gpu, m, texts[i])));
    const arenaBytes = Math.max(wordBytes, ...Object.values(program.entries).map((plan) => plan.arenaBytes));
    const arena = host.buffer(Math.ceil(arenaBytes / wordBytes) * wordBytes, storageUsage);
    const entries = new Map<string, Entry>();
    for (const [name, dispatches] of dispatchesOf) {
      const regions: number[] = [];
      let bytes = 0;
      for (const { module } of dispatches) {
        regions.push(bytes);
        bytes += Math.ceil((modules[module].words * wordBytes) / regionBytes) * regionBytes;
      }
      const words = new Uint32Array(bytes / wordBytes);
      const uniforms = host.buffer(Math.max(regionBytes, bytes), uniformUsage);
      entries.set(name, { plan: program.entries[name], dispatches, regions, words, uniforms, groups: [] });
    }
    return new GpuProgram(host, program, own, pipelines, entries, arena);
  }

  async run(name: string, bindings: Bindings, dims: Readonly<Record<string, number>>): Promise<void> {
    if (this.disposed) throw new ModelcError('input', 'the program was disposed');
    const entry = this.entries.get(name);
    if (!entry) {
      const known = [...this.entries.keys()].join(', ');
      throw new ModelcError('input', `the program has no entry '${name}'; it has ${known}`);
    }
    this.host.check();
    const values = checkDims(entry.plan.dims, dims);
    const memory = this.bind(entry.plan, bindings, values);
    const { gpu } = this.host;
    const sizes = fillUniforms(entry, values);
    gpu.pushErrorScope('out-of-memory');
    gpu.pushErrorScope('validation');
    gpu.queue.writeBuffer(entry.uniforms, 0, entry.words);
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    entry.dispatches.forEach((dispatch, i) => {
      const [x, y] = sizes[i];
      if (x === 0) return;
      pass.setPipeline(this.pipelines[dispatch.module].pipeline);
      pass.setBindGroup(0, this.group(entry, i, memory));
      pass.dispatchWorkgroups(x, y);
    });
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    const [invalid, memoryError] = await Promise.all([gpu.popErrorScope(), gpu.popErrorScope()]);
    const problem = invalid ?? memoryError;
    if (problem) throw new ModelcError('unsupported', `WebGPU refuses to run ${name}: ${problem.message.trim()}`);
    this.host.check();
  }

  /** The bind group of dispatch i: the last run's, if it bound the same buffers. */
  private group(entry: Entry, i: number, memory: (r: Resource) => GPUBuffer): GPUBindGroup {
    const { module, resources } = entry.dispatches[i];
    const buffers = resources.map(memory);
    const known = entry.groups[i];
    if (known && buffers.every((b, j) => b === known.buffers[j])) return known.group;
    const next = entry.regions[i + 1] ?? entry.words.byteLength;
    const uniform = { buffer: entry.uniforms, offset: entry.regions[i], size: next - entry.regions[i] };
    const group = this.host.gpu.createBindGroup({
      layout: this.pipelines[module].layout,
      entries: [
        { binding: 0, resource: uniform },
        ...buffers.map((buffer, j) => ({ binding: j + 1, resource: { buffer } })),
      ],
    });
    entry.groups[i] = { buffers, group };
    return group;
  }

  /** Checks the buffers of a run; gives the memory of a resource. */
  private bind(plan: Plan, bindings: Bindings, dims: ReadonlyMap<string, number>): (r: Resource) => GPUBuffer {
    const { weights, constants, states } = this.program;
    const tensors = { weights, constants, states, inputs: plan.inputs, results: plan.results };
    const bound = new Map<string, readonly Memory[]>();
    for (const space of Object.values(spaces)) {
      if (tensors[space].length !== bindings[space].length) {
        throw new ModelcError(
          'input',
          `the run binds ${bindings[space].length} ${space}; it needs ${tensors[space].length}`,
        );
      }
      const memories = tensors[space].map((tensor, i) =>
        checkTensor(space, tensor, this.own(bindings[space][i]), dims),
      );
      bound.set(space, memories);
    }
    return (r) => (r.space === 'arena' ? this.arena : bound.get(spaces[r.space])![r.index].gpu);
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.arena.destroy();
    for (const { uniforms } of this.entries.values()) uniforms.destroy();
  }
}

async function createPipeline(gpu: GPUDevice, { kernel, writes }: Module, code: string): Promise<Pipeline> {
  if (writes.length > gpu.limits.maxStorageBuffersPerShaderStage) {
    throw new ModelcError(
      'unsupported',
      `kernel ${kernel.name} reads ${writes.length} arrays; this graphics device allows ${gpu.limits.maxStorageBuffersPerShaderStage}`,
    );
  }
  const layout = gpu.createBindGroupLayout({
    entries: [
      { binding: 0, visibility: computeStage, buffer: { type: 'uniform' } },
      ...writes.map((write, i) => ({
        binding: i + 1,
        visibility: computeStage,
        buffer: { type: write ? ('storage' as const) : ('read-only-storage' as const) },
      })),
    ],
  });
  gpu.pushErrorScope('validation');
  const module = gpu.createShaderModule({ code });
  const scope = gpu.popErrorScope();
  try {
    const pipeline = await gpu.createComputePipelineAsync({
      layout: gpu.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    });
    return { pipeline, layout };
  } catch (cause) {
    const message = (await scope)?.message ?? (cause instanceof Error ? cause.message : String(cause));
    throw new ModelcError('toolchain', `WebGPU refuses kernel ${kernel.name}: ${message.trim()}`, { cause });
  }
}

/** Fills the uniform words of all dispatches; returns their sizes in workgroups. */
function fillUniforms(
  { dispatches, regions, words }: Entry,
  dims: ReadonlyMap<string, number>,
): [x: number, y: number][] {
  return dispatches.map(({ grid, words: own }, i) => {
    const tasks = evalIndex(grid, dims);
    const x = Math.min(tasks, maxGroups);
    const y = x === 0 ? 0 : Math.ceil(tasks / x);
    if (y > maxGroups) throw new ModelcError('unsupported', `${tasks} tasks are more than a dispatch can have`);
    const at = regions[i] / wordBytes;
    words[at] = tasks;
    words[at + 1] = x;
    own.forEach((w, j) => {
      words[at + headWords + j] = typeof w === 'number' ? w : dims.get(w.dim)!;
    });
    return [x, y];
  });
}

function checkDims(bounds: readonly DimBound[], dims: Readonly<Record<string, number>>): Map<string, number> {
  const values = new Map(Object.entries(dims));
  for (const { name, min, max } of bounds) {
    const value = values.get(name);
    if (value === undefined) throw new ModelcError('input', `dimension ${name} is not bound`);
    if (!(Number.isSafeInteger(value) && value >= min && value <= max)) {
      throw new ModelcError('input', `dimension ${name} is ${value}; it must be an integer from ${min} to ${max}`);
    }
  }
  return values;
}

/** Checks that a buffer holds a tensor, as the kernels expect it: weights packed, everything else in words. */
function checkTensor(space: string, tensor: PlanTensor, memory: Memory, dims: ReadonlyMap<string, number>): Memory {
  const { name, dtype, shape } = tensor;
  const bytes = shape.reduce((n, d) => n * dimValue(d, dims), dtypeInfo[dtype].bytes);
  if (memory.bytes < bytes) {
    throw new ModelcError('input', `${space} '${name}' has ${memory.bytes} bytes; it needs ${bytes}`);
  }
  const inWords = memory.dtype === dtype || dtypeInfo[dtype].bytes === wordBytes;
  const isPacked = memory.dtype === undefined || dtypeInfo[memory.dtype].bytes === wordBytes;
  if (!(space === 'weights' ? isPacked : inWords)) {
    throw new ModelcError(
      'input',
      `${space} '${name}' is ${dtype}, but its buffer was made for ${memory.dtype ?? 'bytes'}`,
    );
  }
  return memory;
}

function dimValue(d: PlanDim, dims: ReadonlyMap<string, number>): number {
  return Object.entries(d).reduce((sum, [monomial, coefficient]) => {
    const names = monomial === '' ? [] : monomial.split('*');
    return sum + names.reduce((product, name) => product * (dims.get(name) ?? 0), coefficient);
  }, 0);
}
