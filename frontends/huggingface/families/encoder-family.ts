// The fields that the configs of encoders have in common, and the heads that all of them have alike.
import { ModelcError } from '../../../ir/error.ts';
import type { EncoderConfig, EncoderDropout } from '../../../models/encoder.ts';
import type { ActivationName, EncoderHead, EncoderHeadName } from '../../dsl/index.ts';
import { dropout, Linear } from '../../dsl/index.ts';
import type { Fields } from '../fields.ts';
import { headSize } from './family.ts';

/** The defaults of a config class. */
export interface EncoderDefaults {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: ActivationName;
  readonly padding: number;
  /** Rates of dropout of hidden states and of the probabilities of attention. */
  readonly dropout: number;
}

export const bertDefaults: EncoderDefaults = {
  vocabSize: 30522,
  hiddenSize: 768,
  intermediateSize: 3072,
  layers: 12,
  heads: 12,
  activation: 'gelu',
  padding: 0,
  dropout: 0.1,
};

/** The names of fields, where they are not BERT's. */
export type FieldNames = Partial<Record<Exclude<keyof EncoderDefaults, 'padding' | 'dropout'>, string>>;

export function readEncoderConfig(
  config: Fields,
  labels: number,
  defaults: EncoderDefaults,
  names: FieldNames = {},
): EncoderConfig {
  for (const flag of ['is_decoder', 'add_cross_attention']) {
    if (config.flag(flag, false)) {
      throw new ModelcError('unsupported', `${config.where}: ${flag} is not supported for encoders; leave it out`);
    }
  }
  const size = (field: 'vocabSize' | 'hiddenSize' | 'intermediateSize' | 'heads', name: string): number =>
    config.size(names[field] ?? name, defaults[field]);
  const hiddenSize = size('hiddenSize', 'hidden_size');
  const heads = size('heads', 'num_attention_heads');
  headSize(config, names.hiddenSize ?? 'hidden_size', hiddenSize, names.heads ?? 'num_attention_heads', heads);
  return {
    vocabSize: size('vocabSize', 'vocab_size'),
    hiddenSize,
    intermediateSize: size('intermediateSize', 'intermediate_size'),
    layers: config.parts(names.layers ?? 'num_hidden_layers', defaults.layers),
    heads,
    maxPositions: config.size('max_position_embeddings', 512),
    activation: config.activation(names.activation ?? 'hidden_act', defaults.activation),
    normEps: config.positive('layer_norm_eps', 1e-12),
    padding: Object.hasOwn(config.json, 'pad_token_id') ? config.token('pad_token_id') : defaults.padding,
    tiedEmbeddings: config.isTied(true),
    tiedBias: config.flag('tie_word_embeddings', true),
    labels,
    dropout: readDropout(config, defaults),
  };
}

/** The rates of dropout under BERT's names. */
function readDropout(config: Fields, defaults: EncoderDefaults): EncoderDropout {
  const hidden = config.rate('hidden_dropout_prob', defaults.dropout);
  const classifier = config.rate('classifier_dropout', hidden);
  return {
    embeddings: hidden,
    probabilities: config.rate('attention_probs_dropout_prob', defaults.dropout),
    attention: hidden,
    mlp: hidden,
    sequences: classifier,
    tokens: classifier,
    answers: 0,
  };
}

/** The heads that all encoders have alike: one linear layer over every position. */
export function linearHead({ hiddenSize, labels, dropout: rates }: EncoderConfig, task: EncoderHeadName): EncoderHead {
  const linear = new Linear(hiddenSize, labels);
  const isAnswer = task === 'question-answering';
  return {
    fields: { [isAnswer ? 'qa_outputs' : 'classifier']: linear },
    logits: (hidden) => linear.forward(dropout(hidden, isAnswer ? rates.answers : rates.tokens)),
  };
}

/** The head of a task; `own` are those that a family has for itself. */
export function headOf(
  config: EncoderConfig,
  task: EncoderHeadName | undefined,
  own: { readonly predictions: () => EncoderHead; readonly classifier: () => EncoderHead },
): EncoderHead | undefined {
  switch (task) {
    case undefined:
    case 'image-classification':
      return undefined;
    case 'masked-lm':
      return own.predictions();
    case 'sequence-classification':
      return own.classifier();
    case 'token-classification':
    case 'question-answering':
      return linearHead(config, task);
    default:
      return task satisfies never;
  }
}
