// AutoModel and its kin for tasks: a checkpoint folder, or a config alone, to a model that reads whole sequences at once. The
// model is compiled in this process for the CPU or a GPU, or with `target: 'reference'` interpreted; the entry with a loss
// at its first use.
import type { Device } from '../../backends/device.ts';
import { type ProblemType, type TaskEntry, type Traced, traceTask } from '../../frontends/dsl/index.ts';
import {
  describeTask,
  openCheckpoint,
  type TaskModel,
  type TaskName,
  taskModel,
} from '../../frontends/huggingface/index.ts';
import { isObject } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Target } from '../../ir/target.ts';
import { arenaBytes, compile } from '../compiler/compile.ts';
import { type DeviceName, devices, type TargetName, targetOf } from '../execution/devices.ts';
import { ProgramSession } from '../execution/program-session.ts';
import { ReferenceSession } from '../execution/reference-session.ts';
import type { Session } from '../execution/session.ts';
import type { HostTensor } from '../tensors/host-tensor.ts';
import { overlaidWeights, type WeightStore } from '../tensors/weight-store.ts';
import { savePretrained } from '../trainer/save-model.ts';
import { frozenAs, type TrainableModel } from '../trainer/trainable.ts';
import { type CommonLoadOptions, checkLoadOptions } from './load-options.ts';
import { checkDtype, count, digestOf } from './models.ts';
import { describeNew, fittedWeights, newCheckpoint, newConfig, newWeights, type SeedOption } from './new-model.ts';
import {
  createSequenceModel,
  type EncoderOutput,
  type LogitsOutput,
  type SequenceModel,
  type SpanOutput,
} from './sequence-model.ts';

/** What a model of a task is, whatever its config.json says. */
export interface LabelOptions {
  /** Classes of a classifier; it is made new where the checkpoint has another number of them. */
  num_labels?: number | null;
  /** Names of classes by number. */
  id2label?: Readonly<Record<string, string>> | null;
  /** Numbers of classes by name. */
  label2id?: Readonly<Record<string, number>> | null;
  /** Which loss a classifier of sequences has. */
  problem_type?: ProblemType | null;
}

/** Options of from_pretrained for models that read whole sequences. */
export interface TaskLoadOptions extends CommonLoadOptions, LabelOptions {
  /** Tokens of a row at most; default what the model has positions for. */
  max_length?: number | null;
}

const labelFields = ['num_labels', 'id2label', 'label2id', 'problem_type'] as const;
const ownFields = ['max_length', ...labelFields];
const defaultBatch = 8;

/** Upper bounds of the dims of a run. */
export interface Limits extends Readonly<Record<string, number>> {
  readonly batch: number;
  readonly seq: number;
}

function limitsOf(model: TaskModel, options: TaskLoadOptions): Limits {
  const seq = count('max_length', options.max_length ?? model.maxPositions);
  if (seq > model.maxPositions) {
    throw new ModelcError(
      'input',
      `max_length is ${seq}, but the model has positions for ${model.maxPositions} tokens`,
    );
  }
  return { batch: count('max_batch', options.max_batch ?? defaultBatch), seq };
}

/** A model of a checkpoint folder, for a task. */
export async function loadTask<O>(
  directory: string,
  name: TaskName,
  options: TaskLoadOptions = {},
): Promise<SequenceModel<O>> {
  checkLoadOptions('from_pretrained()', options, ownFields);
  const target = targetOf(options.target, options.device);
  const checkpoint = await openCheckpoint(directory);
  const model = taskModel({ ...checkpoint, config: withLabels(checkpoint.config, options) }, name, options);
  checkDtype(options, model.checkpoint);
  const weights = fittedWeights(model, model.initializerRange);
  return openTask<O>({ model, limits: limitsOf(model, options), weights, target });
}

type ModelConfig = Readonly<Record<string, unknown>>;

/** A config with what the options say of classes, as transformers writes it: names by number and numbers by name. */
function withLabels(config: ModelConfig, options: LabelOptions): ModelConfig {
  const given = Object.fromEntries(
    labelFields.flatMap((name) => (options[name] == null ? [] : [[name, options[name]]])),
  );
  const { num_labels: labels, id2label: names, ...others } = given as LabelOptions;
  if (labels == null && names == null) return { ...config, ...others };
  const isNumber = labels == null || (Number.isSafeInteger(labels) && labels > 0 && labels <= 2 ** 20);
  if (!isNumber) throw new ModelcError('input', `\`num_labels\` must be a positive integer, but is ${String(labels)}`);
  const isNamed = typeof names === 'object' && names !== null && !Array.isArray(names);
  if (names != null && !isNamed) throw new ModelcError('input', '`id2label` must be an object such as { 0: "no" }');
  if (isNamed && labels != null && Object.keys(names).length !== labels) {
    throw new ModelcError(
      'input',
      `\`num_labels\` is ${labels}, but \`id2label\` has ${Object.keys(names).length} names; leave one out`,
    );
  }
  const { num_labels, ...rest } = config;
  const known: unknown = rest.id2label;
  const keeps = !isNamed && isObject(known) && Object.keys(known).length === labels;
  if (keeps) return { ...rest, ...others };
  const id2label = isNamed
    ? names
    : Object.fromEntries(Array.from({ length: labels ?? 0 }, (_, i) => [i, `LABEL_${i}`]));
  const label2id =
    others.label2id ?? Object.fromEntries(Object.entries(id2label).map(([id, name]) => [name, Number(id)]));
  return { ...rest, ...others, id2label, label2id };
}
/** Options of from_config. */
export type NewTaskOptions = TaskLoadOptions & SeedOption;

/**
 * A new model of a config.json, for a task: its weights are drawn as transformers draws them, and `seed` (42) says which.
 * Throws ModelcError 'checkpoint' for a config that describes no model that has the task.
 */
async function newTask<O>(
  given: ModelConfig,
  name: TaskName,
  { seed, ...options }: NewTaskOptions,
): Promise<SequenceModel<O>> {
  checkLoadOptions('from_config()', options, ownFields);
  const target = targetOf(options.target, options.device);
  const config = withLabels(given, options);
  const described = describeNew(() => describeTask(config, newConfig, name));
  const { task, initializerRange } = described;
  const weights = newWeights(task.model, initializerRange, seed);
  const graph: TaskModel['graph'] = (entry, limits) => traceTask(task, entry, limits, weights.resolve);
  const model: TaskModel = { ...described, checkpoint: newCheckpoint(config), fresh: new Map(), notes: [], graph };
  return openTask<O>({ model, limits: limitsOf(model, options), weights, target });
}

/** A model for a task, and what it is to be compiled for. */
export interface OpenedTask {
  readonly model: TaskModel;
  /** Whether the graphs are not just what config.json says. */
  readonly isRewritten?: boolean;
  readonly limits: Limits;
  readonly weights: WeightStore;
  readonly target: TargetName;
}

const sources = new WeakMap<object, OpenedTask>();

/** What a model of from_pretrained was made of. */
export const taskSourceOf = (model: object): OpenedTask | undefined => sources.get(model);

export async function openTask<O>(opened: OpenedTask): Promise<SequenceModel<O>> {
  const { model } = opened;
  const session = await openSession(opened);
  const { inputs, labels } = model.task;
  const made = createSequenceModel<O>(session, { inputs, labels, vocabSize: model.vocabSize }, model.checkpoint.config);
  sources.set(made, opened);
  made.trainable = trainableOf(opened, made);
  return made;
}

const openSession = (opened: OpenedTask): Promise<Session> =>
  opened.target === 'reference' ? Promise.resolve(openReference(opened)) : openCompiled(opened, opened.target);

/** What a Trainer needs of a model. */
function trainableOf<O>(opened: OpenedTask, made: SequenceModel<O>): TrainableModel {
  const { model, limits, weights, target } = opened;
  const { config, generationConfig } = model.checkpoint;
  return {
    task: model.task,
    target,
    maxPositions: limits.seq,
    config,
    generationConfig,
    weights,
    write: (folder) => savePretrained(folder, { config, generationConfig, weights }),
    async adopt(tensors) {
      const next = rewrittenTask(opened, tensors);
      made.replaceSession(await openSession(next));
      sources.set(made, next);
      made.trainable = { ...trainableOf(next, made), ...frozenAs(made.trainable) };
    },
  };
}

/**
 * An opened task that reads `tensors` in place of weights of the checkpoint, or beside them, and whose graphs are
 * rewritten, unless `rewrite` is undefined.
 */
export function rewrittenTask(
  opened: OpenedTask,
  tensors: ReadonlyMap<string, HostTensor>,
  rewrite?: (traced: Traced) => Traced,
): OpenedTask {
  const { model } = opened;
  const weights = overlaidWeights(opened.weights, tensors);
  if (!rewrite) return { ...opened, weights };
  const graph: TaskModel['graph'] = (entry, limits) => rewrite(model.graph(entry, limits));
  return { ...opened, weights, model: { ...model, graph }, isRewritten: true };
}

const entryOf = (name: string): TaskEntry => (name === 'evaluate' ? 'evaluate' : 'forward');

function openReference({ model, limits, weights }: OpenedTask): Session {
  return new ReferenceSession({
    limits: { batch: limits.batch, chunk: limits.seq, length: limits.seq, fixedLength: false },
    trace: (entry) => model.graph(entryOf(entry), limits),
    weight: (name, dtype, shape) => weights.array(name, dtype, shape),
  });
}

/** Fewer rows, until the intermediate results of a run fit into a binding of the target. */
function fitBatch(model: TaskModel, limits: Limits, target: Target): Limits {
  if (limits.batch === 1 || arenaBytes(model.graph('forward', limits), target) <= target.bindingBytes) return limits;
  return fitBatch(model, { ...limits, batch: Math.ceil(limits.batch / 2) }, target);
}

async function openCompiled(opened: OpenedTask, target: DeviceName): Promise<Session> {
  const { model, weights, isRewritten = false } = opened;
  const { open, build } = devices[target];
  const device: Device = await open();
  const limits = fitBatch(model, opened.limits, device.target);
  const { checkpoint } = model;
  const { tensors } = weights;
  const built = (entry: string) => {
    const graph = isRewritten ? digestOf(model.graph(entryOf(entry), limits)) : undefined;
    const key = { config: checkpoint.config, task: model.name, graph, tensors, limits, target: device.target, entry };
    const traced = (): Record<string, Traced> => ({ [entry]: model.graph(entryOf(entry), limits) });
    return build(key, () => compile(model.modelType, traced(), device.target));
  };
  return ProgramSession.open({
    ...(await built('forward')),
    device,
    weight: (tensor) => weights.source(tensor),
    missing: built,
  });
}

// biome-ignore-start lint/complexity/noStaticOnlyClass: the names and forms that users of transformers know
/** The model without a head: `last_hidden_state`, and `pooler_output` where it has one. */
export class AutoModel {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' for files that do not fit together.
   */
  static from_pretrained(directory: string, options: TaskLoadOptions = {}): Promise<SequenceModel<EncoderOutput>> {
    return loadTask(directory, 'encoder', options);
  }
  /** A new model of a config.json, its weights drawn at random. */
  static from_config(config: ModelConfig, options: NewTaskOptions = {}): Promise<SequenceModel<EncoderOutput>> {
    return newTask(config, 'encoder', options);
  }
}

/** Scores of the vocabulary for every position: `logits` [batch, length, vocab]. */
export class AutoModelForMaskedLM {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' for files that do not fit together.
   */
  static from_pretrained(directory: string, options: TaskLoadOptions = {}): Promise<SequenceModel<LogitsOutput>> {
    return loadTask(directory, 'masked-lm', options);
  }
  /** A new model of a config.json, its weights drawn at random. */
  static from_config(config: ModelConfig, options: NewTaskOptions = {}): Promise<SequenceModel<LogitsOutput>> {
    return newTask(config, 'masked-lm', options);
  }
}

/** Scores of classes for every sequence: `logits` [batch, classes]. */
export class AutoModelForSequenceClassification {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' for files that do not fit together.
   */
  static from_pretrained(directory: string, options: TaskLoadOptions = {}): Promise<SequenceModel<LogitsOutput>> {
    return loadTask(directory, 'sequence-classification', options);
  }
  /** A new model of a config.json, its weights drawn at random. */
  static from_config(config: ModelConfig, options: NewTaskOptions = {}): Promise<SequenceModel<LogitsOutput>> {
    return newTask(config, 'sequence-classification', options);
  }
}

/** Scores of classes for every position: `logits` [batch, length, classes]. */
export class AutoModelForTokenClassification {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' for files that do not fit together.
   */
  static from_pretrained(directory: string, options: TaskLoadOptions = {}): Promise<SequenceModel<LogitsOutput>> {
    return loadTask(directory, 'token-classification', options);
  }
  /** A new model of a config.json, its weights drawn at random. */
  static from_config(config: ModelConfig, options: NewTaskOptions = {}): Promise<SequenceModel<LogitsOutput>> {
    return newTask(config, 'token-classification', options);
  }
}

/** Scores of where an answer starts and ends: `start_logits` and `end_logits` [batch, length]. */
export class AutoModelForQuestionAnswering {
  /**
   * The model of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' for files that do not fit together.
   */
  static from_pretrained(directory: string, options: TaskLoadOptions = {}): Promise<SequenceModel<SpanOutput>> {
    return loadTask(directory, 'question-answering', options);
  }
  /** A new model of a config.json, its weights drawn at random. */
  static from_config(config: ModelConfig, options: NewTaskOptions = {}): Promise<SequenceModel<SpanOutput>> {
    return newTask(config, 'question-answering', options);
  }
}
// biome-ignore-end lint/complexity/noStaticOnlyClass: as above
