// openModel: a checkpoint folder of any kind to a model that can be compiled, and loadModel: that to one that runs, in
// this process for the CPU or a GPU, or with `target: 'reference'` interpreted. A kind (kinds.ts) says which entries there
// are, what bounds them and what may shrink to fit a device; entries that are seldom used are compiled at their first use.
import type { Device } from '../../backends/device.ts';
import type { DeviceName } from '../../backends/index.ts';
import type { Traced } from '../../frontends/dsl/index.ts';
import {
  type Checkpoint,
  type Description,
  describeModel,
  fittedModel,
  type KindName,
  type KindOf,
  kindOf,
  openCheckpoint,
  type TaskName,
  taskOf,
} from '../../frontends/huggingface/index.ts';
import type { DType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Target } from '../../ir/target.ts';
import type { CacheSpec } from '../../passes/cache-layout.ts';
import { arenaBytes } from '../compiler/compile.ts';
import { digestOf } from '../compiler/program-cache.ts';
import { deviceOf } from '../execution/devices.ts';
import type { Executor, Tensors } from '../execution/executor.ts';
import { openExecutor } from '../execution/open-executor.ts';
import { GenerationConfig } from '../generation/configuration.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { overlaidWeights, type WeightStore, weightsIn } from '../tensors/weight-store.ts';
import { savePretrained } from '../trainer/save-model.ts';
import { frozenAs, type TrainableModel } from '../trainer/trainable.ts';
import { bindModel, type Infos, type Models } from './bind.ts';
import { kinds, type Limits, type ModelKind } from './kinds.ts';
import { withLabels } from './labels.ts';
import { type CommonLoadOptions, checkLoadOptions, type OpenOptions, type SeedOption } from './load-options.ts';
import { describeNew, fittedWeights, newCheckpoint, newConfig, newWeights } from './new-model.ts';

/** A model, its weights, and what it is to be compiled for. */
export interface OpenedModel<K extends KindName = KindName> {
  readonly kind: ModelKind<K>;
  readonly checkpoint: Checkpoint;
  readonly model: Description;
  /** Facts that running the model takes. */
  readonly info: Infos[K];
  readonly weights: WeightStore;
  readonly limits: Limits;
  readonly cache: CacheSpec;
  readonly target: DeviceName;
  /** The target's device, when it is open already. */
  readonly device?: Device;
  readonly options: OpenOptions;
  /** Changes traced graphs: that of adapters. */
  readonly rewrite?: ((traced: Traced) => Traced) | undefined;
  /** The graph of an entry, traced once. */
  trace(entry: string): Traced;
}

/** Reads a checkpoint folder without its weights. Options and errors are those of from_pretrained. */
export async function openModel<T extends TaskName = TaskName>(
  directory: string,
  options: OpenOptions & { task?: T } = {},
): Promise<OpenedModel<KindOf<T>>> {
  if (options.task) checkFor(options.task, options);
  return modelOf(await openCheckpoint(directory), options);
}

/** The model of a checkpoint, wherever its weights are. */
export function modelOf<T extends TaskName = TaskName>(
  checkpoint: Checkpoint,
  options?: OpenOptions & { task?: T },
): OpenedModel<KindOf<T>>;
export function modelOf(checkpoint: Checkpoint, options: OpenOptions = {}): OpenedModel {
  const task = options.task ?? (options.architecture ? 'causal-lm' : taskOf(checkpoint.config));
  checkFor(task, options);
  const config = withLabels(checkpoint.config, options);
  const { checkpoint: found, fresh, notes, ...model } = fittedModel({ ...checkpoint, config }, task, options);
  const stored = fittedWeights({ checkpoint: found, fresh, notes }, model.initializerRange);
  const dtype = dtypeOf(options);
  const weights = dtype ? weightsIn(dtype, stored) : stored;
  return openedModel(found, model, weights, { ...options, task });
}

/**
 * A new model of a config.json: its weights are drawn as transformers draws them, and `seed` (42) says which. Throws
 * ModelcError 'checkpoint' for a config that describes no model that has the task.
 */
export function newModel<T extends TaskName>(
  given: Readonly<Record<string, unknown>>,
  options: OpenOptions & SeedOption & { task: T },
): OpenedModel<KindOf<T>>;
export function newModel(
  given: Readonly<Record<string, unknown>>,
  { seed, ...options }: OpenOptions & SeedOption & { task: TaskName },
): OpenedModel {
  const { task, architecture } = options;
  const config = withLabels(given, options);
  const model = describeNew(() => describeModel(config, newConfig, task, { architecture }));
  const weights = newWeights(model.task.model, model.initializerRange, seed);
  return openedModel(newCheckpoint(config), model, weights, options);
}

function checkFor(task: TaskName, { task: _, ...options }: OpenOptions): void {
  checkLoadOptions('from_pretrained()', options, kinds[kindOf(task)].options);
}

function openedModel(
  checkpoint: Checkpoint,
  model: Description,
  weights: WeightStore,
  options: OpenOptions,
): OpenedModel {
  const kind = kinds[model.kind];
  const limits = kind.limits(model, options);
  const { fixedLength, length } = limits;
  const target = deviceOf(options.target, options.device);
  return traced({
    kind,
    checkpoint,
    model,
    info: kind.info(model, limits),
    weights,
    limits,
    target,
    options,
    cache: { ...(fixedLength && { capacity: length }), store: 'f32' },
  });
}

/** The model with the graphs that its other fields make. */
function traced<K extends KindName>(opened: Omit<OpenedModel<K>, 'trace'>): OpenedModel<K> {
  const { model, limits, weights, rewrite } = opened;
  const graphs = new Map<string, Traced>();
  return {
    ...opened,
    trace(entry) {
      const known = graphs.get(entry);
      if (known) return known;
      const graph = model.trace(entry, limits, weights.resolve);
      const made = rewrite ? rewrite(graph) : graph;
      graphs.set(entry, made);
      return made;
    },
  };
}

/**
 * An opened model that reads `tensors` in place of weights of the checkpoint, or beside them. `rewrite`: what is done to
 * its graphs besides.
 */
export function rewritten<K extends KindName>(
  opened: OpenedModel<K>,
  tensors: ReadonlyMap<string, HostTensor>,
  rewrite?: (graph: Traced) => Traced,
): OpenedModel<K> {
  const { rewrite: before } = opened;
  const both = rewrite && before ? (graph: Traced) => rewrite(before(graph)) : (rewrite ?? before);
  return traced({ ...opened, weights: overlaidWeights(opened.weights, tensors), rewrite: both });
}

/** Larger than any arena. */
const boundless = 2 ** 40;

/**
 * The model as an entry of it fits a target: prompts are read in chunks so short, or so few rows are run at once, that
 * the intermediate results of a run fit into a binding.
 */
export function fitted<K extends KindName>(opened: OpenedModel<K>, entry: string, target: Target): OpenedModel<K> {
  const { limits, cache, kind, options } = opened;
  const shrinking = kind.fit(entry, options);
  if (!shrinking || limits[shrinking.limit] === 1 || target.bindingBytes >= boundless) return opened;
  if (arenaBytes(opened.trace(shrinking.measured), target, { cache }) <= target.bindingBytes) return opened;
  const less = { ...limits, [shrinking.limit]: Math.ceil(limits[shrinking.limit] / 2) };
  return fitted(traced({ ...opened, limits: less }), entry, target);
}

/** The graphs of entries as they fit a target; what is found out about one entry is not found out again for the next. */
export function fitting(opened: OpenedModel, target: Target): (entry: string) => Traced {
  const known = new Map<string | undefined, OpenedModel>();
  return (entry) => {
    const measured = opened.kind.fit(entry, opened.options)?.measured;
    const fits = known.get(measured) ?? fitted(opened, entry, target);
    known.set(measured, fits);
    return fits.trace(entry);
  };
}

/** An opened model, ready to run. `device`: the target's device, when it is open already. */
export async function loadModel<K extends KindName>(given: OpenedModel<K>, device?: Device): Promise<Models[K]> {
  const opened: OpenedModel<K> = device ? { ...given, device } : given;
  const { kind, checkpoint, info } = opened;
  const generationConfig = kind.generates ? generationConfigOf(checkpoint) : new GenerationConfig({});
  const executor = await executorOf(opened);
  const made = bindModel(kind.name, executor, info, checkpoint.config, generationConfig);
  sources.set(made, opened);
  made.trainable = trainableOf(opened, made);
  return made;
}

const sources = new WeakMap<object, OpenedModel>();

/** What a model was made of; undefined for one of a compiled artifact, which cannot be made anew. */
export const sourceOf = <K extends KindName>(model: Models[K]): OpenedModel<K> | undefined =>
  sources.get(model) as OpenedModel<K> | undefined;

/** What a Trainer needs of a model. */
function trainableOf<K extends KindName>(opened: OpenedModel<K>, made: Models[K]): TrainableModel {
  const { kind, checkpoint, model, limits, target, device, weights } = opened;
  const { config, generationConfig } = checkpoint;
  return {
    task: model.task,
    target,
    ...(device && { device }),
    maxPositions: kind.trainedPositions(model, limits),
    config,
    generationConfig,
    weights,
    write: (folder) => savePretrained(folder, { config, generationConfig, weights }),
    async adopt(tensors) {
      // what is not trained stays as it is
      const next = rewritten(opened, tensors);
      made.replaceExecutor(await executorOf(next));
      sources.set(made, next);
      made.trainable = { ...trainableOf(next, made), ...frozenAs(made.trainable) };
    },
  };
}

/** What runs an opened model. `added`: inputs that every run gets besides its own. */
export const executorOf = (opened: OpenedModel, added?: (inputs: Tensors) => Tensors): Promise<Executor> => {
  const { checkpoint, weights, model, limits, cache, kind, target, device } = opened;
  return openExecutor({
    target,
    device,
    name: model.modelType,
    entries: (generation) => kind.entries(generation),
    graphs: (place) => (place ? fitting(opened, place) : opened.trace),
    key: (entries) => ({
      config: checkpoint.config,
      task: model.name,
      graphs: graphDigest(opened, entries),
      tensors: weights.tensors,
      limits,
      cache,
    }),
    weights,
    compile: { cache },
    added,
  });
};

/**
 * For keys of caches: what entries compute where config.json does not say it all, because the architecture is the
 * caller's own or there are adapters; else undefined.
 */
export function graphDigest({ model, rewrite, trace }: OpenedModel, entries: readonly string[]): string | undefined {
  if (!model.isOwn && !rewrite) return undefined;
  return digestOf(entries.map(trace));
}

/** The checkpoint's generation_config.json, or what its config.json says of generation. */
export function generationConfigOf(checkpoint: Checkpoint): GenerationConfig {
  const path = `${checkpoint.dir}/generation_config.json`;
  if (Object.keys(checkpoint.generationConfig).length > 0) {
    return GenerationConfig.fromFile(checkpoint.generationConfig, path);
  }
  return GenerationConfig.from_model_config(checkpoint.config, `${checkpoint.dir}/config.json`);
}

const dtypeNames: Readonly<Record<string, DType>> = {
  float32: 'f32',
  fp32: 'f32',
  bfloat16: 'bf16',
  bf16: 'bf16',
  float16: 'f16',
  fp16: 'f16',
};

/** The dtype that weights are kept in, if it was asked for. */
function dtypeOf({ torch_dtype, dtype = torch_dtype }: CommonLoadOptions): DType | undefined {
  if (dtype === undefined || dtype === null || dtype === 'auto') return undefined;
  if (Object.hasOwn(dtypeNames, dtype)) return dtypeNames[dtype];
  const known = ['auto', ...Object.keys(dtypeNames)].join(', ');
  throw new ModelcError('unsupported', `dtype '${String(dtype)}' is not supported; use one of ${known}`);
}
