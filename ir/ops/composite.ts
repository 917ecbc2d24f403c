// Composites: ops that models are written in and that have fast kernels of their own, each equivalent to a graph of
// simpler ops (`decompose`). Their `eval` is written directly, not through the decomposition, so that the two can be
// checked against each other.
import type { CompositeAttrs } from './attrs.ts';
import { attention } from './composite/attention.ts';
import { rope } from './composite/rope.ts';
import { crossEntropy, norm, softmax } from './composite/row.ts';
import type { OpTable } from './op.ts';

export const composite: OpTable<CompositeAttrs> = { softmax, norm, rope, attention, cross_entropy: crossEntropy };
