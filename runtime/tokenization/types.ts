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
export interface TokenizeOptions {
  text_pair?: string | readonly string[] | null;
  add_special_tokens?: boolean;
  /** true or 'longest': to the longest of the batch; 'max_length': to max_length. */
  padding?: boolean | 'longest' | 'max_length';
  truncation?: boolean | 'longest_first' | 'only_first' | 'only_second' | null;
  max_length?: number | null;
  /** false: arrays instead of tensors. */
  return_tensor?: boolean;
  return_token_type_ids?: boolean | null;
}

/** The result of a call; token_type_ids only where asked for or where the checkpoint names it as a model input. */
export interface BatchEncoding {
  input_ids: Tensor<'int64'>;
  attention_mask: Tensor<'int64'>;
  token_type_ids?: Tensor<'int64'>;
}
/** The result with `return_tensor: false`: one array for one text, an array of arrays for several. */
export interface ListEncoding {
  input_ids: number[] | number[][];
  attention_mask: number[] | number[][];
  token_type_ids?: number[] | number[][];
}

export interface ChatTemplateOptions extends RenderOptions {
  /** A template, or the name of one of the checkpoint's. */
  chat_template?: string | null;
  /** false: the text of the prompt. */
  tokenize?: boolean;
  padding?: TokenizeOptions['padding'];
  truncation?: TokenizeOptions['truncation'];
  max_length?: number | null;
  return_tensor?: boolean;
  /** false: input_ids alone. */
  return_dict?: boolean;
  tokenizer_kwargs?: TokenizeOptions;
  /** Any other variable of the template. */
  [variable: string]: unknown;
}

/** Ids in any of the usual forms. */
export type Ids = Tensor | readonly number[] | readonly bigint[] | BigInt64Array | Int32Array;
