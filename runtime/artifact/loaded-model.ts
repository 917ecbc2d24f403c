// An executor and the text files of an artifact become a model of its kind, with its tokenizer.
import type { KindName, TaskName } from '../../frontends/huggingface/index.ts';
import { isDType } from '../../ir/dtype.ts';
import { ModelcError } from '../../ir/error.ts';
import type { Executor } from '../execution/executor.ts';
import { GenerationConfig } from '../generation/configuration.ts';
import { bindModel, type Infos, type Models } from '../models/bind.ts';
import type { PreTrainedTokenizer } from '../tokenization/tokenizer.ts';
import { type ReadText, readTokenizer } from '../tokenization/tokenizer-files.ts';
import { isCount, isObject } from './download-table.ts';

interface Facts<K extends KindName> {
  readonly kind: K;
  readonly task: TaskName;
  readonly info: Infos[K];
}
/** What an artifact's manifest says of its model. */
export type ModelFacts = { [K in KindName]: Facts<K> }[KindName];

const isColumn = (value: unknown): boolean =>
  isObject(value) &&
  typeof value.name === 'string' &&
  typeof value.dtype === 'string' &&
  isDType(value.dtype) &&
  Array.isArray(value.axes) &&
  value.axes.every((axis) => typeof axis === 'string' || isCount(axis));
const isColumns = (value: unknown): boolean => Array.isArray(value) && value.every(isColumn);
const isCountOrNone = (value: unknown): boolean => value === undefined || isCount(value);

type Values = Readonly<Record<string, unknown>>;
const isWhole = ({ inputs, labels, vocabSize }: Values): boolean => isColumns(inputs) && isColumns(labels) && isCount(vocabSize); // biome-ignore format: one row
const generates = ({ vocabSize, maxPositionEmbeddings, bosTokenId, start }: Values): boolean =>
  isCount(vocabSize) && [maxPositionEmbeddings, bosTokenId, start].every(isCountOrNone);
/** Whether what a manifest says is what a writer makes, by kind. */
const checks: { readonly [K in KindName]: (info: Values) => boolean } = {
  'causal-lm': generates,
  'seq2seq-lm': (info) => isWhole(info) && generates(info) && isCount(info.maxSource),
  encoder: isWhole,
};

/** Whether a value of a manifest is what a writer makes of a model. */
export const isModelFacts = (value: unknown): value is ModelFacts =>
  isObject(value) &&
  typeof value.kind === 'string' &&
  Object.hasOwn(checks, value.kind) &&
  typeof value.task === 'string' &&
  isObject(value.info) &&
  checks[value.kind as KindName](value.info);

/** A model with its tokenizer, without which it takes token ids, or other numbers, alone. */
export type LoadedModel = {
  [K in KindName]: {
    readonly kind: K;
    readonly task: TaskName;
    readonly tokenizer: PreTrainedTokenizer | undefined;
    readonly model: Models[K];
  };
}[KindName];

/** `where` is the folder, for messages. Throws ModelcError 'checkpoint' or 'parse' that names the file. */
export async function openLoadedModel(
  executor: Executor,
  { kind, task, info }: ModelFacts,
  where: string,
  read: ReadText,
): Promise<LoadedModel> {
  const hasText = (await read('tokenizer.json')) !== undefined;
  const tokenizer = hasText ? await readTokenizer(where, read) : undefined;
  const config = objectOf((await read('config.json')) ?? '{}', `${where}/config.json`);
  const generation = await read('generation_config.json');
  const generationConfig = generation
    ? GenerationConfig.parse(generation, `${where}/generation_config.json`)
    : GenerationConfig.from_model_config(config, `${where}/config.json`);
  const model = bindModel(kind, executor, info, config, generationConfig);
  return { kind, task, tokenizer, model } as LoadedModel;
}

function objectOf(text: string, path: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    throw new ModelcError('parse', `${path} is not valid JSON; compile the artifact again`, { cause });
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
