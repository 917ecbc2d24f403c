// pipeline(task, checkpoint): model and tokenizer of a checkpoint behind one call.
import { ModelcError } from '../../ir/error.ts';
import { checkOptions } from '../../ir/options.ts';
import { AutoModelForCausalLM } from '../auto/auto-models.ts';
import { callable } from '../models/callable.ts';
import { kinds } from '../models/kinds.ts';
import { commonLoadFields, type LoadOptions } from '../models/load-options.ts';
import { AutoTokenizer } from '../tokenization/auto-tokenizer.ts';
import type { PreTrainedTokenizer } from '../tokenization/tokenizer.ts';
import { TextGeneration, type TextGenerator } from './text-generation.ts';
import { callNames, checkCall, type TextGenerationOptions, unservedCallNames } from './text-generation-options.ts';

/** The pipeline of 'text-generation': a function of a prompt, a chat or several of them. */
export type TextGenerationPipeline = TextGeneration & TextGeneration['_call'];

/** Every task, with what its pipeline is. */
export interface Pipelines {
  /** Continues texts and chats. */
  'text-generation': TextGenerationPipeline;
}
/** One of supportedTasks. */
export type Task = keyof Pipelines;
/** The tasks that pipeline() serves. */
export const supportedTasks: readonly Task[] = ['text-generation'];

const isTask = (task: string): task is Task => (supportedTasks as readonly string[]).includes(task);

/** Options of loading; anything else is an option of every call. */
export interface PipelineOptions extends LoadOptions, Omit<TextGenerationOptions, keyof LoadOptions> {
  /** A tokenizer, or the folder that it is read from; default: the folder of the model. */
  tokenizer?: PreTrainedTokenizer | string | null;
}

/** Names of the options of loading. */
const loadFields: readonly string[] = [...commonLoadFields, ...kinds['causal-lm'].options];

/** What pipeline() of transformers or transformers.js takes besides, with what asks for nothing. */
const unserved: Readonly<Record<string, unknown>> = {
  ...unservedCallNames,
  config: null,
  revision: 'main',
  device_map: null,
  torch_dtype: null,
  token: null,
  trust_remote_code: false,
  model_kwargs: null,
  use_fast: true,
  framework: null,
  feature_extractor: null,
  image_processor: null,
  processor: null,
  binary_output: false,
  progress_callback: null,
  cache_dir: null,
  local_files_only: true,
  model_file_name: null,
  subfolder: null,
  use_external_data_format: null,
  session_options: null,
};

/**
 * The pipeline of a task. `model` is the folder of a checkpoint, or a model that is loaded, beside its `tokenizer`. Throws
 * ModelcError 'unsupported' for other tasks. The pipeline is called like a function; `dispose()` frees its model.
 *
 *     const generator = await pipeline('text-generation', 'FOLDER')
 *     const [{ generated_text }] = await generator('Once upon a time', { max_new_tokens: 20 })
 */
export async function pipeline<T extends Task>(
  task: T,
  model: string | TextGenerator,
  options?: PipelineOptions,
): Promise<Pipelines[T]>;
export async function pipeline(
  task: string,
  model: string | TextGenerator,
  options?: PipelineOptions,
): Promise<TextGenerationPipeline>;
export async function pipeline(
  task: string,
  model: string | TextGenerator,
  options: PipelineOptions = {},
): Promise<TextGenerationPipeline> {
  if (!isTask(task)) {
    throw new ModelcError(
      'unsupported',
      `the task '${task}' is not supported; supported tasks: ${supportedTasks.join(', ')}`,
    );
  }
  if (typeof model !== 'string' && typeof model?.generate !== 'function') {
    throw new ModelcError('input', 'pipeline() needs the folder of a checkpoint, or a model, as its second argument');
  }
  checkOptions('pipeline()', options, ['tokenizer', ...loadFields, ...callNames], unserved);
  const { tokenizer: given, ...rest } = options;
  const entries = Object.entries(rest).filter(([name]) => !Object.hasOwn(unserved, name));
  const isLoad = (name: string): boolean => loadFields.includes(name);
  const load: LoadOptions = Object.fromEntries(entries.filter(([name]) => isLoad(name)));
  const call: TextGenerationOptions = Object.fromEntries(entries.filter(([name]) => !isLoad(name)));
  checkCall(call);
  const [tokenizer, generator] = await Promise.all([tokenizerOf(model, given ?? undefined), generatorOf(model, load)]);
  return callable<[string, TextGenerationOptions?], Promise<unknown>, TextGeneration>(
    new TextGeneration(generator, tokenizer, call),
  ) as TextGenerationPipeline;
}

async function generatorOf(model: string | TextGenerator, load: LoadOptions): Promise<TextGenerator> {
  if (typeof model === 'string') return AutoModelForCausalLM.from_pretrained(model, load);
  const [name] = Object.keys(load);
  if (name !== undefined) {
    throw new ModelcError(
      'input',
      `pipeline() is given a model that is loaded, so \`${name}\` has no effect; leave it out`,
    );
  }
  return model;
}

async function tokenizerOf(
  model: string | TextGenerator,
  given: PreTrainedTokenizer | string | undefined,
): Promise<PreTrainedTokenizer> {
  const source = given ?? model;
  if (typeof source === 'string') return AutoTokenizer.from_pretrained(source);
  if (given !== undefined && typeof given !== 'string') return given;
  throw new ModelcError('input', 'pipeline() needs the tokenizer of a model that is loaded: pass { tokenizer }');
}
