// What a tokenizer is made of, from all its files: tokenizer.json under the options of tokenizer_config.json, the tokens that
// the files add to it, and which tokens are special. The rules are those of transformers: a tokenizer_config.json with
// added_tokens_decoder says all; beside one without, special_tokens_map.json and added_tokens.json count, too.
import { ModelcError } from '../../ir/error.ts';
import { type AddedToken, addedToken } from './backend/added-tokens.ts';
import { Engine } from './backend/engine.ts';
import { Fields, isObject, type JsonObject, shown } from './backend/fields.ts';
import {
  isKnownClass,
  type NamedClass,
  type Role,
  roles,
  type TokenizerClass,
  tokenizerClassOf,
} from './tokenizer-classes.ts';
import type { TokenizerFiles } from './types.ts';

export interface TokenizerSetup {
  readonly engine: Engine;
  /** tokenizer_config.json with what special_tokens_map.json says. */
  readonly config: JsonObject;
  /** Tokens by role; roles of the model's own may be among them (image_token). */
  readonly specials: Map<string, string>;
  /** More special tokens. */
  readonly extra: readonly string[];
  readonly inputs: readonly string[];
  readonly padding_side: 'left' | 'right';
  readonly truncation_side: 'left' | 'right';
  /** tokenizer.json and tokenizer_config.json that say all. */
  savedTokenizer(): JsonObject;
  savedConfig(specials: ReadonlyMap<string, string>): JsonObject;
}

const standard = ['input_ids', 'attention_mask'];
const idLimit = 2 ** 24;

/** Throws ModelcError 'parse' or 'unsupported' that names the file and the field. */
export function setUp(files: TokenizerFiles): TokenizerSetup {
  const named = namedTokens(files);
  const config = new Fields(named.config, `${files.where}/tokenizer_config.json`);
  const { model_type, tokenizer_class } = files.model ?? {};
  const kind = tokenizerClassOf(
    config.optionalString('tokenizer_class') ?? (typeof tokenizer_class === 'string' ? tokenizer_class : undefined),
    typeof model_type === 'string' ? model_type : undefined,
  );
  const changed = kind.change?.(files.tokenizer, named.config) ?? files.tokenizer;
  // Classes that know something take the model alone, and their tokens from added_tokens_decoder.
  const takesModel = kind.name !== undefined && files.config.added_tokens_decoder !== undefined;
  const json = takesModel ? { ...changed, added_tokens: [] } : changed;
  const file = `${files.where}/tokenizer.json`;
  const engine = new Engine(json, file);
  const padding = isObject(json.padding) ? new Fields(json.padding, file, 'padding') : undefined;
  const truncation = isObject(json.truncation) ? new Fields(json.truncation, file, 'truncation') : undefined;
  const specials = specialsOf(config, kind, padding?.optionalString('pad_token'));
  const extra = extraOf(config, kind);
  for (const token of tokensToAdd(named.added, specials, extra)) engine.add(token);
  setTemplate(engine, kind, specials);
  return {
    engine,
    config: named.config,
    specials: new Map([...specials].map(([role, token]) => [role, token.content])),
    extra: extra.map(({ content }) => content),
    inputs: config.has('model_input_names') ? names(config, 'model_input_names') : (kind.inputs ?? standard),
    padding_side: sideOf(config, 'padding_side') ?? sideOf(padding, 'direction') ?? kind.side ?? 'right',
    truncation_side: sideOf(config, 'truncation_side') ?? sideOf(truncation, 'direction') ?? 'right',
    savedTokenizer: () => ({
      ...json,
      added_tokens: engine.added.entries().map(([id, token]) => ({ id, ...token })),
    }),
    savedConfig: (tokens) => savedConfig(named.config, kind, tokens, extra),
  };
}

/** All that the files say, in one: tokens that they add are in the saved tokenizer.json. */
function savedConfig(
  config: JsonObject,
  kind: NamedClass,
  specials: ReadonlyMap<string, string>,
  extra: readonly AddedToken[],
): JsonObject {
  const { added_tokens_decoder: _, additional_special_tokens: __, extra_special_tokens: ___, ...kept } = config;
  const named = roles.flatMap((role) => {
    const token = specials.get(role) ?? null;
    // A role that the class fills is said to be empty.
    return token === null && kind.specials?.[role] === undefined && !(role in config) ? [] : [[role, token] as const];
  });
  const own = [...specials].filter(([name]) => !roles.includes(name as Role));
  const tokens = extra.length > 0 ? { extra_special_tokens: extra.map(({ content }) => content) } : {};
  const given = config.tokenizer_class;
  // The class may be another than the one that is named: config.json has a say.
  const kept_class = typeof given === 'string' && !isKnownClass(given) ? given : 'PreTrainedTokenizerFast';
  const tokenizer_class = kind.name ?? kept_class;
  return { ...kept, ...Object.fromEntries([...named, ...own]), ...tokens, tokenizer_class };
}

function sideOf(fields: Fields | undefined, name: string): 'left' | 'right' | undefined {
  if (!fields?.has(name)) return undefined;
  if (name === 'direction') return fields.oneOf(name, ['Left', 'Right']) === 'Left' ? 'left' : 'right';
  return fields.oneOf<'left' | 'right'>(name, ['left', 'right']);
}

const names = (fields: Fields, name: string): string[] =>
  fields
    .list(name)
    .map((value, i) => (typeof value === 'string' ? value : fields.fail(`${name}[${i}]`, 'a text', value)));

/** tokenizer_config.json with what special_tokens_map.json says, and the tokens that the files add, by id. */
function namedTokens(files: TokenizerFiles): { config: JsonObject; added: ReadonlyMap<number, AddedToken> } {
  const added = new Map<number, AddedToken>();
  const { where } = files;
  if (files.config.added_tokens_decoder !== undefined) {
    const decoder = new Fields(files.config, `${where}/tokenizer_config.json`).within('added_tokens_decoder');
    for (const id of Object.keys(decoder.value)) {
      added.set(/^\d{1,8}$/.test(id) ? decoder.id(id, Number(id)) : decoder.fail(id, 'the token of an id'), addedToken(decoder.within(id))); // biome-ignore format: one expression
    }
    return { config: files.config, added };
  }
  const config = { ...files.config, ...files.specialTokens };
  for (const [content, id] of Object.entries(files.addedTokens ?? {})) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= idLimit) {
      throw new ModelcError('parse', `${where}/added_tokens.json gives ${shown(content)} the id ${shown(id)}; an id is an integer from 0 to ${idLimit - 1}`); // biome-ignore format: one expression
    }
    const special = specialContents(config).has(content);
    added.set(id, { content, single_word: false, lstrip: false, rstrip: false, normalized: !special, special });
  }
  for (const token of new Fields(files.tokenizer, `${where}/tokenizer.json`).items('added_tokens', [])) {
    added.set(token.id('id'), addedToken(token));
  }
  return { config, added };
}

function specialContents(config: JsonObject): ReadonlySet<string> {
  const given = [config.extra_special_tokens, config.additional_special_tokens].find(Array.isArray) ?? [];
  return new Set([...roles.map((role) => config[role]), ...given].flatMap((value) => contentOf(value) ?? []));
}

/** A special token in a config: its text, or an AddedToken's. */
export function contentOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return isObject(value) && typeof value.content === 'string' ? value.content : undefined;
}

const unmarked = (content: string): AddedToken => ({
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** A token in a config, as a text or an object. */
function tokenIn(fields: Fields, name: string): AddedToken {
  if (typeof fields.value[name] === 'string') return unmarked(fields.string(name));
  return { ...addedToken(fields.within(name), true), special: true };
}

/** A field of a config that is a token of the model's own, such as image_token. */
const isOwnToken = (name: string, value: unknown): boolean =>
  name.endsWith('_token') && !roles.includes(name as Role) && contentOf(value) !== undefined;

function specialsOf(config: Fields, kind: TokenizerClass, pad: string | undefined): Map<string, AddedToken> {
  const specials = new Map<string, AddedToken>();
  for (const role of roles) {
    const otherwise = kind.specials?.[role] ?? (role === 'pad_token' && !kind.specials ? pad : undefined);
    if (config.has(role)) specials.set(role, tokenIn(config, role));
    else if (config.value[role] !== null && otherwise !== undefined) specials.set(role, unmarked(otherwise));
  }
  for (const [name, value] of Object.entries(config.value)) {
    if (isOwnToken(name, value)) specials.set(name, tokenIn(config, name));
  }
  if (isObject(config.value.extra_special_tokens)) {
    const own = config.within('extra_special_tokens');
    for (const name of Object.keys(own.value)) specials.set(name, tokenIn(own, name));
  }
  return specials;
}

function extraOf(config: Fields, kind: TokenizerClass): AddedToken[] {
  const given = ['extra_special_tokens', 'additional_special_tokens'].find(
    (name) => Array.isArray(config.value[name]) && config.list(name).length > 0,
  );
  const tokens =
    given === undefined
      ? []
      : config.list(given).map((value, i): AddedToken => {
          if (typeof value === 'string') return unmarked(value);
          if (!isObject(value)) return config.fail(`${given}[${i}]`, 'a token', value);
          return { ...addedToken(new Fields(value, config.file, `${given}[${i}]`), true), special: true };
        });
  for (const name of ['extra_special_tokens', 'additional_special_tokens']) {
    const value = config.value[name] ?? null;
    if (value !== null && !Array.isArray(value) && !isObject(value)) config.fail(name, 'a list of tokens');
  }
  return given === undefined ? (kind.extra?.(config.value) ?? []).map(unmarked) : tokens;
}

/** All tokens that the files add, by id; what a role names is special. */
function tokensToAdd(
  added: ReadonlyMap<number, AddedToken>,
  specials: ReadonlyMap<string, AddedToken>,
  extra: readonly AddedToken[],
): AddedToken[] {
  const named = new Set([...specials.values()].map(({ content }) => content));
  const tokens = [...added].sort(([a], [b]) => a - b).map(([, token]) => token);
  const known = new Set(tokens.map(({ content }) => content));
  for (const token of [...specials.values(), ...extra]) {
    if (known.has(token.content)) continue;
    known.add(token.content);
    tokens.push(token);
  }
  return tokens.map((token) => (named.has(token.content) ? { ...token, special: true } : token));
}

/** The class's post-processor, where all tokens of it are there. */
function setTemplate(engine: Engine, { template }: TokenizerClass, specials: ReadonlyMap<string, AddedToken>): void {
  if (!template) return;
  const special_tokens: Record<string, JsonObject> = {};
  let isWhole = true;
  const pieces = (text: string): JsonObject[] =>
    text.split(' ').map((name) => {
      const type_id = name.endsWith('1') ? 1 : 0;
      const role = name.replace('1', '');
      if (role === 'A' || role === 'B') return { Sequence: { id: role, type_id } };
      const id = specials.get(`${role}_token`)?.content ?? '';
      const tokenId = engine.idOf(id);
      isWhole &&= tokenId !== undefined;
      special_tokens[id] = { id, ids: [tokenId], tokens: [id] };
      return { SpecialToken: { id, type_id } };
    });
  const [single, pair] = template.map(pieces);
  if (isWhole) engine.setPostProcessor({ type: 'TemplateProcessing', single, pair, special_tokens });
}
