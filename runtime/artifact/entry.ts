// The index.js of an artifact: esbuild bundles this file, with all that it needs, into dist/artifact.js, which
// `modelc compile` copies. It finds program.json and the weights beside itself. api.ts is its public face.
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ModelcError } from '../../ir/error.ts';
import { TextIteratorStreamer } from '../generation/streamers.ts';
import type * as api from './api.ts';
import { type OpenedArtifact, openArtifact } from './open.ts';

const folder = dirname(fileURLToPath(import.meta.url));

/** A generation that starts when it is first iterated over or awaited. */
class Generation implements api.Generation {
  private started: { pieces: TextIteratorStreamer; output: Promise<api.GenerateOutput> } | undefined;

  constructor(
    private readonly open: () => Promise<OpenedArtifact>,
    private readonly prompt: string | readonly number[],
    private readonly options: api.GenerateOptions,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    const stop = new AbortController();
    const { pieces, output } = await this.start(stop.signal);
    // a failure reaches the loop through the streamer, so the promise needs no second listener
    output.catch(() => undefined);
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

  private async start(
    stop?: AbortSignal,
  ): Promise<{ pieces: TextIteratorStreamer; output: Promise<api.GenerateOutput> }> {
    const { tokenizer, model } = await this.open();
    if (!this.started) {
      const pieces = new TextIteratorStreamer(tokenizer, { skip_prompt: true });
      this.started = { pieces, output: this.run(tokenizer, model, pieces, stop) };
    }
    return this.started;
  }

  private async run(
    tokenizer: OpenedArtifact['tokenizer'],
    model: OpenedArtifact['model'],
    streamer: TextIteratorStreamer,
    stop: AbortSignal | undefined,
  ): Promise<api.GenerateOutput> {
    const { signal, ...options } = this.options;
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
function lazyModel(open: () => Promise<OpenedArtifact>): api.Model {
  let opened: Promise<OpenedArtifact> | undefined;
  const get = (): Promise<OpenedArtifact> => (opened ??= open());
  return {
    generate: (prompt, options = {}) => new Generation(get, prompt, options),
    encode: async (text) => (await get()).tokenizer.encode(text),
    decode: async (ids) => (await get()).tokenizer.decode(ids, { skip_special_tokens: true }),
    dispose: async () => {
      if (opened) (await opened).model.dispose();
    },
  };
}

export const load: typeof api.load = async () => {
  const opened = await openArtifact(folder);
  return lazyModel(() => Promise.resolve(opened));
};

const model: typeof api.default = lazyModel(() => openArtifact(folder));
export default model;
export { ModelcError };
