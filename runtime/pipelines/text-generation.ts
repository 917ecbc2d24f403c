// The text-generation pipeline: text or messages in, their continuation out. Options, defaults and the shapes of results
// are those of transformers' TextGenerationPipeline (main); `streamer` and the call form are transformers.js's.
import { ModelcError } from '../../ir/error.ts';
import type { GenerateOptions } from '../generation/arguments.ts';
import type { PreTrainedModel } from '../generation/model.ts';
import { generationDefaults } from '../generation/parameters.ts';
import { TextIteratorStreamer } from '../generation/streamers.ts';
import type { PeftModelForCausalLM } from '../peft/models.ts';
import { Tensor } from '../tensors/tensor.ts';
import type { Message } from '../tokenization/chat-template.ts';
import type { PreTrainedTokenizer } from '../tokenization/tokenizer.ts';
import type { BatchEncoding, TokenizeOptions } from '../tokenization/types.ts';
import {
  checkCall,
  generationOptions,
  prefixOf,
  returnFormat,
  type TextGenerationOptions,
} from './text-generation-options.ts';

/** A conversation, the oldest message first. */
export type Chat = readonly Message[];

/** A model that the pipeline can run. */
export type TextGenerator = PreTrainedModel | PeftModelForCausalLM;

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
    readonly model: TextGenerator,
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
    checkCall(options);
    const merged = { ...this.defaults, ...options };
    merged.signal?.throwIfAborted();
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
    const results: Continuation[][] = [];
    for (let i = 0; i < prompts.length; i += size)
      results.push(...(await this.batch(prompts.slice(i, i + size), options)));
    return isSingle ? results[0] : results;
  }

  /** The continuation of one prompt, in pieces of text as they are decoded. Leaving the loop ends the generation. */
  async *stream(prompt: string | Chat, options: TextGenerationOptions = {}): AsyncGenerator<string, void, undefined> {
    checkCall(options);
    const merged = { ...this.defaults, ...options };
    const streamer = new TextIteratorStreamer(this.tokenizer, {
      skip_prompt: true,
      skip_special_tokens: merged.skip_special_tokens ?? true,
    });
    const controller = new AbortController();
    const signal = merged.signal ? AbortSignal.any([merged.signal, controller.signal]) : controller.signal;
    const finished = this.batch([prompt], { ...options, streamer, signal }).catch((error: unknown) =>
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

  /** Frees the model. */
  async dispose(): Promise<void> {
    this.model.dispose();
  }

  private async batch(prompts: readonly Prompt[], call: TextGenerationOptions): Promise<Continuation[][]> {
    const options = { ...this.defaults, ...call };
    const format = returnFormat(options);
    const generate = this.generateOptions(call, options);
    const prepared = prompts.map((prompt) => this.prepare(prompt, options, generate));
    // What has no tokens starts from the beginning-of-sequence token, by itself.
    const isEmpty = (p: Prepared): boolean => p.encoding.input_ids.dims[1] === 0;
    if (prepared.length > 1 && prepared.some(isEmpty)) {
      const each: Continuation[][] = [];
      for (const prompt of prompts) each.push(...(await this.batch([prompt], call)));
      return each;
    }
    const { input_ids, attention_mask } = this.collate(prepared.map((p) => p.encoding));
    const sequences = await this.model.generate({
      ...generate,
      return_dict_in_generate: false,
      ...(isEmpty(prepared[0]) ? {} : { input_ids, attention_mask }),
      tokenizer: this.tokenizer,
    });
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
  private generateOptions(call: TextGenerationOptions, options: TextGenerationOptions): GenerateOptions {
    const { stop_sequence } = options;
    const generate = generationOptions(call, this.defaults, this.model);
    const own = this.model.generation_config;
    if (stop_sequence) {
      const eos = this.tokenizer.encode(stop_sequence, { add_special_tokens: false });
      if (eos.length === 0)
        throw new ModelcError('input', `stop_sequence ${JSON.stringify(stop_sequence)} has no tokens`);
      generate.eos_token_id = eos;
    }
    if (generate.pad_token_id === undefined && (own.pad_token_id ?? null) === null) {
      const pad = this.tokenizer.pad_token_id;
      if (pad !== null) generate.pad_token_id = pad;
    }
    return this.withPrefix(generate, options.prefix ?? prefixOf(this.model.config));
  }

  /** Lengths that count the prompt count the prefix as well. */
  private withPrefix(generate: GenerateOptions, prefix: string): GenerateOptions {
    if (prefix === '') return generate;
    const length = this.tokenizer.encode(prefix, { add_special_tokens: false }).length;
    const { generation_config: own } = this.model;
    const max = generate.max_length ?? own.max_length ?? generationDefaults.max_length;
    const hasNewTokens = (generate.max_new_tokens ?? own.max_new_tokens ?? null) !== null;
    return {
      ...generate,
      ...(hasNewTokens ? {} : { max_length: max + length }),
      ...(generate.min_length ? { min_length: generate.min_length + length } : {}),
    };
  }

  private prepare(prompt: Prompt, options: TextGenerationOptions, generate: GenerateOptions): Prepared {
    const encode = encodeOptions(options, typeof prompt !== 'string');
    let encoding: BatchEncoding;
    let continues = false;
    if (typeof prompt === 'string') {
      const special = options.add_special_tokens == null ? {} : { add_special_tokens: options.add_special_tokens };
      encoding = this.tokenizer((options.prefix ?? prefixOf(this.model.config)) + prompt, { ...special, ...encode });
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
    if (options.handle_long_generation === 'hole') encoding = this.makeHole(encoding, generate);
    return { prompt, encoding, continues };
  }

  /** Cuts the beginning of a prompt so that prompt and new tokens fit into the tokenizer's model_max_length. */
  private makeHole(encoding: BatchEncoding, generate: GenerateOptions): BatchEncoding {
    const { generation_config: own } = this.model;
    const length = encoding.input_ids.dims[1];
    const max = generate.max_length ?? own.max_length ?? generationDefaults.max_length;
    const fresh = generate.max_new_tokens ?? own.max_new_tokens ?? max - length;
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
      clean_up_tokenization_spaces: options.clean_up_tokenization_spaces ?? true,
    });
    if (format === 'new') return { generated_text: text };
    if (typeof prompt === 'string') return { generated_text: prompt + text };
    const last = prompt[prompt.length - 1];
    if (continues && typeof last.content !== 'string') {
      throw new ModelcError('input', 'a last message that is continued must have a text as its content');
    }
    return {
      generated_text: continues
        ? [...prompt.slice(0, -1), { ...last, content: last.content + text }]
        : [...prompt, { role: 'assistant', content: text }],
    };
  }
}

/** What tokenizing a prompt takes of the options. A text is cut to a max_length unless it is padded to it. */
function encodeOptions(
  { truncation = null, padding, max_length = null, tokenizer_encode_kwargs }: TextGenerationOptions,
  isChat: boolean,
): TokenizeOptions {
  const isCut = truncation ?? (!isChat && max_length !== null && (padding ?? false) === false);
  return {
    ...(isCut === false ? {} : { truncation: isCut }),
    ...(padding ? { padding } : {}),
    ...(isCut !== false || padding ? { max_length } : {}),
    padding_side: 'left', // generation goes on at the end of a row
    ...tokenizer_encode_kwargs,
  };
}
