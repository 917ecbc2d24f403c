// What tokenizers take and give.
import type { Tensor } from '../tensor.ts';
import type { RenderOptions } from './chat-template.ts';

/** What a tokenizer is made from: the parsed files of a checkpoint. */
export interface TokenizerFiles {
  /** For messages: the folder or file that the tokenizer came from. */
  readonly where: string;
  readonly tokenizer: Readonly<Record<string, unknown>>;
  readonly config: Readonly<Record<string, unknown>>;
  /** Templates by name; the usual one is 'default'. */
  readonly chatTemplates: Readonly<Record<string, string>>;
}

export interface EncodeOptions {
  text_pair?: string | null;
  add_special_tokens?: boolean;
}
export interface DecodeOptions {
  skip_special_tokens?: boolean;
  clean_up_tokenization_spaces?: boolean;
}
/** Options of a call of the tokenizer: names and defaults are those of transformers. */
export interface TokenizeOptions {
  /** The second text of a pair, one for each text. */
  text_pair?: string | readonly string[] | null;
  /** Whether the special tokens that the tokenizer's files place around a text are added (true). */
  add_special_tokens?: boolean;
  /** true or 'longest': to the longest of the batch; 'max_length': to max_length. */
  padding?: boolean | 'longest' | 'max_length';
  /**
   * What is cut where a text is longer than `max_length`: true and 'longest_first', the longer text of a pair;
   * 'only_first' and 'only_second', that one; false, the default: nothing.
   */
  truncation?: boolean | 'longest_first' | 'only_first' | 'only_second' | null;
  /**
   * Tokens of a row at most, with `truncation`, or of every row, with `padding: 'max_length'`; default: the model's.
   */
  max_length?: number | null;
  /** false: arrays instead of tensors. */
  return_tensor?: boolean;
  /** Whether the result has them; default: where the checkpoint names them as an input of the model. */
  return_token_type_ids?: boolean | null;
}

/** The result of a call; token_type_ids only where asked for or where the checkpoint names it as a model input. */
export interface BatchEncoding {
  /** Token ids [texts, length]. */
  input_ids: Tensor<'int64'>;
  /** 1 for real tokens, 0 for padding, [texts, length]. */
  attention_mask: Tensor<'int64'>;
  /** Which text of a pair a token is of, 0 or 1, [texts, length]. */
  token_type_ids?: Tensor<'int64'>;
}
/** The result with `return_tensor: false`: one array for one text, an array of arrays for several. */
export interface ListEncoding {
  /** Token ids. */
  input_ids: number[] | number[][];
  /** 1 for real tokens, 0 for padding. */
  attention_mask: number[] | number[][];
  /** Which text of a pair a token is of, 0 or 1. */
  token_type_ids?: number[] | number[][];
}

/** Options of apply_chat_template. */
export interface ChatTemplateOptions extends RenderOptions {
  /** A template, or the name of one of the checkpoint's. */
  chat_template?: string | null;
  /** false: the text of the prompt. */
  tokenize?: boolean;
  /** As in a call of the tokenizer. */
  padding?: TokenizeOptions['padding'];
  /** As in a call of the tokenizer. */
  truncation?: TokenizeOptions['truncation'];
  /** As in a call of the tokenizer. */
  max_length?: number | null;
  /** false: arrays instead of tensors (true). */
  return_tensor?: boolean;
  /** false: input_ids alone. */
  return_dict?: boolean;
  /** Further options of the tokenizer's call. */
  tokenizer_kwargs?: TokenizeOptions;
  /** Any other variable of the template. */
  [variable: string]: unknown;
}

/** Ids in any of the usual forms. */
export type Ids = Tensor | readonly number[] | readonly bigint[] | BigInt64Array | Int32Array;
