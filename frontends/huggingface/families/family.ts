// What a family of models is to the rest of the frontend. One file a family stands beside this one: it reads config.json,
// with the defaults of transformers' config class, into the architecture of models/. A family is of one kind.
import { ModelcError } from '../../../ir/error.ts';
import type {
  CausalModel,
  Encoder,
  EncoderDecoder,
  EncoderHead,
  EncoderHeadName,
  ImageEncoder,
} from '../../dsl/index.ts';
import type { Fields } from '../fields.ts';

/** What a model is, whatever it is used for: how it is run, and what it is given. */
export const kindNames = ['causal-lm', 'seq2seq-lm', 'encoder'] as const;
/** One of kindNames. */
export type KindName = (typeof kindNames)[number];

/** What all models' configs say. */
interface Sizes {
  readonly vocabSize: number;
  /** Positions of the longest sequence; undefined where the model has no bound. */
  readonly maxPositions: number | undefined;
  /** The deviation of new weights where the config says none; 0.02 without it. */
  readonly initializerRange?: number;
}

/** A model, and what else its config says of it, by kind. */
export interface Described {
  'causal-lm': Sizes & { readonly model: CausalModel; readonly maxPositions: number };
  'seq2seq-lm': Sizes & {
    readonly model: EncoderDecoder;
    /** The token that targets begin with (the last one of their row), and the one that fills them up. */
    readonly start: number | 'last';
    readonly pad: number;
    /** Standard deviation of the weights of a new model, or the factor of it. */
    readonly initializerRange: number;
  };
  encoder: Sizes & {
    readonly encoder: Encoder | ImageEncoder;
    /** Of the task that was asked for. */
    readonly head: EncoderHead | undefined;
  };
}

/** What a model is made for, and what is known of its weights. */
export interface Asked {
  /** The head of an encoder; undefined: the encoder alone. */
  readonly head: EncoderHeadName | undefined;
  /** Classes of a head, or numbers that a regression gives. */
  readonly labels: number;
  /** Whether the checkpoint has a weight. */
  has(weight: string): boolean;
}

/** What a family's file exports. */
export interface FamilyReader<K extends KindName> {
  /** Throws ModelcError 'checkpoint' for an inconsistent config. */
  read(config: Fields, asked: Asked): Described[K];
  /** The path of the model below its head: checkpoints of that model alone lack it in their names. */
  readonly prefix: string;
  /** The modules that LoRA adapts where nobody says which, as PEFT's table has them; without it they must be named. */
  readonly loraTargets?: readonly string[];
}
export type CausalFamily = FamilyReader<'causal-lm'>;
export type Seq2SeqFamily = FamilyReader<'seq2seq-lm'>;
export type EncoderFamily = FamilyReader<'encoder'>;

/** A row of the table of families. */
export interface Family<K extends KindName> extends FamilyReader<K> {
  readonly modelType: string;
  readonly kind: K;
  /** The other names that fields of its config may have. */
  readonly names: Readonly<Record<string, string>>;
}
/** A family of any kind. */
export type AnyFamily = { [K in KindName]: Family<K> }[KindName];

/** The size of a head. */
export function headSize(config: Fields, size: string, hiddenSize: number, heads: string, count: number): number {
  if (hiddenSize % count !== 0) config.fail(size, `a multiple of ${heads} ${count}`);
  return hiddenSize / count;
}

/** Throws ModelcError 'unsupported' where a field has another value than the one that is served. */
export function requireValue(config: Fields, name: string, served: boolean | string): void {
  if (config.has(name) && config.json[name] !== served) {
    throw new ModelcError(
      'unsupported',
      `${config.where}: ${name} ${JSON.stringify(config.json[name])} is not supported, only ${JSON.stringify(served)}`,
    );
  }
}
