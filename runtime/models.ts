// AutoModelForCausalLM: a checkpoint folder to a model that runs. The model is compiled in this process for the
// CPU or a GPU, or with `target: 'reference'` interpreted. The entry `forward` (all positions' logits) is compiled at its first use.
import { createHash } from 'node:crypto';
import { causalEntries, type Traced } from '../frontends/dsl/index.ts';
import {
  type Architecture,
  type CausalLM,
  type Checkpoint,
  causalLM,
  openCheckpoint,
  readSpan,
  readTensor,
} from '../frontends/huggingface/index.ts';
import { dtypeInfo, isDType } from '../ir/dtype.ts';
import { ModelcError } from '../ir/error.ts';
import { stridesOf } from '../ir/ndarray.ts';
import type { PlanTensor } from '../ir/program.ts';
import type { Target } from '../ir/target.ts';
import { printGraph } from '../ir/text.ts';
import type { CacheSpec } from '../passes/cache-layout.ts';
import { recipeOf } from '../passes/recipe.ts';
import { arenaBytes, compile } from './compiler.ts';
import type { Device, FileSpan } from './device.ts';
import { type DeviceName, devices, type TargetName, targetOf } from './devices.ts';
import { GenerationConfig } from './generation/configuration.ts';
import { createModel, type ModelInfo, type PreTrainedModel } from './generation/model.ts';
import { bytesOf, toNdArray, viewOf } from './host-tensor.ts';
import { ProgramSession } from './program-session.ts';
import { ReferenceSession } from './reference-session.ts';
import type { HostTensor, Session, SessionLimits } from './session.ts';

export interface LoadOptions {
  /** 'cpu' (default): native code; 'cuda' and 'webgpu': this machine's GPU; 'reference': the interpreter, slow and exact. */
  target?: TargetName;
  /** The target, under its name in transformers.js. */
  device?: DeviceName | null;
  /** The type to compute in. Weights are used as they are stored, so only 'auto' (default) and that type are served. */
  dtype?: 'auto' | 'float32' | 'fp32' | 'bfloat16' | 'bf16' | 'float16' | 'fp16' | null;
  /** 'dynamic' (default): the cache grows by doubling; 'static': it has max_cache_len positions from the start. */
  cache_implementation?: 'dynamic' | 'static' | null;
  /** Positions that a cache can have at most; default max_position_embeddings. */
  max_cache_len?: number | null;
  /** Rows that can run together at most, beams included; default 8. */
  max_batch?: number;
  /** Prompt tokens per run at most; longer prompts are read in chunks. Default 512, or what the target has memory for. */
  chunk?: number;
  /** Makes the model from config.json, in place of the architecture that its model_type names. */
  architecture?: Architecture;
}

const defaultBatch = 8;
const defaultChunk = 512;

export function count(name: string, value: number): number {
  if (Number.isInteger(value) && value > 0) return value;
  throw new ModelcError('input', `\`${name}\` must be a positive integer, but is ${value}`);
}

/** The checkpoint's generation_config.json, or what its config.json says of generation. */
function generationConfigOf(checkpoint: Checkpoint): GenerationConfig {
  const path = `${checkpoint.dir}/generation_config.json`;
  if (Object.keys(checkpoint.generationConfig).length > 0) {
    return GenerationConfig.parse(JSON.stringify(checkpoint.generationConfig), path);
  }
  return GenerationConfig.from_model_config(checkpoint.config);
}

const dtypeNames: Readonly<Record<string, string>> = {
  float32: 'f32',
  fp32: 'f32',
  bfloat16: 'bf16',
  bf16: 'bf16',
  float16: 'f16',
  fp16: 'f16',
};

export function checkDtype(dtype: LoadOptions['dtype'], checkpoint: Checkpoint): void {
  if (dtype === undefined || dtype === null || dtype === 'auto') return;
  const wanted = dtypeNames[dtype];
  const stored = new Set([...checkpoint.tensors.values()].map((t) => t.dtype));
  if (wanted === undefined || [...stored].some((s) => s !== wanted)) {
    throw new ModelcError(
      'unsupported',
      `dtype '${dtype}' is not supported for ${checkpoint.dir}, whose weights are ${[...stored].join(', ')}; leave dtype out`,
    );
  }
}

/** Names of the options of from_pretrained. */
export const loadFields: readonly string[] = [
  'target',
  'device',
  'dtype',
  'cache_implementation',
  'max_cache_len',
  'max_batch',
  'chunk',
  'architecture',
];

function checkOptions(options: LoadOptions): void {
  for (const name of Object.keys(options)) {
    if (!loadFields.includes(name)) {
      throw new ModelcError(
        'unsupported',
        `from_pretrained() does not support the option \`${name}\`; it takes ${loadFields.join(', ')}`,
      );
    }
  }
  const { cache_implementation: cache, architecture } = options;
  targetOf(options.target, options.device);
  if (cache && cache !== 'dynamic' && cache !== 'static') {
    throw new ModelcError(
      'unsupported',
      `cache_implementation '${String(cache)}' is not supported; use 'dynamic' or 'static'`,
    );
  }
  if (architecture !== undefined && typeof architecture !== 'function') {
    throw new ModelcError('input', '`architecture` must be a function from config.json to a model');
  }
}

/** A checkpoint, its model, and what it is to be compiled for. */
export interface OpenedModel {
  readonly checkpoint: Checkpoint;
  readonly model: CausalLM;
  readonly info: ModelInfo;
  readonly limits: SessionLimits;
  /** Whether the chunk was asked for, so that no target may lower it. */
  readonly fixedChunk: boolean;
  readonly cache: CacheSpec;
  /** The graph of an entry: prefill, decode or forward. */
  trace(entry: string): Traced;
  /** Whether the graphs are not just what config.json says: the caller's own architecture, or a model with adapters. */
  readonly ownArchitecture: boolean;
  /** Tensors in memory that are read in place of those of the checkpoint, or beside them. */
  readonly tensors?: ReadonlyMap<string, HostTensor>;
  readonly options: LoadOptions;
}

/** Reads a checkpoint folder without its weights. Options and errors are those of from_pretrained. */
export async function openModel(directory: string, options: LoadOptions = {}): Promise<OpenedModel> {
  checkOptions(options);
  return modelOf(await openCheckpoint(directory), options);
}

/** The model of a checkpoint, wherever its weights are. */
export function modelOf(checkpoint: Checkpoint, options: LoadOptions = {}): OpenedModel {
  checkOptions(options);
  const model = causalLM(checkpoint, options.architecture);
  checkDtype(options.dtype, checkpoint);
  const { vocabSize, maxPositionEmbeddings, bosTokenId } = model.config;
  const length = count('max_cache_len', options.max_cache_len ?? maxPositionEmbeddings);
  const fixedLength = options.cache_implementation === 'static';
  const limits: SessionLimits = {
    batch: count('max_batch', options.max_batch ?? defaultBatch),
    chunk: Math.min(count('chunk', options.chunk ?? defaultChunk), length),
    length,
    fixedLength,
  };
  return {
    checkpoint: model.checkpoint,
    model,
    info: { vocabSize, maxPositionEmbeddings, ...(bosTokenId === undefined ? {} : { bosTokenId }) },
    limits,
    fixedChunk: options.chunk !== undefined,
    cache: fixedLength ? { kind: 'static', capacity: length, store: 'f32' } : { kind: 'dynamic', store: 'f32' },
    ownArchitecture: options.architecture !== undefined,
    options,
    trace: tracer(model, limits),
  };
}

/** Larger than any arena. */
const boundless = 2 ** 40;

/**
 * The model as it fits a target: unless `chunk` was asked for, prompts are read in chunks so short that the intermediate
 * results of one fit into a binding.
 */
export function fitChunk(opened: OpenedModel, target: Target): OpenedModel {
  const { model, limits, cache, trace, fixedChunk } = opened;
  if (fixedChunk || limits.chunk === 1 || target.bindingBytes >= boundless) return opened;
  if (arenaBytes(trace('prefill'), target, { cache }) <= target.bindingBytes) return opened;
  const shorter = { ...limits, chunk: Math.ceil(limits.chunk / 2) };
  return fitChunk({ ...opened, limits: shorter, trace: tracer(model, shorter) }, target);
}

/** For keys of caches: what entries of an architecture of the caller's compute; undefined if config.json says it all. */
export function architectureDigest(opened: OpenedModel, entries: readonly string[]): string | undefined {
  if (!opened.ownArchitecture) return undefined;
  const digest = createHash('sha256');
  for (const { graph, constants } of entries.map(opened.trace)) {
    digest.update(printGraph(graph));
    for (const [name, data] of constants) digest.update(name).update(data);
  }
  return digest.digest('hex');
}

/** Traces entries of a model under limits, each once. */
function tracer(model: CausalLM, { batch, length, chunk }: SessionLimits): (entry: string) => Traced {
  const traced = new Map<string, Traced>();
  return (entry) => {
    let graph = traced.get(entry);
    if (!graph) {
      const known = causalEntries.find((e) => e === entry);
      if (!known) {
        throw new ModelcError('input', `the model has no entry '${entry}'; it has ${causalEntries.join(', ')}`);
      }
      graph = model.graph(known, { maxBatch: batch, maxLength: length, chunk });
      traced.set(entry, graph);
    }
    return graph;
  };
}

/**
 * An opened model that reads `tensors` in place of weights of the checkpoint, or beside them, and whose graphs are
 * rewritten, unless `rewrite` is undefined.
 */
export function rewritten(
  opened: OpenedModel,
  tensors: ReadonlyMap<string, HostTensor>,
  rewrite?: (traced: Traced) => Traced,
): OpenedModel {
  const { model, limits } = opened;
  if (!rewrite) return { ...opened, tensors };
  const changed: CausalLM = { ...model, graph: (entry, bounds) => rewrite(model.graph(entry, bounds)) };
  return { ...opened, model: changed, trace: tracer(changed, limits), ownArchitecture: true, tensors };
}

// biome-ignore lint/complexity/noStaticOnlyClass: the name and form that users of transformers know
export class AutoModelForCausalLM {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' when its files do not fit together,
   * 'toolchain' when it cannot be compiled, 'unsupported' for options that are not served.
   */
  static async from_pretrained(directory: string, options: LoadOptions = {}): Promise<PreTrainedModel> {
    return loadModel(await openModel(directory, options), targetOf(options.target, options.device));
  }
}

/** An opened model, ready to generate. `device`: the target's device, when it is open already. */
export async function loadModel(opened: OpenedModel, target: TargetName, device?: Device): Promise<PreTrainedModel> {
  const session = await openSession(opened, target, device);
  const { checkpoint, info } = opened;
  const model = createModel(session, info, checkpoint.config, generationConfigOf(checkpoint));
  sources.set(model, { opened, target, ...(device ? { device } : {}) });
  return model;
}

/** What a model was made of. */
export interface ModelSource {
  readonly opened: OpenedModel;
  readonly target: TargetName;
  readonly device?: Device;
}

const sources = new WeakMap<PreTrainedModel, ModelSource>();

/** What a model of from_pretrained was made of; undefined for one of a compiled artifact, which cannot be made anew. */
export const sourceOf = (model: PreTrainedModel): ModelSource | undefined => sources.get(model);

/** Compiles an opened model for a target, or has it interpreted. */
export const openSession = (opened: OpenedModel, target: TargetName, device?: Device): Promise<Session> =>
  target === 'reference' ? Promise.resolve(openReference(opened)) : openCompiled(opened, target, device);

/** A model in the interpreter. */
function openReference({ checkpoint, limits, trace, tensors }: OpenedModel): Session {
  return new ReferenceSession({
    limits,
    trace,
    weight: async (name, dtype, shape) => {
      const held = tensors?.get(name);
      return held ? toNdArray(held) : readTensor(storedTensor(checkpoint, name).span, dtype, shape);
    },
  });
}

/** A model compiled for a device of this machine, now or by an earlier process. */
async function openCompiled(opened: OpenedModel, target: DeviceName, given?: Device): Promise<Session> {
  const { open, build, entries } = devices[target];
  const device: Device = given ?? (await open());
  const fitted = fitChunk(opened, device.target);
  const { checkpoint, model, limits, cache, trace, tensors: held } = fitted;
  const tensors = [...checkpoint.tensors].map(([name, { dtype, shape }]) => [name, dtype, shape]);
  const built = (...entries: string[]) => {
    const architecture = architectureDigest(fitted, entries);
    const key = { config: checkpoint.config, architecture, tensors, limits, cache, target: device.target, entries };
    return build(key, () =>
      compile(model.config.modelType, Object.fromEntries(entries.map((e) => [e, trace(e)])), device.target, { cache }),
    );
  };
  return ProgramSession.open({
    ...(await built(...entries)),
    device,
    weight: (tensor) => weightSource(checkpoint, tensor, held),
    missing: (entry) => built(entry),
  });
}

export const storedTensor = (checkpoint: Checkpoint, name: string) => {
  const tensor = checkpoint.tensors.get(name);
  if (!tensor) throw new ModelcError('checkpoint', `${checkpoint.dir} lacks the weight ${name}; download it again`);
  return tensor;
};

/**
 * Where the bytes of a program's weight are: among the tensors that are `held` in memory or in the checkpoint, whole or a
 * span of rows, or permuted as its name says.
 */
export async function weightSource(
  checkpoint: Checkpoint,
  weight: PlanTensor,
  held?: ReadonlyMap<string, HostTensor>,
): Promise<FileSpan | Uint8Array> {
  const { source, perm, rows } = recipeOf(weight.name);
  const inMemory = held?.get(source);
  const { span, shape } = inMemory ? { span: bytesOf(inMemory.data), shape: inMemory.shape } : storedTensor(checkpoint, source); // biome-ignore format: one row
  const elementBytes = dtypeInfo[weight.dtype].bytes;
  const [, ...row] = perm ? perm.map((p) => shape[p]) : shape;
  const rowBytes = row.reduce((n, d) => n * d, elementBytes);
  const isHeld = span instanceof Uint8Array;
  if (perm) return permuteBytes(isHeld ? span : await readSpan(span), shape, perm, elementBytes, rows);
  if (!rows) return span;
  const [start, end] = rows.map((r) => r * rowBytes);
  return isHeld ? span.subarray(start, end) : { ...span, offset: span.offset + start, bytes: end - start };
}

/** A weight of an opened model in memory, as it is stored. */
export async function readWeight({ checkpoint, tensors }: OpenedModel, name: string): Promise<HostTensor> {
  const held = tensors?.get(name);
  if (held) return held;
  const { dtype, shape, span } = storedTensor(checkpoint, name);
  if (!isDType(dtype)) throw new ModelcError('unsupported', `the weight ${name} is stored as ${dtype}; convert it to F32, F16 or BF16`); // biome-ignore format: one row
  return { dtype, shape, data: viewOf(dtype, await readSpan(span)) };
}

/**
 * Row-major 32-bit or 16-bit elements, axes permuted: result axis i is argument axis perm[i]. Of the result, the positions
 * `rows` along its first axis, or all.
 */
export function permuteBytes(
  bytes: Uint8Array,
  shape: readonly number[],
  perm: readonly number[],
  elementBytes: number,
  rows: readonly [start: number, end: number] = [0, shape[perm[0]]],
): Uint8Array {
  const { buffer } = Uint8Array.from(bytes);
  const source = elementBytes === 4 ? new Uint32Array(buffer) : new Uint16Array(buffer);
  const result = [rows[1] - rows[0], ...perm.slice(1).map((p) => shape[p])];
  const size = result.reduce((n, d) => n * d, 1);
  const target = elementBytes === 4 ? new Uint32Array(size) : new Uint16Array(size);
  const strides = stridesOf(shape);
  const index = new Array<number>(perm.length).fill(0);
  for (let to = 0, from = rows[0] * strides[perm[0]]; to < size; to++) {
    target[to] = source[from];
    for (let axis = perm.length - 1; axis >= 0; axis--) {
      from += strides[perm[axis]];
      if (++index[axis] < result[axis]) break;
      from -= strides[perm[axis]] * result[axis];
      index[axis] = 0;
    }
  }
  return new Uint8Array(target.buffer);
}

export { CausalLanguageModel, createModel, type PreTrainedModel } from './generation/model.ts';
