// The filter tojson of transformers: json.dumps with its arguments, and without Jinja's escapes for HTML.
import { bind } from './arguments.ts';
import { TemplateError } from './ast.ts';
import type { Budget } from './budget.ts';
import { compare } from './operations.ts';
import { Dict, floatText, type Given, isList, iterate, Markup, Tuple, truth, typeName, type Value } from './values.ts';

interface Style {
  readonly ascii: boolean;
  /** undefined: all on one line. */
  readonly indent: string | undefined;
  readonly between: string;
  readonly colon: string;
  readonly sorted: boolean;
}

export function toJson(value: Value, given: Given, budget: Budget): string {
  const [ascii, indent, separators, sorted] = bind('tojson', given, [
    'ensure_ascii',
    'indent',
    'separators',
    'sort_keys',
  ]);
  let [between, colon] = [(indent ?? null) === null ? ', ' : ',', ': '];
  if ((separators ?? null) !== null) {
    const pair = iterate(separators ?? null, budget);
    if (pair.length !== 2 || typeof pair[0] !== 'string' || typeof pair[1] !== 'string') {
      throw new TemplateError('tojson() needs two texts as separators');
    }
    [between, colon] = [pair[0], pair[1]];
  }
  const style: Style = {
    ascii: truth(ascii ?? false),
    indent: indentation(indent ?? null, budget),
    between,
    colon,
    sorted: truth(sorted ?? false),
  };
  return write(value, style, 0, budget);
}

function indentation(indent: Value, budget: Budget): string | undefined {
  if (indent === null) return undefined;
  if (typeof indent === 'string') return indent;
  if (typeof indent === 'bigint' || typeof indent === 'boolean') return budget.repeat(' ', Number(indent));
  throw new TemplateError(`tojson() needs an int or a str as indent, not ${typeName(indent)}`);
}

function write(value: Value, style: Style, depth: number, budget: Budget): string {
  budget.spend(1);
  if (depth > 200) throw new TemplateError('a value is nested too deeply for tojson');
  if (value === null) return 'null';
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (typeof value === 'bigint') return budget.digits(value);
  if (typeof value === 'number') return jsonFloat(value);
  if (typeof value === 'string') return quoted(value, style, budget);
  if (value instanceof Markup) return quoted(value.text, style, budget);
  const inner = (item: Value): string => write(item, style, depth + 1, budget);
  if (isList(value)) return bracketed('[]', value.map(inner), style, depth, budget);
  if (value instanceof Tuple) return bracketed('[]', value.items.map(inner), style, depth, budget);
  if (!(value instanceof Dict)) throw new TemplateError(`Object of type ${typeName(value)} is not JSON serializable`);
  const entries = value.entries();
  if (style.sorted) entries.sort(([a], [b]) => compare('<', a, b, budget) ?? 0);
  const items = entries.map(([key, item]) => quoted(keyText(key, budget), style, budget) + style.colon + inner(item));
  return bracketed('{}', items, style, depth, budget);
}

function keyText(key: Value, budget: Budget): string {
  if (typeof key === 'string') return key;
  if (key === null) return 'null';
  if (typeof key === 'boolean') return String(key);
  if (typeof key === 'bigint') return budget.digits(key);
  if (typeof key === 'number') return jsonFloat(key);
  throw new TemplateError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function jsonFloat(value: number): string {
  if (Number.isFinite(value)) return floatText(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}

function bracketed(
  brackets: string,
  items: readonly string[],
  { indent, between }: Style,
  depth: number,
  budget: Budget,
): string {
  const [open, close] = brackets;
  if (items.length === 0) return brackets;
  if (indent === undefined) return open + budget.join(items, between) + close;
  const line = `\n${budget.repeat(indent, depth)}`;
  return `${open}${line}${indent}${budget.join(items, between + line + indent)}${line}${close}`;
}

const escapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\f': '\\f',
  '\b': '\\b',
};

function quoted(text: string, { ascii }: Style, budget: Budget): string {
  budget.room(text.length + 2);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is escaped
  const pattern = ascii ? /[^ -~]|["\\]/g : /[\u0000-\u001f"\\]/g;
  const body = text.replace(pattern, (c) =>
    Object.hasOwn(escapes, c) ? escapes[c] : `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return budget.made(`"${body}"`);
}
