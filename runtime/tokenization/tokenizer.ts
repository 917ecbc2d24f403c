// PreTrainedTokenizer: text to ids and back, with the call conventions of transformers.js:
// `tokenizer(text, { padding, truncation, … })` gives tensors, `encode` and `decode` plain ids and text.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { callable } from '../models/callable.ts';
import { Tensor } from '../tensors/tensor.ts';
import { fallbackByte, fromByteCharacters } from './backend/characters.ts';
import { cleanedUp } from './backend/decoders.ts';
import { Fields, shown } from './backend/fields.ts';
import { type Column, listsOf, padRows, type Row, rowOf, tensorsOf } from './batch.ts';
import { checkCall, checkDecode, strategiesOf } from './call-options.ts';
import { checkVariables, type Message, namedTemplate, renderChat } from './chat-template.ts';
import { SpecialTokens } from './special-tokens.ts';
import { setUp, type TokenizerSetup } from './tokenizer-setup.ts';
import type {
  BatchEncoding,
  ChatTemplateOptions,
  DecodeOptions,
  EncodeOptions,
  Ids,
  ListEncoding,
  TokenizeOptions,
  TokenizerFiles,
} from './types.ts';
import { writeTokenizer } from './write-tokenizer.ts';

// Checkpoints without a limit write a number like 1e30.
const unlimited = 1e15;

/** Options of apply_chat_template in Python that are not served. */
const chatUnserved = { return_tensors: null, return_assistant_tokens_mask: false };

/** What a text alone is encoded with, and what it is cut into tokens with. */
const encodeNames = ['text_pair', 'add_special_tokens', 'padding', 'truncation', 'max_length', 'pad_to_multiple_of', 'padding_side'] as const; // biome-ignore format: one row
const tokenizeNames = ['text_pair', 'add_special_tokens'] as const;

export class TextTokenizer extends SpecialTokens {
  /** On which side rows are padded; may be set. */
  padding_side: 'left' | 'right';
  /** On which side rows are cut; may be set. */
  truncation_side: 'left' | 'right';
  /** Tokens that the model reads at most; Infinity where the files name no bound. */
  readonly model_max_length: number;
  /** The columns of an encoding, unless the call says otherwise. */
  readonly model_input_names: readonly string[];
  /** The template of apply_chat_template; null where the files have none. */
  readonly chat_template: string | null;
  private readonly chatTemplates: Readonly<Record<string, string>>;
  private readonly cleanUp: boolean;
  private readonly setup: TokenizerSetup;
  private readonly files: TokenizerFiles;

  /** Throws ModelcError 'parse' or 'unsupported' that names the file and the field. */
  constructor(files: TokenizerFiles) {
    const setup = setUp(files);
    super(setup, files.where);
    this.setup = setup;
    this.files = files;
    this.chatTemplates = files.chatTemplates;
    this.chat_template = files.chatTemplates.default ?? null;
    this.padding_side = setup.padding_side;
    this.truncation_side = setup.truncation_side;
    this.model_input_names = setup.inputs;
    const config = new Fields(setup.config, `${files.where}/tokenizer_config.json`);
    this.model_max_length = maxLength(config);
    // Cleaning up is for WordPiece, and destroys what BPE writes.
    const forced = 'clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output';
    this.cleanUp = flagOf(config, 'clean_up_tokenization_spaces') && (setup.engine.type !== 'BPE' || flagOf(config, forced)); // biome-ignore format: one expression
  }

  /** Tokens and their ids. */
  get_vocab(): Map<string, number> {
    return this.engine.vocabulary();
  }
  /** The id of a token; undefined for one that there is not. */
  token_to_id(token: string): number | undefined {
    return this.engine.idOf(token);
  }
  /** A token by id; undefined for an id that is none. */
  id_to_token(id: number): string | undefined {
    return this.engine.tokenOf(id);
  }

  /** The bytes that a token stands for, if it is one of bytes: a character may be spread over several. */
  token_bytes(id: number): Uint8Array | undefined {
    const token = this.engine.tokenOf(id);
    if (token === undefined || this.engine.bytes === null) return undefined;
    const byte = this.engine.bytes === 'byte_fallback' ? fallbackByte(token) : undefined;
    const bytes = this.engine.bytes === 'byte_level' ? fromByteCharacters(token) : byte === undefined ? undefined : [byte]; // biome-ignore format: one expression
    return bytes && Uint8Array.from(bytes);
  }

  /** The tokens of a text, as strings. */
  tokenize(text: string, options: Pick<EncodeOptions, (typeof tokenizeNames)[number]> = {}): string[] {
    checkCall('tokenize', options, tokenizeNames);
    const { text_pair = null, add_special_tokens = false } = options;
    const pair = text_pair ? requireText(text_pair) : null;
    const { ids, names } = this.engine.encode(requireText(text), pair, add_special_tokens ?? false, null);
    return ids.map((id, i) => names.get(i) ?? this.engine.tokenOf(id) ?? '');
  }

  /** The ids of a text. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    checkCall('encode', options, encodeNames);
    requireText(text);
    return this.rows([text], options.text_pair ? [options.text_pair] : null, options)[0].input_ids;
  }

  /** The text of ids. */
  decode(ids: Ids | number | bigint, options: DecodeOptions = {}): string {
    checkDecode('decode', options);
    return this.textOf(ids, options);
  }

  /** The texts of rows of ids. */
  batch_decode(batch: Tensor | readonly Ids[], options: DecodeOptions = {}): string[] {
    checkDecode('batch_decode', options);
    if (batch instanceof Tensor && batch.dims.length !== 2) {
      throw new ModelcError('input', `batch_decode takes a tensor of rows of ids, but this one has ${batch.dims.length} axes`); // biome-ignore format: one expression
    }
    if (!(batch instanceof Tensor) && !Array.isArray(batch)) {
      throw new ModelcError('input', `batch_decode takes rows of ids, not ${shown(batch)}`);
    }
    const rows = batch instanceof Tensor ? Array.from({ length: batch.dims[0] }, (_, i) => batch.slice(i)) : batch;
    return rows.map((row) => this.textOf(row, options));
  }

  private textOf(
    ids: Ids | number | bigint,
    { skip_special_tokens, clean_up_tokenization_spaces }: DecodeOptions,
  ): string {
    const text = this.engine.decode(idsOf(ids), skip_special_tokens ?? false);
    const cleans = clean_up_tokenization_spaces ?? this.cleanUp;
    return cleans && (this.cleanUp || this.engine.type !== 'BPE') ? cleanedUp(text) : text;
  }

  /** Encodes one text or several. */
  _call(text: string | readonly string[], options: TokenizeOptions & { return_tensor: false }): ListEncoding;
  _call(text: string | readonly string[], options?: TokenizeOptions): BatchEncoding;
  _call(text: string | readonly string[], options: TokenizeOptions = {}): BatchEncoding | ListEncoding {
    checkCall('tokenizer()', options);
    const isOne = typeof text === 'string';
    const texts = isOne ? [text] : requireList(text, 'a text');
    const rows = this.rows(texts, pairsOf(options.text_pair, texts, isOne), options);
    const has = (name: string, asked: boolean | null | undefined): boolean => asked ?? this.model_input_names.includes(name); // biome-ignore format: one expression
    const columns: Column[] = ['input_ids'];
    if (has('token_type_ids', options.return_token_type_ids)) columns.push('token_type_ids');
    if (has('attention_mask', options.return_attention_mask)) columns.push('attention_mask');
    if (options.return_special_tokens_mask) columns.push('special_tokens_mask');
    const length = options.return_length ?? false;
    return options.return_tensor === false ? listsOf(rows, columns, isOne, length) : tensorsOf(rows, columns, length);
  }

  private rows(texts: readonly string[], pairs: readonly string[] | null, options: TokenizeOptions): Row[] {
    if (texts.length === 0) throw new ModelcError('input', 'the list of texts is empty; give at least one text');
    const { truncation, padTo, multiple } = strategiesOf(options, this.model_max_length, this.truncation_side);
    const special = options.add_special_tokens ?? true;
    if (padTo !== undefined) this.padId();
    const rows = texts.map((text, i) =>
      rowOf(this.engine.encode(requireText(text), pairs && requireText(pairs[i]), special, truncation)),
    );
    if (padTo !== undefined) padRows(rows, padTo, multiple, options.padding_side ?? this.padding_side, () => this.padId()); // biome-ignore format: one expression
    return rows;
  }

  private padId(): number {
    if (this.pad_token_id !== null) return this.pad_token_id;
    throw new ModelcError(
      'input',
      `${this.where} names no pad_token; set one, for example: tokenizer.pad_token = tokenizer.eos_token`,
    );
  }

  /** Writes tokenizer.json, tokenizer_config.json and, where the template came from one, chat_template.jinja. */
  async save_pretrained(directory: string, options: Readonly<Record<string, never>> = {}): Promise<void> {
    checkOptions('save_pretrained', options, [], { legacy_format: false, filename_prefix: null, push_to_hub: false });
    if (typeof directory !== 'string') throw new ModelcError('input', `save_pretrained takes the path of a folder, not ${shown(directory)}`); // biome-ignore format: one expression
    const { padding_side, truncation_side } = this;
    const config = { ...this.setup.savedConfig(this.specials), padding_side, truncation_side };
    await writeTokenizer({ ...this.files, tokenizer: this.setup.savedTokenizer(), config }, directory);
  }

  /**
   * The prompt of a conversation (or of several) in the checkpoint's chat format. Without `tokenize: false`, encoded as a
   * call does, but without adding special tokens: the template writes them.
   */
  apply_chat_template(conversation: readonly Message[], options: ChatTemplateOptions & { tokenize: false }): string;
  apply_chat_template(
    conversation: readonly (readonly Message[])[],
    options: ChatTemplateOptions & { tokenize: false },
  ): string[];
  apply_chat_template(
    conversation: readonly Message[] | readonly (readonly Message[])[],
    options?: ChatTemplateOptions & { tokenize?: true; return_dict?: true; return_tensor?: true },
  ): BatchEncoding;
  apply_chat_template(
    conversation: readonly Message[] | readonly (readonly Message[])[],
    options?: ChatTemplateOptions,
  ): string | string[] | BatchEncoding | ListEncoding | Tensor | number[] | number[][];
  apply_chat_template(
    conversation: readonly Message[] | readonly (readonly Message[])[],
    options: ChatTemplateOptions = {},
  ): string | string[] | BatchEncoding | ListEncoding | Tensor | number[] | number[][] {
    const {
      chat_template = null,
      tools = null,
      documents = null,
      add_generation_prompt = false,
      continue_final_message = false,
      tokenize = true,
      padding = false,
      truncation = null,
      max_length = null,
      return_tensor = true,
      return_dict = true,
      tokenizer_kwargs = {},
      return_tensors = null,
      return_assistant_tokens_mask = false,
      ...variables
    } = options;
    checkOptions('apply_chat_template', { return_tensors, return_assistant_tokens_mask }, [], chatUnserved);
    const template = this.templateOf(chat_template, tools !== null);
    checkVariables(variables, template);
    const isBatch = Array.isArray(conversation) && Array.isArray(conversation[0]);
    const chats = (isBatch ? conversation : [conversation]) as readonly (readonly Message[])[];
    const settings = { tools, documents, add_generation_prompt, continue_final_message };
    const prompts = chats.map((chat) =>
      renderChat(template, this.where, chat, settings, { ...this.special_tokens_map, ...variables }),
    );
    const text = isBatch ? prompts : prompts[0];
    if (!tokenize) return text;
    const callOptions = { add_special_tokens: false, padding, truncation, max_length, ...tokenizer_kwargs };
    const encoded = return_tensor
      ? this._call(text, callOptions)
      : this._call(text, { ...callOptions, return_tensor: false });
    return return_dict ? encoded : encoded.input_ids;
  }

  private templateOf(given: string | null, hasTools: boolean): string {
    if (given !== null) return namedTemplate(given, this.chatTemplates, this.where);
    const template = (hasTools ? this.chatTemplates.tool_use : undefined) ?? this.chatTemplates.default;
    if (template === undefined) {
      throw new ModelcError(
        'input',
        `${this.where} has no chat template; pass a text, or a template as \`chat_template\``,
      );
    }
    return template;
  }
}

function maxLength(config: Fields): number {
  const limit = config.value.model_max_length ?? config.value.max_len ?? unlimited;
  if (typeof limit === 'number' && limit >= unlimited) return Number.POSITIVE_INFINITY;
  if (typeof limit === 'number' && Number.isInteger(limit) && limit >= 0) return limit;
  return config.fail('model_max_length', 'an integer of at least 0', limit);
}

const flagOf = (config: Fields, name: string): boolean => config.has(name) && config.boolean(name);

function requireText(text: unknown): string {
  if (typeof text !== 'string') throw new ModelcError('input', `a text must be a string, but is ${shown(text)}`);
  if (!/[\uD800-\uDFFF]/u.test(text)) return text;
  throw new ModelcError('input', 'a text has half of a surrogate pair, which is no character; cut texts between characters'); // biome-ignore format: one expression
}

function requireList(texts: unknown, what: string): readonly string[] {
  if (Array.isArray(texts)) return texts;
  throw new ModelcError('input', `${what} must be a string or an array of strings, but is ${shown(texts)}`);
}

/** The second texts; an empty one beside one text is none. */
function pairsOf(
  given: TokenizeOptions['text_pair'],
  texts: readonly string[],
  isOne: boolean,
): readonly string[] | null {
  if (given === undefined || given === null || (isOne && given === '')) return null;
  const pairs = typeof given === 'string' ? [given] : requireList(given, 'text_pair');
  if (pairs.length === texts.length) return pairs;
  throw new ModelcError('input', `text_pair has ${pairs.length} texts, but text has ${texts.length}`);
}

function idsOf(ids: unknown): number[] {
  if (ids instanceof Tensor && ids.dims.slice(0, -1).some((n) => n !== 1)) {
    throw new ModelcError('input', `decode takes one row of ids, but the tensor has ${ids.dims.length} axes; use batch_decode`); // biome-ignore format: one expression
  }
  const list = ids instanceof Tensor ? ids.data : typeof ids === 'number' || typeof ids === 'bigint' ? [ids] : ids;
  if (!Array.isArray(list) && !ArrayBuffer.isView(list)) {
    throw new ModelcError('input', `decode takes ids of tokens, not ${shown(ids)}`);
  }
  return Array.from(list as ArrayLike<unknown>, (id) => {
    const n = typeof id === 'number' || typeof id === 'bigint' ? Number(id) : Number.NaN;
    if (!Number.isSafeInteger(n) || n < 0) {
      const rows = Array.isArray(id) ? '; for several rows use batch_decode' : '';
      throw new ModelcError('input', `${Array.isArray(id) ? 'a list' : String(id)} is not a token id${rows}`);
    }
    return n;
  });
}

/** A tokenizer is called like a function: `tokenizer(text, options)`. */
export type PreTrainedTokenizer = TextTokenizer & TextTokenizer['_call'];

/**
 * A tokenizer of files that were read already. Throws ModelcError 'parse' for files that are damaged, 'unsupported' for
 * parts that are not served.
 */
export function createTokenizer(files: TokenizerFiles): PreTrainedTokenizer {
  const tokenizer = new TextTokenizer(files);
  return callable<[string | readonly string[], TokenizeOptions?], BatchEncoding, TextTokenizer>(
    tokenizer,
  ) as PreTrainedTokenizer;
}
