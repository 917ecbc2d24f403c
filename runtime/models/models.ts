// AutoModelForCausalLM: a checkpoint folder to a model that runs. The model is compiled in this process for the
// CPU or a GPU, or with `target: 'reference'` interpreted. The entry `forward` (all positions' logits) is compiled at its first use.
import { createHash } from 'node:crypto';
import type { Device } from '../../backends/device.ts';
import {
  type CausalEntry,
  type CausalLimits,
  causalEntries,
  causalTask,
  type Traced,
  traceCausalLM,
} from '../../frontends/dsl/index.ts';
import {
  type Architecture,
  type CausalDescription,
  type Checkpoint,
  causalLM,
  describeCausalLM,
  openCheckpoint,
} from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Target } from '../../ir/target.ts';
import { printGraph } from '../../ir/text.ts';
import type { CacheSpec } from '../../passes/cache-layout.ts';
import { arenaBytes, compile } from '../compiler/compile.ts';
import { type DeviceName, devices, type TargetName, targetOf } from '../execution/devices.ts';
import { ProgramSession } from '../execution/program-session.ts';
import { ReferenceSession } from '../execution/reference-session.ts';
import type { Session, SessionLimits } from '../execution/session.ts';
import { GenerationConfig } from '../generation/configuration.ts';
import { createModel, type ModelInfo, type PreTrainedModel } from '../generation/model.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { overlaidWeights, type WeightStore } from '../tensors/weight-store.ts';
import { savePretrained } from '../trainer/save-model.ts';
import { frozenAs, type TrainableModel } from '../trainer/trainable.ts';
import { type CommonLoadOptions, checkCache, checkLoadOptions, commonLoadFields } from './load-options.ts';
import { describeNew, fittedWeights, newCheckpoint, newConfig, newWeights, type SeedOption } from './new-model.ts';

/** Options of AutoModelForCausalLM.from_pretrained. */
export interface LoadOptions extends CommonLoadOptions {
  /** 'dynamic' (default): the cache grows by doubling; 'static': it has max_cache_len positions from the start. */
  cache_implementation?: 'dynamic' | 'static' | null;
  /** Positions that a cache can have at most; default max_position_embeddings. */
  max_cache_len?: number | null;
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
export function generationConfigOf(checkpoint: Checkpoint): GenerationConfig {
  const path = `${checkpoint.dir}/generation_config.json`;
  if (Object.keys(checkpoint.generationConfig).length > 0) {
    return GenerationConfig.fromFile(checkpoint.generationConfig, path);
  }
  return GenerationConfig.from_model_config(checkpoint.config, `${checkpoint.dir}/config.json`);
}

const dtypeNames: Readonly<Record<string, string>> = {
  float32: 'f32',
  fp32: 'f32',
  bfloat16: 'bf16',
  bf16: 'bf16',
  float16: 'f16',
  fp16: 'f16',
};

export function checkDtype({ torch_dtype, dtype = torch_dtype }: CommonLoadOptions, checkpoint: Checkpoint): void {
  if (dtype === undefined || dtype === null || dtype === 'auto') return;
  const wanted = Object.hasOwn(dtypeNames, dtype) ? dtypeNames[dtype] : undefined;
  const stored = new Set([...checkpoint.tensors.values()].map((t) => t.dtype));
  if (wanted === undefined || [...stored].some((s) => s !== wanted)) {
    throw new ModelcError(
      'unsupported',
      `dtype '${String(dtype)}' is not supported for ${checkpoint.dir}, whose weights are ${[...stored].join(', ')}; leave dtype out`,
    );
  }
}

/** Names of the options of from_pretrained that not all models have. */
const ownFields = ['cache_implementation', 'max_cache_len', 'chunk', 'architecture'];
/** Names of the options of from_pretrained. */
export const loadFields: readonly string[] = [...commonLoadFields, ...ownFields];

function checkOptions(options: LoadOptions, call = 'from_pretrained()'): void {
  checkLoadOptions(call, options, ownFields);
  checkCache(options.cache_implementation);
  if (options.architecture !== undefined && typeof options.architecture !== 'function') {
    throw new ModelcError('input', '`architecture` must be a function from config.json to a model');
  }
}

/** A checkpoint, its model, and what it is to be compiled for. */
export interface OpenedModel {
  readonly checkpoint: Checkpoint;
  readonly model: CausalDescription;
  readonly info: ModelInfo;
  readonly limits: SessionLimits;
  /** Whether the chunk was asked for, so that no target may lower it. */
  readonly fixedChunk: boolean;
  readonly cache: CacheSpec;
  readonly weights: WeightStore;
  /** Traces an entry under limits. */
  graph(entry: CausalEntry, limits: CausalLimits): Traced;
  /** The graph of an entry: prefill, decode or forward. */
  trace(entry: string): Traced;
  /** Whether the graphs are not just what config.json says: the caller's own architecture, or a model with adapters. */
  readonly ownArchitecture: boolean;
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
  const model = causalLM(checkpoint, options.architecture, options);
  checkDtype(options, model.checkpoint);
  return describedModel(model, model.checkpoint, fittedWeights(model, model.config.initializerRange), options);
}

function describedModel(
  model: CausalDescription,
  checkpoint: Checkpoint,
  weights: WeightStore,
  options: LoadOptions,
): OpenedModel {
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
    checkpoint,
    model,
    weights,
    info: { vocabSize, maxPositionEmbeddings, ...(bosTokenId === undefined ? {} : { bosTokenId }) },
    limits,
    fixedChunk: options.chunk !== undefined,
    cache: fixedLength ? { kind: 'static', capacity: length, store: 'f32' } : { kind: 'dynamic', store: 'f32' },
    ownArchitecture: options.architecture !== undefined,
    options,
    ...traces(model, weights, limits),
  };
}

/** Larger than any arena. */
export const boundless = 2 ** 40;

/**
 * The model as it fits a target: unless `chunk` was asked for, prompts are read in chunks so short that the intermediate
 * results of one fit into a binding.
 */
export function fitChunk(opened: OpenedModel, target: Target): OpenedModel {
  const { limits, cache, graph, trace, fixedChunk } = opened;
  if (fixedChunk || limits.chunk === 1 || target.bindingBytes >= boundless) return opened;
  if (arenaBytes(trace('prefill'), target, { cache }) <= target.bindingBytes) return opened;
  const shorter = { ...limits, chunk: Math.ceil(limits.chunk / 2) };
  return fitChunk({ ...opened, limits: shorter, trace: tracer(graph, shorter) }, target);
}

/** For keys of caches: what entries of an architecture of the caller's compute; undefined if config.json says it all. */
export function architectureDigest(opened: OpenedModel, entries: readonly string[]): string | undefined {
  return opened.ownArchitecture ? digestOf(...entries.map(opened.trace)) : undefined;
}

/** Of what traced entries compute. */
export function digestOf(...traced: readonly Traced[]): string {
  const digest = createHash('sha256');
  for (const { graph, constants } of traced) {
    digest.update(printGraph(graph));
    for (const [name, data] of constants) digest.update(name).update(data);
  }
  return digest.digest('hex');
}

type Graphs = Pick<OpenedModel, 'graph' | 'trace'>;

/** The graphs of a model with these weights. */
function traces({ model }: CausalDescription, { resolve }: WeightStore, limits: SessionLimits): Graphs {
  const graph: Graphs['graph'] = (entry, bounds) => traceCausalLM(model, entry, bounds, resolve);
  return { graph, trace: tracer(graph, limits) };
}

/** Traces entries of a model under limits, each once. */
function tracer(graphOf: Graphs['graph'], { batch, length, chunk }: SessionLimits): Graphs['trace'] {
  const traced = new Map<string, Traced>();
  return (entry) => {
    let graph = traced.get(entry);
    if (!graph) {
      const known = causalEntries.find((e) => e === entry);
      if (!known) {
        throw new ModelcError('input', `the model has no entry '${entry}'; it has ${causalEntries.join(', ')}`);
      }
      graph = graphOf(known, { maxBatch: batch, maxLength: length, chunk });
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
  const weights = overlaidWeights(opened.weights, tensors);
  if (!rewrite) return { ...opened, weights };
  const graph: Graphs['graph'] = (entry, bounds) => rewrite(opened.graph(entry, bounds));
  return { ...opened, weights, graph, trace: tracer(graph, opened.limits), ownArchitecture: true };
}

/**
 * Decoders, which continue texts.
 *
 *     const model = await AutoModelForCausalLM.from_pretrained('FOLDER')
 *     const ids = await model.generate({ ...tokenizer('Once upon a time'), max_new_tokens: 20 })
 */
// biome-ignore lint/complexity/noStaticOnlyClass: the name and form that users of transformers know
export class AutoModelForCausalLM {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' when its files do not fit together,
   * 'toolchain' when it cannot be compiled, 'unsupported' for options that are not served.
   */
  static async from_pretrained(directory: string, options: LoadOptions = {}): Promise<PreTrainedModel> {
    return loadModel(await openModel(directory, options), targetOf(options.target, options.device));
  }

  /**
   * A new model of a config.json, its weights drawn as transformers draws them; `seed` (42) says which. Throws ModelcError
   * 'checkpoint' for a config that describes no model that is known.
   */
  static async from_config(
    config: Readonly<Record<string, unknown>>,
    { seed, ...options }: LoadOptions & SeedOption = {},
  ): Promise<PreTrainedModel> {
    checkOptions(options, 'from_config()');
    const described = describeNew(() => describeCausalLM(config, newConfig, options.architecture));
    const weights = newWeights(described.model, described.config.initializerRange, seed);
    const opened = describedModel(described, newCheckpoint(config), weights, options);
    return loadModel(opened, targetOf(options.target, options.device));
  }
}

/** An opened model, ready to generate. `device`: the target's device, when it is open already. */
export async function loadModel(opened: OpenedModel, target: TargetName, device?: Device): Promise<PreTrainedModel> {
  const { checkpoint, info } = opened;
  const generationConfig = generationConfigOf(checkpoint);
  const session = await openSession(opened, target, device);
  const model = createModel(session, info, checkpoint.config, generationConfig);
  sources.set(model, { opened, target, ...(device ? { device } : {}) });
  model.trainable = trainableOf(opened, model, target, device);
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

/** What a Trainer needs of a model. */
function trainableOf(
  opened: OpenedModel,
  model: PreTrainedModel,
  target: TargetName,
  device: Device | undefined,
): TrainableModel {
  const { checkpoint, limits, weights } = opened;
  return {
    task: causalTask(opened.model.model),
    target,
    ...(device && { device }),
    maxPositions: limits.length,
    config: checkpoint.config,
    generationConfig: checkpoint.generationConfig,
    weights,
    write: (folder) =>
      savePretrained(folder, { config: checkpoint.config, generationConfig: checkpoint.generationConfig, weights }),
    async adopt(tensors) {
      const trained = overlaidWeights(weights, tensors);
      const next: OpenedModel = { ...opened, weights: trained, ...traces(opened.model, trained, limits) };
      model.replaceSession(await openSession(next, target, device));
      sources.set(model, { opened: next, target, ...(device ? { device } : {}) });
      model.trainable = { ...trainableOf(next, model, target, device), ...frozenAs(model.trainable) };
    },
  };
}

/** Compiles an opened model for a target, or has it interpreted. */
export const openSession = async (opened: OpenedModel, target: TargetName, device?: Device): Promise<Session> =>
  target === 'reference' ? openReference(opened) : openCompiled(opened, target, device);

/** A model in the interpreter. */
function openReference({ weights, limits, trace }: OpenedModel): Session {
  return new ReferenceSession({ limits, trace, weight: (name, dtype, shape) => weights.array(name, dtype, shape) });
}

/** A model compiled for a device of this machine, now or by an earlier process. */
async function openCompiled(opened: OpenedModel, target: DeviceName, given?: Device): Promise<Session> {
  const { open, build, entries } = devices[target];
  const device: Device = given ?? (await open());
  const fitted = fitChunk(opened, device.target);
  const { checkpoint, weights, model, limits, cache, trace } = fitted;
  const { tensors } = weights;
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
    weight: (tensor) => weights.source(tensor),
    missing: (entry) => built(entry),
  });
}

export { CausalLanguageModel, createModel, type PreTrainedModel } from '../generation/model.ts';
