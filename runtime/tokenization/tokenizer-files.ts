// The files of a tokenizer, wherever they are read from: tokenizer.json, tokenizer_config.json and, where present,
// special_tokens_map.json, added_tokens.json, chat_template.jinja and the model's config.json.
import { parseJson } from '../../frontends/huggingface/json.ts';
import { ModelcError } from '../../ir/error.ts';
import { isObject, type JsonObject } from './backend/fields.ts';
import { createTokenizer, type PreTrainedTokenizer } from './tokenizer.ts';

/** The text of a file of a folder, undefined if there is none. */
export type ReadText = (name: string) => Promise<string | undefined>;

async function readJson(read: ReadText, where: string, name: string): Promise<JsonObject | undefined> {
  const text = await read(name);
  if (text === undefined) return undefined;
  const path = `${where}/${name}`;
  const value = parseJson(text, path, 'parse');
  if (!isObject(value)) throw new ModelcError('parse', `${path} must hold a JSON object; download it again`);
  return value;
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

/**
 * The tokenizer of the folder `where`; `options` count as fields of tokenizer_config.json. Throws ModelcError 'checkpoint',
 * 'parse' or 'unsupported' that names the file.
 */
export async function readTokenizer(
  where: string,
  read: ReadText,
  options: JsonObject = {},
): Promise<PreTrainedTokenizer> {
  const tokenizer = await readJson(read, where, 'tokenizer.json');
  if (!tokenizer) {
    throw new ModelcError(
      'checkpoint',
      `${where}/tokenizer.json does not exist; name a folder that holds a Hugging Face tokenizer`,
    );
  }
  const given = await readJson(read, where, 'tokenizer_config.json');
  const specials = await readJson(read, where, 'special_tokens_map.json');
  const config = { ...given, ...options };
  const specialTokens = specials && { ...specials, ...options };
  const addedTokens = await readJson(read, where, 'added_tokens.json');
  const model = await readJson(read, where, 'config.json');
  const chatTemplates = templatesOf({ ...specials, ...config }, await read('chat_template.jinja'));
  return createTokenizer({
    where,
    tokenizer,
    config,
    chatTemplates,
    ...(specialTokens && { specialTokens }),
    ...(addedTokens && { addedTokens }),
    ...(model && { model }),
  });
}
