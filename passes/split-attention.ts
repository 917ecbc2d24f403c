// Splits the keys of attention over threads (flash-decoding, Dao et al. 2023). Attention runs as one task per batch row,
// group of key heads and chunk of queries; with one query and few groups, threads would idle. Then each task gets a run of
// the keys (`attention_split`), and a second launch combines what came out (`attention_merge`).
import { dimConst } from '../ir/dim.ts';
import { make } from '../ir/make.ts';
import { rewrite } from '../ir/rewrite.ts';
import type { Target } from '../ir/target.ts';
import type { Pass } from './pass.ts';

/** More parts than this cost more to combine than they save. */
const maxSplits = 16;

/** Into how many parts the keys of a one-query attention with this many groups of key heads go; 1: not worth a launch. */
export const splitsFor = (target: Target, groups: number): number =>
  Math.min(maxSplits, Math.ceil(target.threads / groups));

export const splitAttention: Pass = {
  name: 'split-attention',
  run: (graph, target) =>
    rewrite(graph, {
      attention(node) {
        const [q, k] = node.args;
        const groups = dimConst(k.type.shape[1]);
        if (dimConst(q.type.shape[2]) !== 1 || !groups) return undefined;
        const splits = splitsFor(target, groups);
        if (splits <= 1) return undefined;
        const parts = make('attention_split', node.args, { ...node.attrs, splits });
        return make('attention_merge', [parts], { dtype: node.type.dtype });
      },
    }),
};
