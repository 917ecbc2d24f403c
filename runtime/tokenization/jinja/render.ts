// Jinja templates under the conventions of transformers: what a template is given, and what goes wrong in it.
import { type Statement, TemplateError } from './ast.ts';
import { Budget } from './budget.ts';
import { Interpreter } from './interpreter.ts';
import { parse } from './parser.ts';
import { Dict, Undefined, type Value } from './values.ts';

/** Templates that were parsed last; a checkpoint has one or two. */
const parsed = new Map<string, readonly Statement[]>();
const maxParsed = 32;
const maxLength = 2 ** 18;

function parsedOf(source: string): readonly Statement[] {
  const known = parsed.get(source);
  if (known) return known;
  if (source.length > maxLength) {
    throw new TemplateError(`has ${source.length} characters; at most ${maxLength} are read`, 'syntax');
  }
  const template = parse(source);
  if (parsed.size >= maxParsed) parsed.clear();
  parsed.set(source, template);
  return template;
}

/** The text of a template. Throws TemplateError, which has the line at fault. */
export function renderTemplate(source: string, variables: Readonly<Record<string, unknown>>): string {
  let interpreter: Interpreter | undefined;
  try {
    const template = parsedOf(source);
    const values = Object.entries(variables).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, templateValue(value, name, 0)] as const],
    );
    interpreter = new Interpreter(new Budget(), values);
    return interpreter.run(template);
  } catch (cause) {
    if (cause instanceof TemplateError)
      throw new TemplateError(cause.message, cause.kind, cause.line ?? interpreter?.line);
    // The engine's stack ends before the limits here do, where the caller stands deep in it already.
    if (cause instanceof RangeError) throw new TemplateError('it nests too deeply', 'limit', interpreter?.line);
    throw cause;
  }
}

/** A value of JavaScript as a template's: whole numbers are ints. `where` names it in errors. */
function templateValue(value: unknown, where: string, depth: number): Value {
  if (depth > 100) throw new TemplateError(`the variable ${where.slice(0, 60)}… is nested too deeply, or holds itself`);
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'bigint':
      return value;
    case 'number':
      return Number.isInteger(value) && Math.abs(value) <= Number.MAX_SAFE_INTEGER ? BigInt(value) : value;
    case 'undefined':
      return new Undefined(where);
    case 'object': {
      if (value === null) return null;
      if (Array.isArray(value)) return value.map((item, i) => templateValue(item, `${where}[${i}]`, depth + 1));
      if (value instanceof Map) return dictOf(value, where, depth);
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype === null || prototype === Object.prototype) return dictOf(Object.entries(value), where, depth);
    }
  }
  const kind = typeof value === 'object' ? (value?.constructor?.name ?? 'object') : typeof value;
  throw new TemplateError(
    `the variable ${where} must be made of texts, numbers, booleans, null, arrays and plain objects, but is a ${kind}`,
  );
}

function dictOf(entries: Iterable<readonly [unknown, unknown]>, where: string, depth: number): Dict {
  const dict = new Dict();
  for (const [key, value] of entries) {
    if (value !== undefined)
      dict.set(templateValue(key, where, depth), templateValue(value, `${where}.${String(key)}`, depth + 1));
  }
  return dict;
}
