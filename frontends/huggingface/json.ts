// Reading JSON files of a checkpoint folder, which come from anywhere: size-limited, with errors that name the file.
import { readFile, stat } from 'node:fs/promises';
import { type ErrorCode, ModelcError } from '../../ir/error.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const limit = 64 * 2 ** 20;

/** The object in a JSON file, undefined if there is no such file. */
export async function readJsonIfPresent(path: string): Promise<JsonObject | undefined> {
  let text: string;
  try {
    const { size } = await stat(path);
    if (size > limit)
      throw new ModelcError('checkpoint', `${path} is ${size} bytes; a JSON file here is at most ${limit}`);
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof ModelcError) throw cause;
    if (isMissing(cause)) return undefined;
    throw new ModelcError('checkpoint', `${path} cannot be read: ${reason(cause)}`, { cause });
  }
  const value = parseJson(text, path, 'parse');
  if (!isObject(value)) throw new ModelcError('parse', `${path} must hold a JSON object`);
  return value;
}

export function parseJson(text: string, what: string, code: ErrorCode): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ModelcError(code, `${what} is not valid JSON: ${reason(cause)}`, { cause });
  }
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
