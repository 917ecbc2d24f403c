// AutoTokenizer: reads the tokenizer of a checkpoint folder: tokenizer.json, tokenizer_config.json and, where present,
// special_tokens_map.json and chat_template.jinja.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ModelcError } from '../../ir/error.ts';
import { createTokenizer, type PreTrainedTokenizer } from './tokenizer.ts';

type JsonObject = Readonly<Record<string, unknown>>;

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR'))
      return undefined;
    throw new ModelcError('checkpoint', `${path} cannot be read; check its permissions`, { cause });
  }
}

async function readJson(path: string): Promise<JsonObject | undefined> {
  const text = await readText(path);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ModelcError('parse', `${path} is not valid JSON; download it again`, { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ModelcError('parse', `${path} must hold a JSON object; download it again`);
  }
  return value as JsonObject;
}

function templatesOf(config: JsonObject, file: string | undefined): Record<string, string> {
  const templates: Record<string, string> = {};
  const given = config.chat_template;
  if (typeof given === 'string') templates.default = given;
  else if (Array.isArray(given)) {
    for (const entry of given) {
      if (typeof entry?.name === 'string' && typeof entry.template === 'string') templates[entry.name] = entry.template;
    }
  }
  if (file !== undefined) templates.default = file;
  return templates;
}

// biome-ignore lint/complexity/noStaticOnlyClass: the name and form that users of transformers know
export class AutoTokenizer {
  /** The tokenizer of a checkpoint folder. Throws ModelcError 'checkpoint' or 'parse' that names the file. */
  static async from_pretrained(directory: string): Promise<PreTrainedTokenizer> {
    const path = join(directory, 'tokenizer.json');
    const tokenizer = await readJson(path);
    if (!tokenizer) {
      throw new ModelcError('checkpoint', `${path} does not exist; name a folder that holds a Hugging Face tokenizer`);
    }
    const special = (await readJson(join(directory, 'special_tokens_map.json'))) ?? {};
    const config = { ...special, ...(await readJson(join(directory, 'tokenizer_config.json'))) };
    const chatTemplates = templatesOf(config, await readText(join(directory, 'chat_template.jinja')));
    return createTokenizer({ where: directory, tokenizer, config, chatTemplates });
  }
}
