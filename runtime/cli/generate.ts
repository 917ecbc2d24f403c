// `modelc generate`: text in, text out. The text goes to stdout as it comes and is exactly prompt and continuation; speed
// goes to stderr. With --json, stdout has one object instead.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { stopCompilers } from '../../backends/build-cache.ts';
import { type DeviceName, defaultBackend } from '../../backends/index.ts';
import { ModelcError } from '../../ir/error.ts';
import { giveWhole, searchesBeams } from '../artifact/lazy-model.ts';
import { type LoadedModel, needed } from '../artifact/loaded-model.ts';
import { isArtifact, openArtifact } from '../artifact/open.ts';
import { checkGeneration } from '../generation/resolve.ts';
import {
  AutoTokenizer,
  BaseStreamer,
  type GenerateOptions,
  PeftModel,
  type PeftModelForSeq2SeqLM,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  type Seq2SeqModel,
  type TextGenerator,
  TextStreamer,
} from '../index.ts';
import { generationConfigOf, loadModel, openModel } from '../models/open.ts';
import { openAdapter } from '../peft/files.ts';
import { interruptible, interruptSignal, note, printOut, progress, showBuilds } from './output.ts';
import { peakMemoryMb } from './peak-memory.ts';
import { readPrompt } from './prompt.ts';

export interface CommandOptions {
  readonly prompt: string;
  readonly maxNewTokens: number;
  readonly greedy?: boolean;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
  /** 'cpu' for a checkpoint; an artifact has its own. */
  readonly target?: DeviceName;
  readonly cache: 'dynamic' | 'static';
  readonly json?: boolean;
}

/** Passes ids on, and notes when the prompt, the first and the last new one came: what precedes the prompt is no part. */
class Stopwatch extends BaseStreamer {
  tokens = 0;
  start = performance.now();
  first = 0;
  last = 0;
  private isPrompt = true;

  constructor(private readonly next: BaseStreamer | undefined) {
    super();
  }
  override put(value: bigint[][]): void {
    const now = performance.now();
    if (this.isPrompt) this.start = now;
    else {
      this.last = now;
      if (this.tokens++ === 0) this.first = now;
    }
    this.isPrompt = false;
    this.next?.put(value);
  }
  override end(): void {
    this.next?.end();
  }
}

/** What is not given is left to the model's generation_config.json; asking for a way to sample asks for sampling. */
function sampling(options: CommandOptions): GenerateOptions {
  const { temperature, topK, topP, minP, seed } = options;
  const asked = [temperature, topK, topP, minP, seed].some((v) => v !== undefined);
  if (options.greedy && asked) {
    throw new ModelcError(
      'input',
      '--greedy excludes --temperature, --top-k, --top-p, --min-p and --seed: leave out one side',
    );
  }
  if (options.greedy) return { do_sample: false, temperature: null, top_k: null, top_p: null, min_p: null };
  return {
    ...(asked ? { do_sample: true } : {}),
    ...(temperature === undefined ? {} : { temperature }),
    ...(topK === undefined ? {} : { top_k: topK }),
    ...(topP === undefined ? {} : { top_p: topP }),
    ...(minP === undefined ? {} : { min_p: minP }),
    ...(seed === undefined ? {} : { seed }),
  };
}

/** The model and its tokenizer. What generate() would refuse is refused before anything is compiled. */
async function open(source: string, options: CommandOptions, call: GenerateOptions): Promise<TextModel> {
  if (await isArtifact(source)) {
    const loaded = await openArtifact(source, { ...(options.target ? { target: options.target } : {}) });
    return generating(loaded, source);
  }
  const base = await baseOf(source);
  const isAdapter = base !== undefined;
  const tokenizer = await AutoTokenizer.from_pretrained(isAdapter && !hasTokenizer(source) ? base : source);
  const opened = await openModel(base ?? source, {
    target: options.target ?? defaultBackend,
    ...(options.cache === 'static' ? { cache_implementation: options.cache } : {}),
  });
  const { kind, model: described } = opened;
  if (kind.generates) checkGeneration(generationConfigOf(opened.checkpoint), call);
  else refuseGenerating(described.name, source);
  const loaded = { kind: kind.name, task: described.name, tokenizer, model: await loadModel(opened) } as LoadedModel;
  const { model, ...text } = generating(loaded, source);
  if (!isAdapter) return { ...text, model };
  return { ...text, model: await PeftModel.from_pretrained(model as PreTrainedModel, source) };
}

/** What the command needs of a model. */
interface TextModel {
  readonly tokenizer: PreTrainedTokenizer;
  readonly model: TextGenerator | Seq2SeqModel | PeftModelForSeq2SeqLM;
  /** Whether what is generated begins with the prompt, as it does where no encoder reads it. */
  readonly continues: boolean;
}

function generating({ kind, task, tokenizer, model }: LoadedModel, source: string): TextModel {
  if (kind === 'encoder') return refuseGenerating(task, source);
  return { tokenizer: needed(tokenizer), model, continues: kind === 'causal-lm' };
}

function refuseGenerating(task: string, source: string): never {
  throw new ModelcError('unsupported', `${source} holds a model for ${task}, which does not generate`);
}

const hasTokenizer = (folder: string): boolean => existsSync(join(folder, 'tokenizer.json'));

/** The checkpoint that an adapter in this folder is for; undefined where the folder holds a whole model. */
async function baseOf(folder: string): Promise<string | undefined> {
  if (existsSync(join(folder, 'config.json')) || !existsSync(join(folder, 'adapter_config.json'))) return undefined;
  const { base_model_name_or_path: base } = (await openAdapter(folder)).config;
  if (base !== null) return base;
  throw new ModelcError('input', `the adapter in ${folder} does not name its model; set base_model_name_or_path`);
}

/** The options of generate() that were asked for. */
function callOf(options: CommandOptions): GenerateOptions {
  return {
    max_new_tokens: options.maxNewTokens,
    return_dict_in_generate: false,
    num_return_sequences: 1,
    ...(options.repetitionPenalty === undefined ? {} : { repetition_penalty: options.repetitionPenalty }),
    ...(options.stop ? { stop_strings: options.stop } : {}),
    ...sampling(options),
  };
}

export async function generate(source: string, options: CommandOptions): Promise<void> {
  const signal = interruptSignal();
  signal.addEventListener('abort', stopCompilers);
  showBuilds();
  const call = callOf(options);
  const prompt = await readPrompt(options.prompt, signal);
  progress(`opening ${source}`);
  const { tokenizer, model, continues } = await interruptible(open(source, options, call), signal);
  try {
    signal.throwIfAborted();
    const promptIds = tokenizer.encode(prompt);
    const callback_function = (text: string): void => printOut(text);
    const stopwatch = new Stopwatch(options.json ? undefined : new TextStreamer(tokenizer, { callback_function }));
    const streams = !searchesBeams(model, call);
    const output = await model.generate({
      ...call,
      // without a token, generation starts from the one that begins texts
      ...(promptIds.length > 0 ? { input_ids: [promptIds] } : {}),
      tokenizer,
      signal,
      ...(streams ? { streamer: stopwatch } : {}),
    });
    const promptLength = continues ? Math.max(1, promptIds.length) : 1;
    if (!streams) giveWhole(stopwatch, output, promptLength);
    const ids = Array.from(output.data, Number);
    const decode = (part: readonly number[]): string => tokenizer.decode(part, { skip_special_tokens: true });
    const { text: speeds, ...measured } = speedOf(stopwatch, Math.max(1, promptIds.length), streams);
    if (options.json) {
      const text = decode(ids);
      const result = {
        text,
        new_text: text.slice(decode(ids.slice(0, promptLength)).length),
        ids,
        new_tokens: ids.length - promptLength,
        ...measured,
      };
      printOut(`${JSON.stringify(result)}\n`);
      return;
    }
    printOut('\n');
    note(`${speeds}; peak memory ${peakMemoryMb()} MB`);
  } finally {
    model.dispose();
  }
}

/** What a stopwatch has measured, with a sentence for people. Searched beams come all at once, so there is no speed. */
function speedOf(stopwatch: Stopwatch, promptTokens: number, streams: boolean) {
  const { start, first, last, tokens } = stopwatch;
  if (!streams) return { text: `${promptTokens} prompt tokens, ${tokens} new tokens of the best beam` };
  const time_to_first_token_ms = first - start;
  const prefill_tokens_per_second = (promptTokens * 1000) / time_to_first_token_ms;
  const decode_tokens_per_second = last > first ? ((tokens - 1) * 1000) / (last - first) : 0;
  const text =
    `${promptTokens} prompt tokens at ${prefill_tokens_per_second.toFixed(1)} tokens/s, ` +
    `${tokens} new tokens at ${decode_tokens_per_second.toFixed(1)} tokens/s, first after ${time_to_first_token_ms.toFixed(1)} ms`;
  return { prefill_tokens_per_second, decode_tokens_per_second, time_to_first_token_ms, text };
}
