// A program on a WebGPU device: pipelines, one arena, and per entry a uniform buffer with a region per dispatch. A run
// fills in the dims and records every dispatch in one pass. Runs that follow one another are submitted together: each has
// its own copy of the regions, found by a dynamic offset; behind them lie the inputs that differ between the runs; and
// between the passes the device copies inputs, what is fed on, and what the host reads. Nothing waits for the device but
// those who read results.
import { type DType, dtypeInfo } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Dims, Plan, PlanTensor, Program } from '../../ir/program.ts';
import { Binder, type BindingList, type Bound, gridOf, listOf } from '../bindings.ts';
import type { Bindings, Buffer, LoadedProgram, Repeats } from '../device.ts';
import type { DeviceBuffer } from '../memory.ts';
import { type Dispatch, headWords, layoutProgram, type Module, type Resource } from './layout.ts';
import type { Staging } from './staging.ts';
import { deviceBytes, fromWords, toWords, wordBytes } from './storage.ts';

export const storageUsage = 0x80;
const uniformUsage = 0x40 | 0x08 | 0x04; // UNIFORM | COPY_DST | COPY_SRC
const computeStage = 4;
/** The alignment of uniform regions, at default limits. */
const regionBytes = 256;
/** Workgroups in one dimension of a dispatch, at default limits. */
const maxGroups = 65535;

/** A buffer as programs see it. */
export interface Memory extends DeviceBuffer {
  readonly gpu: GPUBuffer;
  readonly dtype: DType | undefined;
}

/** What a program needs of its device. */
export interface Host {
  readonly gpu: GPUDevice;
  readonly staging: Staging;
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
  /** Byte offset of each dispatch's region, and the end of all. */
  readonly regions: readonly number[];
  /** What is written before a submission; grows with the number of runs that are submitted together. */
  words: Uint32Array<ArrayBuffer>;
  uniforms: GPUBuffer;
  /** Bind groups of the last run, and the buffers that they bind. */
  groups: { readonly buffers: readonly GPUBuffer[]; readonly group: GPUBindGroup }[];
}

/** A part of the uniform buffer that is copied to an input. */
interface Upload {
  readonly offset: number;
  readonly to: Memory;
  readonly bytes: number;
}

export class GpuProgram implements LoadedProgram {
  private readonly binder: Binder<Memory, Bound<Memory>>;

  private constructor(
    private readonly host: Host,
    program: Program,
    private readonly own: (buffer: Buffer) => Memory,
    private readonly pipelines: readonly Pipeline[],
    private readonly entries: ReadonlyMap<string, Entry>,
    private readonly arena: GPUBuffer,
  ) {
    this.binder = new Binder({ program, own, prepare: (bound) => bound, accept: checkStored });
  }

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
      regions.push(bytes);
      const words = new Uint32Array(Math.max(regionBytes, bytes) / wordBytes);
      const uniforms = host.buffer(words.byteLength, uniformUsage);
      entries.set(name, { plan: program.entries[name], dispatches, regions, words, uniforms, groups: [] });
    }
    return new GpuProgram(host, program, own, pipelines, entries, arena);
  }

  async run(name: string, bindings: Bindings, dims: Dims): Promise<void> {
    const entry = this.entry(name);
    const memory = this.bind(entry.plan, bindings, dims);
    const sizes = fillUniforms(entry, 0, dims);
    this.submit(name, (encoder) => {
      this.host.gpu.queue.writeBuffer(
        entry.uniforms,
        0,
        entry.words,
        0,
        entry.regions[entry.dispatches.length] / wordBytes,
      );
      this.encode(encoder, entry, 0, sizes, memory);
    });
  }

  repeat(
    name: string,
    bindings: Bindings,
    { dims, writes, feed, result, resultBytes }: Repeats,
  ): Promise<Uint8Array>[] {
    const entry = this.entry(name);
    const [memory] = dims.map((d) => this.bind(entry.plan, bindings, d)).slice(-1);
    const inputs = bindings.inputs.map(this.own);
    const source = this.own(bindings.results[result]);
    const target = inputs[feed.input];
    const size = deviceBytes(source.dtype, resultBytes);
    const { uploads, words } = this.layOut(entry, dims.length, writes, inputs);
    const sizes = dims.map((d, run) => fillUniforms(entry, run, d));
    const staging = this.host.staging.take(size * dims.length);
    this.submit(name, (encoder) => {
      this.host.gpu.queue.writeBuffer(entry.uniforms, 0, entry.words, 0, words);
      for (const [run, runSizes] of sizes.entries()) {
        for (const { offset, to, bytes } of uploads[run]) {
          encoder.copyBufferToBuffer(entry.uniforms, offset, to.gpu, 0, bytes);
        }
        this.encode(encoder, entry, run, runSizes, memory);
        encoder.copyBufferToBuffer(source.gpu, 0, staging, run * size, size);
        for (const span of feed.spans) {
          const at = deviceBytes(source.dtype, span.offset);
          encoder.copyBufferToBuffer(source.gpu, at, target.gpu, at, deviceBytes(source.dtype, span.bytes));
        }
      }
    });
    const read = this.host.staging.read(staging, size * dims.length);
    return dims.map(async (_, run) => {
      const words = (await read).slice(run * size, (run + 1) * size);
      return source.dtype ? fromWords(source.dtype, words) : words;
    });
  }

  private entry(name: string): Entry {
    this.binder.plan(name);
    this.host.check();
    return this.entries.get(name)!;
  }

  /** Makes room in the uniform buffer for `runs` copies of the regions and, behind them, what is written to inputs. */
  private layOut(
    entry: Entry,
    runs: number,
    writes: Repeats['writes'],
    inputs: readonly Memory[],
  ): { readonly uploads: readonly (readonly Upload[])[]; readonly words: number } {
    let end = runs * entry.regions[entry.dispatches.length];
    const pieces: Uint8Array[] = [];
    const uploads = Array.from({ length: runs }, (_, run) =>
      writes.flatMap(({ input, data }) => {
        const to = inputs[input];
        const host = data[run];
        if (!host) return [];
        if (host.byteLength > to.bytes)
          throw new ModelcError('input', `input ${input} has ${to.bytes} bytes; ${host.byteLength} are written`);
        const piece = to.dtype ? toWords(to.dtype, host) : host;
        pieces.push(piece);
        const offset = end;
        end += piece.byteLength;
        return [{ offset, to, bytes: piece.byteLength }];
      }),
    );
    if (entry.words.byteLength < end) {
      entry.words = new Uint32Array((2 * end) / wordBytes);
      entry.uniforms.destroy();
      entry.uniforms = this.host.buffer(entry.words.byteLength, uniformUsage);
      entry.groups = [];
    }
    const bytes = new Uint8Array(entry.words.buffer);
    const offsets = uploads.flat().map(({ offset }) => offset);
    for (const [i, piece] of pieces.entries()) bytes.set(piece, offsets[i]);
    return { uploads, words: end / wordBytes };
  }

  /** Records one pass: the dispatches of one run. */
  private encode(
    encoder: GPUCommandEncoder,
    entry: Entry,
    run: number,
    sizes: readonly (readonly [x: number, y: number])[],
    memory: (r: Resource) => GPUBuffer,
  ): void {
    const base = run * entry.regions[entry.dispatches.length];
    const pass = encoder.beginComputePass();
    for (const [i, { module }] of entry.dispatches.entries()) {
      const [x, y] = sizes[i];
      if (x === 0) continue;
      pass.setPipeline(this.pipelines[module].pipeline);
      pass.setBindGroup(0, this.group(entry, i, memory), [base + entry.regions[i]]);
      pass.dispatchWorkgroups(x, y);
    }
    pass.end();
  }

  /** Submits what `record` records. Its errors are known later: whoever reads a result learns of them. */
  private submit(name: string, record: (encoder: GPUCommandEncoder) => void): void {
    const { gpu, staging } = this.host;
    gpu.pushErrorScope('out-of-memory');
    gpu.pushErrorScope('validation');
    const encoder = gpu.createCommandEncoder();
    record(encoder);
    gpu.queue.submit([encoder.finish()]);
    const errors = Promise.all([gpu.popErrorScope(), gpu.popErrorScope()]);
    staging.doubt(
      errors.then(([invalid, memory]) => {
        const problem = invalid ?? memory;
        if (problem) throw new ModelcError('unsupported', `WebGPU refuses to run ${name}: ${problem.message.trim()}`);
      }),
    );
  }

  /** The bind group of dispatch i: the last run's, if it bound the same buffers. */
  private group(entry: Entry, i: number, memory: (r: Resource) => GPUBuffer): GPUBindGroup {
    const { module, resources } = entry.dispatches[i];
    const buffers = resources.map(memory);
    const known = entry.groups[i];
    if (known && buffers.every((b, j) => b === known.buffers[j])) return known.group;
    const uniform = { buffer: entry.uniforms, size: entry.regions[i + 1] - entry.regions[i] };
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

  /** Checks a run; gives the memory of a resource. */
  private bind(plan: Plan, bindings: Bindings, dims: Dims): (r: Resource) => GPUBuffer {
    const bound = this.binder.bind(plan, bindings, dims);
    return (r) => (r.space === 'arena' ? this.arena : bound[listOf[r.space]][r.index].gpu);
  }

  dispose(): void {
    if (!this.binder.close()) return;
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
      { binding: 0, visibility: computeStage, buffer: { type: 'uniform', hasDynamicOffset: true } },
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

/** Fills the uniform words of all dispatches of a run; returns their sizes in workgroups. */
function fillUniforms({ dispatches, regions, words }: Entry, run: number, dims: Dims): [x: number, y: number][] {
  const base = run * regions[dispatches.length];
  return dispatches.map(({ grid, words: own }, i) => {
    const tasks = gridOf({ grid }, dims);
    const x = Math.min(tasks, maxGroups);
    const y = x === 0 ? 0 : Math.ceil(tasks / x);
    if (y > maxGroups) throw new ModelcError('unsupported', `${tasks} tasks are more than a dispatch can have`);
    const at = (base + regions[i]) / wordBytes;
    words[at] = tasks;
    words[at + 1] = x;
    own.forEach((w, j) => {
      words[at + headWords + j] = typeof w === 'number' ? w : dims[w.dim];
    });
    return [x, y];
  });
}

/** Checks that a buffer stores elements as the kernels expect them: weights packed, everything else in words. */
function checkStored(list: BindingList, { name, dtype }: PlanTensor, memory: Memory): void {
  const inWords = memory.dtype === dtype || dtypeInfo[dtype].bytes === wordBytes;
  const isPacked = memory.dtype === undefined || dtypeInfo[memory.dtype].bytes === wordBytes;
  if (list === 'weights' ? isPacked : inWords) return;
  throw new ModelcError(
    'input',
    `${list} '${name}' is ${dtype}, but its buffer was made for ${memory.dtype ?? 'bytes'}`,
  );
}
