// The text-generation pipeline: text or messages in, their continuation out. Options, defaults and the shapes of results
// are those of transformers' TextGenerationPipeline (main); `streamer` and the call form are transformers.js's.
import { ModelcError } from '../../ir/error.ts';
import type { GenerationConfig } from '../generation/configuration.ts';
import type { PreTrainedModel } from '../generation/model.ts';
import { type GenerationParameters, isGenerationField } from '../generation/parameters.ts';
import { type GenerateOptions, isGenerateArgument } from '../generation/resolve.ts';
import { TextIteratorStreamer } from '../generation/streamers.ts';
import { Tensor } from '../tensor.ts';
import type { Message } from '../tokenization/chat-template.ts';
import type { PreTrainedTokenizer } from '../tokenization/tokenizer.ts';
import type { BatchEncoding, TokenizeOptions } from '../tokenization/types.ts';

/** A conversation, the oldest message first. */
export type Chat = readonly Message[];

/**
 * Options of a call of the text-generation pipeline; what it does not know itself goes to generate(). Where neither the
 * call nor the checkpoint says otherwise, it samples 256 tokens at the temperature 0.7, as in transformers.
 */
export interface TextGenerationOptions
  extends Omit<GenerateOptions, 'input_ids' | 'inputs' | 'attention_mask' | 'tokenizer'> {
  /** Default true: the prompt (or the messages) and the continuation; false: the continuation alone. */
  return_full_text?: boolean | null;
  /** Ids instead of text. */
  return_tensors?: boolean | null;
  /** The same as return_full_text: false, when false is not wanted for tensors. */
  return_text?: boolean | null;
  /** Whether spaces before punctuation go; default: what the tokenizer's files say. */
  clean_up_tokenization_spaces?: boolean | null;
  /** Text that the model reads before every prompt, not shown in results. */
  prefix?: string | null;
  /** 'hole': cut the beginning of prompts that leave no room for the new tokens. */
  handle_long_generation?: 'hole' | null;
  /** Generation ends at the first token of this text. */
  stop_sequence?: string | null;
  /** How prompts that are longer than the model reads are cut: see the tokenizer's option. */
  truncation?: TokenizeOptions['truncation'];
  /** To what length prompts are padded: see the tokenizer's option. */
  padding?: TokenizeOptions['padding'];
  /** Whether the tokenizer adds special tokens to prompts; default: what it does, and none to a chat. */
  add_special_tokens?: boolean | null;
  /** Default: whether the last message is the assistant's. */
  continue_final_message?: boolean | null;
  /** Default true. */
  skip_special_tokens?: boolean | null;
  /** Further options of the tokenizer. */
  tokenizer_encode_kwargs?: TokenizeOptions | null;
  /** Functions that the chat template tells the model of, as JSON schemas. */
  tools?: readonly unknown[] | null;
  /** Documents that the chat template shows the model. */
  documents?: readonly unknown[] | null;
  /** Prompts that run together; default 1. */
  batch_size?: number;
}

/** One continuation: text (a string for a text prompt, messages for a chat), or ids with `return_tensors`. */
export interface GeneratedText<T extends string | Message[] = string> {
  /** Prompt and continuation, or with `return_full_text: false` the continuation. */
  generated_text: T;
}
/** A continuation with `return_tensors: true`. */
export interface GeneratedIds {
  /** Ids of prompt and continuation, or with `return_full_text: false` of the continuation. */
  generated_token_ids: number[];
}

/** What the pipeline uses where neither the call nor the checkpoint says otherwise. */
const pipelineDefaults: GenerationParameters = { max_new_tokens: 256, do_sample: true, temperature: 0.7 };

/** Options that are the pipeline's own; all others go to generate(). */
const pipelineFields: readonly string[] = [
  'return_full_text',
  'return_tensors',
  'return_text',
  'clean_up_tokenization_spaces',
  'prefix',
  'handle_long_generation',
  'stop_sequence',
  'truncation',
  'padding',
  'add_special_tokens',
  'continue_final_message',
  'skip_special_tokens',
  'tokenizer_encode_kwargs',
  'tools',
  'documents',
  'batch_size',
];

export const isTextGenerationOption = (name: string): boolean =>
  pipelineFields.includes(name) || isGenerateArgument(name);

type Continuation = GeneratedText<string | Message[]> & Partial<GeneratedIds>;
type Prompt = string | Chat;

interface Prepared {
  readonly prompt: Prompt;
  readonly encoding: BatchEncoding;
  readonly continues: boolean;
}

const isChat = (value: unknown): value is Chat =>
  Array.isArray(value) && value.length > 0 && value.every((m) => typeof m === 'object' && m !== null && 'role' in m);

export class TextGeneration {
  /** Its name. */
  readonly task = 'text-generation';

  constructor(
    /** What continues texts. */
    readonly model: PreTrainedModel,
    /** What makes tokens of them. */
    readonly tokenizer: PreTrainedTokenizer,
    /** Options of every call that does not set them itself. */
    private readonly defaults: TextGenerationOptions = {},
  ) {}

  /** Continues a text, a chat, or several of them. Calling the pipeline itself does the same. */
  _call(text: string, options?: TextGenerationOptions): Promise<GeneratedText[]>;
  _call(text: readonly string[], options?: TextGenerationOptions): Promise<GeneratedText[][]>;
  _call(chat: Chat, options: TextGenerationOptions & { return_full_text: false }): Promise<GeneratedText[]>;
  _call(chat: Chat, options?: TextGenerationOptions): Promise<GeneratedText<Message[]>[]>;
  _call(chats: readonly Chat[], options?: TextGenerationOptions): Promise<GeneratedText<Message[]>[][]>;
  async _call(
    input: string | readonly string[] | Chat | readonly Chat[],
    options: TextGenerationOptions = {},
  ): Promise<unknown> {
    const merged = { ...this.defaults, ...options };
    const isSingle = typeof input === 'string' || isChat(input);
    if (typeof input !== 'string' && !Array.isArray(input)) {
      throw new ModelcError('input', `the input must be a text, a chat, or a list of either, but is ${typeof input}`);
    }
    const prompts: Prompt[] = isSingle ? [input as Prompt] : [...(input as readonly Prompt[])];
    for (const prompt of prompts) {
      if (typeof prompt !== 'string' && !isChat(prompt)) {
        throw new ModelcError('input', 'a prompt must be a string or a list of messages with a role and a content');
      }
    }
    const size = merged.batch_size ?? 1;
    if (!(Number.isInteger(size) && size > 0))
      throw new ModelcError('input', `batch_size must be a positive integer, but is ${size}`);
    const results: Continuation[][] = [];
    for (let i = 0; i < prompts.length; i += size)
      results.push(...(await this.batch(prompts.slice(i, i + size), merged)));
    return isSingle ? results[0] : results;
  }

  /** The continuation of one prompt, in pieces of text as they are decoded. Leaving the loop ends the generation. */
  async *stream(prompt: string | Chat, options: TextGenerationOptions = {}): AsyncGenerator<string, void, undefined> {
    const merged = { ...this.defaults, ...options };
    const streamer = new TextIteratorStreamer(this.tokenizer, {
      skip_prompt: true,
      skip_special_tokens: merged.skip_special_tokens ?? true,
    });
    const controller = new AbortController();
    const signal = merged.signal ? AbortSignal.any([merged.signal, controller.signal]) : controller.signal;
    const finished = this.batch([prompt], { ...merged, streamer, signal }).catch((error: unknown) =>
      streamer.fail(error),
    );
    let isDone = false;
    try {
      yield* streamer;
      isDone = true;
    } finally {
      if (!isDone) controller.abort();
      await finished;
    }
  }

  private async batch(prompts: readonly Prompt[], options: TextGenerationOptions): Promise<Continuation[][]> {
    const format = returnFormat(options);
    const generate = this.generateOptions(options);
    const prepared = prompts.map((prompt) => this.prepare(prompt, options, generate));
    const { input_ids, attention_mask } = this.collate(prepared.map((p) => p.encoding));
    const sequences = await this.model.generate({
      ...generate,
      return_dict_in_generate: false,
      input_ids,
      attention_mask,
      tokenizer: this.tokenizer,
    });
    if (!(sequences instanceof Tensor)) throw new ModelcError('input', 'generate() gave no tensor of ids');
    const perPrompt = sequences.dims[0] / prompts.length;
    const promptLength = input_ids.dims[1];
    return prepared.map((p, i) =>
      Array.from({ length: perPrompt }, (_, k) => {
        const row = sequences.slice(i * perPrompt + k);
        return this.record(p, row, promptLength, format, options);
      }),
    );
  }

  /** What generate() gets: the call's generation options over the pipeline's and the checkpoint's. */
  private generateOptions(options: TextGenerationOptions): GenerateOptions {
    const { stop_sequence } = options;
    const generate: GenerateOptions = Object.fromEntries(
      Object.entries(options).filter(([name]) => !pipelineFields.includes(name)),
    );
    const own: GenerationConfig = this.model.generation_config;
    // A config of the call's own takes the place of the pipeline's defaults.
    for (const [field, value] of options.generation_config ? [] : Object.entries(pipelineDefaults)) {
      if (!isGenerationField(field) || (generate[field] ?? own[field] ?? null) !== null) continue;
      // So does a length that was chosen at loading; in a call, max_new_tokens wins over max_length.
      if (field === 'max_new_tokens' && (this.defaults.max_length ?? own.max_length ?? 20) !== 20) continue;
      // Who wants no sampling has no use for a temperature.
      if (field === 'temperature' && (generate.do_sample ?? own.do_sample) === false) continue;
      Object.assign(generate, { [field]: value });
    }
    if (stop_sequence) {
      const [eos] = this.tokenizer.encode(stop_sequence, { add_special_tokens: false });
      if (eos === undefined)
        throw new ModelcError('input', `stop_sequence ${JSON.stringify(stop_sequence)} has no tokens`);
      generate.eos_token_id = eos;
    }
    if (generate.pad_token_id === undefined && (own.pad_token_id ?? null) === null) {
      const pad = this.tokenizer.pad_token_id;
      if (pad !== null) generate.pad_token_id = pad;
    }
    return generate;
  }

  private prepare(prompt: Prompt, options: TextGenerationOptions, generate: GenerateOptions): Prepared {
    const { add_special_tokens, truncation, padding, max_length, prefix } = options;
    const encode: TokenizeOptions = {
      ...(truncation ? { truncation, max_length: max_length ?? null } : {}),
      ...(padding ? { padding, max_length: max_length ?? null } : {}),
      padding_side: 'left', // generation goes on at the end of a row
      ...options.tokenizer_encode_kwargs,
    };
    let encoding: BatchEncoding;
    let continues = false;
    if (typeof prompt === 'string') {
      const special = add_special_tokens == null ? {} : { add_special_tokens };
      encoding = this.tokenizer((prefix ?? '') + prompt, { ...special, ...encode });
    } else {
      continues = options.continue_final_message ?? prompt[prompt.length - 1].role === 'assistant';
      encoding = this.tokenizer.apply_chat_template(prompt, {
        tools: options.tools ?? null,
        documents: options.documents ?? null,
        add_generation_prompt: !continues,
        continue_final_message: continues,
        tokenizer_kwargs: encode,
      });
    }
    if (encoding.input_ids.dims[1] === 0) {
      throw new ModelcError('input', 'the prompt is empty: it has no tokens; give a text of at least one character');
    }
    if (options.handle_long_generation === 'hole') encoding = this.makeHole(encoding, generate);
    return { prompt, encoding, continues };
  }

  /** Cuts the beginning of a prompt so that prompt and new tokens fit into the tokenizer's model_max_length. */
  private makeHole(encoding: BatchEncoding, generate: GenerateOptions): BatchEncoding {
    const length = encoding.input_ids.dims[1];
    const fresh =
      generate.max_new_tokens ?? (generate.max_length ?? this.model.generation_config.max_length ?? 20) - length;
    if (fresh < 0)
      throw new ModelcError(
        'input',
        'handle_long_generation needs max_new_tokens: how many are expected cannot be told',
      );
    const limit = this.tokenizer.model_max_length;
    if (length + fresh <= limit) return encoding;
    const keep = limit - fresh;
    if (keep <= 0) {
      throw new ModelcError(
        'input',
        `max_new_tokens is ${fresh}, which leaves no room for a prompt in model_max_length ${limit}`,
      );
    }
    return {
      input_ids: encoding.input_ids.slice(null, [-keep, null]),
      attention_mask: encoding.attention_mask.slice(null, [-keep, null]),
    };
  }

  /** Pads prompts on the left to one batch. */
  private collate(encodings: readonly BatchEncoding[]): BatchEncoding {
    if (encodings.length === 1) return encodings[0];
    const length = Math.max(...encodings.map((e) => e.input_ids.dims[1]));
    const pad = this.tokenizer.pad_token_id ?? [this.model.generation_config.eos_token_id ?? []].flat()[0];
    const isRagged = encodings.some((e) => e.input_ids.dims[1] !== length);
    if (isRagged && pad === undefined) {
      throw new ModelcError(
        'input',
        'a batch needs a pad token: set tokenizer.pad_token = tokenizer.eos_token, or leave batch_size at 1',
      );
    }
    const join = (column: 'input_ids' | 'attention_mask', fill: bigint): Tensor<'int64'> => {
      const data = new BigInt64Array(encodings.length * length).fill(fill);
      for (const [i, e] of encodings.entries()) data.set(e[column].data, (i + 1) * length - e[column].dims[1]);
      return new Tensor('int64', data, [encodings.length, length]);
    };
    return { input_ids: join('input_ids', BigInt(pad ?? 0)), attention_mask: join('attention_mask', 0n) };
  }

  private record(
    { prompt, continues }: Prepared,
    row: Tensor<'int64'>,
    promptLength: number,
    format: 'tensors' | 'new' | 'full',
    options: TextGenerationOptions,
  ): Continuation {
    if (format === 'tensors')
      return { generated_token_ids: Array.from(row.data, Number) } as GeneratedIds as Continuation;
    const text = this.tokenizer.decode(row.slice([promptLength, null]), {
      skip_special_tokens: options.skip_special_tokens ?? true,
      ...(options.clean_up_tokenization_spaces == null
        ? {}
        : { clean_up_tokenization_spaces: options.clean_up_tokenization_spaces }),
    });
    if (format === 'new') return { generated_text: text };
    if (typeof prompt === 'string') return { generated_text: prompt + text };
    const last = prompt[prompt.length - 1];
    return {
      generated_text: continues
        ? [...prompt.slice(0, -1), { ...last, content: last.content + text }]
        : [...prompt, { role: 'assistant', content: text }],
    };
  }
}

/** Which form results have; contradictory requests are errors, as in transformers. */
function returnFormat(options: TextGenerationOptions): 'tensors' | 'new' | 'full' {
  const full = options.return_full_text ?? null;
  const text = options.return_text ?? null;
  const tensors = options.return_tensors ?? null;
  const exclusive = (a: string, b: string): never => {
    throw new ModelcError('input', `\`${a}\` is mutually exclusive with \`${b}\`; pass one of them`);
  };
  if (full !== null) {
    if (text !== null) exclusive('return_text', 'return_full_text');
    if (tensors !== null) exclusive('return_full_text', 'return_tensors');
    return full ? 'full' : 'new';
  }
  if (tensors !== null) {
    if (text !== null) exclusive('return_text', 'return_tensors');
    return tensors ? 'tensors' : 'full';
  }
  return 'full';
}
