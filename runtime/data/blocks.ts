// Texts as blocks of tokens for causal language modelling: all texts one after the other, each with its end token, cut
// where a block is full. Nothing is padded; the rest that fills no block is left out.
import { ModelcError } from '../../ir/error.ts';
import type { TextTokenizer } from '../tokenization/tokenizer.ts';
import { Dataset } from './dataset.ts';
import { type Row, requireColumns, requireCount } from './rows.ts';

export interface BlockOptions {
  readonly tokenizer: Pick<TextTokenizer, 'encode' | 'eos_token_id'>;
  readonly block_size: number;
  /** The column of text (`text`). */
  readonly column?: string;
}

/** Examples with input_ids and labels, which are the same. Throws ModelcError 'input' where the texts fill no block. */
export function text_blocks(
  dataset: Dataset,
  { tokenizer, block_size, column = 'text' }: BlockOptions,
): Dataset<{ input_ids: number[]; labels: number[] }> {
  requireCount('block_size', block_size, 2);
  if (dataset.length > 0) requireColumns([column], dataset.column_names);
  const blocks: { input_ids: number[]; labels: number[] }[] = [];
  const end = tokenizer.eos_token_id;
  let ids: number[] = [];
  for (const [i, row] of [...dataset].entries()) {
    for (const id of tokenizer.encode(textOf(row, column, i))) ids.push(id);
    if (end !== null && ids[ids.length - 1] !== end) ids.push(end);
    let start = 0;
    for (; start + block_size <= ids.length; start += block_size) {
      const block = ids.slice(start, start + block_size);
      blocks.push({ input_ids: block, labels: block });
    }
    ids = ids.slice(start);
  }
  if (blocks.length === 0) {
    throw new ModelcError(
      'input',
      `the texts have ${ids.length} tokens, which fill no block of ${block_size}; give more text or a smaller block_size`,
    );
  }
  return Dataset.from_list(blocks);
}

function textOf(row: Row, column: string, i: number): string {
  const text = row[column];
  if (typeof text === 'string') return text;
  throw new ModelcError('input', `column "${column}" holds no text in example ${i}, but ${JSON.stringify(text)}`);
}
