// What the writers of an artifact's target parts are given.
import type { Program } from '../../ir/program.ts';
import type { Target } from '../../ir/target.ts';
import type { OpenedModel } from '../models/open.ts';

/** What the writer of a target works with. */
export interface WriteJob {
  readonly opened: OpenedModel;
  /** The folder to write to. */
  readonly draft: string;
  /** Files that lie there already: config and tokenizer. */
  readonly copied: readonly string[];
  /** Compiles the model; the first call dumps what the caller asked for. */
  readonly compile: (target: Target) => Program;
  /** Writes what programs read of the checkpoint, and gives the names of the files. */
  readonly writeWeights: (programs: readonly Program[]) => Promise<readonly string[]>;
  /** Announces a stage. Throws when the caller has stopped the compilation. */
  readonly begin: (stage: string) => void;
}
