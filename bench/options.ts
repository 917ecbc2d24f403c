// Options of `modelc bench`, and the check of those that name something.
import type { BackendName } from '../backends/index.ts';
import { ModelcError } from '../ir/error.ts';

export interface BenchOptions {
  readonly smoke?: boolean;
  readonly shape?: readonly string[];
  readonly dtype?: readonly string[];
  readonly target?: BackendName;
  readonly only?: string;
  readonly reps?: number;
  readonly json?: boolean;
  /** Of the workload gpu: write what was measured to bench/results; leave other libraries out. */
  readonly save?: boolean;
  readonly peers?: boolean;
  /** Set in the measuring process: a RowPlan as JSON. */
  readonly row?: string;
}

/** Those of `known` that are asked for; all, if nothing is. Throws ModelcError 'input' for an unknown one. */
export function choose<T extends string>(
  what: string,
  asked: readonly string[] | undefined,
  known: readonly T[],
): readonly T[] {
  for (const a of asked ?? []) {
    if (!(known as readonly string[]).includes(a)) {
      throw new ModelcError('input', `there is no ${what} '${a}' to measure: choose among ${known.join(', ')}`);
    }
  }
  return known.filter((k) => !asked || asked.includes(k));
}
