// A config.json to a model: the family that its model_type names reads it (families/), or an architecture of the caller's
// own takes its place. Whatever the kind of the model, what comes out is a Description: the model's task over whole
// sequences, and the graphs of its entries.
import { ModelcError } from '../../ir/error.ts';
import {
  type CausalModel,
  causalEntries,
  causalTask,
  type EncoderHeadName,
  encoderHeads,
  encoderHeadTask,
  encoderTask,
  imageHeads,
  Module,
  type ProblemType,
  problemTypes,
  type SequenceTask,
  seq2seqEntries,
  seq2seqTask,
  type Traced,
  taskEntries,
  traceCausalLM,
  traceSeq2Seq,
  traceTask,
  type WeightResolver,
} from '../dsl/index.ts';
import type { AnyFamily, Asked, Described, KindName } from './families/family.ts';
import { families, supportedTypes } from './families/index.ts';
import { type Beside, Fields } from './fields.ts';
import { type JsonObject, quote } from './json.ts';

/** What a model is used for. `encoder`: the encoder without a head. */
export const taskNames = ['causal-lm', 'seq2seq-lm', 'encoder', ...encoderHeads, ...imageHeads] as const;
/** One of taskNames. */
export type TaskName = (typeof taskNames)[number];

const headNamed = (name: TaskName): EncoderHeadName | undefined =>
  [...encoderHeads, ...imageHeads].find((head) => head === name);

/** The kind of the models that have a task. */
export type KindOf<T extends TaskName> = T extends EncoderHeadName ? 'encoder' : T extends KindName ? T : never;

/** The kind of the models that have a task. */
export function kindOf<T extends TaskName>(name: T): KindOf<T>;
export function kindOf(name: TaskName): KindName {
  return headNamed(name) ? 'encoder' : (name as Exclude<TaskName, EncoderHeadName>);
}

/** Makes a model from the config.json of its checkpoint. The paths of its fields are the names of the weights. */
export type Architecture = (config: JsonObject) => CausalModel;

/** Upper bounds of the dims of entries. */
export interface EntryLimits {
  /** Rows that run together. */
  readonly batch: number;
  /** Positions of a row: in the cache, of a target, or of a sequence that is read at once. */
  readonly length: number;
  /** New positions of a row in one run of a model that generates. */
  readonly chunk: number;
  /** Tokens of a source, of models with an encoder and a decoder. */
  readonly source?: number;
}

/** A model as its config.json describes it, for one task. */
export interface Description {
  readonly kind: KindName;
  readonly name: TaskName;
  /** The model over whole sequences: what is trained and evaluated. Its fields are the parameters. */
  readonly task: SequenceTask;
  readonly modelType: string;
  readonly vocabSize: number;
  /** Positions of the longest sequence, or of a source and of a target; undefined where the model has no bound. */
  readonly maxPositions: number | undefined;
  /** Standard deviation of the weights of a new model. */
  readonly initializerRange: number;
  /** The token that a text begins with where there is no prompt. */
  readonly bosTokenId?: number;
  /** The token that targets begin with, where nobody says another; undefined where somebody has to. */
  readonly start?: number;
  /** The path of the model below its head; empty where it has none. */
  readonly prefix: string;
  /** The modules that LoRA adapts where nobody names any, as PEFT has them for this model_type. */
  readonly loraTargets: readonly string[] | undefined;
  /** Whether the model is the caller's own, and not what config.json says. */
  readonly isOwn: boolean;
  /** The graph of an entry. Throws ModelcError 'input' for one that the model does not have. */
  trace(entry: string, limits: EntryLimits, weights: WeightResolver): Traced;
}

/** What a description is made of besides a config. */
export interface DescribeOptions {
  /** Makes the model, in place of the family that model_type names. */
  readonly architecture?: Architecture | undefined;
  /** Whether the checkpoint has a weight (none). */
  readonly has?: (weight: string) => boolean;
  readonly beside?: Beside;
}

/**
 * The model of a config.json, which `where` names in messages, for a task. Throws ModelcError 'checkpoint' for an unknown
 * architecture, one that does not have the task, or an inconsistent config.
 */
export function describeModel(
  config: JsonObject,
  where: string,
  name: TaskName,
  { architecture, has = () => false, beside = {} }: DescribeOptions = {},
): Description {
  const fields = new Fields(config, where, beside);
  if (architecture) return describeOwn(fields, architecture);
  const family = familyOf(fields, name);
  const named = fields.withOtherNames(family.names);
  const asked: Asked = {
    head: headNamed(name),
    labels: family.kind === 'encoder' ? labelsOf(fields) : 0,
    has: (weight) => has(weight) || has(withoutPrefix(weight, family.prefix)),
  };
  const { modelType, prefix, loraTargets } = family;
  const common = { name, modelType, prefix, loraTargets, isOwn: false };
  switch (family.kind) {
    case 'causal-lm':
      return { ...common, ...describeCausal(fields, named.made(() => family.read(named, asked))) }; // biome-ignore format: one row
    case 'seq2seq-lm':
      return { ...common, ...describeSeq2Seq(fields, named.made(() => family.read(named, asked))) }; // biome-ignore format: one row
    case 'encoder':
      return { ...common, ...describeEncoder(fields, named.made(() => family.read(named, asked)), asked, prefix) }; // biome-ignore format: one row
    default:
      return family satisfies never;
  }
}

/** The family of a config's model_type, if it is of the kind that has the task. */
function familyOf(fields: Fields, name: TaskName): AnyFamily {
  const modelType = fields.text('model_type', '');
  const family = Object.hasOwn(families, modelType) ? families[modelType] : undefined;
  const kind = kindOf(name);
  if (family?.kind === kind) return family;
  const says = `${fields.where} has model_type ${quote(modelType)}, which`;
  const supported = `supported: ${supportedTypes(kind).join(', ')}`;
  if (kind !== 'causal-lm') throw new ModelcError('checkpoint', `${says} is not known for this task; ${supported}`);
  if (family?.kind === 'seq2seq-lm') {
    throw new ModelcError('checkpoint', `${says} has an encoder; load it with AutoModelForSeq2SeqLM`);
  }
  throw new ModelcError('checkpoint', `${says} is not known; ${supported}`);
}

type OfKind = Omit<Description, 'name' | 'modelType' | 'loraTargets' | 'isOwn' | 'prefix'>;

/** The named entry of a model. Throws ModelcError 'input' for another one. */
function entryOf<E extends string>(names: readonly E[], entry: string): E {
  const known = names.find((name) => name === entry);
  if (known) return known;
  throw new ModelcError('input', `the model has no entry '${entry}'; it has ${names.join(', ')}`);
}

function describeCausal(fields: Fields, { model, ...sizes }: Described['causal-lm']): OfKind {
  const bosTokenId = fields.token('bos_token_id');
  // not used here, but generation will be told of these by the same file
  fields.tokens('eos_token_id');
  fields.token('pad_token_id');
  return {
    kind: 'causal-lm',
    task: causalTask(model),
    ...sizes,
    initializerRange: fields.positive('initializer_range', fields.positive('init_std', sizes.initializerRange ?? 0.02)),
    ...(bosTokenId === undefined ? {} : { bosTokenId }),
    trace(name, { batch, length, chunk }, weights) {
      const entry = entryOf(causalEntries, name);
      return fields.made(() => traceCausalLM(model, entry, { maxBatch: batch, maxLength: length, chunk }, weights));
    },
  };
}

function describeSeq2Seq(fields: Fields, { model, start, pad, ...sizes }: Described['seq2seq-lm']): OfKind {
  const task = seq2seqTask(model, { start, pad });
  return {
    kind: 'seq2seq-lm',
    task,
    ...sizes,
    ...(start === 'last' ? {} : { start }),
    trace(name, { batch, length, chunk, source = length }, weights) {
      const entry = entryOf([...seq2seqEntries, ...taskEntries], name);
      const bounds = { maxBatch: batch, maxSource: source, maxLength: length, chunk };
      return fields.made(() =>
        entry === 'forward' || entry === 'evaluate'
          ? traceTask(task, entry, { batch, source, seq: length }, weights)
          : traceSeq2Seq(model, entry, bounds, weights),
      );
    },
  };
}

function describeEncoder(
  fields: Fields,
  { encoder, head, ...sizes }: Described['encoder'],
  { head: kind, labels }: Asked,
  prefix: string,
): OfKind & Pick<Description, 'prefix'> {
  if (kind === 'question-answering' && labels !== 2) {
    fields.fail(
      fields.has('id2label') ? 'id2label' : 'num_labels',
      '2 labels, the start and the end of an answer (num_labels: 2 makes it so)',
    );
  }
  if (kind && !head) {
    throw new ModelcError('checkpoint', `${fields.where} describes a model that is not known for the task ${kind}`);
  }
  const task =
    kind && head
      ? encoderHeadTask({ prefix, encoder, kind, head, labels, problemType: problemTypeOf(fields) })
      : encoderTask(encoder);
  return {
    kind: 'encoder',
    task,
    ...sizes,
    prefix: kind ? prefix : '',
    initializerRange: fields.positive('initializer_range', 0.02),
    trace(name, { batch, length: seq }, weights) {
      const entry = entryOf(taskEntries, name);
      return fields.made(() => traceTask(task, entry, { batch, seq }, weights));
    },
  };
}

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

/** The name of a weight in a checkpoint of the model without its head. */
const withoutPrefix = (name: string, prefix: string): string =>
  name.startsWith(`${prefix}.`) ? name.slice(prefix.length + 1) : name;

/** An architecture of the caller's own is not what config.json describes: its errors are passed on as they are. */
function describeOwn(fields: Fields, architecture: Architecture): Description {
  const model: unknown = architecture(fields.json);
  if (!isCausalModel(model)) {
    throw new ModelcError(
      'input',
      "`architecture` must return a model: a Module of 'modelc/nn' with the methods forward, finalNorm and logits",
    );
  }
  const sizes = { vocabSize: fields.count('vocab_size'), maxPositions: fields.count('max_position_embeddings') };
  return {
    ...describeCausal(fields, { model, ...sizes }),
    name: 'causal-lm',
    modelType: 'custom',
    prefix: '',
    loraTargets: undefined,
    isOwn: true,
    trace: (name, { batch, length, chunk }, weights) =>
      traceCausalLM(model, entryOf(causalEntries, name), { maxBatch: batch, maxLength: length, chunk }, weights),
  };
}

const isCausalModel = (value: unknown): value is CausalModel =>
  value instanceof Module &&
  ['forward', 'finalNorm', 'logits'].every((name) => typeof Reflect.get(value, name) === 'function');

/** Names of classes of transformers end so, by the head. */
const endings: readonly (readonly [ending: string, task: TaskName])[] = [
  ['ForMaskedLM', 'masked-lm'],
  ['ForSequenceClassification', 'sequence-classification'],
  ['ForTokenClassification', 'token-classification'],
  ['ForQuestionAnswering', 'question-answering'],
  ['ForImageClassification', 'image-classification'],
];

/** What the model of a config.json is for, where nobody says: what its kind is for, and the head that it names. */
export function taskOf({ model_type: type, architectures }: JsonObject): TaskName {
  const family = typeof type === 'string' && Object.hasOwn(families, type) ? families[type] : undefined;
  if (family?.kind !== 'encoder') return family?.kind ?? 'causal-lm';
  const name: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  const [, task = 'encoder'] =
    (typeof name === 'string' ? endings.find(([ending]) => name.endsWith(ending)) : undefined) ?? [];
  return task;
}
