// The Model that apps hold: one that is opened at its first use. What opens it differs, a compiled artifact or a
// definition that is compiled in this process; how text is generated does not.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { type GenerateOptions, generateNames, unservedArguments } from '../generation/arguments.ts';
import type { PreTrainedModel } from '../generation/model.ts';
import { shownValue } from '../generation/parameters.ts';
import type { BaseStreamer } from '../generation/streamers.ts';
import type { Tensor } from '../tensors/tensor.ts';
import type { PreTrainedTokenizer } from '../tokenization/tokenizer.ts';
import type * as api from './api.ts';
import { Pieces } from './pieces.ts';

/** A model with its tokenizer, without which it takes token ids alone. */
export interface TextModel {
  readonly tokenizer: PreTrainedTokenizer | undefined;
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
    this.options.signal?.throwIfAborted();
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
    tokenizer: PreTrainedTokenizer | undefined,
    model: PreTrainedModel,
    streamer: Pieces,
    stop: AbortSignal | undefined,
  ): Promise<api.GenerateOutput> {
    const { signal, token_callback_function: _, ...options } = this.options;
    const promptIds = typeof this.prompt === 'string' ? needed(tokenizer).encode(this.prompt) : [...this.prompt];
    const signals = [signal, stop].filter((s) => s !== undefined);
    const streams = !searchesBeams(model, options);
    const output = await model.generate({
      ...options,
      input_ids: [promptIds],
      ...(tokenizer ? { tokenizer } : {}),
      return_dict_in_generate: false,
      num_return_sequences: 1,
      ...(streams ? { streamer } : {}),
      ...(signals.length > 0 ? { signal: AbortSignal.any(signals) } : {}),
    });
    if (!streams) giveWhole(streamer, output, promptIds.length);
    const ids = Array.from(output.data, Number);
    const decode = (part: readonly number[]): string => tokenizer?.decode(part, { skip_special_tokens: true }) ?? '';
    const text = decode(ids);
    return { text, new_text: text.slice(decode(promptIds).length), ids, new_ids: ids.slice(promptIds.length) };
  }
}

/** Throws ModelcError 'input' where text is asked of a model that has none. */
export function needed(tokenizer: PreTrainedTokenizer | undefined): PreTrainedTokenizer {
  if (tokenizer) return tokenizer;
  throw new ModelcError(
    'input',
    'this model was compiled from a folder without tokenizer.json, so that it knows no text: give token ids, or compile it again from a folder with a tokenizer',
  );
}

/** Whether a generation is a beam search, which knows its tokens only in the end. */
export function searchesBeams(
  { generation_config: own }: Pick<TextModel['model'], 'generation_config'>,
  options: GenerateOptions,
): boolean {
  const given = options.num_beams !== undefined ? options.num_beams : own.num_beams;
  return (given ?? 1) > 1;
}

/** Gives a streamer what was generated without it. */
export function giveWhole(streamer: BaseStreamer, output: Tensor<'int64'>, promptLength: number): void {
  const ids = Array.from(output.data);
  streamer.put([ids.slice(0, promptLength)]);
  for (const id of ids.slice(promptLength)) streamer.put([[id]]);
  streamer.end();
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
      checkOptions('load()', options, loadNames);
      options.signal?.throwIfAborted();
      await get(options);
    },
    generate: (prompt, options = {}) => {
      checkCall(prompt, options);
      return new Generation(get, prompt, options);
    },
    encode: async (text) => needed((await get()).tokenizer).encode(text),
    decode: async (ids) => needed((await get()).tokenizer).decode(ids, { skip_special_tokens: true }),
    dispose: async () => {
      if (opened) (await opened).model.dispose();
    },
  };
}

const loadNames = Object.keys({
  progress_callback: true,
  signal: true,
  cache: true,
  verify: true,
} satisfies Record<keyof api.LoadOptions, true>);

/** Arguments of a model's generate() that a Generation gives itself, with what asks for nothing. */
const ownArguments = {
  input_ids: null,
  inputs: null,
  attention_mask: null,
  token_type_ids: null,
  tokenizer: null,
  streamer: null,
  past_key_values: null,
  return_dict_in_generate: false,
  output_scores: false,
  output_logits: false,
  num_return_sequences: 1,
};

/** Throws at once for what no generation can begin with. */
function checkCall(prompt: unknown, options: api.GenerateOptions): void {
  const served = generateNames.filter((name) => !Object.hasOwn(ownArguments, name));
  checkOptions('generate()', options, [...served, 'token_callback_function'], {
    ...unservedArguments,
    ...ownArguments,
  });
  if (typeof prompt === 'string' || Array.isArray(prompt)) return;
  throw new ModelcError('input', `generate() takes a text or an array of token ids, not ${shownValue(prompt)}`);
}
