// A checkpoint's config.json to a model. The registry goes by model_type, a member of the Llama family is one row; an
// architecture of the caller's own takes its place.
import { ModelcError } from '../../ir/error.ts';
import { LlamaForCausalLM } from '../../models/llama.ts';
import {
  type CausalEntry,
  type CausalLimits,
  type CausalModel,
  Module,
  type Traced,
  traceCausalLM,
} from '../dsl/index.ts';
import { type Checkpoint, weightResolver } from './checkpoint.ts';
import { type FamilyDefaults, Fields, maxPositions, readLlamaConfig } from './config.ts';
import { type JsonObject, quote } from './json.ts';

/** Makes a model from the config.json of its checkpoint. The paths of its fields are the names of the weights. */
export type Architecture = (config: JsonObject) => CausalModel;

/** A decoder-only language model that a checkpoint holds. */
export interface CausalLM {
  readonly config: {
    readonly modelType: string;
    readonly vocabSize: number;
    readonly maxPositionEmbeddings: number;
    readonly bosTokenId?: number;
    readonly eosTokenId?: number | readonly number[];
    readonly padTokenId?: number;
  };
  /** The graph of an entry; see traceCausalLM for its inputs and results. */
  graph(entry: CausalEntry, limits: CausalLimits): Traced;
}

/** Sliding window on the layers that `layer_types` names, else on those that `otherwise` picks. */
const windows = (config: Fields, window: number, otherwise: (layer: number) => boolean, layers: number): number[] => {
  const types = config.json.layer_types;
  return Array.from({ length: layers }, (_, i) => {
    const sliding = Array.isArray(types) ? types[i] === 'sliding_attention' : otherwise(i);
    return sliding ? window : 0;
  });
};

const qwenWindows = (config: Fields, layers: number): number[] => {
  const window = config.flag('use_sliding_window', false) ? config.count('sliding_window', 4096) : 0;
  const from = config.number('max_window_layers', 28);
  return windows(config, window, (i) => i >= from, layers);
};

const families: Readonly<Record<string, FamilyDefaults>> = {
  llama: {},
  mistral: {
    kvHeads: 8,
    intermediateSize: 14336,
    maxPositions: 4096 * 32,
    options(config, { layers }) {
      // Absent means the class default; null means no window.
      const open = Object.hasOwn(config.json, 'sliding_window') && !config.has('sliding_window');
      return { windows: windows(config, open ? 0 : config.count('sliding_window', 4096), () => true, layers) };
    },
  },
  qwen2: {
    kvHeads: 32,
    vocabSize: 151936,
    intermediateSize: 22016,
    maxPositions: 32768,
    options: (config, { layers }) => ({ qkvBias: true, outputBias: false, windows: qwenWindows(config, layers) }),
  },
  qwen3: {
    headDim: 128,
    kvHeads: 32,
    vocabSize: 151936,
    intermediateSize: 22016,
    maxPositions: 32768,
    options: (config, { layers }) => ({ qkNorm: true, windows: qwenWindows(config, layers) }),
  },
  gemma: {
    headDim: 256,
    kvHeads: 16,
    vocabSize: 256000,
    intermediateSize: 24576,
    maxPositions: 8192,
    activation: 'gelu_pytorch_tanh',
    tied: true,
    options: (_, { hiddenSize }) => ({ normOffset: 1, embeddingScale: Math.sqrt(hiddenSize) }),
  },
  granite: {
    options: (config) => ({
      embeddingScale: config.positive('embedding_multiplier', 1),
      attentionScale: config.positive('attention_multiplier', 1),
      residualScale: config.positive('residual_multiplier', 1),
      logitsScale: config.positive('logits_scaling', 1),
    }),
  },
};

/** The model_types that `causalLM` knows. */
export const supportedModels: readonly string[] = Object.keys(families);

/** A model and what else the config says of it. */
interface Described {
  readonly model: CausalModel;
  readonly modelType: string;
  readonly vocabSize: number;
  readonly maxPositionEmbeddings: number;
}

function knownModel(fields: Fields): Described {
  const modelType = fields.text('model_type', '');
  if (!Object.hasOwn(families, modelType)) {
    throw new ModelcError(
      'checkpoint',
      `${fields.where} has model_type ${quote(modelType)}, which is not known; supported: ${supportedModels.join(', ')}`,
    );
  }
  const defaults = families[modelType];
  const config = readLlamaConfig(fields, defaults);
  return {
    model: new LlamaForCausalLM(config),
    modelType,
    vocabSize: config.vocabSize,
    maxPositionEmbeddings: maxPositions(fields, defaults),
  };
}

function ownModel(fields: Fields, architecture: Architecture): Described {
  const model: unknown = architecture(fields.json);
  if (!isCausalModel(model)) {
    throw new ModelcError(
      'input',
      "`architecture` must return a model: a Module of 'modelc/nn' with the methods forward, finalNorm and logits",
    );
  }
  return {
    model,
    modelType: 'custom',
    vocabSize: fields.count('vocab_size'),
    maxPositionEmbeddings: fields.count('max_position_embeddings'),
  };
}

const isCausalModel = (value: unknown): value is CausalModel =>
  value instanceof Module &&
  ['forward', 'finalNorm', 'logits'].every((name) => typeof Reflect.get(value, name) === 'function');

/**
 * The model of a checkpoint: the one that `architecture` makes, else the one that its model_type names. Throws ModelcError
 * 'checkpoint' for an unknown architecture or an inconsistent config.
 */
export function causalLM(checkpoint: Checkpoint, architecture?: Architecture): CausalLM {
  const fields = new Fields(checkpoint.config, `${checkpoint.dir}/config.json`);
  if (fields.has('quantization_config')) {
    throw new ModelcError(
      'unsupported',
      `${fields.where} has a quantization_config; use the checkpoint with unquantized weights`,
    );
  }
  const { model, ...described } = architecture ? ownModel(fields, architecture) : knownModel(fields);
  const [bosTokenId, eosTokenId, padTokenId] = [
    fields.token('bos_token_id'),
    fields.tokens('eos_token_id'),
    fields.token('pad_token_id'),
  ];
  const weights = weightResolver(checkpoint);
  return {
    config: {
      ...described,
      ...(bosTokenId === undefined ? {} : { bosTokenId }),
      ...(eosTokenId === undefined ? {} : { eosTokenId }),
      ...(padTokenId === undefined ? {} : { padTokenId }),
    },
    graph: (entry, limits) => traceCausalLM(model, entry, limits, weights),
  };
}
