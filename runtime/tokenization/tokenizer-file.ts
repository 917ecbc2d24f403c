// Opens a tokenizer.json with @huggingface/tokenizers, after checks that the library does not make.
import { Tokenizer } from '@huggingface/tokenizers';
import { ModelcError } from '../../ir/error.ts';

/** An error of the tokenizer library, which comes from what is in the file, as one that names the file. */
export function malformed(where: string, cause: unknown): ModelcError {
  const what = cause instanceof Error ? cause.message : String(cause);
  // The library's words for a valid part that it lacks.
  if (/^Unknown [\w-]+ type/.test(what)) {
    return new ModelcError('unsupported', `${where}/tokenizer.json uses a part that is not supported (${what})`, {
      cause,
    });
  }
  return new ModelcError('parse', `${where}/tokenizer.json is malformed (${what}); download it again`, { cause });
}

const idLimit = 2 ** 24;
const modelTypes: readonly unknown[] = ['BPE', 'WordPiece', 'Unigram'];

const replaced = (Regex: string, content: string) => ({ type: 'Replace', pattern: { Regex }, content });

/** The normalizer that SentencePiece calls nmt, which the library lacks: control characters go, odd spaces are spaces. */
const nmt: readonly unknown[] = [
  replaced('[\\u0001-\\u0008\\u000B\\u000E-\\u001F\\u007F\\u008F\\u009F]', ''),
  replaced('[\\t\\n\\f\\r\\u1680\\u200B-\\u200F\\u2028\\u2029\\u2581\\uFEFF\\uFFFD]', ' '),
];

/** A normalizer in parts that the library has. */
function inKnownParts(normalizer: unknown): unknown {
  if (typeof normalizer !== 'object' || normalizer === null || !('type' in normalizer)) return normalizer;
  if (normalizer.type === 'Nmt') return { type: 'Sequence', normalizers: nmt };
  if (!('normalizers' in normalizer) || !Array.isArray(normalizer.normalizers)) return normalizer;
  return { ...normalizer, normalizers: normalizer.normalizers.map(inKnownParts) };
}

/** The library's tokenizer of a tokenizer.json. Throws ModelcError 'parse' or 'unsupported'. */
export function openTokenizer(
  json: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>,
  where: string,
): Tokenizer {
  const model = json.model;
  if (typeof model !== 'object' || model === null || !('vocab' in model))
    throw malformed(where, 'it has no model.vocab');
  const { vocab } = model;
  const type = 'type' in model ? model.type : undefined;
  if (type !== undefined && !modelTypes.includes(type)) {
    throw malformed(where, `model.type is ${JSON.stringify(type)}, not one of ${modelTypes.join(', ')}`);
  }
  if (typeof vocab !== 'object' || vocab === null) throw malformed(where, 'model.vocab is neither object nor array');
  const added = json.added_tokens ?? [];
  if (!Array.isArray(added)) throw malformed(where, 'added_tokens is not an array');
  const ids: unknown[] = [
    ...(Array.isArray(vocab) ? [] : Object.values(vocab)),
    ...added.map((token: unknown) =>
      typeof token === 'object' && token !== null && 'id' in token ? token.id : undefined,
    ),
  ];
  for (const id of ids) {
    if (!(Number.isInteger(id) && Number(id) >= 0 && Number(id) < idLimit)) {
      throw malformed(where, `${JSON.stringify(id) ?? 'a missing value'} is not a token id`);
    }
  }
  try {
    return new Tokenizer({ ...json, normalizer: inKnownParts(json.normalizer), added_tokens: added }, config);
  } catch (cause) {
    throw malformed(where, cause);
  }
}
