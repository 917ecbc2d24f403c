// CSV files. The types of columns follow from their values, as in pandas: a column whose values are all numbers holds
// numbers, one of True and False holds booleans, any other holds text; what pandas takes for "not available" (an empty
// field, NA, null, nan, …) is null. A file that is read while it is used tells its types by its first rows, and a later
// value of another type is an error.
import { pipeline, Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { quote } from '../../../frontends/huggingface/json.ts';
import { ModelcError } from '../../../ir/error.ts';
import type { Row } from '../rows.ts';
import { exactInteger } from './integers.ts';
import { textOfFile } from './lines.ts';

/** How CSV files are read. */
export interface CsvOptions {
  /** What parts fields, one character; ',' where not given. */
  sep?: string;
  /** The same as sep. */
  delimiter?: string;
  /** What encloses fields that hold delimiters; '"' where not given. */
  quotechar?: string;
  /** The character before a quote that belongs to a quoted field; a second quote where not given. */
  escapechar?: string | null;
  /** Names of the columns; a file without a line of names needs them. */
  names?: readonly string[];
  /** The same as names. */
  column_names?: readonly string[];
  /** The line of names: 0, the first that is read; null: there is none. 'infer': 0 unless names are given. */
  header?: number | null | 'infer';
  /** Lines at the start of the file that are passed over. */
  skiprows?: number;
  /** Further texts that are null. */
  na_values?: string | readonly string[];
  /** false: only na_values are null. */
  keep_default_na?: boolean;
  /** Types that do not follow from the values; text keeps "007" as it is. */
  column_types?: Readonly<Record<string, CsvType>>;
}
/** A type of columns. */
export type CsvType = 'number' | 'boolean' | 'text';

export const csvOptions = [
  'sep',
  'delimiter',
  'quotechar',
  'escapechar',
  'names',
  'column_names',
  'header',
  'skiprows',
  'na_values',
  'keep_default_na',
  'column_types',
] as const satisfies readonly (keyof CsvOptions)[];

/** Options of datasets that are not served, with the values that ask for what is done anyway. */
export const unservedCsvOptions: Readonly<Record<string, unknown>> = {
  chunksize: 10_000,
  comment: null,
  converters: null,
  date_format: null,
  decimal: '.',
  dialect: null,
  doublequote: true,
  dtype: null,
  encoding: 'utf-8',
  encoding_errors: 'strict',
  engine: null,
  false_values: null,
  float_precision: null,
  index_col: null,
  lineterminator: null,
  low_memory: true,
  memory_map: false,
  na_filter: true,
  nrows: null,
  on_bad_lines: 'error',
  parse_dates: false,
  quoting: 0,
  skip_blank_lines: true,
  skipfooter: 0,
  skipinitialspace: false,
  thousands: null,
  true_values: null,
  usecols: null,
};

/** What the options of a call ask for. */
interface Format {
  readonly delimiter: string;
  readonly quote: string;
  readonly escape: string;
  readonly names: readonly string[] | undefined;
  readonly hasHeader: boolean;
  readonly skip: number;
  readonly missing: ReadonlySet<string>;
}

/** What pandas takes for a value that is not there. */
const notAvailable =
  ' #N/A #N/A_N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan null'
    .split(' ')
    .map((text) => text.replace('_', ' '));

/** Checks the values of options. Throws ModelcError 'input'. */
export function csvFormat(options: CsvOptions): Format {
  const one = <T>(a: keyof CsvOptions, b: keyof CsvOptions): T | undefined => {
    if (options[a] !== undefined && options[b] !== undefined && options[a] !== options[b]) {
      throw new ModelcError('input', `${a} and ${b} are one option with two names; give one of them`);
    }
    return (options[a] ?? options[b] ?? undefined) as T | undefined;
  };
  const character = (name: string, value: unknown, otherwise: string): string => {
    if (value === undefined) return otherwise;
    if (typeof value === 'string' && value.length === 1 && !/[\r\n]/.test(value)) return value;
    throw new ModelcError('input', `${name} must be one character, but is ${quote(String(value))}`);
  };
  const delimiter = character('sep', one('sep', 'delimiter'), ',');
  const mark = character('quotechar', options.quotechar, '"');
  if (mark === delimiter) throw new ModelcError('input', `sep and quotechar are both ${quote(mark)}; they must differ`);
  const names = one<readonly string[]>('names', 'column_names');
  if (names !== undefined) requireTexts('names', names);
  const { header = 'infer', skiprows = 0, na_values = [], keep_default_na = true } = options;
  if (header !== null && header !== 'infer' && header !== 0) {
    throw new ModelcError(
      'input',
      `header must be 0, null or 'infer', but is ${quote(String(header))}; skiprows passes over lines`,
    );
  }
  if (!Number.isInteger(skiprows) || skiprows < 0) {
    throw new ModelcError('input', `skiprows must be a number of lines, but is ${quote(String(skiprows))}`);
  }
  if (typeof keep_default_na !== 'boolean') throw new ModelcError('input', 'keep_default_na must be true or false');
  const missing = typeof na_values === 'string' ? [na_values] : na_values;
  requireTexts('na_values', missing);
  requireTypes(options.column_types);
  const hasHeader = header === 0 || (header === 'infer' && names === undefined);
  return {
    delimiter,
    quote: mark,
    escape: character('escapechar', options.escapechar ?? undefined, mark),
    names,
    hasHeader,
    skip: skiprows,
    missing: new Set([...missing, ...(keep_default_na ? notAvailable : [])]),
  };
}

function requireTexts(name: string, list: unknown): void {
  if (Array.isArray(list) && list.every((item) => typeof item === 'string')) {
    const twice = list.find((item, i) => list.indexOf(item) !== i);
    if (twice === undefined || name !== 'names') return;
    throw new ModelcError('input', `names has ${quote(String(twice))} twice`);
  }
  throw new ModelcError('input', `${name} must be an array of strings`);
}

function requireTypes(types: unknown): void {
  if (types === undefined) return;
  if (typeof types !== 'object' || types === null)
    throw new ModelcError('input', 'column_types must be an object of types');
  for (const [name, type] of Object.entries(types)) {
    if (Object.hasOwn(patterns, String(type))) continue;
    throw new ModelcError(
      'input',
      `column_types: the type of ${quote(name)} must be number, boolean or text, but is ${quote(String(type))}`,
    );
  }
}

interface Line {
  readonly info: { readonly lines: number };
  readonly record: readonly string[];
}

/** Rows by which the types of a file are told. */
const typedBy = 10_000;

const patterns = {
  number: /^(?:\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*|[+-]?inf(?:inity)?)$/i,
  boolean: /^(?:true|false)$/i,
  text: /^/,
} as const satisfies { [T in CsvType]: RegExp };

/** With `whole`, all rows tell the types and come together. */
export async function* readCsv(path: string, options: CsvOptions = {}, whole = false): AsyncGenerator<Row[]> {
  const format = csvFormat(options);
  let names = format.names;
  let awaitsHeader = format.hasHeader;
  let types: readonly CsvType[] | undefined;
  let records: Line[] = [];
  const rows = (): Row[] => {
    types ??= (names ?? []).map((name, i) => options.column_types?.[name] ?? typeOf(records, i, format.missing));
    const made = records.map((record) => rowOf(record, names ?? [], types ?? [], format.missing, path));
    records = [];
    return made;
  };
  for await (const record of recordsOf(path, format)) {
    if (awaitsHeader) {
      names ??= headerOf(record.record, path);
      awaitsHeader = false;
      continue;
    }
    names ??= record.record.map((_, i) => String(i));
    if (record.record.length > names.length) {
      throw new ModelcError(
        'parse',
        `${path} line ${record.info.lines} has ${record.record.length} fields, but there are ${names.length} columns: ` +
          `${quote(names.join(', '))}; sep says what parts them`,
      );
    }
    records.push(record);
    if (!whole && records.length === typedBy) yield rows();
  }
  for (const name of Object.keys(options.column_types ?? {})) {
    if (names && !names.includes(name)) {
      throw new ModelcError('input', `${path} has no column "${name}"; there are: ${names.join(', ')}`);
    }
  }
  if (records.length > 0) yield rows();
}

async function* recordsOf(path: string, format: Format): AsyncGenerator<Line> {
  const parser = parse({
    bom: true,
    info: true,
    delimiter: format.delimiter,
    quote: format.quote,
    escape: format.escape,
    from_line: format.skip + 1,
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: maxRecord,
  });
  const stream = pipeline(Readable.from(textOfFile(path)), parser, () => undefined);
  try {
    for await (const line of stream) {
      const { info, record } = line as Line;
      // A line of spaces alone is empty, too.
      if (record.length > 1 || record[0].trim() !== '' || record[0] === '') yield { info, record };
    }
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    const line = typeof cause.lines === 'number' ? ` line ${cause.lines}` : '';
    throw new ModelcError('parse', `${path}${line} is not CSV: ${cause.message}`, { cause });
  }
}

/** Characters of one line: a quote that is never closed must not take the whole file into memory. */
const maxRecord = 2 ** 26;

function headerOf(names: readonly string[], path: string): readonly string[] {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return names.map((name, i) => (name === '' ? `Unnamed: ${i}` : name));
  throw new ModelcError('parse', `${path} line 1 names two columns ${quote(twice)}; pass names and header: 0`);
}

function typeOf(records: readonly Line[], column: number, missing: ReadonlySet<string>): CsvType {
  const given = records.map(({ record }) => record[column]).filter((text) => text !== undefined && !missing.has(text));
  const fits = (type: CsvType): boolean => given.length > 0 && given.every((text) => patterns[type].test(text));
  return fits('number') ? 'number' : fits('boolean') ? 'boolean' : 'text';
}

/** The value that a text has as a type; undefined where it has none. */
function parseAs(text: string, type: CsvType): number | bigint | boolean | string | undefined {
  if (!patterns[type].test(text)) return undefined;
  switch (type) {
    case 'number': {
      const word = text.trim().toLowerCase();
      if (word.includes('inf')) return word.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
      return /^[+-]?\d+$/.test(word) ? exactInteger(word) : Number(word);
    }
    case 'boolean':
      return text.toLowerCase() === 'true';
    case 'text':
      return text;
    default:
      return type satisfies never;
  }
}

function rowOf(
  { info, record }: Line,
  names: readonly string[],
  types: readonly CsvType[],
  missing: ReadonlySet<string>,
  path: string,
): Row {
  return Object.fromEntries(
    names.map((name, i) => {
      const text: string | undefined = record[i];
      if (text === undefined || missing.has(text)) return [name, null];
      const value = parseAs(text, types[i]);
      if (value !== undefined) return [name, value];
      throw new ModelcError(
        'parse',
        `${path} line ${info.lines}, column ${quote(name)}: ${quote(text)} is no ${types[i]}, as the values before it are; ` +
          `pass column_types: { ${JSON.stringify(name.slice(0, 40))}: 'text' }`,
      );
    }),
  );
}
