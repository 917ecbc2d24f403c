// PreTrainedTokenizer: text to ids and back, through @huggingface/tokenizers, with the call conventions of
// transformers.js: `tokenizer(text, { padding, truncation, … })` gives tensors, `encode` and `decode` plain ids and text.
import type { Tokenizer } from '@huggingface/tokenizers';
import { ModelcError } from '../../ir/error.ts';
import { callable } from '../callable.ts';
import { Tensor } from '../tensor.ts';
import { type Message, renderChat } from './chat-template.ts';
import { malformed, openTokenizer } from './tokenizer-file.ts';
import { writeTokenizer } from './write-tokenizer.ts';
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

// Checkpoints without a limit write a number like 1e30.
const unlimited = 1e15;

interface Encoded {
  ids: number[];
  types: number[];
}

const specialNames = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

export class TextTokenizer {
  padding_side: 'left' | 'right';
  truncation_side: 'left' | 'right';
  readonly model_max_length: number;
  readonly chat_template: string | null;
  private readonly inner: Tokenizer;
  private readonly where: string;
  private readonly chatTemplates: Readonly<Record<string, string>>;
  private readonly specials: Readonly<Partial<Record<(typeof specialNames)[number], string>>>;
  private readonly cleanUp: boolean;
  private readonly givesTypes: boolean;

  private readonly files: TokenizerFiles;

  constructor(files: TokenizerFiles) {
    const { where, tokenizer, config, chatTemplates } = files;
    this.files = files;
    this.where = where;
    this.inner = openTokenizer(tokenizer, config, where);
    this.chatTemplates = chatTemplates;
    this.chat_template = chatTemplates.default ?? null;
    this.padding_side = config.padding_side === 'left' ? 'left' : 'right';
    this.truncation_side = config.truncation_side === 'left' ? 'left' : 'right';
    const limit = config.model_max_length;
    this.model_max_length = typeof limit === 'number' && limit < unlimited ? limit : Number.POSITIVE_INFINITY;
    this.cleanUp = config.clean_up_tokenization_spaces === true;
    this.givesTypes = Array.isArray(config.model_input_names) && config.model_input_names.includes('token_type_ids');
    this.specials = Object.fromEntries(
      specialNames.flatMap((name) => {
        const text = tokenText(config[name]);
        return text === undefined ? [] : [[name, text]];
      }),
    );
  }

  get bos_token(): string | null {
    return this.specials.bos_token ?? null;
  }
  get eos_token(): string | null {
    return this.specials.eos_token ?? null;
  }
  get unk_token(): string | null {
    return this.specials.unk_token ?? null;
  }
  get pad_token(): string | null {
    return this.specials.pad_token ?? null;
  }
  get mask_token(): string | null {
    return this.specials.mask_token ?? null;
  }
  get bos_token_id(): number | null {
    return this.idOf(this.bos_token);
  }
  get eos_token_id(): number | null {
    return this.idOf(this.eos_token);
  }
  get unk_token_id(): number | null {
    return this.idOf(this.unk_token);
  }
  get pad_token_id(): number | null {
    return this.idOf(this.pad_token);
  }
  get mask_token_id(): number | null {
    return this.idOf(this.mask_token);
  }
  /** Special tokens that the checkpoint names, by role. */
  get special_tokens_map(): Readonly<Record<string, string>> {
    return this.specials;
  }
  get all_special_ids(): number[] {
    const named = Object.values(this.specials).map((token) => this.idOf(token));
    const added = [...this.inner.get_added_tokens_decoder()].flatMap(([id, token]) => (token.special ? [id] : []));
    return [...new Set([...named, ...added])].filter((id) => id !== null);
  }

  private idOf(token: string | null): number | null {
    return token === null ? null : (this.inner.token_to_id(token) ?? null);
  }

  /** Tokens and their ids. */
  get_vocab(): Map<string, number> {
    return this.inner.get_vocab();
  }
  token_to_id(token: string): number | undefined {
    return this.inner.token_to_id(token);
  }
  id_to_token(id: number): string | undefined {
    return this.inner.id_to_token(id);
  }

  /** The tokens of a text, as strings. */
  tokenize(text: string, { text_pair = null, add_special_tokens = false }: EncodeOptions = {}): string[] {
    return this.guard(() => this.inner.tokenize(requireText(text), { text_pair, add_special_tokens }));
  }

  /** The ids of a text. */
  encode(text: string, { text_pair = null, add_special_tokens = true }: EncodeOptions = {}): number[] {
    return this.encodeOne(text, text_pair, add_special_tokens, null, 'longest_first').ids;
  }

  /** The text of ids. */
  decode(ids: Ids, options: DecodeOptions = {}): string {
    const list = idsOf(ids);
    if (list.length === 0) return '';
    const { skip_special_tokens = false, clean_up_tokenization_spaces = this.cleanUp } = options;
    return this.guard(() => this.inner.decode(list, { skip_special_tokens, clean_up_tokenization_spaces }));
  }

  /** The texts of rows of ids. */
  batch_decode(batch: Tensor | readonly Ids[], options: DecodeOptions = {}): string[] {
    const rows = batch instanceof Tensor ? Array.from({ length: batch.dims[0] }, (_, i) => batch.slice(i)) : batch;
    return rows.map((row) => this.decode(row, options));
  }

  /** Encodes one text or several. */
  _call(text: string | readonly string[], options: TokenizeOptions & { return_tensor: false }): ListEncoding;
  _call(text: string | readonly string[], options?: TokenizeOptions): BatchEncoding;
  _call(text: string | readonly string[], options: TokenizeOptions = {}): BatchEncoding | ListEncoding {
    const { add_special_tokens = true, padding = false, truncation = null, max_length = null } = options;
    const texts = typeof text === 'string' ? [text] : requireList(text);
    const pairs = options.text_pair == null ? null : [options.text_pair].flat();
    if (pairs && pairs.length !== texts.length) {
      throw new ModelcError('input', `text_pair has ${pairs.length} texts, but text has ${texts.length}`);
    }
    if (texts.length === 0) throw new ModelcError('input', 'the list of texts is empty; give at least one text');
    const limit = truncation ? (max_length ?? this.model_max_length) : null;
    const strategy = typeof truncation === 'string' ? truncation : 'longest_first';
    const rows = texts.map((t, i) => this.encodeOne(t, pairs?.[i] ?? null, add_special_tokens, limit, strategy));
    const masks = rows.map(({ ids }) => new Array<number>(ids.length).fill(1));
    if (padding) this.pad(rows, masks, padding === 'max_length' ? (max_length ?? this.model_max_length) : 0);

    const columns: [keyof BatchEncoding, number[][]][] = [
      ['input_ids', rows.map((r) => r.ids)],
      ['attention_mask', masks],
    ];
    if (options.return_token_type_ids ?? this.givesTypes) columns.push(['token_type_ids', rows.map((r) => r.types)]);
    if (options.return_tensor === false) {
      const list = columns.map(([name, values]) => [name, typeof text === 'string' ? values[0] : values]);
      return Object.fromEntries(list) as ListEncoding;
    }
    const length = rows[0].ids.length;
    if (rows.some((r) => r.ids.length !== length)) {
      throw new ModelcError(
        'input',
        'the texts have different lengths; pass `padding: true`, and `truncation: true` to cut long ones',
      );
    }
    const tensors = columns.map(([name, values]) => [
      name,
      new Tensor('int64', BigInt64Array.from(values.flat(), BigInt), [rows.length, length]),
    ]);
    return Object.fromEntries(tensors) as BatchEncoding;
  }

  private pad(rows: Encoded[], masks: number[][], atLeast: number): void {
    const id = this.pad_token_id;
    const length = Math.max(atLeast, ...rows.map((r) => r.ids.length));
    if (!Number.isFinite(length)) throw new ModelcError('input', 'padding to max_length needs `max_length`');
    for (const [i, row] of rows.entries()) {
      const missing = length - row.ids.length;
      if (missing === 0) continue;
      if (id === null) {
        throw new ModelcError(
          'input',
          `${this.where} names no pad_token; set one with tokenizer.set_pad_token(tokenizer.eos_token)`,
        );
      }
      const fill = (list: number[], value: number): void => {
        const padding = new Array<number>(missing).fill(value);
        if (this.padding_side === 'left') list.unshift(...padding);
        else list.push(...padding);
      };
      fill(row.ids, id);
      fill(row.types, 0);
      fill(masks[i], 0);
    }
  }

  /** Makes `token` the padding token. */
  set_pad_token(token: string | null): void {
    if (token === null || this.idOf(token) === null) {
      throw new ModelcError('input', `'${token}' is not a token of ${this.where}, so it cannot be the pad_token`);
    }
    Object.assign(this.specials, { pad_token: token });
  }

  /** Writes tokenizer.json, tokenizer_config.json and, where the template came from one, chat_template.jinja. */
  async save_pretrained(directory: string): Promise<void> {
    const { padding_side } = this;
    await writeTokenizer(
      { ...this.files, config: { ...this.files.config, ...this.specials, padding_side } },
      directory,
    );
  }

  private encodeOne(
    text: string,
    pair: string | null,
    add_special_tokens: boolean,
    limit: number | null,
    strategy: 'longest_first' | 'only_first' | 'only_second',
  ): Encoded {
    return this.guard(() => {
      const first = this.inner.tokenize(requireText(text));
      const second = pair === null ? null : this.inner.tokenize(requireText(pair));
      const process = (a: string[], b: string[] | null): { tokens: string[]; token_type_ids?: number[] } =>
        this.inner.post_processor
          ? this.inner.post_processor(a, b, add_special_tokens)
          : { tokens: [...a, ...(b ?? [])] };
      let { tokens, token_type_ids: types } = process(first, second);
      if (limit !== null && tokens.length > limit) {
        const [a, b] = this.truncate(first, second, tokens.length - limit, strategy);
        ({ tokens, token_type_ids: types } = process(a, b));
      }
      // A token without an id is text that the vocabulary cannot say and has no unknown token for: it vanishes.
      const unknown = this.unk_token_id;
      const kept = tokens.flatMap((token, i) => {
        const id = this.inner.token_to_id(token) ?? unknown;
        return id === null ? [] : [{ id, type: types?.[i] ?? 0 }];
      });
      return { ids: kept.map((k) => k.id), types: kept.map((k) => k.type) };
    });
  }

  private truncate(
    first: string[],
    second: string[] | null,
    excess: number,
    strategy: 'longest_first' | 'only_first' | 'only_second',
  ): [string[], string[] | null] {
    let [a, b] = [first.length, second?.length ?? 0];
    for (let left = excess; left > 0 && a + b > 0; left--) {
      const takeSecond =
        second !== null && (strategy === 'only_second' || (strategy === 'longest_first' && b >= a && b > 0));
      if (takeSecond ? b === 0 : a === 0) {
        throw new ModelcError(
          'input',
          `truncation '${strategy}' cannot remove ${excess} tokens; use 'longest_first' or a larger max_length`,
        );
      }
      if (takeSecond) b--;
      else a--;
    }
    const cut = (list: string[], n: number): string[] =>
      this.truncation_side === 'right' ? list.slice(0, n) : list.slice(list.length - n);
    return [cut(first, a), second && cut(second, b)];
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
      ...variables
    } = options;
    const template = this.templateOf(chat_template, tools !== null);
    const isBatch = Array.isArray(conversation[0]);
    const chats = (isBatch ? conversation : [conversation]) as readonly (readonly Message[])[];
    const settings = { tools, documents, add_generation_prompt, continue_final_message };
    const prompts = chats.map((chat) =>
      renderChat(template, this.where, chat, settings, { ...this.specials, ...variables }),
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
    if (given !== null) return Object.hasOwn(this.chatTemplates, given) ? this.chatTemplates[given] : given;
    const template = (hasTools ? this.chatTemplates.tool_use : undefined) ?? this.chatTemplates.default;
    if (template === undefined) {
      throw new ModelcError(
        'input',
        `${this.where} has no chat template; pass a text, or a template as \`chat_template\``,
      );
    }
    return template;
  }

  /** Errors of the tokenizer library, which come from what is in the file, as errors that name the file. */
  private guard<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      if (cause instanceof ModelcError) throw cause;
      throw malformed(this.where, cause);
    }
  }
}

/** A special token in a config: its text, or an AddedToken's. */
function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'object' && value !== null && 'content' in value && typeof value.content === 'string') {
    return value.content;
  }
  return undefined;
}

function requireText(text: unknown): string {
  if (typeof text === 'string') return text;
  throw new ModelcError('input', `a text must be a string, but is ${text === null ? 'null' : typeof text}`);
}

function requireList(texts: unknown): readonly string[] {
  if (Array.isArray(texts)) return texts;
  throw new ModelcError(
    'input',
    `a text must be a string or an array of strings, but is ${texts === null ? 'null' : typeof texts}`,
  );
}

function idsOf(ids: Ids): number[] {
  const list = ids instanceof Tensor ? ids.data : ids;
  return Array.from(list as ArrayLike<number | bigint>, (id) => {
    const n = Number(id);
    if (!Number.isInteger(n) || n < 0) throw new ModelcError('input', `${String(id)} is not a token id`);
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
