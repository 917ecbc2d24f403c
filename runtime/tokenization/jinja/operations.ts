// Operators of Jinja templates on Python's values.
import { TemplateError, unsupported } from './ast.ts';
import type { Budget } from './budget.ts';
import { percentFormat } from './format.ts';
import {
  characters,
  Dict,
  hasPairs,
  isList,
  iterate,
  Markup,
  Range,
  Stream,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from './values.ts';

type Numeric = bigint | number;

/** A number, or a boolean, which counts as one. */
export function numeric(value: Value): Numeric | undefined {
  if (typeof value === 'boolean') return value ? 1n : 0n;
  return typeof value === 'bigint' || typeof value === 'number' ? value : undefined;
}

/** left OP right, for + - * / // % **. */
export function operate(operator: string, left: Value, right: Value, budget: Budget): Value {
  if (operator === '%' && typeof left === 'string') return percentFormat(left, right, budget);
  for (const value of [left, right]) if (value instanceof Undefined) value.fail();
  const [a, b] = [numeric(left), numeric(right)];
  if (a !== undefined && b !== undefined) return arithmetic(operator, a, b, budget);
  if (operator === '+') {
    if (left instanceof Markup || right instanceof Markup) return addMarkup(left, right, budget);
    if (typeof left === 'string' && typeof right === 'string') return budget.append(left, right);
    if (isList(left) && isList(right)) return joined(left, right, budget);
    if (left instanceof Tuple && right instanceof Tuple) return new Tuple(joined(left.items, right.items, budget));
    if (typeof left === 'string') throw new TemplateError(`can only concatenate str (not "${typeName(right)}") to str`);
  }
  if (operator === '*') {
    const [sequence, count] = typeof b === 'bigint' ? [left, b] : [right, a];
    if (typeof count === 'bigint') {
      const times = Number(count);
      if (typeof sequence === 'string') return budget.repeat(sequence, times);
      if (isList(sequence)) return repeated(sequence, times, budget);
      if (sequence instanceof Tuple) return new Tuple(repeated(sequence.items, times, budget));
    }
  }
  if (left instanceof Markup || right instanceof Markup)
    throw unsupported(`${operator} on text that is marked as safe`);
  throw new TemplateError(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
}

function addMarkup(left: Value, right: Value, budget: Budget): Markup {
  const of = (value: Value): string => {
    if (value instanceof Markup) return value.text;
    if (typeof value === 'string') return escaped(value, budget);
    throw new TemplateError(`unsupported operand type(s) for +: '${typeName(left)}' and '${typeName(right)}'`);
  };
  return new Markup(budget.append(of(left), of(right)));
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
};

export function escaped(text: string, budget: Budget): string {
  budget.room(text.length * 5);
  return text.replace(/[&<>'"]/g, (c) => entities[c]);
}

function joined(a: readonly Value[], b: readonly Value[], budget: Budget): Value[] {
  budget.spend(a.length + b.length);
  return [...a, ...b];
}

function repeated(items: readonly Value[], times: number, budget: Budget): Value[] {
  if (times <= 0) return [];
  budget.spend(items.length * times);
  return Array.from({ length: times }, () => items).flat();
}

function arithmetic(operator: string, a: Numeric, b: Numeric, budget: Budget): Numeric {
  if (operator === '/') {
    if (Number(b) === 0) throw new TemplateError('division by zero');
    return Number(a) / Number(b);
  }
  if (typeof a === 'bigint' && typeof b === 'bigint') return integers(operator, a, b, budget);
  return floats(operator, Number(a), Number(b));
}

function integers(operator: string, a: bigint, b: bigint, budget: Budget): Numeric {
  switch (operator) {
    case '+':
      return budget.int(a + b);
    case '-':
      return budget.int(a - b);
    case '*':
      return budget.int(a * b);
    case '**': {
      if (b < 0n) return floats('**', Number(a), Number(b));
      if (a > 1n || a < -1n) budget.bits((a < 0n ? -a : a).toString(2).length * Number(b));
      return a ** (a > 1n || a < -1n ? b : b === 0n ? 0n : 2n - (b % 2n));
    }
    default: {
      if (b === 0n) throw new TemplateError('integer division or modulo by zero');
      const rest = ((a % b) + b) % b;
      return operator === '%' ? rest : (a - rest) / b;
    }
  }
}

function floats(operator: string, a: number, b: number): number {
  switch (operator) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '**': {
      const power = a ** b;
      if (a === 0 && b < 0) throw new TemplateError('zero cannot be raised to a negative power');
      if (Number.isNaN(power) && !Number.isNaN(a) && !Number.isNaN(b)) throw unsupported('complex numbers');
      if (!Number.isFinite(power) && Number.isFinite(a) && Number.isFinite(b)) {
        throw new TemplateError('a result of ** is too large');
      }
      return power;
    }
    default: {
      if (b === 0) throw new TemplateError('float floor division or modulo by zero');
      let rest = a % b;
      if (rest === 0) rest = b < 0 ? -0 : 0;
      if (rest !== 0 && rest < 0 !== b < 0) rest += b;
      return operator === '%' ? rest : Math.floor((a - rest) / b + 0.5);
    }
  }
}

/** left == right; lists and dicts by their values. */
export function equal(left: Value, right: Value, budget: Budget, depth = 0): boolean {
  budget.spend(1);
  if (depth > 200) throw new TemplateError('values are nested too deeply to be compared');
  if (typeof left === 'string' && typeof right === 'string' && left.length === right.length) budget.scan(left);
  if (left === right) return true;
  const [a, b] = [numeric(left), numeric(right)];
  // biome-ignore lint/suspicious/noDoubleEquals: compares an int with a float exactly
  if (a !== undefined && b !== undefined) return a == b;
  if (left instanceof Undefined && right instanceof Undefined) return true;
  const list = (x: readonly Value[], y: readonly Value[]): boolean =>
    x.length === y.length && x.every((item, i) => equal(item, y[i], budget, depth + 1));
  if (left !== null && right !== null && typeof left === 'object' && typeof right === 'object') {
    if (isList(left)) return isList(right) && list(left, right);
    if (left instanceof Tuple) return right instanceof Tuple && list(left.items, right.items);
    if (left instanceof Range) return right instanceof Range && list(left.items, right.items);
  }
  if (left instanceof Dict && right instanceof Dict) {
    return (
      left.size === right.size &&
      left.entries().every(([key, value]) => {
        const other = right.get(key);
        return other !== undefined && equal(value, other, budget, depth + 1);
      })
    );
  }
  const [x, y] = [plainText(left), plainText(right)];
  return x !== undefined && x === y;
}

const plainText = (value: Value): string | undefined =>
  typeof value === 'string' ? value : value instanceof Markup ? value.text : undefined;

/** Below 0 where left comes first, as < says; undefined where neither comes first, such as with nan. */
export function compare(operator: string, left: Value, right: Value, budget: Budget, depth = 0): number | undefined {
  budget.spend(1);
  for (const value of [left, right]) if (value instanceof Undefined) value.fail();
  const [a, b] = [numeric(left), numeric(right)];
  if (a !== undefined && b !== undefined) return a < b ? -1 : a > b ? 1 : a >= b ? 0 : undefined;
  const [x, y] = [plainText(left), plainText(right)];
  if (x !== undefined && y !== undefined) {
    budget.spend(1 + ((x.length + y.length) >> 4));
    return compareTexts(x, y);
  }
  const lists = isList(left) && isList(right) ? [left, right] : undefined;
  const tuples = left instanceof Tuple && right instanceof Tuple ? [left.items, right.items] : undefined;
  const [p, q] = lists ?? tuples ?? [];
  if (p && q && depth < 200) {
    for (let i = 0; i < p.length && i < q.length; i++) {
      if (!equal(p[i], q[i], budget)) return compare(operator, p[i], q[i], budget, depth + 1);
    }
    return p.length - q.length;
  }
  throw new TemplateError(
    `'${operator}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`,
  );
}

/** By characters, not by halves of surrogate pairs. */
function compareTexts(x: string, y: string): number {
  if (!hasPairs(x) && !hasPairs(y)) return x < y ? -1 : x > y ? 1 : 0;
  const [p, q] = [Array.from(x), Array.from(y)];
  for (let i = 0; i < p.length && i < q.length; i++) {
    const difference = (p[i].codePointAt(0) ?? 0) - (q[i].codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return p.length - q.length;
}

/** One comparison, of those that may be chained. */
export function holds(operator: string, left: Value, right: Value, budget: Budget): boolean {
  switch (operator) {
    case '==':
      return equal(left, right, budget);
    case '!=':
      return !equal(left, right, budget);
    case 'in':
      return contains(right, left, budget);
    case 'not in':
      return !contains(right, left, budget);
    default: {
      const order = compare(operator, left, right, budget);
      if (order === undefined) return false;
      return operator === '<' ? order < 0 : operator === '<=' ? order <= 0 : operator === '>' ? order > 0 : order >= 0;
    }
  }
}

function contains(list: Value, item: Value, budget: Budget): boolean {
  const whole = plainText(list);
  if (whole !== undefined) {
    const part = plainText(item);
    if (part === undefined) {
      throw new TemplateError(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    }
    budget.spend(whole.length >> 4);
    return whole.includes(part);
  }
  if (list instanceof Dict) {
    if (typeof item === 'string') budget.scan(item);
    return list.has(item);
  }
  if (
    list instanceof View ||
    list instanceof Stream ||
    list instanceof Range ||
    list instanceof Tuple ||
    isList(list)
  ) {
    return iterate(list, budget).some((other) => equal(other, item, budget));
  }
  if (list instanceof Undefined) return false;
  throw new TemplateError(`argument of type '${typeName(list)}' is not iterable`);
}

/** value[start:stop:step]. */
export function sliced(value: Value, parts: readonly (Value | undefined)[], budget: Budget): Value {
  const [start, stop, step = 1n] = parts.map((part) => {
    if (part === undefined || part === null) return undefined;
    const index = numeric(part);
    if (typeof index === 'bigint') return index;
    throw new TemplateError('slice indices must be integers or None');
  });
  if (step === 0n) throw new TemplateError('slice step cannot be zero');
  const pick = <T>(items: readonly T[]): T[] => {
    const forward = step > 0n;
    const [first, last] = forward ? [0, items.length] : [-1, items.length - 1];
    const clamp = (index: bigint | undefined, otherwise: number): number => {
      if (index === undefined) return otherwise;
      const at = index < 0n ? Number(index) + items.length : Number(index);
      return Math.min(Math.max(at, first), last);
    };
    const from = clamp(start, forward ? first : last);
    const to = clamp(stop, forward ? last : first);
    budget.spend(items.length >> 2);
    if (step === 1n) return items.slice(from, to);
    const picked: T[] = [];
    for (let i = from; forward ? i < to : i > to; i += Number(step)) picked.push(items[i]);
    return picked;
  };
  if (typeof value === 'string') return budget.made(pick(characters(value)).join(''));
  if (isList(value)) return pick(value);
  if (value instanceof Tuple) return new Tuple(pick(value.items));
  if (value instanceof Range || value instanceof Markup) throw unsupported(`a slice of a ${typeName(value)}`);
  throw new TemplateError(`'${typeName(value)}' object is not subscriptable`);
}
