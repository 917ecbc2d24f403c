// The Model that apps hold: one that is opened at its first use. What opens it differs, a compiled artifact or a
// definition that is compiled in this process; how text is generated does not.
import { ModelcError } from '../../ir/error.ts';
import type { PreTrainedModel } from '../generation/model.ts';
import type { PreTrainedTokenizer } from '../tokenization/tokenizer.ts';
import type * as api from './api.ts';
import { Pieces } from './pieces.ts';

/** A model with its tokenizer. */
export interface TextModel {
  readonly tokenizer: PreTrainedTokenizer;
  readonly model: PreTrainedModel;
}

/** A generation that starts when it is first iterated over or awaited. */
class Generation implements api.Generation {
  private started: { pieces: Pieces; output: Promise<api.GenerateOutput> } | undefined;

  constructor(
    private readonly open: () => Promise<TextModel>,
    private readonly prompt: string | readonly number[],
    private readonly options: api.GenerateOptions,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    const stop = new AbortController();
    const { pieces, output } = await this.start(stop.signal);
    try {
      yield* pieces;
      await output;
    } finally {
      stop.abort();
    }
  }

  /** A Generation is awaited like a promise. */
  then<A = api.GenerateOutput, B = never>(
    onFulfilled?: ((value: api.GenerateOutput) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.start()
      .then(({ output }) => output)
      .then(onFulfilled, onRejected);
  }

  private async start(stop?: AbortSignal): Promise<{ pieces: Pieces; output: Promise<api.GenerateOutput> }> {
    const { tokenizer, model } = await this.open();
    if (!this.started) {
      const pieces = new Pieces(tokenizer, this.options.token_callback_function);
      const output = this.run(tokenizer, model, pieces, stop);
      output.catch((error: unknown) => pieces.fail(error));
      this.started = { pieces, output };
    }
    return this.started;
  }

  private async run(
    tokenizer: PreTrainedTokenizer,
    model: PreTrainedModel,
    streamer: Pieces,
    stop: AbortSignal | undefined,
  ): Promise<api.GenerateOutput> {
    const { signal, token_callback_function: _, ...options } = this.options;
    const promptIds = typeof this.prompt === 'string' ? tokenizer.encode(this.prompt) : [...this.prompt];
    const signals = [signal, stop].filter((s) => s !== undefined);
    const output = await model.generate({
      ...options,
      input_ids: [promptIds],
      streamer,
      tokenizer,
      ...(signals.length > 0 ? { signal: AbortSignal.any(signals) } : {}),
    });
    const ids = Array.from(output.data, Number);
    const decode = (part: readonly number[]): string => tokenizer.decode(part, { skip_special_tokens: true });
    const text = decode(ids);
    return { text, new_text: text.slice(decode(promptIds).length), ids, new_ids: ids.slice(promptIds.length) };
  }
}

/** A model that is opened by `open`, once, when it is needed. */
export function lazyModel(open: (options: api.LoadOptions) => Promise<TextModel>): api.Model {
  let opened: Promise<TextModel> | undefined;
  const get = (options: api.LoadOptions = {}): Promise<TextModel> => {
    opened ??= open(options).catch((error: unknown) => {
      opened = undefined; // the next use tries again
      throw error;
    });
    return opened;
  };
  return {
    load: async (options = {}) => {
      checkOptions(options);
      await get(options);
    },
    generate: (prompt, options = {}) => new Generation(get, prompt, options),
    encode: async (text) => (await get()).tokenizer.encode(text),
    decode: async (ids) => (await get()).tokenizer.decode(ids, { skip_special_tokens: true }),
    dispose: async () => {
      if (opened) (await opened).model.dispose();
    },
  };
}

const optionNames: Record<keyof api.LoadOptions, true> = {
  progress_callback: true,
  signal: true,
  cache: true,
  verify: true,
};

function checkOptions(options: api.LoadOptions): void {
  for (const name of Object.keys(options)) {
    if (Object.hasOwn(optionNames, name)) continue;
    const known = Object.keys(optionNames).join(', ');
    throw new ModelcError('unsupported', `load() does not support the option \`${name}\`; it takes ${known}`);
  }
}
