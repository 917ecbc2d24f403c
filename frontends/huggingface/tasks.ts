// A config.json to the task that its model is used for: scoring masked words, classifying, finding answers, or giving
// hidden states. With the weights of a checkpoint beside it, it is what the compiler traces.
import { ModelcError } from '../../ir/error.ts';
import {
  causalTask,
  type EncoderHeadName,
  encoderHeads,
  encoderHeadTask,
  encoderTask,
  type ProblemType,
  problemTypes,
  type SequenceTask,
  type TaskEntry,
  type Traced,
  traceTask,
} from '../dsl/index.ts';
import { type Checkpoint, weightResolver } from './checkpoint.ts';
import { encoderFamilies } from './families/index.ts';
import { otherNames } from './families/other-names.ts';
import { type Beside, Fields } from './fields.ts';
import { type FitOptions, fitted } from './fit.ts';
import { type JsonObject, quote } from './json.ts';
import { describeCausalLM, type Fitted, fittedCheckpoint, refuseQuantized } from './models.ts';
import { describeSeq2Seq } from './seq2seq.ts';

/** `encoder`: the model without a head. */
export const taskNames = ['causal-lm', 'seq2seq-lm', 'encoder', ...encoderHeads] as const;
export type TaskName = (typeof taskNames)[number];

/** A model as its config.json describes it, for one task. */
export interface TaskDescription {
  readonly name: TaskName;
  readonly task: SequenceTask;
  readonly modelType: string;
  readonly vocabSize: number;
  /** Tokens of the longest sequence; infinite where a model has no bound. */
  readonly maxPositions: number;
  /** Standard deviation of the weights of a new model. */
  readonly initializerRange: number;
  /** The path of the model below its head; empty where it has none. */
  readonly prefix: string;
  /** The modules that LoRA adapts where nobody names any, as PEFT has them for this model_type. */
  readonly loraTargets: readonly string[] | undefined;
}

/** A model of a checkpoint, for one task. */
export interface TaskModel extends TaskDescription, Fitted {
  /** The graph of an entry; `limits` are upper bounds of the dims `batch` and `seq`. */
  graph(entry: TaskEntry, limits: Readonly<Record<string, number>>): Traced;
}

/** The model_types of models that a task can be asked of, besides causal language models. */
export const supportedEncoders: readonly string[] = Object.keys(encoderFamilies);

/** How many classes a config has: as many as it names, or says; 2 if it does neither. */
function labelsOf(config: Fields): number {
  const names = config.object('id2label');
  return names ? Object.keys(names.json).length : config.count('num_labels', 2);
}

function problemTypeOf(config: Fields): ProblemType | undefined {
  if (!config.has('problem_type')) return undefined;
  const found = problemTypes.find((type) => type === config.json.problem_type);
  return found ?? config.fail('problem_type', `one of ${problemTypes.join(', ')}`);
}

/**
 * The model of a config.json, which `where` names in messages, for a task; `has` says which weights its checkpoint has. Throws ModelcError 'checkpoint' for an unknown
 * architecture, one that does not have the task, or an inconsistent config.
 */
export function describeTask(
  config: JsonObject,
  where: string,
  name: TaskName,
  has?: (weight: string) => boolean,
  beside: Beside = {},
): TaskDescription {
  const fields = new Fields(config, where, beside);
  if (name === 'causal-lm') {
    const { model, loraTargets, prefix, config: about } = describeCausalLM(config, where, undefined, beside);
    const { modelType, vocabSize, maxPositionEmbeddings: maxPositions, initializerRange } = about;
    return {
      name,
      task: causalTask(model),
      modelType,
      vocabSize,
      maxPositions,
      initializerRange,
      prefix,
      loraTargets,
    };
  }
  if (name === 'seq2seq-lm') {
    const { maxPositions = Number.POSITIVE_INFINITY, ...described } = describeSeq2Seq(config, where, has, beside);
    return { ...described, name, maxPositions };
  }
  const modelType = fields.text('model_type', '');
  if (!Object.hasOwn(encoderFamilies, modelType)) {
    throw new ModelcError(
      'checkpoint',
      `${where} has model_type ${quote(modelType)}, which is not known for this task; supported: ${supportedEncoders.join(', ')}`,
    );
  }
  const { read, prefix, loraTargets } = encoderFamilies[modelType];
  const kind: EncoderHeadName | undefined = name === 'encoder' ? undefined : name;
  const labels = labelsOf(fields);
  const named = fields.withOtherNames(otherNames[modelType] ?? {});
  const { encoder, head, vocabSize, maxPositions } = named.made(() => read(named, kind, labels));
  return {
    name,
    task:
      kind && head
        ? encoderHeadTask({ prefix, encoder, kind, head, labels, problemType: problemTypeOf(fields) })
        : encoderTask(encoder),
    modelType,
    vocabSize,
    maxPositions,
    initializerRange: fields.positive('initializer_range', 0.02),
    prefix: kind ? prefix : '',
    loraTargets,
  };
}

/** The model of a checkpoint, for a task. Errors are those of describeTask, and 'checkpoint' for weights that do not fit. */
export function taskModel(checkpoint: Checkpoint, name: TaskName, options: FitOptions = {}): TaskModel {
  const { config, dir } = checkpoint;
  const where = `${dir}/config.json`;
  const fields = new Fields(config, where);
  refuseQuantized(fields);
  const { described, fit } = fitted(
    checkpoint,
    ({ tensors, ...beside }) => describeTask(config, where, name, (weight) => tensors.has(weight), beside),
    ({ task, modelType, prefix }) => ({
      model: task.model,
      prefix,
      ...(name === 'encoder' ? { outer: encoderFamilies[modelType].prefix } : {}),
      isNew: (path) => (prefix !== '' && !path.startsWith(`${prefix}.`)) || /^(\w+\.)?(pooler|lm_head)\./.test(path),
    }),
    options,
  );
  const found = fittedCheckpoint(checkpoint, fit);
  const weights = weightResolver(found.checkpoint, fit.fresh);
  return {
    ...described,
    ...found,
    graph: (entry, limits) => fields.made(() => traceTask(described.task, entry, limits, weights)),
  };
}
