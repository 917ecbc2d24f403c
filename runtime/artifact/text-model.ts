// An executor and the text files of an artifact become a model with its tokenizer.
import { ModelcError } from '../../ir/error.ts';
import type { Executor } from '../execution/executor.ts';
import { GenerationConfig } from '../generation/configuration.ts';
import { createModel, type ModelInfo } from '../generation/model.ts';
import { type ReadText, readTokenizer } from '../tokenization/tokenizer-files.ts';
import type { TextModel } from './lazy-model.ts';

/** `where` is the folder, for messages. Throws ModelcError 'checkpoint' or 'parse' that names the file. */
export async function openTextModel(
  executor: Executor,
  info: ModelInfo,
  where: string,
  read: ReadText,
): Promise<TextModel> {
  const hasText = (await read('tokenizer.json')) !== undefined;
  const tokenizer = hasText ? await readTokenizer(where, read) : undefined;
  const config = objectOf((await read('config.json')) ?? '{}', `${where}/config.json`);
  const generation = await read('generation_config.json');
  const generationConfig = generation
    ? GenerationConfig.parse(generation, `${where}/generation_config.json`)
    : GenerationConfig.from_model_config(config, `${where}/config.json`);
  return { tokenizer, model: createModel(executor, info, config, generationConfig) };
}

function objectOf(text: string, path: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new ModelcError('parse', `${path} is not valid JSON; compile the artifact again`, { cause });
  }
}
