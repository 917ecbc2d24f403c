// A config.json to an encoder-decoder model, and with the weights of a checkpoint beside it, to the graphs that the
// compiler traces: of whole pairs, and those of generation.
import { ModelcError } from '../../ir/error.ts';
import {
  type EncoderDecoder,
  type Seq2SeqEntry,
  type Seq2SeqLimits,
  type SequenceTask,
  seq2seqTask,
  type TaskEntry,
  type Traced,
  taskEntries,
  traceSeq2Seq,
  traceTask,
  type WeightResolver,
} from '../dsl/index.ts';
import type { Checkpoint } from './checkpoint.ts';
import { seq2seqFamilies } from './families/index.ts';
import { otherNames } from './families/other-names.ts';
import { type Beside, Fields } from './fields.ts';
import { type FitOptions, fitted } from './fit.ts';
import { type JsonObject, quote } from './json.ts';
import { type Fitted, fittedCheckpoint, refuseQuantized } from './models.ts';

/** An encoder-decoder model as its config.json describes it. */
export interface Seq2SeqDescription {
  readonly model: EncoderDecoder;
  readonly task: SequenceTask;
  readonly modelType: string;
  readonly vocabSize: number;
  /** Positions of a source and of a target; undefined where the model has no bound. */
  readonly maxPositions: number | undefined;
  /** Standard deviation of the weights of a new model. */
  readonly initializerRange: number;
  /** The token that targets begin with, where nobody says another; undefined where somebody has to. */
  readonly start: number | undefined;
  readonly prefix: string;
  /** The modules that LoRA adapts where nobody names any, as PEFT has them for this model_type. */
  readonly loraTargets: readonly string[] | undefined;
}

/** An encoder-decoder model that a checkpoint holds. */
export interface Seq2SeqLM extends Seq2SeqDescription, Fitted {}

/** The entries of an encoder-decoder model. */
export type Seq2SeqGraph = TaskEntry | Seq2SeqEntry;

/** The model_types of encoder-decoder models that are known. */
export const supportedSeq2Seq: readonly string[] = Object.keys(seq2seqFamilies);

/**
 * The model of a config.json, which `where` names in messages; `has` says which weights its checkpoint has. Throws
 * ModelcError 'checkpoint' for an unknown architecture or an inconsistent config.
 */
export function describeSeq2Seq(
  config: JsonObject,
  where: string,
  has: (weight: string) => boolean = () => false,
  beside: Beside = {},
): Seq2SeqDescription {
  const fields = new Fields(config, where, beside);
  const modelType = fields.text('model_type', '');
  if (!Object.hasOwn(seq2seqFamilies, modelType)) {
    throw new ModelcError(
      'checkpoint',
      `${where} has model_type ${quote(modelType)}, which is not known for this task; supported: ${supportedSeq2Seq.join(', ')}`,
    );
  }
  const { read, prefix, loraTargets } = seq2seqFamilies[modelType];
  const named = fields.withOtherNames(otherNames[modelType] ?? {});
  const { model, vocabSize, maxPositions, start, pad, initializerRange } = named.made(() =>
    read(named, (name) => has(name) || has(withoutPrefix(name, prefix))),
  );
  return {
    model,
    task: seq2seqTask(model, { start, pad }),
    modelType,
    vocabSize,
    maxPositions,
    initializerRange,
    start: start === 'last' ? undefined : start,
    prefix,
    loraTargets,
  };
}

/** The name of a weight in a checkpoint of the model without its head. */
const withoutPrefix = (name: string, prefix: string): string =>
  name.startsWith(`${prefix}.`) ? name.slice(prefix.length + 1) : name;

/** The model of a checkpoint. Errors are those of describeSeq2Seq, and 'checkpoint' for weights that do not fit it. */
export function seq2seqLM(checkpoint: Checkpoint, options: FitOptions = {}): Seq2SeqLM {
  const { config, dir } = checkpoint;
  const where = `${dir}/config.json`;
  refuseQuantized(new Fields(config, where));
  const { described, fit } = fitted(
    checkpoint,
    ({ tensors, ...beside }) => describeSeq2Seq(config, where, (name) => tensors.has(name), beside),
    ({ model, prefix }) => ({ model, prefix, isNew: (path) => path.startsWith('lm_head.') }),
    options,
  );
  return { ...described, ...fittedCheckpoint(checkpoint, fit) };
}

/** The graph of an entry of a model. */
export function seq2seqGraph(
  { model, task }: Pick<Seq2SeqDescription, 'model' | 'task'>,
  entry: Seq2SeqGraph,
  limits: Seq2SeqLimits,
  weights: WeightResolver,
): Traced {
  const whole = taskEntries.find((e) => e === entry);
  if (!whole) return traceSeq2Seq(model, entry as Seq2SeqEntry, limits, weights);
  const { maxBatch: batch, maxSource: source, maxLength: seq } = limits;
  return traceTask(task, whole, { batch, source, seq }, weights);
}
