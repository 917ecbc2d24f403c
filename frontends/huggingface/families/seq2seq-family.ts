// What a family of encoder-decoder models is to the rest of the frontend.
import type { EncoderDecoder } from '../../dsl/index.ts';
import type { Fields } from '../fields.ts';

/** An encoder-decoder model, and what else its config says of it. */
export interface DescribedSeq2Seq {
  readonly model: EncoderDecoder;
  readonly vocabSize: number;
  /** Positions of a source and of a target; undefined where the model has no bound. */
  readonly maxPositions: number | undefined;
  /** The token that targets begin with (the last one of their row), and the one that fills them up. */
  readonly start: number | 'last';
  readonly pad: number;
  /** Standard deviation of the weights of a new model, or the factor of it. */
  readonly initializerRange: number;
}

export interface Seq2SeqFamily {
  /** `has`: whether the checkpoint has a weight. Throws ModelcError 'checkpoint' for an inconsistent config. */
  read(config: Fields, has: (weight: string) => boolean): DescribedSeq2Seq;
  /** The path of the model below its head: checkpoints of that model alone lack it in their names. */
  readonly prefix: string;
  /** The modules that LoRA adapts where nobody says which, as PEFT's table has them; without it they must be named. */
  readonly loraTargets?: readonly string[];
}
