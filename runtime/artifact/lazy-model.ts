// The model that apps hold: one that is opened at its first use. What opens it differs, a compiled artifact or a
// definition that is compiled in this process; what is called on it does not. It has what models of any kind have, because
// its kind is known when it is opened: what its own lacks is refused then.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { type GenerateOptions, generateNames, unservedArguments } from '../generation/arguments.ts';
import type { GenerationConfig } from '../generation/configuration.ts';
import { shownValue } from '../generation/parameters.ts';
import type { BaseStreamer } from '../generation/streamers.ts';
import type { Tensor } from '../tensors/tensor.ts';
import type * as api from './api.ts';
import { type LoadedModel, needed } from './loaded-model.ts';
import { Pieces } from './pieces.ts';
import { classify, forward } from './whole-inputs.ts';

/** A generation that starts when it is first iterated over or awaited. */
class Generation implements api.Generation {
  private started: { pieces: Pieces; output: Promise<api.GenerateOutput> } | undefined;

  constructor(
    private readonly open: () => Promise<LoadedModel>,
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
    const loaded = await this.open();
    if (!this.started) {
      const pieces = new Pieces(loaded.tokenizer, this.options.token_callback_function);
      const output = this.run(loaded, pieces, stop);
      output.catch((error: unknown) => pieces.fail(error));
      this.started = { pieces, output };
    }
    return this.started;
  }

  private async run(loaded: LoadedModel, streamer: Pieces, stop: AbortSignal | undefined): Promise<api.GenerateOutput> {
    if (loaded.kind === 'encoder') {
      throw new ModelcError(
        'unsupported',
        `this model was compiled for ${loaded.task} and does not generate; call forward()`,
      );
    }
    const { tokenizer, model } = loaded;
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
    const ids = Array.from(output.data, Number);
    // a decoder beside an encoder begins with one token, a decoder alone with the prompt
    const begun = loaded.kind === 'seq2seq-lm' ? ids.slice(0, 1) : promptIds;
    if (!streams) giveWhole(streamer, output, begun.length);
    const decode = (part: readonly number[]): string => tokenizer?.decode(part, { skip_special_tokens: true }) ?? '';
    const text = decode(ids);
    return { text, new_text: text.slice(decode(begun).length), ids, new_ids: ids.slice(begun.length) };
  }
}

/** Whether a generation is a beam search, which knows its tokens only in the end. */
export function searchesBeams(
  { generation_config: own }: { readonly generation_config: GenerationConfig },
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

/** What models of all kinds have. */
export type AnyModel = api.Model & api.Classifier;

/** A model that is opened by `open`, once, when it is needed. */
export function lazyModel(open: (options: api.LoadOptions) => Promise<LoadedModel>): AnyModel {
  let opened: Promise<LoadedModel> | undefined;
  const get = (options: api.LoadOptions = {}): Promise<LoadedModel> => {
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
    forward: async (inputs) =>
      Object.fromEntries(await forward(await get(), inputs)) as Record<string, api.ModelTensor>,
    classify: async (input, text_pair) => classify(await get(), input, text_pair),
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
