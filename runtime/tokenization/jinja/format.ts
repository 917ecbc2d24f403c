// Python's two ways to format texts in Jinja templates: 'a %s' % value and 'a {}'.format(value).
import { TemplateError, unsupported } from './ast.ts';
import type { Budget } from './budget.ts';
import { Dict, floatText, type Given, repr, Tuple, text, typeName, Undefined, type Value } from './values.ts';

const conversion =
  /%(?:\((?<key>[^)]*)\))?(?<flags>[-+ 0#]*)(?<width>\*|\d+)?(?:\.(?<precision>\*|\d+))?[hlL]?(?<kind>.?)/gsu;

/** template % values. */
export function percentFormat(template: string, values: Value, budget: Budget): string {
  const list = values instanceof Tuple ? values.items : [values];
  let next = 0;
  const take = (): Value => {
    if (next >= list.length) throw new TemplateError('not enough arguments for format string');
    return list[next++];
  };
  const parts: string[] = [];
  let end = 0;
  for (const match of template.matchAll(conversion)) {
    const { key, flags = '', width, precision, kind } = match.groups as Record<string, string | undefined>;
    parts.push(template.slice(end, match.index));
    end = match.index + match[0].length;
    if (kind === '%') {
      parts.push('%');
      continue;
    }
    if (width === '*' || precision === '*') throw unsupported('a width * of %');
    let value: Value;
    if (key === undefined) value = take();
    else {
      if (!(values instanceof Dict)) throw new TemplateError('format requires a mapping');
      const found = values.get(key);
      if (found === undefined) throw new TemplateError(`there is no key '${key}' for %`);
      value = found;
    }
    const digits = precision === undefined ? undefined : Number(precision);
    parts.push(
      padded(converted(kind ?? '', value, flags, digits, budget), flags, Number(width ?? 0), kind ?? '', budget),
    );
  }
  if (next < list.length && !(values instanceof Dict) && !(next === 0 && isSequence(values))) {
    throw new TemplateError('not all arguments converted during string formatting');
  }
  parts.push(template.slice(end));
  return budget.join(parts, '');
}

/** What Python takes for a mapping without asking for its keys. */
const isSequence = (value: Value): boolean => Array.isArray(value) || value instanceof Undefined;

function converted(kind: string, value: Value, flags: string, digits: number | undefined, budget: Budget): string {
  if (flags.includes('#')) throw unsupported('the flag # of %');
  if (digits !== undefined && digits > 100) throw unsupported(`a precision of ${digits} for %`);
  if (kind === 's' || kind === 'r') {
    const whole = kind === 's' ? text(value, budget) : repr(value, budget);
    return digits === undefined ? whole : Array.from(whole).slice(0, digits).join('');
  }
  if (value instanceof Undefined) value.fail();
  const number = typeof value === 'boolean' ? BigInt(value) : value;
  if (typeof number !== 'bigint' && typeof number !== 'number') {
    throw new TemplateError(`%${kind} format: a real number is required, not ${typeName(value)}`);
  }
  const sign = (negative: boolean): string =>
    negative ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  switch (kind) {
    case 'd':
    case 'i':
    case 'u': {
      if (typeof number === 'number' && !Number.isFinite(number))
        throw new TemplateError('cannot convert float to integer');
      const whole = typeof number === 'bigint' ? number : BigInt(Math.trunc(number));
      const body = budget.digits(whole < 0n ? -whole : whole).padStart(digits ?? 0, '0');
      return sign(whole < 0n) + body;
    }
    case 'x':
    case 'X':
    case 'o': {
      if (typeof number === 'number') throw new TemplateError(`%${kind} format: an integer is required, not float`);
      const body = (number < 0n ? -number : number).toString(kind === 'o' ? 8 : 16).padStart(digits ?? 0, '0');
      return sign(number < 0n) + (kind === 'X' ? body.toUpperCase() : body);
    }
    case 'f':
    case 'F': {
      const real = Number(number);
      if (!Number.isFinite(real)) return sign(real < 0) + floatText(Math.abs(real));
      return sign(real < 0 || Object.is(real, -0)) + fixed(Math.abs(real), digits ?? 6);
    }
    default:
      throw unsupported(`%${kind}`);
  }
}

/** toFixed, also for numbers that it would write with an exponent. */
export function fixed(value: number, digits: number): string {
  if (value < 1e21) return value.toFixed(digits);
  return String(BigInt(value)) + (digits > 0 ? `.${'0'.repeat(digits)}` : '');
}

function padded(body: string, flags: string, width: number, kind: string, budget: Budget): string {
  const missing = width - Array.from(body).length;
  if (missing <= 0) return body;
  if (flags.includes('-')) return body + budget.repeat(' ', missing);
  if (!flags.includes('0') || kind === 's' || kind === 'r') return budget.repeat(' ', missing) + body;
  const sign = /^[-+ ]/.exec(body)?.[0] ?? '';
  return sign + budget.repeat('0', missing) + body.slice(sign.length);
}

/** template.format(…), with fields {}, {0} and {name} that say nothing about how they are written. */
export function braceFormat(template: string, { args, kwargs }: Given, budget: Budget): string {
  let next = 0;
  let byNumber = false;
  const parts: string[] = [];
  let end = 0;
  for (const match of template.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    parts.push(template.slice(end, match.index));
    end = match.index + match[0].length;
    const [whole, field] = match;
    if (whole === '{{' || whole === '}}') parts.push(whole[0]);
    else if (field === undefined) throw new TemplateError(`single '${whole}' encountered in format string`);
    else if (/[:!.[]/.test(field)) throw unsupported(`the field {${field}} of format`);
    else {
      byNumber ||= /^\d+$/.test(field);
      if (byNumber && (next > 0 || field === '')) throw new TemplateError('format cannot mix {} and {0}');
      const value = field === '' ? args[next++] : /^\d+$/.test(field) ? args[Number(field)] : kwargs.get(field);
      if (value === undefined) throw new TemplateError(`format has no argument for {${field}}`);
      parts.push(text(value, budget));
    }
  }
  parts.push(template.slice(end));
  return budget.join(parts, '');
}
