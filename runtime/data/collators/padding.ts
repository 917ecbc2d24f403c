// Collators that pad: rows of tokens become as long as the longest of the batch, on the side that the tokenizer names.
// Semantics and names are those of transformers' data collators.
import { ignoredLabel } from '../../../frontends/dsl/index.ts';
import { ModelcError } from '../../../ir/error.ts';
import type { TextTokenizer } from '../../tokenization/tokenizer.ts';
import {
  type Batch,
  collatorClass,
  type Feature,
  isList,
  listOf,
  requireFeatures,
  show,
  stack,
  tensor,
} from './collator.ts';

export type PadTokenizer = Pick<TextTokenizer, 'pad_token_id' | 'model_max_length' | 'padding_side'>;

/** Options of collators that pad: names and defaults are those of transformers. */
export interface PaddingOptions {
  /** What names the padding token and its side. */
  tokenizer: PadTokenizer;
  /** true or 'longest': to the longest of the batch; 'max_length': to max_length; false: examples must be of one length. */
  padding?: boolean | 'longest' | 'max_length';
  /** The length with `padding: 'max_length'`; default: the tokenizer's model_max_length. */
  max_length?: number;
  /** Lengths become multiples of this. */
  pad_to_multiple_of?: number;
}
/** Options of collators that pad labels, too. */
export interface LabelPaddingOptions extends PaddingOptions {
  /** What pads labels (-100, which losses pass over). */
  label_pad_token_id?: number;
}

const paddingOptions = ['tokenizer', 'padding', 'max_length', 'pad_to_multiple_of'] as const;

/** Makes tensors of examples of one length. `label` and `label_ids` become `labels`; text is left out. */
export const DefaultDataCollator = collatorClass(
  'DefaultDataCollator',
  [],
  (_options: Record<string, never> | undefined) => default_data_collator,
);

/**
 * Makes tensors of examples of one length, as DefaultDataCollator: `label` and `label_ids` become `labels`; text is
 * left out.
 */
export function default_data_collator(features: readonly object[]): Batch {
  const rows = requireFeatures(features);
  const batch: Batch = {};
  for (const [name, value] of Object.entries(rows[0])) {
    if (value === null || value === undefined || typeof value === 'string') continue;
    batch[labelName(name)] = columnOf(rows, name);
  }
  return batch;
}

/** Pads what a tokenizer gives: input_ids, attention_mask, token_type_ids and special_tokens_mask. */
export const DataCollatorWithPadding = collatorClass(
  'DataCollatorWithPadding',
  paddingOptions,
  (options: PaddingOptions) => (features) => {
    const batch = pad(requireFeatures(features), options);
    return Object.fromEntries(Object.entries(batch).map(([name, column]) => [labelName(name), column]));
  },
);

/** Pads the labels of tokens as well. */
export const DataCollatorForTokenClassification = collatorClass(
  'DataCollatorForTokenClassification',
  [...paddingOptions, 'label_pad_token_id'],
  (options: LabelPaddingOptions) => (features) => {
    const rows = requireFeatures(features);
    const name = 'label' in rows[0] ? 'label' : 'labels';
    const batch = pad(without(rows, [name]), options);
    if (!(name in rows[0])) return batch;
    const length = batch.input_ids.shape[1];
    const labels = padRows(rows, name, length, options.label_pad_token_id ?? ignoredLabel, sideOf(options.tokenizer));
    return { ...batch, [name]: labels };
  },
);

/** What builds decoder_input_ids; without it the task of the model moves the labels itself. */
export interface DecoderInputMaker {
  prepare_decoder_input_ids_from_labels?(labels: Batch[string]): Batch[string];
}
/** Options of DataCollatorForSeq2Seq. */
export interface Seq2SeqOptions extends LabelPaddingOptions {
  /** What builds decoder_input_ids, where it can. */
  model?: DecoderInputMaker;
}

/** Pads inputs and labels, each to its own length. */
export const DataCollatorForSeq2Seq = collatorClass(
  'DataCollatorForSeq2Seq',
  [...paddingOptions, 'label_pad_token_id', 'model'],
  (options: Seq2SeqOptions) => (features) => {
    const rows = requireFeatures(features);
    const name = 'label' in rows[0] ? 'label' : 'labels';
    const batch = pad(without(rows, [name]), options);
    if (rows.every((row) => row[name] === undefined || row[name] === null)) return batch;
    const length = paddedLength(rows, name, options);
    const labels = padRows(rows, name, length, options.label_pad_token_id ?? ignoredLabel, sideOf(options.tokenizer));
    const decoder = options.model?.prepare_decoder_input_ids_from_labels?.(labels);
    return { ...batch, labels, ...(decoder && { decoder_input_ids: decoder }) };
  },
);

/** Examples whose columns hold one row for each choice: tensors [batch, choices, length]. */
export const DataCollatorForMultipleChoice = collatorClass(
  'DataCollatorForMultipleChoice',
  paddingOptions,
  (options: PaddingOptions) => (features) => {
    const rows = requireFeatures(features);
    const name = 'label' in rows[0] ? 'label' : 'labels';
    const inputs = without(rows, [name]);
    const choices = choicesOf(inputs[0], 0);
    const flat = inputs.flatMap((row, example) => {
      if (choicesOf(row, example) !== choices) {
        throw new ModelcError(
          'input',
          `example ${example} has ${choicesOf(row, example)} choices, but example 0 has ${choices}`,
        );
      }
      return Array.from({ length: choices }, (_, i) =>
        Object.fromEntries(Object.entries(row).map(([key, value]) => [key, (value as ArrayLike<unknown>)[i]])),
      );
    });
    const batch: Batch = {};
    for (const [key, { dtype, shape, data }] of Object.entries(pad(flat, options))) {
      batch[key] = { dtype, shape: [rows.length, choices, ...shape.slice(1)], data };
    }
    return name in rows[0] ? { ...batch, labels: columnOf(rows, name) } : batch;
  },
);

/** What fills up a column of tokens. */
const fills: Readonly<Record<string, (tokenizer: PadTokenizer) => number>> = {
  input_ids: padId,
  attention_mask: () => 0,
  token_type_ids: () => 0,
  special_tokens_mask: () => 1,
};

/** The columns of tokens padded, others stacked; an attention_mask is made where there is none. */
export function pad(rows: readonly Feature[], options: PaddingOptions): Batch {
  if (rows[0].input_ids === undefined) {
    const names = Object.keys(rows[0]).join(', ');
    throw new ModelcError('input', `examples to be padded need the column input_ids; they have: ${names}`);
  }
  const masked = rows.map((row) =>
    row.attention_mask === undefined
      ? { ...row, attention_mask: listOf(row.input_ids, 'input_ids').map(() => 1) }
      : row,
  );
  const length = paddedLength(rows, 'input_ids', options);
  const batch: Batch = {};
  for (const name of Object.keys(masked[0])) {
    if (!Object.hasOwn(fills, name)) batch[name] = columnOf(masked, name);
    else {
      const needsFill = masked.some((row) => listOf(row[name], name).length < length);
      batch[name] = padRows(
        masked,
        name,
        length,
        needsFill ? fills[name](options.tokenizer) : 0,
        sideOf(options.tokenizer),
      );
    }
  }
  return batch;
}

function paddedLength(rows: readonly Feature[], name: string, options: PaddingOptions): number {
  const { padding = true, max_length, pad_to_multiple_of: multiple = 1, tokenizer } = options;
  const lengths = rows.map((row) => listOf(row[name], name).length);
  const longest = Math.max(...lengths);
  if (padding === false) {
    const other = lengths.findIndex((length) => length !== longest);
    if (other < 0) return longest;
    throw new ModelcError(
      'input',
      `column "${name}" has ${lengths[other]} values in example ${other}, but ${longest} in another; set padding`,
    );
  }
  const limit = max_length ?? tokenizer.model_max_length;
  if (padding !== 'max_length') return Math.ceil(longest / multiple) * multiple;
  if (!Number.isFinite(limit)) {
    throw new ModelcError('input', "padding: 'max_length' needs max_length, because the tokenizer names no limit");
  }
  return Math.ceil(Math.max(longest, limit) / multiple) * multiple;
}

export function padRows(
  rows: readonly Feature[],
  name: string,
  length: number,
  fill: number,
  side: 'left' | 'right',
): Batch[string] {
  const numbers: number[] = [];
  for (const [example, row] of rows.entries()) {
    const list = listOf(row[name], name);
    if (list.length > length) {
      throw new ModelcError(
        'input',
        `column "${name}" has ${list.length} values in example ${example}, but its inputs have only ${length}`,
      );
    }
    const filling = new Array<number>(length - list.length).fill(fill);
    if (side === 'left') numbers.push(...filling, ...list);
    else numbers.push(...list, ...filling);
  }
  return tensor(name, numbers, [rows.length, length]);
}

export const sideOf = (tokenizer: PadTokenizer): 'left' | 'right' => tokenizer.padding_side;

export function padId(tokenizer: PadTokenizer): number {
  if (tokenizer.pad_token_id !== null) return tokenizer.pad_token_id;
  throw new ModelcError(
    'input',
    'the examples differ in length and the tokenizer has no pad token; set one, for example: tokenizer.pad_token = tokenizer.eos_token',
  );
}

const labelName = (name: string): string => (name === 'label' || name === 'label_ids' ? 'labels' : name);

function columnOf(rows: readonly Feature[], name: string): Batch[string] {
  const missing = rows.findIndex((row) => row[name] === undefined || row[name] === null);
  if (missing >= 0)
    throw new ModelcError('input', `example ${missing} has no "${name}", which others of its batch have`);
  return stack(
    name,
    rows.map((row) => row[name]),
  );
}

const without = (rows: readonly Feature[], names: readonly string[]): Feature[] =>
  rows.map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name))));

function choicesOf(row: Feature, example: number): number {
  const ids = row.input_ids;
  if (isList(ids) && ids.length > 0 && isList(ids[0])) return ids.length;
  throw new ModelcError(
    'input',
    `input_ids of example ${example} must hold a row for each choice, but is ${show(ids)}`,
  );
}
