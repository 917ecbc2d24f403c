// A config.json to a model: the family that its model_type names reads it (families/), or an architecture of the caller's
// own takes its place. With the weights of a checkpoint beside it, it is what the compiler traces.
import { ModelcError } from '../../ir/error.ts';
import {
  type CausalEntry,
  type CausalLimits,
  type CausalModel,
  Module,
  type Traced,
  traceCausalLM,
} from '../dsl/index.ts';
import { type Checkpoint, weightResolver } from './checkpoint.ts';
import type { Described } from './families/family.ts';
import { families, seq2seqFamilies } from './families/index.ts';
import { otherNames } from './families/other-names.ts';
import { type Beside, Fields } from './fields.ts';
import { type Fit, type FitOptions, fitted } from './fit.ts';
import { type JsonObject, quote } from './json.ts';

/** Makes a model from the config.json of its checkpoint. The paths of its fields are the names of the weights. */
export type Architecture = (config: JsonObject) => CausalModel;

/** A decoder-only language model as its config.json describes it. */
export interface CausalDescription {
  readonly model: CausalModel;
  readonly config: {
    readonly modelType: string;
    readonly vocabSize: number;
    readonly maxPositionEmbeddings: number;
    /** Standard deviation of the weights of a new model. */
    readonly initializerRange: number;
    readonly bosTokenId?: number;
    readonly eosTokenId?: number | readonly number[];
    readonly padTokenId?: number;
  };
  /** The modules that LoRA adapts where nobody names any, as PEFT has them for this model_type. */
  readonly loraTargets: readonly string[] | undefined;
}

/** What a checkpoint has for a model. */
export interface Fitted extends Pick<Fit, 'fresh' | 'notes'> {
  /** The checkpoint, those of its weights that the model reads, under the names that it has for them. */
  readonly checkpoint: Checkpoint;
}

/** A decoder-only language model that a checkpoint holds. */
export interface CausalLM extends CausalDescription, Fitted {
  /** The graph of an entry; see traceCausalLM for its inputs and results. */
  graph(entry: CausalEntry, limits: CausalLimits): Traced;
}

/** The model_types of causal language models that are known. */
export const supportedModels: readonly string[] = Object.keys(families);

interface Known extends Described {
  readonly modelType: string;
  readonly prefix: string;
  readonly loraTargets: readonly string[] | undefined;
}

function knownModel(fields: Fields): Known {
  const modelType = fields.text('model_type', '');
  if (Object.hasOwn(seq2seqFamilies, modelType)) {
    throw new ModelcError(
      'checkpoint',
      `${fields.where} has model_type ${quote(modelType)}, which has an encoder; load it with AutoModelForSeq2SeqLM`,
    );
  }
  if (!Object.hasOwn(families, modelType)) {
    throw new ModelcError(
      'checkpoint',
      `${fields.where} has model_type ${quote(modelType)}, which is not known; supported: ${supportedModels.join(', ')}`,
    );
  }
  const { prefix, loraTargets, read } = families[modelType];
  const named = fields.withOtherNames(otherNames[modelType] ?? {});
  return { ...named.made(() => read(named)), modelType, prefix, loraTargets };
}

function ownModel(fields: Fields, architecture: Architecture): Known {
  const model: unknown = architecture(fields.json);
  if (!isCausalModel(model)) {
    throw new ModelcError(
      'input',
      "`architecture` must return a model: a Module of 'modelc/nn' with the methods forward, finalNorm and logits",
    );
  }
  return {
    model,
    vocabSize: fields.count('vocab_size'),
    maxPositions: fields.count('max_position_embeddings'),
    modelType: 'custom',
    prefix: '',
    loraTargets: undefined,
  };
}

const isCausalModel = (value: unknown): value is CausalModel =>
  value instanceof Module &&
  ['forward', 'finalNorm', 'logits'].every((name) => typeof Reflect.get(value, name) === 'function');

function describe(fields: Fields, known: Known): CausalDescription {
  const [bosTokenId, eosTokenId, padTokenId] = [
    fields.token('bos_token_id'),
    fields.tokens('eos_token_id'),
    fields.token('pad_token_id'),
  ];
  return {
    model: known.model,
    loraTargets: known.loraTargets,
    config: {
      modelType: known.modelType,
      vocabSize: known.vocabSize,
      maxPositionEmbeddings: known.maxPositions,
      initializerRange: fields.positive(
        'initializer_range',
        fields.positive('init_std', known.initializerRange ?? 0.02),
      ),
      ...(bosTokenId === undefined ? {} : { bosTokenId }),
      ...(eosTokenId === undefined ? {} : { eosTokenId }),
      ...(padTokenId === undefined ? {} : { padTokenId }),
    },
  };
}

const knownOrOwn = (fields: Fields, architecture: Architecture | undefined): Known =>
  architecture ? ownModel(fields, architecture) : knownModel(fields);

/**
 * The model of a config.json, which `where` names in messages: the one that `architecture` makes, else the one that its
 * model_type names. Throws ModelcError 'checkpoint' for an unknown architecture or an inconsistent config.
 */
export function describeCausalLM(
  config: JsonObject,
  where: string,
  architecture?: Architecture,
  beside: Beside = {},
): CausalDescription & { readonly prefix: string } {
  const fields = new Fields(config, where, beside);
  const known = knownOrOwn(fields, architecture);
  return { ...describe(fields, known), prefix: known.prefix };
}

/** Throws ModelcError 'unsupported' for weights that are packed. */
export function refuseQuantized(fields: Fields): void {
  if (!fields.has('quantization_config')) return;
  throw new ModelcError(
    'unsupported',
    `${fields.where} has a quantization_config; use the checkpoint with unquantized weights`,
  );
}

/** The model of a checkpoint. Errors are those of describeCausalLM, and 'checkpoint' for weights that do not fit it. */
export function causalLM(checkpoint: Checkpoint, architecture?: Architecture, options: FitOptions = {}): CausalLM {
  const where = `${checkpoint.dir}/config.json`;
  const fields = new Fields(checkpoint.config, where);
  refuseQuantized(fields);
  const { described, fit } = fitted(
    checkpoint,
    (beside) => describeCausalLM(checkpoint.config, where, architecture, beside),
    ({ model, prefix }) => ({
      model,
      prefix,
      isNew: (path) => !architecture && !path.startsWith(`${prefix}.`),
      isOwn: architecture !== undefined,
    }),
    options,
  );
  const found = fittedCheckpoint(checkpoint, fit);
  const weights = weightResolver(found.checkpoint, fit.fresh);
  const graph: CausalLM['graph'] = (entry, limits) => traceCausalLM(described.model, entry, limits, weights);
  // an architecture of the caller's own is not what config.json describes
  if (architecture) return { ...described, ...found, graph };
  return { ...described, ...found, graph: (entry, limits) => fields.made(() => graph(entry, limits)) };
}

/** A checkpoint of the weights that a model reads. */
export const fittedCheckpoint = (checkpoint: Checkpoint, { tensors, fresh, notes }: Fit): Fitted => ({
  checkpoint: { ...checkpoint, tensors },
  fresh,
  notes,
});
