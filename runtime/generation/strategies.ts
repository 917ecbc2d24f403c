// Ways to choose tokens, one row each. A call is served by the first row that it asks for.
import { beamSearch } from './beam-search.ts';
import type { ResolvedParameters } from './parameters.ts';
import type { Decoded, Run } from './run.ts';
import { sample } from './sample.ts';

interface Strategy {
  readonly name: string;
  readonly isAsked: (parameters: ResolvedParameters) => boolean;
  readonly run: (run: Run) => Promise<Decoded>;
}

const strategies: readonly Strategy[] = [
  { name: 'beam search', isAsked: (g) => g.num_beams > 1, run: beamSearch },
  { name: 'greedy search and sampling', isAsked: () => true, run: sample },
];

/** Generates by the strategy that the call asks for. */
export const runStrategy = (run: Run): Promise<Decoded> =>
  strategies.find(({ isAsked }) => isAsked(run.call.parameters))!.run(run);
