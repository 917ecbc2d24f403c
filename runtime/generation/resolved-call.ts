// One call of generate(), its arguments resolved.
import type { GenerateOptions } from './arguments.ts';
import type { ResolvedParameters } from './parameters.ts';

export interface ResolvedCall {
  readonly options: GenerateOptions;
  readonly parameters: ResolvedParameters;
  /** End-of-sequence ids; empty if there is none. */
  readonly eos: readonly number[];
  readonly pad: number | undefined;
  /** Length, prompt included, at which a row ends. */
  readonly maxLength: number;
  readonly minLength: number;
}
