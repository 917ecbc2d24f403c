// Columns that a model does not take are left out before examples are collated, as `remove_unused_columns` asks.
import { ModelcError } from '../../../ir/error.ts';
import type { DataCollator } from './collator.ts';

/** Columns that collators turn into others. */
const forCollators = ['label', 'label_ids', 'special_tokens_mask', 'offset_mapping'];

/** A collator that passes on the columns that a model takes. Throws ModelcError 'input' where there are none. */
export function remove_unused_columns(collator: DataCollator, columns: readonly string[]): DataCollator {
  const wanted = new Set([...columns, ...forCollators]);
  return (features, place) =>
    collator(
      features.map((row) => {
        if (Array.isArray(row)) return row;
        const kept = Object.entries(row).filter(([name]) => wanted.has(name));
        if (kept.length > 0) return Object.fromEntries(kept);
        throw new ModelcError(
          'input',
          `no column of the examples (${Object.keys(row).join(', ')}) is one that the model takes (${columns.join(', ')}); ` +
            'tokenize them first, or set remove_unused_columns: false',
        );
      }),
      place,
    );
}
