// What tokenizers take and give.
import type { Tensor } from '../tensors/tensor.ts';
import type { RenderOptions } from './chat-template.ts';

/** What a tokenizer is made from: the parsed files of a checkpoint. */
export interface TokenizerFiles {
  /** For messages: the folder or file that the tokenizer came from. */
  readonly where: string;
  readonly tokenizer: Readonly<Record<string, unknown>>;
  readonly config: Readonly<Record<string, unknown>>;
  /** special_tokens_map.json and added_tokens.json of older checkpoints. */
  readonly specialTokens?: Readonly<Record<string, unknown>>;
  readonly addedTokens?: Readonly<Record<string, unknown>>;
  /** config.json of the model, whose model_type tells the class where no other file does. */
  readonly model?: Readonly<Record<string, unknown>>;
  /** Templates by name; the usual one is 'default'. */
  readonly chatTemplates: Readonly<Record<string, string>>;
}

/** Options of decoding. */
export interface DecodeOptions {
  /** Leave special tokens out (false). */
  skip_special_tokens?: boolean;
  /** Remove spaces before marks and endings (what tokenizer_config.json says, false). */
  clean_up_tokenization_spaces?: boolean;
}

/** Options of encoding one text. */
export interface EncodeOptions {
  /** A second text behind the first. */
  text_pair?: string | null;
  /** The tokens that the model expects around a text (true). */
  add_special_tokens?: boolean;
  /** true or 'longest': to the longest of the batch; 'max_length': to max_length; false or 'do_not_pad' (default): none. */
  padding?: boolean | 'longest' | 'max_length' | 'do_not_pad';
  /** true or 'longest_first': cut the longer one of a pair. Default: only where max_length is given without padding. */
  truncation?: boolean | 'longest_first' | 'only_first' | 'only_second' | 'do_not_truncate' | null;
  /** In tokens; the tokenizer's model_max_length by default. */
  max_length?: number | null;
  /** Pad to a length that is a multiple of this. */
  pad_to_multiple_of?: number | null;
  /** The side of this call's padding; the tokenizer's padding_side by default. */
  padding_side?: 'left' | 'right' | null;
}

/** Options of a call of the tokenizer: names and defaults are those of transformers. */
export interface TokenizeOptions extends Omit<EncodeOptions, 'text_pair'> {
  /** The second text of each. */
  text_pair?: string | readonly string[] | null;
  /** false: arrays instead of tensors. */
  return_tensor?: boolean;
  /** Which text of a pair each token is of; by default where the model reads it. */
  return_token_type_ids?: boolean | null;
  /** By default where the model reads it. */
  return_attention_mask?: boolean | null;
  /** 1 for tokens that were added to the text (false). */
  return_special_tokens_mask?: boolean;
  /** The length of each row (false). */
  return_length?: boolean;
}

/** The result of a call; what is optional only where asked for or where the model reads it. */
export interface BatchEncoding {
  /** Token ids [texts, length]. */
  input_ids: Tensor<'int64'>;
  /** 1 for real tokens, 0 for padding, [texts, length]. */
  attention_mask: Tensor<'int64'>;
  /** Which text of a pair a token is of, 0 or 1, [texts, length]. */
  token_type_ids?: Tensor<'int64'>;
  /** 1 for tokens that were added to the text, [texts, length]. */
  special_tokens_mask?: Tensor<'int64'>;
  /** The length of each row, [texts]. */
  length?: Tensor<'int64'>;
}

/** The result with `return_tensor: false`: one array for one text, an array of arrays for several. */
export interface ListEncoding {
  /** Token ids. */
  input_ids: number[] | number[][];
  /** 1 for real tokens, 0 for padding. */
  attention_mask: number[] | number[][];
  /** Which text of a pair a token is of, 0 or 1. */
  token_type_ids?: number[] | number[][];
  /** 1 for tokens that were added to the text. */
  special_tokens_mask?: number[] | number[][];
  /** Of each row. */
  length?: number[];
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

/** Fields of tokenizer_config.json that from_pretrained takes, too. */
export interface TokenizerLoadOptions {
  /** Begins a text. */
  bos_token?: string | null;
  /** Ends a text. */
  eos_token?: string | null;
  /** Stands for what the vocabulary lacks. */
  unk_token?: string | null;
  /** Ends each text of BERT and its kin. */
  sep_token?: string | null;
  /** Fills rows. */
  pad_token?: string | null;
  /** Begins a text of BERT and its kin. */
  cls_token?: string | null;
  /** Stands for a word to guess. */
  mask_token?: string | null;
  /** More special tokens. */
  extra_special_tokens?: readonly string[];
  /** The older name of extra_special_tokens. */
  additional_special_tokens?: readonly string[];
  /** Where rows are filled ('right', or what the class says). */
  padding_side?: 'left' | 'right';
  /** Where rows are cut ('right'). */
  truncation_side?: 'left' | 'right';
  /** Tokens of a row at most. */
  model_max_length?: number;
  /** The columns of an encoding. */
  model_input_names?: readonly string[];
  /** A space before the first word (GPT-2, RoBERTa, Llama and others). */
  add_prefix_space?: boolean;
  /** Of BERT and its kin (true). */
  do_lower_case?: boolean;
  /** Of BERT and its kin (as do_lower_case). */
  strip_accents?: boolean | null;
  /** Whether decoding removes spaces before marks and endings (false). */
  clean_up_tokenization_spaces?: boolean;
}
