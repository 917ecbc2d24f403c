// `modelc generate`: text in, text out. The text goes to stdout as it comes and is exactly prompt and continuation; speed
// goes to stderr. With --json, stdout has one object instead.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import { isArtifact, openArtifact } from '../artifact/open.ts';
import type { TargetName } from '../devices.ts';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  BaseStreamer,
  PeftModel,
  type PreTrainedModel,
  TextStreamer,
} from '../index.ts';
import { openAdapter } from '../peft/files.ts';
import { peakMemoryMb } from '../peak-memory.ts';
import { interruptSignal, note, printOut, progress } from './output.ts';

export interface GenerateOptions {
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
  readonly target?: TargetName;
  readonly cache: 'dynamic' | 'static';
  readonly json?: boolean;
}

/** Passes ids on, and notes when the first and the last new one came. */
class Stopwatch extends BaseStreamer {
  tokens = 0;
  first = 0;
  last = 0;
  private isPrompt = true;

  constructor(private readonly next: BaseStreamer | undefined) {
    super();
  }
  override put(value: bigint[][]): void {
    if (!this.isPrompt) {
      this.last = performance.now();
      if (this.tokens++ === 0) this.first = this.last;
    }
    this.isPrompt = false;
    this.next?.put(value);
  }
  override end(): void {
    this.next?.end();
  }
}

/** What is not given is left to the model's generation_config.json; asking for a way to sample asks for sampling. */
function sampling(options: GenerateOptions): Parameters<PreTrainedModel['generate']>[0] {
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

async function open(source: string, options: GenerateOptions) {
  if (await isArtifact(source)) {
    return openArtifact(source, { ...(options.target ? { target: options.target } : {}) });
  }
  const load = { target: options.target ?? 'cpu', cache_implementation: options.cache };
  const base = await baseOf(source);
  const model = await AutoModelForCausalLM.from_pretrained(base ?? source, load);
  if (base === undefined) return { tokenizer: await AutoTokenizer.from_pretrained(source), model };
  const own = existsSync(join(source, 'tokenizer.json')) ? source : base;
  return {
    tokenizer: await AutoTokenizer.from_pretrained(own),
    model: await PeftModel.from_pretrained(model, source),
  };
}

/** The checkpoint that an adapter in this folder is for; undefined where the folder holds a whole model. */
async function baseOf(folder: string): Promise<string | undefined> {
  if (existsSync(join(folder, 'config.json')) || !existsSync(join(folder, 'adapter_config.json'))) return undefined;
  const { base_model_name_or_path: base } = (await openAdapter(folder)).config;
  if (base !== null) return base;
  throw new ModelcError('input', `the adapter in ${folder} does not name its model; set base_model_name_or_path`);
}

export async function generate(source: string, options: GenerateOptions): Promise<void> {
  const signal = interruptSignal();
  const chosen = sampling(options);
  if (options.prompt === '') throw new ModelcError('input', 'the prompt is empty: give -p a text to continue');
  progress(`opening ${source}`);
  const { tokenizer, model } = await open(source, options);
  try {
    const promptIds = tokenizer.encode(options.prompt);
    const callback_function = (text: string): void => printOut(text);
    const stopwatch = new Stopwatch(options.json ? undefined : new TextStreamer(tokenizer, { callback_function }));
    const start = performance.now();
    const output = await model.generate({
      input_ids: [promptIds],
      max_new_tokens: options.maxNewTokens,
      ...(options.repetitionPenalty === undefined ? {} : { repetition_penalty: options.repetitionPenalty }),
      ...(options.stop ? { stop_strings: options.stop, tokenizer } : {}),
      ...chosen,
      streamer: stopwatch,
      signal,
    });
    const ids = Array.from(output.data, Number);
    const decode = (part: readonly number[]): string => tokenizer.decode(part, { skip_special_tokens: true });
    const firstMs = stopwatch.first - start;
    const prefill = (promptIds.length * 1000) / firstMs;
    const decodeMs = stopwatch.last - stopwatch.first;
    const speed = decodeMs > 0 ? ((stopwatch.tokens - 1) * 1000) / decodeMs : 0;
    if (options.json) {
      const text = decode(ids);
      const result = {
        text,
        new_text: text.slice(decode(promptIds).length),
        ids,
        new_tokens: ids.length - promptIds.length,
        prefill_tokens_per_second: prefill,
        decode_tokens_per_second: speed,
        time_to_first_token_ms: firstMs,
      };
      printOut(`${JSON.stringify(result)}\n`);
      return;
    }
    printOut('\n');
    note(
      `${promptIds.length} prompt tokens at ${prefill.toFixed(1)} tokens/s, ` +
        `${stopwatch.tokens} new tokens at ${speed.toFixed(1)} tokens/s, first after ${firstMs.toFixed(1)} ms; peak memory ${peakMemoryMb()} MB`,
    );
  } finally {
    model.dispose();
  }
}
