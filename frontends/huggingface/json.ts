// Reading JSON files of a checkpoint folder, which come from anywhere: size-limited, with errors that name the file.
import { nodeFiles } from '../../backends/node-modules.ts';
import { type ErrorCode, ModelcError } from '../../ir/error.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const limit = 64 * 2 ** 20;

/** The object in a JSON file, undefined if there is no such file. */
export async function readJsonIfPresent(path: string): Promise<JsonObject | undefined> {
  let text: string;
  try {
    const { readFile, stat } = await nodeFiles();
    const info = await stat(path);
    if (!info.isFile()) throw new ModelcError('checkpoint', `${path} is no file; download the folder again`);
    if (info.size > limit)
      throw new ModelcError('checkpoint', `${path} is ${info.size} bytes; a JSON file here is at most ${limit}`);
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof ModelcError) throw cause;
    if (isMissing(cause)) return undefined;
    throw new ModelcError('checkpoint', `${path} cannot be read: ${reason(cause)}`, { cause });
  }
  const value = parseJson(text, path, 'parse');
  if (!isObject(value)) throw new ModelcError('parse', `${path} must hold a JSON object`);
  sources.set(value, text);
  return value;
}

/** The text of objects that were read: it tells whole numbers that were written as floats, 1.0, from others. */
const sources = new WeakMap<JsonObject, string>();

/** Fields of configs that are floats for Python, in objects that were not read from a file. */
const floatNames =
  /(dropout|pdrop|eps|epsilon|theta|_factor|_range|_std|multiplier|softcapping|temperature|penalty|top_p)$/;

/**
 * `value` as JSON. JavaScript does not tell 1.0 from 1, but transformers' configs do and refuse the wrong one: numbers that
 * `original`, which was read from a file, had as floats are written as floats.
 */
export function jsonText(value: JsonObject, original: JsonObject = value): string {
  const source = sources.get(original);
  const known = source === undefined ? undefined : floatPaths(source);
  const write = (v: unknown, path: string, indent: string): string => {
    const isFloat = known ? known.has(path) : floatNames.test(path);
    if (typeof v === 'number' && Number.isInteger(v) && isFloat) return Math.abs(v) < 1e21 ? `${v}.0` : String(v);
    if (typeof v === 'number' && !Number.isFinite(v)) return String(v); // as Python writes and reads it
    if (typeof v !== 'object' || v === null) return JSON.stringify(v) ?? 'null';
    const inner = `${indent}  `;
    const items = Array.isArray(v)
      ? v.map((item, i) => write(item, `${path}/${i}`, inner))
      : Object.entries(v).flatMap(([key, item]) =>
          item === undefined ? [] : [`${JSON.stringify(key)}: ${write(item, `${path}/${key}`, inner)}`],
        );
    const [open, close] = Array.isArray(v) ? '[]' : '{}';
    return items.length === 0 ? open + close : `${open}\n${inner}${items.join(`,\n${inner}`)}\n${indent}${close}`;
  };
  return `${write(value, '', '')}\n`;
}

/** Levels of nesting; transformers' own files have about five. */
export const maxDepth = 200;

/** Whether a valid JSON text has more levels than that: what reads them recurses. */
export function isDeep(text: string): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '"') {
      while (text[++i] !== '"') if (text[i] === '\\') i++;
    } else if (c === '{' || c === '[') {
      if (++depth > maxDepth) return true;
    } else if (c === '}' || c === ']') depth--;
  }
  return false;
}

/** The paths ('/rope_scaling/factor') of whole numbers of a valid JSON text that have a point or an exponent. */
function floatPaths(text: string): Set<string> {
  const found = new Set<string>();
  const open: { key: string | number }[] = [];
  const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|[{}[\],:]/g;
  let last = '';
  for (const [token] of text.matchAll(tokens)) {
    const top = open[open.length - 1];
    if (token === '{') open.push({ key: '' });
    else if (token === '[') open.push({ key: 0 });
    else if (token === '}' || token === ']') open.pop();
    else if (token === ':' && top) top.key = JSON.parse(last) as string;
    else if (token === ',' && typeof top?.key === 'number') top.key++;
    else if (/^-?\d/.test(token) && /[.eE]/.test(token) && Number.isInteger(Number(token))) {
      found.add(open.map(({ key }) => `/${key}`).join(''));
    }
    last = token;
  }
  return found;
}

/** JSON as Python writes it: NaN, Infinity and -Infinity are numbers, too. Throws ModelcError `code` that names `what`. */
export function parseJson(text: string, what: string, code: ErrorCode): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const failed = new ModelcError(code, `${what} is not valid JSON: ${reason(cause)}`, { cause });
    if (!/NaN|Infinity/.test(text)) throw failed;
    try {
      value = parsePythonJson(text, false);
    } catch {
      throw failed;
    }
  }
  if (isDeep(text)) throw new ModelcError(code, `${what} is nested more than ${maxDepth} levels deep`);
  return value;
}

/**
 * As parseJson, of rows of data: integers that numbers do not hold exactly are bigints, as Python keeps them. Throws what
 * JSON.parse throws.
 */
export function parseExactJson(text: string): unknown {
  return mayHaveBigIntegers.test(text) ? parsePythonJson(text) : parseRelaxed(text);
}

function parseRelaxed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (!/NaN|Infinity/.test(text)) throw cause;
    return parsePythonJson(text);
  }
}

const mayHaveBigIntegers = /\d{16}/;

/** Strings, which are passed over, numbers, or a name of a number that JSON does not have. */
const stringOrName = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\b(?:NaN|Infinity)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Numbers that JSON.parse has no name for, or that it would round. */
function isOwn(found: string, bigints: boolean): boolean {
  if (/^-?[NI]/.test(found)) return true;
  return bigints && /^-?[1-9]\d{15,}$/.test(found) && !Number.isSafeInteger(Number(found));
}

const ownValue = (text: string): number | bigint => (/[NI]/.test(text) ? Number(text) : BigInt(text));

function parsePythonJson(text: string, bigints = true): unknown {
  // A name becomes a string that no string of the text begins with.
  const mark = '#'.repeat([...text.matchAll(/"(#+)/g)].reduce((most, [, run]) => Math.max(most, run.length), 0) + 1);
  const marked = text.replace(stringOrName, (found) => (isOwn(found, bigints) ? `"${mark}${found}"` : found));
  return JSON.parse(marked, (_, value) =>
    typeof value === 'string' && value.startsWith(mark) ? ownValue(value.slice(mark.length)) : value,
  );
}

/** Whether a file system error says that a file or folder does not exist. */
export const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

export const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Text from a file as an error message may show it: quoted, without control characters, cut. */
export function quote(text: string): string {
  const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text).slice(1, -1);
  return `'${shown}'`;
}

/**
 * The first key that an object of `text` (valid JSON) has twice, if any: JSON.parse keeps the last one silently, which
 * lets two readers see different files.
 */
export function duplicateKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = []; // a set of keys per open object, undefined per open array
  let last = ''; // the string before, which a colon turns into a key
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '{') open.push(new Set());
    else if (c === '[') open.push(undefined);
    else if (c === '}' || c === ']') open.pop();
    else if (c === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
      last = text.slice(start, i + 1);
    } else if (c === ':') {
      const key = JSON.parse(last) as string;
      const keys = open[open.length - 1];
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}
