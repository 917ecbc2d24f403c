// Jinja's filters, with the results of the Python library.
import { bind, intArgument, textArgument } from './arguments.ts';
import { TemplateError, unsupported } from './ast.ts';
import type { Budget } from './budget.ts';
import type { Filter } from './filter.ts';
import { fixed, percentFormat } from './format.ts';
import { toJson } from './json.ts';
import { listFilters } from './list-filters.ts';
import { escaped, numeric } from './operations.ts';
import { capitalized, justified, replaced, splitLines, stripped } from './strings.ts';
import {
  characters,
  Dict,
  type Given,
  iterate,
  lengthOf,
  Markup,
  orElse,
  sizeOf,
  Tuple,
  text,
  truth,
  typeName,
  Undefined,
  type Value,
} from './values.ts';

/** A filter of the text of its value. */
const ofText =
  (change: (text: string, given: Given, budget: Budget) => string): Filter =>
  (value, given, { budget }) => {
    const whole = text(value, budget);
    budget.room(whole.length);
    return change(whole, given, budget);
  };

/** As ofText, of a filter that takes no arguments. */
const simple = (name: string, change: (text: string) => string): Filter =>
  ofText((whole, given) => {
    bind(name, given, []);
    return change(whole);
  });

/** Words begin after spaces, hyphens and opening brackets. */
const titled = (whole: string, budget: Budget): string => {
  budget.spend(2 * whole.length);
  return whole
    .split(/([-\s({[<]+)/)
    .map((part) => capitalized(part))
    .join('');
};

const indent: Filter = (value, given, { budget }) => {
  const [width, first, blank] = bind('indent', given, ['width', 'first', 'blank']);
  if (typeof value !== 'string') {
    if (value instanceof Undefined) value.fail();
    throw new TemplateError(`indent needs a str, not ${typeName(value)}`);
  }
  budget.room(value.length);
  const indention = typeof width === 'string' ? width : budget.repeat(' ', intArgument('indent', width, 4));
  const [head = '', ...lines] = splitLines(`${value}\n`);
  budget.spend(lines.length);
  budget.room(value.length + (lines.length + 1) * indention.length);
  const rest = lines.map((line) => `\n${line !== '' || truth(blank ?? false) ? indention + line : line}`);
  return (truth(first ?? false) ? indention : '') + head + rest.join('');
};

const defaultFilter: Filter = (value, given) => {
  const [otherwise, boolean] = bind('default', given, ['default_value', 'boolean']);
  const missing = value instanceof Undefined || (truth(boolean ?? false) && !truth(value));
  return missing ? orElse(otherwise, '') : value;
};

/** What Python's int() and float() read. */
const integerText = /^[+-]?\d+(?:_\d+)*$/;
const floatPattern =
  /^[+-]?(?:(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?|inf|infinity|nan)$/i;

function floatOf(whole: string): number | undefined {
  const trimmed = stripped(whole, undefined, 'both');
  if (!floatPattern.test(trimmed)) return undefined;
  const word = trimmed.toLowerCase();
  if (word.endsWith('nan')) return Number.NaN;
  if (word.includes('inf')) return word.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return Number(word.replaceAll('_', ''));
}

const truncated = (value: number): bigint | undefined =>
  Number.isFinite(value) ? BigInt(Math.trunc(value)) : undefined;

const int: Filter = (value, given, { budget }) => {
  const [otherwise = 0n, base] = bind('int', given, ['default', 'base']);
  if (value instanceof Undefined) value.fail();
  const radix = intArgument('int', base, 10);
  if (typeof value === 'number') return truncated(value) ?? otherwise;
  if (typeof value === 'bigint' || typeof value === 'boolean') return BigInt(value);
  if (typeof value !== 'string') return otherwise;
  budget.room(value.length);
  const whole = stripped(value, undefined, 'both');
  if (whole.length > 4300) throw new TemplateError('an integer of more than 4300 digits is read');
  if (radix !== 10) {
    const body = whole.toLowerCase().replace(/^([+-]?)0[xob]/, '$1');
    const digits = '0123456789abcdefghijklmnopqrstuvwxyz'.slice(0, radix);
    if (radix >= 2 && radix <= 36 && new RegExp(`^[+-]?[${digits}]{1,10}$`).test(body))
      return BigInt(Number.parseInt(body, radix));
    return truncated(floatOf(whole) ?? Number.NaN) ?? otherwise;
  }
  if (integerText.test(whole)) return BigInt(whole.replaceAll('_', '').replace(/^\+/, ''));
  return truncated(floatOf(whole) ?? Number.NaN) ?? otherwise;
};

const float: Filter = (value, given, { budget }) => {
  const [otherwise = 0] = bind('float', given, ['default']);
  if (value instanceof Undefined) value.fail();
  const number = numeric(value);
  if (number !== undefined) return Number(number);
  if (typeof value === 'string') budget.room(value.length);
  return (typeof value === 'string' ? floatOf(value) : undefined) ?? otherwise;
};

const abs: Filter = (value) => {
  if (value instanceof Undefined) value.fail();
  const number = numeric(value);
  if (number === undefined) throw new TemplateError(`bad operand type for abs(): '${typeName(value)}'`);
  return number < 0 ? -number : typeof number === 'number' ? Math.abs(number) : number;
};

const round: Filter = (value, given) => {
  const [precision, method = 'common'] = bind('round', given, ['precision', 'method']);
  if (value instanceof Undefined) value.fail();
  const number = numeric(value);
  if (number === undefined) throw new TemplateError(`round needs a number, not ${typeName(value)}`);
  const digits = intArgument('round', precision, 0);
  if (method !== 'common' && method !== 'ceil' && method !== 'floor') {
    throw new TemplateError('method must be common, ceil or floor');
  }
  if (digits < 0 || digits > 20) throw unsupported(`round to ${digits} digits`);
  const real = Number(number);
  if (method !== 'common') return Math[method](real * 10 ** digits) / 10 ** digits;
  // Python leaves an int an int here; a float's tie goes to the even digit, as exact decimals tell.
  if (typeof number === 'bigint') return number;
  return Number.isFinite(real) ? roundEven(real, digits) : real;
};

function roundEven(value: number, digits: number): number {
  const rounded = Number(fixed(Math.abs(value), digits));
  // toFixed rounds what is exactly between two up.
  const exact = Math.abs(value).toFixed(Math.min(100, digits + 60));
  const tie = /^50*$/.test(exact.slice(exact.indexOf('.') + 1 + digits));
  const down = tie ? Number(exact.slice(0, exact.indexOf('.') + (digits > 0 ? 1 + digits : 0))) : rounded;
  const last = Number(exact.slice(0, exact.indexOf('.') + (digits > 0 ? 1 + digits : 0)).at(-1));
  return Math.sign(value) * (tie && last % 2 === 0 ? down : rounded);
}

const truncate: Filter = (value, given, { budget }) => {
  const [length, killwords, end = '...', leeway] = bind('truncate', given, ['length', 'killwords', 'end', 'leeway']);
  const [size, extra] = [intArgument('truncate', length, 255), intArgument('truncate', leeway, 5)];
  const tail = textArgument('truncate', end);
  if (size < lengthOf(tail)) throw new TemplateError(`expected length >= ${lengthOf(tail)}, got ${size}`);
  if (sizeOf(value, budget) <= size + extra) return value;
  if (typeof value !== 'string') throw unsupported(`truncate of a ${typeName(value)}`);
  budget.room(value.length);
  const list = characters(value);
  const head = list.slice(0, size - lengthOf(tail)).join('');
  const space = head.lastIndexOf(' ');
  return (truth(killwords ?? false) || space < 0 ? head : head.slice(0, space)) + tail;
};

const dictsort: Filter = (value, given, tools) => {
  const [caseSensitive, by = 'key', reverse] = bind('dictsort', given, ['case_sensitive', 'by', 'reverse']);
  if (by !== 'key' && by !== 'value') throw new TemplateError('You can only sort by either "key" or "value"');
  if (value instanceof Undefined) value.fail();
  if (!(value instanceof Dict)) throw new TemplateError(`dictsort needs a mapping, not ${typeName(value)}`);
  const pairs = value.entries().map((entry) => new Tuple(entry));
  const kwargs = new Map<string, Value>([
    ['attribute', by === 'key' ? 0n : 1n],
    ['case_sensitive', caseSensitive ?? false],
    ['reverse', reverse ?? false],
  ]);
  return tools.filter('sort', pairs, { args: [], kwargs });
};

const items: Filter = (value, given, tools) => {
  bind('items', given, []);
  if (value instanceof Undefined) return [];
  if (!(value instanceof Dict)) throw new TemplateError('Can only get item pairs from a mapping.');
  return tools.filter(
    'map',
    value.entries().map((entry) => new Tuple(entry)),
    { args: ['identity'], kwargs: new Map() },
  );
};

const count: Filter = (value, given, { budget }) => {
  bind('length', given, []);
  return BigInt(sizeOf(value, budget));
};
const markup: Filter = (value, _, { budget }) =>
  value instanceof Markup ? value : new Markup(escaped(text(value, budget), budget));

export const filters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ...listFilters,
  ['abs', abs],
  ['attr', (value, given, tools) => tools.attribute(value, textArgument('attr', bind('attr', given, ['name'], 1)[0]))],
  ['capitalize', simple('capitalize', capitalized)],
  [
    'center',
    ofText((whole, given, budget) =>
      justified('center', whole, intArgument('center', bind('center', given, ['width'])[0], 80), ' ', budget),
    ),
  ],
  ['count', count],
  ['length', count],
  ['d', defaultFilter],
  ['default', defaultFilter],
  ['dictsort', dictsort],
  ['e', markup],
  ['escape', markup],
  ['float', float],
  ['forceescape', (value, _, { budget }) => new Markup(escaped(text(value, budget), budget))],
  [
    'format',
    (value, { args, kwargs }, { budget }) => {
      if (args.length > 0 && kwargs.size > 0)
        throw new TemplateError("can't handle positional and keyword arguments at once");
      return percentFormat(text(value, budget), kwargs.size > 0 ? Dict.of(kwargs) : new Tuple(args), budget);
    },
  ],
  ['indent', indent],
  ['int', int],
  ['items', items],
  ['lower', simple('lower', (s) => s.toLowerCase())],
  [
    'replace',
    ofText((whole, given, budget) => {
      const [old, fresh, most] = bind('replace', given, ['old', 'new', 'count'], 2);
      const times = (most ?? null) === null ? -1 : intArgument('replace', most, -1);
      return replaced(whole, text(orElse(old, ''), budget), text(orElse(fresh, ''), budget), times, budget);
    }),
  ],
  ['round', round],
  ['safe', (value, _, { budget }) => new Markup(text(value, budget))],
  ['string', (value, _, { budget }) => (value instanceof Markup ? value : text(value, budget))],
  [
    'title',
    ofText((whole, given, budget) => {
      bind('title', given, []);
      return titled(whole, budget);
    }),
  ],
  ['tojson', (value, given, { budget }) => toJson(value, given, budget)],
  [
    'trim',
    ofText((whole, given) => {
      const [chars] = bind('trim', given, ['chars']);
      return stripped(whole, chars === undefined || chars === null ? undefined : textArgument('trim', chars), 'both');
    }),
  ],
  ['truncate', truncate],
  ['upper', simple('upper', (s) => s.toUpperCase())],
  [
    'wordcount',
    (value, _, { budget }) => {
      const whole = text(value, budget);
      budget.room(whole.length);
      return BigInt(whole.match(/[\p{L}\p{N}_]+/gu)?.length ?? 0);
    },
  ],
  ['list', (value, _, { budget }) => [...iterate(value, budget)]],
]);

/** Filters of Jinja that are not served. */
export const otherFilters = [
  'filesizeformat',
  'pprint',
  'random',
  'striptags',
  'urlencode',
  'urlize',
  'wordwrap',
  'xmlattr',
];
