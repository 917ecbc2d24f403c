// JSON files: an object on each line (JSON Lines), read while it is used; or one array of objects, or one object whose
// `field` holds such an array or columns, for which the whole file is read.
import { isDeep, maxDepth, parseExactJson } from '../../../frontends/huggingface/json.ts';
import { ModelcError } from '../../../ir/error.ts';
import { type Row, toRows } from '../rows.ts';
import { type Line, linesOfFile, wholeText } from './lines.ts';

/** How JSON files are read. */
export interface JsonOptions {
  /** The field of the file's only object that holds the rows. */
  field?: string;
}

export const jsonOptions = ['field'] as const satisfies readonly (keyof JsonOptions)[];
export const unservedJsonOptions: Readonly<Record<string, unknown>> = {
  block_size: null,
  chunksize: null,
  encoding: 'utf-8',
  encoding_errors: null,
  newlines_in_values: null,
  use_threads: true,
};

export async function* readJson(path: string, { field }: JsonOptions = {}): AsyncGenerator<Row[]> {
  if (field !== undefined) {
    yield await fieldOf(path, field);
    return;
  }
  let started = false;
  for await (const lines of linesOfFile(path)) {
    const first: Line | undefined = started ? undefined : lines.find(({ text }) => text.trim() !== '');
    if (first?.text.trimStart().startsWith('[')) {
      yield rowsOf(parse(await wholeText(path), path, 1), path);
      return;
    }
    started ||= first !== undefined;
    yield lines.flatMap((line) => (line.text.trim() === '' ? [] : [rowOf(line, path)]));
  }
}

function rowOf({ text, number }: Line, path: string): Row {
  const value = parse(text, path, number);
  if (isObject(value)) return value;
  throw new ModelcError('parse', `${path} line ${number} must be an object of columns, but is ${kindOf(value)}`);
}

function rowsOf(value: unknown, path: string): Row[] {
  if (!Array.isArray(value)) throw new ModelcError('parse', `${path} must hold an array of objects`);
  return value.map((row: unknown, i) => {
    if (isObject(row)) return row;
    throw new ModelcError('parse', `${path}: element ${i} must be an object of columns, but is ${kindOf(row)}`);
  });
}

async function fieldOf(path: string, field: string): Promise<Row[]> {
  const file = parse(await wholeText(path), path, 1);
  if (!isObject(file) || !Object.hasOwn(file, field)) {
    const there = isObject(file) ? `there are: ${Object.keys(file).join(', ')}` : `the file holds ${kindOf(file)}`;
    throw new ModelcError('parse', `${path} has no field "${field}"; ${there}`);
  }
  const value = file[field];
  return isObject(value) ? toRows(value) : rowsOf(value, `${path}, field "${field}"`);
}

/** The value of a JSON text that starts at a line of the file. */
function parse(text: string, path: string, firstLine: number): unknown {
  try {
    const value = parseExactJson(text);
    if (!isDeep(text)) return value;
  } catch (cause) {
    // Numbers of Python are no error; what takes their place is as long as they are.
    const position = firstError(text.replaceAll('NaN', '1.0').replaceAll('Infinity', '1.000000'));
    const before = text.slice(0, position);
    const line = firstLine + before.split('\n').length - 1;
    const column = position - before.lastIndexOf('\n');
    const hint =
      firstLine === 1 && text.trim() === '{'
        ? '; each line must be a whole object, or name the `field` of the rows'
        : '';
    throw new ModelcError('parse', `${path} line ${line} column ${column} is not JSON${hint}`, { cause });
  }
  throw new ModelcError('parse', `${path} line ${firstLine} is nested more than ${maxDepth} levels deep`);
}

/**
 * Where a text stops being the beginning of JSON. Not every message of JSON.parse tells it, so it is searched for by
 * halves: a beginning that is well formed as far as it goes fails at its end only.
 */
function firstError(text: string): number {
  let [good, bad] = [0, text.length + 1];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (isBeginning(text.slice(0, middle))) good = middle;
    else bad = middle;
  }
  return good;
}

function isBeginning(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const { message } = error as SyntaxError;
    const position = /position (\d+)/.exec(message)?.[1];
    return position === undefined ? message.includes('end of JSON') : Number(position) >= text.length;
  }
}

const isObject = (value: unknown): value is Row => typeof value === 'object' && value !== null && !Array.isArray(value);
const kindOf = (value: unknown): string =>
  value === null ? 'null' : Array.isArray(value) ? 'an array' : isObject(value) ? 'an object' : `a ${typeof value}`;
