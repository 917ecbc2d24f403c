// Texts as blocks of tokens for causal language modelling: all texts one after the other, each with its end token, cut
// where a block is full. Nothing is padded; the rest that fills no block is left out.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import type { TextTokenizer } from '../tokenization/tokenizer.ts';
import { show } from './collators/collator.ts';
import { Dataset } from './dataset.ts';
import { requireColumns, requireCount } from './rows.ts';
import { map_in_workers, type WorkerOptions } from './workers.ts';

/** How texts are cut into blocks. */
export interface BlockOptions {
  /** What makes tokens of texts. */
  readonly tokenizer: Pick<TextTokenizer, 'encode' | 'eos_token_id'>;
  /** Tokens of a block. */
  readonly block_size: number;
  /** The column of text (`text`). */
  readonly column?: string;
}

/** Options of text_blocks_in_workers. */
export interface WorkerBlockOptions extends BlockOptions, Pick<WorkerOptions, 'num_proc' | 'batch_size'> {
  /** A folder with the files of the tokenizer, which threads read. */
  readonly folder: string;
  /** Is told how many texts are tokenized. */
  readonly progress_callback?: (texts: number) => void;
}

const served = ['tokenizer', 'block_size', 'column'] as const satisfies readonly (keyof BlockOptions)[];

/** An example of text_blocks: `block_size` tokens. */
export type Block = {
  /** Token ids. */
  input_ids: number[];
  /** The same. */
  labels: number[];
};

/**
 * Examples with input_ids and labels, which are the same. Throws ModelcError 'input' where the texts fill no block.
 *
 *     const { train, test } = text_blocks(texts, { tokenizer, block_size: 256 }).train_test_split({ test_size: 0.05 })
 */
export function text_blocks(dataset: Dataset, options: BlockOptions): Dataset<Block> {
  checkOptions('text_blocks', options, served);
  const cutter = new Cutter(options);
  for (const text of textsOf(dataset, options.column)) cutter.add(options.tokenizer.encode(text));
  return cutter.blocks();
}

/** As text_blocks, with worker threads that tokenize: this thread stays free meanwhile. */
export async function text_blocks_in_workers(
  dataset: Dataset,
  { folder, progress_callback, num_proc, batch_size = 64, ...options }: WorkerBlockOptions,
): Promise<Dataset<Block>> {
  checkOptions('text_blocks_in_workers', options, served);
  const cutter = new Cutter(options);
  const texts = Dataset.from_list(textsOf(dataset, options.column).map((text) => ({ text })));
  const tokenized = map_in_workers(
    texts.to_iterable_dataset(),
    { tokenizer: folder },
    { batch_size, remove_columns: ['text'], ...(num_proc === undefined ? {} : { num_proc }) },
  );
  let done = 0;
  for await (const row of tokenized) {
    cutter.add((row as { input_ids: number[] }).input_ids);
    progress_callback?.(++done);
  }
  return cutter.blocks();
}

/** Cuts the ids of texts that are added one after the other. */
class Cutter {
  readonly #size: number;
  readonly #end: number | null;
  readonly #blocks: Block[] = [];
  /** What fills no block yet. */
  #rest: number[] = [];

  constructor({ tokenizer, block_size }: BlockOptions) {
    requireCount('block_size', block_size, 2);
    if (typeof tokenizer?.encode !== 'function') throw new ModelcError('input', 'text_blocks needs a `tokenizer`');
    this.#size = block_size;
    this.#end = tokenizer.eos_token_id;
  }

  add(text: readonly number[]): void {
    const ids = this.#rest;
    for (const id of text) ids.push(id);
    if (this.#end !== null && ids[ids.length - 1] !== this.#end) ids.push(this.#end);
    let start = 0;
    for (; start + this.#size <= ids.length; start += this.#size) {
      const block = ids.slice(start, start + this.#size);
      this.#blocks.push({ input_ids: block, labels: block });
    }
    this.#rest = ids.slice(start);
  }

  blocks(): Dataset<Block> {
    if (this.#blocks.length === 0) {
      throw new ModelcError(
        'input',
        `the texts have ${this.#rest.length} tokens, which fill no block of ${this.#size}; give more text or a smaller block_size`,
      );
    }
    return Dataset.from_list(this.#blocks);
  }
}

function textsOf(dataset: Dataset, column = 'text'): string[] {
  if (dataset.length > 0) requireColumns([column], dataset.column_names);
  return Array.from(dataset, (row, i) => {
    const text = row[column];
    if (typeof text === 'string') return text;
    throw new ModelcError('input', `column "${column}" holds no text in example ${i}, but ${show(text)}`);
  });
}
