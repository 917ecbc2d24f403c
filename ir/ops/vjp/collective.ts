// Reverse-mode rules of collectives. What is differentiated is the sum of the losses of all ranks, so each rule is the
// transpose of the exchange: what went to many ranks comes back summed.
import { compare, div, indicator, where } from '../../build.ts';
import { make } from '../../make.ts';
import type { CollectiveAttrs } from '../attrs.ts';
import type { VjpTable } from './rule.ts';
import { discrete } from './rule.ts';

export const collective: VjpTable<CollectiveAttrs> = {
  all_gather: ({ attrs }, c) => [make('reduce_scatter', [c], { ...attrs, op: 'add' })],
  /** The ranks that attain an extreme share the cotangent. */
  all_reduce(node, c) {
    const [x] = node.args;
    const { mesh, size, op } = node.attrs;
    const total = make('all_reduce', [c], { mesh, size, op: 'add' });
    if (op === 'add') return [total];
    const attains = compare('eq', x, node);
    const ties = make('all_reduce', [indicator(attains, x)], { mesh, size, op: 'add' });
    return [where(attains, div(total, ties))];
  },
  reduce_scatter: ({ attrs: { mesh, size, axis } }, c) => [make('all_gather', [c], { mesh, size, axis })],
  all_to_all({ attrs: { mesh, size, split, concat } }, c) {
    return [make('all_to_all', [c], { mesh, size, split: concat, concat: split })];
  },
  permute: ({ attrs }, c) => [make('permute', [c], { ...attrs, shift: -attrs.shift })],
  axis_index: discrete,
};
