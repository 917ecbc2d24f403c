// CSV files. The types of columns follow from their values, as in pandas: a column whose values are all numbers holds
// numbers, one of True and False holds booleans, any other holds text; an empty field is null. A file that is read while
// it is used tells its types by its first rows, and a later value of another type is an error.
import { CsvError, parse } from 'csv-parse';
import { pipeline, Readable } from 'node:stream';
import { ModelcError } from '../../../ir/error.ts';
import type { Row } from '../rows.ts';
import { textOfFile } from './lines.ts';

/** How CSV files are read. */
export interface CsvOptions {
  /** What parts fields; ',' where not given. */
  delimiter?: string;
  /** What encloses fields that hold delimiters; '"' where not given. */
  quotechar?: string;
  /** Names of the columns of a file that has no line of names. */
  column_names?: readonly string[];
  /** Types that do not follow from the values; text keeps "007" as it is. */
  column_types?: Readonly<Record<string, CsvType>>;
}
/** A type of columns. */
export type CsvType = 'number' | 'boolean' | 'text';

interface Line {
  readonly info: { readonly lines: number };
  readonly record: readonly string[];
}

/** Rows by which the types of a file are told. */
const typedBy = 10_000;

const patterns = {
  number: /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$|^\s*nan\s*$|^\s*[+-]?inf(inity)?\s*$/i,
  boolean: /^(true|false)$/i,
  text: /^/,
} as const satisfies { [T in CsvType]: RegExp };

/** With `whole`, all rows tell the types and come together. */
export async function* readCsv(path: string, options: CsvOptions = {}, whole = false): AsyncGenerator<Row[]> {
  let names = options.column_names;
  let types: readonly CsvType[] | undefined;
  let records: Line[] = [];
  const rows = (): Row[] => {
    types ??= (names ?? []).map((name, i) => options.column_types?.[name] ?? typeOf(records, i));
    const made = records.map((record) => rowOf(record, names ?? [], types ?? [], path));
    records = [];
    return made;
  };
  for await (const record of recordsOf(path, options)) {
    if (names === undefined) {
      names = headerOf(record.record, path);
      continue;
    }
    if (record.record.length !== names.length) {
      throw new ModelcError(
        'parse',
        `${path} line ${record.info.lines} has ${record.record.length} fields, but there are ${names.length} columns: ` +
          names.join(', '),
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

async function* recordsOf(path: string, options: CsvOptions): AsyncGenerator<Line> {
  const parser = parse({
    bom: true,
    info: true,
    delimiter: options.delimiter ?? ',',
    quote: options.quotechar ?? '"',
    relax_column_count: true,
    skip_empty_lines: true,
  });
  const stream = pipeline(Readable.from(textOfFile(path)), parser, () => undefined);
  try {
    for await (const record of stream) yield record as Line;
  } catch (cause) {
    if (!(cause instanceof CsvError)) throw cause;
    const line = typeof cause.lines === 'number' ? ` line ${cause.lines}` : '';
    throw new ModelcError('parse', `${path}${line} is not CSV: ${cause.message}`, { cause });
  }
}

function headerOf(names: readonly string[], path: string): readonly string[] {
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return names;
  throw new ModelcError('parse', `${path} line 1 names two columns "${twice}"; pass column_names`);
}

function typeOf(records: readonly Line[], column: number): CsvType {
  const given = records.map(({ record }) => record[column]).filter((text) => text !== '');
  const fits = (type: CsvType): boolean => given.length > 0 && given.every((text) => parseAs(text, type) !== undefined);
  return fits('number') ? 'number' : fits('boolean') ? 'boolean' : 'text';
}

/** The value that a text has as a type; undefined where it has none. Integers that numbers cannot hold are text. */
function parseAs(text: string, type: CsvType): number | boolean | string | undefined {
  if (!patterns[type].test(text)) return undefined;
  switch (type) {
    case 'number': {
      const word = text.trim().toLowerCase();
      if (word === 'nan') return Number.NaN;
      if (word.includes('inf')) return word.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
      const value = Number(word);
      return /^[+-]?\d+$/.test(word) && !Number.isSafeInteger(value) ? undefined : value;
    }
    case 'boolean':
      return text.toLowerCase() === 'true';
    case 'text':
      return text;
    default:
      return type satisfies never;
  }
}

function rowOf({ info, record }: Line, names: readonly string[], types: readonly CsvType[], path: string): Row {
  return Object.fromEntries(
    names.map((name, i) => {
      if (record[i] === '') return [name, null];
      const value = parseAs(record[i], types[i]);
      if (value !== undefined) return [name, value];
      throw new ModelcError(
        'parse',
        `${path} line ${info.lines}, column "${name}": "${record[i]}" is no ${types[i]}, as the values before it are; ` +
          `pass column_types: { ${JSON.stringify(name)}: 'text' }`,
      );
    }),
  );
}
