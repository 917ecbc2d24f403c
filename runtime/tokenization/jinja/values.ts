// The values of Jinja templates, which are Python's: an int is a bigint here and a float a number, so that 1 and 1.0 differ;
// a list is an array, which nothing changes, because the sandbox of transformers forbids it.
import { TemplateError, unsupported } from './ast.ts';
import type { Budget } from './budget.ts';

export type Value =
  | null
  | boolean
  | bigint
  | number
  | string
  | readonly Value[]
  | Tuple
  | Dict
  | Range
  | View
  | Stream
  | Undefined
  | Namespace
  | Callable
  | Markup
  | Fields;

/** A value that is not there. `failure`: what using it says, where it is not that the name is undefined. */
export class Undefined {
  constructor(
    readonly name: string,
    readonly failure: string = `'${name}' is undefined`,
  ) {}
  /** What an operation on it throws. */
  fail(): never {
    throw new TemplateError(this.failure);
  }
}

export class Tuple {
  constructor(readonly items: readonly Value[]) {}
}

/** Integers from start to stop. */
export class Range {
  constructor(
    readonly items: readonly bigint[],
    readonly text: string,
  ) {}
}

/** What `items()`, `keys()` and `values()` of a dict give: it can be iterated over, but has no indices. */
export class View {
  constructor(
    readonly kind: string,
    readonly items: readonly Value[],
  ) {}
}

/** What map, select, reverse and their like give: it can be iterated over once. */
export class Stream {
  private items: readonly Value[];
  constructor(items: readonly Value[]) {
    this.items = items;
  }
  take(): readonly Value[] {
    const { items } = this;
    this.items = [];
    return items;
  }
}

export class Namespace {
  readonly fields = new Map<string, Value>();
}

/** Text that is marked as safe: what is added to it by + is escaped. */
export class Markup {
  constructor(readonly text: string) {}
}

/** An object with attributes only, such as `loop`. */
export class Fields {
  constructor(
    readonly kind: string,
    readonly get: (name: string) => Value | undefined,
    readonly call?: (given: Given) => Value,
  ) {}
}

/** The arguments of a call. */
export interface Given {
  readonly args: readonly Value[];
  readonly kwargs: ReadonlyMap<string, Value>;
}

export class Callable {
  constructor(
    readonly name: string,
    readonly call: (given: Given) => Value,
  ) {}
}

/** A dict: 1, 1.0 and True are one key, as in Python. */
export class Dict {
  private readonly found = new Map<unknown, readonly [Value, Value]>();

  static of(entries: Iterable<readonly [Value, Value]>): Dict {
    const dict = new Dict();
    for (const [key, value] of entries) dict.set(key, value);
    return dict;
  }
  get size(): number {
    return this.found.size;
  }
  set(key: Value, value: Value): void {
    const hash = hashOf(key);
    this.found.set(hash, [this.found.get(hash)?.[0] ?? key, value]);
  }
  get(key: Value): Value | undefined {
    return this.found.get(hashOf(key))?.[1];
  }
  has(key: Value): boolean {
    return this.found.has(hashOf(key));
  }
  keys(): Value[] {
    return Array.from(this.found.values(), ([key]) => key);
  }
  values(): Value[] {
    return Array.from(this.found.values(), ([, value]) => value);
  }
  entries(): (readonly [Value, Value])[] {
    return [...this.found.values()];
  }
}

/** Items that a key may be made of: tuples may hold one another, each several times. */
const maxKey = 10_000;

/** What is equal for values that are equal: strings for texts, numbers for numbers, a text for tuples. */
export function hashOf(value: Value, seen = { items: 0 }): unknown {
  if (typeof value === 'string') return `s${value}`;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (value instanceof Tuple) {
    seen.items += value.items.length;
    if (seen.items > maxKey) throw new TemplateError(`a key of a dict is made of more than ${maxKey} values`);
    return `t${JSON.stringify(value.items.map((item) => String(hashOf(item, seen))))}`;
  }
  if (isList(value) || value instanceof Dict) throw new TemplateError(`unhashable type: '${typeName(value)}'`);
  if (value instanceof Undefined) return Undefined; // all of them are equal
  return value instanceof Markup ? `s${value.text}` : value;
}

/** A value, or another where there is none; null is one: None. */
export const orElse = (value: Value | undefined, otherwise: Value): Value => (value === undefined ? otherwise : value);

export const isList = (value: Value): value is readonly Value[] => Array.isArray(value);

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'bigint') return 'int';
  if (typeof value === 'number') return 'float';
  if (typeof value === 'string') return 'str';
  if (isList(value)) return 'list';
  if (value instanceof Tuple) return 'tuple';
  if (value instanceof Dict) return 'dict';
  if (value instanceof Range) return 'range';
  if (value instanceof View) return `dict_${value.kind}`;
  if (value instanceof Stream) return 'generator';
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Namespace) return 'Namespace';
  if (value instanceof Callable) return 'function';
  return value instanceof Markup ? 'Markup' : value.kind;
}

export function truth(value: Value): boolean {
  if (value === null || value instanceof Undefined) return false;
  if (typeof value === 'number') return value !== 0; // NaN is true
  if (typeof value !== 'object') return Boolean(value);
  if (isList(value)) return value.length > 0;
  if (value instanceof Dict) return value.size > 0;
  if (value instanceof Tuple || value instanceof Range || value instanceof View) return value.items.length > 0;
  return value instanceof Markup ? value.text !== '' : true;
}

/** Characters as Python counts them. */
export const characters = (text: string): string[] => (hasPairs(text) ? Array.from(text) : text.split(''));
export const hasPairs = (text: string): boolean => /[\ud800-\udbff][\udc00-\udfff]/.test(text);
export const lengthOf = (text: string): number => (hasPairs(text) ? Array.from(text).length : text.length);

/** The items of what can be iterated over. */
export function iterate(value: Value, budget: Budget): readonly Value[] {
  const items = itemsOf(value);
  if (!items) throw new TemplateError(`'${typeName(value)}' object is not iterable`);
  budget.spend(items.length);
  return items;
}

function itemsOf(value: Value): readonly Value[] | undefined {
  if (value instanceof Undefined) return [];
  if (typeof value === 'string') return characters(value);
  if (value === null || typeof value !== 'object') return undefined;
  if (isList(value)) return value;
  if (value instanceof Tuple || value instanceof Range || value instanceof View) return value.items;
  if (value instanceof Dict) return value.keys();
  if (value instanceof Stream) return value.take();
  return value instanceof Markup ? characters(value.text) : undefined;
}

/** len(value). */
export function sizeOf(value: Value, budget: Budget): number {
  if (typeof value === 'string') budget.scan(value);
  if (typeof value === 'string') return lengthOf(value);
  if (value instanceof Markup) return lengthOf(value.text);
  if (value instanceof Undefined) return 0;
  if (value instanceof Dict) return value.size;
  if (value !== null && typeof value === 'object') {
    if (isList(value)) return value.length;
    if (value instanceof Tuple || value instanceof Range || value instanceof View) return value.items.length;
  }
  throw new TemplateError(`object of type '${typeName(value)}' has no len()`);
}

/** What a template's text shows of a value: str(value). */
export function text(value: Value, budget: Budget): string {
  if (typeof value === 'string') return value;
  if (value instanceof Markup) return value.text;
  if (value instanceof Undefined) return '';
  return repr(value, budget);
}

const maxDepth = 200;

/** repr(value). */
export function repr(value: Value, budget: Budget, depth = 0): string {
  budget.spend(1);
  if (depth > maxDepth) throw new TemplateError('a value is nested too deeply to be written');
  const inner = (item: Value): string => repr(item, budget, depth + 1);
  const list = (items: readonly Value[]): string => budget.join(items.map(inner), ', ');
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'number') return floatText(value);
  if (typeof value === 'string') return budget.made(quoted(value));
  if (typeof value === 'bigint') return budget.digits(value);
  if (isList(value)) return `[${list(value)}]`;
  if (value instanceof Tuple)
    return value.items.length === 1 ? `(${inner(value.items[0])},)` : `(${list(value.items)})`;
  if (value instanceof Dict) {
    const entries = value.entries().map(([key, item]) => `${inner(key)}: ${inner(item)}`);
    return `{${budget.join(entries, ', ')}}`;
  }
  if (value instanceof Range) return value.text;
  if (value instanceof View) return `dict_${value.kind}([${list(value.items)}])`;
  if (value instanceof Undefined) return 'Undefined';
  if (value instanceof Markup) return `Markup(${quoted(value.text)})`;
  throw unsupported(`writing a ${typeName(value)} as text${value instanceof Stream ? '; add |list or |join' : ''}`);
}

/** A float as Python writes it: the shortest digits, with a point, and an exponent from 1e16 and below 1e-4 on. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [digits, power] = value.toExponential().split('e');
  const exponent = Number(power);
  if (exponent >= 16 || exponent < -4) {
    return `${digits}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const plain = exponent < 0 ? value.toFixed(digits.replace(/[-.]/g, '').length - 1 - exponent) : String(value);
  return plain.includes('.') ? plain : `${plain}.0`;
}

const named: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' };

/** repr of a text. */
function quoted(value: string): string {
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  const body = value.replace(/[\\'"]|[\p{C}\p{Z}]/gu, (c) => {
    if (c === ' ' || ((c === "'" || c === '"') && c !== quote)) return c;
    if (c === quote) return `\\${c}`;
    if (Object.hasOwn(named, c)) return named[c];
    const code = c.codePointAt(0) ?? 0;
    const hex = code.toString(16);
    if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
    return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
  });
  return quote + body + quote;
}
