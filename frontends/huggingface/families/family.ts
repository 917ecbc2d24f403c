// What a family of models is to the rest of the frontend. One file a family stands beside this one: it reads config.json,
// with the defaults of transformers' config class, into the architecture of models/.
import { ModelcError } from '../../../ir/error.ts';
import type { CausalModel } from '../../dsl/index.ts';
import type { Fields } from '../fields.ts';

/** A model, and what else its config says of it. */
export interface Described {
  readonly model: CausalModel;
  readonly vocabSize: number;
  readonly maxPositions: number;
  /** The deviation of new weights where the config says none; 0.02 without it. */
  readonly initializerRange?: number;
}

export interface Family {
  /** Throws ModelcError 'checkpoint' for an inconsistent config. */
  read(config: Fields): Described;
  /** The path of the model below its head: checkpoints of that model alone lack it in their names. */
  readonly prefix: string;
  /** The modules that LoRA adapts where nobody says which, as PEFT's table has them; without it they must be named. */
  readonly loraTargets?: readonly string[];
}

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
