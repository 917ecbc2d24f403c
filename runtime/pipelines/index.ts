// pipeline(task, checkpoint): model and tokenizer of a checkpoint behind one call.
import { ModelcError } from '../../ir/error.ts';
import { callable } from '../callable.ts';
import { AutoModelForCausalLM, type LoadOptions, loadFields } from '../models.ts';
import { AutoTokenizer } from '../tokenization/auto-tokenizer.ts';
import { isTextGenerationOption, TextGeneration, type TextGenerationOptions } from './text-generation.ts';

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
export type PipelineOptions = LoadOptions & TextGenerationOptions;

/**
 * The pipeline of a task. `model` is the folder of a checkpoint. Throws ModelcError 'unsupported' for other tasks.
 * The pipeline is called like a function; `dispose()` of its `model` frees the memory.
 */
export async function pipeline<T extends Task>(
  task: T,
  model: string,
  options?: PipelineOptions,
): Promise<Pipelines[T]>;
export async function pipeline(task: string, model: string, options?: PipelineOptions): Promise<TextGenerationPipeline>;
export async function pipeline(
  task: string,
  model: string,
  options: PipelineOptions = {},
): Promise<TextGenerationPipeline> {
  if (!isTask(task)) {
    throw new ModelcError(
      'unsupported',
      `the task '${task}' is not supported; supported tasks: ${supportedTasks.join(', ')}`,
    );
  }
  if (typeof model !== 'string') {
    throw new ModelcError('input', 'pipeline() needs the folder of a checkpoint as its second argument');
  }
  const entries = Object.entries(options);
  const isLoad = (name: string): boolean => loadFields.includes(name);
  const load = Object.fromEntries(entries.filter(([name]) => isLoad(name))) as LoadOptions;
  const call = Object.fromEntries(entries.filter(([name]) => !isLoad(name))) as TextGenerationOptions;
  for (const name of Object.keys(call)) {
    if (!isTextGenerationOption(name)) {
      throw new ModelcError(
        'unsupported',
        `pipeline() does not support the option \`${name}\`; it takes ${loadFields.join(', ')}, and the options of a call`,
      );
    }
  }
  const [tokenizer, causal] = await Promise.all([
    AutoTokenizer.from_pretrained(model),
    AutoModelForCausalLM.from_pretrained(model, load),
  ]);
  return callable<[string, TextGenerationOptions?], Promise<unknown>, TextGeneration>(
    new TextGeneration(causal, tokenizer, call),
  ) as TextGenerationPipeline;
}
