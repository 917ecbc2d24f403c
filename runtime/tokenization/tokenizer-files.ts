// The files of a tokenizer, wherever they are read from: tokenizer.json, tokenizer_config.json and, where present,
// special_tokens_map.json and chat_template.jinja.
import { ModelcError } from '../../ir/error.ts';
import { createTokenizer, type PreTrainedTokenizer } from './tokenizer.ts';

type JsonObject = Readonly<Record<string, unknown>>;

/** The text of a file of a folder, undefined if there is none. */
export type ReadText = (name: string) => Promise<string | undefined>;

async function readJson(read: ReadText, where: string, name: string): Promise<JsonObject | undefined> {
  const text = await read(name);
  const path = `${where}/${name}`;
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

/** The tokenizer of the folder `where`. Throws ModelcError 'checkpoint' or 'parse' that names the file. */
export async function readTokenizer(where: string, read: ReadText): Promise<PreTrainedTokenizer> {
  const tokenizer = await readJson(read, where, 'tokenizer.json');
  if (!tokenizer) {
    throw new ModelcError(
      'checkpoint',
      `${where}/tokenizer.json does not exist; name a folder that holds a Hugging Face tokenizer`,
    );
  }
  const special = (await readJson(read, where, 'special_tokens_map.json')) ?? {};
  const config = { ...special, ...(await readJson(read, where, 'tokenizer_config.json')) };
  const chatTemplates = templatesOf(config, await read('chat_template.jinja'));
  return createTokenizer({ where, tokenizer, config, chatTemplates });
}
