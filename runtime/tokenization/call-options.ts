// Options of a tokenizer's calls: names, values, and what they mean together, as in transformers.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { Truncation, TruncationStrategy } from './backend/engine.ts';
import { shown } from './backend/fields.ts';
import type { DecodeOptions, TokenizeOptions } from './types.ts';

const served = [
  'text_pair',
  'add_special_tokens',
  'padding',
  'truncation',
  'max_length',
  'pad_to_multiple_of',
  'padding_side',
  'return_tensor',
  'return_token_type_ids',
  'return_attention_mask',
  'return_special_tokens_mask',
  'return_length',
] as const satisfies readonly (keyof TokenizeOptions)[];

/** Options of transformers that are not served, with the value that asks for nothing. */
const unserved = {
  text_target: null,
  text_pair_target: null,
  stride: 0,
  is_split_into_words: false,
  return_tensors: null,
  return_overflowing_tokens: false,
  return_offsets_mapping: false,
  split_special_tokens: false,
  verbose: true,
  tokenizer_kwargs: null,
};

/** What an option must be. */
const kinds: Readonly<
  Partial<Record<(typeof served)[number], readonly [wanted: string, is: (value: unknown) => boolean]>>
> = {
  add_special_tokens: ['true or false', isBoolean],
  padding: [
    "true, false, 'longest', 'max_length' or 'do_not_pad'",
    oneOf(true, false, 'longest', 'max_length', 'do_not_pad'),
  ],
  truncation: [
    "true, false, 'longest_first', 'only_first', 'only_second' or 'do_not_truncate'",
    oneOf(true, false, 'longest_first', 'only_first', 'only_second', 'do_not_truncate'),
  ],
  max_length: ['an integer of at least 0', (value) => Number.isSafeInteger(value) && Number(value) >= 0],
  pad_to_multiple_of: ['an integer of at least 1', (value) => Number.isSafeInteger(value) && Number(value) >= 1],
  padding_side: ["'left' or 'right'", oneOf('left', 'right')],
  return_tensor: ['true or false', isBoolean],
  return_token_type_ids: ['true or false', isBoolean],
  return_attention_mask: ['true or false', isBoolean],
  return_special_tokens_mask: ['true or false', isBoolean],
  return_length: ['true or false', isBoolean],
};

function isBoolean(value: unknown): boolean {
  return typeof value === 'boolean';
}
function oneOf(...values: readonly unknown[]): (value: unknown) => boolean {
  return (value) => values.includes(value);
}

/** Refuses options of a call that it does not serve, and values that are not what they must be. */
export function checkCall(call: string, options: unknown, names: readonly (typeof served)[number][] = served): void {
  checkOptions(call, options, names, unserved);
  for (const [name, value] of Object.entries((options ?? {}) as Readonly<Record<string, unknown>>)) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name as (typeof served)[number]] : undefined;
    if (!kind || value === undefined || value === null || kind[1](value)) continue;
    throw new ModelcError('input', `${name} of ${call} must be ${kind[0]}, but is ${shown(value)}`);
  }
}

export function checkDecode(call: string, options: DecodeOptions): void {
  checkOptions(call, options, ['skip_special_tokens', 'clean_up_tokenization_spaces'], { use_source_tokenizer: false });
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || typeof value === 'boolean') continue;
    throw new ModelcError('input', `${name} of ${call} must be true or false, but is ${shown(value)}`);
  }
}

/** How rows are cut and filled. */
export interface Strategies {
  readonly truncation: Truncation | null;
  /** undefined: not at all; null: to the longest. */
  readonly padTo: number | null | undefined;
  readonly multiple: number;
}

export function strategiesOf(
  { padding, truncation, max_length, pad_to_multiple_of }: TokenizeOptions,
  model_max_length: number,
  side: 'left' | 'right',
): Strategies {
  const pads = padding !== undefined && padding !== null && padding !== false && padding !== 'do_not_pad';
  // A length alone asks for truncation.
  const asked = truncation ?? ((max_length ?? null) !== null && (padding ?? false) === false ? 'longest_first' : false);
  const strategy: TruncationStrategy | null =
    asked === true ? 'longest_first' : asked === false || asked === 'do_not_truncate' ? null : asked;
  const limit = max_length ?? model_max_length;
  const multiple = pad_to_multiple_of ?? 1;
  const cuts = strategy !== null && Number.isFinite(limit);
  if (pads && cuts && limit % multiple !== 0) {
    throw new ModelcError('input', `max_length is ${limit}, which is no multiple of pad_to_multiple_of, ${multiple}`);
  }
  if (padding === 'max_length' && !Number.isFinite(limit)) {
    throw new ModelcError('input', "padding 'max_length' needs `max_length`: the tokenizer names no model_max_length");
  }
  return {
    truncation: cuts && strategy ? { max_length: limit, strategy, side } : null,
    padTo: pads ? (padding === 'max_length' ? limit : null) : undefined,
    multiple,
  };
}
