// AutoModelForSeq2SeqLM: a checkpoint folder to an encoder-decoder model that runs, as models.ts does it for models
// without an encoder. What generation does not need (whole pairs, the encoder alone) is compiled at its first use.
import type { Device } from '../../backends/device.ts';
import type { Traced } from '../../frontends/dsl/index.ts';
import {
  type Checkpoint,
  describeSeq2Seq,
  openCheckpoint,
  type Seq2SeqDescription,
  type Seq2SeqGraph,
  seq2seqGraph,
  seq2seqLM,
} from '../../frontends/huggingface/index.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Target } from '../../ir/target.ts';
import type { CacheSpec } from '../../passes/cache-layout.ts';
import { arenaBytes, compile } from '../compiler/compile.ts';
import { type DeviceName, devices, type TargetName, targetOf } from '../execution/devices.ts';
import { ProgramSession } from '../execution/program-session.ts';
import { ReferenceSession } from '../execution/reference-session.ts';
import type { Session, SessionLimits } from '../execution/session.ts';
import { createSeq2SeqModel, type Seq2SeqModel } from '../generation/seq2seq-model.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { overlaidWeights, type WeightStore } from '../tensors/weight-store.ts';
import { savePretrained } from '../trainer/save-model.ts';
import { frozenAs, type TrainableModel } from '../trainer/trainable.ts';
import { checkCache, checkLoadOptions } from './load-options.ts';
import { boundless, checkDtype, count, digestOf, generationConfigOf, type LoadOptions } from './models.ts';
import { describeNew, fittedWeights, newCheckpoint, newConfig, newWeights, type SeedOption } from './new-model.ts';

/** Options of from_pretrained for models with an encoder. */
export interface Seq2SeqLoadOptions extends Omit<LoadOptions, 'architecture'> {
  /** Tokens of a source at most; default what the model has positions for, or 512. */
  max_length?: number | null;
}

const ownFields = ['cache_implementation', 'max_cache_len', 'chunk', 'max_length'];

const defaultBatch = 8;
/** Where a model has no bound, tokens of a source and of a target. */
const defaultLength = 512;
/** Targets begin with a token or a few. */
const defaultChunk = 64;

function checkOptions(options: Seq2SeqLoadOptions, call = 'from_pretrained()'): void {
  checkLoadOptions(call, options, ownFields);
  checkCache(options.cache_implementation);
}

/** A model of a checkpoint, and what it is to be compiled for. */
export interface OpenedSeq2Seq {
  readonly checkpoint: Checkpoint;
  readonly model: Seq2SeqDescription;
  readonly weights: WeightStore;
  /** Those of the target, and the tokens of a source. */
  readonly limits: SessionLimits & { readonly source: number };
  readonly cache: CacheSpec;
  readonly target: TargetName;
  /** Changes traced graphs: that of adapters. */
  readonly rewrite?: ((traced: Traced) => Traced) | undefined;
}

function limitsOf({ maxPositions }: Seq2SeqDescription, options: Seq2SeqLoadOptions): OpenedSeq2Seq['limits'] {
  const positions = (name: 'max_length' | 'max_cache_len'): number => {
    const wanted = count(name, options[name] ?? maxPositions ?? defaultLength);
    if (maxPositions === undefined || wanted <= maxPositions) return wanted;
    throw new ModelcError('input', `${name} is ${wanted}, but the model has positions for ${maxPositions} tokens`);
  };
  const length = positions('max_cache_len');
  return {
    batch: count('max_batch', options.max_batch ?? defaultBatch),
    chunk: Math.min(count('chunk', options.chunk ?? defaultChunk), length),
    length,
    fixedLength: options.cache_implementation === 'static',
    source: positions('max_length'),
  };
}

/**
 * Encoder-decoders, which translate and summarize.
 *
 *     const model = await AutoModelForSeq2SeqLM.from_pretrained('FOLDER')
 *     const ids = await model.generate({ ...tokenizer('translate English to German: Good morning.') })
 */
// biome-ignore lint/complexity/noStaticOnlyClass: the name and form that users of transformers know
export class AutoModelForSeq2SeqLM {
  /**
   * The encoder-decoder model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' when its files do not fit
   * together, 'toolchain' when it cannot be compiled, 'unsupported' for options that are not served.
   */
  static async from_pretrained(directory: string, options: Seq2SeqLoadOptions = {}): Promise<Seq2SeqModel> {
    checkOptions(options);
    const model = seq2seqLM(await openCheckpoint(directory), options);
    checkDtype(options, model.checkpoint);
    const weights = fittedWeights(model, model.initializerRange);
    return openSeq2Seq(described(model.checkpoint, model, weights, options));
  }

  /**
   * A new model of a config.json: its weights are drawn as transformers draws them, and `seed` (42) says which. Throws
   * ModelcError 'checkpoint' for a config that describes no encoder-decoder model.
   */
  static async from_config(
    config: Readonly<Record<string, unknown>>,
    { seed, ...options }: Seq2SeqLoadOptions & SeedOption = {},
  ): Promise<Seq2SeqModel> {
    checkOptions(options, 'from_config()');
    const model = describeNew(() => describeSeq2Seq(config, newConfig));
    const weights = newWeights(model.model, model.initializerRange, seed);
    return openSeq2Seq(described(newCheckpoint(config), model, weights, options));
  }
}

function described(
  checkpoint: Checkpoint,
  model: Seq2SeqDescription,
  weights: WeightStore,
  options: Seq2SeqLoadOptions,
): OpenedSeq2Seq {
  const limits = limitsOf(model, options);
  const { fixedLength, length } = limits;
  const cache: CacheSpec = fixedLength
    ? { kind: 'static', capacity: length, store: 'f32' }
    : { kind: 'dynamic', store: 'f32' };
  return { checkpoint, model, weights, limits, cache, target: targetOf(options.target, options.device) };
}

const sources = new WeakMap<object, OpenedSeq2Seq>();

/** What a model of from_pretrained was made of. */
export const seq2seqSourceOf = (model: object): OpenedSeq2Seq | undefined => sources.get(model);

/** An opened model, ready to run. */
export async function openSeq2Seq(opened: OpenedSeq2Seq): Promise<Seq2SeqModel> {
  const { checkpoint, model, limits } = opened;
  const { task, vocabSize, maxPositions: maxPositionEmbeddings = Number.POSITIVE_INFINITY, start } = model;
  const { inputs, labels } = task;
  const info = { inputs, labels, vocabSize, maxPositionEmbeddings, start, maxSource: limits.source };
  const generationConfig = generationConfigOf(checkpoint);
  const session = await openSession(opened);
  const made = createSeq2SeqModel(session, info, checkpoint.config, generationConfig);
  sources.set(made, opened);
  made.trainable = trainableOf(opened, made);
  return made;
}

/** What a Trainer needs of a model. */
function trainableOf(opened: OpenedSeq2Seq, made: Seq2SeqModel): TrainableModel {
  const { checkpoint, model, target, weights } = opened;
  const { config, generationConfig } = checkpoint;
  return {
    task: model.task,
    target,
    maxPositions: model.maxPositions,
    config,
    generationConfig,
    weights,
    write: (folder) => savePretrained(folder, { config, generationConfig, weights }),
    async adopt(tensors) {
      // What is not trained stays as it is.
      const next: OpenedSeq2Seq = { ...opened, weights: overlaidWeights(weights, tensors) };
      made.replaceSession(await openSession(next));
      sources.set(made, next);
      made.trainable = { ...trainableOf(next, made), ...frozenAs(made.trainable) };
    },
  };
}

/**
 * An opened model that reads `tensors` in place of weights of the checkpoint, or beside them, and whose graphs are
 * rewritten, unless `rewrite` is undefined.
 */
export const rewrittenSeq2Seq = (
  opened: OpenedSeq2Seq,
  tensors: ReadonlyMap<string, HostTensor>,
  rewrite?: (traced: Traced) => Traced,
): OpenedSeq2Seq => ({ ...opened, weights: overlaidWeights(opened.weights, tensors), rewrite });

/** The graph of an entry. */
export function graphOf({ model, limits, weights, rewrite }: OpenedSeq2Seq, entry: Seq2SeqGraph): Traced {
  const { batch: maxBatch, source: maxSource, length: maxLength, chunk } = limits;
  const traced = seq2seqGraph(model, entry, { maxBatch, maxSource, maxLength, chunk }, weights.resolve);
  return rewrite ? rewrite(traced) : traced;
}

const openSession = (opened: OpenedSeq2Seq): Promise<Session> =>
  opened.target === 'reference' ? Promise.resolve(openReference(opened)) : openCompiled(opened, opened.target);

function openReference(opened: OpenedSeq2Seq): Session {
  const { limits, weights } = opened;
  const traced = new Map<string, Traced>();
  return new ReferenceSession({
    limits,
    trace(entry) {
      const graph = traced.get(entry) ?? graphOf(opened, entry as Seq2SeqGraph);
      traced.set(entry, graph);
      return graph;
    },
    weight: (name, dtype, shape) => weights.array(name, dtype, shape),
  });
}

/** Whether an entry has the caches of generation, and so the rows that these have. */
const hasCaches = (entry: Seq2SeqGraph): boolean => ['memory', 'prefill', 'decode', 'decode_sample'].includes(entry);

/** Fewer rows, until the intermediate results of an entry without caches fit into a binding of the target. */
export function fitRows(opened: OpenedSeq2Seq, entry: Seq2SeqGraph, target: Target): OpenedSeq2Seq {
  const { limits } = opened;
  if (limits.batch === 1 || target.bindingBytes >= boundless) return opened;
  if (arenaBytes(graphOf(opened, entry), target) <= target.bindingBytes) return opened;
  return fitRows({ ...opened, limits: { ...limits, batch: Math.ceil(limits.batch / 2) } }, entry, target);
}

async function openCompiled(opened: OpenedSeq2Seq, target: DeviceName): Promise<Session> {
  const { weights } = opened;
  const { open, build, entries } = devices[target];
  const device: Device = await open();
  const built = (source: OpenedSeq2Seq, ...names: Seq2SeqGraph[]) => {
    const { checkpoint, model, limits, cache, rewrite } = source;
    const { tensors } = weights;
    const traced = Object.fromEntries(names.map((entry) => [entry, graphOf(source, entry)]));
    const graph = rewrite ? digestOf(...Object.values(traced)) : undefined;
    const key = {
      config: checkpoint.config,
      task: 'seq2seq-lm',
      graph,
      tensors,
      limits,
      cache,
      target: device.target,
      entries: names,
    };
    return build(key, () => compile(model.modelType, traced, device.target, { cache }));
  };
  return ProgramSession.open({
    ...(await built(opened, 'memory', ...entries)),
    device,
    weight: (tensor) => weights.source(tensor),
    missing: (name) => {
      const entry = name as Seq2SeqGraph;
      return built(hasCaches(entry) ? opened : fitRows(opened, entry, device.target), entry);
    },
  });
}
